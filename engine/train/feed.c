#include "engine/train/feed.h"

#include "engine/base/memory.h"
#include "engine/tensor/safetensors.h"
#include "engine/train/learning_rate.h"

#include <inttypes.h>
#include <stdlib.h>

bool feed_open(struct run *run, const char *path, struct status *status)
{
    if (path)
        return (run->recorded_data = safetensors_open(path, status)) != NULL;
    return (run->data = data_open(run->config, status)) != NULL;
}

void feed_close(struct run *run)
{
    data_close(run->data);
    safetensors_close(run->recorded_data);
    for (int i = 0; run->batches && i < run->micro_batches; i++)
        micro_batch_free(&run->batches[i]);
}

/* The recorded integers `name` of a step: `count` of them after dimension 0. */
static const struct tensor *recorded(const struct run *run, const char *name, int64_t count,
                                     struct status *status)
{
    const struct safetensors *file = run->recorded_data;
    const struct safetensors_entry *entry = safetensors_find(file, name);
    if (!entry) {
        status_fail(status, STATUS_NOT_FOUND, "%s: no tensor %s", file->path, name);
        return NULL;
    }
    const struct tensor *tensor = &entry->tensor;
    if (tensor->dtype != DTYPE_I32 || tensor->shape.dims[0] <= run->step ||
        shape_columns(tensor->shape) < count) {
        status_fail(status, STATUS_INVALID,
                    "%s: %s must be i32 with %" PRId64 " numbers for each of %d steps", file->path,
                    name, count, run->step + 1);
        return NULL;
    }
    return tensor;
}

static int32_t *copy_row(const struct tensor *tensor, int step, int64_t first, int64_t count)
{
    int32_t *row = memory_zeroed((size_t)count, sizeof(*row));
    for (int64_t i = 0; i < count; i++)
        row[i] = (int32_t)tensor_load(tensor, step * shape_columns(tensor->shape) + first + i);
    return row;
}

/* Recorded data hold one micro-batch for each step. */
static bool read_recorded(struct run *run, struct micro_batch *batch, struct status *status)
{
    int64_t tokens = run->config->data.micro_batch_size;
    int heads = run->config->base_model.prediction_heads;
    const struct tensor *ids = recorded(run, "tokens", tokens, status);
    const struct tensor *labels = ids ? recorded(run, "labels", heads * tokens, status) : NULL;
    const struct tensor *starts = labels ? recorded(run, "document_start", tokens, status) : NULL;
    if (!starts)
        return false;
    if (run->micro_batches > 1)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "recorded data hold one micro-batch for each step, but %s has %d",
                           run->config->name, run->micro_batches);
    batch->tokens = tokens;
    batch->heads = heads;
    batch->ids = copy_row(ids, run->step, 0, tokens);
    batch->document_start = copy_row(starts, run->step, 0, tokens);
    batch->position = memory_zeroed((size_t)tokens, sizeof(int32_t));
    batch->labels = memory_zeroed((size_t)heads, sizeof(*batch->labels));
    for (int h = 0; h < heads; h++)
        batch->labels[h] = copy_row(labels, run->step, h * tokens, tokens);
    for (int64_t t = 0; t < tokens; t++)
        batch->position[t] = (int32_t)t - batch->document_start[t];
    return true;
}

static bool read_batches(struct run *run, struct status *status)
{
    for (int i = 0; i < run->micro_batches; i++) {
        micro_batch_free(&run->batches[i]);
        run->batches[i] = (struct micro_batch){0};
        bool ok = run->data ? data_read(run->data, run->step, i, run->micro_batches,
                                        &run->batches[i], status)
                            : read_recorded(run, &run->batches[i], status);
        if (!ok)
            return false;
    }
    return true;
}

static bool write_sequence(struct run *run, int index, struct status *status)
{
    const struct program_inputs *inputs = &run->program->inputs;
    int splits = inputs->count / run->micro_batches;
    const struct micro_batch *batch = &run->batches[index / splits];
    int64_t first = index % splits * (batch->tokens / splits);
    if (!executor_write(run->executor, inputs->tokens[index], batch->ids + first, status))
        return false;
    for (int h = 0; h < batch->heads; h++)
        if (!executor_write(run->executor, inputs->labels[index * batch->heads + h],
                            batch->labels[h] + first, status))
            return false;
    return inputs->positions[index] < 0 ||
           executor_write(run->executor, inputs->positions[index], batch->position + first, status);
}

static bool write_scalars(struct run *run, struct status *status)
{
    const struct program_inputs *inputs = &run->program->inputs;
    double rate = learning_rate_at(&run->config->optimizer, run->step + 1);
    if (!executor_write(run->executor, inputs->learning_rate, &rate, status))
        return false;
    for (int h = 0; h < run->config->base_model.prediction_heads; h++) {
        double count = 0;
        for (int i = 0; i < run->micro_batches; i++)
            count += (double)micro_batch_label_count(&run->batches[i], h);
        if (!executor_write(run->executor, inputs->label_counts[h], &count, status))
            return false;
    }
    return true;
}

bool feed_step(struct run *run, struct status *status)
{
    if (!read_batches(run, status) || !write_scalars(run, status))
        return false;
    for (int i = 0; i < run->micro_batches; i++)
        if (!executor_write(run->executor, run->program->inputs.document_starts[i],
                            run->batches[i].document_start, status))
            return false;
    for (int i = 0; i < run->program->inputs.count; i++)
        if (!write_sequence(run, i, status))
            return false;
    return true;
}
