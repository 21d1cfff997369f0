/* Which tests run. The table of the facts, section 8.1:
 *
 *   action            default   --skip-slow   --run-extra-slow
 *   main              run       run           run
 *   normal            run       dropped       run
 *   unimportant       dropped   dropped       run
 *   broken            dropped   dropped       run
 *   not_implemented   dropped   dropped       dropped
 *
 * The two flags are independent: with both, main, unimportant and broken run. */
#ifndef ENGINE_SUITE_SELECTION_H
#define ENGINE_SUITE_SELECTION_H

#include "engine/base/names.h"
#include "engine/suite/tests.h"

struct selection {
    /* A pattern is an id or its first parts ("llama", "llama/basic"), MODEL/NAME ("llama/bf4"),
     * or, with any of "*?[", a glob of the whole id. None: everything. */
    const char *const *patterns;
    int pattern_count;
    const char *const *models; /* names; none: all */
    int model_count;
    const char *const *groups; /* names; none: all */
    int group_count;
    bool skip_slow, run_extra_slow;
    const char *keyword; /* an expression on ids (keyword.h); NULL: none */
    /* Ids of tests that failed before; NULL: nothing is known. Of those that are selected only
     * these run, if there are any; with `failed_first` all run, and these come first. */
    const struct names *failed;
    bool failed_first;
};

enum choice {
    CHOICE_RUN = 0,
    CHOICE_DEPENDENCY, /* not selected itself, but one that runs depends on it */
    CHOICE_UNNAMED, /* no pattern or keyword names it: not worth a line even where skipped tests are
                       shown */
    CHOICE_UNASKED, /* --models or --groups leave it out */
    CHOICE_DROPPED, /* its action does not run under these flags */
    CHOICE_NOT_BUILT, /* not implemented here, or for this model */
};

struct test_choice {
    enum choice choice;
    char reason[200]; /* why it does not run; "" if it does */
    bool first;       /* before those that are not, as far as dependencies allow */
};

/* Whether the test runs, selected or as a dependency. */
bool choice_runs(const struct test_choice *choice);
bool test_matches(const struct test_list *list, int test, const char *pattern);

/* Decides about every test: `choices` has test_count elements. Fails on a model, group or pattern
 * that names nothing, with the closest name, and on a keyword that cannot be read. */
bool selection_apply(const struct selection *selection, const struct test_list *list,
                     struct test_choice *choices, struct status *status);

/* The tests that run, each after those it depends on, those that are to be first before the others,
 * otherwise in listed order. `order` has test_count elements; returns how many are filled in. */
int selection_order(const struct test_list *list, const struct test_choice *choices, int *order);

/* Numbers the groups of tests among `order` that depend on each other (weakly connected
 * components) from 0, the largest first; a test alone gets -1. `group_of` has test_count elements.
 * Returns the number of groups. */
int selection_groups(const struct test_list *list, const int *order, int count, int *group_of);

#endif
