/* The run of the tests as one self-contained HTML page, for whoever was not there. */
#include "app/report.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One test, with its comparison read back. */
struct entry {
    int test;
    struct page *page; /* NULL: nothing was compared, or it passed */
    double worst;      /* of limit; NAN: not known */
    const char *name;  /* the tensor that has it; NULL */
};

static const char *class_of(enum outcome_kind kind)
{
    static const char *const classes[] = {"unmatched", "passed", "diverged", "skipped"};
    return classes[kind];
}

static void add_part(struct text *out, int number, const char *what, const char **between)
{
    if (number == 0)
        return;
    text_format(out, "%s%d %s", *between, number, what);
    *between = ", ";
}

static void add_verdict(const struct report *report, struct text *out)
{
    struct report_counts counts = report_count(report);
    bool bad = counts.failed + counts.not_run > 0 || report->interrupted || report->count == 0;
    const char *between = "";
    text_format(out, "<header>\n<h1>lockstep test</h1>\n<p class=\"verdict %s\">",
                bad ? "bad" : "good");
    add_part(out, counts.failed, "failed", &between);
    add_part(out, counts.passed, "passed", &between);
    add_part(out, counts.skipped, "skipped", &between);
    add_part(out, counts.not_run, "not run", &between);
    text_format(out, "%s in %.2f s%s.</p>\n", between[0] ? "" : "No tests", report->seconds,
                report->interrupted ? ", interrupted" : "");
    between = "<p>Not selected: ";
    add_part(out, counts.deselected, "deselected", &between);
    add_part(out, counts.not_built, "not implemented", &between);
    text_add(out, counts.deselected + counts.not_built > 0 ? ".</p>\n</header>\n" : "</header>\n");
}

static void add_facts(const struct report *report, struct text *out)
{
    const char *device = NULL;
    for (int i = 0; i < report->count && !device; i++)
        device = report->outcomes[report->order[i]].device;
    text_add(out, "<section id=\"run\">\n<h2>What ran</h2>\n<dl>\n");
    if (device)
        html_with(out, "<dt>device</dt><dd>", device, "</dd>\n");
    if (report->fault)
        html_with(out, "<dt>fault</dt><dd>", report->fault, "</dd>\n");
    text_format(out, "<dt>version</dt><dd>lockstep %s</dd>\n</dl>\n", LOCKSTEP_VERSION);
    if (report->command)
        html_with(out, "<p>The same again:</p>\n<pre>", report->command, "</pre>\n");
    text_add(out, "</section>\n");
}

/* ---- models x groups ---- */

static bool is_of(const struct report *report, int test, int model, int group)
{
    const struct test_case *of = &report->list->tests[test];
    return of->model == model && (group < 0 || of->group == (enum test_group)group);
}

static void add_sum(const struct report *report, int model, int group, struct text *out)
{
    int kinds[4] = {0}, count = 0;
    for (int i = 0; i < report->count; i++)
        if (is_of(report, report->order[i], model, group)) {
            kinds[report->outcomes[report->order[i]].kind]++;
            count++;
        }
    if (count == 0)
        return;
    html_with(out, "<tr><td>", report->list->models[model].name, "</td>");
    text_format(out, "<td>%s</td>", test_group_name((enum test_group)group));
    html_integer_cell(out, kinds[OUTCOME_PASSED]);
    html_integer_cell(out, kinds[OUTCOME_FAILED]);
    html_integer_cell(out, kinds[OUTCOME_SKIPPED]);
    html_integer_cell(out, kinds[OUTCOME_NONE]);
    text_add(out, "</tr>\n");
}

static void add_summary(const struct report *report, struct text *out)
{
    text_add(out, "<section id=\"summary\">\n<h2>Summary</h2>\n<table class=\"summary sortable\">"
                  "<thead><tr><th>model</th><th>group</th><th class=\"n\">passed</th>"
                  "<th class=\"n\">failed</th><th class=\"n\">skipped</th>"
                  "<th class=\"n\">not run</th></tr></thead><tbody>\n");
    for (int model = 0; model < report->list->model_count; model++)
        for (int group = 0; group < GROUP_COUNT; group++)
            add_sum(report, model, group, out);
    text_add(out, "</tbody></table>\n</section>\n");
}

/* ---- the table of tests ---- */

static void add_test(const struct report *report, int index, const struct entry *entry,
                     struct text *out)
{
    const struct outcome *outcome = &report->outcomes[entry->test];
    const char *id = report->list->tests[entry->test].id;
    text_format(out, "<tr class=\"%s\">", class_of(outcome->kind));
    if (outcome->kind == OUTCOME_FAILED) {
        text_format(out, "<td class=\"name\"><a href=\"#failure-%d\">", index + 1);
        html_with(out, "", id, "</a></td>");
    } else {
        html_with(out, "<td class=\"name\">", id, "</td>");
    }
    html_with(out, "<td>", test_action_name(test_action_of(report->list, entry->test)), "</td>");
    text_format(out, "<td>%s%s</td>", outcome_kind_name(outcome->kind),
                report->choices[entry->test].choice == CHOICE_DEPENDENCY ? " (dependency)" : "");
    html_measure_cell(out, outcome->kind == OUTCOME_NONE ? NAN : outcome->seconds);
    html_measure_cell(out, entry->worst);
    html_with(out, "<td class=\"name\">", entry->name ? entry->name : "", "</td>");
    html_bytes_cell(out, outcome->kind == OUTCOME_NONE ? NAN : outcome->resources.max_reserved);
    html_integer_cell(out, outcome->rank_count > 0 ? outcome->rank_count : 1);
    html_with(out, "<td class=\"name\">", outcome->reason ? outcome->reason : "", "</td></tr>\n");
}

static void add_tests(const struct report *report, const struct entry *entries, struct text *out)
{
    static const char *const headings[] = {"test",   "action",      "",      "seconds", "of limit",
                                           "tensor", "peak memory", "ranks", "reason"};
    text_add(out, "<section id=\"tests\">\n<h2>Tests</h2>\n"
                  "<p><input type=\"checkbox\" id=\"only\"/> <label for=\"only\">only what failed"
                  "</label></p>\n<table class=\"tests sortable\"><thead><tr>");
    for (int i = 0; i < ARRAY_LENGTH(headings); i++)
        text_format(out, "<th%s>%s</th>",
                    i == 3 || i == 4 || i == 6 || i == 7 ? " class=\"n\"" : "", headings[i]);
    text_add(out, "</tr></thead><tbody>\n");
    for (int i = 0; i < report->count; i++)
        add_test(report, i, &entries[i], out);
    text_add(out, "</tbody></table>\n</section>\n");
}

/* ---- what failed ---- */

static void add_ranks(const struct outcome *outcome, struct text *out)
{
    if (outcome->rank_count == 0)
        return;
    text_add(out, "<h3>Ranks</h3>\n<table class=\"ranks\"><thead><tr><th class=\"n\">rank</th>"
                  "<th class=\"n\">seconds</th><th class=\"n\">peak memory</th>"
                  "<th class=\"n\">stdout, bytes</th><th class=\"n\">stderr, bytes</th></tr>"
                  "</thead><tbody>\n");
    for (int rank = 0; rank < outcome->rank_count; rank++) {
        const struct rank_usage *usage = &outcome->ranks[rank];
        text_add(out, "<tr>");
        html_integer_cell(out, rank);
        html_measure_cell(out, usage->seconds);
        html_bytes_cell(out, usage->resources.max_reserved);
        html_integer_cell(out, usage->printed[0]);
        html_integer_cell(out, usage->printed[1]);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</tbody></table>\n");
}

static void add_block(struct text *out, const char *before, const char *lines)
{
    if (!lines || !lines[0])
        return;
    text_add(out, before);
    text_add(out, "<pre>");
    html_lines(out, lines);
    text_add(out, "</pre>\n");
}

static void add_failure(const struct report *report, int index, const struct entry *entry,
                        struct text *out)
{
    const struct outcome *outcome = &report->outcomes[entry->test];
    text_format(out, "<section class=\"failure\" id=\"failure-%d\">\n", index + 1);
    html_with(out, "<h2>", report->list->tests[entry->test].id, "</h2>\n");
    html_with(out, "<p class=\"verdict bad\">", outcome->reason ? outcome->reason : "failed",
              "</p>\n");
    if (outcome->debug)
        html_with(out, "<p>Open it in the debugger:</p>\n<pre>", outcome->debug, "</pre>\n");
    if (entry->page && entry->page->first >= 0) {
        text_add(out, "<h3>First divergence</h3>\n");
        html_first_divergence(entry->page, out);
        text_add(out, "<h3>Layers and phases</h3>\n");
        chart_maps(entry->page, out);
        html_worst_tensors(entry->page, "", out);
    }
    add_block(out, "<h3>Report</h3>\n", outcome->detail);
    add_ranks(outcome, out);
    add_block(out, "<h3>What the ranks printed last</h3>\n", outcome->output);
    text_add(out, "</section>\n");
}

/* ---- the page ---- */

static struct entry read_entry(const struct report *report, int test)
{
    const struct outcome *outcome = &report->outcomes[test];
    struct entry entry = {
        .test = test, .worst = outcome->closest ? outcome->worst : NAN, .name = outcome->closest};
    if (outcome->kind == OUTCOME_FAILED && outcome->comparison) {
        entry.page = page_create("", "", "");
        page_add_json(entry.page, outcome->comparison);
    }
    return entry;
}

bool report_write_html(const struct report *report, const char *path, struct status *status)
{
    struct entry *entries = memory_zeroed((size_t)report->count, sizeof(*entries));
    struct text text = {0};
    for (int i = 0; i < report->count; i++)
        entries[i] = read_entry(report, report->order[i]);
    html_begin("lockstep test", &text);
    add_verdict(report, &text);
    add_facts(report, &text);
    add_summary(report, &text);
    add_tests(report, entries, &text);
    for (int i = 0; i < report->count; i++)
        if (report->outcomes[entries[i].test].kind == OUTCOME_FAILED)
            add_failure(report, i, &entries[i], &text);
    html_end(&text);
    for (int i = 0; i < report->count; i++)
        page_free(entries[i].page);
    free(entries);
    bool good = file_write(path, text.data, text.length, FILE_REPLACE, status);
    text_free(&text);
    return good;
}
