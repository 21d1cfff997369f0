/* Every operation of the CUDA device against the float64 reference, on random cases in each type:
 * the cases that the CPU device must pass. LOCKSTEP_TEST_CASES sets how many for each. */
#include "helper_module.h"
#include "helper_op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
enum { EMULATED_CASES = 3 }; /* a fiber for each thread of the GPU is slow there */
#else
enum { EMULATED_CASES = 12 };
#endif
enum { CASES = 100, DTYPES = 3 };

/* One test: a kind in one type, on an open device. */
struct subject {
    const struct device_ops *ops;
    enum op op;
    enum dtype dtype;
    char name[64];
    void *context;
};

static int open_device(void **state)
{
    struct subject *subject = *state;
    struct status status = STATUS_NONE;
    if (subject->ops->open(&subject->context, &(struct device_options){0}, &status))
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
    const char *asked = getenv("LOCKSTEP_TEST_CASES");
    int count = asked ? atoi(asked) : module_is_emulated() ? EMULATED_CASES : CASES;
    op_cases_run(subject->op, subject->dtype, count, subject->ops, subject->context, &random);
}

int main(int count_of_words, char **words)
{
    const enum dtype dtypes[DTYPES] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static struct subject subjects[OP_ALL_REDUCE * DTYPES]; /* the collectives come last */
    static struct CMUnitTest tests[OP_ALL_REDUCE * DTYPES];
    const struct device_ops *ops = module_table();
    int count = 0;
    if (!ops)
        return module_is_emulated() ? 0 : 1;
    if (count_of_words > 1) /* the kinds whose names begin so */
        cmocka_set_test_filter(words[1]);
    for (int op = 0; op < OP_ALL_REDUCE; op++)
        for (int i = 0; i < DTYPES; i++) {
            if (!op_case_has_dtype((enum op)op, dtypes[i]))
                continue;
            struct subject *subject = &subjects[count];
            *subject = (struct subject){.ops = ops, .op = (enum op)op, .dtype = dtypes[i]};
            snprintf(subject->name, sizeof(subject->name), "%s %s", op_name(subject->op),
                     dtype_name(dtypes[i]));
            tests[count++] = (struct CMUnitTest){.name = subject->name,
                                                 .test_func = test_op,
                                                 .setup_func = open_device,
                                                 .teardown_func = close_device,
                                                 .initial_state = subject};
        }
    return _cmocka_run_group_tests("cuda", tests, (size_t)count, NULL, NULL);
}
