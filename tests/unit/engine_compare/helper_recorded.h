/* A run on the processor against a trace in a folder of its own. */
#ifndef TESTS_UNIT_ENGINE_COMPARE_HELPER_RECORDED_H
#define TESTS_UNIT_ENGINE_COMPARE_HELPER_RECORDED_H

#include "engine/compare/pair.h"

struct recorded {
    char directory[64]; /* of the trace */
    struct device *device;
    struct comm *comm;
    /* between recorded_compare and recorded_end */
    struct tolerances *tolerances;
    struct trace *trace;
    struct pair *pair;
};

void recorded_open(struct recorded *it);
/* Removes the folder. */
void recorded_close(struct recorded *it);
/* A run to record; free with run_free. */
struct run *recorded_run(const struct recorded *it, const struct config *config);
/* The pair of a run and the trace, within the limits of "layer_match"; inner values are compared,
 * too. `fault` may be NULL. Both are borrowed until recorded_end. */
struct pair *recorded_compare(struct recorded *it, const struct config *config, const char *fault);
void recorded_end(struct recorded *it);

#endif
