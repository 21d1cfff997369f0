#include "engine/session/replay.h"

#include "engine/base/memory.h"
#include "engine/session/picture_fields.h"
#include "engine/session/recorder.h"
#include "engine/session/snapshot.h"
#include "engine/session/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replay {
    json_t **lines; /* [count], the first one checked and left out */
    int count, capacity;
    int next; /* the line to go on with: a command, or the end */
    struct debugger_sink sink;
};

static const json_t *at(const struct replay *replay, int line, const char *name)
{
    return line < replay->count ? json_object_get(replay->lines[line], name) : NULL;
}

static const char *text_at(const struct replay *replay, int line, const char *name)
{
    return json_string_value(at(replay, line, name));
}

/* ---- reading the file ---- */

static bool check_picture(const json_t *json, const struct program_picture **program,
                          struct picture **held, struct status *status)
{
    struct picture *picture = picture_read(json, status);
    if (!picture)
        return false;
    bool ok = true;
    if (picture->program) {
        picture_free(*held);
        *held = picture;
        *program = picture->program;
        return true;
    }
    const struct state_picture *state = picture->state;
    if (state && *program) {
        ok = state->instruction_count == (*program)->instruction_count &&
             state->first_value < (*program)->value_count && state->focus < (*program)->value_count;
        for (int r = 0; ok && r < state->result_count; r++)
            ok = state->results[r].value < (*program)->value_count;
    }
    picture_free(picture);
    return ok || status_fail(status, STATUS_INVALID, "a picture of another program");
}

/* Everything that is played later must be readable. */
static bool check_lines(const struct replay *replay, const char *path, struct status *status)
{
    const struct program_picture *program = NULL;
    struct picture *held = NULL;
    bool ok = true;
    for (int i = 0; ok && i < replay->count; i++) {
        const json_t *picture = at(replay, i, "picture");
        if (picture)
            ok = check_picture(picture, &program, &held, status) ||
                 status_context(status, "%s:%d", path, i + 2);
        if (at(replay, i, "loaded"))
            program = NULL; /* the next program comes after the states that belong to it */
    }
    picture_free(held);
    return ok;
}

/* The line as it is played: one that is the same as an earlier one becomes that. */
static void add_line(struct replay *replay, json_t *json)
{
    const json_t *again = json_object_get(json, "again");
    for (int line = replay->count - 1; again && line >= 0; line--) {
        const json_t *request = json_object_get(at(replay, line, "picture"), "request");
        if (request &&
            json_integer_value(json_object_get(request, "kind")) == json_integer_value(again)) {
            json = replay->lines[line];
            break;
        }
    }
    ARRAY_PUSH(replay->lines, replay->count, replay->capacity, json_incref(json));
}

static bool read_lines(struct replay *replay, FILE *file, const char *path, struct status *status)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool ok = true, first = true;
    for (int number = 1; ok && (length = getline(&line, &room, file)) > 0; number++) {
        json_error_t error;
        json_t *json = json_loadb(line, (size_t)length, 0, &error);
        const char *format = json_string_value(json_object_get(json, "format"));
        if (!json)
            ok = status_fail(status, STATUS_INVALID, "%s:%d: %s", path, number, error.text);
        else if (!first)
            add_line(replay, json);
        else if (!format || strcmp(format, "lockstep-recording") != 0)
            ok = status_fail(status, STATUS_INVALID, "%s: not a recording of a session", path);
        else if (json_integer_value(json_object_get(json, "version")) != RECORDING_VERSION)
            ok =
                status_fail(status, STATUS_UNSUPPORTED, "%s: a recording of another version", path);
        first = false;
        json_decref(json);
    }
    free(line);
    if (ok && first)
        return status_fail(status, STATUS_INVALID, "%s: not a recording of a session", path);
    return ok && check_lines(replay, path, status);
}

/* ---- playing ---- */

/* What is completed: the names of the program whose picture comes next. */
static struct words *words_from(const struct replay *replay, int line)
{
    struct status ignored = STATUS_NONE;
    struct words *words = memory_zeroed(1, sizeof(*words));
    const json_t *json = NULL;
    atomic_init(&words->holders, 1);
    while (line < replay->count && !json_object_get(json, "program"))
        json = at(replay, line++, "picture");
    struct picture *picture =
        json_object_get(json, "program") ? picture_read(json, &ignored) : NULL;
    const struct program_picture *program = picture ? picture->program : NULL;
    for (int i = 0; program && i < program->instruction_count; i++) {
        const struct picture_instruction *in = &program->instructions[i];
        char *path = memory_format("%s.%s", in->layer, in->part);
        if (in->layer[0] && in->part[0])
            names_set(&words->layers, path, i);
        if (in->layer[0])
            names_set(&words->layers, in->layer, i);
        if (in->part[0])
            names_set(&words->layers, in->part, i);
        free(path);
    }
    for (int v = 0; program && v < program->value_count; v++)
        if (program->values[v].named)
            names_set(&words->tensors, program->values[v].name, v);
    picture_free(picture);
    return words;
}

static void play_snapshot(struct replay *replay, const json_t *json)
{
    struct snapshot facts = {0};
    struct status ignored = STATUS_NONE;
    fields_read(json, snapshot_fields, &facts, &ignored);
    replay->sink.publish(replay->sink.context, snapshot_of(&facts));
}

/* Up to the end of the command, or to the next one. Gives its last line, -1 if it has none. */
static int play(struct replay *replay)
{
    while (replay->next < replay->count && !at(replay, replay->next, "command")) {
        int line = replay->next++;
        const json_t *event = at(replay, line, "event"), *snapshot = at(replay, line, "snapshot");
        if (at(replay, line, "done"))
            return line;
        if (at(replay, line, "loaded"))
            replay->sink.loaded(replay->sink.context, words_from(replay, line));
        if (event && json_integer_value(event) < EVENT_DONE)
            /* EVENT_CHANGED comes with each snapshot */
            replay->sink.emit(replay->sink.context, (enum event_kind)json_integer_value(event),
                              text_at(replay, line, "text"));
        if (snapshot)
            play_snapshot(replay, snapshot);
    }
    return -1;
}

static void start(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    struct replay *replay = state;
    (void)options;
    replay->sink = *sink;
    play(replay);
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct replay *replay = state;
    while (replay->next < replay->count && !at(replay, replay->next, "command"))
        replay->next++; /* pictures that nobody asked for again */
    const char *expected = text_at(replay, replay->next, "command");
    if (!expected)
        return status_fail(status, STATUS_INVALID, "the recording ends here");
    if (strcmp(expected, line) != 0)
        return status_fail(status, STATUS_INVALID, "the recording goes on with \"%s\"", expected);
    replay->next++;
    int last = play(replay);
    const char *error = text_at(replay, last < 0 ? replay->count : last, "error");
    if (last < 0)
        return status_fail(status, STATUS_INVALID, "the recording ends inside of this command");
    *quit = json_is_true(at(replay, last, "quit"));
    return json_is_true(at(replay, last, "done")) ||
           status_fail(status, (enum status_code)json_integer_value(at(replay, last, "code")), "%s",
                       error ? error : "");
}

/* How well a picture answers a request: 0 not at all. */
static int fitness(const struct picture_request *request, const struct picture_request *found)
{
    if (request->kind != found->kind)
        return 0;
    bool same = request->step == found->step && request->at == found->at;
    if (request->kind != PICTURE_TENSOR)
        return same ? 2 : 1;
    if (request->value != found->value)
        return 0;
    bool window = request->plane == found->plane && request->row == found->row &&
                  request->column == found->column && request->rows == found->rows &&
                  request->columns == found->columns;
    bool parts = request->heat_side == found->heat_side && request->heat_rows == found->heat_rows &&
                 request->heat_columns == found->heat_columns && request->bins == found->bins &&
                 (request->quick || !found->quick);
    return 1 + window + parts;
}

static struct picture *take(void *state, const struct picture_request *request)
{
    struct replay *replay = state;
    const json_t *best = NULL;
    int most = 0, line = replay->next;
    struct status ignored = STATUS_NONE;
    while (line < replay->count && !at(replay, line, "command"))
        line++;
    while (--line >= 0 && !(most > 0 && at(replay, line, "command"))) {
        struct picture_request found = {0};
        const json_t *json = json_object_get(at(replay, line, "picture"), "request");
        if (!json || !fields_read(json, request_fields, &found, &ignored))
            continue;
        int fits = fitness(request, &found);
        if (fits > most) {
            most = fits;
            best = at(replay, line, "picture");
        }
    }
    struct picture *picture = best ? picture_read(best, &ignored) : NULL;
    if (!picture) {
        picture = memory_zeroed(1, sizeof(*picture));
        picture->request = *request;
    }
    return picture;
}

static void end(void *state)
{
    struct replay *replay = state;
    for (int i = 0; i < replay->count; i++)
        json_decref(replay->lines[i]);
    free(replay->lines);
    free(replay);
}

bool replay_open(const char *path, struct session_engine *engine, struct status *status)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    struct replay *replay = memory_zeroed(1, sizeof(*replay));
    bool ok = read_lines(replay, file, path, status);
    fclose(file);
    *engine = (struct session_engine){
        .state = replay, .start = start, .execute = execute, .picture = take, .free = end};
    if (!ok) {
        end(replay);
        *engine = (struct session_engine){0};
    }
    return ok;
}
