#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <stdlib.h>

static struct variant_config *translate(const struct raw_variant *raw, const char *name)
{
    struct variant_config *variant = memory_zeroed(1, sizeof(*variant));
    variant->name = memory_string(name);
    variant->group = raw->group;
    variant->ranks = raw->ranks ? raw->ranks : 1;
    variant->compares_with = memory_string(raw->compares_with);
    variant->tolerances = memory_string(raw->tolerances);
    variant->compare_factor = raw->compare_factor ? *raw->compare_factor : 1;
    variant->requires_cuda = raw->requires_cuda && *raw->requires_cuda;
    return variant;
}

struct variant_config *variant_load(const struct config_search *search, const char *name,
                                    struct status *status)
{
    struct tree_pool pool = {0};
    struct variant_config *variant = NULL;
    void *locale = numeric_enter();
    const struct node *node =
        search_check(search, status) ? resolve_variant(search, &pool, name, status) : NULL;
    struct raw_variant *raw = node ? check_load(node, &schema_variant, status) : NULL;
    if (raw)
        variant = translate(raw, name);
    check_release(raw, &schema_variant);
    numeric_leave(locale);
    pool_free(&pool);
    return variant;
}

void variant_free(struct variant_config *variant)
{
    if (!variant)
        return;
    free(variant->name);
    free(variant->compares_with);
    free(variant->tolerances);
    free(variant);
}
