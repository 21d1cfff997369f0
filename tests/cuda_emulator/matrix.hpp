// The matrix units on the host. First nvcuda::wmma: products of 16 x 16 x 16 by the lanes of a warp
// together. Which lane has which elements of a fragment is no kernel's business, so here it is
// another order than on any GPU. Found out: lanes that do not take part, and matrices that are not
// aligned as CUDA demands.
#ifndef TESTS_CUDA_EMULATOR_MATRIX_HPP
#define TESTS_CUDA_EMULATOR_MATRIX_HPP

#include "tests/cuda_emulator/kernels.hpp"

extern "C" {
#include "engine/tensor/dtype.h"
}

#include <type_traits>

struct __nv_bfloat16 {
    uint16_t bits;
};
struct __half {
    uint16_t bits;
};

namespace nvcuda
{
namespace wmma
{
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

inline float widen(__nv_bfloat16 number)
{
    return __uint_as_float((unsigned)number.bits << 16);
}
inline float widen(__half number)
{
    return f16_to_float(number.bits);
}
inline float widen(float number)
{
    return number;
}

enum { SIDE = 16, EACH = SIDE * SIDE / 32 };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    static_assert(M == SIDE && N == SIDE && K == SIDE, "the only shape that is used");
    static const int num_elements = EACH;
    T x[EACH];
};

/* Element `i` of a lane is at this place of the matrix, row by row. */
inline int place_of(int lane, int i)
{
    return (i * 32 + lane * 5 % 32 + 7) % (SIDE * SIDE);
}

template <typename Fragment> void fill_fragment(Fragment &to, float number)
{
    for (int i = 0; i < EACH; i++)
        to.x[i] = number;
}

/* Every lane must name the same matrix, 32 bytes aligned, with rows of whole 16 bytes. */
template <typename T> void check_matrix(const T *from, unsigned stride)
{
    const uint64_t *all = emulator::exchange(0xffffffffu, (uint64_t)(uintptr_t)from);
    if ((uintptr_t)from % 32 != 0 || stride * sizeof(T) % 16 != 0)
        emulator::complain("a matrix that is not aligned");
    if (all[0] != (uint64_t)(uintptr_t)from)
        emulator::complain("lanes with different matrices");
}

template <typename Use, typename T, typename Layout>
void load_matrix_sync(fragment<Use, SIDE, SIDE, SIDE, T, Layout> &to, const T *from,
                      unsigned stride)
{
    check_matrix(from, stride);
    bool by_columns = std::is_same<Layout, col_major>::value;
    for (int i = 0; i < EACH; i++) {
        int place = place_of(emulator::lane(), i), row = place / SIDE, column = place % SIDE;
        to.x[i] = by_columns ? from[column * stride + row] : from[row * stride + column];
    }
}

inline void load_matrix_sync(fragment<accumulator, SIDE, SIDE, SIDE, float> &to, const float *from,
                             unsigned stride, layout_t layout)
{
    check_matrix(from, stride);
    for (int i = 0; i < EACH; i++) {
        int place = place_of(emulator::lane(), i), row = place / SIDE, column = place % SIDE;
        to.x[i] =
            layout == mem_col_major ? from[column * stride + row] : from[row * stride + column];
    }
}

inline void store_matrix_sync(float *to, const fragment<accumulator, SIDE, SIDE, SIDE, float> &from,
                              unsigned stride, layout_t layout)
{
    check_matrix(to, stride);
    for (int i = 0; i < EACH; i++) {
        int place = place_of(emulator::lane(), i), row = place / SIDE, column = place % SIDE;
        to[layout == mem_col_major ? column * stride + row : row * stride + column] = from.x[i];
    }
    emulator::exchange(0xffffffffu, 0);
}

/* The matrix whose parts the lanes have. */
template <typename Fragment> void gather(const Fragment *const *lanes, float (&all)[SIDE * SIDE])
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < EACH; i++)
            all[place_of(lane, i)] = widen(lanes[lane]->x[i]);
}

template <typename A, typename B, typename C>
void multiply(const A *const *a, const B *const *b, const C *const *c, C *const *to)
{
    float left[SIDE * SIDE], right[SIDE * SIDE], sums[SIDE * SIDE];
    gather(a, left);
    gather(b, right);
    gather(c, sums);
    for (int row = 0; row < SIDE; row++)
        for (int k = 0; k < SIDE; k++)
            for (int column = 0; column < SIDE; column++)
                sums[row * SIDE + column] += left[row * SIDE + k] * right[k * SIDE + column];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < EACH; i++)
            to[lane]->x[i] = sums[place_of(lane, i)];
}

/* When all lanes are there, the first one multiplies for all of them; none goes on before. */
template <typename T, typename LayoutA, typename LayoutB>
void mma_sync(fragment<accumulator, SIDE, SIDE, SIDE, float> &to,
              const fragment<matrix_a, SIDE, SIDE, SIDE, T, LayoutA> &a,
              const fragment<matrix_b, SIDE, SIDE, SIDE, T, LayoutB> &b,
              const fragment<accumulator, SIDE, SIDE, SIDE, float> &c)
{
    typedef fragment<matrix_a, SIDE, SIDE, SIDE, T, LayoutA> left;
    typedef fragment<matrix_b, SIDE, SIDE, SIDE, T, LayoutB> right;
    typedef fragment<accumulator, SIDE, SIDE, SIDE, float> sum;
    struct operands {
        const left *a;
        const right *b;
        const sum *c;
        sum *to;
    } mine = {&a, &b, &c, &to};
    const uint64_t *lanes = emulator::exchange(0xffffffffu, (uint64_t)(uintptr_t)&mine);
    if (emulator::lane() == 0) {
        const left *as[32];
        const right *bs[32];
        const sum *cs[32];
        sum *tos[32];
        for (int lane = 0; lane < 32; lane++) {
            const operands *its = (const operands *)(uintptr_t)lanes[lane];
            as[lane] = its->a;
            bs[lane] = its->b;
            cs[lane] = its->c;
            tos[lane] = its->to;
        }
        multiply(as, bs, cs, tos);
    }
    emulator::exchange(0xffffffffu, 0);
}
} // namespace wmma
} // namespace nvcuda

// The instructions themselves, whose fragments lie in registers as NVIDIA's description of PTX has
// it
// ("Matrix Fragments for mma.m16n8k16", "ldmatrix").
namespace emulator
{
/* mma.sync.aligned.m16n8k16.row.col.f32: sums [16, 8] += a [16, 16] times b [16, 8]. */
struct fragments {
    float *sums;
    const unsigned *a, *b;
};

template <typename T> float half_of(const unsigned *words, int i)
{
    T number;
    number.bits = (uint16_t)(words[i / 2] >> (i % 2 * 16));
    return nvcuda::wmma::widen(number);
}

/* Element (row, k) of a is number i of the lane's eight, and so on. */
template <typename T> void multiply_fragments(const uint64_t *lanes)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const fragments *its = (const fragments *)(uintptr_t)lanes[lane];
        int group = lane / 4, two = lane % 4 * 2;
        for (int i = 0; i < 8; i++)
            a[group + i / 2 % 2 * 8][two + i % 2 + i / 4 * 8] = half_of<T>(its->a, i);
        for (int i = 0; i < 4; i++)
            b[two + i % 2 + i / 2 * 8][group] = half_of<T>(its->b, i);
    }
    for (int lane = 0; lane < 32; lane++) {
        const fragments *its = (const fragments *)(uintptr_t)lanes[lane];
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 16; k++)
                its->sums[i] += a[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
    }
}

template <typename T> void multiply(float sums[4], const unsigned a[4], const unsigned b[2])
{
    fragments mine = {sums, a, b};
    const uint64_t *lanes = exchange(0xffffffffu, (uint64_t)(uintptr_t)&mine);
    if (lane() == 0)
        multiply_fragments<T>(lanes);
    exchange(0xffffffffu, 0);
}

/* ldmatrix.sync.aligned.m8n8.x4.shared.b16, with .trans if `across`: lane 8 q + r names row r of
 * matrix q. */
inline void read_matrices(unsigned to[4], const void *row, bool across)
{
    const uint64_t *rows = exchange(0xffffffffu, (uint64_t)(uintptr_t)row);
    int first = across ? lane() % 4 * 2 : lane() / 4, column = across ? lane() / 4 : lane() % 4 * 2;
    if ((uintptr_t)row % 16 != 0)
        complain("a row of a matrix that is not aligned");
    if ((const char *)row < shared_memory() ||
        (const char *)row + 16 > shared_memory() + (227 << 10))
        complain("a row of a matrix that is not in shared memory");
    for (int q = 0; q < 4; q++) {
        const uint16_t *one = (const uint16_t *)(uintptr_t)rows[8 * q + first];
        const uint16_t *other = (const uint16_t *)(uintptr_t)rows[8 * q + first + across];
        to[q] = one[column] | (unsigned)other[column + !across] << 16;
    }
}
} // namespace emulator

#endif
