/* What `lockstep test` tells: progress while tests run, the summary, JSON and JUnit files. */
#ifndef APP_REPORT_H
#define APP_REPORT_H

#include "engine/suite/outcome.h"
#include "engine/suite/selection.h"

#include <stdio.h>

/* Everything about one run of the tests. Borrowed. */
struct report {
    const struct test_list *list;
    const struct test_choice *choices; /* [test_count] */
    const int *order;                  /* what was to run */
    int count;
    const struct outcome *outcomes; /* [test_count]; OUTCOME_NONE: was not run */
    double seconds;
    const char *command; /* that does the same again; NULL */
    const char *fault;   /* that is in the tests' runs; NULL */
    FILE *stream;
    bool color, verbose, show_skipped;
    bool replay;       /* show what ranks printed also of tests that passed */
    int memory_rows;   /* of the table of memory; -1: 10 on a GPU, none elsewhere */
    int duration_rows; /* of the table of durations; 0 = none */
    int id_width;      /* of the column of test ids */
    bool interrupted;
    bool remarked; /* a remark of an outcome has been shown */
    bool told_cpu; /* and why the tests do not run on a GPU */
};

struct report_counts {
    int passed, failed, skipped, not_run, deselected, not_built;
    int unnamed; /* of the deselected: no pattern names them */
    int dropped; /* of the deselected: the actions of their groups do not run */
};
struct report_counts report_count(const struct report *report);

/* Width of a column for the ids of `tests`, indices into the list: of the longest, at least 20. */
int report_id_width(const struct test_list *list, const int *tests, int count);
/* The line of one test, as it ends. */
void report_progress(const struct report *report, int test, const struct outcome *outcome,
                     int done);
/* Failures in full, tables, reasons, and the last line. */
void report_summary(const struct report *report);
/* "Highest gpu memory usage" and "Highest durations", if asked for. */
void report_tables(const struct report *report);
/* What each rank of a distributed test took, and the most that one of them did. */
void report_usage_of_ranks(const struct report *report, int test);
/* "===== title =====" over the width of the terminal; `code` is an ANSI colour. */
void report_rule(const struct report *report, char mark, const char *code, const char *title);
/* "groups" and dependencies of every test that runs (all tests with `everything`). */
void report_dependencies(const struct report *report, bool everything);

bool report_write_json(const struct report *report, const char *path, struct status *status);
bool report_write_junit(const struct report *report, const char *path, struct status *status);
/* One self-contained page (engine/report/page.h). */
bool report_write_html(const struct report *report, const char *path, struct status *status);

#endif
