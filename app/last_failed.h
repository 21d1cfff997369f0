/* Which tests failed when they ran last, kept from one `lockstep test` to the next for
 * --last-failed and --failed-first: $XDG_CACHE_HOME/lockstep/last-failed/HASH.json, one file for
 * each folder in which tests are started and the folders of configurations that were named.
 *
 * A cache: what cannot be read counts as empty, and nothing fails because it cannot be written. */
#ifndef APP_LAST_FAILED_H
#define APP_LAST_FAILED_H

#include "engine/base/names.h"
#include "engine/config/config.h"
#include "engine/suite/outcome.h"
#include "engine/suite/tests.h"

/* The tests that failed last, of those that are started from the current folder with these
 * folders of configurations. Their ids are the names of the table; all have the value 1. Free with
 * names_free. A file that is no such list is told about on stderr if `warn`. */
struct names last_failed_read(const struct config_search *search, bool warn);

/* Brings the file up to date: what passed, or is skipped for a reason of its own, failed no more;
 * what was not run, as one before it failed, stays as it was. Tests that do not exist any more are
 * dropped; those of models that are not in `list` stay. `outcomes` has one for each test of the
 * list. False if it could not be written. */
bool last_failed_write(const struct config_search *search, const struct test_list *list,
                       const struct outcome *outcomes, struct status *status);

#endif
