/* fuzz: lockstep_engine_train */
/* Any bytes as an index of tokens and as a .npy array: refused with a message, or every document
 * lies inside of the tokens. */
#include "engine/base/memory.h"
#include "engine/train/data_source.h"

#include <stdlib.h>

enum { DATA_SIZE = 4096 }; /* of the imagined .bin file */

static void check_source(const struct token_source *source, bool done, const struct status *status,
                         size_t size)
{
    int64_t count = 0;
    if (done != (status->code == STATUS_OK) || (!done && !status->text[0]))
        abort();
    for (int64_t i = 0; done && i < source->document_count; i++) {
        const struct document *document = &source->documents[i];
        size_t bytes = (size_t)document->length * (size_t)source->width;
        if (document->length < 1 || document->offset > size || bytes > size - document->offset)
            abort();
        token_source_load(source, document->offset);
        token_source_load(source, document->offset + bytes - (size_t)source->width);
        count += document->length;
    }
    if (done && count != source->token_count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char tokens[DATA_SIZE];
    struct status status = STATUS_NONE;
    struct token_source pair = {.path = memory_string("fuzz"), .tokens = tokens};
    bool done = megatron_index_parse(&pair, data, size, DATA_SIZE, &status);
    check_source(&pair, done, &status, DATA_SIZE);
    token_source_free(&pair);

    status = STATUS_NONE;
    struct token_source array = {.path = memory_string("fuzz")};
    done = npy_parse(&array, data, size, &status);
    check_source(&array, done, &status, size);
    token_source_free(&array);
    return 0;
}
