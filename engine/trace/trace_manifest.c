#include "engine/trace/trace_internal.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool trace_step_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 200 || name[0] == '.')
        return false;
    for (const char *letter = name; *letter; letter++)
        if (!isalnum((unsigned char)*letter) && !strchr("_-.", *letter))
            return false;
    return true;
}

/* A whole small file as a string, or NULL with errno set. */
static char *read_text(const char *path)
{
    enum { LIMIT = 64 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = NULL;
    size_t length = 0, capacity = 4096;
    do {
        capacity *= 2;
        text = memory_resize(text, capacity + 1, 1);
        length += fread(text + length, 1, capacity - length, file);
    } while (length == capacity && capacity < LIMIT);
    int error = ferror(file) ? errno : length == capacity ? EFBIG : 0;
    fclose(file);
    text[length] = '\0';
    if (error) {
        free(text);
        errno = error;
        return NULL;
    }
    return text;
}

static bool check_manifest(const char *path, const json_t *root, struct status *status)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (!format || strcmp(format, TRACE_FORMAT) != 0)
        return status_fail(status, STATUS_INVALID, "%s: \"format\" is not \"%s\"", path,
                           TRACE_FORMAT);
    json_int_t version = json_integer_value(json_object_get(root, "version"));
    return version == TRACE_VERSION ||
           status_fail(status, STATUS_UNSUPPORTED,
                       "%s: version %lld of the trace format; this program reads version %d", path,
                       (long long)version, TRACE_VERSION);
}

bool trace_manifest_read(const char *directory, char **text, json_t **root, struct status *status)
{
    char *path = memory_format("%s/manifest.json", directory);
    bool done = true;
    *root = NULL;
    *text = read_text(path);
    if (!*text && errno != ENOENT) {
        done = status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    } else if (*text) {
        json_error_t error;
        *root = json_loads(*text, JSON_REJECT_DUPLICATES, &error);
        done = *root ? check_manifest(path, *root, status)
                     : status_fail(status, STATUS_INVALID, "%s:%d:%d: %s", path, error.line,
                                   error.column, error.text);
    }
    if (!done) {
        free(*text);
        json_decref(*root);
        *text = NULL;
        *root = NULL;
    }
    free(path);
    return done;
}
