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
    /* Not straight into the status: the old text may be among the arguments. */
    char text[sizeof(status->text)];
    va_list arguments;
    va_start(arguments, format);
    int needed = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    mark_cut(text, sizeof(text), needed);
    status->code = code;
    memcpy(status->text, text, strlen(text) + 1);
    return false;
}

bool status_context(struct status *status, const char *format, ...)
{
    if (!status)
        return false;
    char context[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);
    mark_cut(context, sizeof(context), length);
    char text[sizeof(status->text)];
    int needed = snprintf(text, sizeof(text), "%s: %s", context, status->text);
    mark_cut(text, sizeof(text), needed);
    memcpy(status->text, text, strlen(text) + 1);
    return false;
}
