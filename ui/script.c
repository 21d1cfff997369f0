/* Scripts: lines of keys and commands, each done when all that the one before set off has come to
 * rest. Format: docs/screens.md. */
#include "ui/state.h"
#include "ui/user_files.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static bool is_settled(const struct ui *ui)
{
    if (!ui->snapshot || ui_is_busy(ui))
        return false;
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++)
        if (ui->asked[kind] > 0)
            return false;
    return true;
}

/* Until nothing is on its way any more. */
static bool settle(struct ui *ui, struct status *status)
{
    for (;;) {
        ui_handle_events(ui);
        ui_draw(ui); /* views know their sizes only when they are drawn */
        ui_send_wishes(ui);
        if (ui->quit || is_settled(ui))
            return true;
        struct pollfd wake = {.fd = session_wake_fd(ui->session), .events = POLLIN};
        if (poll(&wake, 1, -1) < 0 && errno != EINTR)
            return status_fail(status, STATUS_IO, "poll: %s", strerror(errno));
    }
}

/* The bytes that a terminal would send, for the command line. */
static void fill_bytes(struct key *key)
{
    static const struct {
        enum keys_code code;
        const char *bytes;
    } special[] = {{KEYS_ENTER, "\r"},   {KEYS_TAB, "\t"},      {KEYS_BACKSPACE, "\177"},
                   {KEYS_UP, "\033[A"},  {KEYS_DOWN, "\033[B"}, {KEYS_RIGHT, "\033[C"},
                   {KEYS_LEFT, "\033[D"}};
    const char *bytes = key->code == KEYS_TEXT ? key->text : "";
    for (int i = 0; i < ARRAY_LENGTH(special); i++)
        if (special[i].code == key->code)
            bytes = special[i].bytes;
    key->byte_count = (int)strlen(bytes);
    memcpy(key->bytes, bytes, (size_t)key->byte_count);
    if (key->code == KEYS_TEXT && key->modifiers == KEYS_CONTROL)
        key->bytes[0] &= 0x1f;
}

static void type_text(struct ui *ui, const char *text)
{
    struct keys_decoder decoder = {0};
    struct key key;
    size_t length = strlen(text);
    while (length > 0) {
        size_t taken = keys_push(&decoder, text, length);
        while (keys_next(&decoder, &key))
            ui_handle_key(ui, &key);
        text += taken;
        length -= taken;
    }
}

static bool press_keys(struct ui *ui, char *words, struct status *status)
{
    while (*words) {
        struct key key = {0};
        const char *word = user_next_word(&words);
        if (!keys_parse(word, &key))
            return status_fail(
                status, STATUS_INVALID,
                "\"%s\" is no key, such as j, enter, page-down or ctrl-c (a command begins "
                "with ':')",
                word);
        fill_bytes(&key);
        ui_handle_key(ui, &key);
        if (!settle(ui, status))
            return false;
    }
    return true;
}

static bool run_line(struct ui *ui, char *line, struct status *status)
{
    const char *rest;
    if (line[0] == ':')
        ui_command(ui, line + 1, false);
    else if (command_is(line, "type", &rest))
        type_text(ui, rest);
    else if (command_is(line, "size", &rest))
        return status_fail(status, STATUS_INVALID,
                           "size: the size of the screen is an option, such as --size 120x40");
    else
        return press_keys(ui, line, status);
    return settle(ui, status);
}

bool ui_run_script(struct ui *ui, struct status *status)
{
    char *text;
    int number = 0;
    if (!user_read_file(ui->options->script, &text, status))
        return status_context(status, "script");
    bool ok = settle(ui, status);
    char *cursor = text;
    for (char *line; ok && !ui->quit && (line = user_next_line(&cursor, &number));)
        if (!run_line(ui, line, status))
            ok = status_context(status, "%s:%d", ui->options->script, number);
    free(text);
    return ok;
}
