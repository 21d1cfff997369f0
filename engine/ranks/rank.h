/* A rank process: what `lockstep rank` does. It is started by a launcher, connects back to the
 * engine (environment: launch.h), compiles the program that the engine names, and runs the
 * instructions that it is allowed to. */
#ifndef ENGINE_RANKS_RANK_H
#define ENGINE_RANKS_RANK_H

#include "engine/base/status.h"

/* Serves the engine until it says that it is enough, or is gone: then the process ends here, by
 * _exit, as MPI cannot be left once a rank was lost. Returns false when it could not begin. Called
 * before there are threads: it forks. */
bool rank_serve(struct status *status);

/* What every executable calls first, before it has threads, of which ranks are started: where its
 * arguments are those of `lockstep keeper`, the process between the engine and the launcher of its
 * ranks, it is one until the launch has ended. True then: *code is the exit status. */
bool keeper_serve(int argc, char **argv, int *code);

#endif
