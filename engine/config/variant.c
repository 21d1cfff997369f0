#include "engine/config/loader.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"

#include <stdlib.h>
#include <string.h>

/* Where the value of `key` stands, owned; NULL without the key. */
static char *place_of(const struct node *node, const char *key)
{
    const struct node *value = node_find(node, key);
    return value ? memory_format("%s:%d:%d", value->source.file, value->source.line,
                                 value->source.column)
                 : NULL;
}

static struct variant_config *translate(const struct raw_variant *raw, const struct node *node,
                                        const char *name)
{
    struct variant_config *variant = memory_zeroed(1, sizeof(*variant));
    variant->name = memory_string(name);
    variant->group = raw->group;
    variant->ranks = raw->ranks ? raw->ranks : 1;
    variant->compares_with = memory_string(raw->compares_with);
    variant->tolerances = memory_string(raw->tolerances);
    variant->compare_factor = raw->compare_factor ? *raw->compare_factor : 1;
    variant->requires_cuda = raw->requires_cuda && *raw->requires_cuda;
    variant->reference_place = place_of(node, "compares_with");
    variant->tolerances_place = place_of(node, "tolerances");
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
        variant = translate(raw, node, name);
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
    free(variant->reference_place);
    free(variant->tolerances_place);
    free(variant);
}

static const struct variant_config *find(struct variant_config *const *variants, int count,
                                         const char *name)
{
    for (int i = 0; i < count; i++)
        if (variants[i] && strcmp(variants[i]->name, name) == 0)
            return variants[i];
    return NULL;
}

static void add_unknown(const struct variant_config *variant,
                        struct variant_config *const *variants, int count, struct text *problems)
{
    const char **names = memory_zeroed((size_t)count, sizeof(*names));
    int known = 0;
    for (int i = 0; i < count; i++)
        if (variants[i])
            names[known++] = variants[i]->name;
    const char *closest = names_closest(variant->compares_with, names, known);
    text_format(problems, "%s%s: compares_with: no variant '%.60s'%s%s%s",
                problems->length ? "\n" : "", variant->reference_place, variant->compares_with,
                closest ? " (did you mean '" : "; expected a variant's name",
                closest ? closest : "", closest ? "'?)" : "");
    free(names);
}

/* Whether the references of `variant` lead back to itself. A circle further on is not its own. */
static bool is_circle(const struct variant_config *variant, struct variant_config *const *variants,
                      int count)
{
    const struct variant_config *at = variant;
    for (int i = 0; i < count && at && at->compares_with; i++) {
        at = find(variants, count, at->compares_with);
        if (at == variant)
            return true;
    }
    return false;
}

bool variants_check(struct variant_config *const *variants, int count, struct status *status)
{
    struct text problems = {0};
    for (int i = 0; i < count; i++) {
        const struct variant_config *variant = variants[i];
        if (!variant || !variant->compares_with)
            continue;
        if (!find(variants, count, variant->compares_with))
            add_unknown(variant, variants, count, &problems);
        else if (is_circle(variant, variants, count))
            text_format(&problems,
                        "%s%s: compares_with %s, which leads back to %s; expected a reference that "
                        "ends in a baseline",
                        problems.length ? "\n" : "", variant->reference_place,
                        variant->compares_with, variant->name);
    }
    bool ok = problems.length == 0 || status_fail(status, STATUS_INVALID, "%s", problems.data);
    text_free(&problems);
    return ok;
}
