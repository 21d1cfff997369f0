/* The strict check of a document against a table of libcyaml. Internal to engine/config. */
#ifndef ENGINE_CONFIG_CHECK_H
#define ENGINE_CONFIG_CHECK_H

#include "engine/config/problems.h"
#include "engine/config/tree.h"

#include <cyaml/cyaml.h>

/* Adds every unknown key, wrong type, number with rubbish behind it, number out of the range of
 * its type, misspelt boolean or word, and missing key of `root` to `problems`. `what` names the
 * document's kind in messages. `partial`: keys may be missing. Call in the "C" numeric locale. */
void check_document(const struct node *root, const cyaml_schema_value_t *schema, const char *what,
                    bool partial, struct problems *problems);

/* A checked document with its keys in the order of the table: what is shown and hashed does not
 * depend on who wrote which key first. */
struct node *check_sorted(struct tree_pool *pool, struct node *node,
                          const cyaml_schema_value_t *schema);

/* The whole text as an integer in [minimum, maximum]; decimal digits without leading zeros. */
bool check_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *value);
/* The whole text as a finite decimal number. */
bool check_number(const char *text, double *value);

/* Fills the structs of `schema` from a checked document; free with check_release. NULL with
 * STATUS_INTERNAL if libcyaml does not agree with the check. */
void *check_load(const struct node *root, const cyaml_schema_value_t *schema,
                 struct status *status);
void check_release(void *data, const cyaml_schema_value_t *schema);

/* Numbers are read with a point whatever the user's locale says. Returns what numeric_leave wants;
 * affects the calling thread only. */
void *numeric_enter(void);
void numeric_leave(void *token);

#endif
