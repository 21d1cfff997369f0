#include "engine/config/loader.h"

#include "engine/base/expression.h"
#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const DEFAULT_VARIANT = "simple";

const char *test_group_name(enum test_group group)
{
    static const char *const names[GROUP_COUNT] = {"basic",     "checkpoint", "convert",
                                                   "generate",  "megatron",   "distributed",
                                                   "streaming", "lm_eval"};
    return names[group];
}

const char *precision_name(enum precision precision)
{
    static const char *const names[] = {"fp32", "bf16", "fp16"};
    return names[precision];
}

const char *test_action_name(enum test_action action)
{
    static const char *const names[] = {"unimportant", "main", "normal", "broken",
                                        "not_implemented"};
    return names[action];
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (int i = 0; i < config->skip_test_count; i++)
        free(config->skip_tests[i]);
    free(config->skip_tests);
    free(config->checkpoint_format);
    free(config->resolved);
    free(config->name);
    free(config->model);
    free(config->variant);
    if (config->storage)
        pool_free(config->storage);
    free(config->storage);
    free(config);
}

/* The document as text with remarks, and the hash of the one without: neither where a value was
 * written nor how a model is tested changes what runs. */
static void describe(struct config *config, struct node *root)
{
    struct text remarked = {0}, plain = {0};
    tree_print(root, true, &remarked);
    tree_print(check_sorted(config->storage, root, &schema_overrides), false, &plain);
    config->hash = hash_bytes(plain.data, plain.length);
    config->resolved = text_take(&remarked);
    text_free(&plain);
}

/* Checks and translates `root`, whose nodes live in config->storage. */
static bool fill(struct config *config, struct node *root, struct status *status)
{
    struct problems problems = {0};
    check_document(root, &schema_config, "the model", false, &problems);
    if (!problems_end(&problems, status))
        return false;
    root = check_sorted(config->storage, root, &schema_config);
    struct raw_config *raw = check_load(root, &schema_config, status);
    if (!raw)
        return false;
    translate_config(raw, root, config->storage, config);
    check_release(raw, &schema_config);
    check_semantics(root, config, &problems);
    describe(config, root);
    return problems_end(&problems, status);
}

/* `variant` NULL: the default one, and the name stays short. */
static struct config *load(const struct config_search *search, const struct config_file *file,
                           const char *model, const char *variant, struct tree_pool *pool,
                           struct status *status)
{
    struct config *config = memory_zeroed(1, sizeof(*config));
    config->storage = pool;
    config->model = memory_string(model);
    config->variant = memory_string(variant ? variant : DEFAULT_VARIANT);
    config->name = variant ? memory_format("%s/%s", model, variant) : memory_string(model);
    const struct node *overrides = resolve_variant(search, pool, config->variant, status);
    struct node *root =
        overrides ? resolve_model(search, pool, file, model, overrides, status) : NULL;
    if (!root || !fill(config, root, status)) {
        config_free(config);
        return NULL;
    }
    return config;
}

/* The parts of MODEL, MODEL/VARIANT or MODEL/GROUP/VARIANT; owned, NULL where there is none. */
struct run_name {
    char *model, *group, *variant;
};

static struct run_name split_name(const char *name)
{
    const char *first = strchr(name, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    struct run_name parts = {0};
    parts.model = memory_string_part(name, first ? (size_t)(first - name) : strlen(name));
    if (second)
        parts.group = memory_string_part(first + 1, (size_t)(second - first - 1));
    if (first)
        parts.variant = memory_string(second ? second + 1 : first + 1);
    return parts;
}

static void free_name(struct run_name *parts)
{
    free(parts->model);
    free(parts->group);
    free(parts->variant);
}

static int find_group(const char *word)
{
    for (int group = 0; word && group < GROUP_COUNT; group++)
        if (strcmp(word, test_group_name((enum test_group)group)) == 0)
            return group;
    return -1;
}

static bool fail_group(const char *word, struct status *status)
{
    const char *names[GROUP_COUNT];
    struct text text = {0};
    for (int group = 0; group < GROUP_COUNT; group++)
        names[group] = test_group_name((enum test_group)group);
    const char *closest = names_closest(word, names, GROUP_COUNT);
    if (closest)
        text_format(&text, "did you mean '%s'?", closest);
    for (int group = 0; !closest && group < GROUP_COUNT; group++)
        text_format(&text, "%s%s", group ? ", " : "there are: ", names[group]);
    status_fail(status, STATUS_NOT_FOUND, "no group '%.100s' (%s)", word, text.data);
    text_free(&text);
    return false;
}

/* What is asked for must be one run, and the group in a test's name that of its variant. */
static bool check_name(const struct config_search *search, const struct run_name *parts,
                       struct status *status)
{
    const char *whole = parts->group && !*parts->variant ? parts->group : parts->variant;
    if (find_group(whole) >= 0)
        return status_fail(status, STATUS_NOT_FOUND,
                           "%.100s/%s is a group of tests, and this takes one run: "
                           "'lockstep list tests %.100s/%s' names them",
                           parts->model, whole, parts->model, whole);
    if (!parts->group)
        return true;
    if (find_group(parts->group) < 0)
        return fail_group(parts->group, status);
    struct variant_config *variant = variant_load(search, parts->variant, status);
    bool ok = variant && (int)variant->group == find_group(parts->group);
    if (variant && !ok)
        status_fail(status, STATUS_NOT_FOUND,
                    "no test '%.100s/%s/%s' (did you mean '%.100s/%s/%s'?)", parts->model,
                    parts->group, parts->variant, parts->model, test_group_name(variant->group),
                    parts->variant);
    variant_free(variant);
    return ok;
}

struct config *config_load(const struct config_search *search, const char *name,
                           struct status *status)
{
    struct run_name parts = split_name(name);
    struct tree_pool *pool = memory_zeroed(1, sizeof(*pool));
    struct config_file file = {0};
    struct config *config = NULL;
    void *locale = numeric_enter();
    if (search_check(search, status) &&
        search_read(search, KIND_MODEL, parts.model, 0, pool, &file, status) &&
        check_name(search, &parts, status)) {
        config = load(search, &file, parts.model, parts.variant, pool, status);
    } else {
        pool_free(pool);
        free(pool);
    }
    numeric_leave(locale);
    free_name(&parts);
    return config;
}

struct config *config_load_text(const struct config_search *search, const char *file,
                                const char *text, size_t length, const char *variant,
                                struct status *status)
{
    struct tree_pool *pool = memory_zeroed(1, sizeof(*pool));
    struct config_file own = {.path = pool_string(pool, file), .length = length};
    own.text = pool_zeroed(pool, length + 1);
    memcpy(own.text, text, length);
    void *locale = numeric_enter();
    struct config *config = load(search, &own, "text", variant, pool, status);
    numeric_leave(locale);
    return config;
}

bool config_skips_variant(const struct config *config, const char *variant)
{
    bool skips = false;
    for (int i = 0; i < config->skip_test_count && !skips; i++) {
        regex_t expression;
        char why[EXPRESSION_WHY_SIZE];
        /* The loader has compiled it once: it can only fail for want of memory. */
        if (!expression_compile(config->skip_tests[i], &expression, why))
            continue;
        skips = regexec(&expression, variant, 0, NULL, 0) == 0;
        regfree(&expression);
    }
    return skips;
}
