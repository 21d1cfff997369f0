/* Runs cases on a device and compares. */
#include "helper_op_cases.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char *op_case_text(const struct op_case *it, char *buffer, int size)
{
    const struct op_parameters *by = &it->call.parameters;
    struct text text = {0};
    char shape[80];
    text_format(&text, "%s", op_name(it->call.op));
    for (int i = 0; i < it->call.input_count + it->call.output_count; i++) {
        bool output = i >= it->call.input_count;
        const struct tensor *tensor =
            output ? &it->call.outputs[i - it->call.input_count] : &it->call.inputs[i];
        text_format(&text, "%s%s%s/%lld", i == it->call.input_count ? " -> " : " ",
                    dtype_name(tensor->dtype), shape_text(tensor->shape, shape),
                    (long long)tensor->row_stride);
    }
    text_format(&text,
                " value %g factor %g epsilon %g scale %g first_row %lld window %lld heads %d "
                "groups %d size %d activation %d causal %d transposes %d%d inverse %d dynamic %d "
                "hysteresis %d",
                by->value, by->factor, by->epsilon, by->scale, (long long)by->first_row,
                (long long)by->window, by->heads, by->head_groups, by->head_size, by->activation,
                by->causal, by->transpose_a, by->transpose_b, by->inverse, by->dynamic,
                by->hysteresis);
    snprintf(buffer, (size_t)size, "%s", text.data);
    text_free(&text);
    return buffer;
}

/* A run: the blocks on the device, and as they came back. */
struct run {
    const struct device_ops *ops;
    void *context;
    struct op_call call;            /* with device pointers */
    void *device[OP_CASE_OPERANDS]; /* copies of the blocks */
    unsigned char *back[OP_CASE_OPERANDS];
    int block_of_output[OP_MAX_OUTPUTS]; /* an input's in place */
};

static bool send(struct run *run, const struct op_case *it, struct status *status)
{
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        const struct op_block *block = &it->blocks[i];
        if (!block->memory)
            continue;
        if (!run->ops->allocate(run->context, block->bytes, &run->device[i], status) ||
            !run->ops->upload(run->context, run->device[i], block->memory, block->bytes, status))
            return false;
        run->back[i] = memory_zeroed(block->bytes, 1);
    }
    for (int i = 0; i < it->call.input_count; i++)
        run->call.inputs[i].data = (char *)run->device[i] + it->blocks[i].offset;
    for (int o = 0; o < it->call.output_count; o++) {
        int block = run->block_of_output[o];
        if (block < OP_MAX_INPUTS)
            run->call.outputs[o] = run->call.inputs[block];
        else
            run->call.outputs[o].data = (char *)run->device[block] + it->blocks[block].offset;
    }
    return true;
}

/* Runs with a workspace full of NaN, exactly as large as was asked for, and a guard behind it. */
static bool execute(struct run *run, struct status *status)
{
    enum { GUARD = 64 };
    size_t bytes = run->ops->workspace ? run->ops->workspace(run->context, &run->call) : 0;
    unsigned char *host = memory_zeroed(bytes + GUARD, 1);
    memset(host, 0xff, bytes + GUARD);
    void *workspace = NULL;
    bool done = run->ops->allocate(run->context, bytes + GUARD, &workspace, status);
    done = done && run->ops->upload(run->context, workspace, host, bytes + GUARD, status);
    run->call.workspace = workspace;
    done = done && run->ops->run(run->context, &run->call, status);
    if (done && run->ops->synchronize)
        done = run->ops->synchronize(run->context, status);
    done = done && run->ops->download(run->context, host, workspace, bytes + GUARD, status);
    for (size_t i = bytes; done && i < bytes + GUARD; i++)
        if (host[i] != 0xff)
            done = status_fail(status, STATUS_INTERNAL, "wrote behind its workspace of %zu bytes",
                               bytes);
    if (workspace)
        run->ops->release(run->context, workspace, bytes + GUARD);
    free(host);
    return done;
}

static bool fetch(struct run *run, const struct op_case *it, struct status *status)
{
    for (int i = 0; i < OP_CASE_OPERANDS; i++)
        if (run->device[i] && !run->ops->download(run->context, run->back[i], run->device[i],
                                                  it->blocks[i].bytes, status))
            return false;
    return true;
}

static void run_free(struct run *run, const struct op_case *it)
{
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        if (run->device[i])
            run->ops->release(run->context, run->device[i], it->blocks[i].bytes);
        free(run->back[i]);
    }
}

/* Writes the case's own bytes over the rows of an output, so that what is left to compare with
 * the block that was sent are the bytes that no kernel may touch. */
static void blank_rows(unsigned char *bytes, const struct op_block *block,
                       const struct tensor *tensor)
{
    size_t size = dtype_size(tensor->dtype), row = (size_t)shape_columns(tensor->shape) * size;
    for (int64_t i = 0; i < tensor->shape.dims[0]; i++) {
        size_t at = block->offset + (size_t)(i * tensor->row_stride) * size;
        memcpy(bytes + at, block->memory + at, row);
    }
}

static bool check_untouched(const struct run *run, const struct op_case *it, struct status *status)
{
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        const struct op_block *block = &it->blocks[i];
        if (!block->memory)
            continue;
        unsigned char *bytes = memory_zeroed(block->bytes, 1);
        memcpy(bytes, run->back[i], block->bytes);
        for (int o = 0; o < it->call.output_count; o++)
            if (run->block_of_output[o] == i)
                blank_rows(bytes, block, &run->call.outputs[o]);
        bool same = memcmp(bytes, block->memory, block->bytes) == 0;
        free(bytes);
        if (!same)
            return status_fail(status, STATUS_INTERNAL, "wrote outside the rows of %s %d",
                               i < OP_MAX_INPUTS ? "input" : "output", i % OP_MAX_INPUTS);
    }
    return true;
}

static bool same_number(double got, double wanted, double bound)
{
    if (isnan(wanted) || isinf(wanted))
        return isnan(wanted) ? isnan(got) : got == wanted;
    return fabs(got - wanted) <= bound; /* false for NaN */
}

/* A skipped step has no use for the gradient's multiplier, which may then be anything. */
static bool is_undefined(const struct op_case *it, const struct tensor *wanted, int output,
                         int64_t index)
{
    return it->call.op == OP_OPTIMIZER_FACTORS && output == 0 && index == 0 &&
           tensor_load(wanted, 1) != 0;
}

static bool check_numbers(const struct run *run, const struct op_case *it,
                          const struct tensor wanted[OP_MAX_OUTPUTS],
                          const struct tensor bounds[OP_MAX_OUTPUTS], struct status *status)
{
    for (int o = 0; o < it->call.output_count; o++) {
        int block = run->block_of_output[o];
        struct tensor got = run->call.outputs[o];
        got.data = run->back[block] + it->blocks[block].offset;
        for (int64_t i = 0; i < shape_elements(got.shape); i++) {
            double a = tensor_load(&got, i), b = tensor_load(&wanted[o], i);
            double bound = tensor_load(&bounds[o], i);
            if (!same_number(a, b, bound) && !is_undefined(it, &wanted[o], o, i))
                return status_fail(status, STATUS_INTERNAL,
                                   "output %d[%" PRId64 "] is %.9g, reference %.9g, difference "
                                   "%.3g, bound %.3g",
                                   o, i, a, b, fabs(a - b), bound);
        }
    }
    return true;
}

/* One run, compared. `previous` (or NULL) is an equal run, of which every bit must be the same. */
static bool run_and_check(struct run *run, const struct op_case *it, const struct run *previous,
                          const struct tensor wanted[OP_MAX_OUTPUTS],
                          const struct tensor bounds[OP_MAX_OUTPUTS], struct status *status)
{
    if (!send(run, it, status) || !execute(run, status) || !fetch(run, it, status) ||
        !check_untouched(run, it, status) || !check_numbers(run, it, wanted, bounds, status))
        return false;
    for (int i = 0; previous && i < OP_CASE_OPERANDS; i++)
        if (run->back[i] && memcmp(run->back[i], previous->back[i], it->blocks[i].bytes) != 0)
            return status_fail(status, STATUS_INTERNAL, "gave other bits the second time");
    return true;
}

/* Maps outputs onto the inputs whose place they may take; false if there are none. */
static bool in_place(struct run *run, const struct op_case *it)
{
    bool any = false;
    for (int o = 0; o < it->call.output_count; o++) {
        int input = op_in_place(it->call.op, o);
        run->block_of_output[o] = OP_MAX_INPUTS + o;
        if (input < 0 || it->call.inputs[input].dtype != it->call.outputs[o].dtype ||
            !shape_equal(it->call.inputs[input].shape, it->call.outputs[o].shape))
            continue;
        run->block_of_output[o] = input;
        any = true;
    }
    return any;
}

static bool check_runs(const struct op_case *it, const struct device_ops *ops, void *context,
                       const struct tensor wanted[OP_MAX_OUTPUTS],
                       const struct tensor bounds[OP_MAX_OUTPUTS], struct status *status)
{
    struct run runs[3];
    for (int i = 0; i < 3; i++) {
        runs[i] = (struct run){.ops = ops, .context = context, .call = it->call};
        for (int o = 0; o < OP_MAX_OUTPUTS; o++)
            runs[i].block_of_output[o] = OP_MAX_INPUTS + o;
    }
    bool done = run_and_check(&runs[0], it, NULL, wanted, bounds, status) &&
                run_and_check(&runs[1], it, &runs[0], wanted, bounds, status);
    if (done && in_place(&runs[2], it) &&
        !run_and_check(&runs[2], it, NULL, wanted, bounds, status))
        done = status_context(status, "in place");
    for (int i = 0; i < 3; i++)
        run_free(&runs[i], it);
    return done;
}

bool op_case_check(struct op_case *it, const struct device_ops *ops, void *context,
                   struct status *status)
{
    struct tensor wanted[OP_MAX_OUTPUTS] = {{0}}, bounds[OP_MAX_OUTPUTS] = {{0}};
    if (!reference_run(&it->call, wanted, status))
        return false;
    op_case_bounds(it, wanted, bounds);
    bool done = check_runs(it, ops, context, wanted, bounds, status);
    for (int o = 0; o < it->call.output_count; o++) {
        free(wanted[o].data);
        free(bounds[o].data);
    }
    return done;
}

void op_cases_run(enum op op, enum dtype dtype, int count, const struct device_ops *ops,
                  void *context, struct random *random)
{
    int unsupported = 0;
    for (int i = 0; i < count; i++) {
        struct random start = *random;
        struct status status = STATUS_NONE;
        struct op_case it;
        char text[1024];
        op_case_make(&it, op, dtype, random);
        op_case_text(&it, text, sizeof(text));
        bool supported = ops->supports(context, &it.call);
        bool failed = supported && !op_case_check(&it, ops, context, &status);
        bool mixed = it.mixed_inputs || it.mixed_outputs;
        op_case_free(&it);
        if (failed)
            fail_msg("%s: %s: %s\n(state %llu)", ops->name, text, status.text,
                     (unsigned long long)start.state);
        if (!supported && !mixed)
            fail_msg("%s does not support %s", ops->name, text);
        unsupported += !supported;
    }
    if (unsupported)
        printf("%s: %s: %d of %d cases of mixed types with %s are not supported\n", ops->name,
               op_name(op), unsupported, count, dtype_name(dtype));
}
