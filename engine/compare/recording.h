/* A whole run kept in memory: every log point and updated state of every step. Several tests that
 * have the same reference compare with one recording, and the reference runs once.
 *
 * Of a run on a GPU as much as fits is kept there, where tests compare with it, and the rest by the
 * host. What is on the GPU moves to the host when other tensors need the place. A recording in host
 * memory does not change: any threads may read it. One that has memory of a device belongs to the
 * thread that uses the device, and is to be freed before that is closed. */
#ifndef ENGINE_COMPARE_RECORDING_H
#define ENGINE_COMPARE_RECORDING_H

#include "engine/train/run.h"

/* Memory of a recording that is no longer needed, for the next one: the system clears every page
 * that it hands out anew, which takes as long as the copies. {0}: none. */
struct recording_memory {
    char *memory; /* from memory_map, of `reserved` bytes */
    int64_t reserved;
};

struct recording {
    const struct config *config; /* borrowed */
    struct program *program;     /* owned: names, shapes, dtypes */
    int steps;
    char *memory; /* owned: host memory of `reserved` bytes, for all */
    int64_t reserved;
    struct device *device;         /* borrowed; NULL: all is in host memory */
    struct device_reserve reserve; /* memory of the device */
    int64_t there_bytes;           /* of it, which the first of the data lie in, not in `memory` */
    void ***data;                  /* [steps][values]: contiguous, NULL if not kept */
    void **initial;                /* [values]: parameters before the first step */
    double *loss_scales;           /* [steps], at the start of each */
    struct step_report *reports;   /* [steps] */
    int64_t bytes;                 /* of all data */
    int64_t planned;               /* memory that the run took */
};

/* How much a recording of `program` over `steps` steps takes. */
int64_t recording_bytes(const struct program *program, int steps);

/* Runs `run` to its end and records it; the program moves from the run to the recording (free the
 * run with run_free as always). `spare` (may be NULL) is emptied: its memory is used if it is large
 * enough, else given back. `goes_on` is asked before each instruction and may refuse with a status
 * (NULL: never). NULL on failure. */
struct recording *recording_make(struct run *run, struct recording_memory *spare,
                                 bool (*goes_on)(const void *context, struct status *status),
                                 const void *context, struct status *status);
void recording_free(struct recording *recording);
/* Frees it, but for its memory, which goes to `spare`; what that held before is given back. */
void recording_recycle(struct recording *recording, struct recording_memory *spare);
void recording_memory_free(struct recording_memory *spare);

/* The recorded tensor of a value after it was computed in `step` (-1: a parameter before the first
 * step). False if it was not kept. Host memory, valid as long as the recording; or memory of
 * recording->device, then only until something is allocated there. */
bool recording_tensor(const struct recording *recording, int step, int value,
                      struct tensor *tensor);
bool recording_on_device(const struct recording *recording, const struct tensor *tensor);

#endif
