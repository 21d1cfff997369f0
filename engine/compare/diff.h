/* The comparison of two traces. */
#ifndef ENGINE_COMPARE_DIFF_H
#define ENGINE_COMPARE_DIFF_H

#include "engine/compare/diff_parts.h"
#include "engine/compare/results.h"
#include "engine/trace/trace.h"

enum { DIFF_WORST_ELEMENTS = 10 }; /* kept for each failed tensor */

struct diff {
    struct comparison_log log; /* in program order of the test; what is missing there stands where
                                  the reference has it */
    char *title;               /* "TEST against REFERENCE, tolerances NAME" */
};

/* Compares steps and names that both traces have by `tolerances` and notes what only one has;
 * tensors that the tolerances ignore are as if they did not exist, on both sides. A tensor that is
 * whole on one side and sampled on the other is compared at the sampled places. A NaN or infinity
 * that the trace has counted fails the tensor even where it was not sampled. Host only, any thread
 * that owns the traces. A name that a trace recorded several times in a step fails, unless the
 * limits ignore duplicates; its last tensor is compared all the same. NULL only when a trace has
 * data that cannot be read. Free with diff_free.
 *
 * With `only_common`, tensors and steps that only one side has fail nothing: they are counted
 * (log.only_reference, log.only_test). Where both have nothing in common, nothing passes. */
struct diff *diff_traces(const struct trace *reference, const struct trace *test,
                         const struct tolerances *tolerances, bool only_common,
                         struct status *status);
void diff_free(struct diff *diff);

/* Notes what the manifests say of two different runs: their names, settings that differ, whether
 * one has log points only, and which table of tolerances is made for it, if that is not `table`
 * (may be NULL). Nothing where a manifest does not say it. */
void diff_note_runs(const struct trace *reference, const struct trace *test, const char *table,
                    struct comparison_log *log);
/* The elements of one tensor that both sides have kept: the reference's is the meeting's `whole`.
 * False if they were sampled at different places or their shapes differ. */
bool diff_align(const struct trace_tensor *reference, const struct trace_tensor *test,
                struct meeting *meeting);

/* The report of the log under the diff's title (options->title, if not NULL, goes first). */
void diff_report(const struct diff *diff, const struct report_options *options, struct text *text);
void diff_json(const struct diff *diff, struct text *text);

#endif
