/* A recipe for initial parameters: {"seed": 1234, "parameters": {NAME: {"mean": m, "std": s}}}.
 * Each element is m + normal(0, s) of the generator of initialize.h. Used by the recorded
 * baselines, whose weights would be too large to keep. */
#ifndef ENGINE_TRAIN_INIT_FILE_H
#define ENGINE_TRAIN_INIT_FILE_H

#include "engine/base/interrupt.h"
#include "engine/base/status.h"

#include <stdint.h>

struct init_file;

/* NULL on failure, with file and line. */
struct init_file *init_file_open(const char *path, struct status *status);
void init_file_close(struct init_file *file);
/* The name after `name` in the recipe (NULL: the first); NULL at the end. Valid until the file is
 * closed. */
const char *init_file_next(const struct init_file *file, const char *name);
/* Fills the parameter `name`; fails if the recipe does not have it, or is interrupted (NULL:
 * never).
 */
bool init_file_fill(const struct init_file *file, const char *name, float *data, int64_t count,
                    const struct interrupt *interrupt, struct status *status);

#endif
