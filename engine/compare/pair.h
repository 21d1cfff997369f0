/* Two runs in lockstep: a test and its reference meet at each canonical name, and every element is
 * compared as soon as both sides have it. The reference is a live run, or a trace.
 *
 * The test drives: after each of its instructions the reference is run on until it has computed
 * the same names. What the reference computes earlier than the test needs it is kept: where it
 * is, when memory allows (PLAN_KEEP), else as a copy until the test gets there. One thread. */
#ifndef ENGINE_COMPARE_PAIR_H
#define ENGINE_COMPARE_PAIR_H

#include "engine/compare/compare.h"
#include "engine/compare/recording.h"
#include "engine/trace/trace.h"
#include "engine/train/run.h"

struct pair_options {
    const struct config *test;           /* borrowed */
    const struct config *reference;      /* borrowed; NULL: no live reference */
    const struct recording *recording;   /* borrowed; used when `reference` is NULL */
    const struct trace *trace;           /* borrowed; used when both are NULL; may be NULL too */
    const struct tolerances *tolerances; /* borrowed, already rescaled; NULL: nothing is judged */
    struct device *device;
    struct comm *comm;
    struct run_options test_options; /* plan is chosen by the pair */
    struct run_options reference_options;
    int64_t keep_limit; /* bytes that both runs together may take to keep every value; 0: never */
    bool inner_values;  /* judge all named values, not only log points */
    int threads;        /* for comparing; 0 = all */
    const struct interrupt *interrupt; /* ends pair_create (STATUS_CANCELLED); then pair->interrupt.
                                          Borrowed; NULL: nobody interrupts */
    /* One rank of several: a run that somebody else moves, and a reference that several pairs share
     * (NULL with a recording or a trace) and that keeps every value. Both borrowed. */
    struct run *test_run, *shared_reference;
};

/* The comparison of one value in the current step. */
struct pair_result {
    bool compared;
    bool sampled; /* the reference had samples only */
    struct metrics metrics;
    struct verdict verdict;
    const struct limits *limits; /* owned by the pair */
};

/* Called for every comparison as it is made, and where shapes differ. */
struct pair;
typedef void pair_observer(void *context, const struct pair *pair, int step, int value,
                           const struct pair_result *result);

/* A place where the reference's value was put into the test. Replayed when going back. */
struct graft {
    int step, value;
};

struct held_value; /* a copy of a value that the reference computed ahead of the test */

struct pair {
    struct pair_options options;
    struct run *test;
    struct run *reference;                   /* NULL with a recording, a trace, or no reference */
    const struct program *reference_program; /* of the reference run or recording, or NULL */
    const struct trace_step *trace_step;
    struct pair_result *results; /* [test values], of the current step */
    struct pair_result *initial; /* [parameters], before the first step; then also in `results` */
    struct limits *limits;       /* [test values], of the current step */
    int *reference_value;        /* [test values]: the reference's value of the same name, or -1 */
    int64_t *reference_row;      /* [test values]: the first of the reference's rows that this value
                                    is, when it is a micro-sequence of it; -1: the whole value */
    int *test_value;             /* [reference values]: the other way round, or -1 */
    struct held_value *held;     /* [reference values] */
    bool keep;                   /* both runs keep every value of the step */
    struct graft *grafts;
    int graft_count, graft_capacity;
    struct pair_queue *queue; /* comparisons on the device that nobody waited for; NULL: none yet */
    bool defer;               /* set to let them wait: see pair_settle */
    bool watch_not_finite;    /* set to look at every named value for NaN and infinities */
    int entered_step;         /* the step that results belong to; -1: the way back was left before
                                 its states were written (see run_restore_later) */
    double test_scale, reference_scale; /* loss scales of the current step */
    int updates; /* at its end, of the side that has skipped fewer; the current one counts */
    struct limits parameter_limits, moment_limits; /* after an update */
    pair_observer *observer;
    void *observer_context;
    /* Borrowed; NULL: nobody interrupts. When it asks to, what runs or compares gives up with
     * STATUS_CANCELLED; see there where the pair stands then. */
    const struct interrupt *interrupt;
};

/* Creates both runs; they stop before their first instruction. The initial parameters are compared
 * (step "init"). NULL on failure. Free with pair_free. */
struct pair *pair_create(const struct pair_options *options, struct status *status);
void pair_free(struct pair *pair);

/* What one instruction brought: the outputs that were compared. */
struct pair_event {
    int step, instruction;                        /* that ran */
    int compared[OP_MAX_OUTPUTS], compared_count; /* test values */
    int failed;                                   /* the first of them that failed, or -1 */
    int not_finite; /* the first output with NaN or infinity that has a name, or -1 */
};

/* Runs one instruction of the test, brings the reference along, compares. Interrupted, the test has
 * not moved: it gives the same bits later. (An instruction that writes over its inputs is not given
 * up, unless it goes on where it was: executor.h; nor is the first of a step, but what is to be
 * done before it is.) */
bool pair_run_one(struct pair *pair, struct pair_event *event, struct status *status);
bool pair_ended(const struct pair *pair);
/* Where both sides are on a device that compares by itself, and the caller has set pair->defer
 * since nothing depends on single results, the host does not wait for each: results come many
 * together, through the observer and into `results`, at the latest when the pair enters a step or
 * is settled. Events do not tell of them. To be called before anything else looks at results. */
bool pair_settle(struct pair *pair, struct status *status);
/* For a run that somebody else moves: before it enters a step, and after it ran an instruction. */
bool pair_begin_step(struct pair *pair, int step, struct status *status);
bool pair_take(struct pair *pair, int instruction, struct pair_event *event, struct status *status);
/* Goes to a place, forward or back; grafts before it are made again, results after it forgotten.
 * Interrupted, the pair stands somewhere on the way, between two instructions, or at the beginning
 * of a step whose states are still to be written: nothing is at hand there until it moves. */
bool pair_go_to(struct pair *pair, int step, int instruction, struct status *status);

/* Host views of the two sides of a value, and the factor by which the test is scaled (its loss
 * scale over the reference's, for gradients). Views are valid until the pair runs on. False when
 * the test's side is not at hand; a missing reference is no failure: `reason` says why. */
struct pair_sides {
    struct tensor test, reference;
    bool has_reference;
    char reason[200]; /* why there is no reference */
    double scale;
    int64_t absent;        /* elements of `test` that nobody has computed yet, NaN: team_view() */
    int64_t sampling_step; /* of a trace with samples: both are vectors, of which element i is
                              element i * sampling_step of the tensor; 0: they are not */
    void *test_buffer, *reference_buffer; /* owned by the pair_sides: free with pair_sides_free */
};
bool pair_view(struct pair *pair, int value, struct pair_sides *sides, struct status *status);
void pair_sides_free(struct pair_sides *sides);

/* Puts the reference's tensor into the test's value (which must be at hand), judges it again, and
 * remembers it. */
bool pair_graft(struct pair *pair, int value, struct status *status);
/* Only remembers it: it is put in when the value is computed (again) in the current step. */
void pair_graft_later(struct pair *pair, int value);

/* At most one observer; NULL ends it. */
void pair_observe(struct pair *pair, pair_observer *observer, void *context);

/* Names that one side has and the other has not, by the rules of the tolerance table (ignored
 * ones left out): log points only. Calls `report` for each; returns the number. */
int pair_unmatched(const struct pair *pair,
                   void (*report)(void *context, const char *name, bool missing), void *context);

#endif
