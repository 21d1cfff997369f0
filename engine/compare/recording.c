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

static bool copy_value(struct run *run, int value, void **data, struct recording *recording,
                       struct status *status)
{
    *data = recording->memory + recording->bytes;
    recording->bytes += room_for(&run->program->values[value]);
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
    double scaler[4];
    if (!executor_read(run->executor, run->program->outputs.scaler, scaler, status))
        return false;
    recording->loss_scales[run->step] = scaler[0];
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
    return true;
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
    bool ok = record(run, recording, goes_on, context, status);
    memcpy(recording->reports, run->reports, steps * sizeof(*recording->reports));
    recording->program = run->program;
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
