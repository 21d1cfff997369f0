#include "ui/editor.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "ui/text_width.h"

#include <stdlib.h>
#include <string.h>

static void insert(struct editor *editor, const char *bytes, size_t length)
{
    struct text line = {0};
    text_add_part(&line, editor->line.data, editor->cursor);
    text_add_part(&line, bytes, length);
    text_add(&line, editor->line.data + editor->cursor);
    text_free(&editor->line);
    editor->line = line;
    editor->cursor += length;
}

static void erase_range(struct editor *editor, size_t start, size_t end, bool keep)
{
    char *data = editor->line.data;
    if (keep && end > start) {
        text_clear(&editor->killed);
        text_add_part(&editor->killed, data + start, end - start);
    }
    memmove(data + start, data + end, editor->line.length - end + 1);
    editor->line.length -= end - start;
    editor->cursor = start;
}

static size_t next_character(const struct editor *editor, size_t at)
{
    struct text_glyph glyph;
    if (at >= editor->line.length)
        return at;
    return at + text_glyph_next(editor->line.data + at, editor->line.length - at, 0, &glyph);
}

/* Glyphs can only be found forwards (marks belong to what precedes them): walk from the start. */
static size_t previous_character(const struct editor *editor, size_t at)
{
    size_t before = 0;
    for (size_t next = next_character(editor, 0); next < at; next = next_character(editor, next))
        before = next;
    return at == 0 ? 0 : before;
}

static bool is_space(const struct editor *editor, size_t at)
{
    return editor->line.data[at] == ' ' || editor->line.data[at] == '\t';
}

static size_t word_start(const struct editor *editor, size_t at)
{
    while (at > 0 && is_space(editor, at - 1))
        at--;
    while (at > 0 && !is_space(editor, at - 1))
        at--;
    return at;
}

static size_t word_end(const struct editor *editor, size_t at)
{
    while (at < editor->line.length && is_space(editor, at))
        at++;
    while (at < editor->line.length && !is_space(editor, at))
        at++;
    return at;
}

void editor_set_line(struct editor *editor, const char *line)
{
    text_clear(&editor->line);
    text_add(&editor->line, line);
    editor->cursor = editor->line.length;
}

void editor_start(struct editor *editor)
{
    editor_set_line(editor, "");
    free(editor->set_aside);
    editor->set_aside = NULL;
    editor->history_position = editor->history ? editor->history->count : 0;
}

void editor_free(struct editor *editor)
{
    text_free(&editor->line);
    text_free(&editor->killed);
    free(editor->set_aside);
    editor->set_aside = NULL;
}

static void go_in_history(struct editor *editor, int direction)
{
    int count = editor->history ? editor->history->count : 0;
    int position = editor->history_position + direction;
    if (position < 0 || position > count)
        return;
    if (editor->history_position == count) {
        free(editor->set_aside);
        editor->set_aside = memory_string(editor->line.data);
    }
    editor->history_position = position;
    const char *aside = editor->set_aside ? editor->set_aside : "";
    char *line = memory_string(position == count ? aside : editor->history->lines[position]);
    editor_set_line(editor, line);
    free(line);
}

static void complete(struct editor *editor)
{
    char **matches = NULL;
    size_t start = editor->cursor, end = editor->cursor;
    while (start > 0 && !is_space(editor, start - 1))
        start--;
    if (!editor->complete)
        return;
    int count = editor->complete(editor->context, editor->line.data, start, end, &matches);
    if (count <= 0)
        return;
    size_t length = unicode_common_start((const char *const *)matches, count);
    bool longer = length > end - start;
    if (longer || count == 1) {
        erase_range(editor, start, end, false);
        insert(editor, matches[0], length);
        if (count == 1)
            insert(editor, " ", 1);
    } else if (editor->matches) {
        editor->matches(editor->context, matches, count);
    }
    for (int i = 0; i < count; i++)
        free(matches[i]);
    free(matches);
}

/* Ctrl and a letter, alt and a letter. */
static enum editor_result command_key(struct editor *editor, const struct key *key)
{
    size_t cursor = editor->cursor, length = editor->line.length;
    if ((unsigned char)key->text[0] >= 0x80)
        return EDITOR_CONTINUE;
    switch ((unsigned char)key->text[0] | (key->modifiers & KEYS_ALT ? 0x80 : 0)) {
    case 'a':
        editor->cursor = 0;
        break;
    case 'e':
        editor->cursor = length;
        break;
    case 'b':
        editor->cursor = previous_character(editor, cursor);
        break;
    case 'f':
        editor->cursor = next_character(editor, cursor);
        break;
    case 'b' | 0x80:
        editor->cursor = word_start(editor, cursor);
        break;
    case 'f' | 0x80:
        editor->cursor = word_end(editor, cursor);
        break;
    case 'd':
        if (length == 0)
            return EDITOR_END;
        erase_range(editor, cursor, next_character(editor, cursor), false);
        break;
    case 'd' | 0x80:
        erase_range(editor, cursor, word_end(editor, cursor), true);
        editor->cursor = cursor;
        break;
    case 'k':
        erase_range(editor, cursor, length, true);
        break;
    case 'u':
        erase_range(editor, 0, cursor, true);
        break;
    case 'w':
        erase_range(editor, word_start(editor, cursor), cursor, true);
        break;
    case 'y':
        if (editor->killed.length > 0)
            insert(editor, editor->killed.data, editor->killed.length);
        break;
    case 'p':
        go_in_history(editor, -1);
        break;
    case 'n':
        go_in_history(editor, 1);
        break;
    default:
        break;
    }
    return EDITOR_CONTINUE;
}

static enum editor_result take_key(struct editor *editor, const struct key *key)
{
    size_t cursor = editor->cursor;
    switch (key->code) {
    case KEYS_TEXT:
        if (key->modifiers & (KEYS_CONTROL | KEYS_ALT))
            return command_key(editor, key);
        insert(editor, key->pasted && key->text[0] == '\r' ? "\n" : key->text, strlen(key->text));
        break;
    case KEYS_ENTER:
        return EDITOR_LINE;
    case KEYS_TAB:
        complete(editor);
        break;
    case KEYS_BACKSPACE:
        erase_range(editor, previous_character(editor, cursor), cursor, false);
        break;
    case KEYS_DELETE:
        erase_range(editor, cursor, next_character(editor, cursor), false);
        break;
    case KEYS_LEFT:
        editor->cursor = previous_character(editor, cursor);
        break;
    case KEYS_RIGHT:
        editor->cursor = next_character(editor, cursor);
        break;
    case KEYS_HOME:
        editor->cursor = 0;
        break;
    case KEYS_END:
        editor->cursor = editor->line.length;
        break;
    case KEYS_UP:
        go_in_history(editor, -1);
        break;
    case KEYS_DOWN:
        go_in_history(editor, 1);
        break;
    default:
        break;
    }
    return EDITOR_CONTINUE;
}

enum editor_result editor_push(struct editor *editor, unsigned char byte)
{
    struct key key;
    enum editor_result result = EDITOR_CONTINUE;
    keys_push(&editor->decoder, &byte, 1);
    while (result == EDITOR_CONTINUE && keys_next(&editor->decoder, &key))
        result = take_key(editor, &key);
    return result;
}
