#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <regex.h>
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

/* The variant in MODEL/VARIANT, or in a test's name MODEL/GROUP/VARIANT; `slash` is the first one.
 */
static const char *variant_of(const char *slash)
{
    const char *rest = slash + 1;
    for (int group = 0; group < GROUP_COUNT; group++) {
        const char *word = test_group_name((enum test_group)group);
        size_t length = strlen(word);
        if (strncmp(rest, word, length) == 0 && rest[length] == '/')
            return rest + length + 1;
    }
    return rest;
}

struct config *config_load(const struct config_search *search, const char *name,
                           struct status *status)
{
    const char *slash = strchr(name, '/');
    char *model = memory_string_part(name, slash ? (size_t)(slash - name) : strlen(name));
    struct tree_pool *pool = memory_zeroed(1, sizeof(*pool));
    struct config_file file = {0};
    struct config *config = NULL;
    void *locale = numeric_enter();
    if (search_check(search, status) &&
        search_read(search, KIND_MODEL, model, 0, pool, &file, status)) {
        config = load(search, &file, model, slash ? variant_of(slash) : NULL, pool, status);
    } else {
        pool_free(pool);
        free(pool);
    }
    numeric_leave(locale);
    free(model);
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
        /* The loader has compiled it once: it can only fail for want of memory. */
        if (regcomp(&expression, config->skip_tests[i], REG_EXTENDED | REG_NOSUB))
            continue;
        skips = regexec(&expression, variant, 0, NULL, 0) == 0;
        regfree(&expression);
    }
    return skips;
}
