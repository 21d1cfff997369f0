/* The reference as a device: strided rows, in place, and nothing written elsewhere. */
#include "helper_op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 30 };

static void test_op(void **state)
{
    enum op op = *(const enum op *)*state;
    struct random random = random_start(op_name(op));
    op_cases_run(op, DTYPE_F64, CASES, &device_reference, NULL, &random);
}

/* A device that is wrong in one way, to see that the comparison notices. */
static bool run_wrong(void *context, const struct op_call *call, struct status *status)
{
    const char *way = context;
    if (!device_reference.run(NULL, call, status))
        return false;
    const struct tensor *out = &call->outputs[0];
    double *data = out->data;
    int64_t last = (out->shape.dims[0] - 1) * out->row_stride + shape_columns(out->shape) - 1;
    if (strcmp(way, "number") == 0)
        data[last] += 1e-9 * (1 + data[last]);
    else if (strcmp(way, "nan") == 0)
        memset(&data[last], 0xff, sizeof(double));
    else if (strcmp(way, "behind") == 0)
        data[last + 1] = 0;
    else if (strcmp(way, "before") == 0)
        data[-1] = 0;
    else if (strcmp(way, "input") == 0)
        ((double *)call->inputs[0].data)[0] += 1;
    return true;
}

static void test_comparison(void **state)
{
    (void)state;
    const char *const ways[] = {"number", "nan", "behind", "before", "input"};
    struct random random = random_start("comparison");
    struct device_ops wrong = device_reference;
    wrong.run = run_wrong;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct status status = STATUS_NONE;
        struct op_case it;
        char way[16];
        snprintf(way, sizeof(way), "%s", ways[i]);
        op_case_make(&it, OP_MATMUL, DTYPE_F64, &random);
        assert_true(op_case_check(&it, &device_reference, NULL, &status));
        assert_false(op_case_check(&it, &wrong, way, &status));
        op_case_free(&it);
    }
}

int main(void)
{
    enum op ops[OP_ALL_REDUCE]; /* the collectives come last */
    struct CMUnitTest tests[OP_ALL_REDUCE + 1];
    for (int op = 0; op < OP_ALL_REDUCE; op++) {
        ops[op] = (enum op)op;
        tests[op] = (struct CMUnitTest){
            .name = op_name(ops[op]), .test_func = test_op, .initial_state = &ops[op]};
    }
    tests[OP_ALL_REDUCE] = (struct CMUnitTest)cmocka_unit_test(test_comparison);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
