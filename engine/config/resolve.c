/* Inheritance: a model over its parents, a variant over the model, --set over that, and all over
 * the defaults of configs/base.yaml. The defaults come in last, underneath, so that deleting a key
 * (~) means going back to its default. */
#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <string.h>

enum { CHAIN_LIMIT = 16, ORDER_UNSET = 1000000 };

struct chain {
    const struct config_search *search;
    struct tree_pool *pool;
    const char *files[CHAIN_LIMIT];
    int count;
    struct problems problems; /* of each document by itself: merging may hide them */
    struct status *status;
};

static struct node *fail_at(struct chain *chain, struct source source, const char *text)
{
    status_fail(chain->status, STATUS_INVALID, "%s:%d:%d: %s", source.file, source.line,
                source.column, text);
    return NULL;
}

static struct node *parse_mapping(struct chain *chain, const struct config_file *file)
{
    struct node *node =
        tree_parse(chain->pool, file->path, file->text, file->length, chain->status);
    if (node && node->kind != NODE_MAPPING)
        return fail_at(chain, node->source, "a word or a list; expected keys and values");
    return node;
}

static struct node *fail_cycle(struct chain *chain, struct source source, const char *parent)
{
    struct text text = {0};
    text_format(&text, "extends %s, which is a cycle: ", parent);
    for (int i = 0; i < chain->count; i++)
        text_format(&text, "%s -> ", chain->files[i]);
    text_format(&text, "%s; expected a parent that does not come back here", parent);
    fail_at(chain, source, text.data);
    text_free(&text);
    return NULL;
}

static bool is_visited(const struct chain *chain, const char *path)
{
    for (int i = 0; i < chain->count; i++)
        if (!strcmp(chain->files[i], path))
            return true;
    return false;
}

static struct node *resolve_file(struct chain *chain, const struct config_file *file,
                                 const char *name);

/* Reads the parent named by `extends`. A model that extends its own name means the next one of
 * that name in the search order, so that a user's llama.yaml can refine the llama built in. */
static struct node *resolve_parent(struct chain *chain, const struct config_file *file,
                                   const char *name, const struct node *extends)
{
    struct config_file parent = {0};
    struct status failure = STATUS_NONE;
    if (extends->kind != NODE_SCALAR || node_is_null(extends))
        return fail_at(chain, extends->source, "extends is not a word; expected a model's name");
    bool itself = !strcmp(extends->text, name);
    if (!search_read(chain->search, KIND_MODEL, extends->text, itself ? file->place + 1 : 0,
                     chain->pool, &parent, &failure)) {
        if (itself)
            return fail_cycle(chain, extends->source, extends->text);
        struct text text = {0};
        text_format(&text, "extends: %s", failure.text);
        fail_at(chain, extends->source, text.data);
        text_free(&text);
        return NULL;
    }
    if (is_visited(chain, parent.path))
        return fail_cycle(chain, extends->source, extends->text);
    if (chain->count == CHAIN_LIMIT)
        return fail_at(chain, extends->source, "too many parents; expected at most 15");
    struct node *node = resolve_file(chain, &parent, extends->text);
    /* How a model is tested and listed is said by each model for itself. */
    node = node ? node_without(chain->pool, node, "groups") : NULL;
    return node ? node_without(chain->pool, node, "order") : NULL;
}

/* A part of a configuration by itself: what lies over it may hide its mistakes. */
static void check_part(const struct node *part, const cyaml_schema_value_t *schema,
                       const char *what, struct problems *problems)
{
    int before = problems->count;
    check_document(part, schema, what, true, problems);
    if (problems->count == before)
        check_ranges(part, problems);
}

static struct node *resolve_file(struct chain *chain, const struct config_file *file,
                                 const char *name)
{
    chain->files[chain->count++] = file->path;
    struct node *own = parse_mapping(chain, file);
    if (!own)
        return NULL;
    const struct node_entry *extends = node_entry_find(own, "extends");
    own = node_without(chain->pool, own, "extends");
    check_part(own, &schema_config, "the model", &chain->problems);
    if (!extends)
        return tree_merge(chain->pool, NULL, own);
    struct node *parent = resolve_parent(chain, file, name, extends->value);
    return parent ? tree_merge(chain->pool, parent, own) : NULL;
}

/* The model under a variant: its number of ranks is the world size, unless its overrides say
 * otherwise. What the model says of that gives way, as it does to all that a variant sets. */
static struct node *apply_variant(struct tree_pool *pool, struct node *root,
                                  const struct node *variant)
{
    const struct node_entry *overrides = node_entry_find(variant, "overrides");
    const struct node_entry *ranks = node_entry_find(variant, "ranks");
    struct source source = root->source;
    if (ranks) {
        struct node *distributed = node_mapping(pool, ranks->source);
        struct node *node = node_mapping(pool, ranks->source);
        node_add(pool, distributed, "world_size", ranks->source, ranks->value);
        node_add(pool, node, "distributed", ranks->source, distributed);
        root = tree_override(pool, root, node);
    }
    if (overrides)
        root = tree_override(pool, root, overrides->value);
    root->source = source;
    return root;
}

static struct node *apply_settings(struct chain *chain, struct node *root)
{
    const struct config_search *search = chain->search;
    struct source source = root->source;
    for (int i = 0; search && i < search->override_count; i++) {
        struct node *setting =
            tree_parse_setting(chain->pool, search->overrides[i], i + 1, chain->status);
        if (!setting)
            return NULL;
        if (node_entry_find(setting, "extends"))
            return fail_at(chain, setting->source, "extends cannot be set here; name the model");
        check_part(setting, &schema_config, "the model", &chain->problems);
        root = tree_override(chain->pool, root, setting);
    }
    root->source = source; /* what is missing is missing from the model's file */
    return root;
}

/* Mappings that only the defaults have are said to be where they were deleted, or else where their
 * parent is: what is missing in them is missing from the user's file. */
static void adopt_mappings(struct node *node, const char *defaults)
{
    for (int i = 0; i < node->count; i++) {
        struct node *value = node->entries[i].value;
        if (value->kind != NODE_MAPPING)
            continue;
        if (value->source.file == defaults)
            value->source = node_missing_source(node, node->entries[i].key);
        adopt_mappings(value, defaults);
    }
}

static struct node *apply_defaults(struct chain *chain, struct node *root)
{
    struct config_file file = {0};
    if (!search_read_embedded("base.yaml", &file, chain->status))
        return NULL;
    struct node *base = parse_mapping(chain, &file);
    if (!base)
        return NULL;
    struct node *merged = tree_merge(chain->pool, base, root);
    adopt_mappings(merged, file.path);
    return merged;
}

struct node *resolve_model(const struct config_search *search, struct tree_pool *pool,
                           const struct config_file *file, const char *name,
                           const struct node *variant, struct status *status)
{
    struct chain chain = {.search = search, .pool = pool, .status = status};
    struct node *root = resolve_file(&chain, file, name);
    if (root && variant)
        root = apply_variant(pool, root, variant);
    root = root ? apply_settings(&chain, root) : NULL;
    root = root ? apply_defaults(&chain, root) : NULL;
    if (root && problems_end(&chain.problems, status))
        return root;
    text_free(&chain.problems.text);
    return NULL;
}

static void check_variant(const struct node *node, const char *name, struct problems *problems)
{
    int before = problems->count;
    check_document(node, &schema_variant, "the variant", false, problems);
    if (problems->count == before)
        check_ranges(node, problems); /* of compare_factor, which models have as well */
    const struct node_entry *overrides = node_entry_find(node, "overrides");
    if (overrides)
        check_part(overrides->value, &schema_overrides, "overrides", problems);
    const struct node *own = node_find(node, "name"), *ranks = node_find(node, "ranks");
    const struct node *group = node_find(node, "group");
    if (own && own->kind == NODE_SCALAR && strcmp(own->text, name))
        problem_add(problems, own->source, "name is '%.60s'; expected '%s', as the file is called",
                    own->text, name);
    int64_t value;
    if (ranks && ranks->kind == NODE_SCALAR &&
        check_integer(ranks->text, INT32_MIN, INT32_MAX, &value) && (value < 1 || value > 65536))
        problem_add(problems, ranks->source, "ranks is %s; expected 1 to 65536", ranks->text);
    else if (ranks && group && ranks->kind == NODE_SCALAR && group->kind == NODE_SCALAR &&
             strcmp(ranks->text, "1") != 0 && strcmp(group->text, "basic") == 0)
        problem_add(problems, ranks->source,
                    "ranks is %.20s; expected 1 in group basic (several: group distributed)",
                    ranks->text);
    if (!node_find(node, "compares_with") != !node_find(node, "tolerances"))
        problem_add(problems, node->source,
                    "only one of compares_with and tolerances; expected both or none");
}

struct node *resolve_variant(const struct config_search *search, struct tree_pool *pool,
                             const char *name, struct status *status)
{
    struct chain chain = {.search = search, .pool = pool, .status = status};
    struct config_file file = {0};
    struct problems problems = {0};
    if (!search_read(search, KIND_VARIANT, name, 0, pool, &file, status))
        return NULL;
    struct node *node = parse_mapping(&chain, &file);
    if (!node)
        return NULL;
    /* The overrides keep their nulls: they delete from the model. */
    const struct node_entry *overrides = node_entry_find(node, "overrides");
    node = tree_merge(pool, NULL, node_without(pool, node, "overrides"));
    if (overrides && !node_is_null(overrides->value))
        node_add(pool, node, overrides->key, overrides->source, overrides->value);
    check_variant(node, name, &problems);
    return problems_end(&problems, status) ? node : NULL;
}

int document_order(const struct node *root)
{
    int64_t value;
    const struct node *order = node_find(root, "order");
    if (order && order->kind == NODE_SCALAR &&
        check_integer(order->text, INT32_MIN, INT32_MAX, &value))
        return (int)value;
    return ORDER_UNSET;
}
