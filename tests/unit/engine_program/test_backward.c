/* The backward rule of each kind: what backward_emit() derives from one instruction, run in
 * float64, against central differences of that instruction. Fresh operands in each run. */
#include "helper_kinds.h"

#include "engine/base/memory.h"
#include "engine/device/device.h"
#include "engine/program/backward.h"
#include "tests/unit/configs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 4, MOST_VALUES = 64, ELEMENTS = 48 };

/* A kind, and which of its inputs have a gradient, as bits: indices, tables and counts have none.
 */
struct rule {
    enum op op;
    unsigned inputs;
    int weighed; /* the output that c is for; -1: a loss, whose gradient is the loss scale */
};

static const struct rule rules[] = {{OP_COPY, 1, 0},
                                    {OP_SCALE, 1, 0},
                                    {OP_ADD, 3, 0},
                                    {OP_SLICE_ROWS, 1, 0},
                                    {OP_WRITE_ROWS, 3, 0},
                                    {OP_EMBEDDING, 2, 0},
                                    {OP_ADD_BIAS, 3, 0},
                                    {OP_MATMUL, 7, 0},
                                    {OP_LAYER_NORM, 7, 0},
                                    {OP_RMS_NORM, 3, 0},
                                    {OP_ROTARY, 1, 0},
                                    {OP_ATTENTION, 3, 0},
                                    {OP_ACTIVATION, 1, 0},
                                    {OP_GATED_ACTIVATION, 1, 0},
                                    {OP_CROSS_ENTROPY, 1, -1},
                                    {OP_TOP_K, 1, 1},
                                    {OP_LOAD_BALANCE, 1, -1},
                                    {OP_GATHER_ROWS, 1, 0},
                                    {OP_GROUPED_MATMUL, 3, 0},
                                    {OP_COMBINE_ROWS, 3, 0}};

/* One instruction, and the program that computes it and its gradients. */
struct proof {
    const struct rule *rule;
    struct sample sample;
    struct config *config;
    struct builder builder;
    struct tensor numbers[MOST_VALUES]; /* f64 or i32, by value; data owned */
    int inputs[OP_MAX_INPUTS];
    int forward; /* how many instructions there are before the backward pass */
    int weighed; /* the value that c is for */
    int c;
};

/* Numbers of a value that no instruction writes; floats become f64. */
static void give(struct proof *it, int value, const struct tensor *from)
{
    enum dtype dtype = dtype_is_float(from->dtype) ? DTYPE_F64 : from->dtype;
    int64_t count = shape_elements(from->shape);
    assert_true(value < MOST_VALUES);
    it->numbers[value] =
        tensor_of(memory_zeroed((size_t)count, dtype_size(dtype)), dtype, from->shape);
    for (int64_t i = 0; i < count; i++)
        tensor_store(&it->numbers[value], i, tensor_load(from, i));
}

static int add_input(struct proof *it, const char *path, const struct tensor *from, bool wanted)
{
    int value = builder_input(&it->builder, path, from->dtype, from->shape);
    it->builder.program->values[value].needs_gradient = wanted;
    give(it, value, from);
    return value;
}

/* A small step must not change who is among the chosen. */
static void part_experts(struct tensor *logits)
{
    for (int64_t t = 0; t < logits->shape.dims[0]; t++) {
        double a = tensor_load(logits, 2 * t), b = tensor_load(logits, 2 * t + 1);
        tensor_store(logits, 2 * t, a < b ? a - 0.1 : a + 0.1);
    }
}

static void build(struct proof *it, struct random *random)
{
    struct builder *builder = &it->builder;
    struct sample *sample = &it->sample;
    struct output_spec outputs[OP_MAX_OUTPUTS] = {{0}};
    double scale = random_uniform(random, 0.5, 2);
    struct tensor one = tensor_of(&scale, DTYPE_F64, shape_of1(1));
    if (it->rule->op == OP_TOP_K)
        part_experts(&sample->inputs[0]);
    sample->parameters.transpose_a = false; /* layers do not */
    for (int i = 0; i < sample->input_count; i++) {
        char path[16];
        snprintf(path, sizeof(path), "operand%d", i);
        it->inputs[i] = add_input(it, path, &sample->inputs[i], it->rule->inputs >> i & 1);
    }
    for (int i = 0; i < sample->output_count; i++)
        outputs[i] = (struct output_spec){.dtype = sample->outputs[i].dtype,
                                          .shape = sample->outputs[i].shape};
    builder->loss_scale = add_input(it, "loss_scale", &one, false);
    int index = builder_emit(builder, it->rule->op, &sample->parameters, it->inputs,
                             sample->input_count, outputs, sample->output_count);
    it->forward = builder->program->instruction_count;
    int loss = it->rule->weighed < 0;
    it->weighed = builder->program->instructions[index].outputs[loss ? 0 : it->rule->weighed];
    it->c = builder->loss_scale;
}

/* c, for a value that is no loss. */
static void weigh(struct proof *it, struct random *random)
{
    struct tensor c = tensor_of(NULL, DTYPE_F32, it->builder.program->values[it->weighed].shape);
    if (it->rule->weighed < 0)
        return;
    c.data = memory_zeroed((size_t)shape_elements(c.shape), sizeof(float));
    for (int64_t i = 0; i < shape_elements(c.shape); i++)
        tensor_store(&c, i, random_normal(random));
    it->c = add_input(it, "c", &c, false);
    it->builder.gradient[it->weighed] = it->c;
    free(c.data);
}

/* Instructions first .. last-1, in float64. */
static void run(struct proof *it, int first, int last)
{
    const struct program *program = it->builder.program;
    struct status status = STATUS_NONE;
    for (int i = first; i < last; i++) {
        struct op_call call;
        struct tensor results[OP_MAX_OUTPUTS];
        program_call(program, i, &call);
        for (int k = 0; k < call.input_count; k++)
            call.inputs[k] = it->numbers[program->instructions[i].inputs[k]];
        if (!reference_run(&call, results, &status))
            fail_msg("%s: %s", op_name(call.op), status.text);
        for (int k = 0; k < call.output_count; k++) {
            int value = program->instructions[i].outputs[k];
            assert_true(value < MOST_VALUES);
            free(it->numbers[value].data);
            it->numbers[value] = results[k];
        }
    }
}

/* <c, f(x)> */
static double project(struct proof *it)
{
    const struct tensor *c = &it->numbers[it->c], *y = &it->numbers[it->weighed];
    double sum = 0;
    run(it, 0, it->forward);
    for (int64_t i = 0; i < shape_elements(c->shape); i++)
        sum += tensor_load(c, i) * tensor_load(y, i);
    return sum;
}

/* The gradient of rows that were written over is never looked at, and may be anything. */
static bool is_written_over(const struct proof *it, int input, int64_t element)
{
    const struct shape *part = &it->sample.inputs[1].shape;
    int64_t row = it->rule->op == OP_WRITE_ROWS ? element / part->dims[1] : 0;
    int64_t first = it->sample.parameters.first_row;
    return it->rule->op == OP_WRITE_ROWS && input == 0 && row >= first &&
           row < first + part->dims[0];
}

/* The step of 1e-5 leaves 1e-10 of third derivatives and, of sums of up to 1e3, 1e-8 of rounding.
 */
static void check_element(struct proof *it, int input, int64_t i)
{
    const double step = 1e-5, bound = 2e-6;
    struct tensor *x = &it->numbers[it->inputs[input]];
    double at = tensor_load(x, i);
    tensor_store(x, i, at + step);
    double above = project(it);
    tensor_store(x, i, at - step);
    double want = (above - project(it)) / (2 * step);
    tensor_store(x, i, at);
    double got = tensor_load(&it->numbers[it->builder.gradient[it->inputs[input]]], i);
    if (!is_written_over(it, input, i) && !(fabs(got - want) <= bound * (1 + fabs(want))))
        fail_msg("%s: gradient of input %d, element %lld: %.12g, by differences %.12g",
                 op_name(it->rule->op), input, (long long)i, got, want);
}

/* All elements of small operands, some of others. */
static void check_input(struct proof *it, int input, struct random *random)
{
    const struct tensor *x = &it->numbers[it->inputs[input]];
    int gradient = it->builder.gradient[it->inputs[input]];
    int64_t count = shape_elements(x->shape);
    if (gradient < 0)
        fail_msg("%s: input %d gets no gradient", op_name(it->rule->op), input);
    assert_true(shape_equal(it->numbers[gradient].shape, x->shape));
    for (int64_t i = 0; i < count && i < ELEMENTS; i++)
        check_element(it, input, count <= ELEMENTS ? i : random_integer(random, 0, count - 1));
}

static void prove(const struct rule *rule, struct random *random)
{
    struct proof it = {.rule = rule, .config = load_config("llama", NULL, 0)};
    struct program *program = program_create();
    builder_start(&it.builder, program, it.config);
    sample_make(&it.sample, rule->op, random);
    build(&it, random);
    weigh(&it, random);
    backward_emit(&it.builder, 0, it.forward);
    if (it.builder.status.code != STATUS_OK)
        fail_msg("%s: %s", op_name(rule->op), it.builder.status.text);
    run(&it, 0, program->instruction_count);
    for (int i = 0; i < it.sample.input_count; i++)
        if (rule->inputs >> i & 1)
            check_input(&it, i, random);
    for (int v = 0; v < MOST_VALUES; v++)
        free(it.numbers[v].data);
    sample_free(&it.sample);
    builder_finish(&it.builder);
    program_free(program);
    config_free(it.config);
}

static void test_rule(void **state)
{
    const struct rule *rule = *state;
    struct random random = random_start(op_name(rule->op));
    for (int round = 0; round < ROUNDS; round++)
        prove(rule, &random);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LENGTH(rules)];
    memset(tests, 0, sizeof(tests));
    for (int i = 0; i < ARRAY_LENGTH(rules); i++)
        tests[i] = (struct CMUnitTest){.name = op_name(rules[i].op),
                                       .test_func = test_rule,
                                       .initial_state = (void *)(uintptr_t)&rules[i]};
    return _cmocka_run_group_tests("backward rules", tests, ARRAY_LENGTH(tests), NULL, NULL);
}
