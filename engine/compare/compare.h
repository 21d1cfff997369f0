/* Metrics of two tensors, and their verdict against limits. Facts, section 4; NaN and infinities
 * never pass. Pure functions; any thread. */
#ifndef ENGINE_COMPARE_COMPARE_H
#define ENGINE_COMPARE_COMPARE_H

#include "engine/base/interrupt.h"
#include "engine/config/tolerances.h"
#include "engine/tensor/tensor.h"

/* Everything one pass over both tensors gives. Sums are in double. */
struct metrics {
    int64_t count;
    double rms_difference; /* sqrt(mean (reference - test)^2) */
    double rms_reference, rms_test;
    double max_difference;                /* largest |reference - test| */
    int64_t max_index;                    /* where, flat; -1 if count is 0 */
    double max_reference, max_test_value; /* the two values there */
    double cosine;                        /* of the two as vectors; 1 if both are zero */
    int64_t nan_test, nan_reference, infinity_test, infinity_reference;
    int64_t different; /* elements that are not bit-equal (in the compared type) */
    uint64_t max_ulp;  /* largest distance in units of the last place of the coarser
                          dtype; 0 if all are equal; UINT64_MAX with NaN */
};

/* Whether all elements are bit-equal: not only once they have the same type. */
static inline bool metrics_same(const struct metrics *metrics)
{
    return metrics->different == 0 && !(metrics->max_difference > 0);
}

/* Compares `test / scale` with `reference`: same shape, float dtypes may differ, rows may be
 * strided. Host memory. Elements where a side is not finite are counted and left out of the sums.
 * Uses `threads` threads (0 = all). Vectorised for contiguous f32, bf16, f16. */
void metrics_compute(const struct tensor *reference, const struct tensor *test, double scale,
                     int threads, struct metrics *metrics);
/* The same; false, with metrics of a part only, when `interrupt` (NULL: nobody) asked to give up.
 */
bool metrics_compute_unless(const struct interrupt *interrupt, const struct tensor *reference,
                            const struct tensor *test, double scale, int threads,
                            struct metrics *metrics);

/* Which limits were passed over. */
enum failure {
    FAILURE_NONE = 0,
    FAILURE_RMS_RELATIVE = 1,
    FAILURE_RMS_ABSOLUTE = 2,
    FAILURE_MAX_RELATIVE = 4,
    FAILURE_MAX_ABSOLUTE = 8,
    FAILURE_NOT_FINITE = 16, /* NaN or infinity on either side */
    FAILURE_MISSING = 32,    /* only in the reference */
    FAILURE_EXTRA = 64,      /* only in the test */
    FAILURE_SHAPE = 128,
    FAILURE_DUPLICATE = 256,
    FAILURE_SAMPLING = 512, /* the samples of two traces are at different places */
};

/* The verdict on one tensor. */
struct verdict {
    int failures;                      /* bits of enum failure */
    double rms_relative, max_relative; /* differences over the scale of the reference */
    double worst; /* largest metric over its limit; > 1 fails, INFINITY when not finite or a
                     non-zero difference meets a zero limit, 0 when bit-equal */
};

struct verdict metrics_judge(const struct metrics *metrics, const struct limits *limits);

/* "rms/scale 2.49e-01 > 3.0e-03    max/scale 1.1e+00 > 3.0e-02    cosine 0.968" etc: one line per
 * kind, failed limits first, into `text`. */
struct text;
void metrics_describe(const struct metrics *metrics, const struct verdict *verdict,
                      const struct limits *limits, struct text *text);

/* A guess at the cause from the numbers alone ("norm ratio 3/4: looks like one of 4 micro-batches
 * was not added"; "norm ratio 2: added twice"; "opposite sign"; ...) into `buffer`; false if none.
 */
bool metrics_guess(const struct metrics *metrics, char *buffer, int size);

/* The `count` (<= capacity) elements with the largest difference, largest first. */
struct worst_element {
    int64_t index; /* flat */
    double reference, test;
};
int metrics_worst(const struct tensor *reference, const struct tensor *test, double scale,
                  struct worst_element *elements, int capacity);
/* The same; 0 when `interrupt` (NULL: nobody) asked to give up. */
int metrics_worst_unless(const struct interrupt *interrupt, const struct tensor *reference,
                         const struct tensor *test, double scale, struct worst_element *elements,
                         int capacity);
/* The same, of a tensor that is not complete: elements that are NaN in `test` and of which `counts`
 * says false are left out. */
int metrics_worst_of(const struct interrupt *interrupt, const struct tensor *reference,
                     const struct tensor *test, double scale,
                     bool (*counts)(const void *context, int64_t index), const void *context,
                     struct worst_element *elements, int capacity);

#endif
