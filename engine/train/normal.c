/* Logarithm, sine and cosine are written out here because a library's are a call for each number,
 * nine tenths of the time, and because its next version may round the last bit otherwise. They are
 * those of fdlibm (e_log.c, k_sin.c, k_cos.c), within one unit of float64's last place:
 *
 *   Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
 *   Developed at SunSoft, a Sun Microsystems, Inc. business.
 *   Permission to use, copy, modify, and distribute this software is freely granted, provided that
 *   this notice is preserved.
 *
 * No sum is contracted with a product, so that every processor and compiler gives the same bits. */
#include "engine/train/normal.h"

#include "engine/base/versions.h"
#include "engine/train/counter.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

enum { PAIRS = 64 }; /* at a time: what one stage leaves to the next stays in the first cache */

static const uint64_t SIGN = UINT64_C(1) << 63;
static const uint64_t MAGIC = UINT64_C(0x4330000000000000); /* the bits of 2^52 */

static inline double of_bits(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

static inline uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return bits;
}

/* Up to 2^53, exactly; older vector units do not convert 64-bit integers. */
static inline double to_double(uint64_t number)
{
    double high = of_bits(number >> 32 | MAGIC) - 0x1p52;
    double low = of_bits((number & UINT32_MAX) | MAGIC) - 0x1p52;
    return high * 0x1p32 + low;
}

/* Of a normal number above 0: x = 2^k m, sqrt(1/2) <= m < sqrt(2), f = m - 1. */
static inline double logarithm(double x)
{
    static const uint64_t one = UINT64_C(0x3ff0000000000000), root = UINT64_C(0x3fe6a09e00000000);
    uint64_t shifted = bits_of(x) + (one - root);
    double k = of_bits(shifted >> 52 | MAGIC) - (0x1p52 + 1023);
    double f = of_bits((shifted & UINT64_C(0xfffffffffffff)) + root) - 1;
    double s = f / (2 + f), z = s * s, w = z * z, half = 0.5 * f * f;
    double even = z * (6.666666666666735130e-01 +
                       w * (2.857142874366239149e-01 +
                            w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double odd = w * (3.999999999940941908e-01 +
                      w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double low = s * (half + (odd + even)) + k * 1.90821492927058770002e-10;
    return low - half + f + k * 6.93147180369123816490e-01;
}

/* Of x + tail, |x| <= pi / 4. */
static inline double sine(double x, double tail)
{
    double z = x * x, w = z * z, v = z * x;
    double rest = 8.33333333332248946124e-03 +
                  z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06) +
                  z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10);
    return x - ((z * (0.5 * tail - v * rest) - tail) - v * -1.66666666666666324348e-01);
}

static inline double cosine(double x, double tail)
{
    double z = x * x, w = z * z;
    double rest = z * (4.16666666666666019037e-02 +
                       z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)) +
                  w * w *
                      (-2.75573143513906633035e-07 +
                       z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11));
    double half = 0.5 * z, one = 1 - half;
    return one + (((1 - one) - half) + (z * rest - x * tail));
}

static inline double choose(uint64_t mask, double yes, double no)
{
    return of_bits((bits_of(yes) & mask) | (bits_of(no) & ~mask));
}

/* Of 0 <= angle <= 2 pi. The quarter that it is in is found by adding 1.5 * 2^52, which rounds to
 * an integer in the low bits; pi / 2 is the sum of 33 bits, whose multiples are exact, and a tail.
 */
static inline void sine_and_cosine(double angle, double *sine_of, double *cosine_of)
{
    double moved = angle * 6.36619772367581382433e-01 + 0x1.8p52, quarter = moved - 0x1.8p52;
    double rest = angle - quarter * 1.57079632673412561417e+00;
    double tail = quarter * 6.07710050650619224932e-11;
    double x = rest - tail, below = (rest - x) - tail;
    double s = sine(x, below), c = cosine(x, below);
    uint64_t number = bits_of(moved), swap = 0 - (number & 1);
    uint64_t flip_sine = (number & 2) << 62, flip_cosine = ((number + 1) & 2) << 62;
    *sine_of = of_bits(bits_of(choose(swap, c, s)) ^ (flip_sine & SIGN));
    *cosine_of = of_bits(bits_of(choose(swap, s, c)) ^ (flip_cosine & SIGN));
}

/* A whole portion: loops of a fixed length become vector instructions. */
VERSIONS
static void portion(uint64_t key, uint64_t first, double std, float *out)
{
    static const double two_pi = 6.283185307179586476925286766559;
    double radius[PAIRS], angle[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        uint64_t a = counter_number(key, 2 * (first + (uint64_t)i));
        uint64_t b = counter_number(key, 2 * (first + (uint64_t)i) + 1);
        radius[i] = to_double((a >> 11) + 1) * 0x1p-53; /* (0, 1]: the logarithm is finite */
        angle[i] = two_pi * (to_double(b >> 11) * 0x1p-53);
    }
    for (int i = 0; i < PAIRS; i++)
        radius[i] = std * sqrt(-2 * logarithm(radius[i]));
    for (int i = 0; i < PAIRS; i++) {
        double s, c;
        sine_and_cosine(angle[i], &s, &c);
        out[2 * i] = (float)(radius[i] * c);
        out[2 * i + 1] = (float)(radius[i] * s);
    }
}

void normal_pairs(uint64_t key, uint64_t first, int64_t count, double std, float *out)
{
    float rest[2 * PAIRS];
    for (; count >= PAIRS; count -= PAIRS, first += PAIRS, out += 2 * PAIRS)
        portion(key, first, std, out);
    if (count > 0) {
        portion(key, first, std, rest);
        memcpy(out, rest, (size_t)count * 2 * sizeof(*out));
    }
}
