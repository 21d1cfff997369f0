/* What wrong numbers usually mean. Each rule is a fact about the numbers followed by the cause
 * that most often gives it; the first that applies is told. */
#include "engine/compare/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { GUESS_PARTS = 8 }; /* micro-batches or ranks up to which fractions are looked for */

static bool near(double number, double expected, double tolerance)
{
    return fabs(number - expected) <= tolerance * fabs(expected);
}

static bool guess_not_finite(const struct metrics *metrics, char *buffer, size_t size)
{
    int64_t test = metrics->nan_test + metrics->infinity_test;
    int64_t reference = metrics->nan_reference + metrics->infinity_reference;
    if (test == 0 && reference == 0)
        return false;
    if (reference > 0) {
        snprintf(buffer, size, "%" PRId64 " elements of the reference are not finite%s", reference,
                 test == 0 ? ": the reference is at fault" : "");
        return true;
    }
    if (metrics->nan_test == 0)
        snprintf(buffer, size,
                 "infinities in the test only: an overflow of the dtype, or a loss scale that is "
                 "too large");
    else
        snprintf(buffer, size,
                 "NaN in the test only: an overflow before, a division by zero, or memory that "
                 "nobody wrote");
    return true;
}

static bool guess_zero(const struct metrics *metrics, char *buffer, size_t size)
{
    if (metrics->rms_test == 0 && metrics->rms_reference > 0) {
        snprintf(buffer, size,
                 "all of the test is 0: not computed, not received, or not accumulated");
        return true;
    }
    if (metrics->rms_reference == 0 && metrics->rms_test > 0) {
        snprintf(buffer, size, "all of the reference is 0: frozen or masked there, but not here");
        return true;
    }
    return false;
}

/* Few elements of many, the rest equal bit by bit. */
static bool guess_few(const struct metrics *metrics, char *buffer, size_t size)
{
    if (metrics->count < 16 || metrics->different == 0)
        return false;
    if (metrics->different == 1) {
        snprintf(buffer, size,
                 "one element differs, the rest is bit-equal: a wrong index, a boundary, or a "
                 "flipped bit");
        return true;
    }
    if (metrics->different > metrics->count / 64)
        return false;
    snprintf(buffer, size,
             "%" PRId64 " of %" PRId64 " elements differ, the rest is bit-equal: a boundary, a "
             "mask, a row or a race",
             metrics->different, metrics->count);
    return true;
}

static void say_power(double ratio, int exponent, bool opposite, char *buffer, size_t size)
{
    const char *sign = opposite ? "opposite sign and " : "";
    if (exponent == 1)
        snprintf(buffer, size, "%snorm ratio 2: added or reduced twice", sign);
    else if (exponent == -1)
        snprintf(buffer, size,
                 "%snorm ratio 1/2: one of 2 parts (micro-batches, ranks) was not added, or a mean "
                 "in place of a sum over 2",
                 sign);
    else if (exponent >= 8)
        snprintf(buffer, size, "%snorm ratio %.0f = 2^%d: the loss scale was not divided out", sign,
                 ratio, exponent);
    else if (exponent <= -8)
        snprintf(buffer, size, "%snorm ratio 2^%d: divided by the loss scale once too often", sign,
                 exponent);
    else if (exponent > 0)
        snprintf(buffer, size, "%snorm ratio %.0f: a sum over %.0f parts in place of their mean",
                 sign, ratio, ratio);
    else
        snprintf(buffer, size, "%snorm ratio 1/%.0f: divided by the number of parts, %.0f, twice",
                 sign, 1 / ratio, 1 / ratio);
}

static bool guess_fraction(double ratio, const char *sign, char *buffer, size_t size)
{
    for (int n = 3; n <= GUESS_PARTS; n++) {
        if (near(ratio, (n - 1.0) / n, 2e-3))
            snprintf(buffer, size, "%snorm ratio %d/%d: one of %d micro-batches was not added",
                     sign, n - 1, n, n);
        else if (near(ratio, (n + 1.0) / n, 2e-3))
            snprintf(buffer, size, "%snorm ratio %d/%d: one of %d parts was added twice", sign,
                     n + 1, n, n);
        else if (near(ratio, n, 2e-3))
            snprintf(buffer, size, "%snorm ratio %d: a sum over %d parts in place of their mean",
                     sign, n, n);
        else if (near(ratio, 1.0 / n, 2e-3))
            snprintf(buffer, size,
                     "%snorm ratio 1/%d: a mean in place of a sum over %d, or only one of %d parts",
                     sign, n, n, n);
        else
            continue;
        return true;
    }
    if (!near(ratio, 1.5, 2e-3))
        return false;
    snprintf(buffer, size, "%snorm ratio 3/2: one of 2 parts was added twice", sign);
    return true;
}

/* The test is a multiple of the reference. */
static bool guess_multiple(const struct metrics *metrics, char *buffer, size_t size)
{
    if (metrics->count < 2 || fabs(metrics->cosine) < 0.9999)
        return false;
    bool opposite = metrics->cosine < 0;
    double ratio = metrics->rms_test / metrics->rms_reference;
    int exponent = (int)lrint(log2(ratio));
    bool power = near(ratio, ldexp(1, exponent), 2e-3);
    if (power && exponent == 0) {
        if (opposite)
            snprintf(buffer, size, "opposite sign");
        return opposite;
    }
    if (power) {
        say_power(ratio, exponent, opposite, buffer, size);
        return true;
    }
    if (guess_fraction(ratio, opposite ? "opposite sign and " : "", buffer, size))
        return true;
    if (near(ratio, 1, 0.02))
        return false;
    snprintf(buffer, size, "%sthe whole tensor is multiplied by %.4g",
             opposite ? "opposite sign: " : "", opposite ? -ratio : ratio);
    return true;
}

/* A sum over n parts from which one is missing, or has twice its weight, projects on the whole sum
 * with (n-1)/n or (n+1)/n if the parts are alike in size, however they are correlated. What is
 * beside that is of one part only: at most (n-1)/n^2 of the sum's square, unless parts are opposed.
 */
static bool guess_projection(const struct metrics *metrics, char *buffer, size_t size)
{
    static const int parts[] = {2, 3, 4, 8};
    double ratio = metrics->rms_test / metrics->rms_reference;
    double projection = metrics->cosine * ratio;
    double beside = ratio * ratio - projection * projection;
    if (metrics->count < 64 || metrics->cosine < 0.6 || metrics->cosine > 0.9999)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int n = parts[i];
        if (beside > 1.5 * (n - 1) / (n * n))
            continue;
        bool missing = near(projection, (n - 1.0) / n, 0.01);
        if (!missing && !near(projection, (n + 1.0) / n, 0.01))
            continue;
        snprintf(buffer, size, "the test holds %.2f of the reference: one of %d parts %s",
                 projection, n, missing ? "was not added" : "was added twice");
        return true;
    }
    return false;
}

static bool guess_direction(const struct metrics *metrics, char *buffer, size_t size)
{
    double ratio = metrics->rms_test / metrics->rms_reference;
    if (metrics->count < 16)
        return false;
    if (near(ratio, 1, 1e-7) && metrics->cosine < 0.99) {
        snprintf(buffer, size,
                 "equal norm, another direction: the same values in another order (layout, "
                 "transposed, heads, ranks)");
        return true;
    }
    if (metrics->count < 64 || fabs(metrics->cosine) > 4 / sqrt((double)metrics->count) ||
        fabs(metrics->cosine) > 0.1)
        return false;
    snprintf(buffer, size,
             "uncorrelated (cosine %.3f): other data, other weights, or the values of another "
             "tensor",
             metrics->cosine);
    return true;
}

bool metrics_guess(const struct metrics *metrics, char *buffer, int size)
{
    size_t room = size > 0 ? (size_t)size : 0;
    if (guess_not_finite(metrics, buffer, room))
        return true;
    if (!(metrics->max_difference > 0))
        return false;
    if (guess_zero(metrics, buffer, room) || guess_few(metrics, buffer, room))
        return true;
    return guess_multiple(metrics, buffer, room) || guess_projection(metrics, buffer, room) ||
           guess_direction(metrics, buffer, room);
}
