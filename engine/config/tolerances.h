/* Tolerance tables (configs/tolerances/NAME.yaml): ordered rules, first match wins. */
#ifndef ENGINE_CONFIG_TOLERANCES_H
#define ENGINE_CONFIG_TOLERANCES_H

#include "engine/config/config.h"

/* Limits of one rule; a metric fails when it is greater than its limit, or not a number. */
struct limits {
    double rms_relative, rms_absolute, max_relative, max_absolute;
    double rms_epsilon; /* the scale is sqrt(rms(reference)^2 + rms_epsilon^2) */
    double scale;       /* the test's values are divided by this first (loss scale); default 1 */
    bool ignore;        /* do not compare */
    bool ignore_duplicates; /* the last of several tensors of one name counts, without complaint */
};

struct tolerance_rule {
    char *step; /* substring of the step's name ("init", "train_1"), NULL = any */
    char *name; /* substring of the tensor's name, NULL = any */
    struct limits limits;
    struct source source; /* file: the name of the table */
};

struct tolerances {
    char *name;
    struct tolerance_rule *rules; /* in order */
    int rule_count;
    struct limits otherwise;
};

/* Loads a table. NULL on failure. `device` ("cpu" or "cuda") selects between rules that have both
 * columns. Free with tolerances_free. */
struct tolerances *tolerances_load(const struct config_search *search, const char *name,
                                   const char *device, struct status *status);
void tolerances_free(struct tolerances *tolerances);
/* Multiplies every tolerance and rms_epsilon (not scale) by `factor`. */
void tolerances_rescale(struct tolerances *tolerances, double factor);
/* The limits for a tensor; points into `tolerances`. */
const struct limits *tolerances_find(const struct tolerances *tolerances, const char *step,
                                     const char *name);
int tolerances_list(const struct config_search *search, char ***names, struct status *status);

#endif
