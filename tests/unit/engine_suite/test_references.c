/* A recorded reference is kept until the last test that compares with it has ended. */
#include "engine/base/memory.h"
#include "engine/suite/execute.h"
#include "tests/unit/configs.h"

#include <stdlib.h>
#include <string.h>

struct bench {
    struct device *device;
    struct references references;
};

/* Adds the recording of a tiny run, and gives its hash. */
static uint64_t add(struct bench *bench, const char *name, int users)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config(name);
    uint64_t hash = config->hash;
    struct comm *comm = comm_self();
    struct run *run = run_create(config, bench->device, comm, &(struct run_options){0}, &status);
    assert_non_null(run);
    assert_true(references_fit(run->program, run->steps));
    struct recording *recording =
        recording_make(run, &bench->references.spare, NULL, NULL, &status);
    assert_non_null(recording);
    run_free(run);
    comm_close(comm);
    references_add(&bench->references, config, recording, users);
    return hash;
}

static void is_freed_after_its_last_user(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct bench bench = {.device = device_open("cpu", &(struct device_options){0}, &status)};
    struct references *references = &bench.references;
    uint64_t simple = add(&bench, "llama/simple", 2);
    int64_t bytes = references->bytes;
    uint64_t other = add(&bench, "llama/df4", 1);
    assert_true(bytes > 0 && references->bytes > bytes);
    references_release(references, simple);
    assert_non_null(references_find(references, simple));
    references_release(references, other + 1); /* nobody's */
    references_release(references, other);
    assert_null(references_find(references, other));
    assert_non_null(references_find(references, simple));
    assert_int_equal(references->bytes, bytes);
    references_release(references, simple);
    assert_null(references_find(references, simple));
    assert_int_equal(references->bytes, 0);
    references_release(references, simple);
    const char *spare = references->spare.memory;
    assert_non_null(spare);
    add(&bench, "llama/simple", 3);
    assert_ptr_equal(references->newest->recording->memory, spare);
    assert_null(references->spare.memory);
    references_free(references);
    assert_int_equal(references->bytes, 0);
    assert_null(references->spare.memory);
    device_close(bench.device);
}

/* Executes the tests that run, and says how many were skipped for their layout. The recording that
 * they compare with must be there for all of them, and no longer. */
static int execute_all(struct environment *environment, const struct test_list *list)
{
    int *order = memory_zeroed((size_t)list->test_count, sizeof(*order)), skipped = 0;
    int count = selection_order(list, environment->choices, order);
    for (int i = 0; i < count; i++) {
        struct outcome outcome = {0};
        test_execute(environment, list, order[i], &outcome);
        if (outcome.kind == OUTCOME_SKIPPED)
            skipped += !strncmp(outcome.reason, "not supported: ", 15);
        else if (outcome.kind != OUTCOME_PASSED)
            fail_msg("%s: %s", list->tests[order[i]].id, outcome.reason);
        outcome_free(&outcome);
        assert_int_equal(environment->references.bytes > 0, i + 1 < count);
    }
    free(order);
    return skipped;
}

/* Without causal attention there are no micro-sequences, and 47 channels are not shared by two. */
static void is_freed_after_skipped_users(void **state)
{
    (void)state;
    static const char *const settings[] = {"data.micro_batch_size=64", "base_model.hidden_size=32",
                                           "base_model.decoder.block.mlp.intermediate_size=47",
                                           "base_model.decoder.block.mixer.causal=false"};
    static const char *const models[] = {"llama"};
    static const char *const patterns[] = {"llama/ms4", "llama/ce4", "llama/tp2"};
    struct status status = STATUS_NONE;
    struct config_search search = search_configs(settings, ARRAY_LENGTH(settings));
    struct test_list *list = test_list_create(&search, models, 1, &status);
    assert_non_null(list);
    struct selection selection = {.patterns = patterns, .run_extra_slow = true};
    struct test_choice *choices = memory_zeroed((size_t)list->test_count, sizeof(*choices));
    /* The last of the users is ms4, then tp2: each of them is skipped. */
    for (selection.pattern_count = 2; selection.pattern_count <= 3; selection.pattern_count++) {
        struct environment environment = {.search = &search,
                                          .device_name = "cpu",
                                          .choices = choices,
                                          .launch = {.in_process = true}};
        assert_true(selection_apply(&selection, list, choices, &status));
        assert_int_equal(execute_all(&environment, list), selection.pattern_count - 1);
        environment_close(&environment);
    }
    free(choices);
    test_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_freed_after_its_last_user),
                                       cmocka_unit_test(is_freed_after_skipped_users)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
