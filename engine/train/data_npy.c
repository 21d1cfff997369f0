/* NumPy's .npy: magic, version, header length, and a Python dictionary, padded with blanks.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#include "engine/train/data_source.h"

#include <string.h>

struct npy_parser {
    const char *at, *end;
    char descr[8];
    bool has_descr, has_order, has_shape, fortran_order;
    int rank;
    uint64_t dims[2];
};

static char npy_peek(struct npy_parser *parser)
{
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\n'))
        parser->at++;
    return parser->at < parser->end ? *parser->at : 0;
}

static bool npy_take(struct npy_parser *parser, char wanted)
{
    if (npy_peek(parser) != wanted)
        return false;
    parser->at++;
    return true;
}

static bool npy_take_word(struct npy_parser *parser, const char *word)
{
    size_t length = strlen(word);
    npy_peek(parser);
    if ((size_t)(parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0)
        return false;
    parser->at += length;
    return true;
}

/* A quoted string of at most `room` - 1 characters. */
static bool npy_string(struct npy_parser *parser, char *out, size_t room)
{
    char quote = npy_peek(parser);
    if (quote != '\'' && quote != '"')
        return false;
    size_t length = 0;
    for (parser->at++; parser->at < parser->end && *parser->at != quote; parser->at++) {
        if (length + 1 == room)
            return false;
        out[length++] = *parser->at;
    }
    out[length] = '\0';
    return npy_take(parser, quote);
}

static bool npy_shape(struct npy_parser *parser)
{
    if (!npy_take(parser, '('))
        return false;
    while (npy_peek(parser) != ')') {
        uint64_t size = 0;
        const char *start = parser->at;
        for (; parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9'; parser->at++) {
            if (size > (UINT64_MAX - 9) / 10)
                return false;
            size = size * 10 + (uint64_t)(*parser->at - '0');
        }
        if (parser->at == start || parser->rank == 2)
            return false;
        parser->dims[parser->rank++] = size;
        if (!npy_take(parser, ',') && npy_peek(parser) != ')')
            return false;
    }
    parser->has_shape = true;
    return npy_take(parser, ')');
}

static bool npy_item(struct npy_parser *parser)
{
    char key[16];
    if (!npy_string(parser, key, sizeof key) || !npy_take(parser, ':'))
        return false;
    if (strcmp(key, "descr") == 0 && !parser->has_descr)
        return parser->has_descr = npy_string(parser, parser->descr, sizeof parser->descr);
    if (strcmp(key, "shape") == 0 && !parser->has_shape)
        return npy_shape(parser);
    if (strcmp(key, "fortran_order") != 0 || parser->has_order)
        return false;
    parser->fortran_order = npy_take_word(parser, "True");
    return parser->has_order = parser->fortran_order || npy_take_word(parser, "False");
}

static bool npy_dictionary(struct npy_parser *parser)
{
    if (!npy_take(parser, '{'))
        return false;
    while (npy_peek(parser) != '}')
        if (!npy_item(parser) || (!npy_take(parser, ',') && npy_peek(parser) != '}'))
            return false;
    return npy_take(parser, '}') && npy_peek(parser) == 0 && parser->at == parser->end &&
           parser->has_descr && parser->has_order && parser->has_shape && parser->rank > 0;
}

/* "<i4", "|u1", ...: little-endian integers. */
static bool npy_type(struct token_source *source, const char *descr, struct status *status)
{
    const char *order = strchr("<|", descr[0]), *kind = descr[0] ? strchr("iu", descr[1]) : NULL;
    bool known = descr[0] && order && kind && descr[1] && strlen(descr) == 3;
    int width = known ? descr[2] - '0' : 0;
    if (width != 1 && ((width != 2 && width != 4 && width != 8) || descr[0] == '|'))
        return status_fail(status, STATUS_INVALID,
                           "%s: elements of type '%s'; little-endian integers are needed",
                           source->path, descr);
    source->width = width;
    source->is_signed = descr[1] == 'i';
    return true;
}

/* Finds the dictionary; *begin is where the data begin. */
static bool npy_frame(const struct token_source *source, const unsigned char *bytes, size_t size,
                      struct npy_parser *parser, size_t *begin, struct status *status)
{
    if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return status_fail(status, STATUS_INVALID, "%s: not a .npy file", source->path);
    int version = bytes[6];
    size_t head = version == 1 ? 10 : 12, length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (version < 1 || version > 3 || bytes[7] != 0)
        return status_fail(status, STATUS_INVALID, "%s: version %d.%d of the .npy format",
                           source->path, version, bytes[7]);
    if (version > 1)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > size - head)
        return status_fail(status, STATUS_INVALID, "%s: truncated: a header of %zu bytes",
                           source->path, length);
    parser->at = (const char *)bytes + head;
    parser->end = parser->at + length;
    *begin = head + length;
    return npy_dictionary(parser) ||
           status_fail(status, STATUS_INVALID,
                       "%s: the header does not describe an array of 1 or 2 dimensions (byte %zu)",
                       source->path, (size_t)((const unsigned char *)parser->at - bytes));
}

bool npy_parse(struct token_source *source, const unsigned char *bytes, size_t size,
               struct status *status)
{
    struct npy_parser parser = {0};
    size_t begin = 0;
    if (!npy_frame(source, bytes, size, &parser, &begin, status) ||
        !npy_type(source, parser.descr, status))
        return false;
    if (parser.fortran_order && parser.rank == 2)
        return status_fail(status, STATUS_INVALID,
                           "%s: stored by columns (fortran_order); expected rows, as of "
                           "numpy.ascontiguousarray",
                           source->path);
    uint64_t rows = parser.rank == 2 ? parser.dims[0] : 1;
    uint64_t columns = parser.dims[parser.rank - 1], width = (uint64_t)source->width;
    uint64_t room = (size - begin) / width;
    bool fits = rows == 0 || columns == 0
                    ? size == begin
                    : columns <= room / rows && rows * columns * width == size - begin;
    if (!fits)
        return status_fail(status, STATUS_INVALID,
                           "%s: %zu bytes of data are not %llu x %llu elements of %d bytes",
                           source->path, size - begin, (unsigned long long)rows,
                           (unsigned long long)columns, source->width);
    int64_t capacity = 0;
    source->tokens = bytes;
    for (uint64_t row = 0; row < rows && columns; row++)
        if (!token_source_add(source, &capacity, begin + row * columns * width, (int64_t)columns,
                              status))
            return false;
    return true;
}
