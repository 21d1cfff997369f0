#include "ui/numpy.h"

#include "engine/base/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* The shortest text that reads back as the same number, of float32 or, if it is none, float64. */
static void add_number(struct text *out, double number)
{
    char text[40] = "np.nan";
    bool single = (double)(float)number == number;
    if (isinf(number))
        snprintf(text, sizeof(text), number > 0 ? "np.inf" : "-np.inf");
    for (int digits = 1; isfinite(number) && digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        double back = strtod(text, NULL);
        if (back == number || (single && (float)back == (float)number))
            break;
    }
    text_add(out, text);
}

/* Difference of the two, or one of them. */
static double side_at(const struct tensor_picture *tensor, enum tensor_side side, int index)
{
    if (side == TENSOR_REFERENCE)
        return tensor->reference[index];
    if (side == TENSOR_DIFFERENCE)
        return tensor->test[index] - tensor->reference[index];
    return tensor->test[index];
}

static bool check_side(const struct tensor_picture *tensor, enum tensor_side side,
                       struct status *status)
{
    bool needs_reference = side == TENSOR_REFERENCE || side == TENSOR_DIFFERENCE;
    if (!tensor->test)
        return status_fail(status, STATUS_NOT_FOUND, "there are no numbers to copy%s%s",
                           tensor->problem ? ": " : "", tensor->problem ? tensor->problem : "");
    if (needs_reference && !tensor->reference)
        return status_fail(status, STATUS_NOT_FOUND, "there is no reference to copy from");
    return true;
}

bool numpy_number(const struct tensor_picture *tensor, enum tensor_side side, int64_t row,
                  int64_t column, struct text *out, struct status *status)
{
    int64_t r = row - tensor->row, c = column - tensor->column;
    if (!check_side(tensor, side, status))
        return false;
    if (r < 0 || r >= tensor->rows || c < 0 || c >= tensor->columns)
        return status_fail(status, STATUS_NOT_FOUND, "the cursor is on no number that is shown");
    double number = side_at(tensor, side, (int)(r * tensor->columns + c));
    if (isnan(number))
        text_add(out, "nan");
    else if (isinf(number))
        text_add(out, number > 0 ? "inf" : "-inf");
    else
        add_number(out, number);
    return true;
}

/* ---- written out ---- */

static const char *type_of(const struct tensor_picture *tensor, enum tensor_side side)
{
    if (!dtype_is_float(tensor->dtype))
        return "np.int64";
    for (int i = 0; i < tensor->rows * tensor->columns; i++) {
        double number = side_at(tensor, side, i);
        if (isfinite(number) && (double)(float)number != number)
            return "np.float64";
    }
    return "np.float32";
}

static bool add_array(const struct tensor_picture *tensor, enum tensor_side side, struct text *out,
                      struct status *status)
{
    int rows = tensor->rows, columns = tensor->columns;
    if (rows * columns > NUMPY_ELEMENTS_MOST)
        return status_fail(status, STATUS_INVALID,
                           "%d elements are too many to copy (at most %d): make the view smaller, "
                           "or save it",
                           rows * columns, NUMPY_ELEMENTS_MOST);
    text_add(out, "np.array([");
    for (int r = 0; r < rows; r++) {
        text_add(out, r ? ", [" : "[");
        for (int c = 0; c < columns; c++) {
            text_add(out, c ? ", " : "");
            add_number(out, side_at(tensor, side, r * columns + c));
        }
        text_add(out, "]");
    }
    text_format(out, "], dtype=%s)", type_of(tensor, side));
    return true;
}

/* ---- from a file ---- */

/* A literal of Python. Bytes of a name that are no UTF-8 become what os.fsdecode() makes of them.
 */
static void add_literal(struct text *out, const char *text)
{
    text_add(out, "'");
    for (size_t left = strlen(text); left > 0;) {
        int32_t character;
        size_t taken = unicode_decode(text, left, &character);
        if (character < 0)
            text_format(out, "\\udc%02x", (unsigned char)*text);
        else if (character < 0x20 || character == 0x7f)
            text_format(out, "\\x%02x", (unsigned)character);
        else if (character == '\'' || character == '\\')
            text_format(out, "\\%c", (int)character);
        else if (character > 0xffff && unicode_is_treacherous(character))
            text_format(out, "\\U%08x", (unsigned)character);
        else if (character >= 0x80 && (character < 0xa0 || unicode_is_treacherous(character)))
            text_format(out, "\\u%04x", (unsigned)character);
        else
            text_add_part(out, text, taken);
        text += taken;
        left -= taken;
    }
    text_add(out, "'");
}

/* How NumPy names what is in the file; bfloat16, which it does not know, as integers. */
static const char *type_in_file(enum dtype dtype)
{
    static const char *const names[DTYPE_COUNT] = {
        [DTYPE_F32] = "<f4", [DTYPE_BF16] = "<u2", [DTYPE_F16] = "<f2", [DTYPE_F64] = "<f8",
        [DTYPE_I32] = "<i4", [DTYPE_I64] = "<i8",  [DTYPE_I16] = "<i2", [DTYPE_U16] = "<u2",
        [DTYPE_I8] = "i1",   [DTYPE_U8] = "u1",    [DTYPE_BOOL] = "?"};
    return names[dtype];
}

/* The shape as the window sees it: planes of rows and columns; samples are one row. */
static void add_mapped(const struct tensor_picture *tensor, struct text *out)
{
    int64_t plane = tensor->plane;
    text_add(out, "np.memmap(");
    add_literal(out, tensor->reference_file);
    text_format(out, ", '%s', 'r', %" PRId64 ", (%" PRId64 ", %" PRId64 ", %" PRId64 "))",
                type_in_file(tensor->reference_dtype), tensor->reference_offset, tensor->planes,
                tensor->all_rows, tensor->all_columns);
    text_format(out, "[%" PRId64 ", %" PRId64 ":%" PRId64 ", %" PRId64 ":%" PRId64 "]", plane,
                tensor->row, tensor->row + tensor->rows, tensor->column,
                tensor->column + tensor->columns);
}

static void add_from_file(const struct tensor_picture *tensor, struct text *out)
{
    bool brain = tensor->reference_dtype == DTYPE_BF16; /* the upper half of a float32 */
    text_add(out, brain ? "(" : "");
    add_mapped(tensor, out);
    text_add(out, brain ? ".astype('<u4') << 16).view('<f4')" : "");
}

bool numpy_expression(const struct tensor_picture *tensor, enum tensor_side side, struct text *out,
                      struct status *status)
{
    if (!check_side(tensor, side, status))
        return false;
    if (side == TENSOR_REFERENCE && tensor->reference_file) {
        add_from_file(tensor, out);
        return true;
    }
    return add_array(tensor, side == TENSOR_SIDES ? TENSOR_TEST : side, out, status);
}
