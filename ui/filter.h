/* Filters of lists of compared tensors, as typed behind "/": parts joined by "&&", each
 *   a condition as of breakpoints        rel_rms > 1e-3
 *   a text that the name must hold       layer ~ mlp        (name, layer and what mean the name)
 *   or just the text                     mlp.layer_2
 * Pure. */
#ifndef UI_FILTER_H
#define UI_FILTER_H

#include "engine/session/conditions.h"
#include "engine/session/pictures.h"

struct filter {
    char *text; /* as typed, NULL = no filter */
    char **words;
    int word_count, word_capacity;
    struct condition **conditions;
    int condition_count, condition_capacity;
};

/* Replaces the filter; "" removes it. On failure the old one stays. */
bool filter_set(struct filter *filter, const char *text, struct status *status);
/* `step` from 0. */
bool filter_passes(const struct filter *filter, const struct program_picture *program,
                   const struct picture_result *result, int step);
void filter_free(struct filter *filter);

#endif
