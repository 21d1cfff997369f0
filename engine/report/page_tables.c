#include "engine/report/html.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "same", ... also the CSS class */
static const char *page_status_word(enum page_status status)
{
    static const char *const words[] = {"same", "within", "diverged", "nan", "unmatched"};
    return words[status];
}

/* ---- the first divergence ---- */

static void limit_row(struct text *out, const char *name, double number, double limit, bool failed)
{
    text_format(out, "<tr class=\"%s\"><th scope=\"row\">%s</th>", failed ? "diverged" : "within",
                name);
    html_measure_cell(out, number);
    html_measure_cell(out, limit);
    text_format(out, "<td>%s</td></tr>\n", failed ? "above its limit" : "within");
}

void table_of_failure(const struct page_row *row, struct text *out)
{
    const struct metrics *metrics = &row->metrics;
    const struct verdict *verdict = &row->verdict;
    const struct limits *limits = &row->limits;
    int failures = verdict->failures;
    text_add(out, "<table class=\"limits\"><thead><tr><th>metric</th><th class=\"n\">measured</th>"
                  "<th class=\"n\">limit</th><th></th></tr></thead><tbody>\n");
    limit_row(out, "rms / scale", verdict->rms_relative, limits->rms_relative,
              failures & FAILURE_RMS_RELATIVE);
    limit_row(out, "max / scale", verdict->max_relative, limits->max_relative,
              failures & FAILURE_MAX_RELATIVE);
    limit_row(out, "rms", metrics->rms_difference, limits->rms_absolute,
              failures & FAILURE_RMS_ABSOLUTE);
    limit_row(out, "max", metrics->max_difference, limits->max_absolute,
              failures & FAILURE_MAX_ABSOLUTE);
    text_add(out, "</tbody></table>\n");
    char different[32], count[32];
    text_format(out, "<p>%s of %s elements differ; cosine %.6g; ",
                text_thousands(metrics->different, different),
                text_thousands(metrics->count, count), metrics->cosine);
    if (metrics->rms_reference > 0)
        text_format(out, "norm ratio %.4g; ", metrics->rms_test / metrics->rms_reference);
    text_format(out,
                "NaN: %" PRId64 " in the test, %" PRId64 " in the reference; infinite: %" PRId64
                " and %" PRId64 ".</p>\n",
                metrics->nan_test, metrics->nan_reference, metrics->infinity_test,
                metrics->infinity_reference);
}

void table_of_worst(const struct page_view *view, const struct page_row *row, struct text *out)
{
    char place[120];
    if (view->worst_count == 0)
        return;
    text_add(out,
             "<table class=\"worst\"><thead><tr><th>worst at</th><th class=\"n\">reference</th>"
             "<th class=\"n\">test</th><th class=\"n\">difference</th></tr></thead><tbody>\n");
    for (int i = 0; i < view->worst_count; i++) {
        const struct worst_element *worst = &view->worst[i];
        text_format(out, "<tr><td>%s</td>",
                    html_place(row->shape, worst->index * view->stride, place));
        text_format(out, "<td class=\"n\">%.9g</td><td class=\"n\">%.9g</td>", worst->reference,
                    worst->test);
        text_format(out, "<td class=\"n\">%.3g</td></tr>\n", worst->test - worst->reference);
    }
    text_add(out, "</tbody></table>\n");
}

/* ---- all tensors ---- */

static const char *obstacle(int failures)
{
    if (failures & FAILURE_MISSING)
        return "only in the reference";
    if (failures & FAILURE_EXTRA)
        return "only in the test";
    if (failures & FAILURE_SAMPLING)
        return "sampled at other places";
    return failures & FAILURE_SHAPE ? "shapes differ" : "not compared";
}

static void tensor_row(const struct page *page, const struct page_row *row, struct text *out)
{
    const struct metrics *metrics = row->measured ? &row->metrics : NULL;
    char shape[80];
    text_format(out, "<tr class=\"%s\">", page_status_word(row->status));
    html_with(out, "<td>", page->steps[row->step], "</td>");
    if (row->position >= 0)
        html_integer_cell(out, row->position);
    else
        html_measure_cell(out, NAN);
    html_with(out, "<td class=\"name\">", row->name, "</td>");
    text_format(out, "<td>%s",
                row->status == PAGE_UNMATCHED ? obstacle(row->failures)
                                              : page_status_word(row->status));
    if (row->missing > 0)
        text_format(out, " (%d of %d parts)", row->parts - row->missing, row->parts);
    text_add(out, "</td>");
    text_format(out, "<td>%s %s</td>", row->sized ? dtype_name(row->dtype) : "",
                row->sized ? shape_text(row->shape, shape) : "");
    html_measure_cell(out, row->error);
    html_measure_cell(out, metrics ? row->verdict.max_relative : NAN);
    html_measure_cell(out, metrics ? metrics->cosine : NAN);
    html_measure_cell(out, metrics && metrics->rms_reference > 0
                               ? metrics->rms_test / metrics->rms_reference
                               : NAN);
    if (metrics)
        html_integer_cell(out, metrics->different);
    else
        html_measure_cell(out, NAN);
    html_measure_cell(out, row->of_limit);
    text_add(out, "</tr>\n");
}

void table_of_tensors(const struct page *page, struct text *out)
{
    static const char *const headings[] = {"step",       "at",        "tensor",    "",
                                           "type",       "rms/scale", "max/scale", "cosine",
                                           "norm ratio", "differ",    "of limit"};
    int room = PAGE_ROWS_MOST - page->failed; /* for those that did not diverge */
    int left_out = 0, shown = 0;
    text_add(out, "<p><input type=\"checkbox\" id=\"only\"/> <label for=\"only\">only what diverged"
                  "</label></p>\n<table class=\"tensors sortable\"><thead><tr>");
    for (int i = 0; i < ARRAY_LENGTH(headings); i++)
        text_format(out, "<th%s>%s</th>", i == 1 || i > 4 ? " class=\"n\"" : "", headings[i]);
    text_add(out, "</tr></thead><tbody>\n");
    for (int r = 0; r < page->row_count; r++) {
        bool failed = page->rows[r].status >= PAGE_DIVERGED;
        bool fits = failed ? shown < 5 * PAGE_ROWS_MOST : room-- > 0;
        left_out += !fits;
        shown += fits;
        if (fits)
            tensor_row(page, &page->rows[r], out);
    }
    text_add(out, "</tbody></table>\n");
    if (left_out > 0)
        text_format(out, "<p>%d more tensors are left out of the table.</p>\n", left_out);
}

/* ---- steps and memory ---- */

static void report_cells(struct text *out, const double sides[2])
{
    double base = fabs(sides[1]) > 0 ? fabs(sides[1]) : 1;
    html_measure_cell(out, sides[0]);
    html_measure_cell(out, sides[1]);
    html_measure_cell(out, fabs(sides[0] - sides[1]) / base);
}

void table_of_reports(const struct page *page, struct text *out)
{
    static const char *const names[] = {"loss", "gradient norm", "learning rate", "loss scale"};
    text_add(out, "<table class=\"reports\"><thead><tr><th class=\"n\">step</th>");
    for (int i = 0; i < ARRAY_LENGTH(names); i++)
        text_format(out,
                    "<th class=\"n\">%s</th><th class=\"n\">reference</th>"
                    "<th class=\"n\">rel. diff.</th>",
                    names[i]);
    text_add(out, "</tr></thead><tbody>\n");
    for (int i = 0; i < page->report_count; i++) {
        const struct page_report *report = &page->reports[i];
        text_format(out, "<tr><td class=\"n\">%d</td>", i + 1);
        report_cells(out, report->loss);
        report_cells(out, report->gradient_norm);
        report_cells(out, report->learning_rate);
        report_cells(out, report->loss_scale);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</tbody></table>\n");
}

void table_of_ranks(const struct page *page, struct text *out)
{
    text_add(out, "<table class=\"ranks sortable\"><thead><tr><th class=\"n\">rank</th>"
                  "<th>state</th><th class=\"n\">compared</th><th class=\"n\">diverged</th>"
                  "<th>first divergence</th><th class=\"n\">of limit</th><th>worst tensor</th>"
                  "<th class=\"n\">memory</th></tr></thead><tbody>\n");
    for (int i = 0; i < page->rank_count; i++) {
        const struct page_rank *rank = &page->ranks[i];
        text_format(out, "<tr class=\"%s\">", rank->failed > 0 ? "diverged" : "within");
        html_integer_cell(out, i);
        html_with(out, "<td class=\"name\">", rank->state ? rank->state : "", "</td>");
        html_integer_cell(out, rank->compared);
        html_integer_cell(out, rank->failed);
        html_with(out, "<td class=\"name\">", rank->first_name ? rank->first_name : "", "</td>");
        html_measure_cell(out, rank->worst);
        html_with(out, "<td class=\"name\">", rank->worst_name ? rank->worst_name : "", "</td>");
        html_bytes_cell(out, rank->memory >= 0 ? (double)rank->memory : NAN);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</tbody></table>\n");
}

void table_of_memory(const struct page_memory *memory, struct text *out)
{
    char bytes[32];
    text_format(out,
                "<table class=\"memory\"><thead><tr><th></th><th>class</th>"
                "<th class=\"n\">at the peak (instruction %d)</th></tr></thead><tbody>\n",
                memory->peak);
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++)
        if (memory->at_peak[c] > 0)
            text_format(out,
                        "<tr><td><span class=\"key m%d\"></span></td><td>%s</td>"
                        "<td class=\"n\" data-v=\"%" PRId64 "\">%s</td></tr>\n",
                        c, memory_class_name((enum memory_class)c), memory->at_peak[c],
                        text_bytes((uint64_t)memory->at_peak[c], bytes));
    text_add(out, "</tbody></table>\n");
}
