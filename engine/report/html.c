#include "engine/report/html.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *entity_of(int32_t character)
{
    switch (character) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* XML has no control characters and none of the last two of a plane. */
static bool is_shown_as_escape(int32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) ||
           (character & 0xfffe) == 0xfffe || unicode_is_treacherous(character);
}

void html_text(struct text *out, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        int32_t character;
        char escape[UNICODE_ESCAPE_BYTES];
        size_t taken = unicode_decode(text, left, &character);
        const char *entity = entity_of(character);
        if (entity)
            text_add(out, entity);
        else if (is_shown_as_escape(character))
            text_add_part(out, escape,
                          (size_t)unicode_escape(escape, character, (unsigned char)*text));
        else
            text_add_part(out, text, taken);
        text += taken;
        left -= taken;
    }
}

void html_lines(struct text *out, const char *text)
{
    for (;;) {
        size_t length = strcspn(text, "\n\t");
        char *part = memory_string_part(text, length);
        html_text(out, part);
        free(part);
        if (!text[length])
            return;
        text_add_part(out, text + length, 1);
        text += length + 1;
    }
}

void html_with(struct text *out, const char *before, const char *text, const char *after)
{
    text_add(out, before);
    html_text(out, text);
    text_add(out, after);
}

void html_number(struct text *out, double number)
{
    if (isnan(number))
        text_add(out, "-");
    else if (isinf(number))
        text_add(out, number > 0 ? "inf" : "-inf");
    else
        text_format(out, "%.4g", number);
}

void html_measure_cell(struct text *out, double number)
{
    if (isnan(number))
        text_add(out, "<td class=\"n\" data-v=\"\">-</td>");
    else {
        text_format(out, "<td class=\"n\" data-v=\"%.17g\">", number);
        html_number(out, number);
        text_add(out, "</td>");
    }
}

void html_integer_cell(struct text *out, int64_t number)
{
    char thousands[32];
    text_format(out, "<td class=\"n\" data-v=\"%" PRId64 "\">%s</td>", number,
                text_thousands(number, thousands));
}

void html_bytes_cell(struct text *out, double bytes)
{
    char shown[32];
    if (isnan(bytes))
        html_measure_cell(out, NAN);
    else
        text_format(out, "<td class=\"n\" data-v=\"%.0f\">%s</td>", bytes,
                    text_bytes((uint64_t)bytes, shown));
}

const char *html_place(struct shape shape, int64_t index, char buffer[120])
{
    struct shape place = shape;
    char brackets[80];
    for (int i = shape.rank - 1; i >= 0; i--) {
        int64_t size = shape.dims[i] > 0 ? shape.dims[i] : 1;
        place.dims[i] = index % size;
        index /= size;
    }
    snprintf(buffer, 120, "%s", shape_text(place, brackets));
    return buffer;
}
