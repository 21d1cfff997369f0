#include "engine/tensor/safetensors_internal.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Appends a JSON string; false if `string` is not UTF-8. */
static bool add_string(struct text *text, const char *string)
{
    size_t left = strlen(string);
    text_add(text, "\"");
    while (left) {
        size_t size = utf8_sequence(string, left);
        if (!size)
            return false;
        if (*string == '"' || *string == '\\')
            text_format(text, "\\%c", *string);
        else if ((unsigned char)*string < 0x20)
            text_format(text, "\\u%04x", (unsigned)*string);
        else
            text_add_part(text, string, size);
        string += size;
        left -= size;
    }
    text_add(text, "\"");
    return true;
}

static int compare_positions(const void *left, const void *right)
{
    const int *a = left, *b = right;
    return a[0] != b[0] ? b[0] - a[0] : a[1] - b[1];
}

/* The order in the file: larger elements first, else as given. The format has no room for padding
 * between tensors, so this is what keeps every tensor aligned. Pairs of size and position. */
static int *file_order(const struct tensor *tensors, int count)
{
    int *order = memory_zeroed((size_t)count, 2 * sizeof *order);
    for (int i = 0; i < count; i++) {
        order[2 * i] = (int)dtype_size(tensors[i].dtype);
        order[2 * i + 1] = i;
    }
    qsort(order, (size_t)count, 2 * sizeof *order, compare_positions);
    return order;
}

static size_t tensor_bytes(const struct tensor *tensor)
{
    return (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

static bool add_metadata(struct text *header, const char *const *metadata, int count)
{
    text_add(header, "\"__metadata__\":{");
    for (int i = 0; i < count; i++) {
        text_add(header, i ? "," : "");
        if (!add_string(header, metadata[2 * i]))
            return false;
        text_add(header, ":");
        if (!add_string(header, metadata[2 * i + 1]))
            return false;
    }
    text_add(header, "}");
    return true;
}

static bool add_tensor(struct text *header, const char *name, const struct tensor *tensor,
                       size_t *offset)
{
    if (!add_string(header, name))
        return false;
    text_format(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_label(tensor->dtype));
    for (int i = 0; i < tensor->shape.rank; i++)
        text_format(header, i ? ",%" PRId64 : "%" PRId64, tensor->shape.dims[i]);
    size_t end = *offset + tensor_bytes(tensor);
    text_format(header, "],\"data_offsets\":[%zu,%zu]}", *offset, end);
    *offset = end;
    return true;
}

struct content {
    const char *const *names;
    const struct tensor *tensors;
    const struct mosaic *const *sources; /* or NULL */
    int count;
    const char *const *metadata;
    int metadata_count;
    const int *order;
};

static bool build_header(struct text *header, const char *path, const struct content *content,
                         struct status *status)
{
    size_t offset = 0;
    text_add(header, "{");
    if (content->metadata_count &&
        !add_metadata(header, content->metadata, content->metadata_count))
        return status_fail(status, STATUS_INVALID, "%s: metadata is not UTF-8", path);
    for (int i = 0; i < content->count; i++) {
        int position = content->order[2 * i + 1];
        text_add(header, i || content->metadata_count ? "," : "");
        if (!add_tensor(header, content->names[position], &content->tensors[position], &offset))
            return status_fail(status, STATUS_INVALID, "%s: the name of tensor %d is not UTF-8",
                               path, position);
    }
    text_add(header, "}");
    while (header->length % 8)
        text_add(header, " ");
    return true;
}

static bool check_content(const char *path, const struct content *content, struct status *status)
{
    struct string_index index = {0};
    struct string_array names = {content->names, sizeof *content->names, content->count};
    struct string_array keys = {content->metadata, 2 * sizeof *content->metadata,
                                content->metadata_count};
    char name[128];
    for (int i = 0; i < content->count; i++)
        if (!tensor_is_contiguous(&content->tensors[i]) ||
            strcmp(content->names[i], "__metadata__") == 0)
            return status_fail(status, STATUS_INVALID,
                               "%s: tensor \"%s\" is not contiguous, or its name is reserved", path,
                               safetensors_printable(content->names[i], name));
    int twice = string_index_build(&index, names);
    free(index.slots);
    if (twice >= 0)
        return status_fail(status, STATUS_INVALID, "%s: tensor \"%s\" is given twice", path,
                           safetensors_printable(content->names[twice], name));
    int key = string_index_build(&index, keys);
    free(index.slots);
    if (key >= 0)
        return status_fail(status, STATUS_INVALID, "%s: metadata \"%s\" is given twice", path,
                           safetensors_printable(content->metadata[2 * key], name));
    return (twice != -2 && key != -2) ||
           status_fail(status, STATUS_MEMORY, "%s: no memory to write %d tensors", path,
                       content->count);
}

static bool write_source(FILE *file, const struct mosaic *source)
{
    int64_t count = shape_elements(source->shape), run;
    size_t size = dtype_size(source->dtype);
    for (int64_t i = 0; i < count; i += run) {
        const void *from = mosaic_run(source, i, &run);
        if (fwrite(from, size, (size_t)run, file) != (size_t)run)
            return false;
    }
    return true;
}

static bool write_all(FILE *file, const struct text *header, const struct content *content)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)header->length >> (8 * i));
    if (fwrite(length, 1, 8, file) != 8 ||
        fwrite(header->data, 1, header->length, file) != header->length)
        return false;
    for (int i = 0; i < content->count; i++) {
        int position = content->order[2 * i + 1];
        const struct tensor *tensor = &content->tensors[position];
        const struct mosaic *source = content->sources ? content->sources[position] : NULL;
        size_t bytes = tensor_bytes(tensor);
        if (source ? !write_source(file, source)
                   : bytes && fwrite(tensor->data, 1, bytes, file) != bytes)
            return false;
    }
    return true;
}

/* A device or a pipe is not written to but replaced by the rename below, which nobody wants. */
static bool is_replaceable(const char *path)
{
    struct stat information;
    return lstat(path, &information) != 0 || S_ISREG(information.st_mode) ||
           S_ISLNK(information.st_mode);
}

static int open_temporary(const char *temporary)
{
    return open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
}

bool safetensors_can_write(const char *path, struct status *status)
{
    if (!is_replaceable(path))
        return status_fail(status, STATUS_IO, "%s: not a regular file", path);
    char *temporary = memory_format("%s.%ld.tmp", path, (long)getpid());
    int descriptor = open_temporary(temporary), error = errno;
    if (descriptor >= 0) {
        close(descriptor);
        unlink(temporary);
    }
    free(temporary);
    return descriptor >= 0 ||
           status_fail(status, STATUS_IO, "%s: cannot write: %s", path, strerror(error));
}

/* Writes a temporary file beside `path`, then renames it. There is no fsync: a crash of the
 * program cannot leave half a file, and a trace is not worth waiting for the disk. */
static bool write_file(const char *path, const struct text *header, const struct content *content,
                       struct status *status)
{
    if (!is_replaceable(path))
        return status_fail(status, STATUS_IO, "%s: not a regular file", path);
    char *temporary = memory_format("%s.%ld.tmp", path, (long)getpid());
    int descriptor = open_temporary(temporary);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    bool written = file && write_all(file, header, content);
    int error = errno;
    if (file && fclose(file) != 0 && written) {
        error = errno;
        written = false;
    }
    if (written && rename(temporary, path) != 0) {
        error = errno;
        written = false;
    }
    if (!written) {
        if (descriptor >= 0)
            unlink(temporary);
        status_fail(status, STATUS_IO, "%s: cannot write: %s", path, strerror(error));
    }
    free(temporary);
    return written;
}

bool safetensors_write(const char *path, const char *const *names, const struct tensor *tensors,
                       int count, const char *const *metadata, int metadata_count,
                       struct status *status)
{
    return safetensors_write_parts(path, names, tensors, NULL, count, metadata, metadata_count,
                                   status);
}

bool safetensors_write_parts(const char *path, const char *const *names,
                             const struct tensor *tensors, const struct mosaic *const *sources,
                             int count, const char *const *metadata, int metadata_count,
                             struct status *status)
{
    struct content content = {names, tensors, sources, count, metadata, metadata_count, NULL};
    if (!check_content(path, &content, status))
        return false;
    int *order = file_order(tensors, count);
    struct text header = {0};
    content.order = order;
    bool done = build_header(&header, path, &content, status) &&
                write_file(path, &header, &content, status);
    text_free(&header);
    free(order);
    return done;
}
