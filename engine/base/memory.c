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
        if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
            raise(SIGABRT);
        raise(SIGABRT);
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
    return text ? memory_string_part(text, strlen(text)) : NULL;
}

char *memory_string_part(const char *text, size_t length)
{
    char *copy = memory_zeroed(length + 1, 1);
    memcpy(copy, text, length);
    return copy;
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
