#include "helper_debugger.h"

#include "engine/base/memory.h"
#include "tests/unit/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char *const tiny_overrides[] = {TINY_MODEL};
const int tiny_override_count = ARRAY_LENGTH(tiny_overrides);

static void emit(void *context, enum event_kind kind, const char *text)
{
    struct bench *bench = context;
    if (kind == EVENT_OUTPUT || kind == EVENT_MESSAGE)
        text_add(&bench->output, text);
    if (kind == EVENT_STOPPED) {
        bench->stops++;
        snprintf(bench->reason, sizeof(bench->reason), "%s", text);
    }
}

static bool cancelled(void *context)
{
    struct bench *bench = context;
    int left = atomic_load(&bench->cancel_after);
    return left == 0 || (left > 0 && atomic_fetch_sub(&bench->cancel_after, 1) <= 1);
}

static void publish(void *context, struct snapshot *snapshot)
{
    (void)context;
    const struct snapshot *given = snapshot;
    snapshot_release(&given);
}

static void loaded(void *context, struct words *words)
{
    (void)context;
    words_release(words);
}

void bench_open(struct bench *bench)
{
    *bench = (struct bench){.cancel_after = -1};
    struct session_options options = {
        .search = {.overrides = tiny_overrides, .override_count = tiny_override_count},
        .device = "cpu",
        .threads = 1,
        .keep_limit = -1};
    bench->printed = rank_output_create(NULL);
    struct debugger_sink sink = {.context = bench,
                                 .emit = emit,
                                 .cancelled = cancelled,
                                 .publish = publish,
                                 .loaded = loaded,
                                 .output = bench->printed,
                                 .unwanted = cancelled};
    bench->debugger = debugger_create(&options, &sink);
}

void bench_close(struct bench *bench)
{
    debugger_free(bench->debugger);
    rank_output_free(bench->printed);
    text_free(&bench->output);
}

const char *bench_do(struct bench *bench, const char *line)
{
    text_clear(&bench->output);
    bench->status = STATUS_NONE;
    if (!debugger_execute(bench->debugger, line, &bench->status))
        fail_msg("%s: %s", line, bench->status.text);
    return bench->output.data ? bench->output.data : "";
}

const char *bench_fail(struct bench *bench, const char *line)
{
    text_clear(&bench->output);
    bench->status = STATUS_NONE;
    if (debugger_execute(bench->debugger, line, &bench->status))
        fail_msg("%s: worked, but must fail", line);
    return bench->status.text;
}

void must_contain(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in:\n%s", part, text);
}

static uint64_t hash_run(const struct run *run, int *count)
{
    uint64_t hash = 0;
    for (int v = 0; v < run->program->value_count; v++) {
        if (!executor_holds(run->executor, v))
            continue;
        size_t bytes = value_bytes(&run->program->values[v]);
        char *data = memory_zeroed(bytes, 1);
        struct status status = STATUS_NONE;
        assert_true(executor_read(run->executor, v, data, &status));
        hash = hash * 31 + hash_bytes(data, bytes);
        free(data);
        (*count)++;
    }
    return hash;
}

uint64_t bench_hash(const struct bench *bench, int *count)
{
    *count = 0;
    return hash_run(bench->debugger->target->pair->test, count);
}

void bench_open_run(struct bench *bench, const char *file)
{
    bench_open(bench);
    bench_do(bench, file);
}

int64_t bench_position(const struct bench *bench)
{
    return debugger_position(bench->debugger);
}

const struct origin *bench_origin(const struct bench *bench, int64_t at)
{
    const struct program *program = debugger_program(bench->debugger);
    return &program->instructions[at % program->instruction_count].origin;
}
