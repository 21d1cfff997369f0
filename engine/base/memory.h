/* Allocation of small host objects. These never return NULL: a machine that cannot give a few
 * bytes ends the program through SIGABRT, whose handler restores the terminal. Anything sized by
 * the user's data (tensors, files) goes through a device or memory_try() and is checked.
 * Any thread. */
#ifndef ENGINE_BASE_MEMORY_H
#define ENGINE_BASE_MEMORY_H

#include <stdarg.h>
#include <stddef.h>

/* Zeroed memory for `count` objects of `size` bytes; free with free(). count 0 gives 1 byte. */
void *memory_zeroed(size_t count, size_t size);

/* realloc that does not return NULL; new bytes are not zeroed. */
void *memory_resize(void *memory, size_t count, size_t size);

/* strdup and strndup (which stops at a zero byte) that do not return NULL; memory_string(NULL) is
 * NULL. */
char *memory_string(const char *text);
char *memory_string_part(const char *text, size_t length);

/* sprintf into a new string; free with free(). */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *memory_format_list(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

/* Zeroed memory or NULL: for sizes that come from data. */
void *memory_try(size_t count, size_t size);

/* Zeroed memory straight from the system, aligned to MEMORY_HUGE_PAGE and asked for in such pages
 * (touched by pages of 4 KiB it is four times slower); NULL if there is none. Only what is touched
 * takes memory. Give it back with memory_unmap and the same number of bytes; NULL is legal. */
enum { MEMORY_HUGE_PAGE = 2 << 20 };
void *memory_map(size_t bytes);
void memory_unmap(void *memory, size_t bytes);

/* Appends `item` to a growing array of which `count` and `capacity` are kept by the caller. */
#define ARRAY_PUSH(array, count, capacity, item)                                                   \
    do {                                                                                           \
        if ((count) == (capacity)) {                                                               \
            (capacity) = (capacity) ? (capacity)*2 : 8;                                            \
            (array) = memory_resize((array), (size_t)(capacity), sizeof(*(array)));                \
        }                                                                                          \
        (array)[(count)++] = (item);                                                               \
    } while (0)

#define ARRAY_LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
