#include "engine/train/data.h"

#include "engine/base/memory.h"
#include "engine/train/counter.h"
#include "engine/train/data_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct data {
    struct token_source source;
    int64_t micro_batch_size, maximum_length, vocabulary;
    int heads;
    bool shuffle;
    uint64_t seed;
    int64_t epoch;   /* of order and begin; -1: none yet */
    uint32_t *order; /* [documents]: the epoch's permutation */
    int64_t *begin;  /* [documents]: where each stands in the epoch's token sequence */
};

/* Larger files are checked as they are read only: looking at every token of them would take
 * longer than the run. */
enum { CHECKED_AT_OPENING = 1 << 24 };

static bool check_token(const struct data *data, int64_t document, int64_t position, int64_t *token,
                        struct status *status)
{
    const struct token_source *source = &data->source;
    *token = token_source_load(source, source->documents[document].offset +
                                           (size_t)position * (size_t)source->width);
    if (*token >= 0 && *token < data->vocabulary)
        return true;
    char given[24];
    snprintf(given, sizeof(given), source->is_signed ? "%lld" : "%llu", (long long)*token);
    return status_fail(status, STATUS_INVALID,
                       "%s: token %s (number %lld of document %lld) is outside of the "
                       "vocabulary of %lld",
                       source->path, given, (long long)position, (long long)document,
                       (long long)data->vocabulary);
}

static bool check_tokens(const struct data *data, struct status *status)
{
    int64_t token;
    if (data->source.token_count > CHECKED_AT_OPENING)
        return true;
    for (int64_t d = 0; d < data->source.document_count; d++)
        for (int64_t i = 0; i < data->source.documents[d].length; i++)
            if (!check_token(data, d, i, &token, status))
                return false;
    return true;
}

static bool check_settings(const struct config *config, struct status *status)
{
    const struct data_config *data = &config->data;
    int64_t heads = config->base_model.prediction_heads;
    if (heads < 1 || data->micro_batch_size < 1 || data->micro_batch_size > INT32_MAX - heads)
        return status_fail(status, STATUS_INVALID,
                           "data: micro_batch_size %lld or prediction_heads %lld is out of range",
                           (long long)data->micro_batch_size, (long long)heads);
    if (data->maximum_document_length < 1)
        return status_fail(status, STATUS_INVALID, "data: maximum_document_length %lld",
                           (long long)data->maximum_document_length);
    if (config->base_model.vocab_size < 1 || config->base_model.vocab_size > INT32_MAX)
        return status_fail(status, STATUS_INVALID, "data: a vocabulary of %lld tokens",
                           (long long)config->base_model.vocab_size);
    return true;
}

static bool open_source(struct data *data, const struct config *config, struct status *status)
{
    switch (config->data.type) {
    case DATA_TEXT:
        return text_source_open(&data->source, config, status);
    case DATA_TOKENS:
        return tokens_source_open(&data->source, config, status);
    case DATA_RANDOM:
        return random_source_open(&data->source, config, status);
    }
    return status_fail(status, STATUS_INTERNAL, "unknown type of data");
}

static bool prepare(struct data *data, const struct config *config, struct status *status)
{
    if (!check_settings(config, status) || !open_source(data, config, status))
        return false;
    int64_t count = data->source.document_count;
    if (count < 1 || count > UINT32_MAX)
        return status_fail(status, STATUS_INVALID, "%s: %s", data->source.path,
                           count ? "more documents than can be shuffled" : "no documents");
    data->order = memory_try((size_t)count, sizeof *data->order);
    data->begin = memory_try((size_t)count, sizeof *data->begin);
    if (!data->order || !data->begin)
        return status_fail(status, STATUS_MEMORY, "%s: no memory to shuffle %lld documents",
                           data->source.path, (long long)count);
    return check_tokens(data, status);
}

struct data *data_open(const struct config *config, struct status *status)
{
    struct data *data = memory_zeroed(1, sizeof *data);
    data->micro_batch_size = config->data.micro_batch_size;
    data->maximum_length = config->data.maximum_document_length;
    data->vocabulary = config->base_model.vocab_size;
    data->heads = config->base_model.prediction_heads;
    data->shuffle = config->data.shuffle;
    data->seed = config->data.seed;
    data->epoch = -1;
    if (prepare(data, config, status))
        return data;
    data_close(data);
    return NULL;
}

void data_close(struct data *data)
{
    if (!data)
        return;
    token_source_free(&data->source);
    free(data->order);
    free(data->begin);
    free(data);
}

/* Fisher-Yates from the top: number i of the stream picks the partner of place i. */
static void shuffle(uint32_t *order, int64_t count, uint64_t seed)
{
    uint64_t key = counter_mix(seed);
    for (int64_t i = count - 1; i > 0; i--) {
        uint64_t other = counter_below(key, (uint64_t)i, (uint64_t)i + 1);
        uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static void enter_epoch(struct data *data, int64_t epoch)
{
    if (data->epoch == epoch)
        return;
    int64_t count = data->source.document_count, begin = 0;
    for (int64_t i = 0; i < count; i++)
        data->order[i] = (uint32_t)i;
    if (data->shuffle)
        shuffle(data->order, count, data->seed + 571 * (uint64_t)epoch);
    for (int64_t i = 0; i < count; i++) {
        data->begin[i] = begin;
        begin += data->source.documents[data->order[i]].length;
    }
    data->epoch = epoch;
}

/* The place in the epoch's order of the document that holds token `offset` of the epoch. */
static int64_t find_place(const struct data *data, int64_t offset)
{
    int64_t low = 0, high = data->source.document_count; /* begin[low] <= offset < begin[high] */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (data->begin[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Tokens of a sample, with the tokens behind it that are labels only. */
struct sample {
    int64_t length;
    int32_t *ids, *start; /* start: of the document piece, relative to the sample */
    unsigned char *masked;
};

/* Copies tokens of the document at `place` from `position` on into sample[at ..]. Returns where
 * the sample goes on, or -1. */
static int64_t copy_document(const struct data *data, int64_t place, int64_t position,
                             struct sample *sample, int64_t at, struct status *status)
{
    const struct token_source *source = &data->source;
    int64_t document = data->order[place], length = source->documents[document].length, token;
    size_t first = source->documents[document].offset / (size_t)source->width;
    int64_t start = at;
    for (; position < length && at < sample->length; position++, at++) {
        if (position % data->maximum_length == 0)
            start = at; /* too long: cut, and the rest is a document of its own */
        if (!check_token(data, document, position, &token, status))
            return -1;
        sample->ids[at] = (int32_t)token;
        sample->start[at] = (int32_t)start;
        if (source->masked)
            sample->masked[at] = source->masked[first + (size_t)position];
    }
    return at;
}

static bool fill_sample(struct data *data, int64_t first, struct sample *sample,
                        struct status *status)
{
    int64_t total = data->source.token_count, at = 0;
    enter_epoch(data, first / total);
    int64_t place = find_place(data, first % total);
    int64_t position = first % total - data->begin[place];
    while (at < sample->length) {
        at = copy_document(data, place, position, sample, at, status);
        if (at < 0)
            return false;
        position = 0;
        if (++place == data->source.document_count) {
            enter_epoch(data, data->epoch + 1);
            place = 0;
        }
    }
    return true;
}

static void take_labels(const struct sample *sample, struct micro_batch *batch)
{
    for (int head = 0; head < batch->heads; head++)
        for (int64_t t = 0; t < batch->tokens; t++) {
            int64_t target = t + head + 1;
            bool crossing = target - sample->start[target] <= head; /* begins after token t */
            batch->labels[head][t] =
                crossing || sample->masked[target] ? MASKED_LABEL : sample->ids[target];
        }
}

static bool allocate(struct micro_batch *batch, struct sample *sample, int64_t tokens, int heads)
{
    batch->tokens = tokens;
    batch->heads = heads;
    batch->labels = memory_zeroed((size_t)heads, sizeof *batch->labels);
    batch->position = memory_try((size_t)tokens, sizeof *batch->position);
    bool done = batch->position != NULL;
    for (int head = 0; head < heads; head++) {
        batch->labels[head] = memory_try((size_t)tokens, sizeof *batch->labels[head]);
        done = done && batch->labels[head];
    }
    /* The sample's own arrays become the micro-batch's: a few elements longer, which nobody sees */
    sample->length = tokens + heads;
    sample->ids = batch->ids = memory_try((size_t)sample->length, sizeof *sample->ids);
    sample->start = batch->document_start =
        memory_try((size_t)sample->length, sizeof *sample->start);
    sample->masked = memory_try((size_t)sample->length, 1);
    return done && sample->ids && sample->start && sample->masked;
}

static bool read_sample(struct data *data, int64_t first, struct micro_batch *batch,
                        struct status *status)
{
    struct sample sample;
    bool done = allocate(batch, &sample, data->micro_batch_size, data->heads) ||
                status_fail(status, STATUS_MEMORY, "no memory for a micro-batch of %lld tokens",
                            (long long)data->micro_batch_size);
    done = done && fill_sample(data, first, &sample, status);
    if (done)
        take_labels(&sample, batch);
    for (int64_t t = 0; done && t < batch->tokens; t++) {
        batch->position[t] = (int32_t)t - batch->document_start[t];
        batch->documents += batch->position[t] == 0;
    }
    free(sample.masked);
    return done;
}

bool data_read(struct data *data, int step, int index, int count, struct micro_batch *batch,
               struct status *status)
{
    int64_t first;
    struct micro_batch result = {0};
    if (step < 0 || index < 0 || index >= count)
        return status_fail(status, STATUS_INTERNAL, "micro-batch %d of %d of step %d", index, count,
                           step);
    if (__builtin_mul_overflow((int64_t)step * count + index, data->micro_batch_size, &first))
        return status_fail(status, STATUS_INVALID, "step %d is more tokens than can be counted",
                           step);
    if (!read_sample(data, first, &result, status)) {
        micro_batch_free(&result);
        return false;
    }
    *batch = result;
    return true;
}

void micro_batch_free(struct micro_batch *batch)
{
    if (!batch)
        return;
    for (int head = 0; batch->labels && head < batch->heads; head++)
        free(batch->labels[head]);
    free(batch->labels);
    free(batch->ids);
    free(batch->document_start);
    free(batch->position);
    *batch = (struct micro_batch){0};
}

int64_t micro_batch_label_count(const struct micro_batch *batch, int head)
{
    int64_t count = 0;
    for (int64_t t = 0; t < batch->tokens; t++)
        count += batch->labels[head][t] != MASKED_LABEL;
    return count;
}
