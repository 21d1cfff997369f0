/* Rows of many tokens are put in order by several warps: each row once, those of an expert in the
 * order of their tokens. */
#include "engine/base/memory.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 12 };

static bool is_chosen(const int32_t *chosen, int64_t count, int32_t expert)
{
    for (int64_t i = 0; i < count; i++)
        if (chosen[i] == expert)
            return true;
    return false;
}

/* Different ones for each token. Some experts are chosen by many, some by none. */
static struct tensor make_choices(struct random *random, int64_t tokens, int64_t k, int64_t experts)
{
    struct tensor choices = tensor_of(NULL, DTYPE_I32, shape_of2(tokens, k));
    int64_t liked = random_integer(random, 0, experts - 1);
    int32_t *chosen = memory_zeroed((size_t)(tokens * k), sizeof(int32_t));
    for (int64_t i = 0; i < tokens * k; i++) {
        int64_t expert = random_integer(random, 0, 2) ? random_integer(random, 0, liked) : liked;
        while (is_chosen(chosen + i / k * k, i % k, (int32_t)expert))
            expert = (expert + 1) % experts;
        chosen[i] = (int32_t)expert;
    }
    choices.data = chosen;
    return choices;
}

static void check_rows(struct device *device, const struct tensor *choices, int64_t experts)
{
    struct op_call call = {.op = OP_ROUTE_ROWS, .input_count = 1, .output_count = 2};
    struct tensor got[OP_MAX_OUTPUTS];
    int64_t count = shape_elements(choices->shape), at = 0;
    call.inputs[0] = *choices;
    call.outputs[0] = tensor_of(NULL, DTYPE_I32, shape_of1(count));
    call.outputs[1] = tensor_of(NULL, DTYPE_I32, shape_of1(experts));
    module_run(device, &call, got);
    const int32_t *rows = got[0].data, *ends = got[1].data, *chosen = choices->data;
    for (int32_t expert = 0; expert < experts; expert++) {
        for (int32_t i = 0; i < count; i++)
            if (chosen[i] == expert)
                assert_int_equal(rows[at++], i);
        assert_int_equal(ends[expert], at);
    }
    assert_int_equal(at, count);
    free(got[0].data);
    free(got[1].data);
}

static void check_balance(struct device *device, const struct tensor *choices, int64_t experts,
                          struct random *random)
{
    struct op_call call = {.op = OP_LOAD_BALANCE, .input_count = 2, .output_count = 1};
    struct status status = STATUS_NONE;
    struct tensor got[OP_MAX_OUTPUTS], wanted[OP_MAX_OUTPUTS];
    int64_t count = choices->shape.dims[0] * experts;
    call.inputs[0] = tensor_of(NULL, DTYPE_F32, shape_of2(choices->shape.dims[0], experts));
    call.inputs[0].data = memory_zeroed((size_t)count, sizeof(float));
    for (int64_t i = 0; i < count; i++)
        tensor_store(&call.inputs[0], i, random_normal(random));
    call.inputs[1] = *choices;
    call.outputs[0] = tensor_of(NULL, DTYPE_F32, shape_of1(1));
    assert_true(reference_run(&call, wanted, &status));
    module_run(device, &call, got);
    double want = tensor_load(&wanted[0], 0), is = tensor_load(&got[0], 0);
    if (!(fabs(want - is) <= 1e-6 * fabs(want)))
        fail_msg("%g instead of %g", is, want);
    free(call.inputs[0].data);
    free(wanted[0].data);
    free(got[0].data);
}

static void test_router(void **state)
{
    struct random random = random_start("router");
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    (void)state;
    if (!device)
        fail_msg("%s", status.text);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t experts = random_integer(&random, 4, round % 3 ? 10 : 200);
        int64_t tokens = random_integer(&random, 1, round % 2 ? 300 : 3000);
        struct tensor choices =
            make_choices(&random, tokens, random_integer(&random, 1, 4), experts);
        check_rows(device, &choices, experts);
        check_balance(device, &choices, experts, &random);
        free(choices.data);
    }
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_router)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
