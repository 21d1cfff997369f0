/* Which tests a filter of the list keeps: words, all of which must agree. Pure. */
#ifndef UI_TEST_FILTER_H
#define UI_TEST_FILTER_H

#include "engine/suite/tests.h"

/* A word is a part of the test's id, a glob of it ("llama*bf*"), or a key with one or several
 * values: model=llama,mistral group=basic action=main outcome=failed. `outcome` is what is known of
 * the test ("PASSED", any case), NULL: nothing. */
bool test_filter_passes(const char *filter, const struct test_list *tests, int test,
                        const char *outcome);

#endif
