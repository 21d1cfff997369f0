/* A small process beside the ranks of a launch on this machine, which nobody waits for and no
 * launcher ends: when the engine was killed, it ends what the launcher has left and removes the job
 * folders (job_folder.h). Internal to engine/ranks. */
#ifndef ENGINE_RANKS_KEEPER_H
#define ENGINE_RANKS_KEEPER_H

/* A guardian starts it, if the engine is on this machine: LAUNCH_KEPT of the environment
 * (launch.h). `launcher` is its parent. Must be called before there are threads. */
void keeper_start(int launcher);

#endif
