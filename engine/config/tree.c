#include "engine/config/tree.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

void *pool_zeroed(struct tree_pool *pool, size_t size)
{
    void *block = memory_zeroed(1, size);
    ARRAY_PUSH(pool->blocks, pool->count, pool->capacity, block);
    return block;
}

char *pool_string(struct tree_pool *pool, const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(pool_zeroed(pool, size), text, size);
}

void pool_free(struct tree_pool *pool)
{
    for (int i = 0; i < pool->count; i++)
        free(pool->blocks[i]);
    free(pool->blocks);
    *pool = (struct tree_pool){0};
}

static struct node *new_node(struct tree_pool *pool, enum node_kind kind, struct source source)
{
    struct node *node = pool_zeroed(pool, sizeof(*node));
    node->kind = kind;
    node->source = source;
    return node;
}

struct node *node_scalar(struct tree_pool *pool, const char *text, struct source source)
{
    struct node *node = new_node(pool, NODE_SCALAR, source);
    node->text = pool_string(pool, text);
    return node;
}

struct node *node_mapping(struct tree_pool *pool, struct source source)
{
    return new_node(pool, NODE_MAPPING, source);
}

void node_add(struct tree_pool *pool, struct node *parent, const char *key, struct source source,
              struct node *value)
{
    if (parent->count == parent->capacity) {
        /* The old array stays in the pool: doubling wastes no more than is used. */
        int capacity = parent->capacity ? 2 * parent->capacity : 4;
        struct node_entry *entries = pool_zeroed(pool, (size_t)capacity * sizeof(*entries));
        if (parent->count)
            memcpy(entries, parent->entries, (size_t)parent->count * sizeof(*entries));
        parent->entries = entries;
        parent->capacity = capacity;
    }
    parent->entries[parent->count++] = (struct node_entry){key, source, value};
}

const struct node_entry *node_entry_find(const struct node *mapping, const char *key)
{
    if (!mapping || mapping->kind != NODE_MAPPING)
        return NULL;
    for (int i = 0; i < mapping->count; i++)
        if (!strcmp(mapping->entries[i].key, key))
            return &mapping->entries[i];
    return NULL;
}

/* Walks as far down `path` as there are nodes; `*rest` is what was not found ("" if all was). */
static const struct node *walk(const struct node *root, const char *path, const char **rest)
{
    const struct node *node = root;
    while (*path) {
        size_t length = strcspn(path, ".");
        char *key = memory_string_part(path, length);
        const struct node_entry *entry = node_entry_find(node, key);
        free(key);
        if (!entry)
            break;
        node = entry->value;
        path += length + (path[length] == '.');
    }
    *rest = path;
    return node;
}

const struct node *node_find(const struct node *root, const char *path)
{
    const char *rest;
    const struct node *node = walk(root, path, &rest);
    return *rest ? NULL : node;
}

struct source node_missing_source(const struct node *mapping, const char *key)
{
    const struct node_entry *entry = node_entry_find(mapping->deleted, key);
    return entry ? entry->source : mapping->source;
}

struct source node_source(const struct node *root, const char *path)
{
    const char *rest;
    const struct node *node = walk(root, path, &rest);
    char *key = memory_string_part(rest, strcspn(rest, "."));
    struct source source = node_missing_source(node, key); /* of "", all found, itself */
    free(key);
    source.key = path;
    return source;
}

bool node_is_null(const struct node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != NODE_SCALAR || node->quoted)
        return false;
    for (int i = 0; i < ARRAY_LENGTH(words); i++)
        if (!strcmp(node->text, words[i]))
            return true;
    return false;
}

struct node *node_without(struct tree_pool *pool, struct node *mapping, const char *key)
{
    if (!node_entry_find(mapping, key))
        return mapping;
    struct node *copy = node_mapping(pool, mapping->source);
    copy->deleted = mapping->deleted;
    for (int i = 0; i < mapping->count; i++) {
        const struct node_entry *entry = &mapping->entries[i];
        if (strcmp(entry->key, key))
            node_add(pool, copy, entry->key, entry->source, entry->value);
    }
    return copy;
}

static void note_deleted(struct tree_pool *pool, struct node *merged,
                         const struct node_entry *entry)
{
    if (!merged->deleted)
        merged->deleted = node_mapping(pool, merged->source);
    node_add(pool, merged->deleted, entry->key, entry->value->source, entry->value);
}

/* What is missing then is missing where it was deleted, however many files lie over that. */
static void note_all_deleted(struct tree_pool *pool, struct node *merged, const struct node *parent,
                             const struct node *child)
{
    for (int i = 0; i < child->count; i++)
        if (node_is_null(child->entries[i].value))
            note_deleted(pool, merged, &child->entries[i]);
    for (int i = 0; child->deleted && i < child->deleted->count; i++)
        note_deleted(pool, merged, &child->deleted->entries[i]);
    const struct node *before = parent ? parent->deleted : NULL;
    for (int i = 0; before && i < before->count; i++)
        if (!node_entry_find(child, before->entries[i].key) &&
            !node_entry_find(merged->deleted, before->entries[i].key))
            note_deleted(pool, merged, &before->entries[i]);
}

struct node *tree_merge(struct tree_pool *pool, struct node *parent, struct node *child)
{
    if (child->kind != NODE_MAPPING)
        return child;
    if (parent && parent->kind != NODE_MAPPING)
        parent = NULL;
    struct node *merged = node_mapping(pool, child->source);
    for (int i = 0; parent && i < parent->count; i++) {
        const struct node_entry *old = &parent->entries[i];
        const struct node_entry *new = node_entry_find(child, old->key);
        if (!new)
            node_add(pool, merged, old->key, old->source, old->value);
        else if (!node_is_null(new->value))
            node_add(pool, merged, new->key, new->source, tree_merge(pool, old->value, new->value));
    }
    for (int i = 0; i < child->count; i++) {
        const struct node_entry *new = &child->entries[i];
        if (!node_entry_find(parent, new->key) && !node_is_null(new->value))
            node_add(pool, merged, new->key, new->source, tree_merge(pool, NULL, new->value));
    }
    note_all_deleted(pool, merged, parent, child);
    return merged;
}

static bool says_the_same(const struct node *one, const struct node *other)
{
    if (one->kind != other->kind || one->count != other->count)
        return false;
    if (one->kind == NODE_SCALAR)
        return !strcmp(one->text, other->text);
    for (int i = 0; i < one->count; i++) {
        const struct node_entry *entry = &one->entries[i], *twin = &other->entries[i];
        if (entry->key) /* mappings say the same in any order */
            twin = node_entry_find(other, entry->key);
        if (!twin || !says_the_same(entry->value, twin->value))
            return false;
    }
    return true;
}

/* Nodes may be shared, so what is marked is a copy; mappings that are not the parent's are new. */
static void mark_replaced(struct tree_pool *pool, struct node *merged, const struct node *parent)
{
    for (int i = 0; i < merged->count; i++) {
        struct node *value = merged->entries[i].value;
        const struct node_entry *old = node_entry_find(parent, merged->entries[i].key);
        if (!old || old->value == value)
            continue;
        if (value->kind == NODE_MAPPING) {
            mark_replaced(pool, value, old->value);
        } else if (!says_the_same(value, old->value)) {
            struct node *copy = pool_zeroed(pool, sizeof(*copy));
            *copy = *value;
            copy->over = old->value->source;
            merged->entries[i].value = copy;
        }
    }
}

struct node *tree_override(struct tree_pool *pool, struct node *parent, struct node *child)
{
    struct node *merged = tree_merge(pool, parent, child);
    if (merged->kind == NODE_MAPPING)
        mark_replaced(pool, merged, parent);
    return merged;
}
