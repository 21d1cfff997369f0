#include "engine/compare/check.h"

#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Host copies of the operands of one instruction, as they are around its execution. */
struct operands {
    struct op_call call;
    void *buffers[OP_MAX_INPUTS + OP_MAX_OUTPUTS];
};

static void free_operands(struct operands *operands)
{
    for (int i = 0; i < OP_MAX_INPUTS + OP_MAX_OUTPUTS; i++)
        free(operands->buffers[i]);
}

static bool copy_value(const struct pair *pair, int value, struct tensor *tensor, void **buffer,
                       struct status *status)
{
    struct executor *executor = pair->test->executor;
    const struct value *of = &executor->program->values[value];
    *buffer = memory_try(value_bytes(of), 1);
    if (!*buffer)
        return status_fail(status, STATUS_MEMORY, "no memory to copy %s", of->name);
    *tensor = tensor_of(*buffer, of->dtype, of->shape);
    pair_listen(pair, pair->test, true);
    bool ok = executor_try_read(executor, value, *buffer, status);
    pair_listen(pair, pair->test, false);
    return ok;
}

static bool copy_inputs(const struct pair *pair, int instruction, struct operands *operands,
                        struct status *status)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = &program->instructions[instruction];
    program_call(program, instruction, &operands->call);
    for (int i = 0; i < in->input_count; i++)
        if (!copy_value(pair, in->inputs[i], &operands->call.inputs[i], &operands->buffers[i],
                        status))
            return false;
    return true;
}

static bool copy_outputs(const struct pair *pair, int instruction, struct operands *operands,
                         struct status *status)
{
    const struct instruction *in = &pair->test->program->instructions[instruction];
    for (int i = 0; i < in->output_count; i++)
        if (!copy_value(pair, in->outputs[i], &operands->call.outputs[i],
                        &operands->buffers[OP_MAX_INPUTS + i], status))
            return false;
    return true;
}

static bool all_at_hand(const struct run *run, int instruction)
{
    const struct instruction *in = &run->program->instructions[instruction];
    for (int i = 0; i < in->input_count; i++)
        if (!executor_holds(run->executor, in->inputs[i]))
            return false;
    for (int i = 0; i < in->output_count; i++)
        if (!executor_holds(run->executor, in->outputs[i]))
            return false;
    return true;
}

/* Takes the operands now, or goes back to the instruction for them. */
static bool gather_operands(struct pair *pair, int step, int instruction, struct operands *operands,
                            struct status *status)
{
    struct run *run = pair->test;
    if (run->step == step && all_at_hand(run, instruction))
        return copy_inputs(pair, instruction, operands, status) &&
               copy_outputs(pair, instruction, operands, status);
    int saved_step = run->step, saved_next = run_next(run);
    struct pair_event event;
    return pair_go_to(pair, step, instruction, status) &&
           copy_inputs(pair, instruction, operands, status) && pair_run_one(pair, &event, status) &&
           copy_outputs(pair, instruction, operands, status) &&
           pair_go_to(pair, saved_step, saved_next, status);
}

static double longest_sum(const struct op_call *call)
{
    double longest = 1;
    for (int i = 0; i < call->input_count; i++)
        for (int d = 0; d < call->inputs[i].shape.rank; d++)
            longest = fmax(longest, (double)call->inputs[i].shape.dims[d]);
    return longest;
}

/* A generous bound for the relative rms error of one instruction in the dtypes of `call`: one
 * rounding of the output, and a random walk of float32 roundings over the longest sum. */
static double check_expected_error(const struct op_call *call)
{
    double output = 0;
    for (int i = 0; i < call->output_count; i++)
        if (dtype_is_float(call->outputs[i].dtype) && call->outputs[i].dtype != DTYPE_F64)
            output = fmax(output, dtype_epsilon(call->outputs[i].dtype));
    return 2 * output + 16 * dtype_epsilon(DTYPE_F32) * sqrt(longest_sum(call));
}

/* What the terms of an output's sum amount to where they may cancel, so that nothing but rounding
 * is left: with every expert chosen the load balance does not depend on the router at all. */
static double size_of_terms(const struct op_call *call)
{
    if (call->op != OP_LOAD_BALANCE_GRADIENT)
        return 0;
    return fabs(call->parameters.factor * tensor_load(&call->inputs[2], 0)) /
           (double)shape_elements(call->inputs[0].shape);
}

static double largest_number(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? 65504 : dtype == DTYPE_BF16 ? 0x1.fep127 : FLT_MAX;
}

/* float64 does not overflow where the dtype must: there an infinity is right. */
static void accept_overflow(struct tensor *result, const struct tensor *output, double expected)
{
    double least = largest_number(output->dtype) * (1 - expected);
    for (int64_t i = 0; i < shape_elements(output->shape); i++) {
        double computed = tensor_load(output, i), exact = tensor_load(result, i);
        if (isinf(computed) && fabs(exact) >= least && signbit(exact) == signbit(computed))
            tensor_store(result, i, computed);
    }
}

/* Of numbers of rows and choices of experts all must be equal: the part that is not. */
static double different_part(const struct tensor *result, const struct tensor *output,
                             struct metrics *metrics)
{
    *metrics = (struct metrics){.count = shape_elements(output->shape), .max_index = -1};
    for (int64_t i = 0; i < metrics->count; i++)
        metrics->different += tensor_load(output, i) != tensor_load(result, i);
    return (double)metrics->different / fmax(1, (double)metrics->count);
}

/* Output `output` against its float64 result; false when interrupted. */
static bool compare_output(const struct pair *pair, const struct op_call *call, int output,
                           struct tensor *result, struct metrics *metrics, double *relative)
{
    const struct tensor *computed = &call->outputs[output];
    const struct interrupt *interrupt = pair->interrupt;
    int threads = pair->options.threads;
    if (!dtype_is_float(computed->dtype)) {
        *relative = different_part(result, computed, metrics);
        return true;
    }
    bool done = metrics_compute_unless(interrupt, result, computed, 1, threads, metrics);
    if (done && metrics->infinity_test > metrics->infinity_reference &&
        computed->dtype != DTYPE_F64) {
        accept_overflow(result, computed, check_expected_error(call));
        done = metrics_compute_unless(interrupt, result, computed, 1, threads, metrics);
    }
    double scale = fmax(metrics->rms_reference, size_of_terms(call));
    *relative = metrics->rms_difference / (scale > 0 ? scale : 1);
    if (metrics->nan_test > metrics->nan_reference ||
        metrics->infinity_test > metrics->infinity_reference)
        *relative = INFINITY;
    return done;
}

/* The output that is furthest beyond what rounding explains of it speaks for all. */
static bool judge_outputs(const struct pair *pair, const struct operands *operands,
                          struct tensor *results, struct check *check, struct status *status)
{
    const struct instruction *in = &pair->test->program->instructions[check->instruction];
    const struct op_call *call = &operands->call;
    double expected = check_expected_error(call);
    double worst = -1;
    for (int i = 0; i < in->output_count; i++) {
        struct metrics metrics;
        double relative, rounding = dtype_is_float(call->outputs[i].dtype) ? expected : 0;
        if (!compare_output(pair, call, i, &results[i], &metrics, &relative))
            return interrupt_fail(status);
        double excess = rounding > 0 ? relative / rounding : relative > 0 ? INFINITY : 0;
        if (excess <= worst)
            continue;
        worst = excess;
        check->introduced_relative = relative;
        check->introduced = metrics;
        check->expected_relative = rounding;
        check->wrong = relative > rounding;
        check->output = in->outputs[i];
    }
    return true;
}

bool check_instruction(struct pair *pair, int step, int instruction, struct check *check,
                       struct status *status)
{
    *check = (struct check){.step = step, .instruction = instruction, .output = -1};
    if (op_is_collective(pair->test->program->instructions[instruction].op))
        return true;
    struct operands operands = {0};
    struct tensor results[OP_MAX_OUTPUTS] = {{0}};
    bool ok = gather_operands(pair, step, instruction, &operands, status);
    operands.call.interrupt = pair->interrupt;
    ok = ok && reference_run(&operands.call, results, status);
    if (ok) {
        check->supported = true;
        ok = judge_outputs(pair, &operands, results, check, status);
    }
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        free(results[i].data);
    free_operands(&operands);
    return ok;
}
