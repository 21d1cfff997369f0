/* Writing HTML that is well-formed XML. Pure. */
#ifndef ENGINE_REPORT_HTML_H
#define ENGINE_REPORT_HTML_H

#include "engine/report/page.h"

/* Appends text that cannot be trusted, for content and for attributes in double quotes: markup is
 * escaped, and control characters, what reorders text and what is no UTF-8 are shown as escapes. */
void html_text(struct text *out, const char *text);
/* The same of several lines, for <pre>: ends of lines and tabs stay. */
void html_lines(struct text *out, const char *text);
/* The same between two pieces of markup. */
void html_with(struct text *out, const char *before, const char *text, const char *after);
/* A number for people: four digits; "nan", "inf"; "-" for NAN with `measured` false. */
void html_number(struct text *out, double number);
/* A table cell of a number, exact in its data-v (which sorting goes by): unknown if NAN. */
void html_measure_cell(struct text *out, double number);
void html_integer_cell(struct text *out, int64_t number);
/* Of a number of bytes; unknown if NAN. */
void html_bytes_cell(struct text *out, double bytes);
/* Where a flat element of the whole tensor is: "[17,203]". */
const char *html_place(struct shape shape, int64_t index, char buffer[120]);

/* page_write.c: the frame of every page, and what pages of one and of many comparisons share */
void html_begin(const char *title, struct text *out); /* to <body>, with style */
void html_end(struct text *out);                      /* from the script on */
/* Of page->first, which is no -1. */
void html_first_divergence(const struct page *page, struct text *out);
/* The other tensors that were looked into; `before` (markup) comes ahead of the first. Whether
 * there were any. */
bool html_worst_tensors(const struct page *page, const char *before, struct text *out);

/* page_charts.c: SVG */
void chart_maps(const struct page *page, struct text *out);
void chart_heat(const struct page_view *view, struct text *out);
void chart_histograms(const struct page_view *view, struct text *out);
void chart_memory(const struct page_memory *memory, struct text *out);
void chart_line(const char *title, const double *test, const double *reference, int count,
                int stride, struct text *out);

/* page_tables.c */
void table_of_failure(const struct page_row *row, struct text *out);
void table_of_worst(const struct page_view *view, const struct page_row *row, struct text *out);
void table_of_tensors(const struct page *page, struct text *out);
void table_of_reports(const struct page *page, struct text *out);
void table_of_ranks(const struct page *page, struct text *out);
void table_of_memory(const struct page_memory *memory, struct text *out);

#endif
