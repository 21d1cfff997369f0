/* The header parser: one pass over the text, no tree. A header describes up to millions of
 * tensors, of which each is two lines of code here and would be a dozen allocations as a tree. */
#include "engine/tensor/safetensors_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct header_parser {
    struct safetensors *file;
    const char *begin, *at, *end;
    char *strings;      /* where the next string goes */
    const char *tensor; /* the entry at hand, for messages */
    uint64_t data_size;
    const char *forgotten; /* pages of the mapped header before this were given back */
    int capacity, metadata_capacity;
    int shared;     /* tensors whose names are keys of the metadata */
    char usual[40]; /* how the description of the tensor before began */
    size_t usual_length;
    enum dtype usual_dtype;
    struct status *status;
};

struct entry_fields {
    bool has_dtype, has_shape, has_offsets;
    uint64_t begin, end; /* data_offsets */
};

static bool fail_code(struct header_parser *parser, enum status_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail_code(struct header_parser *parser, enum status_code code, const char *format, ...)
{
    char what[256], name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (parser->tensor)
        return status_fail(parser->status, code, "%s: tensor \"%s\": %s", parser->file->path,
                           safetensors_printable(parser->tensor, name), what);
    return status_fail(parser->status, code, "%s: %s", parser->file->path, what);
}

#define FAIL(parser, ...) fail_code(parser, STATUS_INVALID, __VA_ARGS__)

static void skip_blanks(struct header_parser *parser)
{
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\n' ||
                                        *parser->at == '\t' || *parser->at == '\r'))
        parser->at++;
}

/* The next character that is not blank, without taking it; 0 at the end. */
static char peek(struct header_parser *parser)
{
    if (parser->at < parser->end && (unsigned char)*parser->at > ' ')
        return *parser->at;
    skip_blanks(parser);
    return parser->at < parser->end ? *parser->at : 0;
}

static bool expect(struct header_parser *parser, char wanted, const char *where)
{
    char found = peek(parser);
    if (found == wanted) {
        parser->at++;
        return true;
    }
    size_t offset = (size_t)(parser->at - parser->begin);
    if (!found)
        return FAIL(parser, "the header ends where '%c' should follow %s", wanted, where);
    return FAIL(parser, "'%c' expected %s at byte %zu of the header", wanted, where, offset);
}

static bool fail_string(struct header_parser *parser)
{
    if (parser->at == parser->end)
        return FAIL(parser, "the header ends inside a string");
    return FAIL(parser, "malformed string at byte %zu of the header",
                (size_t)(parser->at - parser->begin));
}

/* A JSON string, unescaped into the string memory. NULL on failure. */
static char *parse_string(struct header_parser *parser, const char *where)
{
    if (!expect(parser, '"', where))
        return NULL;
    char *text = parser->strings, *after = header_string_copy(&parser->at, parser->end, text);
    if (!after) {
        fail_string(parser);
        return NULL;
    }
    parser->strings = after;
    return text;
}

/* A JSON string that stays where it is. NULL on failure. */
static const char *skip_string(struct header_parser *parser, const char *where)
{
    if (!expect(parser, '"', where))
        return NULL;
    const char *text = parser->at;
    if (header_string_skip(&parser->at, parser->end))
        return text;
    fail_string(parser);
    return NULL;
}

/* A number that is an integer of 0 to 2^63 - 1. */
static bool parse_integer(struct header_parser *parser, const char *what, uint64_t *number)
{
    char first = peek(parser);
    if (first == '-')
        return FAIL(parser, "negative number in %s", what);
    if (first < '0' || first > '9')
        return FAIL(parser, "integer expected in %s", what);
    uint64_t value = 0;
    const char *start = parser->at;
    for (; parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9'; parser->at++) {
        uint64_t digit = (uint64_t)(*parser->at - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10)
            return FAIL(parser, "number in %s does not fit in 63 bits", what);
        value = value * 10 + digit;
    }
    char after = parser->at < parser->end ? *parser->at : 0;
    bool fraction = after == '.' || after == 'e' || after == 'E';
    if (fraction || (first == '0' && parser->at - start > 1))
        return FAIL(parser, "integer expected in %s", what);
    *number = value;
    return true;
}

/* After a value of a list or object: true if another one follows. */
static bool another(struct header_parser *parser, char close, bool *more, const char *where)
{
    char next = peek(parser);
    *more = next == ',';
    if (next != ',' && next != close)
        return expect(parser, close, where);
    parser->at++;
    return true;
}

static bool parse_shape(struct header_parser *parser, struct shape *shape)
{
    if (!expect(parser, '[', "before the dimensions"))
        return false;
    *shape = (struct shape){0};
    if (peek(parser) == ']') { /* a scalar is [1] here */
        parser->at++;
        *shape = shape_of1(1);
        return true;
    }
    for (bool more = true; more;) {
        uint64_t size;
        if (shape->rank == TENSOR_MAX_RANK)
            return fail_code(parser, STATUS_UNSUPPORTED, "more than %d dimensions",
                             TENSOR_MAX_RANK);
        if (!parse_integer(parser, "the shape", &size) ||
            !another(parser, ']', &more, "after the dimensions"))
            return false;
        shape->dims[shape->rank++] = (int64_t)size;
    }
    return true;
}

static bool parse_offsets(struct header_parser *parser, struct entry_fields *fields)
{
    bool more = false;
    if (!expect(parser, '[', "before the data offsets") ||
        !parse_integer(parser, "the data offsets", &fields->begin) ||
        !expect(parser, ',', "between the two data offsets") ||
        !parse_integer(parser, "the data offsets", &fields->end) ||
        !another(parser, ']', &more, "after the data offsets"))
        return false;
    return !more || FAIL(parser, "more than two data offsets");
}

static bool parse_dtype(struct header_parser *parser, enum dtype *dtype)
{
    char *start = parser->strings, buffer[128];
    char *label = parse_string(parser, "before the dtype");
    parser->strings = start; /* nobody needs the text again */
    if (!label)
        return false;
    if (dtype_find(label, dtype) && strcmp(label, dtype_label(*dtype)) == 0)
        return true;
    return fail_code(parser, STATUS_UNSUPPORTED, "dtype \"%s\" is not supported",
                     safetensors_printable(label, buffer));
}

static bool parse_field(struct header_parser *parser, struct tensor *tensor,
                        struct entry_fields *fields)
{
    char *start = parser->strings, buffer[128];
    char *key = parse_string(parser, "before a key");
    if (!key || !expect(parser, ':', "after a key"))
        return false;
    parser->strings = start;
    bool *has = strcmp(key, "dtype") == 0          ? &fields->has_dtype
                : strcmp(key, "shape") == 0        ? &fields->has_shape
                : strcmp(key, "data_offsets") == 0 ? &fields->has_offsets
                                                   : NULL;
    if (!has)
        return FAIL(parser, "unknown key \"%s\"", safetensors_printable(key, buffer));
    if (*has)
        return FAIL(parser, "%s is given twice", key);
    *has = true;
    return has == &fields->has_dtype   ? parse_dtype(parser, &tensor->dtype)
           : has == &fields->has_shape ? parse_shape(parser, &tensor->shape)
                                       : parse_offsets(parser, fields);
}

/* The size of the data from shape and dtype, or an error if it does not fit in 63 bits. */
static bool byte_size(struct header_parser *parser, const struct tensor *tensor, uint64_t *bytes)
{
    uint64_t product = dtype_size(tensor->dtype);
    bool empty = false;
    for (int i = 0; i < tensor->shape.rank; i++) {
        uint64_t size = (uint64_t)tensor->shape.dims[i];
        empty = empty || size == 0;
        if (size && product > (uint64_t)INT64_MAX / size)
            return FAIL(parser, "the shape has more bytes than 63 bits can count");
        product *= size ? size : 1;
    }
    *bytes = empty ? 0 : product;
    return true;
}

static bool check_entry(struct header_parser *parser, struct tensor *tensor,
                        const struct entry_fields *fields)
{
    uint64_t bytes = 0, begin = fields->begin, end = fields->end;
    char shape[80];
    if (!fields->has_dtype || !fields->has_shape || !fields->has_offsets)
        return FAIL(parser, "%s is missing",
                    !fields->has_dtype   ? "dtype"
                    : !fields->has_shape ? "shape"
                                         : "data_offsets");
    if (!byte_size(parser, tensor, &bytes))
        return false;
    if (begin > end)
        return FAIL(parser, "the data end (%llu) before they begin (%llu)", (unsigned long long)end,
                    (unsigned long long)begin);
    if (end > parser->data_size)
        return FAIL(parser, "the data end at byte %llu, but the file has only %llu bytes of data",
                    (unsigned long long)end, (unsigned long long)parser->data_size);
    if (end - begin != bytes)
        return FAIL(parser, "shape %s of %s is %llu bytes, but the data offsets span %llu",
                    shape_text(tensor->shape, shape), dtype_label(tensor->dtype),
                    (unsigned long long)bytes, (unsigned long long)(end - begin));
    tensor->row_stride = shape_columns(tensor->shape);
    tensor->data = (void *)(uintptr_t)begin;
    return true;
}

static bool take_text(const char **at, const char *end, const char *wanted, size_t length)
{
    if ((size_t)(end - *at) < length || memcmp(*at, wanted, length) != 0)
        return false;
    *at += length;
    return true;
}

#define TAKE(at, end, wanted) take_text(at, end, wanted, sizeof(wanted) - 1)

/* Digits that always fit into 63 bits, and a character after them. */
static bool take_number(const char **at, const char *end, uint64_t *number)
{
    enum { LONGEST = 18 };
    const char *from = *at;
    uint64_t value = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at)
        value = value * 10 + (uint64_t)(**at - '0');
    *number = value;
    return *at > from && *at - from <= LONGEST && (*from != '0' || *at - from == 1) && *at < end;
}

/* {"dtype":"F32","shape":[ is mostly what it was for the tensor before, so that text is kept. */
static bool take_usual_dtype(struct header_parser *parser, const char **at, enum dtype *dtype)
{
    const char *from = *at, *end = parser->end;
    char label[8];
    size_t length = 0;
    *dtype = parser->usual_dtype;
    if (parser->usual_length && take_text(at, end, parser->usual, parser->usual_length))
        return true;
    if (!TAKE(at, end, "{\"dtype\":\""))
        return false;
    while (*at < end && length < sizeof label && **at != '"')
        label[length++] = *(*at)++;
    if (length == sizeof label || !TAKE(at, end, "\",\"shape\":["))
        return false;
    label[length] = '\0';
    if (!dtype_find(label, dtype) || strcmp(label, dtype_label(*dtype)) != 0)
        return false;
    parser->usual_length = (size_t)(*at - from);
    memcpy(parser->usual, from, parser->usual_length);
    parser->usual_dtype = *dtype;
    return true;
}

/* A description as nearly all writers write it: without blanks, and in this order. False, and
 * nothing taken, for any other, right or wrong. */
static bool take_usual_entry(struct header_parser *parser, struct tensor *tensor,
                             struct entry_fields *fields)
{
    const char *at = parser->at, *end = parser->end;
    struct shape shape = {0};
    enum dtype dtype;
    if (!take_usual_dtype(parser, &at, &dtype))
        return false;
    for (bool more = true; more; more = TAKE(&at, end, ",")) {
        uint64_t size;
        if (shape.rank == TENSOR_MAX_RANK || !take_number(&at, end, &size))
            return false;
        shape.dims[shape.rank++] = (int64_t)size;
    }
    if (!TAKE(&at, end, "],\"data_offsets\":[") || !take_number(&at, end, &fields->begin) ||
        !TAKE(&at, end, ",") || !take_number(&at, end, &fields->end) || !TAKE(&at, end, "]}"))
        return false;
    tensor->dtype = dtype;
    fields->has_dtype = fields->has_shape = fields->has_offsets = true;
    tensor->shape = shape;
    parser->at = at;
    return true;
}

static bool parse_entry(struct header_parser *parser, struct tensor *tensor)
{
    struct entry_fields fields = {0};
    if (take_usual_entry(parser, tensor, &fields))
        return check_entry(parser, tensor, &fields);
    if (!expect(parser, '{', "before the description"))
        return false;
    if (peek(parser) == '}')
        return FAIL(parser, "the description is empty");
    for (bool more = true; more;)
        if (!parse_field(parser, tensor, &fields) ||
            !another(parser, '}', &more, "after the description"))
            return false;
    return check_entry(parser, tensor, &fields);
}

/* Grows a list sized by the file's content: checked, unlike the small allocations elsewhere. */
static void *reserve(struct header_parser *parser, void *list, int count, int *capacity,
                     size_t size)
{
    if (count < *capacity)
        return list;
    int grown = *capacity ? (*capacity > INT32_MAX / 4 ? 0 : *capacity * 2) : 16;
    void *moved = grown ? realloc(list, (size_t)grown * size) : NULL;
    if (!moved) {
        fail_code(parser, STATUS_MEMORY, "no memory for the list of %d tensors", count);
        return NULL;
    }
    *capacity = grown;
    return moved;
}

/* A header can be larger than everything that is kept of it. What was read of a mapped one goes
 * back to the system piece by piece (and would be read from the file again if touched). */
static void forget_read_part(struct header_parser *parser)
{
    const size_t piece = (size_t)8 << 20;
    if (!parser->file->map || (size_t)(parser->at - parser->forgotten) < 2 * piece)
        return;
    madvise((void *)(uintptr_t)parser->forgotten, piece, MADV_DONTNEED);
    parser->forgotten += piece;
}

static bool parse_metadata(struct header_parser *parser)
{
    struct safetensors *file = parser->file;
    if (file->metadata)
        return FAIL(parser, "__metadata__ is given twice");
    for (bool more = expect(parser, '{', "after \"__metadata__\":"); more;) {
        struct safetensors_pair *moved = reserve(parser, file->metadata, file->metadata_count,
                                                 &parser->metadata_capacity, sizeof *moved);
        if (!moved)
            return false;
        file->metadata = moved;
        if (file->metadata_count == 0 && peek(parser) == '}') {
            parser->at++;
            return true;
        }
        char *key = parse_string(parser, "before a key of __metadata__");
        if (!key || !expect(parser, ':', "after a key of __metadata__"))
            return false;
        const char *value = skip_string(parser, "before a value of __metadata__");
        if (!value)
            return false;
        moved[file->metadata_count++] = (struct safetensors_pair){key, value};
        forget_read_part(parser);
        if (!another(parser, '}', &more, "after __metadata__"))
            return false;
        if (!more)
            return true;
    }
    return false;
}

/* A trace has metadata for each tensor, under its name and in the same order: one copy of the name
 * is enough. (Only from the first tensor on without a gap: addresses of names are in the order of
 * the header, see compare_entries().) The key that stands here as a name, with its colon; NULL, and
 * nothing taken, if it does not. */
static char *take_shared_key(struct header_parser *parser)
{
    const struct safetensors *file = parser->file;
    if (parser->shared != file->count || file->count >= file->metadata_count)
        return NULL;
    char *key = file->metadata[file->count].key;
    size_t length = strlen(key);
    const char *at = parser->at;
    if ((size_t)(parser->end - at) < length + 3 || at[0] != '"' ||
        memcmp(at + 1, key, length) != 0 || at[length + 1] != '"' || at[length + 2] != ':' ||
        header_plain_length(key, key + length) != length)
        return NULL;
    parser->at += length + 3;
    parser->shared++;
    return key;
}

/* Room for one more entry. A trace has about as many as metadata: then all at once. */
static struct safetensors_entry *reserve_entries(struct header_parser *parser)
{
    struct safetensors *file = parser->file;
    size_t size = sizeof *file->entries, expected = (size_t)file->metadata_count + 1;
    if (file->count == 0 && expected > (size_t)parser->capacity) {
        void *moved = realloc(file->entries, expected * size);
        if (moved) {
            file->entries = moved;
            parser->capacity = (int)expected;
            safetensors_large_pages(moved, expected * size);
        }
    }
    return reserve(parser, file->entries, file->count, &parser->capacity, size);
}

static bool parse_named(struct header_parser *parser)
{
    struct safetensors *file = parser->file;
    struct safetensors_entry *moved = reserve_entries(parser);
    if (!moved)
        return false;
    file->entries = moved;
    char *name = take_shared_key(parser);
    if (!name) {
        name = parse_string(parser, "before a tensor's name");
        if (!name || !expect(parser, ':', "after a tensor's name"))
            return false;
        if (strcmp(name, "__metadata__") == 0)
            return parse_metadata(parser);
    }
    struct safetensors_entry entry = {.name = name};
    parser->tensor = name;
    if (!parse_entry(parser, &entry.tensor))
        return false;
    parser->tensor = NULL;
    file->entries[file->count++] = entry;
    return true;
}

bool safetensors_parse_header(struct safetensors *file, const char *header, size_t length,
                              uint64_t data_size, char *strings, struct status *status)
{
    struct header_parser parser = {.file = file,
                                   .begin = header,
                                   .at = header,
                                   .end = header + length,
                                   .strings = strings,
                                   .data_size = data_size,
                                   .status = status};
    if (!expect(&parser, '{', "at the start (is this a safetensors file?)"))
        return false;
    bool more = peek(&parser) != '}';
    if (!more)
        parser.at++;
    for (parser.forgotten = file->map; more; forget_read_part(&parser))
        if (!parse_named(&parser) || !another(&parser, '}', &more, "after the last tensor"))
            return false;
    peek(&parser);
    return parser.at == parser.end || FAIL(&parser, "text after the end of the header, at byte %zu",
                                           (size_t)(parser.at - parser.begin));
}
