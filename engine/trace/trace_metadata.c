/* The metadata of a tensor as this program and most others write it: one flat object without blanks
 * or escapes. Read without a tree and without a copy, since a trace may have a million of them: as
 * it stands in the header, with a backslash before each quote. Nothing runs over the end, which is
 * a quote without one. Whatever looks any different is left to the JSON library, which also finds
 * the words for what is wrong. */
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

/* An escaped quote. */
static bool take_quote(const char **at)
{
    if ((*at)[0] != '\\' || (*at)[1] != '"')
        return false;
    *at += 2;
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
    size_t length = 0;
    if (!take_quote(at))
        return false;
    while (length < sizeof(name) && **at != '"' && **at != '\\')
        name[length++] = *(*at)++;
    if (length == sizeof(name) || !take_quote(at))
        return false;
    name[length] = '\0';
    return strcmp(name, dtype_name(*dtype)) == 0 || dtype_find(name, dtype);
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

/* "key": with the colon; KEY_COUNT if it is none of these. Tried from `next` on: most texts have
 * them in the order above. */
static enum key take_key(const char **at, enum key next)
{
    static const struct {
        const char *name;
        size_t length;
    } names[KEY_COUNT] = {{"shape", 5},   {"dtype", 5},     {"sampling_step", 13},
                          {"mean", 4},    {"deviation", 9}, {"minimum", 7},
                          {"maximum", 7}, {"nan_count", 9}, {"infinity_count", 14},
                          {"order", 5},   {"times", 5}};
    if (!take_quote(at))
        return KEY_COUNT;
    for (int tried = 0; tried < KEY_COUNT; tried++) {
        enum key key = (enum key)(((int)next + tried) % KEY_COUNT);
        size_t length = names[key].length;
        if (**at != names[key].name[0] || strncmp(*at, names[key].name, length) != 0)
            continue;
        *at += length;
        return take_quote(at) && take(at, ':') ? key : KEY_COUNT;
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
    enum key key = KEY_SHAPE;
    bool more = take(&text, '{');
    while (more) {
        key = take_key(&text, key);
        if (seen & 1u << key || !take_value(&text, key, &read))
            return false;
        seen |= 1u << key;
        more = take(&text, ',');
    }
    if (text[0] != '}' || text[1] != '"')
        return false;
    *tensor = read;
    return true;
}
