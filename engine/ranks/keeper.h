/* A small process beside the ranks of a launch on this machine, which nobody waits for and no
 * launcher ends: it removes the job folders (job_folder.h) of an engine that was killed. Internal
 * to engine/ranks. */
#ifndef ENGINE_RANKS_KEEPER_H
#define ENGINE_RANKS_KEEPER_H

/* A guardian starts it, if there is something to keep: the environment has LAUNCH_KEPT (launch.h).
 * `launcher` is its parent. Must be called before there are threads. */
void keeper_start(int launcher);

#endif
