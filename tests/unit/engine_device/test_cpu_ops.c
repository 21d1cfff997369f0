/* Every operation of the CPU device against the float64 reference, on random cases in each type. */
#include "helper_op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 40, DTYPES = 3 };

/* One test: a kind in one type, on an open device. */
struct subject {
    enum op op;
    enum dtype dtype;
    char name[64];
    void *context;
};

static int open_device(void **state)
{
    struct subject *subject = *state;
    struct status status = STATUS_NONE;
    if (device_cpu.open(&subject->context, &(struct device_options){.threads = 2}, &status))
        return 0;
    printf("%s\n", status.text);
    return 1;
}

static int close_device(void **state)
{
    device_cpu.close(((struct subject *)*state)->context);
    return 0;
}

static void test_op(void **state)
{
    const struct subject *subject = *state;
    struct random random = random_start(subject->name);
    op_cases_run(subject->op, subject->dtype, CASES, &device_cpu, subject->context, &random);
}

int main(void)
{
    const enum dtype dtypes[DTYPES] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    struct subject subjects[OP_ALL_REDUCE * DTYPES]; /* the collectives come last */
    struct CMUnitTest tests[OP_ALL_REDUCE * DTYPES];
    memset(tests, 0, sizeof(tests));
    int count = 0;
    for (int op = 0; op < OP_ALL_REDUCE; op++)
        for (int i = 0; i < DTYPES; i++) {
            if (!op_case_has_dtype((enum op)op, dtypes[i]))
                continue;
            struct subject *subject = &subjects[count];
            *subject = (struct subject){.op = (enum op)op, .dtype = dtypes[i]};
            snprintf(subject->name, sizeof(subject->name), "%s %s", op_name(subject->op),
                     dtype_name(dtypes[i]));
            tests[count++] = (struct CMUnitTest){.name = subject->name,
                                                 .test_func = test_op,
                                                 .setup_func = open_device,
                                                 .teardown_func = close_device,
                                                 .initial_state = subject};
        }
    return _cmocka_run_group_tests("cpu", tests, (size_t)count, NULL, NULL);
}
