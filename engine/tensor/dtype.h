/* Element types and their conversions. 16-bit floats round to nearest even. */
#ifndef ENGINE_TENSOR_DTYPE_H
#define ENGINE_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype {
    DTYPE_F32 = 0,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_F64,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_COUNT,
};

size_t dtype_size(enum dtype dtype);       /* bytes */
const char *dtype_name(enum dtype dtype);  /* "f32", "bf16", ... static */
const char *dtype_label(enum dtype dtype); /* safetensors' "F32", "BF16", ... static */
bool dtype_is_float(enum dtype dtype);
/* Finds a type by short name or label; false if unknown. */
bool dtype_find(const char *name, enum dtype *dtype);
/* Distance from 1 to the next larger value: 2^-23, 2^-7, 2^-10, 2^-52; 0 for integers. */
double dtype_epsilon(enum dtype dtype);

/* One element as a double and back. `index` counts elements; `data` is aligned for them.
 * A load is exact but for i64 beyond 2^53. A store rounds once, to nearest even; integers are cut
 * towards zero and limited to their range, with NaN as 0; a bool is "not zero". */
double dtype_load(enum dtype dtype, const void *data, size_t index);
void dtype_store(enum dtype dtype, void *data, size_t index, double number);
/* `count` elements of one type into another. Source and destination do not overlap. */
void dtype_convert(void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
                   size_t count);

static inline float bf16_to_float(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float number;
    memcpy(&number, &wide, 4);
    return number;
}

static inline uint16_t float_to_bf16(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u); /* quiet NaN */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Without branches and without subnormal floats (a subtraction normalises), so that loops of it are
 * vectorised, and it does not depend on the flush-to-zero mode of the thread. */
static inline float f16_to_float(uint16_t half)
{
    uint32_t bits = (half & 0x7fffu) << 13, exponent = bits & 0x0f800000u;
    uint32_t normal = bits + (112u << 23), special = normal + (112u << 23);
    uint32_t small = normal + (1u << 23);
    float number;
    memcpy(&number, &small, 4);
    number -= 0x1p-14f;
    memcpy(&small, &number, 4);
    uint32_t wide = exponent == 0x0f800000u ? special : exponent == 0 ? small : normal;
    wide |= (half & 0x8000u) << 16;
    memcpy(&number, &wide, 4);
    return number;
}

uint16_t float_to_f16(float number);

#endif
