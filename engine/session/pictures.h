/* Pictures of a run for screens: what a view shows, taken on the engine thread in one go, then
 * handed over. A picture never points into the run, so that it can be drawn on another thread
 * while the run goes on. What was not measured is NAN or -1, never 0.
 *
 * The part of a program that never changes (PICTURE_PROGRAM) is asked for once per program; the
 * part that does (PICTURE_STATE) after each stop. `identity` tells whether the two belong
 * together. */
#ifndef ENGINE_SESSION_PICTURES_H
#define ENGINE_SESSION_PICTURES_H

#include "engine/base/interrupt.h"
#include "engine/compare/compare.h"
#include "engine/device/device.h"
#include "engine/session/output.h"
#include "engine/session/ranks.h"
#include "engine/session/statistics.h"
#include "engine/train/run.h"

#include <stdint.h>

enum picture_kind {
    PICTURE_PROGRAM = 0, /* instructions and values */
    PICTURE_STATE,       /* where it stands, what was compared */
    PICTURE_TENSOR,      /* one tensor of both sides */
    PICTURE_MEMORY,      /* forecast and use, over the program */
    PICTURE_METRICS,     /* the reports of the steps */
    PICTURE_RANKS,       /* every rank */
    PICTURE_OUTPUT,      /* some lines of what the ranks print; also without a run */
    PICTURE_KIND_COUNT,
};

/* What a heat map is of. Without a reference it is always the test. */
enum heat_side { HEAT_DIFFERENCE = 0, HEAT_TEST, HEAT_REFERENCE };

/* What to take a picture of. Plain data: copied as it is. */
struct picture_request {
    enum picture_kind kind;
    int step;  /* STATE: of this step (from 0), -1: the current one, between two steps the finished
                */
    int value; /* TENSOR: this value; -1: what the last stop was about */
    /* TENSOR: the window. A tensor is seen as `planes` of rows x columns: the last two dimensions
     * and all the others. Cut to the tensor. */
    int64_t plane, row, column;
    int rows, columns;           /* at most PICTURE_WINDOW of each */
    int heat_rows, heat_columns; /* at most PICTURE_HEAT of each; 0: no heat map */
    enum heat_side heat_side;
    int bins;   /* of the histograms, at most PICTURE_BINS; 0: none */
    bool quick; /* TENSOR: without what takes long, so that it comes at once; it may be partial */
    int at;     /* MEMORY: whose owners to list: this instruction; -1: at the peak */
    struct output_query output; /* OUTPUT */
};

enum {
    PICTURE_WINDOW = 200,
    PICTURE_HEAT = 256,
    PICTURE_BINS = 64,
    PICTURE_WORST = 20,
    PICTURE_POINTS = 200,
    PICTURE_OWNERS = 100,
    PICTURE_PROCESSES = 8,
    PICTURE_FOLLOW_ROWS = 1000,
};

/* ---- the program ---- */

struct picture_instruction {
    char *text;   /* "accumulate  gradient a.b.weight += %870" */
    char *layer;  /* "decoder.1", "" */
    char *part;   /* "mlp.layer_2", "" */
    char *source; /* "llama.yaml:31", "" */
    char *key;    /* "base_model.decoder.block.mixer", or NULL */
    char *fault;  /* what a fault did here, or NULL */
    const char *op;
    enum phase phase;
    int stage, micro_batch, micro_batches, micro_sequence, micro_sequences; /* as in origin */
    int inputs[OP_MAX_INPUTS], input_count;
    int outputs[OP_MAX_OUTPUTS], output_count;
};

struct picture_value {
    char *name; /* canonical, or "%12" */
    enum what what;
    enum dtype dtype;
    struct shape shape;
    struct shard shard;
    int64_t bytes;
    int producer; /* instruction, -1 */
    bool named, log_point;
};

struct program_picture {
    struct picture_instruction *instructions;
    int instruction_count;
    struct picture_value *values;
    int value_count;
};

/* ---- where it stands ---- */

/* In the order of how bad it is. */
enum picture_status {
    MARK_PENDING = 0, /* not run yet in this step */
    MARK_DONE,        /* has run; nothing to compare */
    MARK_SAME,        /* the same bits */
    MARK_WITHIN,
    MARK_DIVERGED,
    MARK_NAN,
};

struct picture_mark {
    enum picture_status status;
    float worst;     /* largest metric over its limit; NAN: not compared */
    float error;     /* rms of the difference over the scale of the reference; NAN */
    char breakpoint; /* 0 none, 1 disabled, 2 enabled; of instructions */
    int number;      /* of that breakpoint */
};

/* One compared tensor. */
struct picture_result {
    int value;
    enum picture_status status;
    float worst, error;
    bool measured; /* metrics and verdict are known: of the pair's current step only */
    bool sampled;
    struct metrics metrics;
    struct verdict verdict;
};

struct picture_breakpoint {
    int number;
    bool watch, temporary, enabled;
    bool lost;      /* its place is not in this program */
    char *text;     /* "PLACE [if CONDITION]", as it was typed */
    char *commands; /* a line each, for when it stops the run; NULL: none */
};

struct state_picture {
    char *run, *reference;             /* as in the snapshot: "llama/bf4", "llama/df4" */
    int step;                          /* that the marks are of */
    int now, steps;                    /* the current step and how many there are */
    int next;                          /* program counter: the next instruction of step `now` */
    struct picture_mark *instructions; /* [instruction_count] */
    int instruction_count;
    struct picture_result *results; /* [result_count], in program order */
    int result_count;
    int first_step, first_value; /* the first divergence of the run, -1 */
    int focus;                   /* the value that the last stop was about, -1 */
    bool has_reference;
    struct picture_breakpoint *breakpoints; /* [breakpoint_count] */
    int breakpoint_count;
};

/* ---- a tensor ---- */

struct tensor_picture {
    int value, step;
    char *name;              /* "" if there is nothing to show */
    char *problem;           /* why there are no numbers, or NULL */
    char *reference_problem; /* why there is no reference, or NULL */
    char *producer;          /* text of its instruction, "" */
    enum dtype dtype;
    struct shape shape; /* of what is shown */
    struct shape whole; /* of the tensor */
    int64_t stride;     /* element i of what is shown is element i * stride of the tensor */
    double scale;       /* the test's numbers below are divided by it */
    bool compared;
    /* Statistics, worst elements, histograms or the map are missing, since the request is quick or
     * something else was wanted before they were done; metrics only where it was compared. */
    bool partial;
    bool sampled; /* of a trace with samples: all that follows is of those, a vector */
    struct metrics metrics;
    struct verdict verdict;
    struct limits limits;
    char *guess; /* what the numbers look like, or NULL */
    /* the window: test and reference are [rows * columns]; reference NULL if there is none */
    int64_t planes, plane, all_rows, all_columns, row, column;
    int rows, columns;
    double *test, *reference;
    /* of a trace: where the reference's elements as shown (all planes) begin in a file; or NULL */
    char *reference_file;
    int64_t reference_offset; /* bytes */
    enum dtype reference_dtype;
    struct statistics test_statistics, reference_statistics;
    /* histograms over [low, high]; of |difference| over [0, difference_high] */
    int bins;
    double low, high, difference_high;
    int64_t *test_bins, *reference_bins, *difference_bins;
    /* by cell, the largest magnitude in the plane of what `heat_side` says; NAN: not finite; -1: no
     * element */
    enum heat_side heat_side;
    int heat_rows, heat_columns;
    int64_t heat_wrap;      /* a vector is folded into rows of so many elements; 0: no vector */
    float *heat;            /* [heat_rows * heat_columns] */
    signed char *heat_sign; /* [heat_rows * heat_columns]: of that element: -1, 0, 1 */
    double heat_most;       /* of the finite ones */
    struct worst_element worst[PICTURE_WORST];
    int worst_count;
    struct picture_follow *follows; /* all that are followed, also of other tensors */
    int follow_count;
};

/* The size of what the map shows of a plane: a vector is folded. Pure; any thread. */
void tensor_picture_map_size(const struct tensor_picture *picture, int64_t *rows, int64_t *columns);
/* Of `cells` that divide `all` elements, in a row or a column of the map: the first element of one.
 * Element i is in cell i * cells / all; this is that, turned around. Pure; any thread. */
int64_t picture_first_of_cell(int64_t cell, int64_t all, int cells);

/* An element that is followed (`follow`), at every time that it was written. */
struct picture_follow_row {
    int step, instruction;  /* instruction -1: it is an input or a state */
    char batch[32];         /* "mb=1/4", "" */
    double test, reference; /* reference NAN: there is none */
    bool failed;            /* its tensor was beyond its limits */
};

struct picture_follow {
    int number;
    char *name; /* "gradient a.weight[3,4]" */
    int row_count;
    struct picture_follow_row *rows; /* the newest PICTURE_FOLLOW_ROWS */
    int64_t more;                    /* rows before those */
};

/* ---- memory ---- */

struct memory_owner {
    char *name;
    int value;
    int64_t bytes;
    enum memory_class memory_class;
    int first, last; /* live from this instruction to that one; persistent: 0 and the last */
};

struct memory_picture {
    int instruction_count, next, peak; /* instructions */
    int point_count;
    int points[PICTURE_POINTS]; /* instructions, growing */
    int64_t classes[PICTURE_POINTS][MEMORY_CLASS_COUNT];
    int64_t now[MEMORY_CLASS_COUNT], at_peak[MEMORY_CLASS_COUNT];
    int64_t forecast;            /* what the plan allocates for this run */
    int64_t reference_forecast;  /* for the reference's run, 0 if none is live */
    bool keep;                   /* every value of the step is kept readable */
    struct device_memory device; /* as the device counted: both runs */
    char device_name[32];
    int64_t device_used, device_total; /* of a GPU as a whole, all programs; 0: not known */
    int process_count;                 /* other programs on it, also those not listed */
    int processes_listed;
    struct device_process processes[PICTURE_PROCESSES];
    int owners_at;
    struct memory_owner *owners;  /* largest first */
    int owner_count, owners_more; /* how many are not listed */
};

/* ---- the reports of the steps ---- */

struct metrics_picture {
    int steps;
    struct step_report *test, *reference;
    int test_count, reference_count; /* reported so far */
};

struct picture {
    struct picture_request request;
    uint64_t identity; /* of the program */
    /* the one that was asked for; the others are NULL */
    struct program_picture *program;
    struct state_picture *state;
    struct tensor_picture *tensor;
    struct memory_picture *memory;
    struct metrics_picture *metrics;
    struct ranks_picture *ranks;
    struct output_page *output;
    char *output_problem; /* why there are no lines: the filter's expression is none; NULL */
};

struct debugger;

/* Takes a picture. Never NULL; all parts are NULL when no run is loaded. Engine thread, and the
 * run must stand still. That of a tensor is partial when the sink's `unwanted` said so. */
struct picture *picture_take(struct debugger *debugger, const struct picture_request *request);
void picture_free(struct picture *picture);

/* The parts, each of a pair, for picture_take and tests. Engine thread. Free with picture_free. */
struct pair;
struct program_picture *picture_of_program(const struct program *program);
struct state_picture *picture_of_state(const struct debugger *debugger, int step);
struct tensor_survey;
struct tensor_picture *picture_of_tensor(struct pair *pair, int value,
                                         const struct picture_request *request,
                                         struct tensor_survey **kept, /* tensor_survey.h */
                                         const struct interrupt *interrupt);
struct memory_picture *picture_of_memory(const struct pair *pair, int at);
struct metrics_picture *picture_of_metrics(const struct pair *pair);
struct record;
void picture_add_follows(struct tensor_picture *picture, const struct record *record,
                         const struct program *program);

void program_picture_free(struct program_picture *picture);
void state_picture_free(struct state_picture *picture);
void tensor_picture_free(struct tensor_picture *picture);
void memory_picture_free(struct memory_picture *picture);
void metrics_picture_free(struct metrics_picture *picture);

#endif
