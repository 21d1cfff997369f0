#include "engine/train/feed.h"

#include "engine/base/memory.h"
#include "engine/tensor/safetensors.h"
#include "engine/train/learning_rate.h"
#include "engine/train/update.h"

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

/* The recorded integers `name` of a step: after dimension 0 `count` of them, and `more` that
 * nobody looks at (tokens behind the last one are in the labels). */
static const struct tensor *recorded(const struct run *run, const char *name, int64_t count,
                                     int more, struct status *status)
{
    const struct safetensors *file = run->recorded_data;
    const struct safetensors_entry *entry = safetensors_find(file, name);
    if (!entry) {
        status_fail(status, STATUS_NOT_FOUND, "%s: no tensor %s", file->path, name);
        return NULL;
    }
    const struct tensor *tensor = &entry->tensor;
    int64_t columns = shape_columns(tensor->shape), steps = tensor->shape.dims[0];
    if (tensor->dtype != DTYPE_I32 || columns < count || columns > count + more)
        status_fail(status, STATUS_INVALID,
                    "%s: %s is %s with %" PRId64
                    " numbers for each step; expected i32 with %" PRId64
                    ", as data.micro_batch_size is %" PRId64,
                    file->path, name, dtype_name(tensor->dtype), columns, count,
                    run->config->data.micro_batch_size);
    else if (steps <= run->step)
        status_fail(status, STATUS_INVALID, "%s: %s has %" PRId64 " steps; step %d is not there",
                    file->path, name, steps, run->step + 1);
    else
        return tensor;
    return NULL;
}

static int32_t *copy_row(const struct tensor *tensor, int step, int64_t first, int64_t count)
{
    int32_t *row = memory_zeroed((size_t)count, sizeof(*row));
    for (int64_t i = 0; i < count; i++)
        row[i] = (int32_t)tensor_load(tensor, step * shape_columns(tensor->shape) + first + i);
    return row;
}

/* Devices take indices as they are: what is outside of its range must not get there. */
static bool check_recorded(const struct run *run, const struct micro_batch *batch,
                           struct status *status)
{
    int64_t vocabulary = run->config->base_model.vocab_size;
    const char *path = run->recorded_data->path;
    for (int64_t t = 0; t < batch->tokens; t++) {
        if (batch->ids[t] < 0 || batch->ids[t] >= vocabulary)
            return status_fail(status, STATUS_INVALID,
                               "%s: step %d: token %d at %" PRId64 " is outside of the vocabulary "
                               "of %" PRId64,
                               path, run->step + 1, batch->ids[t], t, vocabulary);
        for (int h = 0; h < batch->heads; h++)
            if (batch->labels[h][t] >= vocabulary)
                return status_fail(status, STATUS_INVALID,
                                   "%s: step %d: label %d at %" PRId64 " is outside of the "
                                   "vocabulary of %" PRId64,
                                   path, run->step + 1, batch->labels[h][t], t, vocabulary);
        if (batch->document_start[t] < 0 || batch->document_start[t] > t)
            return status_fail(status, STATUS_INVALID,
                               "%s: step %d: document_start is %d at %" PRId64 "; expected the "
                               "index of the first token of its document",
                               path, run->step + 1, batch->document_start[t], t);
    }
    return true;
}

/* How many micro-batches the step has on all ranks. */
static int step_batches(const struct run *run)
{
    return run->micro_batches * seat_batches(&run->program->seat);
}

/* The number among them of this rank's micro-batch `index`. */
static int step_index(const struct run *run, int index)
{
    const struct seat *seat = &run->program->seat;
    return index * seat_batches(seat) + seat_batch(seat);
}

/* Recorded data hold one micro-batch for each step. */
static bool read_recorded(struct run *run, struct micro_batch *batch, struct status *status)
{
    int64_t tokens = run->config->data.micro_batch_size;
    int heads = run->config->base_model.prediction_heads;
    const struct tensor *ids = recorded(run, "tokens", tokens, heads, status);
    const struct tensor *labels = ids ? recorded(run, "labels", heads * tokens, 0, status) : NULL;
    const struct tensor *starts =
        labels ? recorded(run, "document_start", tokens, 0, status) : NULL;
    if (!starts)
        return false;
    if (step_batches(run) > 1)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "recorded data hold one micro-batch for each step, but %s has %d",
                           run->config->name, step_batches(run));
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
    return check_recorded(run, batch, status);
}

static bool read_batches(struct run *run, struct status *status)
{
    for (int i = 0; i < run->micro_batches; i++) {
        micro_batch_free(&run->batches[i]);
        run->batches[i] = (struct micro_batch){0};
        bool ok = run->data ? data_read(run->data, run->step, step_index(run, i), step_batches(run),
                                        &run->batches[i], status)
                            : read_recorded(run, &run->batches[i], status);
        if (!ok)
            return false;
    }
    return true;
}

/* Writes this rank's rows of a micro-sequence. */
static bool write_rows(struct run *run, int input, const int32_t *rows, struct status *status)
{
    const struct shard *shard = &run->program->values[input].shard;
    return executor_write(run->executor, input, rows + shard_global_index(shard, 0, 0), status);
}

static bool write_sequence(struct run *run, int index, struct status *status)
{
    const struct program_inputs *inputs = &run->program->inputs;
    int splits = inputs->count / run->micro_batches;
    const struct micro_batch *batch = &run->batches[index / splits];
    int64_t first = index % splits * (batch->tokens / splits);
    if (!write_rows(run, inputs->tokens[index], batch->ids + first, status))
        return false;
    for (int h = 0; h < batch->heads; h++)
        if (!write_rows(run, inputs->labels[index * batch->heads + h], batch->labels[h] + first,
                        status))
            return false;
    return inputs->positions[index] < 0 ||
           write_rows(run, inputs->positions[index], batch->position + first, status);
}

static void count_labels(const struct micro_batch *batch, double *counts)
{
    for (int h = 0; h < batch->heads; h++)
        counts[h] += (double)micro_batch_label_count(batch, h);
}

/* The labels of the whole step: each rank counts those of the other batch-data ranks too. */
static bool count_all_labels(struct run *run, double *counts, struct status *status)
{
    int batches = seat_batches(&run->program->seat), own = seat_batch(&run->program->seat);
    for (int i = 0; i < step_batches(run); i++) {
        struct micro_batch other = {0};
        if (i % batches == own) {
            count_labels(&run->batches[i / batches], counts);
            continue;
        }
        if (!data_read(run->data, run->step, i, step_batches(run), &other, status))
            return false;
        count_labels(&other, counts);
        micro_batch_free(&other);
    }
    return true;
}

/* The rate of the next update: steps that overflowed did not update. Where none can, the device is
 * not waited for. */
static bool write_learning_rate(struct run *run, struct status *status)
{
    double scaler[SCALER_SIZE] = {[SCALER_STEP] = run->step};
    if (update_may_skip(run->config) &&
        !executor_read(run->executor, run->program->outputs.scaler, scaler, status))
        return false;
    double rate = learning_rate_at(&run->config->optimizer, (int)scaler[SCALER_STEP] + 1);
    return executor_write(run->executor, run->program->inputs.learning_rate, &rate, status);
}

static bool write_scalars(struct run *run, struct status *status)
{
    const struct program_inputs *inputs = &run->program->inputs;
    int heads = run->config->base_model.prediction_heads;
    double *counts = memory_zeroed((size_t)heads, sizeof(*counts));
    bool ok = write_learning_rate(run, status) && count_all_labels(run, counts, status);
    for (int h = 0; ok && h < heads; h++)
        ok = executor_write(run->executor, inputs->label_counts[h], &counts[h], status);
    free(counts);
    return ok;
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
