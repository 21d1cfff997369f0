/* What the session sends: texts, pictures, the end of commands. */
#include "ui/state.h"

#include "engine/base/memory.h"
#include "ui/text_width.h"

#include <stdlib.h>
#include <string.h>

static struct posted *find_posted(struct ui *ui, uint64_t number)
{
    for (int i = 0; i < ui->posted_count; i++)
        if (ui->posted[i].number == number)
            return &ui->posted[i];
    return NULL;
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n' || text[1] == '\0';
    return lines;
}

/* One line is shown where the user looks; more of them open the log. */
static void show_output(struct ui *ui, const struct session_event *event)
{
    struct posted *posted = find_posted(ui, event->command);
    ui_log(ui, LOG_OUTPUT, event->text);
    if (!posted || posted->moves || posted->quiet)
        return;
    posted->lines += count_lines(event->text);
    if (posted->lines == 1) {
        char *line = memory_string_part(event->text, strcspn(event->text, "\n"));
        ui_say(ui, THEME_NORMAL, "%s", line);
        free(line);
        return;
    }
    if (ui->layout.pane_count > 0 && ui->request.cols < LAYOUT_WIDE_COLS)
        ui_focus(ui, LAYOUT_LOG);
    else
        ui_open(ui, LAYOUT_LOG);
    view_log.act(ui, ui->states[LAYOUT_LOG], "move last", true); /* an answer is seen */
}

static void show_error(struct ui *ui, const struct session_event *event)
{
    const char *text = event->text;
    const struct posted *posted = find_posted(ui, event->command);
    ui_log(ui, LOG_ERROR, text);
    if (posted && posted->quiet)
        return;
    char *line = memory_string_part(text, strcspn(text, "\n"));
    ui_say(ui, THEME_ERROR, "%s", line);
    free(line);
    bool more = strchr(text, '\n') && text[strcspn(text, "\n") + 1];
    if (more || text_width(text, strlen(text)) > ui->request.cols)
        ui_open(ui, LAYOUT_LOG);
}

/* What the instruction before the counter wrote; -1 if it has no name. */
static int value_written_last(const struct ui *ui, const struct state_picture *state)
{
    const struct program_picture *program = ui_program(ui);
    if (!program || state->next < 1 || state->step != state->now)
        return -1;
    const struct picture_instruction *in = &program->instructions[state->next - 1];
    for (int k = 0; k < in->output_count; k++)
        if (program->values[in->outputs[k]].named)
            return in->outputs[k];
    return -1;
}

/* The tensor of the last stop goes to the tensor view; else, as long as the user chose none, what
 * was written last. */
static void take_state(struct ui *ui, const struct state_picture *state)
{
    int written = value_written_last(ui, state);
    if (state->focus != ui->focus_value) {
        ui->focus_value = state->focus;
        ui->chosen = ui->chosen && state->focus < 0;
        if (state->focus >= 0)
            ui->value = state->focus;
    } else if (state->focus < 0 && !ui->chosen && written >= 0) {
        ui->value = written;
    }
    ui_want(ui, PICTURE_TENSOR);
}

/* Another program: values and instructions have other numbers. */
static void forget_program(struct ui *ui)
{
    ui->value = ui->focus_value = -1;
    ui->chosen = false;
    ui->step = -1;
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++)
        if (kind != PICTURE_STATE)
            ui_want(ui, (enum picture_kind)kind);
}

/* A script's screens are the same each time: no clock is on them. */
static void stop_clock(struct metrics_picture *metrics)
{
    for (int i = 0; metrics->test && i < metrics->test_count; i++)
        metrics->test[i].seconds = 0;
    for (int i = 0; metrics->reference && i < metrics->reference_count; i++)
        metrics->reference[i].seconds = 0;
}

static void take_picture(struct ui *ui, struct session_event *event)
{
    struct picture *picture = event->picture;
    enum picture_kind kind = picture->request.kind;
    const struct picture *program = ui->pictures[PICTURE_PROGRAM];
    event->picture = NULL;
    ui->asked[kind]--;
    if (ui->options->script && picture->metrics)
        stop_clock(picture->metrics);
    if (kind == PICTURE_STATE && remember_is_other_run(ui, picture))
        remember_leave(ui);
    picture_free(ui->pictures[kind]);
    ui->pictures[kind] = picture;
    if (kind == PICTURE_STATE && (!program || program->identity != picture->identity))
        forget_program(ui);
    if (kind == PICTURE_STATE && picture->state)
        take_state(ui, picture->state);
    if (picture->tensor && picture->tensor->partial && picture->request.quick && !ui->given_up) {
        ui->patient = true; /* one that was not quick was given up for something that asks anew */
        ui_want(ui, kind);
    }
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++) {
        const struct view_operations *operations = ui_operations((enum layout_view)view);
        bool usable = ui_picture(ui, kind) != NULL;
        if (operations->picture && usable)
            operations->picture(ui, ui->states[view], picture);
    }
    if (kind == PICTURE_STATE)
        remember_look(ui);
    remember_arrive(ui);
    ui_dirty(ui);
}

static void end_command(struct ui *ui, const struct session_event *event)
{
    struct posted *posted = find_posted(ui, event->command);
    if (!posted)
        return;
    if (event->ok && command_is(posted->line, "file", NULL) && ui->request.focus == LAYOUT_TESTS) {
        ui_focus(ui, LAYOUT_PROGRAM);
        ui_open(ui, LAYOUT_DIVERGENCES);
        ui_open(ui, LAYOUT_TENSOR);
    }
    ui->failed = ui->failed || (!event->ok && !posted->quiet);
    bool quiet = posted->quiet;
    free(posted->line);
    ui->posted_count--;
    memmove(posted, posted + 1, (size_t)(ui->posted + ui->posted_count - posted) * sizeof(*posted));
    if (ui->posted_count > 0)
        ui_log(ui, LOG_COMMAND, ui->posted[0].line);
    ui_settle_list(ui, quiet);
    for (int kind = PICTURE_STATE; kind < PICTURE_KIND_COUNT; kind++)
        ui_want(ui, (enum picture_kind)kind);
}

static void take_snapshot(struct ui *ui)
{
    snapshot_release(&ui->snapshot);
    ui->snapshot = session_snapshot(ui->session);
    ui_want(ui, PICTURE_STATE);
    ui_want(ui, PICTURE_RANKS);
}

static void run_shell(struct ui *ui, const char *command)
{
    struct status status = STATUS_NONE;
    bool ok = term_shell(command, &status);
    session_shell_ended(ui->session, ok ? NULL : status.text);
    ui_dirty(ui);
}

static void take_exit_code(const struct ui *ui)
{
    const struct snapshot *snapshot = session_snapshot(ui->session);
    if (ui->options->exit_code && snapshot && snapshot->exit_given)
        *ui->options->exit_code = snapshot->exit_code;
    snapshot_release(&snapshot);
}

static void handle_event(struct ui *ui, struct session_event *event)
{
    ui_dirty(ui);
    switch (event->kind) {
    case EVENT_OUTPUT:
        show_output(ui, event);
        break;
    case EVENT_ERROR:
        show_error(ui, event);
        break;
    case EVENT_MESSAGE:
        ui_log(ui, LOG_MESSAGE, event->text);
        break;
    case EVENT_DONE:
        end_command(ui, event);
        break;
    case EVENT_QUIT:
        ui->quit = true;
        take_exit_code(ui);
        break;
    case EVENT_PICTURE:
        take_picture(ui, event);
        break;
    case EVENT_SHELL:
        run_shell(ui, event->text);
        break;
    case EVENT_RUNNING:
    case EVENT_STOPPED: /* its text is in the snapshot */
    case EVENT_CHANGED:
        take_snapshot(ui);
        break;
    }
}

void ui_handle_events(struct ui *ui)
{
    struct session_event *events = session_take_events(ui->session);
    for (struct session_event *event = events; event; event = event->next)
        handle_event(ui, event);
    session_events_free(events);
}

/* ---- wishes ---- */

enum { ASK_MS = 200 };

static void ask(struct ui *ui, const struct picture_request *request)
{
    ui->stale[request->kind] = false;
    ui->asked[request->kind]++;
    if (request->kind == PICTURE_TENSOR) {
        ui->thorough = !request->quick;
        ui->patient = false;
    }
    session_request(ui->session, request);
}

static bool wish_of(struct ui *ui, enum picture_kind kind, struct picture_request *request)
{
    if (kind == PICTURE_PROGRAM || kind == PICTURE_STATE)
        return true;
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++) {
        const struct view_operations *operations = ui_operations((enum layout_view)view);
        const struct layout_pane *pane = layout_pane_of(&ui->layout, (enum layout_view)view);
        *request = (struct picture_request){.kind = kind, .value = -1, .step = -1, .at = -1};
        if (operations->wish && pane && !pane->collapsed &&
            operations->wish(ui, ui->states[view], request) && request->kind == kind)
            return true;
    }
    return false;
}

/* While the run moves pictures hold it up: only where it stands, a few times a second, and what its
 * ranks print. */
static bool may_ask(struct ui *ui, enum picture_kind kind)
{
    if (ui->snapshot->state != RUN_RUNNING)
        return true;
    if (kind == PICTURE_OUTPUT) /* one at a time, and the run need not stand for it */
        return true;
    if (kind == PICTURE_PROGRAM) /* once for each program, and nothing is shown without it */
        return true;
    int64_t now = ui_milliseconds(ui);
    if ((kind != PICTURE_STATE && kind != PICTURE_RANKS) || now - ui->asked_ms[kind] < ASK_MS)
        return false;
    ui->asked_ms[kind] = now;
    return true;
}

/* One of a kind at a time; but what takes long is given up for a newer one. */
static bool is_awaited(const struct ui *ui, enum picture_kind kind)
{
    bool gives_way = kind == PICTURE_TENSOR && ui->thorough;
    return ui->asked[kind] > (gives_way ? 1 : 0);
}

void ui_send_wishes(struct ui *ui)
{
    if (!ui->snapshot || ui->snapshot->state == RUN_NONE)
        return;
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++) {
        struct picture_request request = {
            .kind = (enum picture_kind)kind, .step = ui->step, .value = -1, .at = -1};
        if (!ui->stale[kind] || is_awaited(ui, (enum picture_kind)kind) ||
            !may_ask(ui, (enum picture_kind)kind))
            continue;
        bool wished = wish_of(ui, (enum picture_kind)kind, &request);
        request.quick = kind == PICTURE_TENSOR && !ui->patient;
        if (wished)
            ask(ui, &request);
        else if (!ui_is_busy(ui))
            ui->stale[kind] = false; /* nobody looks: asked for again when a view opens */
    }
}
