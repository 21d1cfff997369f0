#include "engine/base/unicode.h"

#include <stdio.h>
#include <string.h>

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

size_t unicode_decode(const char *text, size_t length, int32_t *character)
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

bool unicode_is_treacherous(int32_t character)
{
    return (character >= 0x200b && character <= 0x200f) || /* zero width, joiners, direction */
           (character >= 0x2028 && character <= 0x202e) || /* separators, direction */
           (character >= 0x2060 && character <= 0x206f) || /* word joiner, isolates */
           character == 0xfeff || character == 0xad ||     /* byte order mark, soft hyphen */
           (character >= 0xfff9 && character <= 0xfffb) || character == 0x61c ||
           character == 0x180e || (character >= 0xe0000 && character <= 0xe0fff);
}

int unicode_escape(char buffer[UNICODE_ESCAPE_BYTES], int32_t character, unsigned char byte)
{
    if (character < 0)
        return snprintf(buffer, UNICODE_ESCAPE_BYTES, "\\x%02x", byte);
    if (character < 0x20 || character == 0x7f)
        return snprintf(buffer, UNICODE_ESCAPE_BYTES, "^%c", (int)(character ^ 0x40));
    if (character <= 0xffff)
        return snprintf(buffer, UNICODE_ESCAPE_BYTES, "\\u%04x", (unsigned)character);
    return snprintf(buffer, UNICODE_ESCAPE_BYTES, "\\U%06x", (unsigned)character);
}

static bool is_harmless(int32_t character)
{
    return character == '\t' || (character >= 0x20 && (character < 0x7f || character >= 0xa0) &&
                                 !unicode_is_treacherous(character));
}

void unicode_add_printable(struct text *out, const char *bytes, size_t length)
{
    size_t from = 0; /* what is good is added in one piece */
    for (size_t at = 0; at < length;) {
        int32_t character;
        char escape[UNICODE_ESCAPE_BYTES];
        size_t taken = unicode_decode(bytes + at, length - at, &character);
        if (!is_harmless(character)) {
            text_add_part(out, bytes + from, at - from);
            int shown = unicode_escape(escape, character, (unsigned char)bytes[at]);
            text_add_part(out, escape, (size_t)shown);
            from = at + taken;
        }
        at += taken;
    }
    text_add_part(out, bytes + from, length - from);
}

size_t unicode_common_start(const char *const *texts, int count)
{
    size_t length = strlen(texts[0]);
    for (int i = 1; i < count; i++) {
        size_t same = 0;
        while (same < length && texts[i][same] == texts[0][same])
            same++;
        length = same;
    }
    while (length > 0 && ((unsigned char)texts[0][length] & 0xc0) == 0x80)
        length--; /* not inside a character */
    return length;
}
