/* The tests: models x groups x variants. Names as in the model tests' facts: "llama/basic/ce4". */
#ifndef ENGINE_SUITE_TESTS_H
#define ENGINE_SUITE_TESTS_H

#include "engine/config/config.h"

enum test_kind {
    TEST_BASELINE = 0, /* a run by itself: passes when it runs and its numbers are finite */
    TEST_COMPARISON,   /* a run against its reference, in lockstep */
    TEST_DISTRIBUTED,  /* all ranks of a run against a single-process baseline */
    TEST_FROZEN,       /* a frozen MLP is left out of what is trained, and of nothing else */
    TEST_NOT_BUILT,    /* known, but not implemented here */
};

const char *test_kind_name(enum test_kind kind); /* "baseline", ... static */

/* A model as it is tested. */
struct tested_model {
    char *name;
    enum test_action actions[GROUP_COUNT];
    bool requires_cuda;
};

struct test_case {
    char *id;              /* "llama/basic/ce4"; owned, like all strings here */
    char *name;            /* "ce4"; "" for a group without single tests */
    char *variant;         /* NULL if it is not about one */
    char *reference;       /* variant to compare with, or NULL; of one rank: what a distributed
                              variant compares with, if that is distributed, compares with, ... */
    int model;             /* into models */
    enum test_group group; /* the one in its id */
    unsigned groups;       /* bits 1 << enum test_group: each must be enabled */
    enum test_kind kind;
    int ranks; /* processes that it needs; 0: it is not about a variant */
    bool requires_cuda;
    bool unsupported;  /* the model's skip_tests name the variant */
    int *dependencies; /* indices of tests that must have passed before */
    int dependency_count;
};

struct test_list {
    struct tested_model *models;
    int model_count;
    struct test_case *tests; /* models in their order; in each, references come first */
    int test_count, test_capacity;
    char **variants; /* names of all variants in their order */
    int variant_count;
};

/* Lists the tests of `models` (NULL or none: all models). NULL on failure: an unknown model
 * (STATUS_NOT_FOUND, with the closest name), or a wrong configuration (STATUS_INVALID). Free with
 * test_list_free. */
struct test_list *test_list_create(const struct config_search *search, const char *const *models,
                                   int model_count, struct status *status);
void test_list_free(struct test_list *list);

/* Index of the test, -1 if there is none. */
int test_list_find(const struct test_list *list, const char *id);
const char *test_model_name(const struct test_list *list, int test);

/* The test's action: the weakest of those that its model gives to the test's groups, in the order
 * main, normal, unimportant, broken, not implemented. */
enum test_action test_action_of(const struct test_list *list, int test);

#endif
