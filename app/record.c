#include "app/record.h"

#include "engine/base/memory.h"

#include <stdlib.h>

struct recorder {
    struct trace_writer *writer;
    bool log_points;
    void *buffer;                    /* of executor_view */
    bool began;                      /* to take values of a run */
    struct trace_gatherer *gatherer; /* NULL: tensors are fetched */
};

struct recorder *recorder_create(const struct run *run, const struct recorder_options *options,
                                 struct status *status)
{
    char *name = options->fault
                     ? memory_format("%s with fault %s", run->config->name, options->fault)
                     : memory_string(run->config->name);
    struct trace_description what = {.run = name,
                                     .config_text = run->config->resolved,
                                     .device = options->device ? options->device
                                                               : device_name(run->device),
                                     .software = "lockstep " LOCKSTEP_VERSION,
                                     .config_hash = run->config->hash,
                                     .program_hash = program_hash(run->program),
                                     .seed = run->config->distributed.seed,
                                     .full_tensors = options->full_tensors,
                                     .log_points = options->log_points};
    struct trace_writer *writer = trace_create(options->directory, &what, status);
    free(name);
    if (!writer)
        return NULL;
    struct recorder *recorder = memory_zeroed(1, sizeof(*recorder));
    recorder->writer = writer;
    recorder->log_points = options->log_points;
    return recorder;
}

/* A pass over every inner value would slow the run down: of these samples have to do. On a device
 * that takes both by itself the run does not wait for it. */
static bool add(struct recorder *recorder, const struct value *of, const struct tensor *view,
                struct status *status)
{
    return (of->log_point ? trace_add : trace_add_samples)(recorder->writer, of->name, view,
                                                           status);
}

static bool take(struct recorder *recorder, struct run *run, int value, struct status *status)
{
    struct tensor view = executor_tensor(run->executor, value);
    const struct value *of = &run->program->values[value];
    if (!recorder->began)
        recorder->gatherer = trace_gatherer_create(recorder->writer, run->device);
    recorder->began = true;
    if (recorder->gatherer)
        return trace_gather(recorder->gatherer, of->name, &view, status);
    return executor_view(run->executor, value, &recorder->buffer, &view, status) &&
           add(recorder, of, &view, status);
}

bool recorder_take_parameters(struct recorder *recorder, struct run *run, struct status *status)
{
    for (int p = 0; p < run->program->parameter_count; p++)
        if (!take(recorder, run, run->program->parameters[p].value, status))
            return false;
    return recorder_finish_init(recorder, status);
}

bool recorder_wants(const struct recorder *recorder, bool log_point)
{
    return log_point || !recorder->log_points;
}

bool recorder_add(struct recorder *recorder, const struct trace_item *items, int count,
                  struct status *status)
{
    return trace_add_parts(recorder->writer, items, count, status);
}

void recorder_add_summary(struct recorder *recorder, const char *name, const struct tensor *tensor,
                          void *samples, const struct device_statistics *statistics)
{
    trace_add_summary(recorder->writer, name, tensor, samples, statistics);
}

bool recorder_keeps_tensors(const struct recorder *recorder)
{
    return trace_keeps_tensors(recorder->writer);
}

static bool finish_gathering(struct recorder *recorder, struct status *status)
{
    return !recorder->gatherer || trace_gather_finish(recorder->gatherer, status);
}

bool recorder_finish_init(struct recorder *recorder, struct status *status)
{
    return finish_gathering(recorder, status) &&
           trace_finish_step(recorder->writer, "init", status);
}

static bool is_recorded(const struct recorder *recorder, const struct value *value)
{
    if (!value->name[0] || !dtype_is_float(value->dtype) || value->kind != VALUE_COMPUTED)
        return false;
    return recorder_wants(recorder, value->log_point);
}

bool recorder_take(struct recorder *recorder, struct run *run, struct status *status)
{
    const struct instruction *done = &run->program->instructions[run_next(run) - 1];
    for (int k = 0; k < done->output_count; k++)
        if (is_recorded(recorder, &run->program->values[done->outputs[k]]) &&
            !take(recorder, run, done->outputs[k], status))
            return false;
    return true;
}

bool recorder_finish_step(struct recorder *recorder, struct run *run, struct status *status)
{
    char name[32];
    return finish_gathering(recorder, status) &&
           trace_finish_step(recorder->writer, run_step_name(run->step, name), status);
}

bool recorder_finish(struct recorder *recorder, bool ok, struct status *status)
{
    if (!recorder)
        return ok;
    trace_gatherer_free(recorder->gatherer);
    if (ok)
        ok = trace_finish(recorder->writer, status);
    else
        trace_abandon(recorder->writer);
    free(recorder->buffer);
    free(recorder);
    return ok;
}
