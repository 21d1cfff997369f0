#include "app/report.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/results.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RULE_WIDTH = 88 };

#define RED "1;31"
#define GREEN "1;32"
#define YELLOW "33"
#define BOLD "1"

static void print_colored(const struct report *report, const char *code, const char *text)
{
    if (report->color)
        fprintf(report->stream, "\033[%sm%s\033[0m", code, text);
    else
        fputs(text, report->stream);
}

void report_rule(const struct report *report, char mark, const char *code, const char *title)
{
    struct text line = {0};
    char bar[RULE_WIDTH + 1];
    int length = (int)strlen(title) + 2;
    int left = length < RULE_WIDTH ? (RULE_WIDTH - length) / 2 : 1;
    int right = length < RULE_WIDTH ? RULE_WIDTH - length - left : 1;
    memset(bar, mark, RULE_WIDTH);
    bar[RULE_WIDTH] = '\0';
    text_format(&line, "%.*s %s %.*s", left, bar, title, right, bar);
    print_colored(report, code, line.data);
    fputc('\n', report->stream);
    text_free(&line);
}

struct report_counts report_count(const struct report *report)
{
    struct report_counts counts = {0};
    for (int i = 0; i < report->list->test_count; i++) {
        enum choice choice = report->choices[i].choice;
        counts.unnamed += choice == CHOICE_UNNAMED;
        counts.dropped += choice == CHOICE_DROPPED;
        counts.deselected +=
            choice == CHOICE_UNNAMED || choice == CHOICE_UNASKED || choice == CHOICE_DROPPED;
        counts.not_built += choice == CHOICE_NOT_BUILT;
    }
    for (int i = 0; i < report->count; i++) {
        enum outcome_kind kind = report->outcomes[report->order[i]].kind;
        counts.passed += kind == OUTCOME_PASSED;
        counts.failed += kind == OUTCOME_FAILED;
        counts.skipped += kind == OUTCOME_SKIPPED;
        counts.not_run += kind == OUTCOME_NONE;
    }
    return counts;
}

static const char *color_of(enum outcome_kind kind)
{
    return kind == OUTCOME_PASSED ? GREEN : kind == OUTCOME_FAILED ? RED : YELLOW;
}

/* "(28 tensors, 6,291,460 elements, worst 12.4 of limit, peak 31 MiB)": of what is known. */
static void add_measures(const struct outcome *outcome, struct text *line)
{
    char numbers[2][32];
    const char *between = "  (";
    if (outcome->tensors > 0) {
        text_format(line, "%s%s tensors, %s elements", between,
                    text_thousands(outcome->tensors, numbers[0]),
                    text_thousands(outcome->elements, numbers[1]));
        between = ", ";
    }
    if (outcome->kind == OUTCOME_FAILED && outcome->closest) {
        text_format(line, "%sworst %.3g of limit", between, outcome->worst);
        between = ", ";
    }
    if (outcome->resources.max_reserved > 0) {
        text_format(line, "%speak %s", between,
                    text_bytes((uint64_t)outcome->resources.max_reserved, numbers[0]));
        between = ", ";
    }
    text_add(line, between[0] == ',' ? ")" : "");
}

/* What is worth knowing at a glance: how close to a limit, or the losses, or the reason. */
static void add_note(const struct report *report, const struct outcome *outcome, struct text *line)
{
    char numbers[2][32];
    if (outcome->kind != OUTCOME_PASSED) {
        text_format(line, "%s", outcome->reason ? outcome->reason : "");
    } else if (outcome->closest && outcome->worst > 0) {
        text_format(line, "worst %s of limit  %s", limit_share_text(outcome->worst, numbers[0]),
                    outcome->closest);
    } else if (outcome->tensors > 0) {
        text_add(line, "bit-equal");
    } else if (outcome->step_count > 0) {
        text_format(line, "loss %.5f", outcome->steps[0].loss);
        if (outcome->step_count > 1)
            text_format(line, " to %.5f", outcome->steps[outcome->step_count - 1].loss);
    }
    if (report->verbose)
        add_measures(outcome, line);
}

int report_id_width(const struct test_list *list, const int *tests, int count)
{
    int width = 20;
    for (int i = 0; i < count; i++) {
        int length = (int)strlen(list->tests[tests[i]].id);
        width = length > width ? length : width;
    }
    return width;
}

void report_progress(const struct report *report, int test, const struct outcome *outcome, int done)
{
    struct text line = {0};
    size_t note_end = (size_t)report->id_width + 68;
    fprintf(report->stream, "%-*s ", report->id_width, report->list->tests[test].id);
    print_colored(report, color_of(outcome->kind), outcome_kind_name(outcome->kind));
    text_pad(&line, (size_t)report->id_width + 1 + strlen(outcome_kind_name(outcome->kind)));
    text_clear(&line);
    text_format(&line, "%*s%6.2fs   ", 9 - (int)strlen(outcome_kind_name(outcome->kind)), "",
                outcome->seconds);
    add_note(report, outcome, &line);
    if (report->choices[test].choice == CHOICE_DEPENDENCY)
        text_add(&line, "  (dependency)");
    text_pad(&line, note_end - (size_t)report->id_width);
    fprintf(report->stream, "%s[%3d%%]\n", line.data,
            report->count ? 100 * done / report->count : 100);
    fflush(report->stream);
    text_free(&line);
}

/* What the ranks of a distributed test printed and took (facts, 6.7). */
static void print_ranks(const struct report *report, int test)
{
    if (report->outcomes[test].output)
        fputs(report->outcomes[test].output, report->stream);
    if (report->outcomes[test].rank_count > 0)
        report_usage_of_ranks(report, test);
}

static void print_failure(const struct report *report, int test)
{
    const struct outcome *outcome = &report->outcomes[test];
    report_rule(report, '_', RED, report->list->tests[test].id);
    if (outcome->detail)
        fputs(outcome->detail, report->stream);
    else
        fprintf(report->stream, "%s\n", outcome->reason ? outcome->reason : "failed");
    if (outcome->debug) {
        fputs("  debug it: ", report->stream);
        print_colored(report, BOLD, outcome->debug);
        fputc('\n', report->stream);
    }
    print_ranks(report, test);
}

static void print_failures(const struct report *report)
{
    report_rule(report, '=', BOLD, "FAILURES");
    for (int i = 0; i < report->count; i++)
        if (report->outcomes[report->order[i]].kind == OUTCOME_FAILED)
            print_failure(report, report->order[i]);
}

static void print_replays(const struct report *report)
{
    for (int i = 0; i < report->count; i++) {
        int test = report->order[i];
        const struct outcome *outcome = &report->outcomes[test];
        if (outcome->kind == OUTCOME_FAILED || outcome->rank_count == 0)
            continue;
        report_rule(report, '_', BOLD, report->list->tests[test].id);
        print_ranks(report, test);
    }
}

static void print_reason(const struct report *report, int test, const char *word, const char *code,
                         const char *reason)
{
    print_colored(report, code, word);
    fprintf(report->stream, " %s - %s\n", report->list->tests[test].id, reason ? reason : "");
}

/* As pytest -ra: why tests were skipped or failed. */
static void print_reasons(const struct report *report, const struct report_counts *counts)
{
    bool skipped =
        counts->skipped > 0 ||
        (report->show_skipped && counts->deselected - counts->unnamed + counts->not_built > 0);
    if (!skipped && counts->failed == 0)
        return;
    report_rule(report, '=', BOLD, "short test summary info");
    for (int i = 0; report->show_skipped && i < report->list->test_count; i++)
        if (report->choices[i].choice >= CHOICE_UNASKED) /* of the rest, their number is enough */
            print_reason(report, i, "SKIPPED", YELLOW, report->choices[i].reason);
    for (int i = 0; i < report->count; i++) {
        const struct outcome *outcome = &report->outcomes[report->order[i]];
        if (outcome->kind == OUTCOME_SKIPPED)
            print_reason(report, report->order[i], "SKIPPED", YELLOW, outcome->reason);
    }
    for (int i = 0; i < report->count; i++) {
        const struct outcome *outcome = &report->outcomes[report->order[i]];
        if (outcome->kind == OUTCOME_FAILED)
            print_reason(report, report->order[i], "FAILED", RED, outcome->reason);
    }
}

static void add_part(struct text *line, int number, const char *what)
{
    if (number > 0)
        text_format(line, "%s%d %s", line->length ? ", " : "", number, what);
}

static void print_last_line(const struct report *report, const struct report_counts *counts)
{
    struct text line = {0};
    bool shown = report->show_skipped;
    add_part(&line, counts->failed, "failed");
    add_part(&line, counts->passed, "passed");
    int listed = counts->deselected - counts->unnamed;
    add_part(&line, counts->skipped + (shown ? listed + counts->not_built : 0), "skipped");
    add_part(&line, counts->not_run, "not run");
    add_part(&line, shown ? counts->unnamed : counts->deselected, "deselected");
    add_part(&line, shown ? 0 : counts->not_built, "not implemented");
    if (report->count == 0 && !line.length)
        text_add(&line, "no tests");
    text_format(&line, " in %.2fs", report->seconds);
    if (report->interrupted)
        text_add(&line, ", interrupted");
    report_rule(report, '=', counts->failed ? RED : counts->passed ? GREEN : YELLOW, line.data);
    text_free(&line);
}

void report_summary(const struct report *report)
{
    struct report_counts counts = report_count(report);
    if (counts.failed > 0)
        print_failures(report);
    if (report->replay)
        print_replays(report);
    report_tables(report);
    print_reasons(report, &counts);
    print_last_line(report, &counts);
}

static void print_dependencies_of(const struct report *report, int test, int group)
{
    const struct test_case *of = &report->list->tests[test];
    fprintf(report->stream, "%s", of->id);
    if (group >= 0)
        fprintf(report->stream, " @dependency_group_%d", group);
    for (int i = 0; i < of->dependency_count; i++)
        fprintf(report->stream, "%s%s", i ? ", " : " depends on ",
                report->list->tests[of->dependencies[i]].id);
    fputc('\n', report->stream);
}

void report_dependencies(const struct report *report, bool everything)
{
    int *groups = memory_zeroed((size_t)report->list->test_count, sizeof(*groups));
    selection_groups(report->list, report->order, report->count, groups);
    if (everything)
        for (int i = 0; i < report->list->test_count; i++)
            print_dependencies_of(report, i, groups[i]);
    else
        for (int i = 0; i < report->count; i++)
            print_dependencies_of(report, report->order[i], groups[report->order[i]]);
    free(groups);
}
