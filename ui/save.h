/* Saving what a view shows. UI thread. */
#ifndef UI_SAVE_H
#define UI_SAVE_H

#include "engine/base/status.h"
#include "ui/sheet.h"

struct ui;

/* The command `save [--format text|csv|json] [FILE]` of the view with the focus; with `replace`,
 * files that exist are replaced. Says what it wrote, or why not. */
void ui_save(struct ui *ui, const char *arguments, bool replace);

/* Writes a sheet. CSV takes one file for each table: the first goes to `path`, the others to names
 * with their own name before the ending (memory.csv, memory-owners.csv). `names` gets what was
 * written ("memory.csv, memory-owners.csv"), also on failure. */
bool sheet_save(const struct sheet *sheet, const char *path, enum sheet_format format, bool replace,
                struct text *names, struct status *status);

#endif
