/* One pass over two tensors.
 *
 * Error: every term is formed in double from exact inputs (relative error <= 3 * 2^-53), a lane
 * adds BLOCK_ELEMENTS / BLOCK_LANES = 128 of them, then 16 lanes, CHUNK_BLOCKS blocks and the
 * chunks are added: for n elements about 3 + 128 + 16 + 32 + n / 65536 roundings on the longest
 * path, so a sum of squares is off by at most 2e-14 of itself up to a million elements and by
 * 3e-13 for 2^27; the typical error is its square root. Chunks have a fixed size and are added in
 * order: the result does not depend on the number of threads.
 *
 * f64 values beyond about 1e154 overflow the sums to infinity, which judges as a failure. */
#include "engine/base/memory.h"
#include "engine/compare/compare.h"
#include "engine/compare/kernel.h"
#include "engine/compare/metrics_device.h"

#include <math.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { CHUNK_BLOCKS = 32, CHUNK_ELEMENTS = CHUNK_BLOCKS * BLOCK_ELEMENTS };

/* What a chunk, or a tensor, adds up to. */
struct partial {
    struct kernel_sums sums;
    int64_t finite; /* pairs of which both sides are finite */
    int64_t nan_reference, nan_test, infinity_reference, infinity_test;
    int64_t best_start; /* the first block with sums.largest; -1 = no finite pair yet */
};

static void count_one(double number, int64_t *nan_count, int64_t *infinity_count)
{
    *nan_count += isnan(number) != 0;
    *infinity_count += isinf(number) != 0;
}

/* Counts a pair that is not finite. True if it is to be left out. */
static bool leave_out(double reference, double test, struct partial *partial)
{
    if (isfinite(reference) && isfinite(test))
        return false;
    count_one(reference, &partial->nan_reference, &partial->infinity_reference);
    count_one(test, &partial->nan_test, &partial->infinity_test);
    return true;
}

/* Adds the sums of one block to those of a chunk, or of a chunk to those of the tensor. */
static void add(struct partial *to, const struct partial *from)
{
    to->sums.differences += from->sums.differences;
    to->sums.references += from->sums.references;
    to->sums.tests += from->sums.tests;
    to->sums.products += from->sums.products;
    to->sums.different += from->sums.different;
    if (from->sums.distance > to->sums.distance)
        to->sums.distance = from->sums.distance;
    if (from->best_start >= 0 && (to->best_start < 0 || from->sums.largest > to->sums.largest)) {
        to->sums.largest = from->sums.largest;
        to->best_start = from->best_start;
    }
    to->finite += from->finite;
    to->nan_reference += from->nan_reference;
    to->nan_test += from->nan_test;
    to->infinity_reference += from->infinity_reference;
    to->infinity_test += from->infinity_test;
}

static void settle(struct partial *partial, int64_t start, int count)
{
    partial->finite = count;
    partial->best_start = start;
}

static bool sums_finite(const struct kernel_sums *sums)
{
    return isfinite(sums->references) && isfinite(sums->tests) && isfinite(sums->differences);
}

/* Blocks with NaN or infinities are rare: their pairs become 0, 0 in copies and are summed again.
 * The keys stay as they are: an infinity next to the largest number is one unit away. */
static void sum_block(const struct block_source *source, int64_t start, int count,
                      struct partial *partial)
{
    struct block block;
    block_load(source, start, count, &block);
    *partial = (struct partial){.best_start = -1};
    kernel_sum(block.reference, block.test, block.reference_key, block.test_key, block.padded,
               block.ahead, &partial->sums);
    settle(partial, start, count);
    if (sums_finite(&partial->sums))
        return;
    /* The keys may be the values: they are still needed as they were, in other memory. */
    float reference[BLOCK_ELEMENTS] = {0}, test[BLOCK_ELEMENTS] = {0};
    const int none[2] = {0, 0};
    int left_out = 0;
    for (int i = 0; i < count; i++) {
        bool out = leave_out((double)block.reference[i], (double)block.test[i], partial);
        left_out += out;
        reference[i] = out ? 0 : block.reference[i];
        test[i] = out ? 0 : block.test[i];
    }
    kernel_sum(reference, test, block.reference_key, block.test_key, block.padded, none,
               &partial->sums);
    settle(partial, left_out < count ? start : -1, count - left_out);
}

static void sum_wide_block(const struct block_source *source, int64_t start, int count,
                           struct partial *partial)
{
    struct wide_block block;
    wide_block_load(source, start, count, &block);
    *partial = (struct partial){.best_start = -1};
    kernel_sum_wide(block.reference, block.test, block.reference_key, block.test_key, block.padded,
                    &partial->sums);
    settle(partial, start, count);
    if (sums_finite(&partial->sums))
        return;
    int left_out = 0;
    for (int i = 0; i < count; i++)
        if (leave_out(block.reference[i], block.test[i], partial)) {
            block.reference[i] = block.test[i] = 0;
            left_out++;
        }
    kernel_sum_wide(block.reference, block.test, block.reference_key, block.test_key, block.padded,
                    &partial->sums);
    settle(partial, left_out < count ? start : -1, count - left_out);
}

static void sum_chunk(const struct block_source *source, int64_t start, int64_t end,
                      struct partial *chunk)
{
    *chunk = (struct partial){.best_start = -1};
    for (int64_t at = start; at < end; at += BLOCK_ELEMENTS) {
        int count = end - at < BLOCK_ELEMENTS ? (int)(end - at) : BLOCK_ELEMENTS;
        struct partial block;
        if (source->wide)
            sum_wide_block(source, at, count, &block);
        else
            sum_block(source, at, count, &block);
        add(chunk, &block);
    }
}

static int thread_count(int asked, int64_t chunks)
{
#ifdef _OPENMP
    int count = asked > 0 ? asked : omp_get_max_threads();
#else
    int count = asked > 0 ? asked : 1;
#endif
    return count < chunks ? count : (int)(chunks > 0 ? chunks : 1);
}

static void sum_tensor(const struct interrupt *interrupt, const struct block_source *source,
                       int64_t count, int threads, struct partial *all)
{
    int64_t chunks = (count + CHUNK_ELEMENTS - 1) / CHUNK_ELEMENTS;
    struct partial *parts = memory_zeroed((size_t)chunks, sizeof(*parts));
    threads = thread_count(threads, chunks);
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
#endif
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t start = chunk * CHUNK_ELEMENTS, end = start + CHUNK_ELEMENTS;
        if (interrupt_asked(interrupt))
            continue;
        sum_chunk(source, start, end < count ? end : count, &parts[chunk]);
    }
    *all = (struct partial){.best_start = -1};
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        add(all, &parts[chunk]);
    free(parts);
}

/* The element with the largest difference: the pass kept only its block. */
static void find_largest(const struct block_source *source, int64_t count,
                         const struct partial *all, struct metrics *metrics)
{
    metrics->max_index = -1;
    if (all->best_start < 0)
        return;
    int64_t rest = count - all->best_start;
    struct wide_block block;
    wide_block_load(source, all->best_start, rest < BLOCK_ELEMENTS ? (int)rest : BLOCK_ELEMENTS,
                    &block);
    double largest = -1;
    for (int i = 0; i < block.count; i++) {
        double difference = fabs(block.reference[i] - block.test[i]);
        if (!isfinite(block.reference[i]) || !isfinite(block.test[i]) || difference <= largest)
            continue;
        largest = difference;
        metrics->max_index = block.start + i;
        metrics->max_reference = block.reference[i];
        metrics->max_test_value = block.test[i];
    }
    metrics->max_difference = largest;
}

void metrics_compute(const struct tensor *reference, const struct tensor *test, double scale,
                     int threads, struct metrics *metrics)
{
    metrics_compute_unless(NULL, reference, test, scale, threads, metrics);
}

bool metrics_compute_unless(const struct interrupt *interrupt, const struct tensor *reference,
                            const struct tensor *test, double scale, int threads,
                            struct metrics *metrics)
{
    struct block_source source = block_source_of(reference, test, scale);
    int64_t count = shape_elements(reference->shape);
    struct partial all;
    sum_tensor(interrupt, &source, count, threads, &all);
    const struct device_sums sums = {
        .differences = all.sums.differences,
        .references = all.sums.references,
        .tests = all.sums.tests,
        .products = all.sums.products,
        .finite = all.finite,
        .nan_reference = all.nan_reference,
        .nan_test = all.nan_test,
        .infinity_reference = all.infinity_reference,
        .infinity_test = all.infinity_test,
        .different = all.sums.different,
        .distance = all.sums.distance >> source.key_shift,
    };
    *metrics = metrics_of_sums(&sums, count);
    find_largest(&source, count, &all, metrics);
    return !interrupt_asked(interrupt); /* it stays: nothing was left out if it is not there now */
}
