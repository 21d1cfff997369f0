/* How a user wants the ranks of a run to be started: the same options of every command. Pure
 * functions; any thread. */
#ifndef ENGINE_RANKS_LAUNCH_OPTIONS_H
#define ENGINE_RANKS_LAUNCH_OPTIONS_H

#include "engine/ranks/collectives.h"

/* Strings are borrowed, or NULL. */
struct rank_launch {
    bool in_process;      /* no processes: all ranks inside of this one */
    const char *launcher; /* "srun -N 2": started with the program and "rank"; NULL: mpirun */
    const char *hostfile; /* for mpirun, or NULL */
    const char *address;  /* of this host, for ranks on others: they connect by TCP to it. NULL:
                             listener_towards with a launcher or a hostfile, else AF_UNIX */
    int timeout;          /* seconds that a rank may take for one instruction; 0: 30 */
    enum rank_collectives collectives;
};

/* Whether the user has said how: then nothing else may take its place. */
static inline bool rank_launch_is_chosen(const struct rank_launch *launch)
{
    return launch->launcher || launch->hostfile || launch->address;
}

/* The words of a command line that say the same, for who starts the program again or tells how to.
 * They point into the launch and into themselves: a copy is none. */
struct rank_launch_words {
    const char *words[11];
    int count;
    char timeout[16];
};
void rank_launch_words(const struct rank_launch *launch, struct rank_launch_words *words);

#endif
