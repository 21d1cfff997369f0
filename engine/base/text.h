/* A growing string. Zero-initialise, add, use .data (never NULL after the first add), free. */
#ifndef ENGINE_BASE_TEXT_H
#define ENGINE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* zero-terminated; NULL while empty */
    size_t length;
    size_t capacity;
};

void text_add(struct text *text, const char *string);
void text_add_part(struct text *text, const char *bytes, size_t length);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds blanks until the last line is `column` bytes long (at least one blank). */
void text_pad(struct text *text, size_t column);
void text_clear(struct text *text);              /* empties, keeps the memory */
void text_cut(struct text *text, size_t length); /* keeps the first `length` bytes, if more */
void text_free(struct text *text);               /* empties and frees; may be used again */
/* Hands the string over to the caller (free with free(); "" if nothing was added). */
char *text_take(struct text *text);
/* 12345678 as "12,345,678". Returns `buffer`. */
const char *text_thousands(int64_t number, char buffer[32]);
/* Bytes as "512 B", "61 KiB", "1.2 GiB". Returns `buffer`. */
const char *text_bytes(uint64_t bytes, char buffer[32]);
bool text_ends_with(const char *string, const char *end);

#endif
