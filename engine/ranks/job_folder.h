/* A folder for the files of one launch of rank processes: the engine's socket, what mpirun and MPI
 * keep beside it. Others than the engine make these files, and some of them may be killed, so they
 * are removed with their folder: by the engine when it is done, by a keeper (keeper.h) when the
 * engine is gone, or by the next engine when nobody was left. Internal to engine/ranks. */
#ifndef ENGINE_RANKS_JOB_FOLDER_H
#define ENGINE_RANKS_JOB_FOLDER_H

#include "engine/base/status.h"

struct job_folder {
    char path[96]; /* "": there is none */
    int lock;      /* held for as long as the folder is in use: also by nobody, once this process is
                      gone */
};

/* Makes one in `base`, for this user alone, and removes those there that nobody uses any more.
 * Fails with STATUS_IO, naming the folder. */
bool job_folder_make(struct job_folder *folder, const char *base, struct status *status);
/* With all that is in it; one that was not made is fine. */
void job_folder_remove(struct job_folder *folder);
/* Removes the folder of that path, if it is a job folder of this user. */
void job_folder_erase(const char *path);

#endif
