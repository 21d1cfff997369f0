/* The whole screen: header, frames, views, prompt, key bar. */
#include "ui/state.h"

#include "ui/text_width.h"

#include <stdio.h>
#include <string.h>

/* ---- header ---- */

static const char *state_word(const struct ui *ui)
{
    static const char *const words[] = {"", "STOPPED", "RUNNING", "ENDED", "FAILED"};
    if (!ui->snapshot)
        return "";
    if (ui->snapshot->state == RUN_NONE && ui_is_busy(ui))
        return "LOADING";
    return words[ui->snapshot->state];
}

static void put_right(struct ui *ui, const char *text, enum theme_role role)
{
    struct layout_rectangle box = ui->layout.header;
    int width = text_width(text, strlen(text));
    if (width < box.cols)
        term_put(box.row, box.col + box.cols - width, width, role, text);
}

static void text_seconds(char *right, size_t size, double seconds)
{
    size_t used = strlen(right);
    snprintf(right + used, size - used, " ran %.1fs ", seconds);
}

static void draw_header(struct ui *ui)
{
    const struct snapshot *now = ui->snapshot;
    struct layout_rectangle box = ui->layout.header;
    struct pen pen = pen_at(box, 0);
    pen_line(&pen, 0, THEME_BAR);
    if (!now || now->state == RUN_NONE) {
        if (state_word(ui)[0])
            pen_format(&pen, THEME_BAR, " lockstep   %s %s   %s", ui_is_busy(ui) ? "busy with" : "",
                       ui_is_busy(ui) ? ui->posted[0].line : "", state_word(ui));
        else
            pen_put(&pen, THEME_BAR, " lockstep   no run is open: choose a test");
        return;
    }
    pen_format(&pen, THEME_BAR, " %s%s%s   ", now->run, now->reference[0] ? " ~ " : "",
               now->reference);
    if (now->ranks > 1)
        pen_format(&pen, THEME_BAR, "rank %d/%d   ", now->rank, now->ranks);
    bool running = now->state == RUN_RUNNING;
    char state[400], live[32], planned[32], right[200];
    bool reason = now->state == RUN_STOPPED && now->stop_reason[0];
    snprintf(state, sizeof(state), " %s%s%s ", state_word(ui), reason ? ": " : "",
             reason ? now->stop_reason : "");
    text_bytes((uint64_t)now->memory_live, live);
    text_bytes((uint64_t)now->memory_planned, planned);
    snprintf(right, sizeof(right), " mem %s/%s ", live, planned);
    if (box.cols >= 140)
        text_seconds(right, sizeof(right), ui->options->script ? 0.0 : now->seconds);
    int right_width = text_width(right, strlen(right));
    int state_width = text_width(state, strlen(state));
    state_width = state_width > box.cols / 3 ? box.cols / 3 : state_width;
    bool with_right = box.cols >= 100;
    int room = pen_room(&pen) - state_width - (with_right ? right_width : 0);
    if (room > 8)
        pen_cell(&pen, room, THEME_BAR, now->place);
    pen.role = -1;
    pen_cell(&pen, state_width, running ? THEME_BAR_RUNNING : THEME_BAR_STOPPED, state);
    if (with_right)
        put_right(ui, right, THEME_BAR);
}

/* ---- panes ---- */

static void draw_title(struct ui *ui, const struct layout_pane *pane)
{
    const struct view_operations *operations = ui_operations(pane->view);
    bool focus = pane->view == ui->request.focus;
    struct text title = {0};
    text_format(&title, " %s", operations->title);
    if (operations->at_stops && ui_is_running(ui))
        text_add(&title, "  as of the last stop");
    if (operations->subtitle)
        operations->subtitle(ui, ui->states[pane->view], &title);
    text_add(&title, " ");
    int width = text_width(title.data, title.length);
    if (width > pane->frame.cols - 4)
        width = pane->frame.cols - 4;
    if (width > 0)
        term_put(pane->frame.row, pane->frame.col + 2, width, focus ? THEME_FOCUS : THEME_TITLE,
                 title.data);
    text_free(&title);
}

static void draw_panes(struct ui *ui)
{
    term_frames(&ui->layout, ui->request.focus);
    for (int i = 0; i < ui->layout.pane_count; i++) {
        const struct layout_pane *pane = &ui->layout.panes[i];
        draw_title(ui, pane);
        if (!pane->collapsed && pane->inside.rows > 0 && pane->inside.cols > 0)
            ui_operations(pane->view)
                ->draw(ui, ui->states[pane->view], pane->inside, pane->view == ui->request.focus);
    }
}

/* ---- prompt ---- */

static void draw_line(struct ui *ui, struct layout_rectangle box)
{
    struct lineedit_state line;
    lineedit_state(ui->edit, &line);
    const char *prompt = line.prompt ? line.prompt : "";
    int before = term_put(box.row, box.col, -1, THEME_PROMPT, prompt);
    int room = box.cols - before - 1;
    int cursor = text_width(line.line, line.cursor);
    int skip = cursor > room ? cursor - room : 0; /* scrolls sideways with the cursor */
    if (room > 0)
        term_put_part(box.row, box.col + before, room + 1, THEME_NORMAL, line.line,
                      strlen(line.line), skip);
    term_cursor(box.row, box.col + before + cursor - skip);
}

/* What is wider than the screen goes on over the key bar. */
static void draw_message(struct ui *ui, struct layout_rectangle box)
{
    const char *text = ui->message;
    size_t length = strlen(text), first = length;
    struct layout_rectangle keys = ui->layout.keys;
    if (text_width(text, length) > box.cols && keys.rows > 0) {
        first = text_fit(text, length, box.cols, NULL);
        for (size_t at = first; at > first / 2; at--) /* at a blank, if there is one */
            if (text[at] == ' ') {
                first = at;
                break;
            }
        term_fill(keys, ui->message_role);
        ui->key_bar.count = 0;
        const char *rest = text + first;
        term_put(keys.row, keys.col, keys.cols, ui->message_role, rest + (*rest == ' '));
    }
    if (first < length)
        term_put_part(box.row, box.col, box.cols, ui->message_role, text, first, 0);
    else
        term_put(box.row, box.col, box.cols, ui->message_role, text);
}

static void draw_prompt(struct ui *ui)
{
    struct layout_rectangle box = ui->layout.prompt;
    term_cursor(-1, -1);
    if (ui->asks_to_quit)
        term_put(box.row, box.col, box.cols, THEME_WARNING,
                 ui_is_running(ui)                ? "The run moves. Leave? (y or n)"
                 : test_run_is_running(ui->tests) ? "Tests are running. Leave? (y or n)"
                                                  : "Leave? (y or n)");
    else if (ui->prompting != PROMPT_CLOSED)
        draw_line(ui, box);
    else if (ui->message)
        draw_message(ui, box);
    else
        term_put(box.row, box.col, box.cols, THEME_PROMPT, "(lockstep)");
}

static void draw_matches(struct ui *ui)
{
    struct layout_rectangle body = ui->layout.body;
    int widest = 4;
    for (int i = 0; i < ui->match_count; i++) {
        int width = text_width(ui->matches[i], strlen(ui->matches[i]));
        widest = width > widest ? width : widest;
    }
    widest = widest > body.cols - 2 ? body.cols - 2 : widest;
    int columns = (body.cols - 2) / (widest + 2);
    columns = columns < 1 ? 1 : columns;
    int rows = (ui->match_count + columns - 1) / columns;
    int most = body.rows - 3 < 10 ? body.rows - 3 : 10;
    bool cut = rows > most;
    rows = cut ? most : rows;
    if (rows < 1)
        return;
    struct layout_rectangle box = {body.row + body.rows - rows - 2, body.col, rows + 2, body.cols};
    char title[64];
    snprintf(title, sizeof(title), " %d words%s ", ui->match_count, cut ? ", more than fit" : "");
    term_fill(box, THEME_NORMAL);
    term_box(box, THEME_FOCUS, title);
    for (int i = 0; i < ui->match_count && i < rows * columns; i++)
        term_put(box.row + 1 + i / columns, box.col + 1 + i % columns * (widest + 2), widest,
                 THEME_NAME, ui->matches[i]);
}

/* ---- key bar ---- */

/* For the mouse. */
static void note_hint(struct key_bar *bar, const struct pen *pen, int width, const char *command)
{
    if (bar->count == KEY_BAR_HINTS)
        return;
    int col = pen->box.col + pen->col;
    bar->hints[bar->count].col = col;
    bar->hints[bar->count].end = col + width;
    bar->hints[bar->count++].command = command;
}

static void draw_hints(struct ui *ui, struct pen *pen, const struct view_hint *hints)
{
    const char *view = layout_view_name(ui->request.focus);
    for (; hints && hints->command; hints++) {
        char key[48];
        keymap_key_of(&ui->keymap, view, hints->command, key);
        int width = (int)(strlen(key) + strlen(hints->label)) + 3;
        if (!key[0] || pen_room(pen) < width)
            continue;
        note_hint(&ui->key_bar, pen, width, hints->command);
        pen_put(pen, THEME_BAR, " ");
        pen_put(pen, THEME_KEY, key);
        pen_format(pen, THEME_BAR, " %s ", hints->label);
    }
}

static void draw_keys(struct ui *ui)
{
    static const struct view_hint moving[] = {{"interrupt", "stop the run"}, {NULL, NULL}};
    static const struct view_hint help[] = {
        {"view help", "help"}, {"prompt", "command"}, {"focus next", "pane"}, {NULL, NULL}};
    static const struct view_hint of_run[] = {{"step", "step"},          {"next", "next"},
                                              {"continue", "continue"},  {"reverse-step", "back"},
                                              {"view memory", "memory"}, {NULL, NULL}};
    static const struct view_hint others[] = {{"view tests", "tests"},
                                              {"view ranks", "ranks"},
                                              {"prompt filter", "filter"},
                                              {"quit", "quit"},
                                              {NULL, NULL}};
    enum { HELP_COLUMNS = 8 }; /* where all others are to be found: it always has room */
    struct pen pen = pen_at(ui->layout.keys, 0);
    ui->key_bar.count = 0;
    if (ui->layout.keys.rows == 0)
        return;
    term_fill(ui->layout.keys, THEME_BAR);
    pen.box.cols -= HELP_COLUMNS;
    if (ui_is_busy(ui))
        draw_hints(ui, &pen, moving);
    draw_hints(ui, &pen, ui_operations(ui->request.focus)->hints);
    pen.box.cols += HELP_COLUMNS;
    draw_hints(ui, &pen, help);
    if (ui_program(ui))
        draw_hints(ui, &pen, of_run);
    draw_hints(ui, &pen, others);
}

/* In two lines, where one is too short for it. */
static void draw_too_small(void)
{
    char needed[40], found[40];
    snprintf(needed, sizeof(needed), "too small: needs %dx%d", LAYOUT_MIN_COLS, LAYOUT_MIN_ROWS);
    snprintf(found, sizeof(found), "has %dx%d", term_cols(), term_rows());
    term_put(0, 0, term_cols(), THEME_WARNING, needed);
    term_put(1, 0, term_cols(), THEME_WARNING, found);
    term_cursor(-1, -1);
}

/* What commands say is many lines, so the log gets nearly half of the height; of a low screen more
 * than half, so that a listing and its heading fit. */
enum { LOW_SCREEN = 36, LOG_PERCENT = 45, LOG_PERCENT_LOW = 56 };

void ui_draw(struct ui *ui)
{
    ui->dirty = false;
    ui->request.rows = term_rows();
    ui->request.cols = term_cols();
    struct layout_request request = ui->request;
    if (request.bottom_percent == 0 && request.open[LAYOUT_LOG])
        request.bottom_percent = request.rows < LOW_SCREEN ? LOG_PERCENT_LOW : LOG_PERCENT;
    ui->layout = layout_compute(&request);
    term_clear();
    if (ui->layout.too_small) {
        draw_too_small();
    } else {
        draw_header(ui);
        draw_panes(ui);
        draw_keys(ui);
        draw_prompt(ui);
        if (ui->match_count > 0)
            draw_matches(ui);
    }
    term_flush();
}
