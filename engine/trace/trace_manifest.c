#include "engine/trace/trace_internal.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <ctype.h>
#include <jansson.h>
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
    enum { LIMIT = 64 << 20 };
    char *path = memory_format("%s/manifest.json", directory);
    struct status failure = STATUS_NONE;
    bool done = true;
    *root = NULL;
    *text = NULL;
    if (!file_read(path, LIMIT, text, NULL, &failure)) {
        if (failure.code != STATUS_NOT_FOUND)
            done = status_fail(status, failure.code, "%s", failure.text);
    } else {
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
