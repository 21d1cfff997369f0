/* What a comparison found: a list of tensors in program order with their metrics and verdicts,
 * and its summary. Fed by the comparison of two traces (diff.h) and by that of two runs (pair.h),
 * so that both are reported in the same words. Not thread safe. */
#ifndef ENGINE_COMPARE_RESULTS_H
#define ENGINE_COMPARE_RESULTS_H

#include "engine/compare/compare.h"

/* By the first word of the name. */
enum tensor_kind {
    TENSOR_FORWARD,   /* "fw ..." */
    TENSOR_BACKWARD,  /* "bw ..." */
    TENSOR_GRADIENT,  /* "gradient ..." */
    TENSOR_PARAMETER, /* "param ..." */
    TENSOR_STATE,     /* "state ..." */
    TENSOR_OTHER,
    TENSOR_KINDS,
};

enum tensor_kind tensor_kind_of(const char *name);
const char *tensor_kind_name(enum tensor_kind kind); /* "fw", ... , "other"; static */

/* One tensor that was compared, or could not be. */
struct tensor_result {
    const char *step, *name; /* copied by comparison_log_add */
    int position;            /* in its run: instruction or place in the trace; -1 unknown */
    enum dtype dtype_reference, dtype_test;
    struct shape shape_reference, shape_test; /* whole tensors; rank 0: the side has none */
    /* Element i of the metrics is flat element start + i * stride of the whole tensor; a stride of
     * 0 counts as 1. */
    int64_t start, stride;
    int64_t stride_reference, stride_test; /* how each side was sampled; 0 = whole */
    /* All zero with FAILURE_MISSING, _EXTRA, _SHAPE and _SAMPLING: nothing was compared. */
    struct metrics metrics;
    struct verdict verdict;
    struct limits limits;
    /* Elements with the largest differences, largest first; the index is that of the metrics. */
    const struct worst_element *worst; /* copied by comparison_log_add */
    int worst_count;
    int parts; /* how many ranks hold a different part of it; 0: one holds the whole */
    int rank;  /* of several parts: the rank that holds the worst element */
};

/* Whether the elements of both sides met, within limits or not. */
bool tensor_result_was_compared(const struct tensor_result *result);
/* Elements of the whole tensor (of the test's, if both have one). */
int64_t tensor_result_elements(const struct tensor_result *result);

struct comparison_log {
    struct tensor_result *results; /* in the order in which they were added */
    int count, capacity;
    char **steps; /* the distinct steps, in order of their first result; results point to these */
    int step_count, step_capacity;
    char **problems; /* what concerns no single tensor: a step on one side only, a run that died */
    int problem_count, problem_capacity;
    char **notes; /* what the reader should know, and fails nothing: runs of other settings */
    int note_count, note_capacity;
    struct kind_total {
        int tensors, failed; /* failed: also those that could not be compared */
    } kinds[TENSOR_KINDS];
    int compared; /* results of which elements met */
    int failed;   /* results with a failure */
    int ignored;  /* tensors that the tolerances ignore; counted by who compares */
    /* The same: of runs of which one was split, what the other does not have for that reason, and
     * parts of which no sample is at a place where the whole has one. */
    int parts_alone, parts_sampled;
    /* Tensors that only one side has, of a comparison of what both have; counted by who compares.
     */
    int only_reference, only_test;
    int first_failure;      /* into results, -1: none; only when count > 0, see below */
    int closest;            /* the result within limits that came closest to one; the same */
    int64_t elements;       /* compared */
    int64_t elements_whole; /* of how many */
};

/* Adds a copy of `result` (strings and worst elements, too). Returns its index. */
int comparison_log_add(struct comparison_log *log, const struct tensor_result *result);
/* Adds a problem, which fails the comparison. */
void comparison_log_problem(struct comparison_log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds a note, which does not fail it. */
void comparison_log_note(struct comparison_log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* True if elements were compared and nothing failed. */
bool comparison_log_passed(const struct comparison_log *log);
/* The first divergence in program order, and the result within limits that came closest to one.
 * NULL if there is none; valid until the log changes. */
const struct tensor_result *comparison_log_first_failure(const struct comparison_log *log);
const struct tensor_result *comparison_log_closest(const struct comparison_log *log);
void comparison_log_free(struct comparison_log *log); /* empties; may be used again */

struct report_options {
    const char *title;     /* first line: "llama/bf4 against llama/df4, ..."; NULL = none */
    const char *reference; /* what to call the sides; NULL: "reference", "test" */
    const char *test;
    int samples;  /* worst elements shown for each failed tensor, of those in the log; 0 = 1 */
    int failures; /* failed tensors shown in full in each step; 0 = 10, the rest is counted */
    bool color;   /* ANSI colours; the text is the same without them */
};

/* The report for people. Lines end with newlines. Control characters in names come out as '?'. */
void comparison_log_report(const struct comparison_log *log, const struct report_options *options,
                           struct text *text);
/* A part of a limit, not 0: "0.31", "<0.01", never as if there were no difference at all. Returns
 * `buffer`. */
const char *limit_share_text(double part, char buffer[32]);
/* Where element `index` of the metrics is in the whole tensor: "[17,203]". Returns `buffer`. */
const char *tensor_result_place(const struct tensor_result *result, int64_t index,
                                char buffer[120]);
/* The same as one JSON object: "passed", "compared", "failed", "ignored",
 * "not_compared" (parts_alone and parts_sampled), "only_reference", "only_test", "elements",
 * "elements_whole", "first_divergence" (a name or null), "problems" and "notes" (texts), and
 * "tensors", each with "step", "name", "passed", "failures" (names of the limits passed over, and
 * the like), shapes, dtypes, metrics, "limits", "of_limit" (the largest metric over its limit),
 * "worst" (elements, of failures) and "looks_like", and "rank" where ranks hold parts. Numbers that
 * are not finite are null. */
void comparison_log_json(const struct comparison_log *log, struct text *text);
/* What the JSON calls the failure 1 << bit: "rms_relative", ... static; NULL: there is none. */
const char *failure_name(int bit);

#endif
