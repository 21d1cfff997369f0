/* fuzz: lockstep_engine_tensor */
/* Any bytes as a safetensors file: refused with a message, or every tensor can be read. */
#include "engine/tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

static void check_entry(const struct safetensors *file, int i)
{
    const struct safetensors_entry *entry = &file->entries[i];
    size_t size = dtype_size(entry->tensor.dtype);
    size_t bytes = (size_t)shape_elements(entry->tensor.shape) * size;
    if (safetensors_find(file, entry->name) != entry)
        abort();
    if (bytes && (size_t)entry->tensor.data % size)
        abort();
    unsigned char *copy = malloc(bytes + 1); /* the sanitizer sees a read beyond the file */
    if (copy && bytes)
        memcpy(copy, entry->tensor.data, bytes);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct status status = STATUS_NONE;
    struct safetensors *file = safetensors_parse(data, size, "fuzz", &status);
    if (!file != (status.code != STATUS_OK && status.text[0]))
        abort();
    if (!file)
        return 0;
    for (int i = 0; i < file->count; i++)
        check_entry(file, i);
    for (int i = 0; i < file->metadata_count; i++) {
        char *value = safetensors_metadata(file, i);
        if (safetensors_find_metadata(file, file->metadata[i].key) != i || !value)
            abort();
        free(value);
    }
    safetensors_close(file);
    return 0;
}
