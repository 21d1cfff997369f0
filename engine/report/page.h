/* One comparison as one self-contained HTML page, for bug reports: what ran, the verdict, the first
 * divergence, all tensors, where errors are and what they look like, memory, the steps' metrics,
 * the ranks.
 *
 * A page is filled by who compared (two traces, a debugging session), then written. It owns all
 * that it holds. Not thread safe; writing is pure. */
#ifndef ENGINE_REPORT_PAGE_H
#define ENGINE_REPORT_PAGE_H

#include "engine/base/text.h"
#include "engine/compare/results.h"
#include "engine/device/device.h"

enum {
    PAGE_HEAT_ROWS = 48,
    PAGE_HEAT_COLUMNS = 64,
    PAGE_BINS = 48,
    PAGE_WORST = 10,
    PAGE_VIEWS = 5,        /* tensors that are looked into: the first divergence and the worst */
    PAGE_ROWS_MOST = 20000 /* rows of the table; what diverged comes first if there are more */
};

enum page_status { PAGE_SAME = 0, PAGE_WITHIN, PAGE_DIVERGED, PAGE_NOT_FINITE, PAGE_UNMATCHED };

/* One tensor of one step. */
struct page_row {
    int step; /* index into the page's steps */
    char *name;
    int position; /* instruction, or place in the trace; -1 */
    enum page_status status;
    int failures; /* of PAGE_UNMATCHED: why its elements did not meet, bits of enum failure */
    bool sized;   /* dtype and shape are known */
    enum dtype dtype;
    struct shape shape; /* of the whole tensor */
    double error;       /* rms of the difference over the scale of the reference; NAN */
    double of_limit;    /* the largest metric over its limit; NAN */
    int worst_rank;     /* 1 + the rank that has the worst element; 0: one rank, or not known */
    int parts, missing; /* of several ranks: how many parts it has, and how many of them were not
                           compared yet: then all here is about the part of the worst rank */
    bool measured;      /* what follows is known */
    struct metrics metrics;
    struct verdict verdict;
    struct limits limits;
};

/* A tensor looked into. Numbers of the test are divided by its scale. */
struct page_view {
    int row; /* index into rows */
    int64_t stride;
    char *producer, *guess; /* text of its instruction, what the numbers look like; NULL */
    struct shape shape;     /* of what the map shows: the whole tensor, or a part of it */
    /* largest |difference| of each cell; NAN: not finite; -1: no element */
    int heat_rows, heat_columns;
    int64_t heat_wrap; /* a vector is folded into rows of so many elements; 0: no vector */
    float *heat;
    double heat_most;
    /* over [low, high]; of |difference| over [0, difference_high] */
    int bins;
    double low, high, difference_high;
    int64_t test_bins[PAGE_BINS], reference_bins[PAGE_BINS], difference_bins[PAGE_BINS];
    struct worst_element worst[PAGE_WORST];
    int worst_count;
};

/* What one step reported; NAN: not known. Side 0 is the test, 1 the reference. */
struct page_report {
    double loss[2], gradient_norm[2], learning_rate[2], loss_scale[2];
};

/* Bytes by class at some instructions of a step, as planned. */
struct page_memory {
    int point_count, peak; /* peak: instruction */
    int *points;           /* [point_count], growing */
    int64_t (*classes)[MEMORY_CLASS_COUNT];
    int64_t at_peak[MEMORY_CLASS_COUNT];
};

struct page_fact {
    char *name, *value;
};

/* One of several ranks: its own parts of tensors. Strings are owned, or NULL. */
struct page_rank {
    char *state;          /* where it stands, in words */
    int compared, failed; /* parts */
    double worst;         /* the largest metric over its limit; NAN: nothing was compared */
    char *worst_name;     /* of that tensor */
    char *first_name;     /* of its first part that is beyond a limit */
    int64_t memory;       /* bytes, -1: not known */
    char *output;         /* the last lines that it printed */
};

struct page {
    char *title;
    char *command; /* that does it again; NULL */
    char *test, *reference;
    struct page_fact *facts;
    int fact_count, fact_capacity;
    char **notes; /* what the reader must know: faults, grafts, problems */
    int note_count, note_capacity;
    char **steps;
    int step_count, step_capacity;
    struct page_row *rows; /* in program order */
    int row_count, row_capacity;
    int first;                        /* row of the first divergence, -1 */
    int compared, failed, unmatched;  /* rows */
    int ignored;                      /* tensors that tolerances leave out */
    int64_t elements, elements_whole; /* compared, of how many */
    bool problem;                     /* the comparison failed for a reason that no tensor has */
    struct page_view *views;
    int view_count, view_capacity;
    struct page_report *reports;
    int report_count;
    struct page_memory memory;
    struct page_rank *ranks;
    int rank_count;
};

struct page *page_create(const char *title, const char *test, const char *reference);
void page_free(struct page *page);
void page_fact(struct page *page, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void page_note(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The index of a step; a new one is added behind the others. */
int page_step(struct page *page, const char *name);
/* A copy of the row, with its name, at the end. Counts it. Returns its index. */
int page_add_row(struct page *page, const struct page_row *row);
/* The rows, counts and problems of a comparison. */
void page_add_log(struct page *page, const struct comparison_log *log);
/* The same from what comparison_log_json wrote, with views of the tensors that page_choose names:
 * their worst elements alone, for their numbers are gone. False if it is no such JSON. */
bool page_add_json(struct page *page, const char *json);
struct trace;
struct diff;

/* The page of two traces; they are looked into for the tensors that are shown. */
struct page *page_of_diff(const struct diff *diff, const struct trace *reference,
                          const struct trace *test, const struct tolerances *tolerances);
/* Looks into the tensor of a row: `reference` and `test` have the same number of elements, host
 * memory; element i is element i * stride of the whole, or with stride 1 and fewer elements they
 * are a part of it (whose worst elements the caller gives their places in the whole). */
void page_add_view(struct page *page, int row, const struct tensor *reference,
                   const struct tensor *test, double scale, int64_t stride, const char *producer);
/* A view of the tensor of a row of which only the worst elements are known, at most PAGE_WORST; an
 * index is that of the whole tensor, numbers of the test are divided by its scale. */
void page_add_worst(struct page *page, int row, const struct worst_element *worst, int count);
/* The first divergence and the worst rows, into `rows`; returns how many (at most PAGE_VIEWS). */
int page_choose(const struct page *page, int rows[PAGE_VIEWS]);
/* Appends `text` as a word that a POSIX shell reads back as it is. */
void page_shell_word(struct text *out, const char *text);
/* " OPTION WORD", or " WORD" where the option is "". */
void page_shell_option(struct text *out, const char *option, const char *word);

/* The page: HTML5 that is well-formed XML too, UTF-8, without anything from elsewhere. Texts are
 * escaped, and what could not be printed or reorders text is shown as an escape. */
void page_write(const struct page *page, struct text *out);

#endif
