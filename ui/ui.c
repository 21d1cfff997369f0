/* The loop: waits for keys, signals and the session; whoever changes something says so with
 * ui_dirty(), and everything is drawn once. */
#include "ui/ui.h"

#include "ui/state.h"
#include "ui/user_files.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CAPTURE_MS = 100, /* from one look at captured output to the next, at least */
    LOOK_MS = 250,    /* and at what ranks printed, which wakes nobody, while the run moves */
};

/* ---- the line editor ---- */

static void on_line(void *context, const char *line)
{
    struct ui *ui = context;
    enum prompting prompting = ui->prompting;
    ui->prompting = PROMPT_CLOSED;
    ui_free_matches(ui);
    if (!line)
        lineedit_reopen(ui->edit); /* there will be other Ctrl-D */
    if (!line && prompting != PROMPT_LIST)
        return;
    if (!line) /* Ctrl-D ends a list, as at the prompt */
        line = "end";
    char *command =
        prompting == PROMPT_FILTER ? memory_format("filter %s", line) : memory_string(line);
    if (prompting == PROMPT_LIST)
        ui_post(ui, "%s", line);
    else
        ui_command(ui, command, false);
    free(command);
    if (ui_takes_list(ui) && ui->prompting == PROMPT_CLOSED)
        ui_open_prompt(ui, PROMPT_LIST, ""); /* at once: keys that follow are no commands */
}

static void add_match(char ***matches, int *count, int *capacity, char *word)
{
    ARRAY_PUSH(*matches, *count, *capacity, word);
}

/* Commands of the screens and the session's. */
static int on_complete(void *context, const char *line, size_t start, size_t end, char ***matches)
{
    struct ui *ui = context;
    char **all = NULL, **words = NULL;
    int count = 0, capacity = 0;
    bool list = ui->prompting == PROMPT_LIST;
    if (ui->prompting != PROMPT_COMMAND && !list)
        return 0;
    const char *verb;
    for (int i = 0; !list && start == 0 && (verb = ui_verb_name(i)); i++)
        if (strncmp(verb, line, end) == 0)
            add_match(&all, &count, &capacity, memory_string(verb));
    bool view = !list && command_is(line, "view", NULL) && start == 5;
    for (int i = 0; view && i < LAYOUT_VIEW_COUNT; i++)
        if (strncmp(layout_view_name((enum layout_view)i), line + start, end - start) == 0)
            add_match(&all, &count, &capacity,
                      memory_string(layout_view_name((enum layout_view)i)));
    /* "tensor NAME" takes what "print" does, in the same columns */
    char *named = start >= 7 && command_is(line, "tensor", NULL)
                      ? memory_format("print  %s", line + 7)
                      : memory_string(line);
    int more = session_complete(ui->session, named, start, end, &words);
    free(named);
    for (int i = 0; i < more; i++) {
        bool known = false;
        for (int k = 0; k < count; k++)
            known = known || strcmp(all[k], words[i]) == 0;
        if (known)
            free(words[i]);
        else
            add_match(&all, &count, &capacity, words[i]);
    }
    if (more > 0)
        free(words);
    if (count > 0)
        *matches = all;
    return count;
}

static void on_matches(void *context, char *const *matches, int count)
{
    struct ui *ui = context;
    ui_free_matches(ui);
    ui->matches = memory_zeroed((size_t)count, sizeof(*ui->matches));
    ui->match_count = count;
    for (int i = 0; i < count; i++)
        ui->matches[i] = memory_string(matches[i]);
    ui_dirty(ui);
}

/* ---- the loop ---- */

/* Whole lines go to the log too. */
static void log_captured(struct ui *ui, const struct text *bytes, enum rank_stream stream)
{
    struct text *line = &ui->log.captured[stream];
    text_add_part(line, bytes->data, bytes->length);
    char *end = strrchr(line->data, '\n');
    if (!end)
        return; /* the rest of the line will come */
    char *rest = memory_string(end + 1);
    *end = '\0';
    ui_log(ui, LOG_CAPTURED, line->data);
    text_clear(line);
    text_add(line, rest);
    free(rest);
}

/* What is printed in this process is the output of rank 0: a run in rank processes prints there. */
static void take_captured(struct ui *ui)
{
    struct rank_output *output = session_output(ui->session);
    struct text bytes = {0};
    struct term_piece piece;
    while (term_captured(&piece, &bytes)) {
        enum rank_stream stream = piece.descriptor == STDERR_FILENO ? RANK_STDERR : RANK_STDOUT;
        rank_output_append(output, 0, stream, bytes.data, bytes.length, piece.nanoseconds);
        log_captured(ui, &bytes, stream);
        text_clear(&bytes);
    }
    text_free(&bytes);
    ui->captured_ms = ui_milliseconds(ui);
    uint64_t version = rank_output_version(output);
    if (version != ui->output_version) {
        ui_want(ui, PICTURE_OUTPUT);
        ui_want(ui, PICTURE_RANKS);
    }
    ui->output_version = version;
}

static void take_signals(struct ui *ui)
{
    unsigned events = term_take_events();
    if (events & TERM_RESIZED) {
        lineedit_resize(ui->edit, term_rows(), term_cols());
        ui_want(ui, PICTURE_TENSOR);
    }
    if (events & TERM_INTERRUPT)
        ui_command(ui, "interrupt", true);
    if (events)
        ui_dirty(ui);
}

/* Lines of the tests that run beside the screens. The last, "=== 2 passed, 1 failed in 3s ===", is
 * where the user looks, too. */
static void on_test_line(void *context, const char *line)
{
    static const char edge[] = "= ";
    ui_log(context, LOG_CAPTURED, line);
    if (strncmp(line, "====", 4) != 0)
        return;
    size_t first = strspn(line, edge), length = strlen(line);
    while (length > first && strchr(edge, line[length - 1]))
        length--;
    bool bad = strstr(line, "failed") || strstr(line, "error");
    ui_say(context, bad ? THEME_FAILED : THEME_PASSED, "tests: %.*s", (int)(length - first),
           line + first);
}

/* How long not to look at captured output: somebody who prints without end must not have a frame
 * drawn for each line. */
static int capture_pause(const struct ui *ui)
{
    int64_t passed = ui_milliseconds(ui) - ui->captured_ms;
    return passed < CAPTURE_MS ? (int)(CAPTURE_MS - passed) : 0;
}

static int time_out(const struct ui *ui, int pause)
{
    int escape = term_key_timeout();
    if (pause == 0 && ui_is_busy(ui))
        pause = LOOK_MS;
    if (pause == 0)
        return escape;
    return escape >= 0 && escape < pause ? escape : pause;
}

static bool loop(struct ui *ui, struct status *status)
{
    struct key key;
    while (!ui->quit) {
        if (ui->dirty)
            ui_draw(ui);
        if (ui->dirty) /* what takes a moment comes after a first frame, and before any key */
            ui_draw(ui);
        ui_send_wishes(ui);
        int pause = capture_pause(ui);
        struct pollfd fds[] = {{.fd = term_input_fd(), .events = POLLIN},
                               {.fd = term_signal_fd(), .events = POLLIN},
                               {.fd = session_wake_fd(ui->session), .events = POLLIN},
                               {.fd = test_run_fd(ui->tests), .events = POLLIN},
                               {.fd = pause > 0 ? -1 : term_captured_fd(), .events = POLLIN}};
        if (poll(fds, ARRAY_LENGTH(fds), time_out(ui, pause)) < 0 && errno != EINTR)
            return status_fail(status, STATUS_IO, "poll: %s", strerror(errno));
        take_signals(ui);
        while (!ui->quit && term_read_key(&key))
            ui_handle_key(ui, &key);
        ui_handle_events(ui);
        take_captured(ui);
        if (test_run_take(ui->tests, on_test_line, ui))
            ui_dirty(ui);
    }
    return true;
}

/* ---- start and end ---- */

static bool open_terminal(struct ui *ui, struct status *status)
{
    const struct ui_options *options = ui->options;
    const char *theme = options->theme ? options->theme : "dark";
    char *path = user_config_path("theme.conf");
    struct term_options term = {.rows = options->script ? options->rows : 0,
                                .cols = options->script ? options->cols : 0,
                                .ascii = options->ascii,
                                .mouse = !options->no_mouse,
                                .colors = options->no_colors ? 1 : 0};
    bool ok = theme_load(&term.theme, theme, path, status) && term_open(&term, status);
    free(path);
    struct theme mono;
    struct status ignored = STATUS_NONE;
    if (ok && !options->theme && term_colors() == 0 && theme_load(&mono, "mono", NULL, &ignored))
        term_set_theme(&mono);
    return ok;
}

static bool open_editor(struct ui *ui, struct status *status)
{
    struct lineedit_options options = {.embedded = true,
                                       .history_path = ui->options->script ? "" : NULL,
                                       .context = ui,
                                       .line = on_line,
                                       .complete = on_complete,
                                       .matches = on_matches};
    ui->edit = lineedit_open(&options, status);
    if (ui->edit)
        lineedit_resize(ui->edit, term_rows(), term_cols());
    return ui->edit != NULL;
}

static void load_keys(struct ui *ui)
{
    struct status status = STATUS_NONE;
    char *path = ui->options->script ? NULL : user_config_path("keys.conf");
    if (!keymap_load(&ui->keymap, path, &status))
        ui_say(ui, THEME_ERROR, "%s", status.text);
    free(path);
}

static void open_run(struct ui *ui)
{
    const struct ui_options *options = ui->options;
    ui->request.focus = LAYOUT_TESTS;
    ui->request.open[LAYOUT_TESTS] = true;
    ui_post(ui, "stop on divergence"); /* what one comes here for; ":stop off" ends it */
    if (!options->file.run)
        return;
    char *line = session_file_line(&options->file);
    ui_post(ui, "%s", line);
    free(line);
}

static bool start_session(struct ui *ui, struct status *status)
{
    struct session_options options = {.search = ui->options->search,
                                      .device = ui->options->device,
                                      .threads = ui->options->threads,
                                      .launch = ui->options->launch,
                                      .keep_limit = -1,
                                      .shell = true,
                                      .record = ui->options->record,
                                      .replay = ui->options->replay,
                                      .engine = ui->options->engine};
    ui->session = session_start(&options, status);
    return ui->session != NULL;
}

static void close_all(struct ui *ui)
{
    session_stop(ui->session);
    test_run_free(ui->tests);
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++)
        if (ui->states[view])
            ui_operations((enum layout_view)view)->destroy(ui->states[view]);
    lineedit_close(ui->edit);
    term_close();
    for (int i = 0; i < ui->posted_count; i++)
        free(ui->posted[i].line);
    free(ui->posted);
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++)
        picture_free(ui->pictures[kind]);
    snapshot_release(&ui->snapshot);
    ui_free_matches(ui);
    keymap_free(&ui->keymap);
    log_free(&ui->log);
    remember_free(&ui->remembered);
    free(ui->searched);
    free(ui->message);
}

bool ui_run(const struct ui_options *options, struct status *status)
{
    struct ui ui = {.options = options, .value = -1, .focus_value = -1, .step = -1, .dirty = true};
    ui.mouse.row = ui.mouse.col = -1;
    ui.tests = test_run_create();
    load_keys(&ui);
    bool ok = open_terminal(&ui, status) && open_editor(&ui, status) && start_session(&ui, status);
    for (int view = 0; ok && view < LAYOUT_VIEW_COUNT; view++)
        ui.states[view] = ui_operations((enum layout_view)view)->create(&ui);
    if (ok)
        open_run(&ui);
    ok = ok && (options->script ? ui_run_script(&ui, status) : loop(&ui, status));
    remember_leave(&ui);
    close_all(&ui);
    return ok;
}
