#include "engine/base/text.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct text *text, size_t more)
{
    if (text->length + more + 1 <= text->capacity)
        return;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < text->length + more + 1)
        capacity *= 2;
    text->data = memory_resize(text->data, capacity, 1);
    text->capacity = capacity;
}

void text_add_part(struct text *text, const char *bytes, size_t length)
{
    reserve(text, length);
    if (length > 0) /* bytes may be NULL then, which memcpy does not allow */
        memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_add(struct text *text, const char *string)
{
    text_add_part(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (needed >= 0) {
        reserve(text, (size_t)needed);
        vsnprintf(text->data + text->length, (size_t)needed + 1, format, again);
        text->length += (size_t)needed;
    }
    va_end(again);
}

void text_pad(struct text *text, size_t column)
{
    const char *line = text->data ? strrchr(text->data, '\n') : NULL;
    size_t start = line ? (size_t)(line + 1 - text->data) : 0;
    do
        text_add_part(text, " ", 1);
    while (text->length - start < column);
}

void text_clear(struct text *text)
{
    text->length = 0;
    if (text->data)
        text->data[0] = '\0';
}

void text_cut(struct text *text, size_t length)
{
    if (length < text->length) {
        text->length = length;
        text->data[length] = '\0';
    }
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

char *text_take(struct text *text)
{
    char *data = text->data ? text->data : memory_zeroed(1, 1);
    *text = (struct text){0};
    return data;
}

const char *text_thousands(int64_t number, char buffer[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRId64, number);
    int out = 0;
    for (int i = 0; i < length; i++) {
        buffer[out++] = digits[i];
        int left = length - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-')
            buffer[out++] = ',';
    }
    buffer[out] = '\0';
    return buffer;
}

const char *text_bytes(uint64_t bytes, char buffer[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes;
    int unit = 0;
    while (amount >= 1023.5 && unit < 4) { /* what would be written as 1024 */
        amount /= 1024;
        unit++;
    }
    snprintf(buffer, 32, unit > 0 && amount < 9.95 ? "%.1f %s" : "%.0f %s", amount, units[unit]);
    return buffer;
}

bool text_ends_with(const char *string, const char *end)
{
    size_t length = strlen(string), tail = strlen(end);
    return length >= tail && strcmp(string + length - tail, end) == 0;
}
