#include "engine/config/tolerances.h"

#include "engine/base/memory.h"
#include "engine/config/loader.h"

#include <stdlib.h>
#include <string.h>

static void set(double *limit, const double *value)
{
    if (value)
        *limit = *value;
}

/* Adds what was written to `limits`. The shorthand (relative, absolute) is for the root of the
 * mean square; the maximum may be ten times that, and below a tenth of `absolute` a tensor is
 * small. */
static void apply(struct limits *limits, const struct raw_limits *raw)
{
    if (raw->relative) {
        limits->rms_relative = *raw->relative;
        limits->max_relative = 10 * *raw->relative;
    }
    if (raw->absolute) {
        limits->rms_absolute = *raw->absolute;
        limits->max_absolute = 10 * *raw->absolute;
        limits->rms_epsilon = *raw->absolute / 10;
    }
    set(&limits->rms_relative, raw->rms_relative);
    set(&limits->rms_absolute, raw->rms_absolute);
    set(&limits->max_relative, raw->max_relative);
    set(&limits->max_absolute, raw->max_absolute);
    set(&limits->rms_epsilon, raw->rms_epsilon);
    set(&limits->scale, raw->scale);
    limits->ignore = raw->ignore ? *raw->ignore : limits->ignore;
    limits->ignore_duplicates =
        raw->ignore_duplicates ? *raw->ignore_duplicates : limits->ignore_duplicates;
}

/* Whether it says how to compare, and not only how to treat what is compared. */
static bool is_complete(const struct raw_limits *raw)
{
    return (raw->ignore && *raw->ignore) || (raw->relative && raw->absolute) ||
           (raw->rms_relative && raw->rms_absolute && raw->max_relative && raw->max_absolute);
}

static const char *const limit_keys[] = {"relative",     "absolute",     "rms_relative",
                                         "rms_absolute", "max_relative", "max_absolute",
                                         "rms_epsilon",  "scale"};

static void check_limits(const struct node *node, const char *where, struct problems *problems)
{
    for (int i = 0; i < ARRAY_LENGTH(limit_keys); i++) {
        const struct node *limit = node_find(node, limit_keys[i]);
        bool scale = !strcmp(limit_keys[i], "scale");
        double value;
        if (limit && limit->kind == NODE_SCALAR && check_number(limit->text, &value) &&
            (value < 0 || (scale && value == 0)))
            problem_add(problems, limit->source, "%s.%s is %s; expected %s", where, limit_keys[i],
                        limit->text, scale ? "more than 0" : "at least 0");
    }
}

/* Adds the rule if the device has it. */
static void add_rule(struct tolerances *tolerances, const struct raw_rule *raw,
                     const struct node *node, const char *device, struct problems *problems)
{
    const struct raw_limits *column = strcmp(device, "cuda") ? raw->cpu : raw->cuda;
    bool everywhere = is_complete(&raw->limits);
    check_limits(node, "rule", problems);
    check_limits(node_find(node, "cpu"), "rule.cpu", problems);
    check_limits(node_find(node, "cuda"), "rule.cuda", problems);
    if (!everywhere && !raw->cpu && !raw->cuda)
        problem_add(problems, node->source,
                    "the rule has no limits; expected relative and absolute, or ignore: true, or a "
                    "column cpu or cuda");
    if (!everywhere && column && !is_complete(column))
        problem_add(problems,
                    column == raw->cpu ? node_find(node, "cpu")->source
                                       : node_find(node, "cuda")->source,
                    "the column has no limits; expected relative and absolute, or ignore: true");
    if (!everywhere && !column)
        return;
    struct tolerance_rule *rule = &tolerances->rules[tolerances->rule_count++];
    rule->step = memory_string(raw->step);
    rule->name = memory_string(raw->name);
    rule->limits.scale = 1;
    rule->source = (struct source){tolerances->name, node->source.line, node->source.column, NULL};
    apply(&rule->limits, &raw->limits);
    if (column)
        apply(&rule->limits, column);
}

static struct tolerances *translate(const struct raw_tolerances *raw, const struct node *root,
                                    const char *name, const char *device, struct status *status)
{
    struct tolerances *tolerances = memory_zeroed(1, sizeof(*tolerances));
    struct problems problems = {0};
    const struct node *rules = node_find(root, "rules");
    tolerances->name = memory_string(name);
    tolerances->rules = memory_zeroed(raw->rules_count, sizeof(*tolerances->rules));
    for (uint32_t i = 0; i < raw->rules_count; i++)
        add_rule(tolerances, &raw->rules[i], rules->entries[i].value, device, &problems);
    tolerances->otherwise.scale = 1;
    apply(&tolerances->otherwise, &raw->otherwise);
    check_limits(node_find(root, "otherwise"), "otherwise", &problems);
    if (!is_complete(&raw->otherwise))
        problem_add(&problems, node_source(root, "otherwise"),
                    "otherwise has no limits; expected relative and absolute, or ignore: true");
    if (problems_end(&problems, status))
        return tolerances;
    tolerances_free(tolerances);
    return NULL;
}

static struct node *read_table(const struct config_search *search, struct tree_pool *pool,
                               const char *name, struct status *status)
{
    struct config_file file = {0};
    struct problems problems = {0};
    if (!search_check(search, status) ||
        !search_read(search, KIND_TOLERANCES, name, 0, pool, &file, status))
        return NULL;
    struct node *node = tree_parse(pool, file.path, file.text, file.length, status);
    if (!node)
        return NULL;
    node = tree_merge(pool, NULL, node);
    check_document(node, &schema_tolerances, "the table", false, &problems);
    const struct node *own = node_find(node, "name");
    if (own && own->kind == NODE_SCALAR && strcmp(own->text, name))
        problem_add(&problems, own->source, "name is '%.60s'; expected '%s', as the file is called",
                    own->text, name);
    return problems_end(&problems, status) ? node : NULL;
}

struct tolerances *tolerances_load(const struct config_search *search, const char *name,
                                   const char *device, struct status *status)
{
    struct tree_pool pool = {0};
    struct tolerances *tolerances = NULL;
    void *locale = numeric_enter();
    const struct node *node = read_table(search, &pool, name, status);
    struct raw_tolerances *raw = node ? check_load(node, &schema_tolerances, status) : NULL;
    if (raw)
        tolerances = translate(raw, node, name, device, status);
    check_release(raw, &schema_tolerances);
    numeric_leave(locale);
    pool_free(&pool);
    return tolerances;
}

void tolerances_free(struct tolerances *tolerances)
{
    if (!tolerances)
        return;
    for (int i = 0; i < tolerances->rule_count; i++) {
        free(tolerances->rules[i].step);
        free(tolerances->rules[i].name);
    }
    free(tolerances->rules);
    free(tolerances->name);
    free(tolerances);
}

static void rescale(struct limits *limits, double factor)
{
    limits->rms_relative *= factor;
    limits->rms_absolute *= factor;
    limits->max_relative *= factor;
    limits->max_absolute *= factor;
    limits->rms_epsilon *= factor;
}

void tolerances_rescale(struct tolerances *tolerances, double factor)
{
    for (int i = 0; i < tolerances->rule_count; i++)
        rescale(&tolerances->rules[i].limits, factor);
    rescale(&tolerances->otherwise, factor);
}

const struct limits *tolerances_find(const struct tolerances *tolerances, const char *step,
                                     const char *name)
{
    for (int i = 0; i < tolerances->rule_count; i++) {
        const struct tolerance_rule *rule = &tolerances->rules[i];
        if ((!rule->step || strstr(step, rule->step)) && (!rule->name || strstr(name, rule->name)))
            return &rule->limits;
    }
    return &tolerances->otherwise;
}
