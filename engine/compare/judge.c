#include "engine/base/text.h"
#include "engine/compare/compare.h"

#include <inttypes.h>
#include <math.h>

enum { LIMIT_COUNT = 4 };

/* One of the four limited metrics. */
struct measure {
    const char *name;
    enum failure failure;
    double number, limit;
};

static void measures_of(const struct metrics *metrics, const struct verdict *verdict,
                        const struct limits *limits, struct measure measures[LIMIT_COUNT])
{
    measures[0] = (struct measure){"rms/scale", FAILURE_RMS_RELATIVE, verdict->rms_relative,
                                   limits->rms_relative};
    measures[1] = (struct measure){"rms", FAILURE_RMS_ABSOLUTE, metrics->rms_difference,
                                   limits->rms_absolute};
    measures[2] = (struct measure){"max/scale", FAILURE_MAX_RELATIVE, verdict->max_relative,
                                   limits->max_relative};
    measures[3] = (struct measure){"max", FAILURE_MAX_ABSOLUTE, metrics->max_difference,
                                   limits->max_absolute};
}

static double divide(double difference, double scale)
{
    if (difference == 0)
        return 0; /* 0/0 is no difference */
    return scale > 0 ? difference / scale : isnan(difference) ? NAN : INFINITY;
}

static bool has_non_finite(const struct metrics *metrics)
{
    return metrics->nan_reference + metrics->nan_test + metrics->infinity_reference +
               metrics->infinity_test >
           0;
}

struct verdict metrics_judge(const struct metrics *metrics, const struct limits *limits)
{
    struct verdict verdict = {0};
    double scale = hypot(metrics->rms_reference, limits->rms_epsilon);
    verdict.rms_relative = divide(metrics->rms_difference, scale);
    verdict.max_relative = divide(metrics->max_difference, scale);
    struct measure measures[LIMIT_COUNT];
    measures_of(metrics, &verdict, limits, measures);
    for (int i = 0; i < LIMIT_COUNT; i++) {
        const struct measure *measure = &measures[i];
        if (!(measure->number <= measure->limit)) /* also when one of them is NaN */
            verdict.failures |= (int)measure->failure;
        double ratio = divide(measure->number, measure->limit);
        if (isnan(ratio))
            ratio = INFINITY;
        verdict.worst = ratio > verdict.worst ? ratio : verdict.worst;
    }
    if (has_non_finite(metrics)) {
        verdict.failures |= FAILURE_NOT_FINITE;
        verdict.worst = INFINITY;
    }
    return verdict;
}

static void add_measures(const struct measure measures[LIMIT_COUNT], int failures, bool failed,
                         struct text *text)
{
    const char *gap = "";
    for (int i = 0; i < LIMIT_COUNT; i++) {
        if (((failures & (int)measures[i].failure) != 0) != failed)
            continue;
        text_format(text, "%s%s %.2e %s %.1e", gap, measures[i].name, measures[i].number,
                    failed ? ">" : "<=", measures[i].limit);
        gap = "    ";
    }
}

static void add_direction(const struct metrics *metrics, const char *gap, struct text *text)
{
    text_format(text, "%scosine %.3f", gap, metrics->cosine);
    if (metrics->rms_reference > 0)
        text_format(text, "    norm ratio %.3f", metrics->rms_test / metrics->rms_reference);
}

static void add_equality(const struct metrics *metrics, struct text *text)
{
    char different[32], count[32];
    bool rounded = metrics->different == 0 && !metrics_same(metrics);
    text_format(
        text, "different %s%s of %s elements", rounded ? "once they have the same type " : "",
        text_thousands(metrics->different, different), text_thousands(metrics->count, count));
    if (metrics->max_ulp != UINT64_MAX && metrics->max_ulp > 0)
        text_format(text, ", at most %" PRIu64 " ulp", metrics->max_ulp);
    text_add(text, "\n");
}

void metrics_describe(const struct metrics *metrics, const struct verdict *verdict,
                      const struct limits *limits, struct text *text)
{
    const int limited =
        FAILURE_RMS_RELATIVE | FAILURE_RMS_ABSOLUTE | FAILURE_MAX_RELATIVE | FAILURE_MAX_ABSOLUTE;
    if (has_non_finite(metrics))
        text_format(text,
                    "not finite: %" PRId64 " NaN and %" PRId64 " infinite in test, %" PRId64
                    " NaN and %" PRId64 " infinite in reference\n",
                    metrics->nan_test, metrics->infinity_test, metrics->nan_reference,
                    metrics->infinity_reference);
    struct measure measures[LIMIT_COUNT];
    measures_of(metrics, verdict, limits, measures);
    int failed = verdict->failures & limited;
    add_measures(measures, failed, true, text);
    add_direction(metrics, failed ? "    " : "", text);
    text_add(text, "\n");
    if (failed != limited) {
        add_measures(measures, failed, false, text);
        text_add(text, "\n");
    }
    add_equality(metrics, text);
}
