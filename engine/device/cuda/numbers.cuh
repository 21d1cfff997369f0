/* Elements of any type as doubles, by the rules of dtype_load() and dtype_store(). */
#ifndef ENGINE_DEVICE_CUDA_NUMBERS_CUH
#define ENGINE_DEVICE_CUDA_NUMBERS_CUH

#include "engine/device/cuda/operand.cuh"

template <typename T> __device__ inline double number_of(const char *at)
{
    return (double)*(const T *)(const void *)at;
}

__device__ inline double number_load(const struct operand &from, int64_t row, int64_t column)
{
    const char *at = operand_at(from, row, column);
    switch (from.dtype) {
    case DTYPE_F64:
        return number_of<double>(at);
    case DTYPE_I32:
        return number_of<int32_t>(at);
    case DTYPE_I64:
        return number_of<int64_t>(at);
    case DTYPE_I16:
        return number_of<int16_t>(at);
    case DTYPE_U16:
        return number_of<uint16_t>(at);
    case DTYPE_I8:
        return number_of<int8_t>(at);
    case DTYPE_U8:
        return number_of<uint8_t>(at);
    case DTYPE_BOOL:
        return *(const uint8_t *)(const void *)at != 0;
    default:
        return (double)float_at(at, from.dtype);
    }
}

/* Cut towards zero and limited to low..high; NaN is 0. */
__device__ inline int64_t integer_of(double number, int64_t low, int64_t high)
{
    if (isnan(number))
        return 0;
    if (number <= (double)low)
        return low;
    return number >= (double)high ? high : (int64_t)number;
}

/* Rounded to odd: an inexact float keeps in its last bit that something was cut off, so that
 * rounding it once more, to 16 bits, is as if there were only one rounding. */
__device__ inline float float_to_odd(double number)
{
    float near = (float)number;
    if (!isfinite(number) || (double)near == number)
        return near;
    unsigned bits = __float_as_uint(near);
    bool away_from_zero = fabs((double)near) > fabs(number);
    return __uint_as_float((away_from_zero ? bits - 1 : bits) | 1u);
}

__device__ inline void number_store(const struct operand &to, int64_t row, int64_t column,
                                    double number)
{
    char *at = operand_at(to, row, column);
    switch (to.dtype) {
    case DTYPE_F64:
        *(double *)(void *)at = number;
        break;
    case DTYPE_F32:
        *(float *)(void *)at = (float)number;
        break;
    case DTYPE_I32:
        *(int32_t *)(void *)at = (int32_t)integer_of(number, INT32_MIN, INT32_MAX);
        break;
    case DTYPE_I64:
        *(int64_t *)(void *)at = (int64_t)integer_of(number, INT64_MIN, INT64_MAX);
        break;
    case DTYPE_I16:
        *(int16_t *)(void *)at = (int16_t)integer_of(number, INT16_MIN, INT16_MAX);
        break;
    case DTYPE_U16:
        *(uint16_t *)(void *)at = (uint16_t)integer_of(number, 0, UINT16_MAX);
        break;
    case DTYPE_I8:
        *(int8_t *)(void *)at = (int8_t)integer_of(number, INT8_MIN, INT8_MAX);
        break;
    case DTYPE_U8:
        *(uint8_t *)(void *)at = (uint8_t)integer_of(number, 0, UINT8_MAX);
        break;
    case DTYPE_BOOL:
        *(uint8_t *)(void *)at = number != 0;
        break;
    default:
        put_float(at, to.dtype, float_to_odd(number));
    }
}

#endif
