#include "engine/report/page.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page *page_create(const char *title, const char *test, const char *reference)
{
    struct page *page = memory_zeroed(1, sizeof(*page));
    page->title = memory_string(title);
    page->test = memory_string(test);
    page->reference = memory_string(reference);
    page->first = -1;
    return page;
}

void page_free(struct page *page)
{
    if (!page)
        return;
    for (int i = 0; i < page->fact_count; i++) {
        free(page->facts[i].name);
        free(page->facts[i].value);
    }
    for (int i = 0; i < page->note_count; i++)
        free(page->notes[i]);
    for (int i = 0; i < page->step_count; i++)
        free(page->steps[i]);
    for (int i = 0; i < page->row_count; i++)
        free(page->rows[i].name);
    for (int i = 0; i < page->view_count; i++) {
        free(page->views[i].producer);
        free(page->views[i].guess);
        free(page->views[i].heat);
    }
    for (int i = 0; i < page->rank_count; i++) {
        free(page->ranks[i].state);
        free(page->ranks[i].worst_name);
        free(page->ranks[i].first_name);
        free(page->ranks[i].output);
    }
    free(page->ranks);
    free(page->memory.points);
    free(page->memory.classes);
    free(page->facts);
    free(page->notes);
    free(page->steps);
    free(page->rows);
    free(page->views);
    free(page->reports);
    free(page->title);
    free(page->command);
    free(page->test);
    free(page->reference);
    free(page);
}

void page_fact(struct page *page, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct page_fact fact = {memory_string(name), memory_format_list(format, arguments)};
    va_end(arguments);
    ARRAY_PUSH(page->facts, page->fact_count, page->fact_capacity, fact);
}

void page_note(struct page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ARRAY_PUSH(page->notes, page->note_count, page->note_capacity,
               memory_format_list(format, arguments));
    va_end(arguments);
}

int page_step(struct page *page, const char *name)
{
    for (int i = page->step_count - 1; i >= 0; i--)
        if (strcmp(page->steps[i], name) == 0)
            return i;
    ARRAY_PUSH(page->steps, page->step_count, page->step_capacity, memory_string(name));
    return page->step_count - 1;
}

int page_add_row(struct page *page, const struct page_row *row)
{
    struct page_row copy = *row;
    copy.name = memory_string(row->name);
    ARRAY_PUSH(page->rows, page->row_count, page->row_capacity, copy);
    page->unmatched += row->status == PAGE_UNMATCHED;
    page->compared += row->status != PAGE_UNMATCHED;
    page->failed += row->status >= PAGE_DIVERGED;
    if (row->status >= PAGE_DIVERGED && page->first < 0)
        page->first = page->row_count - 1;
    return page->row_count - 1;
}

/* ---- from a comparison ---- */

static enum page_status status_of(const struct tensor_result *result)
{
    if (!tensor_result_was_compared(result))
        return PAGE_UNMATCHED;
    if (result->verdict.failures & FAILURE_NOT_FINITE)
        return PAGE_NOT_FINITE;
    if (result->verdict.failures)
        return PAGE_DIVERGED;
    return metrics_same(&result->metrics) ? PAGE_SAME : PAGE_WITHIN;
}

void page_add_log(struct page *page, const struct comparison_log *log)
{
    for (int i = 0; i < log->count; i++) {
        const struct tensor_result *result = &log->results[i];
        bool in_test = result->shape_test.rank > 0;
        struct page_row row = {.step = page_step(page, result->step),
                               .name = (char *)(uintptr_t)result->name,
                               .position = result->position,
                               .status = status_of(result),
                               .failures = result->verdict.failures,
                               .sized = true,
                               .dtype = in_test ? result->dtype_test : result->dtype_reference,
                               .shape = in_test ? result->shape_test : result->shape_reference,
                               .error = NAN,
                               .of_limit = NAN};
        if (row.status != PAGE_UNMATCHED) {
            row.measured = true;
            row.metrics = result->metrics;
            row.verdict = result->verdict;
            row.limits = result->limits;
            row.error = result->verdict.rms_relative;
            row.of_limit = result->verdict.worst;
        }
        page_add_row(page, &row);
    }
    for (int i = 0; i < log->problem_count; i++)
        page_note(page, "%s", log->problems[i]);
    for (int i = 0; i < log->note_count; i++)
        page_note(page, "%s", log->notes[i]);
    if (log->only_reference + log->only_test > 0)
        page_note(page,
                  "Only what both have was judged. Left out: %d only in the reference, %d "
                  "only in the test.",
                  log->only_reference, log->only_test);
    page->problem = log->problem_count > 0;
    page->ignored = log->ignored;
    page->elements = log->elements;
    page->elements_whole = log->elements_whole;
}

/* ---- what to look into ---- */

static double badness(const struct page_row *row)
{
    if (row->status == PAGE_NOT_FINITE)
        return INFINITY;
    return row->measured && row->of_limit > 0 ? row->of_limit : 0;
}

int page_choose(const struct page *page, int rows[PAGE_VIEWS])
{
    int count = 0;
    if (page->first >= 0 && page->rows[page->first].status != PAGE_UNMATCHED)
        rows[count++] = page->first;
    while (count < PAGE_VIEWS) {
        int worst = -1;
        for (int r = 0; r < page->row_count; r++) {
            bool taken = page->rows[r].status < PAGE_DIVERGED || badness(&page->rows[r]) == 0;
            for (int k = 0; k < count; k++)
                taken = taken || rows[k] == r;
            if (!taken && (worst < 0 || badness(&page->rows[r]) > badness(&page->rows[worst])))
                worst = r;
        }
        if (worst < 0)
            break;
        rows[count++] = worst;
    }
    return count;
}

void page_shell_word(struct text *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "@%+=:,./-_";
    if (text[0] && text[strspn(text, plain)] == '\0') {
        text_add(out, text);
        return;
    }
    text_add(out, "'");
    for (; *text; text++)
        if (*text == '\'')
            text_add(out, "'\\''");
        else
            text_add_part(out, text, 1);
    text_add(out, "'");
}

void page_shell_option(struct text *out, const char *option, const char *word)
{
    text_format(out, " %s%s", option, option[0] ? " " : "");
    page_shell_word(out, word);
}
