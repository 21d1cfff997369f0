/* From a name, or the text of a file, to a resolved configuration. Internal to engine/config. */
#ifndef ENGINE_CONFIG_LOADER_H
#define ENGINE_CONFIG_LOADER_H

#include "engine/config/check.h"
#include "engine/config/schema.h"
#include "engine/config/search.h"

/* As config_load(), of `text` as if it were the model file `file` in the first folder of the
 * search. `variant` may be NULL. */
struct config *config_load_text(const struct config_search *search, const char *file,
                                const char *text, size_t length, const char *variant,
                                struct status *status);

/* The merged document of a model under a variant with the overrides of `search`. Each file and
 * setting has been checked by itself; whether all is there and fits together has not.
 * `file` is the model's own file, `name` the model's name (for an extends of itself). */
struct node *resolve_model(const struct config_search *search, struct tree_pool *pool,
                           const struct config_file *file, const char *name,
                           const struct node *variant, struct status *status);

/* The parsed and checked file of a variant; its name is that of the file. */
struct node *resolve_variant(const struct config_search *search, struct tree_pool *pool,
                             const char *name, struct status *status);

/* Fills the plain structs of `config` from the raw ones; `root` gives the sources and `pool` keeps
 * strings. */
void translate_config(const struct raw_config *raw, const struct node *root, struct tree_pool *pool,
                      struct config *config);

/* Limits of single numbers, in a part of a configuration (a model's file, overrides) or in all of
 * it. Values of another type are left to check_document. */
void check_ranges(const struct node *root, struct problems *problems);

/* What no table can say: those limits, divisors, what excludes what, in the resolved whole. */
void check_semantics(const struct node *root, const struct config *config,
                     struct problems *problems);

/* `order` of a document: where it stands in listings; without one, behind those that have it. */
int document_order(const struct node *root);

#endif
