#include "engine/config/loader.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Problems as lines, each once: a mistake in a parent shows in each of its children, and one in a
 * variant in each of the models. */
struct report {
    struct names lines; /* -> in how many runs, 0: not found in a run */
    char **runs;        /* [lines.count], owned: the first run that has it, or NULL */
    int run_count, run_capacity;
};

static void add_line(struct report *report, const char *line, const char *run)
{
    int before = names_find(&report->lines, line);
    if (before < 0)
        ARRAY_PUSH(report->runs, report->run_count, report->run_capacity,
                   run ? memory_string(run) : NULL);
    names_set(&report->lines, line, (before > 0 ? before : 0) + (run != NULL));
}

/* Takes the lines of a status, each after `before`. `run`: the MODEL/VARIANT that has them, or
 * NULL. */
static void add_lines(struct report *report, const char *before, struct status *status,
                      const char *run)
{
    for (char *line = status->text; *line;) {
        size_t length = strcspn(line, "\n");
        char *whole = memory_format("%s%.*s", before, (int)length, line);
        add_line(report, whole, run);
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
        add_lines(report, "", &status, NULL);
    }
    add_lines(report, "", &status, NULL);
    config_names_free(names, count);
}

static void check_table_name(const struct config_search *search,
                             const struct variant_config *variant, struct report *report)
{
    struct tree_pool pool = {0};
    struct status status = STATUS_NONE;
    struct config_file file = {0};
    if (variant->tolerances &&
        !search_read(search, KIND_TOLERANCES, variant->tolerances, 0, &pool, &file, &status)) {
        char *before = memory_format("%s: tolerances: ", variant->tolerances_place);
        add_lines(report, before, &status, NULL);
        free(before);
    }
    pool_free(&pool);
}

/* A variant is only of interest to the models that are tested under it. */
static void check_model(const struct config_search *search, const char *model,
                        struct variant_config *const *variants, int count, struct report *report)
{
    struct status status = STATUS_NONE;
    struct config *config = config_load(search, model, &status);
    add_lines(report, "", &status, NULL);
    for (int i = 0; config && i < count; i++) {
        const struct variant_config *variant = variants[i];
        if (!variant || config->groups[variant->group] == ACTION_NOT_IMPLEMENTED ||
            config_skips_variant(config, variant->name))
            continue;
        char *name = memory_format("%s/%s", model, variant->name);
        config_free(config_load(search, name, &status));
        if (status.code == STATUS_UNSUPPORTED)
            status = STATUS_NONE; /* 2 ranks cannot share 3 groups: its test is skipped */
        add_lines(report, "", &status, name);
        free(name);
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
    add_lines(report, "", &status, NULL);
    config_names_free(names, count);
}

/* Files that are not found under any name, or hidden by others. */
static void check_file_names(const struct config_search *search, struct report *report)
{
    struct names paths = {0};
    search_odd_files(search, &paths);
    for (int i = 0; i < paths.count; i++) {
        char *line = memory_format(
            "%s: the file's name is no name; expected letters, digits and _ - . + before .yaml",
            paths.names[i]);
        add_line(report, line, NULL);
        free(line);
    }
    names_free(&paths);
    search_hidden_files(search, &paths);
    for (int i = 0; i < paths.count; i++)
        add_line(report, paths.names[i], NULL);
    names_free(&paths);
}

static void check_everything(const struct config_search *search, struct report *report)
{
    struct status status = STATUS_NONE;
    check_file_names(search, report);
    char **names = NULL;
    int count = config_list_variants(search, &names, &status);
    add_lines(report, "", &status, NULL);
    struct variant_config **variants =
        memory_zeroed((size_t)(count > 0 ? count : 0), sizeof(struct variant_config *));
    for (int i = 0; i < count; i++) {
        variants[i] = variant_load(search, names[i], &status);
        if (variants[i])
            check_table_name(search, variants[i], report);
        add_lines(report, "", &status, NULL);
    }
    variants_check(variants, count > 0 ? count : 0, &status);
    add_lines(report, "", &status, NULL);
    check_tables(search, report);
    check_models(search, variants, count, report);
    for (int i = 0; i < count; i++)
        variant_free(variants[i]);
    free(variants);
    config_names_free(names, count);
}

static void print_line(const struct report *report, int line, struct text *text)
{
    int runs = report->lines.values[line];
    text_format(text, "%s%s", text->length ? "\n" : "", report->lines.names[line]);
    if (report->runs[line])
        text_format(text, " (in %s", report->runs[line]);
    if (report->runs[line] && runs > 1)
        text_format(text, " and %d other run%s", runs - 1, runs > 2 ? "s" : "");
    text_add(text, report->runs[line] ? ")" : "");
}

int config_check_all(const struct config_search *search, char **report)
{
    struct report lines = {0};
    struct text text = {0};
    check_everything(search, &lines);
    int count = lines.lines.count;
    for (int i = 0; i < count; i++)
        print_line(&lines, i, &text);
    *report = text_take(&text);
    for (int i = 0; i < count; i++)
        free(lines.runs[i]);
    free(lines.runs);
    names_free(&lines.lines);
    return count;
}
