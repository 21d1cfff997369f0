#include "engine/report/html.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <stddef.h>

extern const char report_page_css[]; /* engine/report/page.css, embedded by the build */
extern const char report_page_js[];  /* engine/report/page.js */

void html_begin(const char *title, struct text *out)
{
    text_add(out, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n"
                  "<head>\n<meta charset=\"utf-8\"/>\n");
    /* Nothing may be loaded, whatever a name manages to say. */
    text_add(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                  "<meta name=\"color-scheme\" content=\"light dark\"/>\n");
    html_with(out, "<title>", title, "</title>\n");
    text_format(out, "<style>\n%s</style>\n</head>\n<body>\n", report_page_css);
}

void html_end(struct text *out)
{
    text_format(out, "<script>\n%s</script>\n</body>\n</html>\n", report_page_js);
}

static bool passed(const struct page *page)
{
    return page->failed == 0 && page->compared > 0 && !page->problem;
}

static void add_verdict(const struct page *page, struct text *out)
{
    char failed[32], rows[32], elements[32], whole[32];
    html_with(out, "<header>\n<h1>", page->title, "</h1>\n");
    text_format(out, "<p class=\"verdict %s\">", passed(page) ? "good" : "bad");
    if (page->compared + page->unmatched == 0)
        text_add(out, "Nothing was compared.");
    else if (page->failed > 0)
        text_format(out, "Diverged: %s of %s tensors.", text_thousands(page->failed, failed),
                    text_thousands(page->row_count, rows));
    else if (page->problem)
        text_add(out, "Failed, though every tensor that was compared is within limits.");
    else
        text_format(out, "Within limits: %s tensors.", text_thousands(page->compared, rows));
    text_format(out, "</p>\n<p>%s of %s elements were compared",
                text_thousands(page->elements, elements),
                text_thousands(page->elements_whole, whole));
    if (page->unmatched > 0)
        text_format(out, "; %d tensors are not on both sides", page->unmatched);
    if (page->ignored > 0)
        text_format(out, "; %d are ignored by the tolerances", page->ignored);
    text_add(out, ".</p>\n</header>\n");
}

static void add_facts(const struct page *page, struct text *out)
{
    text_add(out, "<section id=\"run\">\n<h2>What ran</h2>\n<dl>\n");
    html_with(out, "<dt>test</dt><dd>", page->test, "</dd>\n");
    html_with(out, "<dt>reference</dt><dd>", page->reference, "</dd>\n");
    for (int i = 0; i < page->fact_count; i++) {
        html_with(out, "<dt>", page->facts[i].name, "</dt>");
        html_with(out, "<dd>", page->facts[i].value, "</dd>\n");
    }
    text_format(out, "<dt>version</dt><dd>lockstep %s</dd>\n</dl>\n", LOCKSTEP_VERSION);
    if (page->command)
        html_with(out, "<p>The same again:</p>\n<pre>", page->command, "</pre>\n");
    for (int i = 0; i < page->note_count; i++)
        html_with(out, "<p class=\"note\">", page->notes[i], "</p>\n");
    text_add(out, "</section>\n");
}

static const struct page_view *view_of(const struct page *page, int row)
{
    for (int v = 0; v < page->view_count; v++)
        if (page->views[v].row == row)
            return &page->views[v];
    return NULL;
}

static void add_name(const struct page *page, int row, struct text *out)
{
    const struct page_row *shown = &page->rows[row];
    char shape[80];
    html_with(out, "<span class=\"name\">", shown->name, "</span>");
    html_with(out, " in step ", page->steps[shown->step], "");
    if (shown->position >= 0)
        text_format(out, ", at %d", shown->position);
    if (shown->sized)
        text_format(out, ", %s %s", dtype_name(shown->dtype), shape_text(shown->shape, shape));
    if (shown->worst_rank > 0 && shown->missing == 0)
        text_format(out, "; the worst element is on rank %d", shown->worst_rank - 1);
    if (shown->missing > 0)
        text_format(out, "; %d of %d parts compared, this is that of rank %d",
                    shown->parts - shown->missing, shown->parts, shown->worst_rank - 1);
}

static void add_view(const struct page *page, const struct page_view *view, struct text *out)
{
    const struct page_row *row = &page->rows[view->row];
    if (view->producer)
        html_with(out, "<pre>", view->producer, "</pre>\n");
    if (view->guess)
        html_with(out, "<p class=\"note\">looks like: ", view->guess, "</p>\n");
    if (row->measured)
        table_of_failure(row, out);
    text_add(out, "<div class=\"charts\">\n");
    chart_heat(view, out);
    chart_histograms(view, out);
    text_add(out, "</div>\n");
    table_of_worst(view, row, out);
}

void html_first_divergence(const struct page *page, struct text *out)
{
    const struct page_row *row = &page->rows[page->first];
    const struct page_view *view = view_of(page, page->first);
    text_add(out, "<p>");
    add_name(page, page->first, out);
    text_add(out, "</p>\n");
    if (row->status == PAGE_UNMATCHED)
        text_add(out, "<p class=\"note\">It is not on both sides, or not of one shape.</p>\n");
    else if (view)
        add_view(page, view, out);
    else if (row->measured)
        table_of_failure(row, out);
}

bool html_worst_tensors(const struct page *page, const char *before, struct text *out)
{
    bool any = false;
    for (int v = 0; v < page->view_count; v++) {
        if (page->views[v].row == page->first)
            continue;
        text_add(out, any ? "" : before);
        any = true;
        text_add(out, "<h3>");
        add_name(page, page->views[v].row, out);
        text_add(out, "</h3>\n");
        add_view(page, &page->views[v], out);
    }
    return any;
}

static void add_reports(const struct page *page, struct text *out)
{
    static const struct {
        const char *name;
        size_t offset;
    } plots[] = {{"loss", offsetof(struct page_report, loss)},
                 {"gradient norm", offsetof(struct page_report, gradient_norm)},
                 {"loss scale", offsetof(struct page_report, loss_scale)}};
    if (page->report_count == 0)
        return;
    text_add(out, "<section id=\"metrics\">\n<h2>Metrics of the steps</h2>\n<div class=\"charts\">"
                  "\n");
    for (int i = 0; i < ARRAY_LENGTH(plots); i++) {
        const double *first =
            (const double *)(const void *)((const char *)page->reports + plots[i].offset);
        chart_line(plots[i].name, first, first + 1, page->report_count,
                   (int)(sizeof(struct page_report) / sizeof(double)), out);
    }
    text_add(out, "</div>\n");
    table_of_reports(page, out);
    text_add(out, "</section>\n");
}

static void add_ranks(const struct page *page, struct text *out)
{
    text_add(out, "<section id=\"ranks\">\n<h2>Ranks</h2>\n");
    table_of_ranks(page, out);
    for (int rank = 0; rank < page->rank_count; rank++) {
        if (!page->ranks[rank].output)
            continue;
        text_format(out, "<h3>Rank %d printed last</h3>\n<pre>", rank);
        html_lines(out, page->ranks[rank].output);
        text_add(out, "</pre>\n");
    }
    text_add(out, "</section>\n");
}

void page_write(const struct page *page, struct text *out)
{
    html_begin(page->title, out);
    add_verdict(page, out);
    add_facts(page, out);
    if (page->first >= 0) {
        text_add(out, "<section id=\"first\">\n<h2>First divergence</h2>\n");
        html_first_divergence(page, out);
        text_add(out, "</section>\n");
    }
    if (page->row_count > 0) {
        text_add(out, "<section id=\"map\">\n<h2>Layers and phases</h2>\n");
        chart_maps(page, out);
        text_add(out, "</section>\n");
    }
    if (html_worst_tensors(page, "<section id=\"worst\">\n<h2>Worst tensors</h2>\n", out))
        text_add(out, "</section>\n");
    if (page->rank_count > 0)
        add_ranks(page, out);
    add_reports(page, out);
    if (page->memory.point_count > 0) {
        text_add(out, "<section id=\"memory\">\n<h2>Memory</h2>\n");
        chart_memory(&page->memory, out);
        table_of_memory(&page->memory, out);
        text_add(out, "</section>\n");
    }
    if (page->row_count > 0) {
        text_add(out, "<section id=\"tensors\">\n<h2>All tensors</h2>\n");
        table_of_tensors(page, out);
        text_add(out, "</section>\n");
    }
    html_end(out);
}
