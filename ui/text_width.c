#include "ui/text_width.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>

enum { MARKS_KEPT = 3 };

/* Smallest character that needs this many bytes: anything below is an overlong form. */
static const int32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};

static size_t sequence_length(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    if (first >= 0xf0 && first <= 0xf4)
        return 4;
    return 0;
}

size_t text_decode(const char *text, size_t length, int32_t *character)
{
    unsigned char first = (unsigned char)text[0];
    size_t needed = sequence_length(first);
    *character = -1;
    if (needed == 0 || needed > length)
        return 1;
    int32_t value = needed == 1 ? first : first & (0x7f >> needed);
    for (size_t i = 1; i < needed; i++) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte & 0xc0) != 0x80)
            return 1;
        value = (int32_t)((uint32_t)value << 6) | (byte & 0x3f);
    }
    bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < smallest[needed] || surrogate || value > 0x10ffff)
        return 1;
    *character = value;
    return needed;
}

/* Characters that wcwidth() calls printable or of no width, but that hide or reorder text. */
static bool is_treacherous(int32_t character)
{
    return (character >= 0x200b && character <= 0x200f) || /* zero width, joiners, direction */
           (character >= 0x2028 && character <= 0x202e) || /* separators, direction */
           (character >= 0x2060 && character <= 0x206f) || /* word joiner, isolates */
           character == 0xfeff || character == 0xad ||     /* byte order mark, soft hyphen */
           (character >= 0xfff9 && character <= 0xfffb) || character == 0x61c ||
           character == 0x180e || (character >= 0xe0000 && character <= 0xe0fff);
}

static bool is_combining(int32_t character)
{
    return character >= 0x300 && !is_treacherous(character) && wcwidth((wchar_t)character) == 0;
}

/* How many columns `character` takes as it is: 1, 2, or 0 if it must be escaped. */
static int printable_columns(int32_t character)
{
    if (character < 0x20 || character == 0x7f || is_treacherous(character))
        return 0;
    if (character < 0x7f)
        return 1;
    int columns = wcwidth((wchar_t)character);
    return columns > 0 ? columns : 0;
}

static void glyph_escape(struct text_glyph *glyph, int32_t character, unsigned char byte)
{
    int length;
    if (character < 0)
        length = snprintf(glyph->shown, sizeof(glyph->shown), "\\x%02x", byte);
    else if (character < 0x20 || character == 0x7f)
        length = snprintf(glyph->shown, sizeof(glyph->shown), "^%c", (int)(character ^ 0x40));
    else if (character <= 0xffff)
        length = snprintf(glyph->shown, sizeof(glyph->shown), "\\u%04x", (unsigned)character);
    else
        length = snprintf(glyph->shown, sizeof(glyph->shown), "\\U%06x", (unsigned)character);
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
        size_t bytes = text_decode(mark, length - glyph->source_bytes, &character);
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
    glyph->source_bytes = text_decode(text, length, &character);
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
