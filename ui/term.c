#include "ui/term.h"

#include "engine/base/clock.h"
#include "ui/shell.h"
#include "ui/term_guard.h"
#include "ui/text_width.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum { ESCAPE_MS = 25, DUMP_COLS = 2048, LEAST_PAIRS = 1024 };

/* A style as curses wants it. */
struct look {
    attr_t attributes;
    int pair;
};

static struct {
    bool on;
    bool headless;
    SCREEN *screen;
    FILE *input, *output;
    struct term_guard *guard; /* NULL when off */
    int tty;                  /* our own descriptor of the terminal; -1 when headless */
    bool hung_up, hangup_told;
    bool ascii, mouse;
    bool speaks_xterm; /* understands mouse and paste modes */
    int colors;
    int escape_ms;
    struct theme theme;
    struct look looks[THEME_ROLE_COUNT];
    struct keys_decoder decoder;
    int64_t last_input; /* ms */
    int cursor_row, cursor_col;
} term = {.tty = -1};

static int64_t now_ms(void)
{
    return clock_nanoseconds() / 1000000;
}

/* ---- looks ---- */

static struct look look_of(struct theme_style style)
{
    static const struct {
        unsigned ours;
        attr_t theirs;
    } attributes[] = {{THEME_BOLD, A_BOLD},
                      {THEME_FAINT, A_DIM},
                      {THEME_UNDERLINE, A_UNDERLINE},
                      {THEME_REVERSE, A_REVERSE},
                      {THEME_ITALIC, A_ITALIC}};
    struct look look = {A_NORMAL, 0};
    for (int i = 0; i < 5; i++)
        if (style.attributes & attributes[i].ours)
            look.attributes |= attributes[i].theirs;
    if (term.colors >= 8) {
        int pair = alloc_pair(theme_nearest_color(style.foreground, term.colors),
                              theme_nearest_color(style.background, term.colors));
        look.pair = pair > 0 ? pair : 0;
    }
    return look;
}

static void use_look(struct look look)
{
    attr_set(look.attributes, (short)look.pair, &look.pair);
}

void term_set_theme(const struct theme *theme)
{
    term.theme = *theme;
    for (int role = 0; role < THEME_ROLE_COUNT; role++)
        term.looks[role] = look_of(theme->styles[role]);
}

static void start_colors(int most)
{
    const char *none = getenv("NO_COLOR"); /* https://no-color.org */
    term.colors = 0;
    if ((none && *none) || !has_colors() || start_color() == ERR)
        return;
    use_default_colors();
    int there = most > 0 && most < COLORS ? most : COLORS;
    term.colors = there >= 256 ? 256 : there >= 16 ? 16 : there >= 8 ? 8 : 0;
}

/* ---- on and off ---- */

static void send(const char *bytes)
{
    if (term.tty < 0)
        return;
    fflush(term.output); /* what curses has written comes first */
    size_t length = strlen(bytes);
    while (length > 0) {
        ssize_t written = write(term.tty, bytes, length);
        if (written <= 0 && errno != EINTR)
            return;
        bytes += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
}

/* Clicks, drags and the wheel in SGR coordinates; pastes marked. */
static const char mouse_on[] = "\033[?1000h\033[?1002h\033[?1006h";
static const char mouse_off[] = "\033[?1006l\033[?1002l\033[?1000l";
static const char paste_on[] = "\033[?2004h";
static const char paste_off[] = "\033[?2004l";

static void enter_modes(void)
{
    if (!term.speaks_xterm)
        return;
    send(paste_on);
    send(term.mouse ? mouse_on : mouse_off);
}

bool term_copy(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(text);
    struct text sequence = {0};
    if (!term.on || term.headless || !term.speaks_xterm || length > TERM_COPY_MOST)
        return false;
    text_add(&sequence, "\033]52;c;");
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned bits = (unsigned)(unsigned char)text[i] << 16;
        bits |= left > 1 ? (unsigned)(unsigned char)text[i + 1] << 8 : 0;
        bits |= left > 2 ? (unsigned char)text[i + 2] : 0;
        char group[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                         left > 1 ? digits[bits >> 6 & 63] : '=',
                         left > 2 ? digits[bits & 63] : '='};
        text_add_part(&sequence, group, sizeof(group));
    }
    text_add(&sequence, "\a");
    send(sequence.data);
    text_free(&sequence);
    return true;
}

static void leave_modes(void)
{
    if (term.speaks_xterm) {
        send(mouse_off);
        send(paste_off);
    }
}

/* Where there is no second screen that goes away, the shell's prompt comes into the last line. */
static void leave_screen(void)
{
    const char *second = tigetstr("rmcup");
    leave_modes();
    if (!term.headless && (!second || second == (const char *)-1)) {
        move(LINES - 1, 0);
        clrtoeol();
        refresh();
    }
    endwin();
    fflush(term.output);
}

/* A capability without its padding, which no terminal of today needs. */
static void add_capability(struct text *out, const char *name)
{
    const char *string = tigetstr(name);
    if (!string || string == (const char *)-1)
        return;
    while (*string) {
        if (string[0] == '$' && string[1] == '<' && strchr(string, '>'))
            string = strchr(string, '>') + 1;
        else
            text_add_part(out, string++, 1);
    }
}

static void tell_guard(void)
{
    struct text bytes = {0};
    if (term.speaks_xterm) {
        text_add(&bytes, mouse_off);
        text_add(&bytes, paste_off);
    }
    add_capability(&bytes, "sgr0");
    add_capability(&bytes, "cnorm");
    add_capability(&bytes, "rmcup");
    text_add(&bytes, "\r\n");
    term_guard_set_restore(term.guard, bytes.data, bytes.length);
    text_free(&bytes);
}

static bool open_files(bool headless, struct status *status)
{
    const char *path = headless ? "/dev/null" : "/dev/tty";
    int fd = -1;
    if (!headless && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int flags = fd >= 0 ? fcntl(fd, F_GETFL) : 0;
    if (fd >= 0 && (flags & O_ACCMODE) != O_RDWR) { /* a descriptor for one direction only */
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return status_fail(status, STATUS_UNSUPPORTED, "no terminal: %s: %s", path,
                           strerror(errno));
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    term.input = other >= 0 ? fdopen(other, "r") : NULL;
    term.output = fdopen(fd, "w");
    term.tty = headless ? -1 : fd;
    return (term.input && term.output) ||
           status_fail(status, STATUS_IO, "no terminal: %s", strerror(errno));
}

static void close_files(void)
{
    if (term.input)
        fclose(term.input);
    if (term.output)
        fclose(term.output);
    term.input = term.output = NULL;
    term.tty = -1;
}

/* The size that the terminal has, not what LINES and COLUMNS in the environment say. */
static void take_size(void)
{
    struct winsize size;
    if (term.tty >= 0 && ioctl(term.tty, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 &&
        size.ws_col > 0 && (size.ws_row != LINES || size.ws_col != COLS))
        resizeterm(size.ws_row, size.ws_col);
}

static bool start_curses(const struct term_options *options, struct status *status)
{
    const char *type = term.headless ? "xterm-256color" : getenv("TERM");
    term.screen = type ? newterm(type, term.output, term.input) : NULL;
    if (!term.screen)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "unknown terminal type '%s': set TERM to one such as xterm-256color",
                           type ? type : "");
    if (!tigetstr("cup")) { /* "dumb": every frame would be one line of blanks */
        delscreen(term.screen);
        term.screen = NULL;
        return status_fail(status, STATUS_UNSUPPORTED,
                           "a terminal of type '%s' cannot place its cursor: set TERM to one such "
                           "as xterm-256color, or use lockstep debug",
                           type);
    }
    raw();
    noecho();
    nonl();
    typeahead(-1); /* curses must not look at the input: it is ours */
    keypad(stdscr, FALSE);
    const char *mouse = tigetstr("kmous");
    term.speaks_xterm = mouse && mouse != (const char *)-1;
    start_colors(options->colors);
    if (term.headless)
        resizeterm(options->rows, options->cols);
    take_size();
    return true;
}

bool term_open(const struct term_options *options, struct status *status)
{
    if (term.on)
        return status_fail(status, STATUS_INTERNAL, "the screen is on already");
    term.headless = options->rows > 0 && options->cols > 0;
    term.hung_up = term.hangup_told = false;
    term.mouse = options->mouse;
    term.escape_ms = options->escape_ms > 0 ? options->escape_ms : ESCAPE_MS;
    term.ascii = options->ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
    term.cursor_row = -1;
    term.decoder = (struct keys_decoder){0};
    if (!open_files(term.headless, status)) {
        close_files();
        return false;
    }
    /* Before curses: it installs handlers of its own where it finds none. */
    term.guard = term_guard_begin(term.tty, true, status);
    bool good = term.guard != NULL;
    if (good && (!start_curses(options, status) ||
                 (!term.headless && !term_guard_capture(term.guard, status)))) {
        good = false;
        if (term.screen)
            endwin();
        term_guard_end(term.guard);
        term.guard = NULL;
    }
    if (!good) {
        close_files();
        return false;
    }
    term.on = true;
    tell_guard();
    enter_modes();
    term_set_theme(&options->theme);
    return true;
}

void term_close(void)
{
    if (!term.on)
        return;
    leave_screen();
    delscreen(term.screen);
    term.screen = NULL;
    term_guard_end(term.guard);
    term.guard = NULL;
    close_files();
    term.on = false;
}

/* ---- size, features ---- */

int term_rows(void)
{
    return LINES;
}

int term_cols(void)
{
    return COLS;
}

int term_colors(void)
{
    return term.colors;
}

bool term_ascii(void)
{
    return term.ascii;
}

/* A map takes some hundred pairs; alloc_pair() would take away the oldest when it runs out, which
 * recolours what is on the screen. */
bool term_half_blocks(void)
{
    return !term.headless && !term.ascii && term.colors >= 256 && COLOR_PAIRS >= LEAST_PAIRS;
}

void term_set_mouse(bool on)
{
    term.mouse = on;
    enter_modes();
}

bool term_mouse(void)
{
    return term.mouse;
}

/* ---- events ---- */

int term_input_fd(void)
{
    return term.hung_up ? -1 : term.tty;
}

int term_signal_fd(void)
{
    return term_guard_fd(term.guard);
}

void term_redraw(void)
{
    clearok(curscr, TRUE);
}

/* Takes the terminal (back) in our modes; the shell may have changed them. */
static void take_terminal(void)
{
    reset_prog_mode();
    take_size();
    enter_modes();
    term_redraw();
}

void term_suspend(void)
{
    if (term.headless)
        return;
    leave_screen();
    term_guard_stop(term.guard);
    doupdate(); /* turns the alternate screen on again */
    take_terminal();
}

static void wait_for_enter(void)
{
    static const char text[] = "\nEnter goes back to lockstep. ";
    char byte = 0;
    term_write(term.tty, text, sizeof(text) - 1);
    while (byte != '\n' && read(term.tty, &byte, 1) == 1)
        continue;
}

bool term_shell(const char *command, struct status *status)
{
    if (term.headless)
        return shell_run(command, -1, -1, status);
    leave_screen();
    term_guard_arm(term.guard, false);
    bool ok = shell_run(command, term.tty, term.tty, status);
    if (ok && *command)
        wait_for_enter();
    term_guard_arm(term.guard, true);
    doupdate(); /* turns the alternate screen on again */
    take_terminal();
    return ok;
}

unsigned term_take_events(void)
{
    unsigned events = 0;
    for (int number = term_guard_take(term.guard); number > 0;
         number = term_guard_take(term.guard)) {
        if (number == SIGWINCH)
            events |= TERM_RESIZED;
        else if (number == SIGINT)
            events |= TERM_INTERRUPT;
        else if (number == SIGTSTP)
            term_suspend();
        if (number == SIGTSTP || number == SIGCONT)
            events |= TERM_REDRAW | TERM_RESIZED;
    }
    if (events & TERM_REDRAW && !term.headless)
        take_terminal();
    if (events & TERM_RESIZED)
        take_size();
    return events;
}

/* Takes what the terminal has sent, if anything. */
static bool read_input(void)
{
    struct pollfd waiting = {.fd = term_input_fd(), .events = POLLIN};
    unsigned char bytes[KEYS_PENDING];
    size_t room = sizeof(bytes) - (size_t)term.decoder.count;
    if (waiting.fd < 0 || room == 0 || poll(&waiting, 1, 0) <= 0)
        return false;
    ssize_t count = read(waiting.fd, bytes, room);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (count <= 0) {
        term.hung_up = true;
        return false;
    }
    keys_push(&term.decoder, bytes, (size_t)count);
    term.last_input = now_ms();
    return true;
}

bool term_read_key(struct key *key)
{
    do {
        if (keys_next(&term.decoder, key))
            return true;
    } while (read_input());
    if (term_key_timeout() == 0 && keys_flush(&term.decoder, key))
        return true;
    if (!term.hung_up || term.hangup_told)
        return false;
    term.hangup_told = true;
    *key = (struct key){.code = KEYS_HANGUP};
    return true;
}

int term_key_timeout(void)
{
    if (!keys_waiting(&term.decoder) || term.decoder.pasting)
        return -1;
    int64_t left = term.last_input + term.escape_ms - now_ms();
    return left > 0 ? (int)left : 0;
}

/* ---- drawing ---- */

void term_clear(void)
{
    erase();
}

/* One question mark per column for what is not ASCII. */
static void make_ascii(struct text *text)
{
    struct text plain = {0};
    for (size_t at = 0; at < text->length;) {
        struct text_glyph glyph;
        at += text_glyph_next(text->data + at, text->length - at, 0, &glyph);
        if ((unsigned char)glyph.shown[0] < 0x80)
            text_add_part(&plain, glyph.shown, 1);
        for (int i = 0; (unsigned char)glyph.shown[0] >= 0x80 && i < glyph.columns; i++)
            text_add(&plain, "?");
    }
    text_free(text);
    *text = plain;
}

/* Draws columns [skip, skip + width) of the text at row, col; `more`: mark an end that is cut. */
static int put(int row, int col, int width, struct look look, const char *text, size_t length,
               int skip, bool more)
{
    if (width < 0)
        width = text_width(text, length);
    if (col < 0) { /* what lies left of the screen */
        width += col;
        skip -= col;
        col = 0;
    }
    bool cut = more && width > 0 && text_fit(text, length, skip + width, NULL) < length;
    int visible = width > COLS - col ? COLS - col : width;
    if (row < 0 || row >= LINES || visible <= 0)
        return 0;
    struct text out = {0};
    bool mark = cut && visible == width;
    int used = text_clip(&out, text, length, skip, visible - mark);
    while (used < visible - mark) {
        text_add(&out, " ");
        used++;
    }
    if (mark)
        text_add(&out, theme_mark(THEME_MARK_MORE, term.ascii));
    if (term.ascii && out.data)
        make_ascii(&out);
    use_look(look);
    mvaddnstr(row, col, out.data, (int)out.length);
    text_free(&out);
    return visible;
}

int term_put(int row, int col, int width, enum theme_role role, const char *text)
{
    return put(row, col, width, term.looks[role], text, strlen(text), 0, true);
}

int term_put_part(int row, int col, int width, enum theme_role role, const char *text,
                  size_t length, int skip)
{
    return put(row, col, width, term.looks[role], text, length, skip, false);
}

int term_put_style(int row, int col, int width, struct theme_style style, const char *text)
{
    return put(row, col, width, look_of(style), text, strlen(text), 0, false);
}

void term_fill(struct layout_rectangle box, enum theme_role role)
{
    for (int row = box.row; row < box.row + box.rows; row++)
        term_put(row, box.col, box.cols, role, "");
}

static void put_lines(int row, int col, unsigned lines, enum theme_role role)
{
    static const char *const strokes[16] = {
        " ",      "\u2502", "\u2502", "\u2502", "\u2500", "\u2518", "\u2510", "\u2524",
        "\u2500", "\u2514", "\u250c", "\u251c", "\u2500", "\u2534", "\u252c", "\u253c"};
    static const char plain[] = " |||-+++-+++-+++";
    char ascii[2] = {plain[lines & 15], '\0'};
    term_put(row, col, 1, role, term.ascii ? ascii : strokes[lines & 15]);
}

void term_frames(const struct screen_layout *layout, enum layout_view focus)
{
    struct layout_rectangle body = layout->body;
    for (int row = body.row; row < body.row + body.rows; row++) {
        for (int col = body.col; col < body.col + body.cols; col++) {
            unsigned lines = layout_lines(layout, row, col);
            if (lines)
                put_lines(row, col, lines,
                          layout_on_frame(layout, focus, row, col) ? THEME_FOCUS : THEME_FRAME);
        }
    }
}

void term_box(struct layout_rectangle box, enum theme_role role, const char *title)
{
    struct screen_layout alone = {.body = box};
    if (box.rows < 2 || box.cols < 2)
        return;
    for (int row = box.row; row < box.row + box.rows; row++)
        for (int col = box.col; col < box.col + box.cols; col++)
            if (layout_lines(&alone, row, col))
                put_lines(row, col, layout_lines(&alone, row, col), role);
    if (!title || box.cols < 6)
        return;
    int width = text_width(title, strlen(title));
    term_put(box.row, box.col + 1, 1, role, " ");
    width =
        term_put(box.row, box.col + 2, width > box.cols - 4 ? box.cols - 4 : width, role, title);
    term_put(box.row, box.col + 2 + width, 1, role, " ");
}

void term_cursor(int row, int col)
{
    term.cursor_row = col < 0 ? -1 : row;
    term.cursor_col = col;
}

void term_flush(void)
{
    bool shown = term.cursor_row >= 0 && term.cursor_row < LINES && term.cursor_col < COLS;
    bool obeyed = curs_set(shown ? 1 : 0) != ERR;
    if (shown)
        move(term.cursor_row, term.cursor_col);
    else if (!obeyed) /* it cannot be hidden: out of the way */
        move(LINES - 1, COLS - 1);
    wnoutrefresh(stdscr);
    doupdate();
}

void term_dump(struct text *out)
{
    for (int row = 0; row < LINES; row++) {
        wchar_t cells[DUMP_COLS];
        int count = mvinnwstr(row, 0, cells, DUMP_COLS - 1);
        while (count > 0 && cells[count - 1] == L' ')
            count--;
        for (int i = 0; i < count; i++) {
            char bytes[16];
            mbstate_t shift = {0};
            size_t length = wcrtomb(bytes, cells[i], &shift);
            text_add_part(out, length == (size_t)-1 ? "?" : bytes,
                          length == (size_t)-1 ? 1 : length);
        }
        text_add(out, "\n");
    }
}

bool term_captured(struct term_piece *piece, struct text *out)
{
    return term_guard_captured(term.guard, piece, out);
}

int term_captured_fd(void)
{
    return term_guard_capture_fd(term.guard);
}
