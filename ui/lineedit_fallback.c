/* Editing without readline: ui/editor.c, drawn on one line that scrolls sideways. */
#include "ui/lineedit_internal.h"

#ifdef LOCKSTEP_HAVE_READLINE

/* A translation unit must hold something. */
typedef int lineedit_fallback_unused;

#else

#include "engine/base/memory.h"
#include "ui/text_width.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void set_modes(struct lineedit *edit)
{
    int fd = fileno(edit->options.input);
    if (!edit->terminal || edit->modes_saved || tcgetattr(fd, &edit->modes) != 0)
        return;
    struct termios modes = edit->modes;
    modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    modes.c_iflag &= ~(tcflag_t)(ICRNL | INLCR);
    modes.c_cc[VMIN] = 1;
    modes.c_cc[VTIME] = 0;
    edit->modes_saved = tcsetattr(fd, TCSADRAIN, &modes) == 0;
    fputs("\033[?2004h", edit->options.output);
}

static void reset_modes(struct lineedit *edit)
{
    if (!edit->modes_saved)
        return;
    fputs("\033[?2004l", edit->options.output);
    fflush(edit->options.output);
    tcsetattr(fileno(edit->options.input), TCSADRAIN, &edit->modes);
    edit->modes_saved = false;
}

static int terminal_columns(const struct lineedit *edit)
{
    struct winsize size;
    if (ioctl(fileno(edit->options.output), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void draw(struct lineedit *edit)
{
    FILE *output = edit->options.output;
    if (!edit->terminal || edit->hidden > 0)
        return;
    const struct text *line = &edit->editor.line;
    int prompt = text_width(edit->prompt, strlen(edit->prompt));
    int room = terminal_columns(edit) - prompt - 1;
    int cursor = text_width(line->data, edit->editor.cursor);
    int skip = room > 0 && cursor > room ? cursor - room : 0;
    struct text shown = {0};
    text_clip(&shown, line->data, line->length, skip, room > 0 ? room : 0);
    fprintf(output, "\r%s%s\033[K\r", edit->prompt, shown.data ? shown.data : "");
    if (prompt + cursor - skip > 0)
        fprintf(output, "\033[%dC", prompt + cursor - skip);
    fflush(output);
    text_free(&shown);
}

static void print_matches(void *context, char *const *matches, int count)
{
    struct lineedit *edit = context;
    if (edit->options.embedded) {
        if (edit->options.matches)
            edit->options.matches(edit->options.context, matches, count);
        return;
    }
    fputc('\n', edit->options.output);
    for (int i = 0; i < count; i++)
        fprintf(edit->options.output, "%s\n", matches[i]);
}

static int ask_for_matches(void *context, const char *line, size_t start, size_t end,
                           char ***matches)
{
    struct lineedit *edit = context;
    if (!edit->options.complete)
        return 0;
    return edit->options.complete(edit->options.context, line, start, end, matches);
}

bool backend_start(struct lineedit *edit, struct status *status)
{
    (void)status;
    edit->editor.history = &edit->history;
    edit->editor.complete = ask_for_matches;
    edit->editor.matches = print_matches;
    edit->editor.context = edit;
    editor_start(&edit->editor);
    return true;
}

void backend_end(struct lineedit *edit)
{
    reset_modes(edit);
    editor_free(&edit->editor);
}

void backend_open_prompt(struct lineedit *edit)
{
    if (!edit->open) {
        editor_start(&edit->editor);
        set_modes(edit);
    }
    draw(edit);
}

void backend_close_prompt(struct lineedit *edit)
{
    reset_modes(edit);
}

static int take_byte(struct lineedit *edit)
{
    unsigned char byte;
    if (!edit->options.embedded)
        return read(fileno(edit->options.input), &byte, 1) == 1 ? byte : -1;
    byte = (unsigned char)edit->input.data[0];
    memmove(edit->input.data, edit->input.data + 1, edit->input.length--);
    return byte;
}

void backend_take(struct lineedit *edit)
{
    int byte = take_byte(edit);
    enum editor_result result =
        byte < 0 ? EDITOR_END : editor_push(&edit->editor, (unsigned char)byte);
    draw(edit);
    if (result == EDITOR_CONTINUE)
        return;
    if (result == EDITOR_LINE) {
        edit->done = memory_string(edit->editor.line.data);
        if (edit->terminal)
            fputc('\n', edit->options.output);
    } else {
        edit->ended = true;
    }
    reset_modes(edit);
}

void backend_insert(struct lineedit *edit, const char *text)
{
    struct text line = {0};
    struct editor *editor = &edit->editor;
    size_t cursor = editor->cursor + strlen(text);
    text_add_part(&line, editor->line.data, editor->cursor);
    text_add(&line, text);
    text_add(&line, editor->line.data + editor->cursor);
    editor_set_line(editor, line.data);
    editor->cursor = cursor;
    text_free(&line);
}

void backend_set_line(struct lineedit *edit, const char *line)
{
    editor_set_line(&edit->editor, line);
    draw(edit);
}

void backend_state(const struct lineedit *edit, struct lineedit_state *state)
{
    state->line = edit->editor.line.data;
    state->cursor = edit->editor.cursor;
}

void backend_interrupt(struct lineedit *edit)
{
    edit->editor.decoder = (struct keys_decoder){0};
    editor_start(&edit->editor);
    draw(edit);
}

void backend_hide(struct lineedit *edit)
{
    fputs("\r\033[K", edit->options.output);
    fflush(edit->options.output);
}

void backend_show(struct lineedit *edit)
{
    draw(edit);
}

void backend_resume(struct lineedit *edit)
{
    edit->modes_saved = false; /* the shell has set its own */
    set_modes(edit);
    draw(edit);
}

void backend_resize(struct lineedit *edit, int rows, int cols)
{
    (void)rows;
    (void)cols;
    draw(edit);
}

void backend_history_changed(struct lineedit *edit)
{
    edit->editor.history_position = edit->history.count;
}

#endif
