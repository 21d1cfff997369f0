/* A list that scrolls: which row is selected and which is the first on the screen. Pure. */
#ifndef UI_LIST_H
#define UI_LIST_H

#include <stdbool.h>

struct list {
    int count;    /* rows there are */
    int selected; /* 0 to count - 1; 0 when empty */
    int top;      /* the first row shown */
    int page;     /* rows shown, set by list_show */
};

/* Columns of a sign that folds rows, with the blank behind it: a click up to there means the sign.
 */
enum { LIST_SIGN = 2 };

/* Sets the number of rows; selection and top stay inside. */
void list_resize(struct list *list, int count);
/* Before drawing `page` rows: moves `top` so that the selection is visible. */
void list_show(struct list *list, int page);
void list_select(struct list *list, int row);
/* Selects the row and brings it to the middle of the page when it was not visible. */
void list_reveal(struct list *list, int row);
/* "down", "up", "first", "last", "page-down", "page-up", "half-page-down", "half-page-up"; false
 * for another word. */
bool list_move(struct list *list, const char *word);
/* What every list does with a command: "move WORD" as above, "scroll up" and "scroll down" by three
 * rows. False: it is none of these. */
bool list_act(struct list *list, const char *command);
/* Selects what is under a click on row `row` of the box, whose first `heading` rows are no rows of
 * the list. False if nothing is there. */
bool list_click(struct list *list, int heading, int row);
/* Scrolls by rows without moving the selection out of sight. */
void list_scroll(struct list *list, int rows);

#endif
