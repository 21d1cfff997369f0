/* Texts of headers: whether they are UTF-8, and how messages show them. */
#include "engine/tensor/safetensors_internal.h"

#include <string.h>

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
