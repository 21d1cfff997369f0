/* Editing with readline. */
#include "ui/lineedit_internal.h"

#ifndef LOCKSTEP_HAVE_READLINE

/* A translation unit must hold something. */
typedef int lineedit_unused;

#else

#include "engine/base/memory.h"
#include "engine/base/unicode.h"

#include <readline/history.h>
#include <readline/readline.h>
#include <stdlib.h>
#include <string.h>

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
    result[0] =
        memory_string_part(matches[0], unicode_common_start((const char *const *)matches, count));
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

bool backend_start(struct lineedit *edit, struct status *status)
{
    if (active)
        return status_fail(status, STATUS_INTERNAL, "a prompt is in use already");
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
    return true;
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
