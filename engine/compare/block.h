/* Blocks of two tensors in the form that the inner loops of the comparison read: values of one
 * type without gaps, and the bits of the same elements in the coarser of the two dtypes. Internal
 * to engine/compare; host memory; any thread (a block belongs to one). */
#ifndef ENGINE_COMPARE_BLOCK_H
#define ENGINE_COMPARE_BLOCK_H

#include "engine/tensor/tensor.h"

enum {
    BLOCK_ELEMENTS = 2048, /* two blocks of float values and their buffers stay in a 48 KiB L1 */
    BLOCK_LANES = 16,      /* loops run in steps of this many elements, whatever the machine */
};

/* Values may be read as bits and back. */
typedef uint32_t __attribute__((may_alias)) block_word;
typedef uint64_t __attribute__((may_alias)) block_wide_word;

/* What is compared, and how; fixed for one pass. */
struct block_source {
    const struct tensor *reference, *test;
    double scale;      /* the test's values are divided by it */
    enum dtype coarse; /* the dtype in whose units distances are counted: the larger epsilon */
    bool wide;         /* float cannot hold the values: use struct wide_block */
    int key_shift;     /* unused low bits of a key word: distance in ulp = key distance >> shift */
};

/* Fills the derived fields. Wide when a side is f64 or integer, or when dividing by `scale` is not
 * exact in float (not a power of two from 1 to 2^64). */
struct block_source block_source_of(const struct tensor *reference, const struct tensor *test,
                                    double scale);

/* `count` elements from flat index `start`, all of it padded with zeros to a multiple of
 * BLOCK_LANES. Values and keys point into the tensors where these have the form already, and into
 * the buffers otherwise.
 *
 * A key is the element in the coarser dtype, its sign in the highest bit. With a scale 16-bit keys
 * are taken at the scale of the side that is stored in the coarser dtype (the test's if equal):
 * gradients of a 16-bit run would underflow if they were unscaled in their own type. In wider
 * types, whose range is enough, both are taken as the values that are compared. */
struct block {
    int64_t start;
    int count, padded;
    int ahead[2]; /* elements ahead that are worth prefetching, reference and test; 0 = none */
    const float *reference, *test;
    const block_word *reference_key, *test_key;
    float reference_buffer[BLOCK_ELEMENTS], test_buffer[BLOCK_ELEMENTS];
    block_word reference_key_buffer[BLOCK_ELEMENTS], test_key_buffer[BLOCK_ELEMENTS];
    char raw[BLOCK_ELEMENTS * 8]; /* gathered rows of a strided tensor */
};

/* The same in double, for f64, integers and scales that are not powers of two. */
struct wide_block {
    int64_t start;
    int count, padded;
    double reference[BLOCK_ELEMENTS], test[BLOCK_ELEMENTS];
    block_wide_word reference_key[BLOCK_ELEMENTS], test_key[BLOCK_ELEMENTS];
    char raw[BLOCK_ELEMENTS * 8];
};

/* Loads elements [start, start + count), count <= BLOCK_ELEMENTS, of a source that is not wide. */
void block_load(const struct block_source *source, int64_t start, int count, struct block *block);
/* The same for every source. */
void wide_block_load(const struct block_source *source, int64_t start, int count,
                     struct wide_block *block);

#endif
