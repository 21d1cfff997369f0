/* Between the files of engine/suite that run tests. */
#ifndef ENGINE_SUITE_EXECUTE_INTERNAL_H
#define ENGINE_SUITE_EXECUTE_INTERNAL_H

#include "engine/compare/pair.h"
#include "engine/compare/results.h"
#include "engine/compare/team.h"
#include "engine/suite/execute.h"

/* A test while it runs. */
struct execution {
    struct environment *environment;
    const struct test_list *list;
    int test;
    struct outcome *outcome;
};

/* Each sets the outcome, or returns false with `status`. */
bool execute_frozen(struct execution *execution, struct status *status);
bool execute_distributed(struct execution *execution, struct status *status);

/* What is needed to compare, loaded. */
struct comparison {
    struct config *test, *reference;
    struct variant_config *variant;
    struct tolerances *tolerances;
    char *title;
};
/* Sets `reference` wherever that alone could be loaded, even when the test's own layout could not,
 * so that the end of the comparison finds the recording. */
bool comparison_load(const struct execution *execution, struct comparison *comparison,
                     struct status *status);
/* Once for each comparison_load, whatever came of it: the test needs its reference's recording no
 * longer. Frees what was loaded. */
void execution_end_comparison(struct execution *execution, struct comparison *comparison);
/* After comparison_load failed with STATUS_UNSUPPORTED: the model is right, but cannot be cut as
 * the variant wants, which is not this test's fault. Skips the test, resets `status`, ends the
 * comparison; true. */
bool execution_skip_layout(struct execution *execution, struct comparison *comparison,
                           struct status *status);

/* False with STATUS_CANCELLED once the user wants the tests to end. */
bool execution_goes_on(const struct execution *execution, struct status *status);
/* Options of the test's own run: with the fault, if there is one. */
struct run_options execution_options(const struct execution *execution);
/* Fails the outcome when a loss or gradient norm of the run is not finite; keeps its reports. */
void execution_take_steps(struct execution *execution, const struct run *run);
/* Notes the memory that the test took; `other` may be NULL. */
void execution_take_memory(struct execution *execution, const struct run *run,
                           const struct run *other);
/* Fails the outcome when a loss or gradient norm is not finite, or steps are missing. */
void outcome_judge_steps(struct outcome *outcome, int steps);
/* Where all tensors agree: adds a problem to `log` for each step of which the two runs report
 * losses that are further apart than the table allows for the head's loss. `reference` has `steps`
 * reports.
 */
void execution_judge_losses(const struct outcome *outcome, const struct comparison *comparison,
                            const struct step_report *reference, int steps,
                            struct comparison_log *log);
/* The same for a live reference, which is run to its end, or (`live` is NULL) a recording. */
bool execution_judge_ends(struct execution *execution, const struct comparison *comparison,
                          struct run *live, const struct recording *recording,
                          struct comparison_log *log, struct status *status);
/* Puts what the two runs differ in into the outcome. */
void execution_judge(struct execution *execution, const struct comparison *comparison,
                     const struct comparison_log *log);

/* A pair's comparisons, gathered as they are made. */
struct gathering {
    struct pair *pair;
    struct comparison_log *log;
};
/* A pair_observer with a struct gathering as its context. */
void gather_result(void *context, const struct pair *pair, int step, int value,
                   const struct pair_result *result);
/* What pair_create compared: the initial parameters, which no observer saw. */
void gather_initial(struct gathering *gathering);
/* Tensors of one side only. */
void gather_unmatched(struct gathering *gathering);

#endif
