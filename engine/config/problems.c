#include "engine/config/problems.h"

#include "engine/base/unicode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PROBLEM_LIMIT = 100 };

/* Adds the text, but for a character that a limit of bytes cut into. */
static void add_whole_characters(struct text *text, const char *what)
{
    for (size_t at = 0, length = strlen(what); at < length;) {
        int32_t character;
        size_t bytes = unicode_decode(what + at, length - at, &character);
        if (character >= 0)
            text_add_part(text, what + at, bytes);
        at += bytes;
    }
}

void problem_add(struct problems *problems, struct source source, const char *format, ...)
{
    char what[700];
    if (problems->count++ >= PROBLEM_LIMIT)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    text_format(&problems->text, "%s%s:%d:%d: ", problems->text.length ? "\n" : "",
                source.file ? source.file : "?", source.line, source.column);
    add_whole_characters(&problems->text, what);
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
