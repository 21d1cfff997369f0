/* Starting the processes of a pool: by mpirun, by a launcher of the user's ("srun -n 4"), or, when
 * there is only one, directly; always as children of a keeper (keeper.h). Internal to engine/ranks.
 */
#ifndef ENGINE_RANKS_LAUNCH_H
#define ENGINE_RANKS_LAUNCH_H

#include "engine/base/status.h"

#include <sys/types.h>

/* What tells a rank process where the engine is. */
#define LAUNCH_ADDRESS "LOCKSTEP_RANK_ENGINE"
#define LAUNCH_TOKEN "LOCKSTEP_RANK_TOKEN"
#define LAUNCH_RANK "LOCKSTEP_RANK"

struct launch_options {
    int size;
    const char *program;  /* path of the executable whose command `rank` runs a rank, and
                             `keeper` a keeper */
    const char *launcher; /* words separated by blanks; NULL: mpirun */
    const char *hostfile; /* for mpirun, or NULL */
    const char *address, *token;
    /* Job folders for the files of mpirun and MPI, the second one in memory; NULL: where they
     * belong by default. */
    const char *folder, *memory_folder;
    bool remote; /* there may be ranks on other machines */
};

struct launch {
    pid_t pid;       /* leads a process group of its own */
    pid_t keeper;    /* its parent, a child of this process; 0: there is none */
    int descriptor;  /* of the keeper; readable when the launcher has ended */
    int output;      /* of the launcher itself and of what it starts before that redirects */
    int wait_status; /* valid when `ended` */
    bool ended;
    char *token;  /* owned: what it has started is known by it, where the keeper was killed */
    int patience; /* milliseconds that it may take to end when it is asked to */
};

bool launch_start(struct launch *launch, const struct launch_options *options,
                  struct status *status);
/* Whether it has ended: `wait_status` is known then (the keeper's, if that was killed), and
 * launch_stop() is still to be called. Does not wait. */
bool launch_has_ended(struct launch *launch);
/* Ends it, and all that it has started on this machine, and frees everything. Waits so long for it
 * to end by itself; asks its group to end (SIGTERM), waits for `patience`, and kills what is left;
 * then does the same with what has left the group. */
void launch_stop(struct launch *launch, int milliseconds);

/* "ended with exit status 3", "was killed by signal 11 (Segmentation fault)". Returns `buffer`. */
const char *launch_status_text(int wait_status, char *buffer, int size);

#endif
