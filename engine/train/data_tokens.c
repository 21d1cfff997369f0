/* Tokens made by others: Megatron's .bin/.idx pairs (also Fast-LLM's older format) and NumPy's
 * .npy. https://github.com/NVIDIA/Megatron-LM megatron/core/datasets/indexed_dataset.py */
#include "engine/train/data_source.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <stdlib.h>
#include <string.h>

static uint64_t read_number(const unsigned char *bytes, int width)
{
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

/* Megatron's codes: uint8 1, int8 2, int16 3, int32 4, int64 5, (float64 6, float32 7), uint16 8 */
static bool set_token_type(struct token_source *source, int code, struct status *status)
{
    static const int widths[] = {0, 1, 1, 2, 4, 8, 0, 0, 2};
    int width = code < ARRAY_LENGTH(widths) ? widths[code] : 0;
    if (!width)
        return status_fail(status, STATUS_INVALID,
                           "%s: tokens of type code %d; expected 1 (uint8), 2 (int8), 3 (int16), "
                           "4 (int32), 5 (int64) or 8 (uint16)",
                           source->path, code);
    source->width = width;
    source->is_signed = code >= 2 && code <= 5;
    return true;
}

/* magic (9 bytes), version (8), type code (1), sequences (8), length of the document index (8);
 * then int32 sizes, int64 pointers (bytes into the .bin), int64 document index. */
enum { INDEX_HEADER = 34 };

static bool check_index_header(const struct token_source *source, const unsigned char *bytes,
                               size_t size, struct status *status)
{
    enum { MAGIC = 9 };
    if (memcmp(bytes, "MMIDIDX\0\0", size < MAGIC ? size : MAGIC) != 0)
        return status_fail(status, STATUS_INVALID, "%s: not an index of tokens (no MMIDIDX)",
                           source->path);
    if (size < INDEX_HEADER)
        return status_fail(status, STATUS_INVALID,
                           "%s: truncated: %zu bytes; an index has %d and more", source->path, size,
                           INDEX_HEADER);
    uint64_t version = read_number(bytes + 9, 8);
    if (version != 1)
        return status_fail(status, STATUS_INVALID, "%s: version %llu; only 1 is known",
                           source->path, (unsigned long long)version);
    uint64_t sequences = read_number(bytes + 18, 8), entries = read_number(bytes + 26, 8);
    size_t room = size - INDEX_HEADER;
    if (sequences > room / 12 || entries > (room - sequences * 12) / 8 ||
        sequences * 12 + entries * 8 != room)
        return status_fail(status, STATUS_INVALID,
                           "%s: truncated or damaged: %zu bytes do not hold %llu sequences and a "
                           "document index of %llu",
                           source->path, size, (unsigned long long)sequences,
                           (unsigned long long)entries);
    return true;
}

static bool check_document_index(const struct token_source *source, const unsigned char *entries,
                                 uint64_t count, uint64_t sequences, struct status *status)
{
    uint64_t before = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t entry = read_number(entries + 8 * i, 8);
        if (entry < before || entry > sequences)
            return status_fail(status, STATUS_INVALID,
                               "%s: entry %llu of the document index is out of order or range",
                               source->path, (unsigned long long)i);
        before = entry;
    }
    return true;
}

bool megatron_index_parse(struct token_source *source, const unsigned char *bytes, size_t size,
                          size_t data_size, struct status *status)
{
    if (!check_index_header(source, bytes, size, status) ||
        !set_token_type(source, bytes[17], status))
        return false;
    uint64_t sequences = read_number(bytes + 18, 8), entries = read_number(bytes + 26, 8);
    const unsigned char *sizes = bytes + INDEX_HEADER, *pointers = sizes + 4 * sequences;
    if (!check_document_index(source, pointers + 8 * sequences, entries, sequences, status))
        return false;
    int64_t capacity = 0;
    for (uint64_t i = 0; i < sequences; i++) {
        uint64_t length = read_number(sizes + 4 * i, 4), offset = read_number(pointers + 8 * i, 8);
        uint64_t length_bytes = length * (uint64_t)source->width;
        if (length > INT32_MAX || offset > data_size || length_bytes > data_size - offset)
            return status_fail(status, STATUS_INVALID,
                               "%s: sequence %llu (%lld tokens at byte %lld) lies outside of the "
                               "%zu bytes of tokens",
                               source->path, (unsigned long long)i, (long long)(int32_t)length,
                               (long long)(int64_t)offset, data_size);
        if (!token_source_add(source, &capacity, offset, (int64_t)length, status))
            return false;
    }
    return true;
}

static bool map_tokens(const char *path, void **map, size_t *size, struct status *status)
{
    if (!file_map(path, map, size, status))
        return false;
    return *size > 0 || status_fail(status, STATUS_INVALID, "%s: the file is empty", path);
}

/* PREFIX, PREFIX.bin and PREFIX.idx all name the pair. */
static bool open_pair(struct token_source *source, const char *path, struct status *status)
{
    size_t length = strlen(path);
    if (text_ends_with(path, ".bin") || text_ends_with(path, ".idx"))
        length -= 4;
    char *index_path = memory_format("%.*s.idx", (int)length, path);
    char *data_path = memory_format("%.*s.bin", (int)length, path);
    void *index = NULL;
    size_t index_size = 0;
    source->path = memory_string(index_path);
    bool done = map_tokens(index_path, &index, &index_size, status) &&
                map_tokens(data_path, &source->map, &source->map_size, status) &&
                megatron_index_parse(source, index, index_size, source->map_size, status);
    file_unmap(index, index_size);
    source->tokens = source->map;
    free(source->path);
    source->path = data_path; /* from here on, it is the tokens that can be wrong */
    free(index_path);
    return done;
}

bool tokens_source_open(struct token_source *source, const struct config *config,
                        struct status *status)
{
    const char *path = config->data.path ? config->data.path : "";
    if (!*path)
        return status_fail(status, STATUS_INVALID,
                           "data of type tokens need a path: PREFIX.bin or FILE.npy");
    if (!text_ends_with(path, ".npy"))
        return open_pair(source, path, status);
    source->path = memory_string(path);
    return map_tokens(path, &source->map, &source->map_size, status) &&
           npy_parse(source, source->map, source->map_size, status);
}
