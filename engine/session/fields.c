#include "engine/session/fields.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "engine/comm/mesh.h"
#include "engine/tensor/op.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int int_at(const void *object, size_t offset)
{
    return *(const int *)((const char *)object + offset);
}

static int64_t length_of(const struct field *field, const void *object)
{
    switch (field->times) {
    case TIMES_ONE:
        return 1;
    case TIMES_FIXED:
        return field->count;
    case TIMES_PART:
        return int_at(object, field->count_at);
    case TIMES_POINTER:
        return (int64_t)int_at(object, field->count_at) *
               (field->count_by ? int_at(object, field->count_by) : 1);
    }
    return 0;
}

/* ---- writing ---- */

/* The shortest of a few forms that reads back as the same number. */
static void write_number(struct text *out, double number, bool single)
{
    char text[40];
    if (isnan(number)) {
        text_add(out, "null");
        return;
    }
    if (isinf(number)) {
        text_add(out, number > 0 ? "\"inf\"" : "\"-inf\"");
        return;
    }
    for (int digits = single ? 6 : 9; digits <= 17; digits += single ? 3 : 8) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        double again = strtod(text, NULL);
        if (single ? (float)again == (float)number : again == number)
            break;
    }
    text_add(out, text);
}

void fields_write_text(struct text *out, const char *text)
{
    size_t length = strlen(text);
    text_add(out, "\"");
    while (length > 0) {
        int32_t character;
        size_t size = unicode_decode(text, length, &character);
        if (character < 0)
            text_add(out, "\\ufffd");
        else if (character < 0x20)
            text_format(out, "\\u%04x", (unsigned)character);
        else if (character == '"' || character == '\\')
            text_format(out, "\\%c", (char)character);
        else
            text_add_part(out, text, size);
        text += size;
        length -= size;
    }
    text_add(out, "\"");
}

static void write_one(struct text *out, const struct field *field, const void *at)
{
    switch (field->kind) {
    case FIELD_BOOL:
        text_add(out, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_CHAR:
        text_format(out, "%d", *(const signed char *)at);
        break;
    case FIELD_INT:
        text_format(out, "%d", *(const int *)at);
        break;
    case FIELD_INT64:
        text_format(out, "%" PRId64, *(const int64_t *)at);
        break;
    case FIELD_UINT64: /* JSON's integers have a sign */
        text_format(out, "\"%" PRIx64 "\"", *(const uint64_t *)at);
        break;
    case FIELD_FLOAT:
        write_number(out, (double)*(const float *)at, true);
        break;
    case FIELD_DOUBLE:
        write_number(out, *(const double *)at, false);
        break;
    case FIELD_TEXT:
    case FIELD_WORD:
        fields_write_text(out, *(const char *const *)at ? *(const char *const *)at : "");
        break;
    case FIELD_BUFFER:
        fields_write_text(out, at);
        break;
    case FIELD_STRUCT:
        fields_write(out, field->fields, at);
        break;
    }
}

static bool is_zero(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++)
        if (byte[i])
            return false;
    return true;
}

/* Where the first one lies, and how many there are; false if it is to be left out. */
static bool first_of(const struct field *field, const void *object, const char **first,
                     int64_t *length)
{
    *first = (const char *)object + field->offset;
    *length = length_of(field, object);
    if (field->times == TIMES_POINTER) {
        *first = *(const char *const *)*first;
        return *first != NULL;
    }
    /* what lies between the members of a struct may be anything */
    return field->kind == FIELD_STRUCT || !is_zero(*first, field->size * (size_t)*length);
}

static void truncate_text(struct text *out, size_t length)
{
    out->length = length;
    out->data[length] = '\0';
}

void fields_write(struct text *out, const struct field *fields, const void *object)
{
    const char *separator = "{", *first;
    int64_t length;
    for (const struct field *field = fields; field->name; field++) {
        if (!first_of(field, object, &first, &length))
            continue;
        size_t before = out->length;
        text_format(out, "%s\"%s\":", separator, field->name);
        bool one = field->times == TIMES_ONE || field->kind == FIELD_BUFFER;
        if (!one)
            text_add(out, "[");
        for (int64_t i = 0; i < (one ? 1 : length); i++) {
            if (i > 0)
                text_add(out, ",");
            write_one(out, field, first + (size_t)i * field->size);
        }
        if (!one)
            text_add(out, "]");
        if (one && strcmp(out->data + out->length - 2, "{}") == 0)
            truncate_text(out, before);
        else
            separator = ",";
    }
    text_add(out, separator[0] == '{' ? "{}" : "}");
}

/* ---- reading ---- */

static double number_of(const json_t *json)
{
    const char *text = json_string_value(json);
    if (text)
        return strcmp(text, "inf") == 0 ? INFINITY : strcmp(text, "-inf") == 0 ? -INFINITY : NAN;
    return json_is_null(json) ? NAN : json_number_value(json);
}

/* Names that are not owned: the static one. */
static const char *static_name(const char *name)
{
    enum op op;
    if (name && op_find(name, &op))
        return op_name(op);
    for (int group = 0; name && group < COMM_GROUP_COUNT; group++)
        if (strcmp(comm_group_name((enum comm_group)group), name) == 0)
            return comm_group_name((enum comm_group)group);
    return "?";
}

static void read_buffer(char *buffer, int size, const char *text)
{
    snprintf(buffer, (size_t)size, "%s", text ? text : "");
}

static bool read_one(const json_t *json, const struct field *field, void *at, struct status *status)
{
    const char *text = json_string_value(json);
    switch (field->kind) {
    case FIELD_BOOL:
        *(bool *)at = json_is_true(json);
        break;
    case FIELD_CHAR:
        *(signed char *)at = (signed char)json_integer_value(json);
        break;
    case FIELD_INT:
        *(int *)at = (int)json_integer_value(json);
        break;
    case FIELD_INT64:
        *(int64_t *)at = json_integer_value(json);
        break;
    case FIELD_UINT64:
        *(uint64_t *)at = text ? strtoull(text, NULL, 16) : 0;
        break;
    case FIELD_FLOAT:
        *(float *)at = (float)number_of(json);
        break;
    case FIELD_DOUBLE:
        *(double *)at = number_of(json);
        break;
    case FIELD_TEXT:
        *(char **)at = memory_string(text);
        break;
    case FIELD_WORD:
        *(const char **)at = static_name(text);
        break;
    case FIELD_BUFFER:
        read_buffer(at, field->count, text);
        break;
    case FIELD_STRUCT:
        return fields_read(json, field->fields, at, status);
    }
    return true;
}

/* Structs that are not there are none: who frees the object goes by the count. */
static void forget_count(const struct field *field, void *object)
{
    int none = 0;
    if (field->times == TIMES_POINTER && field->kind == FIELD_STRUCT)
        memcpy((char *)object + field->count_at, &none, sizeof(none));
}

static bool read_many(const json_t *json, const struct field *field, void *object,
                      struct status *status)
{
    char *first = (char *)object + field->offset;
    int64_t length = length_of(field, object), most = field->count;
    bool fits = json_is_array(json) && (int64_t)json_array_size(json) == length;
    if (!fits || (field->times == TIMES_PART && length > most)) {
        forget_count(field, object);
        return status_fail(status, STATUS_INVALID, "\"%s\" has not the length that was said",
                           field->name);
    }
    if (field->times == TIMES_POINTER) {
        void *made = memory_zeroed((size_t)length, field->size);
        memcpy(first, &made, sizeof(made));
        first = made;
    }
    for (int64_t i = 0; i < length; i++)
        if (!read_one(json_array_get(json, (size_t)i), field, first + (size_t)i * field->size,
                      status))
            return false;
    return true;
}

bool fields_read(const json_t *json, const struct field *fields, void *object,
                 struct status *status)
{
    if (!json_is_object(json))
        return status_fail(status, STATUS_INVALID, "an object was expected");
    for (const struct field *field = fields; field->name; field++) {
        const json_t *value = json_object_get(json, field->name);
        bool one = field->times == TIMES_ONE || field->kind == FIELD_BUFFER;
        if (!value)
            forget_count(field, object);
        else if (!(one ? read_one(value, field, (char *)object + field->offset, status)
                       : read_many(value, field, object, status)))
            return status_context(status, "\"%s\"", field->name);
    }
    return true;
}
