#include "engine/base/memory.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

char *memory_format_list(const char *format, va_list arguments)
{
    char *text = NULL;
    return vasprintf(&text, format, arguments) < 0 ? checked(NULL) : text;
}

char *memory_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = memory_format_list(format, arguments);
    va_end(arguments);
    return text;
}

void *memory_try(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *memory_map(size_t bytes)
{
    const size_t unit = MEMORY_HUGE_PAGE;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    char *base =
        mmap(NULL, bytes + unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t before = (unit - (uintptr_t)base % unit) % unit;
    size_t after = (before + bytes + page - 1) / page * page; /* where nothing is needed any more */
    if (before > 0)
        munmap(base, before);
    if (after < bytes + unit)
        munmap(base + after, bytes + unit - after);
    madvise(base + before, bytes, MADV_HUGEPAGE);
    return base + before;
}

void memory_unmap(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}
