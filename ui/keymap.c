#include "ui/keymap.h"

#include "engine/base/memory.h"
#include "ui/user_files.h"

#include <stdlib.h>
#include <string.h>

extern const char ui_default_keys[]; /* ui/keys.conf, embedded by the build */

static const char global[] = "global";

static void binding_free(struct keymap_binding *binding)
{
    free(binding->view);
    free(binding->command);
}

/* Whether a binding before it has the same command. */
static bool is_told(const struct keymap *map, int index)
{
    const struct keymap_binding *binding = &map->bindings[index];
    for (int i = 0; i < index; i++)
        if (strcmp(map->bindings[i].view, binding->view) == 0 &&
            strcmp(map->bindings[i].command, binding->command) == 0)
            return true;
    return false;
}

void keymap_describe(const struct keymap *map, const char *view, struct text *out)
{
    for (int i = 0; i < map->count; i++) {
        const struct keymap_binding *binding = &map->bindings[i];
        struct text line = {0};
        char name[48];
        if (strcmp(binding->view, view) != 0 || is_told(map, i))
            continue;
        for (int k = i; k < map->count; k++)
            if (strcmp(map->bindings[k].view, view) == 0 &&
                strcmp(map->bindings[k].command, binding->command) == 0)
                text_format(&line, "%s%s", line.length ? ", " : "  ",
                            keys_name(&map->bindings[k].key, name));
        text_pad(&line, 24);
        text_format(out, "%s %s\n", line.data, binding->command);
        text_free(&line);
    }
}

void keymap_free(struct keymap *map)
{
    if (!map)
        return;
    for (int i = 0; i < map->count; i++)
        binding_free(&map->bindings[i]);
    free(map->bindings);
    *map = (struct keymap){0};
}

static int binding_index(const struct keymap *map, const char *view, const struct key *key)
{
    for (int i = 0; i < map->count; i++)
        if (keys_same(&map->bindings[i].key, key) && strcmp(map->bindings[i].view, view) == 0)
            return i;
    return -1;
}

/* Takes the binding over, in the place of one for the same view and key. */
static void put_binding(struct keymap *map, struct keymap_binding binding)
{
    int index = binding_index(map, binding.view, &binding.key);
    if (index >= 0) {
        binding_free(&map->bindings[index]);
        map->bindings[index] = binding;
        return;
    }
    ARRAY_PUSH(map->bindings, map->count, map->capacity, binding);
}

static bool parse_line(struct keymap *map, char *line, const char *origin, int number,
                       struct status *status)
{
    char *view = user_next_word(&line);
    char *name = user_next_word(&line);
    struct keymap_binding binding = {0};
    if (!*line)
        return status_fail(status, STATUS_INVALID,
                           "%s:%d: expected a view, a key and a command, such as: "
                           "global ctrl-l redraw",
                           origin, number);
    if (!keys_parse(name, &binding.key))
        return status_fail(status, STATUS_INVALID,
                           "%s:%d: '%s' is no key: expected one such as j, space, ctrl-l, "
                           "shift-tab, page-down, F5, wheel-up",
                           origin, number, name);
    binding.view = memory_string(view);
    binding.command = memory_string(line);
    put_binding(map, binding);
    return true;
}

bool keymap_add(struct keymap *map, const char *text, const char *origin, struct status *status)
{
    struct keymap added = {0};
    char *copy = memory_string(text), *cursor = copy, *line;
    int number = 0;
    bool good = true;
    while (good && (line = user_next_line(&cursor, &number)))
        good = parse_line(&added, line, origin, number, status);
    free(copy);
    for (int i = 0; good && i < added.count; i++)
        put_binding(map, added.bindings[i]);
    if (good)
        added.count = 0; /* moved */
    keymap_free(&added);
    return good;
}

bool keymap_load(struct keymap *map, const char *path, struct status *status)
{
    if (!keymap_add(map, ui_default_keys, "default", status))
        return false;
    char *text = NULL;
    struct status reading = STATUS_NONE;
    if (!path)
        return true;
    if (!user_read_file(path, &text, &reading))
        return reading.code == STATUS_NOT_FOUND ||
               status_fail(status, reading.code, "%s", reading.text);
    bool good = keymap_add(map, text, path, status);
    free(text);
    return good;
}

static bool is_none(const struct keymap_binding *binding)
{
    return strcmp(binding->command, "none") == 0;
}

const struct keymap_binding *keymap_find(const struct keymap *map, const char *view,
                                         const struct key *key)
{
    int index = view ? binding_index(map, view, key) : -1;
    if (index < 0)
        index = binding_index(map, global, key);
    return index < 0 || is_none(&map->bindings[index]) ? NULL : &map->bindings[index];
}

const char *keymap_key_of(const struct keymap *map, const char *view, const char *command,
                          char name[48])
{
    name[0] = '\0';
    for (int i = 0; i < map->count; i++) {
        const struct keymap_binding *binding = &map->bindings[i];
        /* Found through the key: a global binding that the view covers does not count. */
        if (strcmp(binding->command, command) == 0 &&
            keymap_find(map, view, &binding->key) == binding)
            return keys_name(&binding->key, name);
    }
    return name;
}
