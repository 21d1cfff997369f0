/* Records a run into a trace, value by value as instructions compute them. */
#ifndef APP_RECORD_H
#define APP_RECORD_H

#include "engine/trace/trace.h"
#include "engine/train/run.h"

struct recorder_options {
    const char *directory;
    bool full_tensors;  /* whole tensors, not samples */
    bool log_points;    /* only the tensors of the model tests' logs, not every named value */
    const char *fault;  /* for the manifest; NULL = none */
    const char *device; /* the same; NULL = that of the run */
};

struct recorder;

/* Starts a trace of `run`. NULL on failure. */
struct recorder *recorder_create(const struct run *run, const struct recorder_options *options,
                                 struct status *status);
/* Step "init": all parameters. */
bool recorder_take_parameters(struct recorder *recorder, struct run *run, struct status *status);
/* What the instruction that just ran has computed. */
bool recorder_take(struct recorder *recorder, struct run *run, struct status *status);
/* For those who find tensors themselves: whether named values that are, or are not, log points are
 * recorded; some of them; the end of the parameters. */
bool recorder_wants(const struct recorder *recorder, bool log_point);
bool recorder_add(struct recorder *recorder, const struct trace_item *items, int count,
                  struct status *status);
/* A tensor of that type and shape, of which samples (taken over) and statistics were taken where it
 * lies: trace_add_summary(). */
void recorder_add_summary(struct recorder *recorder, const char *name, const struct tensor *tensor,
                          void *samples, const struct device_statistics *statistics);
/* Whether these are whole tensors: then they must stay until their step is finished. */
bool recorder_keeps_tensors(const struct recorder *recorder);
bool recorder_finish_init(struct recorder *recorder, struct status *status);
bool recorder_finish_step(struct recorder *recorder, struct run *run, struct status *status);
/* Completes the trace, or leaves nothing half-written if not `ok`. NULL is fine. Returns `ok` and
 * whether it worked. */
bool recorder_finish(struct recorder *recorder, bool ok, struct status *status);

#endif
