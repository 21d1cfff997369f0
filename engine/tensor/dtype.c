#include "engine/tensor/dtype.h"

#include "engine/base/versions.h"

#include <math.h>

/* Conversions of whole tensors are vectorised at every optimisation level of the build. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

struct description {
    const char *name, *label;
    size_t size;
    double epsilon;
};

static const struct description descriptions[DTYPE_COUNT] = {
    [DTYPE_F32] = {"f32", "F32", 4, 0x1p-23}, [DTYPE_BF16] = {"bf16", "BF16", 2, 0x1p-7},
    [DTYPE_F16] = {"f16", "F16", 2, 0x1p-10}, [DTYPE_F64] = {"f64", "F64", 8, 0x1p-52},
    [DTYPE_I32] = {"i32", "I32", 4, 0},       [DTYPE_I64] = {"i64", "I64", 8, 0},
    [DTYPE_I16] = {"i16", "I16", 2, 0},       [DTYPE_U16] = {"u16", "U16", 2, 0},
    [DTYPE_I8] = {"i8", "I8", 1, 0},          [DTYPE_U8] = {"u8", "U8", 1, 0},
    [DTYPE_BOOL] = {"bool", "BOOL", 1, 0},
};

size_t dtype_size(enum dtype dtype)
{
    return descriptions[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return descriptions[dtype].name;
}

const char *dtype_label(enum dtype dtype)
{
    return descriptions[dtype].label;
}

bool dtype_is_float(enum dtype dtype)
{
    return descriptions[dtype].epsilon > 0;
}

double dtype_epsilon(enum dtype dtype)
{
    return descriptions[dtype].epsilon;
}

bool dtype_find(const char *name, enum dtype *dtype)
{
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(name, descriptions[i].name) == 0 || strcmp(name, descriptions[i].label) == 0) {
            *dtype = (enum dtype)i;
            return true;
        }
    return false;
}

uint16_t float_to_f16(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, 4);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* rounds to at least 65520: infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: subnormal, units of 2^-24 */
        float absolute;
        memcpy(&absolute, &magnitude, 4);
        return (uint16_t)(sign | (uint16_t)nearbyintf(absolute * 0x1p24f));
    }
    magnitude += 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (uint16_t)((magnitude - 0x38000000u) >> 13));
}

double dtype_load(enum dtype dtype, const void *data, size_t index)
{
    switch (dtype) {
    case DTYPE_F32:
        return (double)((const float *)data)[index];
    case DTYPE_BF16:
        return (double)bf16_to_float(((const uint16_t *)data)[index]);
    case DTYPE_F16:
        return (double)f16_to_float(((const uint16_t *)data)[index]);
    case DTYPE_F64:
        return ((const double *)data)[index];
    case DTYPE_I32:
        return ((const int32_t *)data)[index];
    case DTYPE_I64:
        return (double)((const int64_t *)data)[index];
    case DTYPE_I16:
        return ((const int16_t *)data)[index];
    case DTYPE_U16:
        return ((const uint16_t *)data)[index];
    case DTYPE_I8:
        return ((const int8_t *)data)[index];
    case DTYPE_U8:
    case DTYPE_BOOL:
        return ((const uint8_t *)data)[index];
    case DTYPE_COUNT:
        break;
    }
    return NAN;
}

/* Rounds to float so that rounding once more to 16 bits gives what rounding once would have given:
 * an inexact result gets an odd last bit ("round to odd"), which no tie of the next rounding has.
 */
static float narrow(double number)
{
    float nearest = (float)number;
    if ((double)nearest == number || isnan(number))
        return nearest;
    uint32_t bits;
    memcpy(&bits, &nearest, 4);
    if (fabs((double)nearest) > fabs(number))
        bits--;
    bits |= 1u;
    memcpy(&nearest, &bits, 4);
    return nearest;
}

/* Towards zero, limited to low..high, which are integers; NaN is 0. `high` as a double may be the
 * next larger power of two, hence >=. */
static int64_t integer_of(double number, int64_t low, int64_t high)
{
    if (isnan(number))
        return 0;
    if (number <= (double)low)
        return low;
    return number >= (double)high ? high : (int64_t)number;
}

void dtype_store(enum dtype dtype, void *data, size_t index, double number)
{
    switch (dtype) {
    case DTYPE_F32:
        ((float *)data)[index] = (float)number;
        break;
    case DTYPE_BF16:
        ((uint16_t *)data)[index] = float_to_bf16(narrow(number));
        break;
    case DTYPE_F16:
        ((uint16_t *)data)[index] = float_to_f16(narrow(number));
        break;
    case DTYPE_F64:
        ((double *)data)[index] = number;
        break;
    case DTYPE_I32:
        ((int32_t *)data)[index] = (int32_t)integer_of(number, INT32_MIN, INT32_MAX);
        break;
    case DTYPE_I64:
        ((int64_t *)data)[index] = integer_of(number, INT64_MIN, INT64_MAX);
        break;
    case DTYPE_I16:
        ((int16_t *)data)[index] = (int16_t)integer_of(number, INT16_MIN, INT16_MAX);
        break;
    case DTYPE_U16:
        ((uint16_t *)data)[index] = (uint16_t)integer_of(number, 0, UINT16_MAX);
        break;
    case DTYPE_I8:
        ((int8_t *)data)[index] = (int8_t)integer_of(number, INT8_MIN, INT8_MAX);
        break;
    case DTYPE_U8:
        ((uint8_t *)data)[index] = (uint8_t)integer_of(number, 0, UINT8_MAX);
        break;
    case DTYPE_BOOL:
        ((uint8_t *)data)[index] = number != 0;
        break;
    case DTYPE_COUNT:
        break;
    }
}

VERSIONS
static void widen_bf16(const uint16_t *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = bf16_to_float(from[i]);
}

VERSIONS
static void widen_f16(const uint16_t *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = f16_to_float(from[i]);
}

void dtype_convert(void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
                   size_t count)
{
    if (count == 0)
        return; /* the pointers may be NULL then */
    if (to_dtype == from_dtype) {
        memcpy(to, from, count * dtype_size(to_dtype));
        return;
    }
    if (to_dtype == DTYPE_F32 && (from_dtype == DTYPE_BF16 || from_dtype == DTYPE_F16)) {
        (from_dtype == DTYPE_BF16 ? widen_bf16 : widen_f16)(from, count, to);
        return;
    }
    for (size_t i = 0; i < count; i++)
        dtype_store(to_dtype, to, i, dtype_load(from_dtype, from, i));
}
