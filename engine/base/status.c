#include "engine/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void mark_cut(char *text, size_t size, int needed)
{
    if (needed >= (int)size)
        memcpy(text + size - 4, "...", 4);
}

bool status_fail(struct status *status, enum status_code code, const char *format, ...)
{
    if (!status)
        return false;
    va_list arguments;
    va_start(arguments, format);
    status->code = code;
    int needed = vsnprintf(status->text, sizeof(status->text), format, arguments);
    va_end(arguments);
    mark_cut(status->text, sizeof(status->text), needed);
    return false;
}

bool status_context(struct status *status, const char *format, ...)
{
    if (!status)
        return false;
    char context[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);
    char text[sizeof(status->text)];
    int needed = snprintf(text, sizeof(text), "%s: %s", context, status->text);
    mark_cut(text, sizeof(text), needed);
    memcpy(status->text, text, sizeof(text));
    return false;
}

const char *status_code_name(enum status_code code)
{
    static const char *const names[] = {"ok",           "invalid", "not found", "unsupported",
                                        "input/output", "memory",  "cancelled", "internal"};
    return names[code];
}
