#include "engine/train/data_source.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

bool token_source_add(struct token_source *source, int64_t *capacity, size_t offset, int64_t length,
                      struct status *status)
{
    if (length == 0)
        return true;
    if (length > INT64_MAX / 2 - source->token_count)
        return status_fail(status, STATUS_INVALID, "%s: more tokens than can be counted",
                           source->path);
    if (source->document_count == *capacity) {
        int64_t grown = *capacity ? *capacity * 2 : 64;
        struct document *moved = realloc(source->documents, (size_t)grown * sizeof *moved);
        if (!moved)
            return status_fail(status, STATUS_MEMORY, "%s: no memory for a list of %lld documents",
                               source->path, (long long)grown);
        source->documents = moved;
        *capacity = grown;
    }
    source->documents[source->document_count++] = (struct document){offset, length};
    source->token_count += length;
    return true;
}

int64_t token_source_load(const struct token_source *source, size_t offset)
{
    const unsigned char *byte = source->tokens + offset;
    uint64_t value = 0;
    for (int i = source->width - 1; i >= 0; i--)
        value = value << 8 | byte[i];
    int unused = 64 - 8 * source->width;
    if (source->is_signed && value >> (63 - unused))
        value |= ~(uint64_t)0 << (63 - unused);
    return (int64_t)value;
}

void token_source_free(struct token_source *source)
{
    free(source->path);
    free(source->documents);
    free(source->masked);
    free(source->owned);
    file_unmap(source->map, source->map_size);
    *source = (struct token_source){0};
}
