/* The tables of the tests that take most memory or time, in the format of the original system. */
#include "app/report.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct row {
    int test;
    double key; /* largest first; missing counts as 0 */
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->test - y->test;
}

/* "| Max Allocated: 61 MiB" padded to `width`. */
static void add_memory(struct text *line, int width, const char *title, double bytes)
{
    char cell[64];
    snprintf(cell, sizeof(cell), "%s: %.0f MiB", title, bytes / (1024.0 * 1024.0));
    text_format(line, "%-*s", width, cell);
}

/* Two lines. `ranks`: how many, 0 for one process, or for one rank of several. */
static void print_usage(const struct report *report, const char *title,
                        const struct resources *resources, double seconds, int ranks, bool gpu)
{
    struct text line = {0};
    char duration[32];
    text_format(&line, "%s:\n    ", title);
    add_memory(&line, 22, "Max Reserved", resources->max_reserved);
    add_memory(&line, 26, "| Max Allocated", resources->max_allocated);
    add_memory(&line, 25, "| End Reserved", resources->reserved);
    add_memory(&line, 26, "| End Allocated", resources->allocated);
    snprintf(duration, sizeof(duration), "| Duration: %.2f", seconds);
    text_format(&line, ranks > 0 ? "%-18s" : "%s", duration);
    if (ranks > 0)
        text_format(&line, "| %s: %d", gpu ? "GPUs" : "Ranks", ranks);
    fprintf(report->stream, "%s\n", line.data);
    text_free(&line);
}

static bool ran_on_gpu(const struct outcome *outcome)
{
    return outcome->device && strcmp(outcome->device, "cuda") == 0;
}

static void print_row(const struct report *report, int test)
{
    const struct outcome *outcome = &report->outcomes[test];
    print_usage(report, report->list->tests[test].id, &outcome->resources, outcome->seconds,
                outcome->rank_count, ran_on_gpu(outcome));
}

void report_usage_of_ranks(const struct report *report, int test)
{
    const struct outcome *outcome = &report->outcomes[test];
    char title[32];
    report_rule(report, '-', "0", "Resource usage");
    for (int rank = 0; rank < outcome->rank_count; rank++) {
        const struct rank_usage *usage = &outcome->ranks[rank];
        snprintf(title, sizeof(title), "rank %d", rank);
        print_usage(report, title, &usage->resources, usage->seconds, 0, false);
    }
    print_usage(report, "global", &outcome->resources, outcome->seconds, outcome->rank_count,
                ran_on_gpu(outcome));
}

static bool was_run(const struct outcome *outcome)
{
    return outcome->kind == OUTCOME_PASSED || outcome->kind == OUTCOME_FAILED;
}

static void print_table(const struct report *report, const char *title, int rows, bool by_memory)
{
    struct row *table = memory_zeroed((size_t)report->count, sizeof(*table));
    int count = 0;
    for (int i = 0; i < report->count; i++) {
        const struct outcome *outcome = &report->outcomes[report->order[i]];
        double key = by_memory ? outcome->resources.max_reserved : outcome->seconds;
        if (was_run(outcome))
            table[count++] = (struct row){report->order[i], isnan(key) ? 0 : key};
    }
    qsort(table, (size_t)count, sizeof(*table), compare_rows);
    if (count > 0)
        report_rule(report, '=', "1", title);
    for (int i = 0; i < count && i < rows; i++)
        print_row(report, table[i].test);
    free(table);
}

/* Whether any test ran on a GPU. */
static bool used_gpu(const struct report *report)
{
    for (int i = 0; i < report->count; i++)
        if (ran_on_gpu(&report->outcomes[report->order[i]]))
            return true;
    return false;
}

void report_tables(const struct report *report)
{
    bool gpu = used_gpu(report);
    int rows = report->memory_rows >= 0 ? report->memory_rows : gpu ? 10 : 0;
    if (rows > 0)
        print_table(report, gpu ? "Highest gpu memory usage" : "Highest device memory usage (cpu)",
                    rows, true);
    if (report->duration_rows > 0)
        print_table(report, "Highest durations", report->duration_rows, false);
}
