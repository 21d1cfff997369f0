#include "ui/keys.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct named_code {
    const char *name;
    enum keys_code code;
};

static const struct named_code code_names[] = {
    {"enter", KEYS_ENTER},
    {"tab", KEYS_TAB},
    {"backspace", KEYS_BACKSPACE},
    {"escape", KEYS_ESCAPE},
    {"up", KEYS_UP},
    {"down", KEYS_DOWN},
    {"right", KEYS_RIGHT},
    {"left", KEYS_LEFT},
    {"home", KEYS_HOME},
    {"end", KEYS_END},
    {"insert", KEYS_INSERT},
    {"delete", KEYS_DELETE},
    {"page-up", KEYS_PAGE_UP},
    {"page-down", KEYS_PAGE_DOWN},
    {"begin", KEYS_BEGIN},
    {"paste-begin", KEYS_PASTE_BEGIN},
    {"paste-end", KEYS_PASTE_END},
    {"focus-in", KEYS_FOCUS_IN},
    {"focus-out", KEYS_FOCUS_OUT},
    {"unknown", KEYS_UNKNOWN},
    {"hangup", KEYS_HANGUP},
};

/* Order of enum keys_button. */
static const char *const button_names[] = {"mouse-move",  "mouse-left", "mouse-middle",
                                           "mouse-right", "wheel-up",   "wheel-down"};
static const char *const action_names[] = {"", "-release", "-drag"};

static const char *base_name(const struct key *key, char buffer[24])
{
    if (key->code == KEYS_TEXT && strcmp(key->text, "#") == 0)
        return "hash"; /* # starts a comment in a key map */
    if (key->code == KEYS_TEXT)
        return strcmp(key->text, " ") == 0 ? "space" : key->text;
    if (key->code >= KEYS_F1 && key->code <= KEYS_F20) {
        snprintf(buffer, 24, "F%d", key->code - KEYS_F1 + 1);
        return buffer;
    }
    if (key->code == KEYS_MOUSE) {
        snprintf(buffer, 24, "%s%s", button_names[key->mouse.button],
                 key->mouse.button == KEYS_BUTTON_NONE ? "" : action_names[key->mouse.action]);
        return buffer;
    }
    for (int i = 0; i < ARRAY_LENGTH(code_names); i++)
        if (code_names[i].code == key->code)
            return code_names[i].name;
    return "none";
}

const char *keys_name(const struct key *key, char name[48])
{
    char buffer[24];
    snprintf(name, 48, "%s%s%s%s", key->modifiers & KEYS_CONTROL ? "ctrl-" : "",
             key->modifiers & KEYS_ALT ? "alt-" : "", key->modifiers & KEYS_SHIFT ? "shift-" : "",
             base_name(key, buffer));
    return name;
}

static bool parse_mouse(const char *name, struct key *key)
{
    for (int button = 0; button < ARRAY_LENGTH(button_names); button++) {
        size_t length = strlen(button_names[button]);
        if (strncasecmp(name, button_names[button], length) != 0)
            continue;
        for (int action = 0; action < ARRAY_LENGTH(action_names); action++) {
            if (strcasecmp(name + length, action_names[action]) != 0)
                continue;
            key->code = KEYS_MOUSE;
            key->mouse.button = (enum keys_button)button;
            key->mouse.action = (enum keys_action)action;
            return true;
        }
    }
    return false;
}

static bool parse_function(const char *name, struct key *key)
{
    char *end;
    if ((name[0] != 'F' && name[0] != 'f') || name[1] < '1' || name[1] > '9')
        return false;
    long number = strtol(name + 1, &end, 10);
    if (*end || number > 20)
        return false;
    key->code = (enum keys_code)(KEYS_F1 + number - 1);
    return true;
}

/* One whole UTF-8 character. */
static bool parse_character(const char *name, struct key *key)
{
    size_t length = strlen(name);
    unsigned char first = (unsigned char)name[0];
    size_t needed = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (length != needed || first <= 0x20 || first == 0x7f)
        return false;
    key->code = KEYS_TEXT;
    memcpy(key->text, name, length + 1);
    return true;
}

static bool parse_base(const char *name, struct key *key)
{
    if (parse_character(name, key) || parse_function(name, key) || parse_mouse(name, key))
        return true;
    if (strcasecmp(name, "space") == 0 || strcasecmp(name, "hash") == 0) {
        key->code = KEYS_TEXT;
        strcpy(key->text, strcasecmp(name, "hash") == 0 ? "#" : " ");
        return true;
    }
    for (int i = 0; i < ARRAY_LENGTH(code_names); i++) {
        if (strcasecmp(name, code_names[i].name) == 0) {
            key->code = code_names[i].code;
            return true;
        }
    }
    return false;
}

bool keys_parse(const char *name, struct key *key)
{
    static const struct {
        const char *prefix;
        unsigned modifier;
    } prefixes[] = {{"ctrl-", KEYS_CONTROL}, {"alt-", KEYS_ALT}, {"shift-", KEYS_SHIFT}};
    struct key parsed = {0};
    for (int i = 0; i < ARRAY_LENGTH(prefixes);) {
        size_t length = strlen(prefixes[i].prefix);
        if (strncasecmp(name, prefixes[i].prefix, length) == 0) {
            parsed.modifiers |= prefixes[i].modifier;
            name += length;
            i = 0;
        } else {
            i++;
        }
    }
    if (!parse_base(name, &parsed))
        return false;
    bool letter = parsed.code == KEYS_TEXT && (parsed.modifiers & KEYS_CONTROL);
    if (letter && parsed.text[0] >= 'A' && parsed.text[0] <= 'Z')
        parsed.text[0] =
            (char)(parsed.text[0] - 'A' + 'a'); /* a terminal sends one byte for both */
    *key = parsed;
    return true;
}

bool keys_same(const struct key *a, const struct key *b)
{
    if (a->code != b->code || a->modifiers != b->modifiers)
        return false;
    if (a->code == KEYS_MOUSE)
        return a->mouse.button == b->mouse.button && a->mouse.action == b->mouse.action;
    return a->code != KEYS_TEXT || strcmp(a->text, b->text) == 0;
}
