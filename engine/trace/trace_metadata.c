/* The metadata of a tensor as this program and most others write it: one flat object without blanks
 * or escapes. Read without a tree, since a trace may have a million of them. Whatever looks any
 * different is left to the JSON library, which also finds the words for what is wrong. */
#include "engine/trace/trace_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 18 }; /* digits that always fit into 63 bits */

static bool take(const char **at, char wanted)
{
    if (**at != wanted)
        return false;
    ++*at;
    return true;
}

static bool take_integer(const char **at, int64_t maximum, int64_t *number)
{
    const char *from = *at;
    int64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (*at - from == LONGEST)
            return false;
        value = value * 10 + (**at - '0');
    }
    if (*at == from || (*from == '0' && *at - from > 1) || value > maximum)
        return false;
    *number = value;
    return **at == ',' || **at == '}' || **at == ']';
}

static bool take_digits(const char **at)
{
    const char *from = *at;
    while (**at >= '0' && **at <= '9')
        ++*at;
    return *at > from;
}

/* A JSON number. */
static bool take_number(const char **at, double *number)
{
    const char *from = *at;
    take(at, '-');
    bool zero = **at == '0';
    const char *whole = *at;
    if (!take_digits(at) || (zero && *at - whole > 1))
        return false;
    if (take(at, '.') && !take_digits(at))
        return false;
    if (**at == 'e' || **at == 'E') {
        ++*at;
        *at += **at == '+' || **at == '-';
        if (!take_digits(at))
            return false;
    }
    char *end;
    *number = strtod(from, &end);
    return end == *at && *number - *number == 0; /* finite */
}

static bool take_shape(const char **at, struct shape *shape)
{
    int64_t elements = 1;
    *shape = (struct shape){0};
    if (!take(at, '['))
        return false;
    while (shape->rank < TENSOR_MAX_RANK) {
        int64_t *size = &shape->dims[shape->rank++];
        if (!take_integer(at, INT64_MAX, size) || (*size && elements > INT64_MAX / 8 / *size))
            return false;
        elements *= *size ? *size : 1;
        if (take(at, ']'))
            return true;
        if (!take(at, ','))
            return false;
    }
    return false;
}

static bool take_dtype(const char **at, enum dtype *dtype)
{
    char name[16];
    const char *end = *at + 1;
    if (**at != '"')
        return false;
    while (*end && *end != '"' && *end != '\\')
        end++;
    size_t length = (size_t)(end - *at - 1);
    if (*end != '"' || length >= sizeof(name))
        return false;
    memcpy(name, *at + 1, length);
    name[length] = '\0';
    *at = end + 1;
    return dtype_find(name, dtype);
}

enum key {
    KEY_SHAPE,
    KEY_DTYPE,
    KEY_SAMPLING_STEP,
    KEY_MEAN,
    KEY_DEVIATION,
    KEY_MINIMUM,
    KEY_MAXIMUM,
    KEY_NAN_COUNT,
    KEY_INFINITY_COUNT,
    KEY_ORDER,
    KEY_TIMES,
    KEY_COUNT
};

/* "key": with the colon; KEY_COUNT if it is none of these. */
static enum key take_key(const char **at)
{
    static const char *const names[KEY_COUNT] = {
        "\"shape\":",          "\"dtype\":",   "\"sampling_step\":", "\"mean\":",
        "\"deviation\":",      "\"minimum\":", "\"maximum\":",       "\"nan_count\":",
        "\"infinity_count\":", "\"order\":",   "\"times\":"};
    for (int key = 0; key < KEY_COUNT; key++) {
        size_t length = strlen(names[key]);
        if (strncmp(*at, names[key], length) == 0) {
            *at += length;
            return (enum key)key;
        }
    }
    return KEY_COUNT;
}

static bool take_int(const char **at, int *number)
{
    int64_t wide;
    if (!take_integer(at, INT32_MAX, &wide))
        return false;
    *number = (int)wide;
    return true;
}

static bool take_value(const char **at, enum key key, struct trace_tensor *tensor)
{
    switch (key) {
    case KEY_SHAPE:
        return take_shape(at, &tensor->shape);
    case KEY_DTYPE:
        return take_dtype(at, &tensor->dtype);
    case KEY_SAMPLING_STEP:
        return take_integer(at, INT64_MAX, &tensor->sampling_step);
    case KEY_MEAN:
        return take_number(at, &tensor->mean);
    case KEY_DEVIATION:
        return take_number(at, &tensor->deviation);
    case KEY_MINIMUM:
        return take_number(at, &tensor->minimum);
    case KEY_MAXIMUM:
        return take_number(at, &tensor->maximum);
    case KEY_NAN_COUNT:
        return take_integer(at, INT64_MAX, &tensor->nan_count);
    case KEY_INFINITY_COUNT:
        return take_integer(at, INT64_MAX, &tensor->infinity_count);
    case KEY_ORDER:
        return take_int(at, &tensor->order);
    case KEY_TIMES:
        return take_int(at, &tensor->times);
    case KEY_COUNT:
        break;
    }
    return false;
}

bool trace_metadata_quick(const char *text, struct trace_tensor *tensor)
{
    struct trace_tensor read = *tensor;
    unsigned seen = 0;
    bool more = take(&text, '{');
    while (more) {
        enum key key = take_key(&text);
        if (seen & 1u << key || !take_value(&text, key, &read))
            return false;
        seen |= 1u << key;
        more = take(&text, ',');
    }
    if (strcmp(text, "}") != 0)
        return false;
    *tensor = read;
    return true;
}
