/* Names of what there is, in listed order: by `order`, then by name. */
#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

struct listed {
    char *name;
    int order;
};

static int compare(const void *a, const void *b)
{
    const struct listed *left = a, *right = b;
    if (left->order != right->order)
        return left->order < right->order ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* A file that cannot be read is listed all the same: loading it says what is wrong. */
static int order_of(const struct config_search *search, enum config_kind kind, const char *name)
{
    struct tree_pool pool = {0};
    struct config_file file = {0};
    const struct node *node = NULL;
    if (search_read(search, kind, name, 0, &pool, &file, NULL))
        node = tree_parse(&pool, file.path, file.text, file.length, NULL);
    int order = document_order(node);
    pool_free(&pool);
    return order;
}

static int list(const struct config_search *search, enum config_kind kind, char ***names,
                struct status *status)
{
    struct names found = {0};
    if (!search_check(search, status))
        return -1;
    search_names(search, kind, &found);
    int count = found.count;
    struct listed *items = memory_zeroed((size_t)count, sizeof(*items));
    for (int i = 0; i < count; i++)
        items[i] =
            (struct listed){memory_string(found.names[i]), order_of(search, kind, found.names[i])};
    qsort(items, (size_t)count, sizeof(*items), compare);
    *names = memory_zeroed((size_t)count, sizeof(**names));
    for (int i = 0; i < count; i++)
        (*names)[i] = items[i].name;
    free(items);
    names_free(&found);
    return count;
}

int config_list_models(const struct config_search *search, char ***names, struct status *status)
{
    return list(search, KIND_MODEL, names, status);
}

int config_list_variants(const struct config_search *search, char ***names, struct status *status)
{
    return list(search, KIND_VARIANT, names, status);
}

int tolerances_list(const struct config_search *search, char ***names, struct status *status)
{
    return list(search, KIND_TOLERANCES, names, status);
}

void config_names_free(char **names, int count)
{
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}
