/* The state of the screens, shared by the loop, the commands and the views. Internal to ui/.
 *
 * Only the loop draws: everything else changes the state and calls ui_dirty(). */
#ifndef UI_STATE_H
#define UI_STATE_H

#include "engine/session/session.h"
#include "ui/keymap.h"
#include "ui/lineedit.h"
#include "ui/list.h"
#include "ui/pen.h"
#include "ui/remember.h"
#include "ui/term.h"
#include "ui/test_run.h"
#include "ui/ui.h"
#include "ui/view.h"

enum log_kind { LOG_COMMAND, LOG_OUTPUT, LOG_ERROR, LOG_MESSAGE, LOG_CAPTURED };

struct log_line {
    enum log_kind kind;
    char *text;
    int width;             /* columns of the text */
    int rows, counted_for; /* it takes in so many columns, as counted last; 0: not yet */
};

enum { LOG_LINES = 20000, LOG_LINE_BYTES = 4096 };

struct log {
    struct log_line *lines; /* [count], the newest last */
    int count, capacity;
    int64_t dropped;                         /* lines that fell off the beginning */
    struct text captured[RANK_STREAM_COUNT]; /* unfinished lines of captured output */
};

/* A command that the session has not finished. */
struct posted {
    uint64_t number;
    char *line;
    bool moves; /* makes the run move: its output is not put in front of the user */
    bool quiet; /* nor are its errors */
    int lines;  /* of output so far */
};

/* The last press of the mouse, to know a double click, and what it holds until it is let go. */
struct ui_mouse {
    int row, col; /* -1: none yet */
    int64_t ms;
    enum layout_edge drags;
};

/* What the key bar says, as drawn last: columns [col, end) of the screen, and what a click does. */
enum { KEY_BAR_HINTS = 24 };
struct key_bar {
    struct {
        int col, end;
        const char *command; /* static storage */
    } hints[KEY_BAR_HINTS];
    int count;
};

enum prompting {
    PROMPT_CLOSED,
    PROMPT_COMMAND,
    PROMPT_FILTER,
    PROMPT_LIST, /* commands of a breakpoint: every line is the session's, until 'end' */
};

struct ui {
    const struct ui_options *options;
    struct session *session;
    struct keymap keymap;
    struct lineedit *edit;
    struct layout_request request;
    struct screen_layout layout;
    void *states[LAYOUT_VIEW_COUNT];
    const struct snapshot *snapshot;              /* held; NULL before the first */
    struct picture *pictures[PICTURE_KIND_COUNT]; /* the newest of each kind, or NULL */
    bool stale[PICTURE_KIND_COUNT];               /* a newer one is needed */
    int asked[PICTURE_KIND_COUNT];                /* on their way */
    bool patient;  /* the next picture of a tensor may take its time: the quick one was partial */
    bool thorough; /* the last one that was asked for is such a one */
    bool given_up; /* by Ctrl-C: what is on its way of a tensor may stay partial */
    int value;     /* that the tensor view shows; -1: none yet */
    bool chosen;   /* by the user: stops without a tensor leave it */
    int64_t asked_ms[PICTURE_KIND_COUNT]; /* when one of the moving run was asked for */
    enum layout_view help_for;            /* the view that help was asked for in */
    int focus_value;                      /* what the last stop was about */
    int step;                             /* whose marks are shown, -1: the current one */
    struct remembered remembered;
    struct log log;
    int64_t captured_ms;     /* when captured output was taken last */
    uint64_t output_version; /* of what ranks print, when it was looked at last */
    struct test_run *tests;  /* run beside the screens */
    struct posted *posted;
    int posted_count, posted_capacity;
    enum prompting prompting;
    int list_depth; /* lists of a breakpoint's commands that were begun and not ended */
    char **matches; /* completions to choose from */
    int match_count;
    char *searched; /* the last search */
    char *message;  /* for the prompt's line, until the next key */
    enum theme_role message_role;
    int interrupts;    /* Ctrl-C, one after the other */
    bool asks_to_quit; /* the next key answers */
    bool dirty, quit, failed;
    struct ui_mouse mouse;
    struct key_bar key_bar;
};

/* The operations of a view. */
const struct view_operations *ui_operations(enum layout_view view);

/* ---- for views and commands ---- */
void ui_dirty(struct ui *ui);
/* Says something in the line of the prompt, until the next key. */
void ui_say(struct ui *ui, enum theme_role role, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Hands a command line to the session. */
void ui_post(struct ui *ui, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for what the user did not ask for just now: what it says goes to the log only. */
void ui_post_quietly(struct ui *ui, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Does a command: the focused view's, one of the screens, else the session's. */
void ui_command(struct ui *ui, const char *line, bool key);
bool ui_is_busy(const struct ui *ui);    /* the session works on a command */
bool ui_is_running(const struct ui *ui); /* the run moves */
/* Opens a view and gives it the focus. */
void ui_focus(struct ui *ui, enum layout_view view);
void ui_open(struct ui *ui, enum layout_view view); /* without the focus */
void ui_close(struct ui *ui, enum layout_view view);
bool ui_is_open(const struct ui *ui, enum layout_view view);
/* The newest pictures; NULL if there is none, or it belongs to another program. */
const struct program_picture *ui_program(const struct ui *ui);
const struct state_picture *ui_state(const struct ui *ui);
const struct picture *ui_picture(const struct ui *ui, enum picture_kind kind);
/* The value of that name in the program, or -1; `name` may be NULL. */
int ui_find_value(const struct ui *ui, const char *name);
/* A newer picture is needed: it comes with the next turn of the loop. */
void ui_want(struct ui *ui, enum picture_kind kind);
/* Shows a value in the tensor view, which is opened. */
void ui_show_value(struct ui *ui, int value);
/* The same for a row that was opened: on a narrow screen the tensor view takes the focus. */
void ui_open_value(struct ui *ui, int value);
/* gdb's letters on a row that is about a value: check, blame, diff, graft, break. False: none of
 * these, or there is no such value. */
bool ui_act_on_value(struct ui *ui, int value, const char *command);
void ui_log(struct ui *ui, enum log_kind kind, const char *text);
/* What a view says as long as it has no picture. */
const char *ui_why_empty(const struct ui *ui);
int64_t ui_milliseconds(const struct ui *ui); /* monotonic; 0 in a script */

/* Words of a command: whether `line` begins with `word`; *rest (may be NULL) is what follows. */
bool command_is(const char *line, const char *word, const char **rest);

/* ---- parts of the loop ---- */
void ui_handle_events(struct ui *ui); /* takes what the session sent */
void ui_send_wishes(struct ui *ui);   /* asks for the pictures that open views need */
void ui_handle_key(struct ui *ui, const struct key *key);
void ui_handle_mouse(struct ui *ui, const struct key *key); /* of code KEYS_MOUSE */
void ui_forget_message(struct ui *ui);
void ui_draw(struct ui *ui);
bool ui_run_script(struct ui *ui, struct status *status);
const char *ui_verb_name(int index); /* NULL behind the last */
const char *ui_verb_help(int index);
/* Whether the next line belongs to a breakpoint's commands; a line was posted; one has ended. */
bool ui_takes_list(const struct ui *ui);
void ui_note_list(struct ui *ui, const char *line);
void ui_settle_list(struct ui *ui, bool quiet);
void ui_free_matches(struct ui *ui);
void ui_open_prompt(struct ui *ui, enum prompting prompting, const char *text);
void log_free(struct log *log);

/* Signs and words for the status of a comparison. */
enum theme_mark status_mark(enum picture_status status);
enum theme_role status_role(enum picture_status status);
/* "pending", "done", "same", "within", "diverged", "nan": in what is saved. */
const char *status_saved(enum picture_status status);
/* "3.3e-01", "-" when it is not known. */
const char *number_text(double number, char buffer[32]);

#endif
