#include "engine/compare/block.h"

#include "engine/compare/kernel.h"

#include <math.h>

enum { PREFETCH_ELEMENTS = 2048 }; /* 8 KiB: the hardware prefetcher stops at each 4 KiB page */

static bool narrow_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16;
}

static bool scale_is_exact(double scale)
{
    int exponent;
    return scale >= 1 && scale <= 0x1p64 && frexp(scale, &exponent) == 0.5;
}

static int key_shift_of(enum dtype coarse, bool wide)
{
    int bits = wide ? 64 : 32;
    if (coarse == DTYPE_BF16 || coarse == DTYPE_F16)
        return bits - 16;
    return coarse == DTYPE_F32 ? bits - 32 : 0;
}

struct block_source block_source_of(const struct tensor *reference, const struct tensor *test,
                                    double scale)
{
    struct block_source source = {.reference = reference, .test = test, .scale = scale};
    bool reference_coarser = dtype_epsilon(reference->dtype) > dtype_epsilon(test->dtype);
    source.coarse = reference_coarser ? reference->dtype : test->dtype;
    source.wide =
        !narrow_dtype(reference->dtype) || !narrow_dtype(test->dtype) || !scale_is_exact(scale);
    source.key_shift = key_shift_of(source.coarse, source.wide);
    return source;
}

/* The elements as one run in memory: in place, or gathered row by row into `buffer`. */
static const void *fetch(const struct tensor *tensor, int64_t start, int count, char *buffer)
{
    size_t size = dtype_size(tensor->dtype);
    const char *data = tensor->data;
    if (tensor_is_contiguous(tensor))
        return data + (size_t)start * size;
    int64_t columns = shape_columns(tensor->shape);
    int64_t row = start / columns, column = start % columns;
    if (column + count <= columns)
        return data + (size_t)(row * tensor->row_stride + column) * size;
    for (int done = 0; done < count; row++, column = 0) {
        int64_t rest = columns - column;
        int part = rest < count - done ? (int)rest : count - done;
        memcpy(buffer + (size_t)done * size,
               data + (size_t)(row * tensor->row_stride + column) * size, (size_t)part * size);
        done += part;
    }
    return buffer;
}

static void clear_tail(void *buffer, int count, int padded, size_t size)
{
    memset((char *)buffer + (size_t)count * size, 0, (size_t)(padded - count) * size);
}

/* Values of one side as float. */
static const float *load_values(enum dtype dtype, const void *raw, double factor,
                                const struct block *block, float *buffer)
{
    if (dtype == DTYPE_F32 && factor == 1 && block->padded == block->count)
        return raw;
    if (dtype == DTYPE_F32)
        kernel_scale(raw, (float)factor, block->count, buffer);
    else
        kernel_widen(raw, dtype == DTYPE_F16, (float)factor, block->count, buffer);
    clear_tail(buffer, block->count, block->padded, sizeof(float));
    return buffer;
}

/* Whether the floats themselves serve as keys. */
static bool values_are_keys(enum dtype coarse, enum dtype own)
{
    return coarse == DTYPE_F32 || (coarse == DTYPE_BF16 && own == DTYPE_BF16);
}

/* Keys of one side: `values` are its elements, at the scale at which keys are compared. */
static const block_word *load_keys(enum dtype coarse, enum dtype own, const void *raw,
                                   const float *values, const struct block *block,
                                   block_word *buffer)
{
    if (values_are_keys(coarse, own))
        return (const block_word *)values;
    if (coarse == DTYPE_F16 && own == DTYPE_F16)
        kernel_shift_up(raw, block->count, buffer);
    else
        kernel_round(values, coarse == DTYPE_F16, block->count, buffer);
    clear_tail(buffer, block->count, block->padded, sizeof(block_word));
    return buffer;
}

static int padded_count(int count)
{
    return (count + BLOCK_LANES - 1) / BLOCK_LANES * BLOCK_LANES;
}

/* Keys where the values stand at another scale than the keys: multiply first, then round. */
static const block_word *load_scaled_keys(enum dtype coarse, enum dtype own, const void *raw,
                                          double factor, const struct block *block,
                                          block_word *buffer)
{
    float values[BLOCK_ELEMENTS];
    const float *scaled = load_values(own, raw, factor, block, values);
    if (factor != 1)
        own = DTYPE_F32; /* no longer representable in its own type, perhaps */
    if (!values_are_keys(coarse, own))
        return load_keys(coarse, own, raw, scaled, block, buffer);
    memcpy(buffer, scaled, (size_t)block->padded * sizeof(float));
    return buffer;
}

void block_load(const struct block_source *source, int64_t start, int count, struct block *block)
{
    block->start = start;
    block->count = count;
    block->padded = padded_count(count);
    enum dtype reference = source->reference->dtype, test = source->test->dtype;
    const void *reference_raw = fetch(source->reference, start, count, block->raw);
    const void *test_raw =
        fetch(source->test, start, count, block->raw + BLOCK_ELEMENTS * sizeof(float));
    block->reference = load_values(reference, reference_raw, 1, block, block->reference_buffer);
    block->test = load_values(test, test_raw, 1 / source->scale, block, block->test_buffer);
    block->ahead[0] = block->reference == reference_raw ? PREFETCH_ELEMENTS : 0;
    block->ahead[1] = block->test == test_raw ? PREFETCH_ELEMENTS : 0;

    if (source->scale == 1 || source->coarse == DTYPE_F32 || source->coarse != test) {
        block->reference_key = load_keys(source->coarse, reference, reference_raw, block->reference,
                                         block, block->reference_key_buffer);
        enum dtype own = source->scale == 1 ? test : DTYPE_F32;
        block->test_key =
            load_keys(source->coarse, own, test_raw, block->test, block, block->test_key_buffer);
        return;
    }
    block->reference_key = load_scaled_keys(source->coarse, reference, reference_raw, source->scale,
                                            block, block->reference_key_buffer);
    block->test_key =
        load_scaled_keys(source->coarse, test, test_raw, 1, block, block->test_key_buffer);
}

static uint64_t integer_key(enum dtype dtype, const void *raw, int index)
{
    int64_t number = dtype == DTYPE_I64 ? ((const int64_t *)raw)[index]
                                        : (int64_t)dtype_load(dtype, raw, (size_t)index);
    return number < 0 ? (UINT64_C(1) << 63) | (UINT64_C(0) - (uint64_t)number) : (uint64_t)number;
}

/* `number` rounded to `dtype`, its sign in bit 63. */
static uint64_t float_key(enum dtype dtype, double number)
{
    union {
        uint64_t wide;
        uint32_t word;
        uint16_t half;
    } bits = {0};
    dtype_store(dtype, &bits, 0, number);
    size_t size = dtype_size(dtype);
    return size == 2   ? (uint64_t)bits.half << 48
           : size == 4 ? (uint64_t)bits.word << 32
                       : bits.wide;
}

static void load_wide_keys(enum dtype coarse, const struct tensor *tensor, const void *raw,
                           const double *values, int count, double key_scale, block_wide_word *keys)
{
    if (!dtype_is_float(coarse))
        for (int i = 0; i < count; i++)
            keys[i] = integer_key(tensor->dtype, raw, i);
    else if (coarse == DTYPE_F64 && key_scale == 1)
        memcpy(keys, values, (size_t)count * sizeof(double));
    else if (coarse == DTYPE_F32 && key_scale == 1)
        kernel_round_wide(values, count, keys);
    else
        for (int i = 0; i < count; i++)
            keys[i] = float_key(coarse, values[i] * key_scale);
}

/* Values divided by `scale`; keys of the stored values times `key_scale`. */
static void load_wide_side(const struct tensor *tensor, int64_t start, int count, double scale,
                           double key_scale, enum dtype coarse, char *scratch, double *values,
                           block_wide_word *keys)
{
    const void *raw = fetch(tensor, start, count, scratch);
    if (tensor->dtype == DTYPE_F32)
        kernel_to_double(raw, count, values);
    else
        dtype_convert(values, DTYPE_F64, raw, tensor->dtype, (size_t)count);
    load_wide_keys(coarse, tensor, raw, values, count, key_scale, keys);
    for (int i = 0; scale != 1 && i < count; i++)
        values[i] /= scale;
}

void wide_block_load(const struct block_source *source, int64_t start, int count,
                     struct wide_block *block)
{
    block->start = start;
    block->count = count;
    block->padded = padded_count(count);
    bool at_test = dtype_size(source->coarse) == 2 && source->coarse == source->test->dtype;
    load_wide_side(source->reference, start, count, 1, at_test ? source->scale : 1, source->coarse,
                   block->raw, block->reference, block->reference_key);
    load_wide_side(source->test, start, count, source->scale, at_test ? 1 : 1 / source->scale,
                   source->coarse, block->raw, block->test, block->test_key);
    clear_tail(block->reference, count, block->padded, sizeof(double));
    clear_tail(block->test, count, block->padded, sizeof(double));
    clear_tail(block->reference_key, count, block->padded, sizeof(uint64_t));
    clear_tail(block->test_key, count, block->padded, sizeof(uint64_t));
}
