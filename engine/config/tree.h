/* Documents as trees of nodes that remember where they were written.
 *
 * Nodes live in a pool and are never changed once built, so that trees may share branches:
 * merging makes new mappings around old values. Internal to engine/config. */
#ifndef ENGINE_CONFIG_TREE_H
#define ENGINE_CONFIG_TREE_H

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/config/config.h"

#include <stddef.h>

enum {
    TREE_NODE_LIMIT = 20000, /* nodes of one document after expanding its aliases */
    TREE_DEPTH_LIMIT = 64,   /* also what stops an anchor that contains itself */
    TREE_KEY_LIMIT = 256,    /* keys written in one mapping: merging compares all pairs */
    TREE_FILE_LIMIT = 256 * 1024,
};

/* Owns nodes and strings; everything is released together. Zero-initialise. */
struct tree_pool {
    void **blocks;
    int count, capacity;
};

enum node_kind { NODE_SCALAR = 0, NODE_SEQUENCE, NODE_MAPPING };

struct node {
    enum node_kind kind;
    bool quoted;      /* scalar written in quotes or as a block: text, whatever it looks like */
    const char *text; /* of a scalar */
    struct source source;
    struct source over; /* the value that this one replaced; file NULL: none that tells anything */
    struct node_entry *entries; /* of a sequence (keys NULL) or a mapping */
    int count, capacity;
    struct node *deleted; /* of a merged mapping: the nulls that deleted a key; NULL: none */
};

struct node_entry {
    const char *key;
    struct source source; /* of the key */
    struct node *value;
};

void *pool_zeroed(struct tree_pool *pool, size_t size);
char *pool_string(struct tree_pool *pool, const char *text);
void pool_free(struct tree_pool *pool);

struct node *node_scalar(struct tree_pool *pool, const char *text, struct source source);
struct node *node_mapping(struct tree_pool *pool, struct source source);
/* Appends; does not look for an entry of the same key. */
void node_add(struct tree_pool *pool, struct node *parent, const char *key, struct source source,
              struct node *value);
/* The entry of `key` in a mapping, or NULL (also for other kinds and for NULL). */
const struct node_entry *node_entry_find(const struct node *mapping, const char *key);
/* The node at a dotted path, or NULL. */
const struct node *node_find(const struct node *root, const char *path);
/* Where a key that a mapping lacks was deleted (~); where the mapping was written if nobody did. */
struct source node_missing_source(const struct node *mapping, const char *key);
/* Where `path` or, if it was not set, its nearest parent was written. The path becomes the key, and
 * must outlive what takes it. */
struct source node_source(const struct node *root, const char *path);
/* An unquoted ~, null or nothing at all. */
bool node_is_null(const struct node *node);
/* `mapping` without the entry of `key`; the same node if there is none. */
struct node *node_without(struct tree_pool *pool, struct node *mapping, const char *key);

/* Parses one YAML document. Aliases and merge keys (<<) are expanded. `file` is kept by reference
 * and must live as long as the pool. Added to every position: `line` and `column` (0 for files).
 * NULL with "file:line:column: ..." for bad syntax, an empty document, a duplicate key, a key
 * that is not text, too many nodes or levels. */
struct node *tree_parse(struct tree_pool *pool, const char *file, const char *text, size_t length,
                        struct status *status);

/* `child` over `parent`: mappings merge key by key, scalars and sequences replace, a null deletes
 * (and never stays). `parent` may be NULL. */
struct node *tree_merge(struct tree_pool *pool, struct node *parent, struct node *child);
/* The same, and each scalar or list that replaces another one of `parent` knows where that stood
 * (`over`): for those who lie over a model that says otherwise. */
struct node *tree_override(struct tree_pool *pool, struct node *parent, struct node *child);

/* "a.b.c=value" as a mapping {a: {b: {c: value}}}; the value is YAML. Positions are those in the
 * argument, with file "--set" and the line `number`. */
struct node *tree_parse_setting(struct tree_pool *pool, const char *setting, int number,
                                struct status *status);

/* Writes the document as YAML for another parser. */
bool tree_emit(const struct node *root, struct text *text, struct status *status);
/* Writes the document as YAML to read, one key a line; with `remarks`, "# file:line" behind. */
void tree_print(const struct node *root, bool remarks, struct text *text);

#endif
