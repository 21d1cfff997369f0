/* The longest stretches in which a debugging session does not look whether it is to stop, in
 * processor time, for each command of a session: what an interrupt has to wait for at most. Nothing
 * is stopped, so that every stretch is seen, once. With one thread: what several share is shorter.
 * Prints a JSON object for each command, with the place of its longest stretch.
 * Usage: lockstep_bench_stretches MODEL/VARIANT LIMIT COMMANDS [KEY=VALUE...]
 * COMMANDS are separated by ';'. Stretches of more than LIMIT milliseconds are counted. */
#include "bench/figures.h"
#include "engine/base/memory.h"
#include "engine/session/debugger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct meter {
    struct debugger *debugger;
    double limit, last, longest; /* seconds of the processor */
    int64_t looks;
    int over;
    char place[300]; /* of the longest */
};

static void note_place(struct meter *meter)
{
    const struct debugger *debugger = meter->debugger;
    snprintf(meter->place, sizeof(meter->place), "loading");
    if (!debugger || !debugger->target)
        return;
    const struct run *run = debugger->target->pair->test;
    char text[200] = "end of step";
    if (run_next(run) < run->program->instruction_count)
        program_instruction_text(run->program, run_next(run), text, sizeof(text));
    snprintf(meter->place, sizeof(meter->place), "%d:%d %s", run->step + 1, run_next(run), text);
}

static bool look(void *context)
{
    struct meter *meter = context;
    double now = processor_now(), seconds = now - meter->last;
    meter->looks++;
    meter->over += seconds > meter->limit;
    if (seconds > meter->longest) {
        meter->longest = seconds;
        note_place(meter);
    }
    meter->last = processor_now();
    return false;
}

static void emit(void *context, enum event_kind kind, const char *text)
{
    (void)context;
    if (kind == EVENT_ERROR)
        fprintf(stderr, "%s\n", text);
}

static void publish(void *context, struct snapshot *snapshot)
{
    const struct snapshot *taken = snapshot;
    (void)context;
    snapshot_release(&taken);
}

static void loaded(void *context, struct words *words)
{
    (void)context;
    words_release(words);
}

static bool measure(struct meter *meter, const char *command)
{
    struct status status = STATUS_NONE;
    double start = processor_now();
    meter->longest = meter->looks = meter->over = 0;
    meter->last = start;
    bool ok = debugger_execute(meter->debugger, command, &status);
    look(meter);
    printf("{\"command\": \"%s\", \"seconds\": %.2f, \"looks\": %lld, \"longest_ms\": %.2f, "
           "\"over\": %d, \"place\": \"%s\"}\n",
           command, processor_now() - start, (long long)meter->looks, 1e3 * meter->longest,
           meter->over, meter->place);
    fflush(stdout);
    if (!ok)
        fprintf(stderr, "%s: %s\n", command, status.text);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL/VARIANT LIMIT COMMANDS [KEY=VALUE...]\n", argv[0]);
        return 2;
    }
    struct session_options options = {
        .search = {.overrides = (const char *const *)argv + 4, .override_count = argc - 4},
        .device = "cpu",
        .threads = 1,
        .keep_limit = -1};
    struct meter meter = {.limit = 1e-3 * atof(argv[2])};
    struct debugger_sink sink = {
        .context = &meter, .emit = emit, .cancelled = look, .publish = publish, .loaded = loaded};
    meter.debugger = debugger_create(&options, &sink);
    char *first = memory_format("file %s", argv[1]), *rest = NULL;
    bool ok = measure(&meter, first);
    for (char *command = strtok_r(argv[3], ";", &rest); command;
         command = strtok_r(NULL, ";", &rest))
        ok = measure(&meter, command);
    free(first);
    debugger_free(meter.debugger);
    return ok ? 0 : 1;
}
