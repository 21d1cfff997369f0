/* Between the files of `lockstep run`: one process, and several ranks. */
#ifndef APP_COMMAND_RUN_H
#define APP_COMMAND_RUN_H

#include "app/app.h"
#include "app/arguments.h"

#include "engine/train/run.h"

/* The options of the command, parsed. */
struct command_options {
    struct word_list names;
    const char *trace, *init_from, *data, *save_parameters, *fault;
    int steps, repeat;
    bool full_tensors, log_points, allow_extra;
};

struct run_options command_run_options(const struct command_options *options);
/* The line of a step. */
void command_run_print_step(const struct step_report *step, int steps);
/* In fp16 an overflow is a part of training: that step is skipped. */
bool command_run_is_finite(const struct step_report *step);

/* All ranks of a run; `search` is what `config` was loaded with. */
struct ranks_of_run;
/* Starts the processes of the ranks, if they are wanted and can be had. NULL on failure. */
struct ranks_of_run *ranks_of_run_start(const struct config *config,
                                        const struct config_search *search, struct device *device,
                                        const struct app_options *app,
                                        const struct command_options *options,
                                        struct status *status);
void ranks_of_run_free(struct ranks_of_run *ranks);
/* Trains from the beginning to the end. `seconds` has an element for each step; traces and
 * parameters are written with `record`. */
bool ranks_of_run_train(struct ranks_of_run *ranks, bool record, double *seconds,
                        struct status *status);

#endif
