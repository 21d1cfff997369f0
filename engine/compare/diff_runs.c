/* What two traces say of their runs: often the whole reason why tensors differ. */
#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"
#include "engine/compare/diff.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 4, LEVELS = 16 };

/* The settings of a resolved configuration: "optimizer.beta_1" -> "0.9". */
struct settings {
    struct names keys; /* the value is an index in `values` */
    char **values;
    int count, capacity;
};

static void settings_free(struct settings *settings)
{
    for (int i = 0; i < settings->count; i++)
        free(settings->values[i]);
    free(settings->values);
    names_free(&settings->keys);
}

/* What a run computes; the rest says how it is tested, and does not change its tensors. */
static bool is_of_the_run(const char *key)
{
    static const char *const parts[] = {"base_model.",  "optimizer.",   "data.",    "schedule.",
                                        "distributed.", "multi_stage.", "training."};
    for (int i = 0; i < ARRAY_LENGTH(parts); i++)
        if (strncmp(key, parts[i], strlen(parts[i])) == 0)
            return true;
    return false;
}

/* A line is "    key: value   # where it was written", two blanks for each level. What is no such
 * line is passed over: texts of other software are for people only. */
static void add_line(struct settings *settings, char *line, char *path[LEVELS])
{
    size_t blanks = strspn(line, " ");
    char *key = line + blanks, *colon = strstr(key, ":"), *remark = NULL;
    int depth = (int)(blanks / 2);
    if (!colon || depth >= LEVELS || (depth > 0 && !path[depth - 1]))
        return;
    for (char *at = colon; (at = strstr(at, " # ")); at++)
        remark = at;
    if (remark)
        *remark = '\0';
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " ");
    for (size_t length = strlen(value); length > 0 && value[length - 1] == ' ';)
        value[--length] = '\0';
    path[depth] = key;
    for (int i = depth + 1; i < LEVELS; i++)
        path[i] = NULL;
    struct text name = {0};
    for (int i = 0; i <= depth; i++)
        text_format(&name, "%s%s", i ? "." : "", path[i]);
    if (*value && is_of_the_run(name.data) &&
        names_set(&settings->keys, name.data, settings->count))
        ARRAY_PUSH(settings->values, settings->count, settings->capacity, memory_string(value));
    text_free(&name);
}

/* `config` is the text in a manifest, or NULL. */
static struct settings settings_of(const char *config)
{
    struct settings settings = {0};
    char *copy = memory_string(config ? config : ""), *rest = copy, *line, *path[LEVELS] = {0};
    while ((line = strsep(&rest, "\n")))
        add_line(&settings, line, path);
    free(copy);
    return settings;
}

static const char *value_of(const struct settings *settings, const char *key)
{
    int index = names_find(&settings->keys, key);
    return index >= 0 ? settings->values[index] : "unset";
}

static void add_key(struct text *text, int *count, const struct settings *reference,
                    const struct settings *test, const char *key)
{
    const char *here = value_of(test, key), *there = value_of(reference, key);
    if (strcmp(here, there) == 0)
        return;
    if (++*count <= SHOWN)
        text_format(text, "%s%s is %s, reference %s", text->length ? "; " : "", key, here, there);
}

static void note_settings(const struct settings *reference, const struct settings *test,
                          struct comparison_log *log)
{
    struct text text = {0};
    int count = 0;
    for (int i = 0; i < test->keys.count; i++)
        add_key(&text, &count, reference, test, test->keys.names[i]);
    for (int i = 0; i < reference->keys.count; i++)
        if (names_find(&test->keys, reference->keys.names[i]) < 0)
            add_key(&text, &count, reference, test, reference->keys.names[i]);
    if (count > SHOWN)
        text_format(&text, "; and %d more", count - SHOWN);
    if (count > 0)
        comparison_log_note(log, "other settings: %s", text.data);
    text_free(&text);
}

/* The tables of the 16-bit precisions have their names. Other software need not tell its own. */
static void note_precision(const struct settings *reference, const struct settings *test,
                           bool log_points, const char *table, struct comparison_log *log)
{
    const char *key = "distributed.compute_dtype";
    if (names_find(&test->keys, key) < 0 || names_find(&reference->keys, key) < 0)
        return;
    const char *here = value_of(test, key), *there = value_of(reference, key);
    const char *narrow = strcmp(here, "fp32") != 0 ? here : there;
    if (strcmp(here, there) == 0 || (log_points && table && strcmp(table, narrow) == 0))
        return;
    comparison_log_note(log, "other precision: --tolerances %s is made for it%s", narrow,
                        log_points ? "" : ", and for log points (lockstep run --log-points)");
}

static const char *text_of(const json_t *manifest, const char *key)
{
    const char *text = json_string_value(json_object_get(manifest, key));
    return text ? text : "";
}

static void note_difference(const json_t *reference, const json_t *test, const char *table,
                            struct comparison_log *log)
{
    const char *here = text_of(test, "run"), *there = text_of(reference, "run");
    bool points = json_is_true(json_object_get(test, "log_points"));
    bool points_there = json_is_true(json_object_get(reference, "log_points"));
    if (*here && *there && strcmp(here, there) != 0)
        comparison_log_note(log, "another run: %s, reference %s", here, there);
    const char *config = text_of(test, "config"), *config_there = text_of(reference, "config");
    struct settings settings = settings_of(config), settings_there = settings_of(config_there);
    if (settings.count > 0 && settings_there.count > 0) {
        note_settings(&settings_there, &settings, log);
        note_precision(&settings_there, &settings, points && points_there, table, log);
    }
    settings_free(&settings);
    settings_free(&settings_there);
    if (points != points_there)
        comparison_log_note(log,
                            "only the %s has log points alone (--log-points): inner values are "
                            "on one side",
                            points ? "test" : "reference");
}

void diff_note_runs(const struct trace *reference, const struct trace *test, const char *table,
                    struct comparison_log *log)
{
    json_t *there = json_loads(reference->manifest, 0, NULL);
    json_t *here = json_loads(test->manifest, 0, NULL);
    if (there && here)
        note_difference(there, here, table, log);
    json_decref(there);
    json_decref(here);
}
