/* Pictures as sheets, for the views that show one picture. Pure. UI thread. */
#ifndef UI_SHEETS_H
#define UI_SHEETS_H

#include "engine/session/pictures.h"
#include "ui/sheet.h"

/* Facts of the comparison, and the tables "numbers" (the window), "worst", "histogram" and "map";
 * those that the picture has. */
void sheet_of_tensor(const struct tensor_picture *tensor, struct sheet *sheet);
/* The tables "timeline" and "owners". */
void sheet_of_memory(const struct memory_picture *memory, struct sheet *sheet);
/* The table "steps". */
void sheet_of_metrics(const struct metrics_picture *metrics, struct sheet *sheet);

#endif
