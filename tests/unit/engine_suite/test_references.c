/* A recorded reference is kept until the last test that compares with it has ended. */
#include "engine/suite/references.h"
#include "tests/unit/configs.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_freed_after_its_last_user)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
