/* Traces: recorded tensors of a run, in a directory that any safetensors library can read.
 *
 *   DIR/manifest.json          what ran, and the list of steps in order
 *   DIR/<step>.safetensors     "init", "train_1", "train_2", ...: one entry per tensor, in program
 *                              order, whose data are the samples (or the whole tensor)
 *
 * The full description is docs/trace-format.md. Facts, section 3 (sampling rule 3.2). */
#ifndef ENGINE_TRACE_TRACE_H
#define ENGINE_TRACE_TRACE_H

#include "engine/base/status.h"
#include "engine/tensor/mosaic.h"
#include "engine/tensor/safetensors.h"

/* One recorded tensor. Numbers that were not recorded are NAN; counts are -1. */
struct trace_tensor {
    const char *name;      /* canonical: "gradient decoder.0.norm_1.weight"; of the trace */
    enum dtype dtype;      /* of the tensor in the run */
    struct shape shape;    /* of the whole (global) tensor */
    int64_t sampling_step; /* 1 = samples are the first values; 0 = the whole tensor is kept */
    struct tensor samples; /* 1-D host data in their own dtype; valid while the trace is open */
    double mean, deviation, minimum, maximum;
    int64_t nan_count, infinity_count;
    int order; /* position in the run; equal to the position in the file unless given */
    int times; /* how often the name was recorded in the step; the last one is kept. 1 unless given
                */
};

struct trace_step {
    char *name;
    struct safetensors *file;
    int count;
    int *entries;   /* internal: the entry of the file at each place; NULL: the same */
    int *positions; /* internal: the place of each entry */
};

struct trace {
    char *directory;
    char *manifest;  /* the JSON text */
    bool unfinished; /* its run did not come to its end, or goes on: steps may be missing */
    struct trace_step *steps;
    int step_count;
};

/* Opens and checks a trace: its headers, of which an index of names and places is kept. What they
 * say of a tensor is read when it is asked for, and data when they are looked at. NULL on failure.
 * An open trace may be read by several threads. */
struct trace *trace_open(const char *directory, struct status *status);
void trace_close(struct trace *trace);
const struct trace_step *trace_find_step(const struct trace *trace, const char *name);
/* The tensor at place 0 .. count-1 of a step, in program order: its name, which lives as long as
 * the trace, or all of it (about 0.1 us). */
const char *trace_name(const struct trace_step *step, int position);
void trace_at(const struct trace_step *step, int position, struct trace_tensor *tensor);
/* The place of a name, or -1. */
int trace_position(const struct trace_step *step, const char *name);
/* Both at once: false if there is no such tensor. */
bool trace_find(const struct trace_step *step, const char *name, struct trace_tensor *tensor);

/* What ran, for the manifest. Strings are borrowed during trace_create; NULL = unknown. */
struct trace_description {
    const char *run, *config_text, *device, *software;
    uint64_t config_hash, program_hash, seed;
    bool full_tensors, log_points;
};

struct trace_writer;

/* Starts a trace in `directory` (made if missing; refused if it holds anything but a trace). */
struct trace_writer *trace_create(const char *directory, const struct trace_description *what,
                                  struct status *status);
/* Records a host tensor of the current step: samples and statistics are taken now. A name that was
 * recorded before in this step replaces it: the last one counts, and the trace says how often. */
bool trace_add(struct trace_writer *writer, const char *name, const struct tensor *tensor,
               struct status *status);
/* The same of tensors that are read where their parts lie, one after the other: the same bytes as
 * of whole ones. By all threads, which are woken once. A trace of whole tensors does not copy them
 * but reads them when the step is finished: until then they must stay as they are. */
struct trace_item {
    const char *name;
    const struct mosaic *tensor;
    bool samples_only; /* no statistics: see trace_add_samples() */
};
bool trace_add_parts(struct trace_writer *writer, const struct trace_item *items, int count,
                     struct status *status);
/* Whether it records whole tensors. */
bool trace_keeps_tensors(const struct trace_writer *writer);
/* As trace_add() without statistics, which need a pass over the whole tensor: for the many inner
 * values, whose recording must not slow the run down. (A trace of whole tensors has them all the
 * same.) */
bool trace_add_samples(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       struct status *status);
/* The same of a tensor of that type and shape, whose data are not looked at: samples (as many as
 * trace_sample_count() says, trace_sampling_step() apart) and statistics were taken elsewhere.
 * Takes `samples` over. Only for a writer that does not record whole tensors. */
struct device_statistics;
void trace_add_summary(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       void *samples, const struct device_statistics *statistics);
/* For tensors in a device's memory: samples and statistics are taken there, and fetched many at a
 * time, so that the run need not wait for each. NULL where that is not possible: the host reads the
 * memory itself, whole tensors are recorded, or there is no room for it on the device. `writer` and
 * `device` must outlive it. */
struct device;
struct trace_gatherer;
struct trace_gatherer *trace_gatherer_create(struct trace_writer *writer, struct device *device);
/* As trace_add(): queued behind what computes the tensor, which may be overwritten afterwards. */
bool trace_gather(struct trace_gatherer *gatherer, const char *name, const struct tensor *there,
                  struct status *status);
/* Records what was gathered, in that order. To be called before the step is finished, and before
 * anything else is added to it. */
bool trace_gather_finish(struct trace_gatherer *gatherer, struct status *status);
void trace_gatherer_free(struct trace_gatherer *gatherer); /* NULL is ok */
/* Writes the current step's file under `step` and starts the next. Nothing is written if empty. */
bool trace_finish_step(struct trace_writer *writer, const char *step, struct status *status);
/* Writes the manifest and frees the writer; `status` tells whether all of it worked. NULL is ok. */
bool trace_finish(struct trace_writer *writer, struct status *status);
/* Frees the writer and leaves no temporary files. */
void trace_abandon(struct trace_writer *writer);

/* The sampling step of the facts, 3.2: max(elements/1024, 1), lowered while it is > 1 and a
 * multiple of any dimension > 1. Samples are flat[0 : 1024*step : step]. */
int64_t trace_sampling_step(struct shape shape);
/* How many samples a tensor of this shape has: at most 1024. */
int64_t trace_sample_count(struct shape shape);

#endif
