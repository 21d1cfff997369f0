#include "engine/compare/recording.h"

#include "engine/base/memory.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

static bool is_kept(const struct value *value)
{
    return value->kind == VALUE_COMPUTED && dtype_is_float(value->dtype) && value->name[0] &&
           (value->log_point || value->state >= 0);
}

/* What a value takes in the recording's memory: whole cache lines. */
static int64_t room_for(const struct value *value)
{
    enum { LINE = 64 };
    return ((int64_t)value_bytes(value) + LINE - 1) / LINE * LINE;
}

int64_t recording_bytes(const struct program *program, int steps)
{
    int64_t bytes = 0, initial = 0;
    for (int v = 0; v < program->value_count; v++)
        if (is_kept(&program->values[v]))
            bytes += room_for(&program->values[v]);
    for (int p = 0; p < program->parameter_count; p++)
        initial += room_for(&program->values[program->parameters[p].value]);
    return bytes * steps + initial;
}

/* Between tensors of the device: queued. */
static bool copy_there(struct run *run, int value, void *to, struct status *status)
{
    struct op_call call = {.op = OP_COPY, .input_count = 1, .output_count = 1};
    call.inputs[0] = executor_tensor(run->executor, value);
    call.outputs[0] = tensor_of(to, call.inputs[0].dtype, call.inputs[0].shape);
    return device_run(run->executor->device, &call, status);
}

static bool copy_value(struct run *run, int value, void **data, struct recording *recording,
                       struct status *status)
{
    int64_t from = recording->bytes, bytes = room_for(&run->program->values[value]);
    recording->bytes += bytes;
    if (recording->bytes <= recording->there_bytes) {
        *data = (char *)recording->reserve.memory + from;
        return copy_there(run, value, *data, status);
    }
    if (recording->there_bytes > from)
        recording->there_bytes = from; /* from here on all is the host's */
    *data = recording->memory + from;
    return executor_read(run->executor, value, *data, status);
}

static bool record_outputs(struct run *run, struct recording *recording, struct status *status)
{
    const struct instruction *done = &run->program->instructions[run_next(run) - 1];
    for (int k = 0; k < done->output_count; k++) {
        int value = done->outputs[k];
        if (is_kept(&run->program->values[value]) &&
            !copy_value(run, value, &recording->data[run->step][value], recording, status))
            return false;
    }
    return true;
}

static bool record_initial(struct run *run, struct recording *recording, struct status *status)
{
    for (int p = 0; p < run->program->parameter_count; p++) {
        int value = run->program->parameters[p].value;
        if (!copy_value(run, value, &recording->initial[value], recording, status))
            return false;
    }
    return true;
}

static bool record_scale(struct run *run, struct recording *recording, struct status *status)
{
    double scaler[SCALER_SIZE];
    if (!executor_read(run->executor, run->program->outputs.scaler, scaler, status))
        return false;
    recording->loss_scales[run->step] = scaler[SCALER_LOSS_SCALE];
    return true;
}

void recording_memory_free(struct recording_memory *spare)
{
    if (spare->memory) {
        ASAN_UNPOISON_MEMORY_REGION(spare->memory, (size_t)spare->reserved);
        memory_unmap(spare->memory, (size_t)spare->reserved);
    }
    *spare = (struct recording_memory){0};
}

/* Some addresses more than are needed, with no memory behind them: the next recording, of another
 * layout of the same model, may be a little larger. */
static struct recording_memory take_memory(struct recording_memory *spare, int64_t bytes)
{
    struct recording_memory taken = {0};
    if (spare && spare->reserved >= bytes) {
        taken = *spare;
        *spare = (struct recording_memory){0};
        ASAN_UNPOISON_MEMORY_REGION(taken.memory, (size_t)taken.reserved);
        return taken;
    }
    if (spare)
        recording_memory_free(spare);
    taken.reserved = bytes + bytes / 8;
    taken.memory = memory_map((size_t)taken.reserved);
    return taken;
}

static bool lies_there(const struct recording *recording, const void *data)
{
    uintptr_t place = (uintptr_t)data, begin = (uintptr_t)recording->reserve.memory;
    return recording->device && place >= begin && place - begin < (uintptr_t)recording->there_bytes;
}

static void move_all(const struct recording *recording, void **data)
{
    for (int v = 0; v < recording->program->value_count; v++)
        if (lies_there(recording, data[v]))
            data[v] = recording->memory + ((char *)data[v] - (char *)recording->reserve.memory);
}

static void leave_device(struct recording *recording)
{
    if (recording->device)
        device_reserve_close(recording->device, &recording->reserve);
    recording->there_bytes = 0;
    recording->device = NULL;
}

/* All that is on the device comes to the host. */
static bool come_home(void *context)
{
    struct recording *recording = context;
    struct status ignored = STATUS_NONE; /* the device is lost: nothing can be had from it */
    if (!device_download(recording->device, recording->memory, recording->reserve.memory,
                         (size_t)recording->there_bytes, &ignored))
        return false;
    move_all(recording, recording->initial);
    for (int step = 0; step < recording->steps; step++)
        move_all(recording, recording->data[step]);
    leave_device(recording);
    return true;
}

/* Of a device that the host cannot read, at most half of what it has left: the tests that compare
 * need memory, too. */
static void take_device_memory(struct run *run, struct recording *recording)
{
    struct device *device = run->executor->device;
    struct device_memory memory;
    struct status refused = STATUS_NONE; /* then the host keeps it */
    int64_t room, bytes = recording_bytes(run->program, run->steps);
    if (device_host_memory(device) || !device_room(device, &room))
        return;
    device_memory(device, &memory);
    int64_t most = (room - memory.live_total - memory.reserve) / 2;
    recording->reserve = (struct device_reserve){.give_back = come_home, .context = recording};
    recording->reserve.bytes = bytes < most ? bytes : most;
    if (recording->reserve.bytes <= 0 ||
        !device_reserve_open(device, &recording->reserve, &refused))
        return;
    recording->device = device;
    recording->there_bytes = recording->reserve.bytes;
}

static bool record(struct run *run, struct recording *recording,
                   bool (*goes_on)(const void *context, struct status *status), const void *context,
                   struct status *status)
{
    if (!recording->memory)
        return status_fail(status, STATUS_MEMORY, "no memory to record %s", run->config->name);
    if (!record_initial(run, recording, status))
        return false;
    while (!run_ended(run)) {
        if (goes_on && !goes_on(context, status))
            return false;
        if (!run_one(run, status))
            return false;
        if (run_next(run) == 1 && !record_scale(run, recording, status))
            return false;
        if (!record_outputs(run, recording, status))
            return false;
    }
    if (recording->there_bytes == 0)
        leave_device(recording);
    return !recording->device || device_synchronize(recording->device, status);
}

struct recording *recording_make(struct run *run, struct recording_memory *spare,
                                 bool (*goes_on)(const void *context, struct status *status),
                                 const void *context, struct status *status)
{
    struct recording *recording = memory_zeroed(1, sizeof(*recording));
    size_t steps = (size_t)run->steps, values = (size_t)run->program->value_count;
    recording->config = run->config;
    recording->steps = run->steps;
    recording->data = memory_zeroed(steps, sizeof(*recording->data));
    for (size_t step = 0; step < steps; step++)
        recording->data[step] = memory_zeroed(values, sizeof(void *));
    recording->initial = memory_zeroed(values, sizeof(void *));
    recording->loss_scales = memory_zeroed(steps, sizeof(double));
    recording->reports = memory_zeroed(steps, sizeof(*recording->reports));
    struct recording_memory taken = take_memory(spare, recording_bytes(run->program, run->steps));
    recording->memory = taken.memory;
    recording->reserved = taken.reserved;
    recording->planned = memory_plan_total(run->executor->plan);
    recording->program = run->program;
    if (recording->memory)
        take_device_memory(run, recording);
    bool ok = record(run, recording, goes_on, context, status);
    memcpy(recording->reports, run->reports, steps * sizeof(*recording->reports));
    run->program = NULL;
    if (ok)
        return recording;
    recording_free(recording);
    return NULL;
}

void recording_free(struct recording *recording)
{
    struct recording_memory memory = {0};
    recording_recycle(recording, &memory);
    recording_memory_free(&memory);
}

void recording_recycle(struct recording *recording, struct recording_memory *spare)
{
    if (!recording)
        return;
    leave_device(recording);
    recording_memory_free(spare);
    *spare = (struct recording_memory){recording->memory, recording->reserved};
    if (spare->memory)
        ASAN_POISON_MEMORY_REGION(spare->memory, (size_t)spare->reserved);
    for (int step = 0; step < recording->steps; step++)
        free(recording->data[step]);
    free(recording->data);
    free(recording->initial);
    free(recording->loss_scales);
    free(recording->reports);
    program_free(recording->program);
    free(recording);
}

bool recording_tensor(const struct recording *recording, int step, int value, struct tensor *tensor)
{
    if (step >= recording->steps)
        return false;
    void *data = step < 0 ? recording->initial[value] : recording->data[step][value];
    const struct value *of = &recording->program->values[value];
    *tensor = tensor_of(data, of->dtype, of->shape);
    return data != NULL;
}

bool recording_on_device(const struct recording *recording, const struct tensor *tensor)
{
    return lies_there(recording, tensor->data);
}
