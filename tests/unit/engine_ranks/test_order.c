/* The order of all ranks' instructions that world_order finds is one in which they run. */
#include "helper_world.h"

#include "engine/base/memory.h"
#include "tests/unit/distributed_variants.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Takes what the world has done: each instruction must be the next of its rank. */
static int take_events(struct world *world, int *done)
{
    struct world_event event;
    int count = 0;
    while (world_next(world, 0, &event)) {
        assert_int_equal(event.kind, WORLD_DONE);
        assert_int_equal(event.instruction, done[event.rank]);
        done[event.rank]++;
        count++;
    }
    return count;
}

/* Ranks are let go by one instruction at a time. When a round is over nobody may still wait: what
 * an instruction needed of others came before it, or in its round. */
static void follow(struct world *world, const struct world_place *order, int count)
{
    struct status status = STATUS_NONE;
    int *done = memory_zeroed((size_t)world->size, sizeof(*done)), ran = 0;
    for (int i = 0; i < count; i++) {
        int rank = order[i].rank, next = order[i].instruction;
        if (i > 0 && rank <= order[i - 1].rank && ran != i)
            fail_msg("%d of %d have run before rank %d runs %d", ran, i, rank, next);
        assert_true(world_allow(world, rank, next + 1, &status));
        ran += take_events(world, done);
    }
    assert_int_equal(ran, count);
    for (int rank = 0; rank < world->size; rank++)
        assert_int_equal(done[rank], world->ranks[rank].run->program->instruction_count);
    free(done);
}

static void test_ranks_can_run_so(void **state)
{
    (void)state;
    static const char *const models[] = {"llama", "gpt_2", "mixtral"};
    enum { VARIANTS = sizeof(distributed_variants) / sizeof(*distributed_variants) };
    struct random random = random_start("order");
    struct status status = STATUS_NONE;
    struct device *device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    assert_non_null(device);
    for (int i = 0; i < VARIANTS; i++) {
        const char *model = models[random_integer(&random, 0, 2)];
        struct config *config = load_small(model, distributed_variants[i], NULL);
        struct run_options options = {.plan = PLAN_KEEP};
        struct world *world = world_create(config, device, &options, &status);
        if (!world)
            fail_msg("%s/%s: %s", model, distributed_variants[i], status.text);
        struct world_place *order;
        int count = world_order(world, &order);
        printf("%s/%s: %d instructions of %d ranks\n", model, distributed_variants[i], count,
               world->size);
        follow(world, order, count);
        free(order);
        world_free(world);
        config_free(config);
    }
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranks_can_run_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
