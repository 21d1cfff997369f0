#include "engine/base/memory.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *checked(void *memory)
{
    if (!memory) {
        static const char message[] = "lockstep: out of memory\n";
        ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
        (void)written; /* there is nobody left to tell */
        raise(SIGABRT);
        __builtin_trap(); /* a blocked or ignored signal must not lead to a NULL */
    }
    return memory;
}

void *memory_zeroed(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size ? size : 1));
}

void *memory_resize(void *memory, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return checked(NULL);
    return checked(realloc(memory, count && size ? count * size : 1));
}

char *memory_string(const char *text)
{
    return text ? checked(strdup(text)) : NULL;
}

char *memory_string_part(const char *text, size_t length)
{
    return checked(strndup(text, length));
}

char *memory_format(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? checked(NULL) : text;
}

void *memory_try(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}
