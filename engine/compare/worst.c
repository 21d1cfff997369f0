#include "engine/compare/block.h"
#include "engine/compare/compare.h"

#include <math.h>

/* The elements found so far, the largest difference first; equal ones by index. */
struct ranking {
    struct worst_element *elements;
    int count, capacity;
    double threshold; /* a difference must be larger to be listed; -1 while there is room */
};

/* What is not finite can not be right: it comes before every finite difference. */
static double distance(double reference, double test)
{
    double difference = fabs(reference - test);
    return isfinite(reference) && isfinite(test) ? difference : INFINITY;
}

static void insert(struct ranking *ranking, struct worst_element element, double difference)
{
    int at = ranking->count < ranking->capacity ? ranking->count++ : ranking->count - 1;
    for (; at > 0; at--) {
        const struct worst_element *before = &ranking->elements[at - 1];
        if (distance(before->reference, before->test) >= difference)
            break;
        ranking->elements[at] = *before;
    }
    ranking->elements[at] = element;
    if (ranking->count == ranking->capacity) {
        const struct worst_element *last = &ranking->elements[ranking->count - 1];
        ranking->threshold = distance(last->reference, last->test);
    }
}

int metrics_worst(const struct tensor *reference, const struct tensor *test, double scale,
                  struct worst_element *elements, int capacity)
{
    return metrics_worst_unless(NULL, reference, test, scale, elements, capacity);
}

int metrics_worst_unless(const struct interrupt *interrupt, const struct tensor *reference,
                         const struct tensor *test, double scale, struct worst_element *elements,
                         int capacity)
{
    return metrics_worst_of(interrupt, reference, test, scale, NULL, NULL, elements, capacity);
}

int metrics_worst_of(const struct interrupt *interrupt, const struct tensor *reference,
                     const struct tensor *test, double scale,
                     bool (*counts)(const void *context, int64_t index), const void *context,
                     struct worst_element *elements, int capacity)
{
    struct block_source source = block_source_of(reference, test, scale);
    struct ranking ranking = {.elements = elements, .capacity = capacity, .threshold = -1};
    int64_t total = capacity > 0 ? shape_elements(reference->shape) : 0;
    struct wide_block block;
    for (int64_t start = 0; start < total; start += BLOCK_ELEMENTS) {
        if (interrupt_asked(interrupt))
            return 0;
        int64_t rest = total - start;
        wide_block_load(&source, start, rest < BLOCK_ELEMENTS ? (int)rest : BLOCK_ELEMENTS, &block);
        for (int i = 0; i < block.count; i++) {
            double difference = distance(block.reference[i], block.test[i]);
            if (difference > ranking.threshold &&
                (!counts || !isnan(block.test[i]) || counts(context, start + i)))
                insert(&ranking,
                       (struct worst_element){start + i, block.reference[i], block.test[i]},
                       difference);
        }
    }
    return ranking.count;
}
