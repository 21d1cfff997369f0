#include "engine/program/executor.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/program/memory_report.h"

#include <stdlib.h>

static bool allocate(struct executor *executor, enum memory_class memory_class, int64_t bytes,
                     char **memory, struct status *status)
{
    if (bytes == 0)
        return true;
    void *address = NULL;
    if (!device_allocate(executor->device, memory_class, (size_t)bytes, &address, status))
        return false;
    *memory = address;
    return true;
}

static bool upload_constants(struct executor *executor, struct status *status)
{
    for (int v = 0; v < executor->program->value_count; v++)
        if (executor->program->constants[v] &&
            !executor_write(executor, v, executor->program->constants[v], status))
            return false;
    return true;
}

struct executor *executor_create(const struct program *program, struct device *device,
                                 struct comm *comm, enum plan_mode mode, struct status *status)
{
    struct executor *executor = memory_zeroed(1, sizeof(*executor));
    executor->program = program;
    executor->device = device;
    executor->comm = comm;
    executor->plan = memory_plan_create(program, device, mode, status);
    const struct memory_plan *plan = executor->plan;
    /* What is mostly the largest comes first: it fits the fewest of the blocks that earlier runs
     * left to the device. */
    if (plan && allocate(executor, MEMORY_ACTIVATIONS, plan->step_bytes, &executor->step, status) &&
        allocate(executor, MEMORY_PARAMETERS, plan->persistent_bytes, &executor->persistent,
                 status) &&
        allocate(executor, MEMORY_WORKSPACE, plan->workspace_bytes, &executor->workspace, status) &&
        upload_constants(executor, status))
        return executor;
    if (plan && status && status->code == STATUS_MEMORY)
        memory_report_add(plan, program, status);
    executor_free(executor);
    return NULL;
}

void executor_free(struct executor *executor)
{
    if (!executor)
        return;
    const struct memory_plan *plan = executor->plan;
    if (executor->persistent)
        device_release(executor->device, MEMORY_PARAMETERS, executor->persistent,
                       (size_t)plan->persistent_bytes);
    if (executor->step)
        device_release(executor->device, MEMORY_ACTIVATIONS, executor->step,
                       (size_t)plan->step_bytes);
    if (executor->workspace)
        device_release(executor->device, MEMORY_WORKSPACE, executor->workspace,
                       (size_t)plan->workspace_bytes);
    memory_plan_free(executor->plan);
    free(executor);
}

struct tensor executor_tensor(const struct executor *executor, int id)
{
    const struct placement *place = &executor->plan->placements[id];
    const struct value *value = &executor->program->values[id];
    char *arena = place->persistent ? executor->persistent : executor->step;
    return tensor_of(arena + place->offset, value->dtype, value->shape);
}

bool executor_holds(const struct executor *executor, int value)
{
    const struct memory_plan *plan = executor->plan;
    return !executor->hollow && memory_plan_holds(plan, executor->program, value, executor->next) &&
           (!executor->torn ||
            memory_plan_holds(plan, executor->program, value, executor->next + 1));
}

void executor_call(const struct executor *executor, int index, struct op_call *call)
{
    const struct instruction *in = &executor->program->instructions[index];
    *call = (struct op_call){.op = in->op,
                             .input_count = in->input_count,
                             .output_count = in->output_count,
                             .parameters = in->parameters,
                             .workspace = executor->workspace};
    for (int i = 0; i < in->input_count; i++)
        call->inputs[i] = executor_tensor(executor, in->inputs[i]);
    for (int i = 0; i < in->output_count; i++)
        call->outputs[i] = executor_tensor(executor, in->outputs[i]);
}

static const char *end_of(const struct tensor *tensor)
{
    return (const char *)tensor->data +
           (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

static bool overlap(const struct tensor *a, const struct tensor *b)
{
    return (const char *)a->data < end_of(b) && (const char *)b->data < end_of(a);
}

static bool leaves_inputs(const struct op_call *call)
{
    for (int o = 0; o < call->output_count; o++)
        for (int i = 0; i < call->input_count; i++)
            if (overlap(&call->outputs[o], &call->inputs[i]))
                return false;
    return !op_is_collective(call->op);
}

/* Elements that nobody minds waiting for: some milliseconds of the slowest kind. */
enum { PIECE = 1 << 20 };

/* Whether each element of the outputs depends on the elements of the inputs at the same place only,
 * and on small operands as a whole. */
static bool is_elementwise(enum op op)
{
    return op == OP_ADAMW || op == OP_ACCUMULATE || op == OP_ADD || op == OP_SCALE;
}

static void cut(struct tensor *tensors, int count, int64_t elements, int64_t first, int64_t length)
{
    for (int i = 0; i < count; i++)
        if (shape_elements(tensors[i].shape) == elements)
            tensors[i] =
                tensor_of((char *)tensors[i].data + (size_t)first * dtype_size(tensors[i].dtype),
                          tensors[i].dtype, shape_of1(length));
}

/* An instruction that writes over its inputs, in pieces. What it has done cannot be taken back: an
 * interrupt keeps it in mind. */
static bool run_in_pieces(struct executor *executor, const struct op_call *call,
                          struct status *status)
{
    int64_t elements = shape_elements(call->outputs[0].shape);
    while (executor->done < elements) {
        struct op_call piece = *call;
        int64_t left = elements - executor->done, length = left < PIECE ? left : PIECE;
        if (interrupt_asked(executor->interrupt))
            return interrupt_fail(status);
        cut(piece.inputs, piece.input_count, elements, executor->done, length);
        cut(piece.outputs, piece.output_count, elements, executor->done, length);
        if (!device_run(executor->device, &piece, status))
            return false;
        executor->done += length;
    }
    executor->done = 0;
    return true;
}

static bool wants_pieces(const struct executor *executor, const struct op_call *call)
{
    bool long_enough = is_elementwise(call->op) && shape_elements(call->outputs[0].shape) > PIECE;
    return executor->done > 0 || (executor->interrupt && long_enough && !leaves_inputs(call));
}

void executor_take_back(struct executor *executor)
{
    executor->next--;
    executor->torn = executor->ran = true;
}

bool executor_has_read(const struct executor *executor)
{
    return executor->ran || executor->done > 0;
}

static void add_operands(const struct program *program, const char *what, const int *values,
                         int count, struct text *text)
{
    char name[128], shape[80];
    for (int i = 0; i < count; i++) {
        const struct value *value = &program->values[values[i]];
        text_format(text, "%s%s %s %s", i ? ", " : what,
                    program_value_text(program, values[i], name, sizeof(name)),
                    dtype_name(value->dtype), shape_text(value->shape, shape));
    }
}

/* What failed; of an operation that took the device with it also the tensors, since nothing can be
 * looked at any more. */
static bool fail_instruction(const struct executor *executor, struct status *status)
{
    const struct program *program = executor->program;
    const struct instruction *in = &program->instructions[executor->next];
    char instruction[256];
    struct text operands = {0};
    program_instruction_text(program, executor->next, instruction, sizeof(instruction));
    bool earlier = device_lost(executor->device) && !device_lost_by_last(executor->device);
    status_context(status, earlier ? "noticed at instruction %s" : "instruction %s", instruction);
    if (status && device_lost_by_last(executor->device)) {
        add_operands(program, "\nreads ", in->inputs, in->input_count, &operands);
        add_operands(program, "\nwrites ", in->outputs, in->output_count, &operands);
        status_fail(status, status->code, "%s%s", status->text, operands.data);
        text_free(&operands);
    }
    return false;
}

static void pass(struct executor *executor)
{
    executor->next++;
    executor->torn = executor->ran = false;
}

bool executor_run_one(struct executor *executor, struct status *status)
{
    const struct program *program = executor->program;
    if (executor->next >= program->instruction_count || executor->hollow)
        return status_fail(status, STATUS_INTERNAL,
                           executor->hollow ? "the states are not complete"
                                            : "the program has ended");
    if (executor->ran) {
        pass(executor);
        return true;
    }
    struct op_call call;
    executor_call(executor, executor->next, &call);
    if (executor->interrupt && leaves_inputs(&call))
        call.interrupt = executor->interrupt;
    bool view =
        call.op == OP_SLICE_ROWS &&
        executor->plan->placements[program->instructions[executor->next].outputs[0]].shares >= 0;
    bool ok = view                            ? true
              : wants_pieces(executor, &call) ? run_in_pieces(executor, &call, status)
              : op_is_collective(call.op)     ? comm_run(executor->comm, &call, status)
                                              : device_run(executor->device, &call, status);
    if (!ok && status && status->code == STATUS_CANCELLED) {
        executor->torn = executor->done > 0 || leaves_inputs(&call);
        return false;
    }
    if (!ok)
        return fail_instruction(executor, status);
    pass(executor);
    return true;
}

void executor_rewind(struct executor *executor)
{
    executor->next = 0;
    executor->done = 0;
    executor->torn = executor->ran = false;
}

bool executor_write(struct executor *executor, int value, const void *data, struct status *status)
{
    struct tensor tensor = executor_tensor(executor, value);
    return device_upload(executor->device, tensor.data, data,
                         value_bytes(&executor->program->values[value]), status);
}

bool executor_read(struct executor *executor, int value, void *data, struct status *status)
{
    struct tensor tensor = executor_tensor(executor, value);
    return device_download(executor->device, data, tensor.data,
                           value_bytes(&executor->program->values[value]), status);
}

enum { PIECE_BYTES = 1 << 20 };

/* The length of the piece at `at`; 0 at the end, or to give up. */
static size_t piece_at(const struct executor *executor, size_t at, size_t bytes)
{
    if (interrupt_asked(executor->interrupt))
        return 0;
    return bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
}

static bool copied_all(size_t at, size_t bytes, struct status *status)
{
    return at == bytes || interrupt_fail(status);
}

bool executor_try_write(struct executor *executor, int value, const void *data,
                        struct status *status)
{
    char *there = executor_tensor(executor, value).data;
    const char *host = data;
    size_t bytes = value_bytes(&executor->program->values[value]), at = 0, length;
    for (; at < bytes && (length = piece_at(executor, at, bytes)) > 0; at += length)
        if (!device_upload(executor->device, there + at, host + at, length, status))
            return false;
    return copied_all(at, bytes, status);
}

bool executor_try_read(struct executor *executor, int value, void *data, struct status *status)
{
    const char *there = executor_tensor(executor, value).data;
    char *host = data;
    size_t bytes = value_bytes(&executor->program->values[value]), at = 0, length;
    for (; at < bytes && (length = piece_at(executor, at, bytes)) > 0; at += length)
        if (!device_download(executor->device, host + at, there + at, length, status))
            return false;
    return copied_all(at, bytes, status);
}

bool executor_view(struct executor *executor, int value, void **buffer, struct tensor *view,
                   struct status *status)
{
    *view = executor_tensor(executor, value);
    if (device_host_memory(executor->device))
        return device_synchronize(executor->device, status);
    *buffer = memory_resize(*buffer, value_bytes(&executor->program->values[value]), 1);
    view->data = *buffer;
    return executor_read(executor, value, *buffer, status);
}
