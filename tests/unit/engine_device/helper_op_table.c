#include "helper_op_table.h"

#include "helper_op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DTYPES = 3 };

/* One test: a kind in one type, on an open device. */
struct subject {
    const struct device_ops *ops;
    const struct device_options *options;
    enum op op;
    enum dtype dtype;
    int cases;
    char name[64];
    void *context;
};

static int open_device(void **state)
{
    struct subject *subject = *state;
    struct status status = STATUS_NONE;
    if (subject->ops->open(&subject->context, subject->options, &status))
        return 0;
    printf("%s\n", status.text);
    return 1;
}

static int close_device(void **state)
{
    struct subject *subject = *state;
    subject->ops->close(subject->context);
    return 0;
}

static void test_op(void **state)
{
    const struct subject *subject = *state;
    struct random random = random_start(subject->name);
    op_cases_run(subject->op, subject->dtype, subject->cases, subject->ops, subject->context,
                 &random);
}

int op_table_run(const char *group, const struct device_ops *ops,
                 const struct device_options *options, int cases, const char *filter)
{
    static const enum dtype dtypes[DTYPES] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    struct subject subjects[OP_ALL_REDUCE * DTYPES]; /* the collectives come last */
    struct CMUnitTest tests[OP_ALL_REDUCE * DTYPES];
    memset(tests, 0, sizeof(tests));
    int count = 0;
    if (filter)
        cmocka_set_test_filter(filter);
    for (int i = 0; i < OP_ALL_REDUCE * DTYPES; i++) {
        enum op op = (enum op)(i / DTYPES);
        enum dtype dtype = dtypes[i % DTYPES];
        if (!op_case_has_dtype(op, dtype))
            continue;
        struct subject *subject = &subjects[count];
        *subject = (struct subject){
            .ops = ops, .options = options, .op = op, .dtype = dtype, .cases = cases};
        snprintf(subject->name, sizeof(subject->name), "%s %s", op_name(op), dtype_name(dtype));
        tests[count++] = (struct CMUnitTest){.name = subject->name,
                                             .test_func = test_op,
                                             .setup_func = open_device,
                                             .teardown_func = close_device,
                                             .initial_state = subject};
    }
    return _cmocka_run_group_tests(group, tests, (size_t)count, NULL, NULL);
}
