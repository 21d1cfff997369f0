#include "engine/session/tensor_survey.h"

#include "engine/base/memory.h"
#include "engine/session/picture_heat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUICK = 1 << 20, /* elements that are looked at in some milliseconds */
    PIECE = 1 << 18, /* elements between looks at the interrupt */
};

/* The parts are members of a picture of their own, which is never handed over. */
struct tensor_survey {
    const struct pair *pair;
    int value, step, next;
    bool has_numbers, has_histograms, has_heat;
    struct picture_request histograms, heat; /* that those were asked for with */
    struct tensor_picture parts;
};

void tensor_survey_free(struct tensor_survey *survey)
{
    if (!survey)
        return;
    free(survey->parts.test_bins);
    free(survey->parts.reference_bins);
    free(survey->parts.difference_bins);
    free(survey->parts.heat);
    free(survey->parts.heat_sign);
    free(survey);
}

/* ---- statistics and the worst elements ---- */

static void scale_statistics(struct statistics *statistics, double scale)
{
    statistics->mean /= scale;
    statistics->deviation /= scale;
    statistics->rms /= scale;
    statistics->minimum /= scale;
    statistics->maximum /= scale;
}

static bool take_numbers(struct tensor_picture *parts, const struct pair_sides *sides,
                         const struct tensor_picture *picture, const struct interrupt *interrupt)
{
    if (!statistics_compute(interrupt, &sides->test, &parts->test_statistics))
        return false;
    scale_statistics(&parts->test_statistics, sides->scale);
    if (!sides->has_reference)
        return true;
    if (!statistics_compute(interrupt, &sides->reference, &parts->reference_statistics))
        return false;
    parts->worst_count = metrics_worst_unless(interrupt, &sides->reference, &sides->test,
                                              sides->scale, parts->worst, PICTURE_WORST);
    /* Values that no table judges (integers, constants) have metrics all the same. */
    parts->metrics = picture->metrics;
    return picture->compared || !dtype_is_float(picture->dtype)
               ? !interrupt_asked(interrupt)
               : metrics_compute_unless(interrupt, &sides->reference, &sides->test, sides->scale, 0,
                                        &parts->metrics);
}

static void copy_numbers(struct tensor_picture *picture, const struct tensor_picture *parts,
                         bool has_reference)
{
    picture->test_statistics = parts->test_statistics;
    if (!has_reference)
        return;
    picture->reference_statistics = parts->reference_statistics;
    memcpy(picture->worst, parts->worst, sizeof(picture->worst));
    picture->worst_count = parts->worst_count;
    picture->metrics = parts->metrics;
}

/* ---- histograms ---- */

/* How different two numbers are; NAN if one of them is not finite. */
static double difference_of(const struct pair_sides *sides, int64_t index)
{
    double difference = fabs(tensor_load(&sides->test, index) / sides->scale -
                             tensor_load(&sides->reference, index));
    return isfinite(difference) ? difference : NAN;
}

static bool take_differences(struct tensor_picture *parts, const struct pair_sides *sides,
                             const struct interrupt *interrupt)
{
    int64_t count = shape_elements(sides->test.shape);
    for (int64_t i = 0; i < count; i++) {
        double difference = difference_of(sides, i);
        if (i % PIECE == 0 && interrupt_asked(interrupt))
            return false;
        if (isnan(difference))
            continue;
        double place = parts->difference_high > 0 ? difference / parts->difference_high : 0;
        parts->difference_bins[picture_limited((int64_t)(place * parts->bins), 0,
                                               parts->bins - 1)]++;
    }
    return true;
}

static int64_t *new_bins(const struct tensor_picture *parts, int64_t *old)
{
    free(old);
    return memory_zeroed((size_t)parts->bins, sizeof(int64_t));
}

static bool take_histograms(struct tensor_picture *parts, const struct pair_sides *sides, int bins,
                            const struct interrupt *interrupt)
{
    const struct statistics *test = &parts->test_statistics;
    const struct statistics *reference = &parts->reference_statistics;
    parts->bins = (int)picture_limited(bins, 0, PICTURE_BINS);
    parts->low = test->minimum;
    parts->high = test->maximum;
    if (sides->has_reference) {
        parts->low = fmin(parts->low, reference->minimum);
        parts->high = fmax(parts->high, reference->maximum);
    }
    if (!isfinite(parts->low) || !isfinite(parts->high))
        parts->bins = 0;
    if (parts->bins == 0)
        return true;
    parts->test_bins = new_bins(parts, parts->test_bins);
    double low = fmin(parts->low * sides->scale, parts->high * sides->scale);
    double high = fmax(parts->low * sides->scale, parts->high * sides->scale);
    bool ok = histogram_compute(interrupt, &sides->test, low, high, parts->bins, parts->test_bins);
    if (!sides->has_reference)
        return ok;
    parts->reference_bins = new_bins(parts, parts->reference_bins);
    parts->difference_bins = new_bins(parts, parts->difference_bins);
    parts->difference_high = parts->metrics.max_difference;
    return ok &&
           histogram_compute(interrupt, &sides->reference, parts->low, parts->high, parts->bins,
                             parts->reference_bins) &&
           take_differences(parts, sides, interrupt);
}

static int64_t *copy_bins(const struct tensor_picture *parts, const int64_t *bins)
{
    int64_t *copy = memory_zeroed((size_t)parts->bins, sizeof(*copy));
    memcpy(copy, bins, (size_t)parts->bins * sizeof(*copy));
    return copy;
}

static void copy_histograms(struct tensor_picture *picture, const struct tensor_picture *parts,
                            bool has_reference)
{
    picture->low = parts->low;
    picture->high = parts->high;
    picture->bins = parts->bins;
    if (parts->bins == 0)
        return;
    picture->test_bins = copy_bins(parts, parts->test_bins);
    if (!has_reference)
        return;
    picture->difference_high = parts->difference_high;
    picture->reference_bins = copy_bins(parts, parts->reference_bins);
    picture->difference_bins = copy_bins(parts, parts->difference_bins);
}

/* ---- the map ---- */

static bool same_map(const struct picture_request *one, const struct picture_request *other,
                     int64_t plane_of_one, int64_t plane)
{
    return one->heat_rows == other->heat_rows && one->heat_columns == other->heat_columns &&
           one->heat_side == other->heat_side && plane_of_one == plane;
}

static bool take_map(struct tensor_picture *parts, const struct pair_sides *sides,
                     const struct tensor_picture *picture, const struct picture_request *request,
                     const struct interrupt *interrupt)
{
    free(parts->heat);
    free(parts->heat_sign);
    parts->heat = NULL;
    parts->heat_sign = NULL;
    parts->heat_rows = parts->heat_columns = 0;
    parts->heat_most = 0;
    parts->heat_wrap = 0;
    parts->plane = picture->plane;
    parts->all_rows = picture->all_rows;
    parts->all_columns = picture->all_columns;
    return picture_take_heat(parts, sides, request, interrupt);
}

static void copy_map(struct tensor_picture *picture, const struct tensor_picture *parts)
{
    size_t cells = (size_t)parts->heat_rows * (size_t)parts->heat_columns;
    picture->heat_side = parts->heat_side;
    picture->heat_rows = parts->heat_rows;
    picture->heat_columns = parts->heat_columns;
    picture->heat_wrap = parts->heat_wrap;
    picture->heat_most = parts->heat_most;
    if (!parts->heat)
        return;
    picture->heat = memory_zeroed(cells, sizeof(*picture->heat));
    picture->heat_sign = memory_zeroed(cells, sizeof(*picture->heat_sign));
    memcpy(picture->heat, parts->heat, cells * sizeof(*picture->heat));
    memcpy(picture->heat_sign, parts->heat_sign, cells * sizeof(*picture->heat_sign));
}

/* ---- the whole ---- */

/* What is kept, if it is of this tensor at this place; else an empty one. */
static struct tensor_survey *survey_of(struct tensor_survey **kept, const struct pair *pair,
                                       int value)
{
    int step = pair->test->step, next = run_next(pair->test);
    struct tensor_survey *survey = *kept;
    if (survey && survey->pair == pair && survey->value == value && survey->step == step &&
        survey->next == next)
        return survey;
    tensor_survey_free(survey);
    *kept = survey = memory_zeroed(1, sizeof(*survey));
    survey->pair = pair;
    survey->value = value;
    survey->step = step;
    survey->next = next;
    return survey;
}

static void nothing_measured(struct tensor_picture *picture)
{
    const struct statistics none = {.count = shape_elements(picture->shape),
                                    .zeros = -1,
                                    .nan = -1,
                                    .infinite = -1,
                                    .mean = NAN,
                                    .deviation = NAN,
                                    .rms = NAN,
                                    .minimum = NAN,
                                    .maximum = NAN};
    picture->partial = true;
    picture->test_statistics = picture->reference_statistics = none;
}

bool tensor_survey_fill(struct tensor_survey **kept, const struct pair *pair,
                        const struct pair_sides *sides, const struct picture_request *request,
                        const struct interrupt *interrupt, struct tensor_picture *picture)
{
    struct tensor_survey *survey = survey_of(kept, pair, picture->value);
    struct tensor_picture *parts = &survey->parts;
    bool histograms = survey->has_histograms && survey->histograms.bins == request->bins;
    bool map = survey->has_heat && same_map(&survey->heat, request, parts->plane, picture->plane);
    bool skip = request->quick && shape_elements(picture->shape) > QUICK;
    survey->has_numbers =
        survey->has_numbers || (!skip && take_numbers(parts, sides, picture, interrupt));
    if (survey->has_numbers)
        copy_numbers(picture, parts, sides->has_reference);
    else
        nothing_measured(picture);
    if (!histograms) {
        survey->has_histograms =
            survey->has_numbers && !skip && take_histograms(parts, sides, request->bins, interrupt);
        survey->histograms = *request;
    }
    if (survey->has_histograms)
        copy_histograms(picture, parts, sides->has_reference);
    if (!map) {
        survey->has_heat = !skip && take_map(parts, sides, picture, request, interrupt);
        survey->heat = *request;
    }
    if (survey->has_heat)
        copy_map(picture, parts);
    picture->partial = !survey->has_numbers || !survey->has_histograms || !survey->has_heat;
    return !picture->partial;
}
