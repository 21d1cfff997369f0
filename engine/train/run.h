/* A training run: a program on a device, fed with data, step after step. It can be stopped before
 * any instruction, looked at, taken back to an earlier point, and changed by a fault.
 * One thread (the engine's). */
#ifndef ENGINE_TRAIN_RUN_H
#define ENGINE_TRAIN_RUN_H

#include "engine/program/executor.h"
#include "engine/train/data.h"

struct run_options {
    int rank; /* whose program it is */
    enum plan_mode plan;
    const char *init_from; /* safetensors file with parameters by path; NULL = initialise */
    const char *data_from; /* safetensors file with "tokens", "labels", "document_start" of every
                              step (docs/trace-format.md); NULL = the configuration's data */
    bool allow_extra;      /* init_from may have tensors that the model does not have */
    bool keep_points;      /* keep a copy of all states at the start of each step, so that going
                              back is quick; without it the run begins again from the start */
    int64_t points_limit;  /* bytes that these copies may take; when a run has more steps than fit,
                              every second, fourth, ... step is kept. 0: no limit */
    int sharers;           /* runs of this size that the device is to hold: what is said to fit when
                              memory is refused is for one of them. 0: this one alone */
    const struct interrupt *interrupt; /* ends run_create (STATUS_CANCELLED); borrowed, not kept */
    /* Changes the compiled program before it is planned (faults). May be NULL. */
    bool (*change)(struct program *program, void *context, struct status *status);
    void *change_context;
};

/* What a finished step reports. */
struct step_report {
    int step;    /* from 1 */
    double loss; /* of one rank of several: what it adds to the sum over ranks */
    double gradient_norm, learning_rate, loss_scale;
    bool skipped;   /* fp16 overflow: the update was left out */
    int64_t tokens; /* of all ranks */
    double seconds;
};

struct saved_point; /* all states at the start of a step */

struct run {
    const struct config *config; /* borrowed */
    struct program *program;
    struct executor *executor;
    struct device *device; /* borrowed */
    struct data *data;
    struct safetensors *recorded_data;
    struct micro_batch *batches; /* [micro-batches] of the current step that this rank has */
    int micro_batches;
    int step;                    /* current step, from 0 */
    int steps;                   /* how many there are */
    struct step_report *reports; /* [steps]; filled up to reported */
    int reported;
    struct run_options options;  /* strings are borrowed */
    struct saved_point **points; /* by step; NULL where none was kept */
    int point_distance;          /* steps that are a multiple of it are kept */
    bool started;                /* inputs of the current step are in place */
    double seconds;              /* spent in the current step's instructions */
};

/* Compiles, plans, allocates, initialises; stops before the first instruction of step 0. NULL on
 * failure; when memory is refused, the text says what takes it and, unless every value is to be
 * kept (as of several ranks), what would fit. `config`, `device` and `comm` must outlive the run.
 * `comm` joins as many ranks as the configuration has, or is NULL if somebody else executes the
 * instructions. */
struct run *run_create(const struct config *config, struct device *device, struct comm *comm,
                       const struct run_options *options, struct status *status);
void run_free(struct run *run);

/* The next instruction, or program->instruction_count at the end of a step. */
int run_next(const struct run *run);
/* Whether all steps are done. */
bool run_ended(const struct run *run);
/* Runs one instruction. Moves from the end of a step to the start of the next by itself (filling
 * the report, saving a point, reading data). */
bool run_one(struct run *run, struct status *status);
/* The parts of run_one for a run whose instructions are executed by somebody else (engine/ranks):
 * what comes before the next instruction (at the end of a step the next one begins: a point is
 * kept, inputs are written), and what comes after it has run (the counter; at the end of a step the
 * report). */
bool run_prepare(struct run *run, struct status *status);
bool run_complete(struct run *run, double seconds, struct status *status);
/* Runs to the end of the current step. */
bool run_step(struct run *run, struct status *status);

/* At the end of a step: keeps the states for the beginning of the next, which otherwise is done as
 * that begins. The executor's interrupt may end it (STATUS_CANCELLED): nothing was kept, and the
 * run stands where it stood. Elsewhere, or when they are kept already, it does nothing. */
bool run_keep_point(struct run *run, struct status *status);

/* Goes (back or forward) to the given place by restoring the nearest saved point at or before it
 * and running again. The state is bit-identical to the first time there. When the executor's
 * interrupt ends it (STATUS_CANCELLED), the run stands somewhere on the way, perhaps hollow: see
 * run_restore_later. */
bool run_go_to(struct run *run, int step, int instruction, struct status *status);

/* The last step at or before `step` whose beginning can be restored: a saved point, or 0. */
int run_point_before(const struct run *run, int step);
/* Restores the beginning of such a step. */
bool run_restore(struct run *run, int step, struct status *status);
/* The run stands at the beginning of such a step, but its states are still to be written: until
 * run_prepare (which run_one begins with) has done so it is hollow, and holds no value. The
 * executor's interrupt may end that (STATUS_CANCELLED); the run stays hollow then. */
void run_restore_later(struct run *run, int step);

/* "init", "train_1", ...: the step's name in traces and tolerance tables. `buffer` is returned. */
const char *run_step_name(int step, char buffer[32]);

/* Writes all parameters to a safetensors file, by path. */
bool run_save_parameters(struct run *run, const char *path, struct status *status);

#endif
