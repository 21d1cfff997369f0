#include "ui/lineedit.h"

#include "engine/base/memory.h"
#include "ui/lineedit_internal.h"
#include "ui/user_files.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef LOCKSTEP_HAVE_READLINE

#include <readline/history.h>
#include <readline/readline.h>

/* readline's callbacks carry no context, so the one lineedit there can be is remembered here. */
static struct lineedit *active;

static int next_byte(FILE *unused)
{
    (void)unused;
    struct text *input = &active->input;
    if (active->readable == 0)
        return EOF;
    active->readable--;
    unsigned char byte = (unsigned char)input->data[0];
    memmove(input->data, input->data + 1, input->length--);
    return byte;
}

static int have_byte(void)
{
    return active->readable > 0;
}

static void draw_nothing(void) {}

/* Only notes the line: callers must not run inside readline. */
static void on_line(char *line)
{
    rl_callback_handler_remove();
    if (line)
        active->done = line;
    else
        active->ended = true;
}

static char *common_start(char **matches, int count)
{
    size_t length = strlen(matches[0]);
    for (int i = 1; i < count; i++) {
        size_t same = 0;
        while (same < length && matches[i][same] == matches[0][same])
            same++;
        length = same;
    }
    while (length > 0 && ((unsigned char)matches[0][length] & 0xc0) == 0x80)
        length--; /* not inside a character */
    return memory_string_part(matches[0], length);
}

static char **attempt_completion(const char *text, int start, int end)
{
    (void)text;
    char **matches = NULL;
    rl_attempted_completion_over = 1; /* never file names */
    if (!active->options.complete)
        return NULL;
    int count = active->options.complete(active->options.context, rl_line_buffer, (size_t)start,
                                         (size_t)end, &matches);
    if (count <= 0)
        return NULL;
    char **result = memory_zeroed((size_t)count + 2, sizeof(*result));
    result[0] = common_start(matches, count);
    if (count > 1)
        memcpy(result + 1, matches, (size_t)count * sizeof(*result));
    else
        free(matches[0]);
    free(matches);
    return result;
}

static void show_matches(char **matches, int count, int longest)
{
    (void)longest;
    if (active->options.matches)
        active->options.matches(active->options.context, matches + 1, count);
}

static void set_streams(struct lineedit *edit)
{
    bool embedded = edit->options.embedded;
    FILE *null = embedded ? fopen("/dev/null", "r+e") : NULL;
    rl_instream = embedded ? null : edit->options.input;
    rl_outstream = embedded ? null : edit->options.output;
    rl_getc_function = embedded ? next_byte : rl_getc;
    rl_input_available_hook = embedded ? have_byte : NULL;
    rl_redisplay_function = embedded ? draw_nothing : rl_redisplay;
    rl_completion_display_matches_hook = embedded ? show_matches : NULL;
    rl_prep_term_function = embedded ? NULL : rl_prep_terminal;
    rl_deprep_term_function = embedded ? NULL : rl_deprep_terminal;
}

void backend_start(struct lineedit *edit)
{
    active = edit;
    rl_readline_name = edit->program;
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0; /* LINES and COLUMNS set by it would mislead curses at a resize */
    set_streams(edit);
    rl_attempted_completion_function = attempt_completion;
    rl_completer_word_break_characters = " \t\n";
    rl_completer_quote_characters = NULL;
    rl_completion_query_items = 0; /* its question would wait for an answer */
    /* Defaults of ours; the user's inputrc is read later and may say otherwise. */
    rl_variable_bind("show-all-if-ambiguous", "on");
    rl_variable_bind("page-completions", "off");
    rl_variable_bind("bell-style", "none");
    rl_variable_bind("keyseq-timeout", "50");
    using_history();
    backend_history_changed(edit);
}

void backend_end(struct lineedit *edit)
{
    backend_close_prompt(edit);
    clear_history();
    if (edit->options.embedded && rl_instream)
        fclose(rl_instream);
    rl_instream = rl_outstream = NULL;
    rl_getc_function = rl_getc;
    rl_input_available_hook = NULL;
    rl_redisplay_function = rl_redisplay;
    rl_completion_display_matches_hook = NULL;
    rl_attempted_completion_function = NULL;
    active = NULL;
}

void backend_open_prompt(struct lineedit *edit)
{
    if (!edit->open) {
        rl_callback_handler_install(edit->prompt, on_line);
        return;
    }
    rl_set_prompt(edit->prompt);
    if (edit->hidden == 0 && !edit->options.embedded)
        rl_forced_update_display();
}

void backend_close_prompt(struct lineedit *edit)
{
    if (edit->open)
        rl_callback_handler_remove();
}

void backend_take(struct lineedit *edit)
{
    size_t before = edit->input.length;
    rl_callback_read_char();
    if (edit->options.embedded && edit->input.length == before)
        next_byte(NULL); /* never seen, but a loop without end must not be possible */
}

void backend_insert(struct lineedit *edit, const char *text)
{
    (void)edit;
    rl_insert_text(text);
}

void backend_set_line(struct lineedit *edit, const char *line)
{
    rl_replace_line(line, 1);
    rl_point = rl_end;
    rl_last_func = NULL; /* a Tab before this and the next one are not "twice" */
    if (edit->hidden == 0 && !edit->options.embedded)
        rl_redisplay();
}

void backend_state(const struct lineedit *edit, struct lineedit_state *state)
{
    state->prompt = rl_display_prompt ? rl_display_prompt : edit->prompt;
    state->line = rl_line_buffer;
    state->cursor = (size_t)rl_point;
}

void backend_interrupt(struct lineedit *edit)
{
    rl_callback_sigcleanup(); /* ends a search in the history */
    rl_free_line_state();
    rl_callback_handler_remove();
    using_history();
    rl_callback_handler_install(edit->prompt, on_line);
}

void backend_hide(struct lineedit *edit)
{
    rl_clear_visible_line();
    fflush(edit->options.output);
}

void backend_show(struct lineedit *edit)
{
    fflush(edit->options.output);
    rl_on_new_line();
    rl_redisplay();
}

void backend_resume(struct lineedit *edit)
{
    (void)edit;
    rl_deprep_terminal();
    rl_prep_terminal(1);
    rl_forced_update_display();
}

void backend_resize(struct lineedit *edit, int rows, int cols)
{
    if (edit->options.embedded)
        rl_set_screen_size(rows, cols);
    else
        rl_resize_terminal();
}

void backend_history_changed(struct lineedit *edit)
{
    clear_history();
    for (int i = 0; i < edit->history.count; i++)
        add_history(edit->history.lines[i]);
    using_history();
}

#endif

/* ---- opening and closing ---- */

static void load_history(struct lineedit *edit)
{
    const char *path = edit->options.history_path;
    edit->history.limit = edit->options.history_limit;
    if (!edit->terminal && !edit->options.embedded)
        return; /* scripts neither have a history nor leave one */
    edit->history_path = path ? memory_string(*path ? path : NULL) : user_state_path("history");
    if (edit->history_path)
        history_load(&edit->history, edit->history_path, NULL);
}

struct lineedit *lineedit_open(const struct lineedit_options *options, struct status *status)
{
#ifdef LOCKSTEP_HAVE_READLINE
    if (active) {
        status_fail(status, STATUS_INTERNAL, "a prompt is in use already");
        return NULL;
    }
#endif
    if (!options->line) {
        status_fail(status, STATUS_INTERNAL, "a prompt needs somebody to take its lines");
        return NULL;
    }
    struct lineedit *edit = memory_zeroed(1, sizeof(*edit));
    edit->options = *options;
    if (!edit->options.input)
        edit->options.input = stdin;
    if (!edit->options.output)
        edit->options.output = stdout;
    edit->program = memory_string(options->program ? options->program : "lockstep");
    edit->prompt = memory_string("");
    edit->terminal = !options->embedded && isatty(fileno(edit->options.input));
    load_history(edit);
    backend_start(edit);
    return edit;
}

static void queue_clear(struct lineedit *edit)
{
    for (int i = 0; i < edit->queue_count; i++)
        free(edit->queue[i]);
    edit->queue_count = 0;
}

void lineedit_close(struct lineedit *edit)
{
    if (!edit)
        return;
    backend_end(edit);
    /* That the history cannot be kept is no reason to fail at the end of the program. */
    if (edit->history_path)
        history_save(&edit->history, edit->history_path, NULL);
    history_free(&edit->history);
    queue_clear(edit);
    free(edit->queue);
    text_free(&edit->input);
    free(edit->done);
    free(edit->program);
    free(edit->history_path);
    free(edit->prompt);
    free(edit);
}

/* ---- lines ---- */

static bool interactive(const struct lineedit *edit)
{
    return edit->terminal || edit->options.embedded;
}

/* The beginning of a line that was typed while there was no prompt. */
static void insert_typed_ahead(struct lineedit *edit)
{
    if (!edit->terminal || edit->queue_count > 0 || edit->input.length == 0)
        return;
    char *text = text_take(&edit->input);
    backend_insert(edit, text);
    free(text);
    if (edit->hidden == 0)
        backend_show(edit);
}

void lineedit_prompt(struct lineedit *edit, const char *prompt)
{
    char *copy = memory_string(prompt);
    free(edit->prompt);
    edit->prompt = copy;
    if (interactive(edit) && !edit->ended)
        backend_open_prompt(edit);
    edit->open = true;
    edit->asking = false;
    insert_typed_ahead(edit);
}

void lineedit_ask(struct lineedit *edit, const char *question)
{
    lineedit_prompt(edit, question);
    edit->asking = true;
}

/* Delivers a line that the caller of this function owns. */
static void deliver(struct lineedit *edit, char *line)
{
    bool answer = edit->asking;
    edit->open = edit->asking = false;
    if (line && !answer && interactive(edit) && history_add(&edit->history, line))
        backend_history_changed(edit);
    if (!line)
        edit->end_told = true;
    edit->options.line(edit->options.context, line);
    free(line);
}

/* A line may hold newlines that were pasted: those are commands, one after the other. */
static void split_done(struct lineedit *edit)
{
    char *rest = edit->done, *line;
    edit->done = NULL;
    char *whole = rest;
    while ((line = strsep(&rest, "\n"))) {
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r')
            line[length - 1] = '\0';
        if (rest || *line || edit->queue_count == 0) /* no empty command after the last newline */
            ARRAY_PUSH(edit->queue, edit->queue_count, edit->queue_capacity, memory_string(line));
    }
    free(whole);
}

static void deliver_from_queue(struct lineedit *edit)
{
    char *line = edit->queue[0];
    edit->queue_count--;
    memmove(edit->queue, edit->queue + 1, (size_t)edit->queue_count * sizeof(*edit->queue));
    deliver(edit, line);
}

/* After the backend took bytes: passes on what is complete. */
static void deliver_done(struct lineedit *edit)
{
    if (edit->done) {
        split_done(edit);
        deliver_from_queue(edit);
    } else if (edit->ended && !edit->end_told) {
        if (edit->terminal)
            fputc('\n', edit->options.output);
        deliver(edit, NULL);
    }
}

static char *find_newline(const struct lineedit *edit)
{
    return edit->input.length ? memchr(edit->input.data, '\n', edit->input.length) : NULL;
}

static void drop_input(struct lineedit *edit, size_t count)
{
    struct text *input = &edit->input;
    memmove(input->data, input->data + count, input->length - count + 1);
    input->length -= count;
}

/* One line of a pipe or file, if there is a whole one; the last may lack its end. */
static void deliver_from_pipe(struct lineedit *edit)
{
    char *newline = find_newline(edit);
    size_t length = newline ? (size_t)(newline - edit->input.data) : edit->input.length;
    if (newline || (edit->ended && length > 0)) {
        size_t shown = length > 0 && edit->input.data[length - 1] == '\r' ? length - 1 : length;
        char *line = memory_string_part(edit->input.data, shown);
        drop_input(edit, length + (newline ? 1 : 0));
        deliver(edit, line);
    } else if (edit->ended && !edit->end_told) {
        deliver(edit, NULL);
    }
}

static void read_pipe(struct lineedit *edit)
{
    char bytes[4096];
    ssize_t count = read(fileno(edit->options.input), bytes, sizeof(bytes));
    if (count > 0)
        text_add_part(&edit->input, bytes, (size_t)count);
    else if (count == 0 || (errno != EINTR && errno != EAGAIN))
        edit->ended = true;
}

int lineedit_fd(const struct lineedit *edit)
{
    return edit->options.embedded || edit->ended ? -1 : fileno(edit->options.input);
}

bool lineedit_ready(const struct lineedit *edit)
{
    if (!edit->open)
        return false;
    if (edit->queue_count > 0)
        return true;
    if (edit->options.embedded)
        return edit->input.length > 0;
    return (!edit->terminal && find_newline(edit)) || (edit->ended && !edit->end_told);
}

/* ---- typed ahead ---- */

/* A process in the background that reads from the terminal is stopped. */
static bool in_foreground(const struct lineedit *edit)
{
    return tcgetpgrp(fileno(edit->options.input)) == getpgrp();
}

int lineedit_ahead_fd(const struct lineedit *edit)
{
    bool can_read = edit->terminal && !edit->open && !edit->ended && in_foreground(edit);
    return can_read ? fileno(edit->options.input) : -1;
}

/* Lines may end in CR: keys that were pressed before the terminal's modes were put back. */
static void take_ahead_lines(struct lineedit *edit, bool (*urgent)(void *, const char *))
{
    struct text *input = &edit->input;
    size_t length;
    while (input->length > 0 && (length = strcspn(input->data, "\r\n")) < input->length) {
        char *line = memory_string_part(input->data, length);
        drop_input(edit, length + 1);
        if (urgent && urgent(edit->options.context, line))
            free(line);
        else
            ARRAY_PUSH(edit->queue, edit->queue_count, edit->queue_capacity, line);
    }
}

void lineedit_read_ahead(struct lineedit *edit, bool (*urgent)(void *context, const char *line))
{
    char bytes[4096];
    struct pollfd fd = {.fd = lineedit_ahead_fd(edit), .events = POLLIN};
    while (fd.fd >= 0 && poll(&fd, 1, 0) > 0) {
        ssize_t count = read(fd.fd, bytes, sizeof(bytes));
        if (count > 0) {
            text_add_part(&edit->input, bytes, (size_t)count);
            take_ahead_lines(edit, urgent);
        } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
            edit->ended = !urgent || !urgent(edit->options.context, NULL);
            return;
        }
    }
}

void lineedit_reopen(struct lineedit *edit)
{
    if (edit->terminal)
        edit->ended = edit->end_told = false;
}

/* ---- embedded ---- */

static const char paste_begin[] = "\033[200~";
static const char paste_end[] = "\033[201~";
enum { MARK_LENGTH = 6 };

/* A paste goes in as text, whole: readline itself would wait for its end. Returns whether the front
 * of the input was one that is complete. */
static bool take_paste(struct lineedit *edit)
{
    struct text *input = &edit->input;
    char *end = memmem(input->data, input->length, paste_end, MARK_LENGTH);
    if (!end)
        return false;
    size_t length = (size_t)(end - input->data) - MARK_LENGTH;
    char *text = memory_string_part(input->data + MARK_LENGTH, length);
    for (char *at = text; *at; at++)
        if (*at == '\r')
            *at = '\n';
    drop_input(edit, length + 2 * MARK_LENGTH);
    backend_insert(edit, text);
    free(text);
    return true;
}

static void take_pushed(struct lineedit *edit)
{
    while (edit->open && edit->input.length > 0) {
        const struct text *input = &edit->input;
        if (input->length >= MARK_LENGTH && memcmp(input->data, paste_begin, MARK_LENGTH) == 0) {
            if (!take_paste(edit))
                return;
            continue;
        }
        /* readline takes what is typed ahead: not beyond the start of a paste. */
        char *mark = memmem(input->data, input->length, paste_begin, MARK_LENGTH);
        edit->readable = mark ? (size_t)(mark - input->data) : input->length;
        backend_take(edit);
        deliver_done(edit);
    }
}

void lineedit_push(struct lineedit *edit, const void *bytes, size_t count)
{
    if (edit->ended || !edit->options.embedded)
        return;
    text_add_part(&edit->input, bytes, count);
    take_pushed(edit);
}

void lineedit_state(const struct lineedit *edit, struct lineedit_state *state)
{
    *state = (struct lineedit_state){.prompt = edit->prompt, .line = ""};
    state->open = edit->open && !edit->ended;
    if (state->open && interactive(edit))
        backend_state(edit, state);
}

/* ---- the rest ---- */

static void feed_queue(struct lineedit *edit)
{
    if (edit->terminal) { /* shown as if typed */
        backend_close_prompt(edit);
        fprintf(edit->options.output, "%s\n", edit->queue[0]);
        fflush(edit->options.output);
    } else {
        backend_close_prompt(edit);
    }
    deliver_from_queue(edit);
}

bool lineedit_feed(struct lineedit *edit)
{
    if (!edit->open)
        return !edit->end_told;
    if (edit->queue_count > 0) {
        feed_queue(edit);
    } else if (edit->options.embedded) {
        take_pushed(edit);
    } else if (edit->terminal) {
        if (edit->hidden == 0 && !edit->ended)
            backend_take(edit);
        deliver_done(edit);
    } else {
        if (!find_newline(edit) && !edit->ended)
            read_pipe(edit);
        deliver_from_pipe(edit);
    }
    return !edit->end_told;
}

void lineedit_set_line(struct lineedit *edit, const char *line)
{
    if (edit->open && interactive(edit))
        backend_set_line(edit, line);
}

void lineedit_interrupt(struct lineedit *edit)
{
    queue_clear(edit);
    if (!interactive(edit) || edit->ended)
        return;
    text_clear(&edit->input); /* also the beginning of a line that was typed ahead */
    if (!edit->open)
        return;
    if (edit->terminal && edit->hidden == 0) {
        fputs("^C\n", edit->options.output);
        fflush(edit->options.output);
    }
    backend_interrupt(edit);
}

static bool on_terminal(const struct lineedit *edit)
{
    return edit->terminal && edit->open && !edit->ended;
}

void lineedit_hide(struct lineedit *edit)
{
    if (edit->hidden++ == 0 && on_terminal(edit))
        backend_hide(edit);
}

void lineedit_show(struct lineedit *edit)
{
    if (edit->hidden > 0 && --edit->hidden == 0 && on_terminal(edit))
        backend_show(edit);
}

void lineedit_resume(struct lineedit *edit)
{
    if (on_terminal(edit))
        backend_resume(edit);
}

void lineedit_resize(struct lineedit *edit, int rows, int cols)
{
    if (interactive(edit))
        backend_resize(edit, rows, cols);
}
