#include "helper_expected.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "helper_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* 0: it cannot be read. */
static uint64_t hash_of(const struct run *run, int value, struct status *status)
{
    size_t bytes = value_bytes(&run->program->values[value]);
    void *data = memory_zeroed(bytes, 1);
    if (!executor_read(run->executor, value, data, status)) {
        free(data);
        return 0;
    }
    uint64_t hash = hash_bytes(data, bytes) | 1;
    free(data);
    return hash;
}

void expected_fill(struct expected *expected, struct pool_test *it, const char *variant)
{
    struct status status = STATUS_NONE;
    struct run_options options = {.plan = PLAN_KEEP};
    char text[600];
    *expected = (struct expected){.variant = variant};
    pool_test_load(it, variant, EXPECTED_TOKENS);
    struct world *world = world_create(it->config, it->device, &options, &status);
    assert_non_null(world);
    for (int step = 0; step < EXPECTED_STEPS; step++) {
        if (!world_finish_step(world, text))
            fail_msg("%s", text);
        for (int rank = 0; rank < world->size; rank++) {
            const struct run *run = world->ranks[rank].run;
            uint64_t *hashes = memory_zeroed((size_t)run->program->value_count, sizeof(*hashes));
            for (int v = 0; v < run->program->value_count; v++)
                if (executor_holds(run->executor, v))
                    hashes[v] = hash_of(run, v, &status);
            expected->hashes[step][rank] = hashes;
        }
    }
    world_free(world);
}

bool rank_is_lost(const struct world *world, int rank)
{
    return world->ranks[rank].state == RANK_LOST;
}

int expected_check(const struct expected *expected, const struct world *world, bool gone,
                   struct status *status)
{
    int checked = 0;
    for (int rank = 0; rank < world->size; rank++) {
        const struct run *run = world->ranks[rank].run;
        bool far = !device_host_memory(run->device);
        if (far && (rank_is_lost(world, rank) || gone))
            continue; /* its memory went with it */
        for (int v = 0; v < run->program->value_count; v++) {
            const struct value *value = &run->program->values[v];
            uint64_t right = expected->hashes[run->step][rank][v];
            if (value->kind != VALUE_COMPUTED || !right || value->producer >= run_next(run) ||
                !executor_holds(run->executor, v))
                continue;
            uint64_t hash = hash_of(run, v, status);
            if (!hash)
                return -1;
            if (hash != right)
                fail_msg("%s: wrong bits in %s of rank %d, step %d", expected->variant, value->name,
                         rank, run->step + 1);
            checked++;
        }
    }
    return checked;
}

void expected_free(struct expected *expected)
{
    for (int step = 0; step < EXPECTED_STEPS; step++)
        for (int rank = 0; rank < EXPECTED_RANKS; rank++)
            free(expected->hashes[step][rank]);
}
