/* When a line is asked for, where it comes from, and who gets it, whatever edits it. */
#include "ui/lineedit_internal.h"

#include "engine/base/memory.h"
#include "ui/user_files.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void queue_clear(struct lineedit *edit)
{
    for (int i = 0; i < edit->queue_count; i++)
        free(edit->queue[i]);
    edit->queue_count = 0;
}

static void free_edit(struct lineedit *edit)
{
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

struct lineedit *lineedit_open(const struct lineedit_options *options, struct status *status)
{
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
    if (backend_start(edit, status))
        return edit;
    free_edit(edit);
    return NULL;
}

void lineedit_close(struct lineedit *edit)
{
    if (!edit)
        return;
    backend_end(edit);
    /* That the history cannot be kept is no reason to fail at the end of the program. */
    if (edit->history_path)
        history_save(&edit->history, edit->history_path, NULL);
    free_edit(edit);
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
    if (edit->terminal || edit->options.embedded)
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
