#include "ui/remember.h"

#include "ui/state.h"
#include "ui/user_files.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/names.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "lockstep-screens"
enum { VERSION = 1, KEY_LENGTH = 150, BREAKPOINTS_MOST = 1000 };

/* ---- names ---- */

/* "llama/bf4" against "llama/df4": "llama%2Fbf4~llama%2Fdf4.json". */
static char *key_of(const struct state_picture *state)
{
    char *folder = realpath(state->reference, NULL); /* of a trace, wherever we stand */
    char *whole = memory_format("%s~%s", state->run, folder ? folder : state->reference);
    struct text key = {0};
    for (const char *c = whole; *c; c++) {
        bool plain = isalnum((unsigned char)*c) || strchr("._-~", *c);
        text_format(&key, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    if (key.length > KEY_LENGTH) {
        char *cut = memory_string_part(key.data, KEY_LENGTH);
        text_clear(&key);
        text_format(&key, "%s-%016" PRIx64, cut, hash_string(whole));
        free(cut);
    }
    text_add(&key, ".json");
    free(whole);
    free(folder);
    return text_take(&key);
}

int remember_choice(const struct json_t *object, const char *key, const char *const *words,
                    int count, int otherwise)
{
    const char *word = json_string_value(json_object_get(object, key));
    for (int i = 0; word && i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return otherwise;
}

bool remember_is_other_run(const struct ui *ui, const struct picture *state)
{
    const struct picture *program = ui->pictures[PICTURE_PROGRAM];
    if (!program || program->identity != state->identity)
        return true;
    if (!state->state || !ui->remembered.key)
        return false;
    char *key = key_of(state->state); /* the same run against another reference */
    bool other = strcmp(key, ui->remembered.key) != 0;
    free(key);
    return other;
}

/* ---- taking ---- */

static json_t *take_breakpoints(const struct state_picture *state)
{
    json_t *list = json_array();
    for (int b = 0; b < state->breakpoint_count; b++) {
        const struct picture_breakpoint *breakpoint = &state->breakpoints[b];
        if (breakpoint->lost)
            continue; /* of another run */
        const char *kind = breakpoint->watch ? "watch" : breakpoint->temporary ? "tbreak" : "break";
        json_t *json = json_pack("{s:s, s:s, s:b}", "kind", kind, "place", breakpoint->text,
                                 "enabled", breakpoint->enabled);
        if (json && breakpoint->commands)
            json_object_set_new(json, "commands", json_string(breakpoint->commands));
        json_array_append_new(list, json);
    }
    return list;
}

static json_t *take_views(struct ui *ui)
{
    json_t *views = json_object();
    for (int v = 0; v < LAYOUT_VIEW_COUNT; v++) {
        const struct view_operations *operations = ui_operations((enum layout_view)v);
        if (operations->remember)
            json_object_set_new(views, layout_view_name((enum layout_view)v),
                                operations->remember(ui, ui->states[v]));
    }
    return views;
}

static json_t *take(struct ui *ui, const struct program_picture *program,
                    const struct state_picture *state)
{
    bool chosen = ui->chosen && ui->value >= 0 && ui->value < program->value_count;
    json_t *json = json_pack("{s:s, s:i, s:s, s:s, s:i, s:o, s:o}", "format", FORMAT, "version",
                             VERSION, "run", state->run, "reference", state->reference,
                             "instructions", program->instruction_count, "breakpoints",
                             take_breakpoints(state), "views", take_views(ui));
    if (json && chosen)
        json_object_set_new(json, "tensor", json_string(program->values[ui->value].name));
    return json;
}

static void write_file(struct ui *ui, const json_t *json)
{
    struct status status = STATUS_NONE;
    char *path = memory_format("%s/%s", ui->options->state, ui->remembered.key);
    char *dumped = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (!dumped || !user_make_folders(path, &status) ||
        !file_write(path, dumped, strlen(dumped), FILE_REPLACE, &status)) {
        char *line = memory_format("the state of this run is not kept: %s", status.text);
        ui_log(ui, LOG_MESSAGE, line);
        free(line);
    }
    free(dumped);
    free(path);
}

void remember_leave(struct ui *ui)
{
    struct remembered *remembered = &ui->remembered;
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    bool known = remembered->key && !remembered->returning && program && state;
    json_t *json = known ? take(ui, program, state) : NULL;
    if (json) {
        bool same = json_equal(json, json_object_get(remembered->runs, remembered->key));
        if (!remembered->runs)
            remembered->runs = json_object();
        if (!same && ui->options->state)
            write_file(ui, json);
        json_object_set_new(remembered->runs, remembered->key, json);
    }
    free(remembered->key);
    remembered->key = NULL;
    remembered->returning = false;
}

void remember_free(struct remembered *remembered)
{
    free(remembered->key);
    json_decref(remembered->runs);
    *remembered = (struct remembered){0};
}

/* ---- bringing back ---- */

static bool is_usable(const json_t *json, const struct state_picture *state, struct status *status)
{
    const char *format = json_string_value(json_object_get(json, "format"));
    const char *run = json_string_value(json_object_get(json, "run"));
    const char *reference = json_string_value(json_object_get(json, "reference"));
    int64_t version = json_integer_value(json_object_get(json, "version"));
    if (!format || strcmp(format, FORMAT) != 0)
        return status_fail(status, STATUS_INVALID, "not what lockstep keeps of a run");
    if (version != VERSION)
        return status_fail(status, STATUS_INVALID,
                           "kept by another version of lockstep (%" PRId64 ", this one reads %d)",
                           version, VERSION);
    if (!run || !reference || strcmp(run, state->run) != 0 ||
        strcmp(reference, state->reference) != 0)
        return status_fail(status, STATUS_INVALID, "kept of another run: %s against %s",
                           run ? run : "?", reference ? reference : "?");
    return true;
}

/* NULL: there is none, or none that can be used; the log says why. */
static json_t *read_file(struct ui *ui, const struct state_picture *state)
{
    struct status status = STATUS_NONE;
    json_error_t error;
    char *text = NULL;
    char *path = memory_format("%s/%s", ui->options->state, ui->remembered.key);
    json_t *json = NULL;
    if (user_read_file(path, &text, &status)) {
        json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (!json)
            status_fail(&status, STATUS_INVALID, "%s: line %d: %s", path, error.line, error.text);
        if (json && !is_usable(json, state, &status)) {
            status_context(&status, "%s", path);
            json_decref(json);
            json = NULL;
        }
    }
    if (!json && status.code != STATUS_NOT_FOUND) {
        char *line = memory_format("what is kept of this run is not used: %s", status.text);
        ui_log(ui, LOG_MESSAGE, line);
        free(line);
    }
    free(text);
    free(path);
    return json;
}

/* Without control characters but those that are `allowed`. */
static bool is_clean(const char *text, const char *allowed)
{
    while (*text && (!iscntrl((unsigned char)*text) || strchr(allowed, *text)))
        text++;
    return !*text;
}

static void post_breakpoint(struct ui *ui, const json_t *json, bool moved)
{
    static const char *const kinds[] = {"break", "tbreak", "watch"};
    int kind = remember_choice(json, "kind", kinds, ARRAY_LENGTH(kinds), -1);
    const char *place = json_string_value(json_object_get(json, "place"));
    const char *commands = json_string_value(json_object_get(json, "commands"));
    if (kind < 0 || !place || !place[0] || !is_clean(place, "") ||
        (commands && !is_clean(commands, "\n\t")))
        return;
    if (moved && (isdigit((unsigned char)place[0]) || place[0] == '*')) {
        char *line =
            memory_format("%s %s is not set again: the program has changed", kinds[kind], place);
        ui_log(ui, LOG_MESSAGE, line);
        free(line);
        return;
    }
    ui_post_quietly(ui, "%s %s%s%s", kinds[kind], place, commands ? "\n" : "",
                    commands ? commands : "");
    ui->remembered.returning = true;
}

/* Those that are off come first, so that "disable" without numbers means just them. */
static void restore_breakpoints(struct ui *ui, const json_t *json, bool moved)
{
    const json_t *list = json_object_get(json, "breakpoints");
    size_t count = json_array_size(list);
    count = count < BREAKPOINTS_MOST ? count : BREAKPOINTS_MOST;
    if (ui_state(ui)->breakpoint_count > 0)
        ui_post_quietly(ui, "delete");
    for (int enabled = 0; enabled < 2; enabled++) {
        int posted = 0;
        for (size_t i = 0; i < count; i++) {
            const json_t *breakpoint = json_array_get(list, i);
            bool off = json_is_false(json_object_get(breakpoint, "enabled"));
            if (off != (enabled == 0))
                continue;
            post_breakpoint(ui, breakpoint, moved);
            posted++;
        }
        if (!enabled && posted > 0)
            ui_post_quietly(ui, "disable");
    }
}

void remember_look(struct ui *ui)
{
    bool quiet = false;
    for (int i = 0; i < ui->posted_count; i++)
        quiet = quiet || ui->posted[i].quiet;
    /* Pictures that were asked for before the last of the commands ended tell nothing. */
    if (!quiet && !ui->stale[PICTURE_STATE] && ui->asked[PICTURE_STATE] == 0)
        ui->remembered.returning = false;
}

static void restore_views(struct ui *ui, const json_t *json)
{
    const json_t *views = json_object_get(json, "views");
    for (int v = 0; v < LAYOUT_VIEW_COUNT; v++) {
        const struct view_operations *operations = ui_operations((enum layout_view)v);
        const json_t *view = json_object_get(views, layout_view_name((enum layout_view)v));
        if (operations->restore && json_is_object(view))
            operations->restore(ui, ui->states[v], view);
    }
}

static void restore(struct ui *ui, const struct program_picture *program, const json_t *json)
{
    bool moved =
        json_integer_value(json_object_get(json, "instructions")) != program->instruction_count;
    int value = ui_find_value(ui, json_string_value(json_object_get(json, "tensor")));
    if (value >= 0) {
        ui->value = value;
        ui->chosen = true;
        ui_want(ui, PICTURE_TENSOR);
    }
    restore_breakpoints(ui, json, moved);
    restore_views(ui, json);
    ui_dirty(ui);
}

void remember_arrive(struct ui *ui)
{
    struct remembered *remembered = &ui->remembered;
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    if (remembered->key || !program || !state || !state->run || !state->reference)
        return;
    remembered->key = key_of(state);
    json_t *json = json_incref(json_object_get(remembered->runs, remembered->key));
    if (!json && ui->options->state && (json = read_file(ui, state))) {
        if (!remembered->runs)
            remembered->runs = json_object();
        json_object_set(remembered->runs, remembered->key, json);
    }
    if (json)
        restore(ui, program, json);
    json_decref(json);
}
