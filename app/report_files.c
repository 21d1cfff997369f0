/* Reports for other programs: JSON and JUnit XML. */
#include "app/report.h"

#include "engine/base/file.h"

#include "engine/base/text.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *string(const char *text)
{
    json_t *value = text ? json_string(text) : json_null();
    return value ? value : json_string("(not UTF-8)");
}

static json_t *steps_of(const struct outcome *outcome)
{
    json_t *steps = json_array();
    for (int i = 0; i < outcome->step_count; i++) {
        const struct step_report *step = &outcome->steps[i];
        json_array_append_new(
            steps, json_pack("{s:i, s:o, s:o, s:o, s:o, s:b, s:I, s:o}", "step", step->step, "loss",
                             number(step->loss), "gradient_norm", number(step->gradient_norm),
                             "learning_rate", number(step->learning_rate), "loss_scale",
                             number(step->loss_scale), "skipped", step->skipped, "tokens",
                             (json_int_t)step->tokens, "seconds", number(step->seconds)));
    }
    return steps;
}

static json_t *resources_of(const struct resources *resources)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "reserved", number(resources->reserved), "allocated",
                     number(resources->allocated), "max_reserved", number(resources->max_reserved),
                     "max_allocated", number(resources->max_allocated));
}

static json_t *ranks_of(const struct outcome *outcome)
{
    json_t *ranks = json_array();
    for (int i = 0; i < outcome->rank_count; i++) {
        const struct rank_usage *usage = &outcome->ranks[i];
        json_array_append_new(ranks, json_pack("{s:i, s:o, s:o, s:I, s:I}", "rank", i, "seconds",
                                               number(usage->seconds), "resource_usage",
                                               resources_of(&usage->resources), "stdout_bytes",
                                               (json_int_t)usage->printed[0], "stderr_bytes",
                                               (json_int_t)usage->printed[1]));
    }
    return ranks;
}

static json_t *dependencies_of(const struct report *report, int test)
{
    const struct test_case *of = &report->list->tests[test];
    json_t *ids = json_array();
    for (int i = 0; i < of->dependency_count; i++)
        json_array_append_new(ids, string(report->list->tests[of->dependencies[i]].id));
    return ids;
}

static const char *outcome_word(enum outcome_kind kind)
{
    static const char *const words[] = {"not run", "passed", "failed", "skipped"};
    return words[kind];
}

static json_t *describe(const struct report *report, int test)
{
    const struct test_case *of = &report->list->tests[test];
    const struct outcome *outcome = &report->outcomes[test];
    json_t *comparison = outcome->comparison ? json_loads(outcome->comparison, 0, NULL) : NULL;
    json_t *json = json_object();
    json_object_set_new(json, "id", string(of->id));
    json_object_set_new(json, "model", string(test_model_name(report->list, test)));
    json_object_set_new(json, "group", string(test_group_name(of->group)));
    json_object_set_new(json, "name", string(of->name));
    json_object_set_new(json, "kind", string(test_kind_name(of->kind)));
    json_object_set_new(json, "action",
                        string(test_action_name(test_action_of(report->list, test))));
    json_object_set_new(json, "reference", string(of->reference));
    json_object_set_new(json, "depends_on", dependencies_of(report, test));
    json_object_set_new(json, "dependency_only",
                        json_boolean(report->choices[test].choice == CHOICE_DEPENDENCY));
    json_object_set_new(json, "outcome", string(outcome_word(outcome->kind)));
    json_object_set_new(json, "reason", string(outcome->reason));
    json_object_set_new(json, "report", string(outcome->detail));
    json_object_set_new(json, "debug", string(outcome->debug));
    json_object_set_new(json, "device", string(outcome->device));
    json_object_set_new(json, "seconds", number(outcome->seconds));
    json_object_set_new(json, "resource_usage", resources_of(&outcome->resources));
    json_object_set_new(json, "ranks", ranks_of(outcome));
    json_object_set_new(json, "output", string(outcome->output));
    json_object_set_new(json, "steps", steps_of(outcome));
    json_object_set_new(json, "comparison", comparison ? comparison : json_null());
    return json;
}

static json_t *deselected(const struct report *report)
{
    json_t *all = json_array();
    for (int i = 0; i < report->list->test_count; i++)
        if (report->choices[i].choice >= CHOICE_UNNAMED)
            json_array_append_new(all, json_pack("{s:o, s:o, s:b}", "id",
                                                 string(report->list->tests[i].id), "reason",
                                                 string(report->choices[i].reason), "implemented",
                                                 report->choices[i].choice != CHOICE_NOT_BUILT));
    return all;
}

bool report_write_json(const struct report *report, const char *path, struct status *status)
{
    struct report_counts counts = report_count(report);
    json_t *tests = json_array();
    for (int i = 0; i < report->count; i++)
        json_array_append_new(tests, describe(report, report->order[i]));
    json_t *json =
        json_pack("{s:s, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i}, s:o, s:o}", "version",
                  LOCKSTEP_VERSION, "seconds", number(report->seconds), "summary", "passed",
                  counts.passed, "failed", counts.failed, "skipped", counts.skipped, "not_run",
                  counts.not_run, "deselected", counts.deselected, "not_implemented",
                  counts.not_built, "tests", tests, "deselected", deselected(report));
    char *data = json_dumps(json, JSON_INDENT(1));
    bool ok = data ? file_write(path, data, strlen(data), FILE_REPLACE, status)
                   : status_fail(status, STATUS_INTERNAL, "%s: the report is no JSON", path);
    free(data);
    json_decref(json);
    return ok;
}

/* XML 1.0 has no control characters but tab and line feed, not even escaped. */
static void add_escaped(struct text *text, const char *string_to_add)
{
    for (const char *at = string_to_add; at && *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '&')
            text_add(text, "&amp;");
        else if (byte == '<')
            text_add(text, "&lt;");
        else if (byte == '>')
            text_add(text, "&gt;");
        else if (byte == '"')
            text_add(text, "&quot;");
        else
            text_add_part(text, byte < 0x20 && byte != '\n' && byte != '\t' ? "?" : at, 1);
    }
}

static void add_rank_properties(const struct outcome *outcome, struct text *text)
{
    text_format(text, "<properties><property name=\"ranks\" value=\"%d\"/>", outcome->rank_count);
    for (int i = 0; i < outcome->rank_count; i++)
        text_format(text, "<property name=\"rank_%d_max_reserved\" value=\"%.0f\"/>", i,
                    outcome->ranks[i].resources.max_reserved);
    text_add(text, "</properties>");
}

/* A group that is not implemented is one test without a name of its own. */
static void begin_case(const struct report *report, int test, double seconds, struct text *text)
{
    const struct test_case *of = &report->list->tests[test];
    const char *group = test_group_name(of->group);
    text_add(text, "    <testcase classname=\"");
    add_escaped(text, test_model_name(report->list, test));
    text_format(text, "%s%s\" name=\"", of->name[0] ? "." : "", of->name[0] ? group : "");
    add_escaped(text, of->name[0] ? of->name : group);
    text_format(text, "\" time=\"%.3f\">", seconds);
}

static void add_skipped(struct text *text, const char *reason)
{
    text_add(text, "<skipped message=\"");
    add_escaped(text, reason);
    text_add(text, "\"/>");
}

/* With --show-skipped: those that the summary lists. Returns how many. */
static int add_left_out(const struct report *report, struct text *text)
{
    int count = 0;
    for (int i = 0; report->show_skipped && i < report->list->test_count; i++) {
        if (report->choices[i].choice < CHOICE_UNASKED)
            continue;
        begin_case(report, i, 0, text);
        add_skipped(text, report->choices[i].reason);
        text_add(text, "</testcase>\n");
        count++;
    }
    return count;
}

static void add_case(const struct report *report, int test, struct text *text)
{
    const struct outcome *outcome = &report->outcomes[test];
    begin_case(report, test, outcome->seconds, text);
    if (outcome->rank_count > 0)
        add_rank_properties(outcome, text);
    if (outcome->kind == OUTCOME_SKIPPED || outcome->kind == OUTCOME_NONE) {
        add_skipped(text, outcome->reason ? outcome->reason : "not run");
    } else if (outcome->kind == OUTCOME_FAILED) {
        text_add(text, "<failure message=\"");
        add_escaped(text, outcome->reason);
        text_add(text, "\">");
        add_escaped(text, outcome->detail);
        if (outcome->debug)
            text_add(text, "debug it: ");
        add_escaped(text, outcome->debug);
        text_add(text, "</failure>");
    }
    if (outcome->output) {
        text_add(text, "<system-out>");
        add_escaped(text, outcome->output);
        text_add(text, "</system-out>");
    }
    text_add(text, "</testcase>\n");
}

bool report_write_junit(const struct report *report, const char *path, struct status *status)
{
    struct report_counts counts = report_count(report);
    struct text text = {0}, left_out = {0};
    int left = add_left_out(report, &left_out);
    text_format(&text,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
                "  <testsuite name=\"lockstep\" tests=\"%d\" failures=\"%d\" errors=\"0\" "
                "skipped=\"%d\" time=\"%.3f\">\n",
                report->count + left, counts.failed, counts.skipped + counts.not_run + left,
                report->seconds);
    for (int i = 0; i < report->count; i++)
        add_case(report, report->order[i], &text);
    if (left > 0)
        text_add(&text, left_out.data);
    text_free(&left_out);
    text_add(&text, "  </testsuite>\n</testsuites>\n");
    bool ok = file_write(path, text.data, text.length, FILE_REPLACE, status);
    text_free(&text);
    return ok;
}
