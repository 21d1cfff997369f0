/* What a rank of another host, or on a GPU, says of its tensors rather than sending them. */
#include "engine/base/memory.h"
#include "engine/ranks/rank_internal.h"
#include "engine/ranks/summary.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The value as this process can read it: in place, or a copy in *buffer. */
static bool view(const struct rank_process *rank, int value, void **buffer, struct tensor *tensor)
{
    struct status status = STATUS_NONE;
    size_t bytes = value_bytes(&rank->program->values[value]);
    *tensor = executor_tensor(rank->executor, value);
    if (device_host_memory(rank->device))
        return true;
    *buffer = memory_try(bytes, 1);
    if (!*buffer || !device_download(rank->memory_device, *buffer, tensor->data, bytes, &status))
        return false;
    tensor->data = *buffer;
    return true;
}

static void answer(const struct rank_process *rank, const struct question *question,
                   const struct tensor *tensor, struct text *body)
{
    const struct value *value = &rank->program->values[question->value];
    if (question->sampling.count > 0) {
        struct device_statistics statistics = summary_statistics(tensor);
        statistics_write(body, &statistics);
        summary_take(tensor, &value->shard, &question->sampling, body);
    } else {
        hash_write(body, XXH3_64bits(tensor->data, value_bytes(value)));
    }
}

void rank_answer(struct rank_process *rank, const struct frame *frame)
{
    struct text body = {0};
    struct question question;
    struct tensor tensor;
    void *buffer = NULL;
    if (rank->executor && question_read(frame->body, frame->length, &question) &&
        question.value < rank->program->value_count && view(rank, question.value, &buffer, &tensor))
        answer(rank, &question, &tensor, &body);
    rank_send(rank, FRAME_DATA, &body); /* an empty one: there is no answer */
    free(buffer);
    text_free(&body);
}
