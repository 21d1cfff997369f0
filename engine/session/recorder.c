#include "engine/session/recorder.h"

#include "engine/base/memory.h"
#include "engine/session/picture_fields.h"
#include "engine/session/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recorder {
    struct session_engine inner;
    struct debugger_sink outer; /* the session's */
    struct debugger_sink sink;  /* ours, for the inner engine */
    FILE *file;
    struct text line;
    struct text last[PICTURE_KIND_COUNT]; /* the newest line of each kind of picture */
    bool failed;                          /* told already */
};

/* Writes the line as it is so far, and empties it. */
static void write_line(struct recorder *recorder)
{
    text_add(&recorder->line, "\n");
    bool ok = fwrite(recorder->line.data, 1, recorder->line.length, recorder->file) ==
              recorder->line.length;
    text_clear(&recorder->line);
    if (ok || recorder->failed)
        return;
    recorder->failed = true;
    char *message = memory_format("the recording ends here: %s", strerror(errno));
    recorder->outer.emit(recorder->outer.context, EVENT_MESSAGE, message);
    free(message);
}

/* {"name":"text"; the object stays open. */
static void begin_line(struct recorder *recorder, const char *name, const char *text)
{
    text_format(&recorder->line, "{\"%s\":", name);
    fields_write_text(&recorder->line, text);
}

static void on_emit(void *context, enum event_kind kind, const char *text)
{
    struct recorder *recorder = context;
    text_format(&recorder->line, "{\"event\":%d", (int)kind);
    if (text) {
        text_add(&recorder->line, ",\"text\":");
        fields_write_text(&recorder->line, text);
    }
    text_add(&recorder->line, "}");
    write_line(recorder);
    recorder->outer.emit(recorder->outer.context, kind, text);
}

static bool on_cancelled(void *context)
{
    struct recorder *recorder = context;
    return recorder->outer.cancelled(recorder->outer.context);
}

static bool on_unwanted(void *context)
{
    struct recorder *recorder = context;
    return recorder->outer.unwanted(recorder->outer.context);
}

static bool on_shell(void *context, const char *command, struct status *status)
{
    struct recorder *recorder = context;
    return recorder->outer.shell(recorder->outer.context, command, status);
}

static void on_publish(void *context, struct snapshot *snapshot)
{
    struct recorder *recorder = context;
    text_add(&recorder->line, "{\"snapshot\":");
    fields_write(&recorder->line, snapshot_fields, snapshot);
    text_add(&recorder->line, "}");
    write_line(recorder);
    recorder->outer.publish(recorder->outer.context, snapshot);
}

static void on_loaded(void *context, struct words *words)
{
    struct recorder *recorder = context;
    text_add(&recorder->line, "{\"loaded\":true}");
    write_line(recorder);
    recorder->outer.loaded(recorder->outer.context, words);
}

static void start(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    struct recorder *recorder = state;
    recorder->outer = *sink;
    recorder->sink = *sink;
    recorder->sink.context = recorder;
    recorder->sink.emit = on_emit;
    recorder->sink.cancelled = on_cancelled;
    recorder->sink.unwanted = recorder->outer.unwanted ? on_unwanted : NULL;
    recorder->sink.shell = recorder->outer.shell ? on_shell : NULL;
    recorder->sink.publish = on_publish;
    recorder->sink.loaded = on_loaded;
    recorder->inner.start(recorder->inner.state, options, &recorder->sink);
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct recorder *recorder = state;
    begin_line(recorder, "command", line);
    text_add(&recorder->line, "}");
    write_line(recorder);
    bool ok = recorder->inner.execute(recorder->inner.state, line, quit, status);
    text_format(&recorder->line, "{\"done\":%s%s", ok ? "true" : "false",
                *quit ? ",\"quit\":true" : "");
    if (!ok) {
        text_format(&recorder->line, ",\"code\":%d,\"error\":", (int)status->code);
        fields_write_text(&recorder->line, status->text);
    }
    text_add(&recorder->line, "}");
    write_line(recorder);
    return ok;
}

static struct picture *take(void *state, const struct picture_request *request)
{
    struct recorder *recorder = state;
    struct picture *picture = recorder->inner.picture(recorder->inner.state, request);
    struct text *line = &recorder->line, *last = &recorder->last[request->kind];
    text_add(line, "{\"picture\":");
    picture_write(line, picture);
    text_add(line, "}");
    if (last->data && strcmp(last->data, line->data) == 0) {
        text_clear(line);
        text_format(line, "{\"again\":%d}", (int)request->kind);
    } else {
        text_clear(last);
        text_add(last, line->data);
    }
    write_line(recorder);
    return picture;
}

static void end(void *state)
{
    struct recorder *recorder = state;
    recorder->inner.free(recorder->inner.state);
    fclose(recorder->file);
    text_free(&recorder->line);
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++)
        text_free(&recorder->last[kind]);
    free(recorder);
}

bool recorder_open(const char *path, struct session_engine *engine, struct status *status)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    struct recorder *recorder = memory_zeroed(1, sizeof(*recorder));
    recorder->inner = *engine;
    recorder->file = file;
    fprintf(file, "{\"format\":\"lockstep-recording\",\"version\":%d}\n", RECORDING_VERSION);
    *engine = (struct session_engine){
        .state = recorder, .start = start, .execute = execute, .picture = take, .free = end};
    return true;
}
