/* Uniform tokens in documents of uniform length: data for timing and for shapes, not for sense. */
#include "engine/train/data_source.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/train/counter.h"

/* An epoch; long enough that no micro-batch of a test sees a document twice. */
enum { RANDOM_TOKENS = 1 << 18, RANDOM_LONGEST = 1024, RANDOM_SHORTEST = 5 };

bool random_source_open(struct token_source *source, const struct config *config,
                        struct status *status)
{
    uint64_t token_key = counter_mix(config->data.seed ^ hash_string("random tokens"));
    uint64_t length_key = counter_mix(config->data.seed ^ hash_string("random lengths"));
    uint64_t vocabulary = (uint64_t)config->base_model.vocab_size;
    int64_t longest = config->data.maximum_document_length, capacity = 0;
    if (longest > RANDOM_LONGEST)
        longest = RANDOM_LONGEST;
    uint64_t lengths = longest > RANDOM_SHORTEST ? (uint64_t)(longest - RANDOM_SHORTEST + 1) : 1;
    source->path = memory_string("random data");
    source->width = 4;
    source->is_signed = true;
    int32_t *tokens = memory_zeroed(RANDOM_TOKENS, sizeof *tokens);
    for (uint64_t i = 0; i < RANDOM_TOKENS; i++)
        tokens[i] = (int32_t)counter_below(token_key, i, vocabulary);
    source->owned = tokens;
    source->tokens = (const unsigned char *)tokens;
    int64_t shortest = longest < RANDOM_SHORTEST ? longest : RANDOM_SHORTEST;
    for (int64_t begin = 0, length; begin < RANDOM_TOKENS; begin += length) {
        uint64_t extra = counter_below(length_key, (uint64_t)source->document_count, lengths);
        length = shortest + (int64_t)extra;
        if (length > RANDOM_TOKENS - begin)
            length = RANDOM_TOKENS - begin;
        if (!token_source_add(source, &capacity, (size_t)begin * 4, length, status))
            return false;
    }
    return true;
}
