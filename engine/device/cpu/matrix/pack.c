/* Packing for matrix units: numbers are cut into bf16 parts, and each two of them that lie 16
 * places of the depth apart become one word, as the units take them. */
#include "engine/device/cpu/matrix/matrix.h"

#include <immintrin.h>

enum { LANES = 16, TILE_WORDS = MATRIX_TILE_BYTES / 4 };

static __mmask16 mask_of(int count)
{
    return (__mmask16)(count >= LANES ? 0xffffu : count > 0 ? (1u << count) - 1 : 0);
}

/* Up to 16 neighbours as float32, 0 where the mask is. */
static inline __attribute__((always_inline)) __m512 load(const void *data, enum dtype dtype,
                                                         int64_t index, __mmask16 mask)
{
    if (dtype == DTYPE_F32)
        return _mm512_maskz_loadu_ps(mask, (const float *)data + index);
    __m256i half = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)data + index);
    if (dtype == DTYPE_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The parts as float32 whose lower halves count for nothing. Halves are rounded away from zero; the
 * differences are exact, and the third has 8 bits. */
static inline __attribute__((always_inline)) void split(__m512 x, int parts, __m512i part[3])
{
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(-0x10000);
    part[0] = _mm512_castps_si512(x);
    for (int i = 0; i + 1 < parts; i++) {
        part[i] = _mm512_and_si512(_mm512_add_epi32(part[i], half), upper);
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(part[i]));
        part[i + 1] = _mm512_castps_si512(x);
    }
}

/* 16 words of each part, to places `to + part * 2 * TILE_WORDS`. */
static inline __attribute__((always_inline)) void put_words(uint32_t *to, int parts, __m512 low,
                                                            __m512 high)
{
    __m512i low_part[3], high_part[3];
    split(low, parts, low_part);
    split(high, parts, high_part);
    for (int i = 0; i < parts; i++)
        _mm512_storeu_si512(
            to + (ptrdiff_t)i * 2 * TILE_WORDS,
            _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(low_part[i], 16), high_part[i]));
}

static inline void prefetch(const void *data, enum dtype dtype, int64_t index)
{
    int64_t size = dtype == DTYPE_F32 ? 4 : 2;
    _mm_prefetch((const void *)((intptr_t)data + index * size), _MM_HINT_T0);
}

/* One tile of each part: words [i][k] of up to 16 i, or [k][i] where the source lies across. */
static inline __attribute__((always_inline)) void
put_tile(uint32_t *to, const struct matrix_source *source, enum dtype dtype, int parts,
         int64_t first, int count, int64_t k, int depth)
{
    int64_t stride = source->stride;
    if (source->across) {
        __mmask16 mask = mask_of(count);
        for (int i = 0; i < LANES; i++, to += LANES) {
            int64_t low = (k + i) * stride + first;
            prefetch(source->data, dtype, low + MATRIX_STEP * stride);
            prefetch(source->data, dtype, low + (MATRIX_STEP + LANES) * stride);
            put_words(
                to, parts, load(source->data, dtype, low, i < depth ? mask : 0),
                load(source->data, dtype, low + LANES * stride, i + LANES < depth ? mask : 0));
        }
        return;
    }
    __mmask16 low_mask = mask_of(depth), high_mask = mask_of(depth - LANES);
    for (int i = 0; i < LANES; i++, to += LANES) {
        int64_t low = (first + i) * stride + k;
        prefetch(source->data, dtype, low + 2 * MATRIX_STEP);
        prefetch(source->data, dtype, low + 2 * MATRIX_STEP + LANES);
        put_words(to, parts, load(source->data, dtype, low, i < count ? low_mask : 0),
                  load(source->data, dtype, low + LANES, i < count ? high_mask : 0));
    }
}

/* In place, [16, 16]: exchanges blocks of 1, 2, 4, 8. */
static void transpose_tile(uint32_t *words)
{
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_si512(words + (ptrdiff_t)i * LANES);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
            b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        _mm512_storeu_si512(words + (ptrdiff_t)j * LANES,
                            _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88));
        _mm512_storeu_si512(words + (ptrdiff_t)(j + 8) * LANES,
                            _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd));
    }
}

static inline __attribute__((always_inline)) void pack(uint32_t *to,
                                                       const struct matrix_source *source,
                                                       enum dtype dtype, bool right, int count,
                                                       int depth)
{
    int parts = matrix_parts(dtype);
    for (int k = 0; k < depth; k += MATRIX_STEP, to += (ptrdiff_t)parts * 2 * TILE_WORDS)
        for (int tile = 0; tile * LANES < count; tile++) {
            uint32_t *words = to + (ptrdiff_t)tile * TILE_WORDS;
            put_tile(words, source, dtype, parts, tile * LANES, count - tile * LANES, k, depth - k);
            if (source->across != right)
                for (int part = 0; part < parts; part++)
                    transpose_tile(words + (ptrdiff_t)part * 2 * TILE_WORDS);
        }
}

void matrix_pack(void *to, const struct matrix_source *source, bool right, int count, int depth)
{
    if (source->dtype == DTYPE_F32)
        pack(to, source, DTYPE_F32, right, count, depth);
    else if (source->dtype == DTYPE_BF16)
        pack(to, source, DTYPE_BF16, right, count, depth);
    else
        pack(to, source, DTYPE_F16, right, count, depth);
}
