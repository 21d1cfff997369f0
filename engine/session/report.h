/* Filling a page from a debugging session. Between command_report.c and report_ranks.c. */
#ifndef ENGINE_SESSION_REPORT_H
#define ENGINE_SESSION_REPORT_H

#include "engine/report/page.h"
#include "engine/session/debugger.h"

/* Fills numbers and status of a row. `now`: the comparison of the current step, which knows all
 * metrics; NULL or not compared: only what the record keeps. */
void report_measure(struct page_row *row, const struct record *record,
                    const struct record_entry *entry, const struct pair_result *now);
/* "1", as steps are counted for people. Returns `buffer`. */
const char *report_step(int step, char buffer[32]);

/* ---- report_ranks.c: a run of several ranks, tensors whole ---- */

/* `tensors` gets the team's tensor of each row; free with free(). */
void report_ranks_rows(struct page *page, const struct debugger *debugger, int **tensors);
/* Looks into a tensor of the current step. False when it is not at hand. */
bool report_ranks_look_into(struct page *page, struct debugger *debugger, int row, int tensor);
/* Goes where the tensor was computed, by all ranks that have a part of it, looks into it, and comes
 * back. False when that failed, or was interrupted; the run may stand elsewhere then. */
bool report_ranks_visit(struct page *page, struct debugger *debugger, int row, int tensor,
                        struct status *status);
/* Where each rank stands, what of its parts diverged, what it printed last. */
void report_ranks_table(struct page *page, const struct debugger *debugger);

#endif
