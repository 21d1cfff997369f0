#include "engine/config/problems.h"

#include <stdarg.h>
#include <stdio.h>

enum { PROBLEM_LIMIT = 100 };

void problem_add(struct problems *problems, struct source source, const char *format, ...)
{
    char what[700];
    if (problems->count++ >= PROBLEM_LIMIT)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    text_format(&problems->text, "%s%s:%d:%d: %s", problems->text.length ? "\n" : "",
                source.file ? source.file : "?", source.line, source.column, what);
}

bool problems_end(struct problems *problems, struct status *status)
{
    bool fine = problems->count == 0;
    if (!fine)
        status_fail(status,
                    problems->layout == problems->count ? STATUS_UNSUPPORTED : STATUS_INVALID, "%s",
                    problems->text.data);
    text_free(&problems->text);
    *problems = (struct problems){0};
    return fine;
}
