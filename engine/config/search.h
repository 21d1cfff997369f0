/* Where configuration files are: the user's folders, ./lockstep.d, and the copies built in.
 * Internal to engine/config. */
#ifndef ENGINE_CONFIG_SEARCH_H
#define ENGINE_CONFIG_SEARCH_H

#include "engine/base/names.h"
#include "engine/config/tree.h"

enum config_kind { KIND_MODEL = 0, KIND_VARIANT, KIND_TOLERANCES };

/* One of configs/, built in by scripts/cmake/LockstepEmbed.cmake. */
struct embedded_file {
    const char *path; /* "configs/models/llama.yaml" */
    const char *text; /* zero-terminated */
    size_t length;
};
extern const struct embedded_file embedded_configs[];
extern const int embedded_config_count;

struct config_file {
    const char *path; /* owned by the pool */
    char *text;       /* owned by the pool, zero-terminated */
    size_t length;
    int place; /* index in the search order */
};

/* Fails for a folder of --config-dir that does not exist, and for any folder of the search order
 * that is there but cannot be read. */
bool search_check(const struct config_search *search, struct status *status);

/* Reads the first file of that kind and name at `place` or later in the search order.
 * STATUS_NOT_FOUND with suggestions when there is none. `search` may be NULL. */
bool search_read(const struct config_search *search, enum config_kind kind, const char *name,
                 int place, struct tree_pool *pool, struct config_file *file,
                 struct status *status);

/* Reads a file of configs/ that is built in, such as "base.yaml". */
bool search_read_embedded(const char *name, struct config_file *file, struct status *status);

/* Adds the names of everything of one kind, unsorted. */
void search_names(const struct config_search *search, enum config_kind kind, struct names *names);

/* Adds the paths of the user's .yaml and .yml files that have no name by which they are found. */
void search_odd_files(const struct config_search *search, struct names *paths);

/* Adds a line for each file of the user that another one of the same name and folder hides. */
void search_hidden_files(const struct config_search *search, struct names *lines);

#endif
