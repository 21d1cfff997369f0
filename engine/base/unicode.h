/* UTF-8 that cannot be trusted. Pure functions; any thread. */
#ifndef ENGINE_BASE_UNICODE_H
#define ENGINE_BASE_UNICODE_H

#include "engine/base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_ESCAPE_BYTES = 16 };

/* Decodes the character at `text`; `length` must be at least 1. Returns its number of bytes; what
 * is no valid UTF-8 (overlong forms, surrogates, above U+10FFFF too) gives 1 byte and
 * *character = -1. */
size_t unicode_decode(const char *text, size_t length, int32_t *character);

/* Characters that a terminal may call printable or of no width, but that hide or reorder text:
 * directions, joiners, separators, byte order marks, tags. */
bool unicode_is_treacherous(int32_t character);

/* How a character that must not be printed is shown: "^[", "\u202e", "\U0e0041"; for -1, a byte
 * that is no UTF-8: "\xff". Plain ASCII. Returns the length. */
int unicode_escape(char buffer[UNICODE_ESCAPE_BYTES], int32_t character, unsigned char byte);

/* How many bytes the texts (at least one) begin with alike, whole characters only. */
size_t unicode_common_start(const char *const *texts, int count);

/* Appends the bytes as text that only prints and is valid UTF-8: tabs stay, control characters (C0,
 * DEL, C1), treacherous characters and bytes that are no UTF-8 are escaped. */
void unicode_add_printable(struct text *out, const char *bytes, size_t length);

#endif
