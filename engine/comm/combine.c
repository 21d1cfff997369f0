#include "engine/comm/combine.h"

bool combine_supports(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16 || dtype == DTYPE_F64 ||
           dtype == DTYPE_I32;
}

enum { BLOCK = 1024 }; /* elements summed at a time: stays in the first cache */

static void widen(float *wide, enum dtype dtype, const void *in, size_t first, size_t count)
{
    if (dtype == DTYPE_F32) {
        memcpy(wide, (const float *)in + first, count * sizeof(float));
        return;
    }
    const uint16_t *bits = (const uint16_t *)in + first;
    for (size_t i = 0; i < count; i++)
        wide[i] = dtype == DTYPE_BF16 ? bf16_to_float(bits[i]) : f16_to_float(bits[i]);
}

static void narrow(enum dtype dtype, void *out, const float *wide, size_t first, size_t count)
{
    if (dtype == DTYPE_F32) {
        memcpy((float *)out + first, wide, count * sizeof(float));
        return;
    }
    uint16_t *bits = (uint16_t *)out + first;
    for (size_t i = 0; i < count; i++)
        bits[i] = dtype == DTYPE_BF16 ? float_to_bf16(wide[i]) : float_to_f16(wide[i]);
}

static void sum_floats(enum dtype dtype, void *out, const void *const *in, int parts, size_t first,
                       size_t count, bool average)
{
    float sum[BLOCK], next[BLOCK];
    widen(sum, dtype, in[0], first, count);
    for (int k = 1; k < parts; k++) {
        widen(next, dtype, in[k], first, count);
        for (size_t i = 0; i < count; i++)
            sum[i] += next[i];
    }
    for (size_t i = 0; average && i < count; i++)
        sum[i] /= (float)parts;
    narrow(dtype, out, sum, first, count);
}

static void sum_doubles(double *out, const void *const *in, int parts, size_t count, bool average)
{
    for (size_t i = 0; i < count; i++) {
        double sum = ((const double *)in[0])[i];
        for (int k = 1; k < parts; k++)
            sum += ((const double *)in[k])[i];
        out[i] = average ? sum / parts : sum;
    }
}

static void sum_integers(int32_t *out, const void *const *in, int parts, size_t count, bool average)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t sum = ((const uint32_t *)in[0])[i];
        for (int k = 1; k < parts; k++)
            sum += ((const uint32_t *)in[k])[i];
        out[i] = average ? (int32_t)sum / parts : (int32_t)sum;
    }
}

void combine_sum(enum dtype dtype, void *out, const void *const *in, int parts, size_t count,
                 bool average)
{
    if (dtype == DTYPE_F64) {
        sum_doubles(out, in, parts, count, average);
    } else if (dtype == DTYPE_I32) {
        sum_integers(out, in, parts, count, average);
    } else {
        for (size_t first = 0; first < count; first += BLOCK) {
            size_t left = count - first;
            sum_floats(dtype, out, in, parts, first, left < BLOCK ? left : BLOCK, average);
        }
    }
}
