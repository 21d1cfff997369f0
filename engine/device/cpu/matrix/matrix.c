#include "engine/device/cpu/matrix/matrix.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux gives the registers of tiles to processes that ask for them (asm/prctl.h). */
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
/* Bits of cpuid leaf 7, register EDX. */
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };

bool matrix_open(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) || !(d & AMX_TILE))
        return false;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* The operand of ldtilecfg: all eight tiles have 16 rows of 64 bytes. */
struct tile_shapes {
    uint8_t palette, first_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};

void matrix_enter(void)
{
    static const struct tile_shapes shapes = {.palette = 1,
                                              .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                              .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}

void matrix_leave(void)
{
    /* Stores that passed the caches are seen by other threads before what this one does next. */
    _mm_sfence();
    _tile_release();
}

/* Tiles 0 to 3 hold sums, 4 and 5 rows of the left operand, 6 and 7 columns of the right one. */
struct loaded {
    int a, b; /* the parts in the tiles of operands */
};

/* Adds part i of the left times part j of the right operand, one of which is loaded already or both
 * not. A product begins as soon as its tiles are there. */
static inline __attribute__((always_inline)) void
add_term(struct loaded *loaded, const char *a, const char *b, int i, int j, bool rows, bool columns)
{
    bool load_a = loaded->a != i, load_b = loaded->b != j;
    a += i * 2 * MATRIX_TILE_BYTES;
    b += j * 2 * MATRIX_TILE_BYTES;
    *loaded = (struct loaded){i, j};
    if (load_a)
        _tile_loadd(4, a, 64);
    if (load_b)
        _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (!load_a && rows)
        _tile_dpbf16ps(2, 5, 6);
    if (load_b && columns)
        _tile_loadd(7, b + MATRIX_TILE_BYTES, 64);
    if (columns)
        _tile_dpbf16ps(1, 4, 7);
    if (load_a && rows) {
        _tile_loadd(5, a + MATRIX_TILE_BYTES, 64);
        _tile_dpbf16ps(2, 5, 6);
    }
    if (rows && columns)
        _tile_dpbf16ps(3, 5, 7);
}

/* The share of one of `steps` steps. */
static void do_beside(struct matrix_beside *beside, int step, int steps)
{
    struct matrix_results *results = &beside->results;
    const struct matrix_packing *packing = &beside->packing;
    if (results->rows)
        matrix_store(results, results->rows * step / steps, results->rows * (step + 1) / steps);
    if (packing->depth > step * MATRIX_STEP) {
        int depth = packing->depth - step * MATRIX_STEP;
        struct matrix_source source = packing->source;
        int64_t element = source.dtype == DTYPE_F32 ? 4 : 2;
        source.data = (const char *)source.data + step * MATRIX_STEP * element;
        matrix_pack((char *)packing->to +
                        (ptrdiff_t)step * MATRIX_TILE_BYTES * 2 * matrix_parts(source.dtype),
                    &source, false, packing->count, depth < MATRIX_STEP ? depth : MATRIX_STEP);
    }
}

/* The order keeps one operand in its tiles from term to term, and small terms come first. It is the
 * same for all types, so that a number has the same bits whatever type holds it. */
static inline __attribute__((always_inline)) void
add_steps(const struct matrix_panels *panels, int steps, int a_parts, int b_parts, bool rows,
          bool columns, struct matrix_beside *beside, float *sums)
{
    const char *a = panels->a, *b = panels->b;
    for (int step = 0; step < steps; step++) {
        do_beside(beside, step, steps);
        struct loaded loaded = {-1, -1};
        if (b_parts > 2)
            add_term(&loaded, a, b, 0, 2, rows, columns);
        if (b_parts > 1)
            add_term(&loaded, a, b, 0, 1, rows, columns);
        if (a_parts > 1 && b_parts > 1)
            add_term(&loaded, a, b, 1, 1, rows, columns);
        if (a_parts > 1)
            add_term(&loaded, a, b, 1, 0, rows, columns);
        if (a_parts > 2)
            add_term(&loaded, a, b, 2, 0, rows, columns);
        add_term(&loaded, a, b, 0, 0, rows, columns);
        /* For nothing but speed: where tiles were not stored for about 140 products, the next
         * store waits for 50 products' time (measured on a Xeon with AMX; no document tells it). */
        _tile_stored(4, sums, 0);
        a += a_parts * 2 * MATRIX_TILE_BYTES;
        b += b_parts * 2 * MATRIX_TILE_BYTES;
    }
}

static void store_sums(float *sums, bool rows, bool columns)
{
    int64_t stride = MATRIX_PANEL * sizeof(float);
    _tile_stored(0, sums, stride);
    if (columns)
        _tile_stored(1, sums + 16, stride);
    if (rows)
        _tile_stored(2, sums + 16 * MATRIX_PANEL, stride);
    if (rows && columns)
        _tile_stored(3, sums + 16 * MATRIX_PANEL + 16, stride);
}

void matrix_multiply(const struct matrix_panels *panels, int steps, float *sums,
                     struct matrix_beside *beside)
{
    const struct matrix_panels *p = panels;
    bool rows = p->rows > 16, columns = p->columns > 16;
    /* gcc 12 does not know that loading a tile reads memory. */
    __asm__ volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (rows && columns && p->a_parts == 3 && p->b_parts == 3)
        add_steps(p, steps, 3, 3, true, true, beside, sums);
    else if (rows && columns && p->a_parts == 1 && p->b_parts == 1)
        add_steps(p, steps, 1, 1, true, true, beside, sums);
    else
        add_steps(p, steps, p->a_parts, p->b_parts, rows, columns, beside, sums);
    store_sums(sums, rows, columns);
    if (steps == 0)
        do_beside(beside, 0, 1);
}

/* As kernels round to bf16: to nearest, ties to even, NaN quiet. */
static inline __m256i to_bf16(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(_mm512_srli_epi32(sum, 16), nan, quiet));
}

static inline void store_floats(const struct matrix_target *target, int64_t index, __mmask16 mask,
                                __m512 x)
{
    float *out = (float *)target->out + index;
    bool line = mask == 0xffffu && ((uintptr_t)out & 63) == 0;
    if (line && target->passes_caches)
        _mm512_stream_ps(out, x);
    else
        _mm512_mask_storeu_ps(out, mask, x);
}

static inline void store(const struct matrix_target *target, int64_t index, __mmask16 mask,
                         __m512 x)
{
    if (target->dtype == DTYPE_F32)
        store_floats(target, index, mask, x);
    else
        _mm256_mask_storeu_epi16((uint16_t *)target->out + index, mask,
                                 target->dtype == DTYPE_BF16
                                     ? to_bf16(x)
                                     : _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

void matrix_store(struct matrix_results *results, int first, int end)
{
    const struct matrix_target *t = &results->target;
    const float *sums = results->sums + (ptrdiff_t)first * MATRIX_PANEL;
    int columns = results->columns;
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    __mmask16 missing = 0;
    for (int row = first; row < end; row++, sums += MATRIX_PANEL)
        for (int column = 0; column < columns; column += 16) {
            int64_t index = row * t->stride + column;
            int count = columns - column;
            __mmask16 mask = (__mmask16)(count < 16 ? (1u << count) - 1 : 0xffffu);
            __m512 sum = _mm512_loadu_ps(sums + column);
            __m512i bits = _mm512_and_si512(_mm512_castps_si512(sum), exponent);
            __mmask16 finite = _mm512_mask_cmplt_epu32_mask(mask, bits, exponent);
            missing |= finite ^ mask;
            if (t->accumulate)
                sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, (float *)t->out + index), sum);
            else if (t->bias)
                sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, t->bias + column), sum);
            store(t, index, finite, sum);
        }
    results->finite = results->finite && !missing;
}
