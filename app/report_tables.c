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

static void print_row(const struct report *report, int test)
{
    const struct outcome *outcome = &report->outcomes[test];
    const struct resources *resources = &outcome->resources;
    struct text line = {0};
    text_format(&line, "%s:\n    ", report->list->tests[test].id);
    add_memory(&line, 22, "Max Reserved", resources->max_reserved);
    add_memory(&line, 26, "| Max Allocated", resources->max_allocated);
    add_memory(&line, 25, "| End Reserved", resources->reserved);
    add_memory(&line, 26, "| End Allocated", resources->allocated);
    text_format(&line, "| Duration: %.2f", outcome->seconds);
    fprintf(report->stream, "%s\n", line.data);
    text_free(&line);
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
    for (int i = 0; i < report->count; i++) {
        const char *device = report->outcomes[report->order[i]].device;
        if (device && strcmp(device, "cuda") == 0)
            return true;
    }
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
