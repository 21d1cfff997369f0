#include "engine/compare/kernel.h"

#include "engine/base/versions.h"

#include <math.h>

/* Vectorised at every optimisation level of the build: debug builds compare gigabytes, too. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

enum { LANES = BLOCK_LANES };

/* Sign and magnitude to two's complement, so that neighbours differ by 1 and -0 equals +0. */
static inline int32_t ordered(uint32_t bits)
{
    int32_t sign = (int32_t)bits >> 31;
    return ((int32_t)(bits & 0x7fffffffu) ^ sign) - sign;
}

static inline int64_t ordered_wide(uint64_t bits)
{
    int64_t sign = (int64_t)bits >> 63;
    return ((int64_t)(bits & INT64_MAX) ^ sign) - sign;
}

/* Folds lanes in their order. */
static double total(const double *lanes)
{
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

static double largest_of(const double *lanes)
{
    double largest = 0;
    for (int lane = 0; lane < LANES; lane++)
        largest = lanes[lane] > largest ? lanes[lane] : largest;
    return largest;
}

/* Everything is added in double: squares of floats are exact there, and a lane adds 128 of them.
 * The arrays of lanes become registers; one iteration is 50 instructions with AVX-512. */
VERSIONS
void kernel_sum(const float *reference, const float *test, const block_word *reference_key,
                const block_word *test_key, int padded, const int ahead[2],
                struct kernel_sums *sums)
{
    double differences[LANES] = {0}, references[LANES] = {0}, tests[LANES] = {0};
    double products[LANES] = {0}, largest[LANES] = {0};
    uint32_t distance[LANES] = {0}, different[LANES] = {0};
    for (int i = 0; i < padded; i += LANES) {
        __builtin_prefetch(reference + i + ahead[0]);
        __builtin_prefetch(test + i + ahead[1]);
        for (int lane = 0; lane < LANES; lane++) {
            double a = (double)reference[i + lane], b = (double)test[i + lane];
            double difference = a - b, magnitude = fabs(difference);
            differences[lane] += difference * difference;
            references[lane] += a * a;
            tests[lane] += b * b;
            products[lane] += a * b;
            largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
            int32_t p = ordered(reference_key[i + lane]), q = ordered(test_key[i + lane]);
            uint32_t apart = (uint32_t)(p > q ? p : q) - (uint32_t)(p > q ? q : p);
            distance[lane] = apart > distance[lane] ? apart : distance[lane];
            different[lane] += reference_key[i + lane] != test_key[i + lane];
        }
    }
    *sums = (struct kernel_sums){.differences = total(differences),
                                 .references = total(references),
                                 .tests = total(tests),
                                 .products = total(products),
                                 .largest = largest_of(largest)};
    for (int lane = 0; lane < LANES; lane++) {
        sums->distance = distance[lane] > sums->distance ? distance[lane] : sums->distance;
        sums->different += different[lane];
    }
}

VERSIONS
void kernel_sum_wide(const double *reference, const double *test,
                     const block_wide_word *reference_key, const block_wide_word *test_key,
                     int padded, struct kernel_sums *sums)
{
    double differences[LANES] = {0}, references[LANES] = {0}, tests[LANES] = {0};
    double products[LANES] = {0}, largest[LANES] = {0};
    uint64_t distance = 0;
    int64_t different = 0;
    for (int i = 0; i < padded; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double a = reference[i + lane], b = test[i + lane];
            double difference = a - b, magnitude = fabs(difference);
            differences[lane] += difference * difference;
            references[lane] += a * a;
            tests[lane] += b * b;
            products[lane] += a * b;
            largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
        }
    for (int i = 0; i < padded; i++) {
        int64_t p = ordered_wide(reference_key[i]), q = ordered_wide(test_key[i]);
        uint64_t apart = (uint64_t)(p > q ? p : q) - (uint64_t)(p > q ? q : p);
        distance = apart > distance ? apart : distance;
        different += reference_key[i] != test_key[i];
    }
    *sums = (struct kernel_sums){.differences = total(differences),
                                 .references = total(references),
                                 .tests = total(tests),
                                 .products = total(products),
                                 .largest = largest_of(largest),
                                 .distance = distance,
                                 .different = different};
}

static inline float as_float(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

static inline uint32_t as_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return bits;
}

/* Rounds to nearest even; the addition of 1/2 rounds what is subnormal in f16 at 2^-24. */
static inline uint32_t float_to_half(uint32_t bits)
{
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    uint32_t small =
        as_bits(as_float(magnitude < 0x38800000u ? magnitude : 0) + 0.5f) - 0x3f000000u;
    uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    uint32_t half = magnitude < 0x38800000u ? small : normal;
    half = magnitude >= 0x477ff000u ? special : half;
    return half | (bits >> 16 & 0x8000u);
}

/* The conversions read the tensors, so they ask for the next block while they work on this one. */
VERSIONS
void kernel_scale(const float *from, float factor, int count, float *to)
{
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(from + i + BLOCK_ELEMENTS);
        for (int lane = 0; lane < LANES; lane++)
            to[i + lane] = from[i + lane] * factor;
    }
    for (; i < count; i++)
        to[i] = from[i] * factor;
}

VERSIONS
static void widen_half(const uint16_t *from, float factor, int count, float *to)
{
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(from + i + BLOCK_ELEMENTS);
        for (int lane = 0; lane < LANES; lane++)
            to[i + lane] = f16_to_float(from[i + lane]) * factor;
    }
    for (; i < count; i++)
        to[i] = f16_to_float(from[i]) * factor;
}

VERSIONS
static void widen_bf16(const uint16_t *from, float factor, int count, float *to)
{
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(from + i + BLOCK_ELEMENTS);
        for (int lane = 0; lane < LANES; lane++)
            to[i + lane] = as_float((uint32_t)from[i + lane] << 16) * factor;
    }
    for (; i < count; i++)
        to[i] = as_float((uint32_t)from[i] << 16) * factor;
}

void kernel_widen(const uint16_t *from, bool half, float factor, int count, float *to)
{
    if (half)
        widen_half(from, factor, count, to);
    else
        widen_bf16(from, factor, count, to);
}

VERSIONS
void kernel_shift_up(const uint16_t *from, int count, block_word *to)
{
    for (int i = 0; i < count; i++)
        to[i] = (uint32_t)from[i] << 16;
}

VERSIONS
void kernel_round(const float *from, bool half, int count, block_word *to)
{
    if (half) {
        for (int i = 0; i < count; i++)
            to[i] = float_to_half(as_bits(from[i])) << 16;
        return;
    }
    for (int i = 0; i < count; i++) {
        uint32_t bits = as_bits(from[i]);
        uint32_t quiet = (bits | 0x400000u) & 0xffff0000u;
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
        to[i] = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
    }
}

VERSIONS
void kernel_to_double(const float *from, int count, double *to)
{
    for (int i = 0; i < count; i++)
        to[i] = (double)from[i];
}

VERSIONS
void kernel_round_wide(const double *from, int count, block_wide_word *to)
{
    for (int i = 0; i < count; i++)
        to[i] = (uint64_t)as_bits((float)from[i]) << 32;
}
