/* Texts of headers: JSON strings, whether they are UTF-8, and how messages show them. */
#include "engine/tensor/safetensors_internal.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What is left to read. */
struct cursor {
    const char *at, *end;
};

static bool hex4(struct cursor *cursor, uint32_t *code)
{
    *code = 0;
    if (cursor->end - cursor->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char digit = *cursor->at++;
        int value = digit >= '0' && digit <= '9'   ? digit - '0'
                    : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                    : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                   : -1;
        if (value < 0)
            return false;
        *code = *code << 4 | (uint32_t)value;
    }
    return true;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* \uXXXX, after the u. */
static char *unescape_unicode(struct cursor *cursor, char *out)
{
    uint32_t code, low;
    if (!hex4(cursor, &code))
        return NULL;
    if (code >= 0xd800 && code < 0xdc00) {
        if (cursor->end - cursor->at < 6 || cursor->at[0] != '\\' || cursor->at[1] != 'u')
            return NULL;
        cursor->at += 2;
        if (!hex4(cursor, &low) || low < 0xdc00 || low > 0xdfff)
            return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return NULL;
    }
    return code ? put_utf8(out, code) : NULL; /* a zero would end the name */
}

/* The escape after a backslash; NULL if there is no such one. Never longer than its source. */
static char *unescape(struct cursor *cursor, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (cursor->at >= cursor->end)
        return NULL;
    char kind = *cursor->at++;
    if (kind == '"') { /* by far the most: JSON inside of a string */
        *out++ = kind;
        return out;
    }
    if (kind == 'u')
        return unescape_unicode(cursor, out);
    const char *found = kind ? strchr(from, kind) : NULL;
    if (!found)
        return NULL;
    *out++ = to[found - from];
    return out;
}

/* Of eight characters those that are not plain (quotes, backslashes, control characters, parts of
 * longer characters) have the top bit of their byte set; up to the first such one that is exact, by
 * the arithmetic that finds a zero byte in a word. */
static uint64_t special_letters(const char *text)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones * 0x80;
    uint64_t letters;
    memcpy(&letters, text, sizeof letters);
    uint64_t quotes = letters ^ ones * '"', backslashes = letters ^ ones * '\\';
    uint64_t found = letters | ((letters - ones * 0x20) & ~letters) | ((quotes - ones) & ~quotes) |
                     ((backslashes - ones) & ~backslashes);
    return found & tops;
}

static inline size_t plain_length(const char *text, const char *end)
{
    const char *at = text;
    while (end - at >= 8) {
        uint64_t special = special_letters(at);
        if (special) /* little endian, as the format is */
            return (size_t)(at - text) + (size_t)__builtin_ctzll(special) / 8;
        at += 8;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' &&
           *at != '\\')
        at++;
    return (size_t)(at - text);
}

size_t header_plain_length(const char *text, const char *end)
{
    return plain_length(text, end);
}

/* An escape or a character of several bytes. NULL if it is malformed. */
static char *copy_special(struct cursor *cursor, char *out)
{
    if (*cursor->at == '\\') {
        cursor->at++;
        return unescape(cursor, out);
    }
    size_t size = utf8_sequence(cursor->at, (size_t)(cursor->end - cursor->at));
    if (size < 2) /* a control character */
        return NULL;
    memcpy(out, cursor->at, size);
    cursor->at += size;
    return out + size;
}

char *header_string_copy(const char **at, const char *end, char *out)
{
    struct cursor cursor = {*at, end};
    while (out) {
        size_t plain = plain_length(cursor.at, end);
        memcpy(out, cursor.at, plain);
        out += plain;
        cursor.at += plain;
        if (cursor.at == end) {
            out = NULL;
        } else if (*cursor.at == '"') {
            cursor.at++;
            *out++ = '\0';
            break;
        } else {
            out = copy_special(&cursor, out);
        }
    }
    *at = cursor.at;
    return out;
}

/* Past what JSON inside of a string mostly is: plain characters and escaped quotes, 16 bytes at a
 * time. Stops at anything else, at most 16 bytes early, or where less is left. A block is good when
 * its quotes are what stands behind its backslashes, and nothing in it is beyond ASCII or control;
 * where a quote alone ends the string, or a backslash escapes something else, the two masks differ.
 */
static const char *skip_usual(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i blank = _mm_set1_epi8(' '); /* below are control and, as negative, long ones */
    unsigned escaped = 0;                     /* the first character of the block is */
    while (end - at > 16) {
        __m128i letters = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(letters, quote));
        unsigned slashes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(letters, backslash));
        unsigned others = (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(letters, blank));
        unsigned behind = slashes << 1 | escaped;
        if (others || (behind & 0xffff) != quotes)
            break;
        escaped = behind >> 16;
        at += 16;
    }
    return at - escaped; /* never between a backslash and its quote */
#else
    (void)end;
    return at;
#endif
}

bool header_string_skip(const char **at, const char *end)
{
    struct cursor cursor = {*at, end};
    char character[4];
    bool good = true, done = false;
    while (good && !done) {
        cursor.at = skip_usual(cursor.at, end);
        cursor.at += plain_length(cursor.at, end);
        if (end - cursor.at >= 2 && cursor.at[0] == '\\' && cursor.at[1] == '"') {
            cursor.at += 2; /* by far the most: JSON inside of a string */
            continue;
        }
        good = cursor.at < end;
        done = good && *cursor.at == '"';
        if (done)
            cursor.at++;
        else if (good)
            good = copy_special(&cursor, character) != NULL;
    }
    *at = cursor.at;
    return good;
}

const char *safetensors_printable(const char *text, char buffer[128])
{
    size_t length = 0;
    for (; text[length] && length < 120; length++) {
        unsigned char byte = (unsigned char)text[length];
        buffer[length] = byte < 0x20 || byte == 0x7f ? '?' : text[length];
    }
    while (text[length] && length && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--; /* never half a character */
    strcpy(buffer + length, text[length] ? "..." : "");
    return buffer;
}

size_t utf8_sequence(const char *text, size_t length)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (length == 0)
        return 0;
    if (byte[0] < 0x80)
        return 1;
    size_t size = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || length < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xf0 && byte[1] < 0x90);
    bool surrogate = byte[0] == 0xed && byte[1] >= 0xa0;
    bool too_large = byte[0] == 0xf4 && byte[1] >= 0x90;
    return overlong || surrogate || too_large ? 0 : size;
}
