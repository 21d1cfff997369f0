/* How wide UTF-8 text is on a terminal, and how to show text that cannot be trusted.
 *
 * Names and output of models, ranks and other people's traces may hold escape sequences, broken
 * UTF-8 or invisible characters. Everything drawn goes through text_glyph_next(), which turns one
 * unit of such text into bytes that only print:
 *   control characters      ^[ ^G ^?        (caret notation)
 *   tab                     blanks up to the next multiple of 8 columns of the text
 *   bytes that are no UTF-8 \xff            (also overlong forms, surrogates, above U+10FFFF)
 *   invisible or unprintable characters     \u200b \u202e \u0085: they could reorder or hide text
 *   combining marks         stay with the character before them, at most 3 of them; a mark with
 *                           nothing to stand on gets a blank
 * Widths come from wcwidth(), so setlocale(LC_ALL, "") must have been called; in a locale without
 * UTF-8 everything beyond ASCII is escaped. Pure functions; any thread. */
#ifndef UI_TEXT_WIDTH_H
#define UI_TEXT_WIDTH_H

#include "engine/base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_GLYPH_BYTES = 24, TEXT_TAB_COLUMNS = 8 };

/* One unit of text as it is to be drawn. */
struct text_glyph {
    size_t source_bytes;          /* bytes taken from the text, at least 1 */
    int columns;                  /* columns on the screen: 1.. (tab: 1 to 8) */
    char shown[TEXT_GLYPH_BYTES]; /* what to print, zero-terminated UTF-8 */
    bool escaped;                 /* `shown` stands for something unprintable: plain ASCII */
};

/* The glyph at `text` (length >= 1), which starts at `column` columns from the start of the text
 * (matters to tabs only). Returns glyph->source_bytes. */
size_t text_glyph_next(const char *text, size_t length, int column, struct text_glyph *glyph);

/* Columns that the whole text takes when drawn. */
int text_width(const char *text, size_t length);

/* Number of bytes of `text` whose glyphs fit into `columns` columns; *used (may be NULL) is set to
 * the columns they take. A wide glyph that would cross the edge does not fit. */
size_t text_fit(const char *text, size_t length, int columns, int *used);

/* Appends what is to be drawn of the columns [skip, skip + columns) of the text. A wide or escaped
 * glyph cut by an edge is replaced by blanks in the columns that remain of it. Returns the
 * columns appended, at most `columns`. */
int text_clip(struct text *out, const char *text, size_t length, int skip, int columns);

#endif
