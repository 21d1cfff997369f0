#include "ui/state.h"
#include "ui/text_width.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/session/pictures.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct view_operations *ui_operations(enum layout_view view)
{
    static const struct view_operations *const views[LAYOUT_VIEW_COUNT] = {
        &view_tests, &view_program, &view_divergences, &view_tensor, &view_memory,
        &view_ranks, &view_metrics, &view_log,         &view_help};
    return views[view];
}

void ui_dirty(struct ui *ui)
{
    ui->dirty = true;
}

void ui_say(struct ui *ui, enum theme_role role, const char *format, ...)
{
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    free(ui->message);
    char *more = strchr(text, '\n'); /* a second line points at a place: for the log */
    if (more)
        ui_log(ui, role == THEME_ERROR ? LOG_ERROR : LOG_MESSAGE, text);
    ui->message = memory_string_part(text, more ? (size_t)(more - text) : strlen(text));
    ui->message_role = role;
    ui_dirty(ui);
}

bool command_is(const char *line, const char *word, const char **rest)
{
    size_t length = strlen(word);
    if (strncmp(line, word, length) != 0 || (line[length] && line[length] != ' '))
        return false;
    if (rest)
        *rest = line + length + strspn(line + length, " ");
    return true;
}

/* ---- the session ---- */

/* Commands that move the run, however they are shortened: what they say goes to the log. */
static bool moves_run(const char *line)
{
    static const char *const movers[] = {
        "run",          "start",         "continue",     "step",  "next",
        "stepi",        "finish",        "goto",         "until", "file",
        "reverse-step", "reverse-stepi", "reverse-next", "rank",  "reverse-continue"};
    const char *name = session_command_name(line);
    for (int i = 0; name && i < ARRAY_LENGTH(movers); i++)
        if (strcmp(name, movers[i]) == 0)
            return true;
    return false;
}

static void post(struct ui *ui, const char *line, bool quiet)
{
    if (!ui_is_busy(ui))
        ui_log(ui, LOG_COMMAND, line); /* the others when their turn comes */
    struct posted posted = {.number = session_post(ui->session, line),
                            .line = memory_string(line),
                            .moves = moves_run(line),
                            .quiet = quiet};
    ARRAY_PUSH(ui->posted, ui->posted_count, ui->posted_capacity, posted);
    ui_note_list(ui, line);
    ui->given_up = false;
    ui_dirty(ui);
}

__attribute__((format(printf, 3, 0))) static void post_format(struct ui *ui, bool quiet,
                                                              const char *format, va_list arguments)
{
    char *line = memory_format_list(format, arguments);
    post(ui, line, quiet);
    free(line);
}

void ui_post(struct ui *ui, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    post_format(ui, false, format, arguments);
    va_end(arguments);
}

void ui_post_quietly(struct ui *ui, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    post_format(ui, true, format, arguments);
    va_end(arguments);
}

bool ui_is_busy(const struct ui *ui)
{
    return ui->posted_count > 0;
}

bool ui_is_running(const struct ui *ui)
{
    return ui->snapshot && ui->snapshot->state == RUN_RUNNING;
}

/* ---- pictures ---- */

const struct picture *ui_picture(const struct ui *ui, enum picture_kind kind)
{
    const struct picture *picture = ui->pictures[kind];
    const struct picture *program = ui->pictures[PICTURE_PROGRAM];
    if (kind == PICTURE_OUTPUT) /* belongs to no program */
        return picture;
    bool same = picture && program && picture->identity == program->identity;
    return same && picture->identity != 0 ? picture : NULL;
}

int ui_find_value(const struct ui *ui, const char *name)
{
    const struct program_picture *program = ui_program(ui);
    for (int v = 0; name && program && v < program->value_count; v++)
        if (strcmp(program->values[v].name, name) == 0)
            return v;
    return -1;
}

const struct program_picture *ui_program(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_PROGRAM);
    return picture ? picture->program : NULL;
}

const struct state_picture *ui_state(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_STATE);
    return picture ? picture->state : NULL;
}

void ui_want(struct ui *ui, enum picture_kind kind)
{
    ui->stale[kind] = true;
    ui_dirty(ui);
}

/* ---- views ---- */

bool ui_is_open(const struct ui *ui, enum layout_view view)
{
    return ui->request.open[view] || ui->request.focus == view;
}

/* Views that share a home show one at a time. */
static void close_neighbours(struct ui *ui, enum layout_view view)
{
    for (int other = 0; other < LAYOUT_VIEW_COUNT; other++)
        if (other != (int)view &&
            layout_view_slot((enum layout_view)other) == layout_view_slot(view))
            ui->request.open[other] = false;
}

void ui_open(struct ui *ui, enum layout_view view)
{
    close_neighbours(ui, view);
    if (layout_view_slot(ui->request.focus) == layout_view_slot(view))
        ui->request.focus = view;
    ui->request.open[view] = true;
    for (int kind = PICTURE_TENSOR; kind < PICTURE_KIND_COUNT; kind++)
        ui_want(ui, (enum picture_kind)kind);
}

void ui_focus(struct ui *ui, enum layout_view view)
{
    if (view == LAYOUT_HELP && ui->request.focus != LAYOUT_HELP)
        ui->help_for = ui->request.focus;
    ui->request.focus = view;
    ui_open(ui, view);
}

/* What stands in a home by itself. */
static enum layout_view view_of_slot(const struct ui *ui, enum layout_slot slot)
{
    if (slot == LAYOUT_LEFT)
        return ui_program(ui) ? LAYOUT_PROGRAM : LAYOUT_TESTS;
    return slot == LAYOUT_RIGHT ? LAYOUT_TENSOR : LAYOUT_DIVERGENCES;
}

void ui_close(struct ui *ui, enum layout_view view)
{
    enum layout_view next = view_of_slot(ui, layout_view_slot(view));
    bool focus = ui->request.focus == view;
    ui->request.open[view] = false;
    if (ui_program(ui) && next != view)
        ui_open(ui, next);
    if (focus)
        ui->request.focus = view_of_slot(ui, LAYOUT_LEFT);
    ui_open(ui, ui->request.focus);
}

void ui_show_value(struct ui *ui, int value)
{
    ui->value = value;
    ui->chosen = true;
    if (!ui_is_open(ui, LAYOUT_TENSOR))
        ui_open(ui, LAYOUT_TENSOR);
    ui_want(ui, PICTURE_TENSOR);
}

void ui_open_value(struct ui *ui, int value)
{
    ui_show_value(ui, value);
    if (ui->request.cols < LAYOUT_WIDE_COLS)
        ui_focus(ui, LAYOUT_TENSOR);
}

bool ui_act_on_value(struct ui *ui, int value, const char *command)
{
    static const char *const by_name[] = {"blame", "diff", "graft", "break"};
    const struct program_picture *program = ui_program(ui);
    if (!program || value < 0 || value >= program->value_count)
        return false;
    if (command_is(command, "check", NULL) && program->values[value].producer >= 0) {
        ui_post(ui, "check %d", program->values[value].producer);
        return true;
    }
    for (int i = 0; i < ARRAY_LENGTH(by_name); i++)
        if (command_is(command, by_name[i], NULL)) {
            ui_post(ui, "%s %s", command, program->values[value].name);
            return true;
        }
    return false;
}

const char *ui_why_empty(const struct ui *ui)
{
    if (!ui_program(ui))
        return ui_is_busy(ui) ? " loading" : " no run is open";
    return ui_is_running(ui) ? " is shown when the run stops" : "";
}

int64_t ui_milliseconds(const struct ui *ui)
{
    return ui->options->script ? 0 : clock_nanoseconds() / 1000000;
}

/* ---- the log ---- */

static void add_log_line(struct log *log, enum log_kind kind, const char *text, size_t length)
{
    if (log->count == LOG_LINES) {
        int cut = LOG_LINES / 10;
        for (int i = 0; i < cut; i++)
            free(log->lines[i].text);
        memmove(log->lines, log->lines + cut, (size_t)(LOG_LINES - cut) * sizeof(*log->lines));
        log->count -= cut;
        log->dropped += cut;
    }
    struct log_line line = {
        .kind = kind, .text = memory_string_part(text, length), .width = text_width(text, length)};
    ARRAY_PUSH(log->lines, log->count, log->capacity, line);
}

/* How much of a text is one line of the log. What prints megabytes without a line's end gets
 * several, of whole characters: wrapping and drawing take the time of a line's length. */
static size_t log_line_length(const char *text)
{
    size_t room = strnlen(text, LOG_LINE_BYTES + 1);
    const char *end = memchr(text, '\n', room);
    size_t length = end ? (size_t)(end - text) : room;
    if (length <= LOG_LINE_BYTES)
        return length;
    for (length = LOG_LINE_BYTES; length > 0 && (text[length] & 0xc0) == 0x80; length--)
        continue;
    return length > 0 ? length : LOG_LINE_BYTES;
}

void ui_log(struct ui *ui, enum log_kind kind, const char *text)
{
    while (*text) {
        size_t length = log_line_length(text);
        add_log_line(&ui->log, kind, text, length);
        text += length + (text[length] == '\n');
    }
    ui_dirty(ui);
}

void log_free(struct log *log)
{
    for (int i = 0; i < log->count; i++)
        free(log->lines[i].text);
    free(log->lines);
    for (int stream = 0; stream < RANK_STREAM_COUNT; stream++)
        text_free(&log->captured[stream]);
    *log = (struct log){0};
}

/* ---- words and signs ---- */

enum theme_mark status_mark(enum picture_status status)
{
    static const enum theme_mark marks[] = {THEME_MARK_PENDING,  THEME_MARK_PENDING,
                                            THEME_MARK_SAME,     THEME_MARK_WITHIN,
                                            THEME_MARK_DIVERGED, THEME_MARK_NAN};
    return marks[status];
}

enum theme_role status_role(enum picture_status status)
{
    static const enum theme_role roles[] = {THEME_PENDING, THEME_PENDING,  THEME_SAME,
                                            THEME_WITHIN,  THEME_DIVERGED, THEME_NAN};
    return roles[status];
}

const char *status_saved(enum picture_status status)
{
    static const char *const words[] = {"pending", "done", "same", "within", "diverged", "nan"};
    return words[status];
}

const char *number_text(double number, char buffer[32])
{
    if (isnan(number))
        snprintf(buffer, 32, "-");
    else if (isinf(number))
        snprintf(buffer, 32, "%s", number > 0 ? "inf" : "-inf");
    else if (number == 0)
        snprintf(buffer, 32, "0");
    else
        snprintf(buffer, 32, "%.1e", number);
    return buffer;
}
