#include "engine/tensor/safetensors_internal.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *string_at(struct string_array strings, size_t position)
{
    return *(char *const *)((const char *)strings.first + position * strings.stride);
}

static size_t find_slot(const struct string_index *index, struct string_array strings,
                        const char *text, uint32_t hash)
{
    size_t slot = hash & index->mask;
    for (; index->slots[slot].position; slot = (slot + 1) & index->mask)
        if (index->slots[slot].hash == hash &&
            strcmp(string_at(strings, (size_t)index->slots[slot].position - 1), text) == 0)
            break;
    return slot;
}

/* Eight characters at a time: a trace of a million tensors has 40 MB of names. The multiplier is
 * that of the golden ratio (Knuth, The Art of Computer Programming, 6.4). */
static uint32_t short_hash(const char *text)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    size_t left = strlen(text);
    uint64_t hash = left, letters;
    for (; left >= sizeof letters; left -= sizeof letters, text += sizeof letters) {
        memcpy(&letters, text, sizeof letters);
        hash = (hash ^ letters) * golden;
        hash ^= hash >> 29;
    }
    letters = 0;
    memcpy(&letters, text, left);
    hash = (hash ^ letters) * golden;
    return (uint32_t)(hash ^ hash >> 32);
}

void safetensors_large_pages(void *memory, size_t size)
{
    const uintptr_t page = (uintptr_t)2 << 20;
    uintptr_t first = ((uintptr_t)memory + page - 1) & ~(page - 1);
    uintptr_t last = ((uintptr_t)memory + size) & ~(page - 1);
    if (first < last)
        madvise((void *)first, last - first, MADV_HUGEPAGE);
}

int string_index_build(struct string_index *index, struct string_array strings)
{
    size_t size = 16;
    while (size < (size_t)strings.count * 2)
        size *= 2;
    index->slots = memory_try(size, sizeof *index->slots);
    if (!index->slots)
        return -2;
    index->mask = size - 1;
    safetensors_large_pages(index->slots, size * sizeof *index->slots);
    /* In groups: the slots of a large table are rarely in a cache, so that all of a group are asked
     * for before the first is needed. */
    enum { GROUP = 16 };
    uint32_t hashes[GROUP];
    for (int i = 0; i < strings.count; i++) {
        for (int j = i; i % GROUP == 0 && j < i + GROUP && j < strings.count; j++) {
            hashes[j - i] = short_hash(string_at(strings, (size_t)j));
            __builtin_prefetch(&index->slots[hashes[j - i] & index->mask], 1);
        }
        const char *text = string_at(strings, (size_t)i);
        uint32_t hash = hashes[i % GROUP];
        struct string_slot *slot = &index->slots[find_slot(index, strings, text, hash)];
        if (slot->position)
            return i;
        *slot = (struct string_slot){hash, i + 1};
    }
    return -1;
}

/* The index of `text`, or -1. */
static int string_index_find(const struct string_index *index, struct string_array strings,
                             const char *text)
{
    return index->slots[find_slot(index, strings, text, short_hash(text))].position - 1;
}

static struct string_array entry_names(const struct safetensors *file)
{
    return (struct string_array){file->entries ? &file->entries->name : NULL, sizeof *file->entries,
                                 file->count};
}

static struct string_array metadata_keys(const struct safetensors *file)
{
    return (struct string_array){file->metadata ? &file->metadata->key : NULL,
                                 sizeof *file->metadata, file->metadata_count};
}

/* By offset; empty tensors before what begins at the same byte, and else as in the header, whose
 * order the addresses of the names keep. */
static int compare_entries(const void *left, const void *right)
{
    const struct safetensors_entry *a = left, *b = right;
    uintptr_t begin_a = (uintptr_t)a->tensor.data, begin_b = (uintptr_t)b->tensor.data;
    if (begin_a != begin_b)
        return begin_a < begin_b ? -1 : 1;
    bool full_a = shape_elements(a->tensor.shape) > 0, full_b = shape_elements(b->tensor.shape) > 0;
    if (full_a != full_b)
        return full_a ? 1 : -1;
    return a->name < b->name ? -1 : a->name > b->name;
}

static size_t tensor_bytes(const struct tensor *tensor)
{
    return (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

/* Whether each tensor begins where the one before it in the header ends: then they are in the order
 * of compare_entries(), and nothing else is wrong. */
static bool is_seamless(const struct safetensors *file, uint64_t data_size)
{
    uint64_t end = 0;
    for (int i = 0; i < file->count; i++) {
        if ((uintptr_t)file->entries[i].tensor.data != end)
            return false;
        end += tensor_bytes(&file->entries[i].tensor);
    }
    return end == data_size;
}

/* The format wants every byte of the data to belong to exactly one tensor. */
static bool check_layout(struct safetensors *file, uint64_t data_size, struct status *status)
{
    char name[128], before[128];
    uint64_t end = 0;
    if (is_seamless(file, data_size))
        return true;
    if (file->count)
        qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_entries);
    for (int i = 0; i < file->count; i++) {
        const struct safetensors_entry *entry = &file->entries[i];
        uint64_t begin = (uintptr_t)entry->tensor.data;
        bool twice = i > 0 && !strcmp(entry->name, file->entries[i - 1].name);
        if (begin < end && twice)
            return status_fail(status, STATUS_INVALID, "%s: tensor \"%s\" is given twice",
                               file->path, safetensors_printable(entry->name, name));
        if (begin < end)
            return status_fail(status, STATUS_INVALID, "%s: tensors \"%s\" and \"%s\" overlap",
                               file->path, safetensors_printable(file->entries[i - 1].name, before),
                               safetensors_printable(entry->name, name));
        if (begin > end)
            return status_fail(status, STATUS_INVALID,
                               "%s: tensor \"%s\": %llu bytes before it belong to no tensor",
                               file->path, safetensors_printable(entry->name, name),
                               (unsigned long long)(begin - end));
        end = begin + tensor_bytes(&entry->tensor);
    }
    if (end != data_size)
        return status_fail(status, STATUS_INVALID,
                           "%s: the last %llu bytes of the file belong to no tensor", file->path,
                           (unsigned long long)(data_size - end));
    return true;
}

/* Whether pair i of the metadata is that of entry i, under the same copy of the name: then the
 * index of the entries finds both. */
static bool metadata_follow(const struct safetensors *file)
{
    if (file->metadata_count > file->count)
        return false;
    for (int i = 0; i < file->metadata_count; i++)
        if (file->metadata[i].key != file->entries[i].name)
            return false;
    return true;
}

static bool build_indices(struct safetensors *file, struct status *status)
{
    struct safetensors_index *index = file->index;
    char name[128];
    int twice = string_index_build(&index->names, entry_names(file));
    if (twice >= 0)
        return status_fail(status, STATUS_INVALID, "%s: tensor \"%s\" is given twice", file->path,
                           safetensors_printable(file->entries[twice].name, name));
    int key = twice == -2 ? -2 : -1;
    if (key == -1 && !metadata_follow(file))
        key = string_index_build(&index->metadata, metadata_keys(file));
    if (key >= 0)
        return status_fail(status, STATUS_INVALID, "%s: key \"%s\" of __metadata__ is given twice",
                           file->path, safetensors_printable(file->metadata[key].key, name));
    return key == -1 || status_fail(status, STATUS_MEMORY, "%s: no memory for an index of %d names",
                                    file->path, file->count);
}

static bool is_aligned(const struct tensor *tensor)
{
    return (uintptr_t)tensor->data % dtype_size(tensor->dtype) == 0 || tensor_bytes(tensor) == 0;
}

static size_t padded_bytes(const struct tensor *tensor)
{
    return (tensor_bytes(tensor) + 7) & ~(size_t)7;
}

/* Turns offsets into addresses. Data that are not aligned for their type (which the format allows,
 * and C does not) are copied once; writers of today align, so this is rare. */
static bool place_data(struct safetensors *file, const char *data, struct status *status)
{
    struct safetensors_index *index = file->index;
    size_t copied = 0, used = 0;
    for (int i = 0; i < file->count; i++) {
        struct tensor *tensor = &file->entries[i].tensor;
        tensor->data = (void *)(uintptr_t)(data + (uintptr_t)tensor->data);
        copied += is_aligned(tensor) ? 0 : padded_bytes(tensor);
    }
    if (copied && !(index->copies = memory_try(copied, 1)))
        return status_fail(status, STATUS_MEMORY, "%s: no memory to align %zu bytes of tensor data",
                           file->path, copied);
    for (int i = 0; i < file->count && used < copied; i++) {
        struct tensor *tensor = &file->entries[i].tensor;
        if (is_aligned(tensor))
            continue;
        tensor->data = memcpy((char *)index->copies + used, tensor->data, tensor_bytes(tensor));
        used += padded_bytes(tensor);
    }
    return true;
}

/* Whole pages from the one of `begin` to the one of `end`, if they are of a file. */
static void forget_pages(const struct safetensors *file, const char *begin, const char *end)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)begin & ~(page - 1);
    if (file->map)
        madvise((void *)first, (size_t)((uintptr_t)end - first), MADV_DONTNEED);
}

static bool parse_into(struct safetensors *file, const void *bytes, size_t size,
                       struct status *status)
{
    const unsigned char *head = bytes;
    uint64_t length = 0;
    if (size < 8)
        return status_fail(status, STATUS_INVALID,
                           "%s: not a safetensors file: %zu bytes, shorter than the header length",
                           file->path, size);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | head[i];
    if (length > size - 8)
        return status_fail(status, STATUS_INVALID,
                           "%s: truncated, or not a safetensors file: a header of %llu bytes in a "
                           "file of %zu",
                           file->path, (unsigned long long)length, size);
    struct safetensors_index *index = file->index = memory_zeroed(1, sizeof *index);
    /* Unescaping never makes a string longer, and the closing quote pays for the final zero.
     * One byte more keeps the size above 0. Memory that stays untouched costs nothing. */
    index->strings = memory_try((size_t)length + 1, 1);
    if (!index->strings)
        return status_fail(status, STATUS_MEMORY, "%s: no memory for a header of %llu bytes",
                           file->path, (unsigned long long)length);
    safetensors_large_pages(index->strings, (size_t)length);
    index->header_end = (const char *)bytes + 8 + length;
    uint64_t data_size = size - 8 - length;
    if (!safetensors_parse_header(file, (const char *)bytes + 8, (size_t)length, data_size,
                                  index->strings, status))
        return false;
    forget_pages(file, bytes, index->header_end);
    return check_layout(file, data_size, status) && build_indices(file, status) &&
           place_data(file, index->header_end, status);
}

struct safetensors *safetensors_parse(const void *bytes, size_t size, const char *path,
                                      struct status *status)
{
    struct safetensors *file = memory_zeroed(1, sizeof *file);
    file->path = memory_string(path);
    if (parse_into(file, bytes, size, status))
        return file;
    safetensors_close(file);
    return NULL;
}

struct safetensors *safetensors_open(const char *path, struct status *status)
{
    struct safetensors *file = memory_zeroed(1, sizeof *file);
    file->path = memory_string(path);
    if (file_map(path, &file->map, &file->map_size, status) &&
        parse_into(file, file->map ? file->map : "", file->map_size, status))
        return file;
    safetensors_close(file);
    return NULL;
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    struct safetensors_index *index = file->index;
    if (index) {
        free(index->names.slots);
        free(index->metadata.slots);
        free(index->strings);
        free(index->copies);
    }
    free(index);
    free(file->entries);
    free(file->metadata);
    free(file->path);
    file_unmap(file->map, file->map_size);
    free(file);
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name)
{
    const struct safetensors_index *index = file->index;
    int found = string_index_find(&index->names, entry_names(file), name);
    return found < 0 ? NULL : &file->entries[found];
}

int safetensors_find_metadata(const struct safetensors *file, const char *key)
{
    const struct safetensors_index *index = file->index;
    int found = index->metadata.slots
                    ? string_index_find(&index->metadata, metadata_keys(file), key)
                    : string_index_find(&index->names, entry_names(file), key);
    return found < file->metadata_count ? found : -1;
}

/* Where the text of a value ends, whose form was checked before: after its closing quote. */
static const char *value_end(const struct safetensors *file, int position)
{
    const struct safetensors_index *index = file->index;
    const char *at = file->metadata[position].value;
    header_string_skip(&at, index->header_end);
    return at;
}

char *safetensors_metadata(const struct safetensors *file, int position)
{
    if (position < 0)
        return NULL;
    const char *at = file->metadata[position].value, *end = value_end(file, position);
    char *text = memory_zeroed((size_t)(end - at) + 1, 1);
    header_string_copy(&at, end, text);
    return text;
}

void safetensors_forget_metadata(const struct safetensors *file, int first, int count)
{
    if (count > 0)
        forget_pages(file, file->metadata[first].value, value_end(file, first + count - 1));
}
