/* A whole run kept in host memory: every log point and updated state of every step. Several tests
 * that have the same reference compare with one recording, and the reference runs once. */
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
    char *memory; /* owned: what follows lies in it; `reserved` bytes */
    int64_t reserved;
    void ***data;                /* [steps][values]: contiguous host data, NULL if not kept */
    void **initial;              /* [values]: parameters before the first step */
    double *loss_scales;         /* [steps], at the start of each */
    struct step_report *reports; /* [steps] */
    int64_t bytes;               /* of all data */
    int64_t planned;             /* memory that the run took */
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
 * step). False if it was not kept. Valid as long as the recording. */
bool recording_tensor(const struct recording *recording, int step, int value,
                      struct tensor *tensor);

#endif
