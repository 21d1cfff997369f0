/* How a user wants the ranks of a run to be started: the same options of every command. Pure
 * functions; any thread. */
#ifndef ENGINE_RANKS_LAUNCH_OPTIONS_H
#define ENGINE_RANKS_LAUNCH_OPTIONS_H

#include "engine/ranks/collectives.h"

/* Strings are borrowed, or NULL. */
struct rank_launch {
    bool in_process;      /* no processes: all ranks inside of this one */
    const char *launcher; /* as in rank_pool_options */
    const char *hostfile;
    const char *address;
    int timeout; /* seconds; 0: the default */
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
