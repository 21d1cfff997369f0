#include "ui/text_width.h"

#include "engine/base/unicode.h"

#include <string.h>
#include <wchar.h>

enum { MARKS_KEPT = 3 };

static bool is_combining(int32_t character)
{
    return character >= 0x300 && !unicode_is_treacherous(character) &&
           wcwidth((wchar_t)character) == 0;
}

/* How many columns `character` takes as it is: 1, 2, or 0 if it must be escaped. */
static int printable_columns(int32_t character)
{
    if (character < 0x20 || character == 0x7f || unicode_is_treacherous(character))
        return 0;
    if (character < 0x7f)
        return 1;
    int columns = wcwidth((wchar_t)character);
    return columns > 0 ? columns : 0;
}

static void glyph_escape(struct text_glyph *glyph, int32_t character, unsigned char byte)
{
    int length = unicode_escape(glyph->shown, character, byte);
    glyph->columns = length;
    glyph->escaped = true;
}

/* Takes the marks that follow a base character into its glyph; drops those beyond MARKS_KEPT, so
 * that no stack of marks can run over the lines around it. */
static void glyph_add_marks(struct text_glyph *glyph, const char *text, size_t length)
{
    size_t filled = strlen(glyph->shown);
    int kept = 0;
    while (glyph->source_bytes < length) {
        int32_t character;
        const char *mark = text + glyph->source_bytes;
        size_t bytes = unicode_decode(mark, length - glyph->source_bytes, &character);
        if (character < 0 || !is_combining(character))
            break;
        if (kept++ < MARKS_KEPT && filled + bytes < sizeof(glyph->shown)) {
            memcpy(glyph->shown + filled, mark, bytes);
            filled += bytes;
            glyph->shown[filled] = '\0';
        }
        glyph->source_bytes += bytes;
    }
}

size_t text_glyph_next(const char *text, size_t length, int column, struct text_glyph *glyph)
{
    int32_t character;
    *glyph = (struct text_glyph){0};
    glyph->source_bytes = unicode_decode(text, length, &character);
    if (character == '\t') {
        glyph->columns = TEXT_TAB_COLUMNS - column % TEXT_TAB_COLUMNS;
        memset(glyph->shown, ' ', (size_t)glyph->columns);
        return glyph->source_bytes;
    }
    if (character >= 0 && is_combining(character)) {
        glyph->source_bytes = 0;
        glyph->columns = 1;
        glyph->shown[0] = ' ';
        glyph_add_marks(glyph, text, length);
        return glyph->source_bytes;
    }
    glyph->columns = character < 0 ? 0 : printable_columns(character);
    if (glyph->columns == 0) {
        glyph_escape(glyph, character, (unsigned char)text[0]);
        return glyph->source_bytes;
    }
    memcpy(glyph->shown, text, glyph->source_bytes);
    glyph_add_marks(glyph, text, length);
    return glyph->source_bytes;
}

int text_width(const char *text, size_t length)
{
    int columns = 0;
    for (size_t at = 0; at < length;) {
        struct text_glyph glyph;
        at += text_glyph_next(text + at, length - at, columns, &glyph);
        columns += glyph.columns;
    }
    return columns;
}

size_t text_fit(const char *text, size_t length, int columns, int *used)
{
    size_t at = 0;
    int taken = 0;
    while (at < length) {
        struct text_glyph glyph;
        size_t bytes = text_glyph_next(text + at, length - at, taken, &glyph);
        if (glyph.columns > columns - taken)
            break;
        at += bytes;
        taken += glyph.columns;
    }
    if (used)
        *used = taken;
    return at;
}

int text_clip(struct text *out, const char *text, size_t length, int skip, int columns)
{
    int column = 0, end = skip + columns, appended = 0;
    for (size_t at = 0; at < length && column < end;) {
        struct text_glyph glyph;
        at += text_glyph_next(text + at, length - at, column, &glyph);
        int next = column + glyph.columns;
        if (column >= skip && next <= end) {
            text_add(out, glyph.shown);
            appended += glyph.columns;
        } else {
            for (int i = column > skip ? column : skip; i < next && i < end; i++, appended++)
                text_add(out, " ");
        }
        column = next;
    }
    return appended;
}
