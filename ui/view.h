/* A view: one pane of the screen. A view is one table of operations and one file; the loop knows
 * no view by name. State of a view lives from the start of the program to its end, open or not, so
 * that selection and folds come back. UI thread. */
#ifndef UI_VIEW_H
#define UI_VIEW_H

#include "engine/session/pictures.h"
#include "ui/layout.h"
#include "ui/sheet.h"

struct json_t;
struct ui;

/* A key of the key bar: the command whose key is shown, and what to say. */
struct view_hint {
    const char *command, *label;
};

/* A click at a cell of a view's box. */
struct view_click {
    struct layout_rectangle box;
    int row, col; /* in the box */
    bool twice;
};

struct view_operations {
    enum layout_view view;
    const char *title;
    const char *help;              /* what it shows, for the help view: a paragraph */
    const struct view_hint *hints; /* ended by a NULL command */
    bool at_stops; /* what it shows is taken when the run stops: said while it moves */
    void *(*create)(struct ui *ui);
    void (*destroy)(void *state);
    void (*draw)(struct ui *ui, void *state, struct layout_rectangle box, bool focus);
    /* What stands in the frame behind the title. (optional) */
    void (*subtitle)(struct ui *ui, void *state, struct text *out);
    /* A command: a verb of the screens ("move down", "fold all"), or one of the session's that the
     * view completes ("check" of the selected instruction; with `key` only: what is typed means
     * what it says). False: not this view's. */
    bool (*act)(struct ui *ui, void *state, const char *command, bool key);
    void (*click)(struct ui *ui, void *state, const struct view_click *click); /* (optional) */
    /* A picture arrived; it stays in ui_picture() until the next one of its kind. (optional) */
    void (*picture)(struct ui *ui, void *state, const struct picture *picture);
    /* The picture that the view needs, filled into a zeroed request. (optional) */
    bool (*wish)(struct ui *ui, void *state, struct picture_request *request);
    /* Selects the next row that holds `text`, `direction` 1 or -1. (optional) */
    bool (*search)(struct ui *ui, void *state, const char *text, int direction);
    /* What is to come back with the run (ui/remember.h): a new object; and its coming back. What
     * is missing, wrong or not in the program stays as it is. Called with the pictures of program
     * and state at hand. (optional) */
    struct json_t *(*remember)(struct ui *ui, void *state);
    void (*restore)(struct ui *ui, void *state, const struct json_t *json);
    /* All that it shows, not only what fits: at least one table, or none when there is nothing. */
    void (*save)(struct ui *ui, void *state, struct sheet *out);
};

extern const struct view_operations view_tests, view_program, view_divergences, view_tensor,
    view_memory, view_ranks, view_metrics, view_log, view_help;

#endif
