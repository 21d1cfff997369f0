#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Problems as lines, each once: a mistake in a parent shows in each of its children. */
struct report {
    struct names lines;
};

/* Takes the lines of a status, each between `before` and `after`. */
static void add_lines(struct report *report, const char *before, struct status *status,
                      const char *after)
{
    for (char *line = status->text; *line;) {
        size_t length = strcspn(line, "\n");
        char *whole = memory_format("%s%.*s%s", before, (int)length, line, after);
        names_set(&report->lines, whole, 0);
        free(whole);
        line += length + (line[length] == '\n');
    }
    *status = STATUS_NONE;
}

static void check_tables(const struct config_search *search, struct report *report)
{
    static const char *const devices[] = {"cpu", "cuda"};
    struct status status = STATUS_NONE;
    char **names = NULL;
    int count = tolerances_list(search, &names, &status);
    for (int i = 0; i < 2 * count; i++) {
        struct tolerances *table = tolerances_load(search, names[i / 2], devices[i % 2], &status);
        tolerances_free(table);
        add_lines(report, "", &status, "");
    }
    add_lines(report, "", &status, "");
    config_names_free(names, count);
}

static void check_references(const struct config_search *search,
                             const struct variant_config *variant, struct report *report)
{
    struct tree_pool pool = {0};
    struct status status = STATUS_NONE;
    struct config_file file = {0};
    char *before = memory_format("variant %s: ", variant->name);
    if (variant->compares_with)
        search_read(search, KIND_VARIANT, variant->compares_with, 0, &pool, &file, &status);
    add_lines(report, before, &status, "");
    if (variant->tolerances)
        search_read(search, KIND_TOLERANCES, variant->tolerances, 0, &pool, &file, &status);
    add_lines(report, before, &status, "");
    free(before);
    pool_free(&pool);
}

/* A variant is only of interest to the models that are tested under it. */
static void check_model(const struct config_search *search, const char *model,
                        struct variant_config *const *variants, int count, struct report *report)
{
    struct status status = STATUS_NONE;
    struct config *config = config_load(search, model, &status);
    add_lines(report, "", &status, "");
    for (int i = 0; config && i < count; i++) {
        const struct variant_config *variant = variants[i];
        if (!variant || config->groups[variant->group] == ACTION_NOT_IMPLEMENTED ||
            config_skips_variant(config, variant->name))
            continue;
        char *name = memory_format("%s/%s", model, variant->name);
        char *after = memory_format(" (in %s)", name);
        config_free(config_load(search, name, &status));
        add_lines(report, "", &status, after);
        free(name);
        free(after);
    }
    config_free(config);
}

static void check_models(const struct config_search *search, struct variant_config *const *variants,
                         int variant_count, struct report *report)
{
    struct status status = STATUS_NONE;
    char **names = NULL;
    int count = config_list_models(search, &names, &status);
    for (int i = 0; i < count; i++)
        check_model(search, names[i], variants, variant_count, report);
    add_lines(report, "", &status, "");
    config_names_free(names, count);
}

static void check_everything(const struct config_search *search, struct report *report)
{
    struct status status = STATUS_NONE;
    char **names = NULL;
    int count = config_list_variants(search, &names, &status);
    add_lines(report, "", &status, "");
    struct variant_config **variants =
        memory_zeroed((size_t)(count > 0 ? count : 0), sizeof(struct variant_config *));
    for (int i = 0; i < count; i++) {
        variants[i] = variant_load(search, names[i], &status);
        if (variants[i])
            check_references(search, variants[i], report);
        add_lines(report, "", &status, "");
    }
    check_tables(search, report);
    check_models(search, variants, count, report);
    for (int i = 0; i < count; i++)
        variant_free(variants[i]);
    free(variants);
    config_names_free(names, count);
}

int config_check_all(const struct config_search *search, char **report)
{
    struct report lines = {0};
    struct text text = {0};
    check_everything(search, &lines);
    int count = lines.lines.count;
    for (int i = 0; i < count; i++)
        text_format(&text, "%s%s", i ? "\n" : "", lines.lines.names[i]);
    *report = text_take(&text);
    names_free(&lines.lines);
    return count;
}
