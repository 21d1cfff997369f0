/* The longest stretches in which a debugging session does not look whether it is to stop, in
 * processor time, for each command of a session: what an interrupt has to wait for at most. Nothing
 * is stopped, so that every stretch is seen, once. With one thread: what several share is shorter.
 * Prints a JSON object for each command, with the place of its longest stretch.
 * Usage: lockstep_bench_stretches MODEL/VARIANT LIMIT COMMANDS [KEY=VALUE...]
 * COMMANDS are separated by ';'. "@tensor NAME", "@state", "@memory" and so on take the picture
 * that a screen shows. Stretches of more than LIMIT milliseconds are counted. */
#include "bench/figures.h"
#include "engine/base/memory.h"
#include "engine/session/debugger.h"
#include "engine/session/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct meter {
    struct debugger *debugger;
    double limit, last, longest; /* seconds of the processor */
    int64_t looks;
    int over;
    struct rusage used; /* up to the last look */
    char place[300];    /* of the longest; what the system had of it, and for how many pages */
    double system;
    int64_t faults;
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

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

/* In a virtual machine one page of memory that its host has to bring can take 40 ms. */
static void note_system(struct meter *meter, const struct rusage *now)
{
    meter->system = seconds_of(now->ru_stime) - seconds_of(meter->used.ru_stime);
    meter->faults = now->ru_minflt - meter->used.ru_minflt;
}

static bool look(void *context)
{
    struct meter *meter = context;
    double now = processor_now(), seconds = now - meter->last;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    meter->looks++;
    meter->over += seconds > meter->limit;
    if (seconds > meter->longest) {
        meter->longest = seconds;
        note_place(meter);
        note_system(meter, &used);
    }
    meter->used = used;
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

static bool take_picture(struct debugger *debugger, const char *what, struct status *status)
{
    static const char *const kinds[] = {"program", "state", "tensor", "memory", "metrics", "ranks"};
    struct picture_request request = {.step = -1,
                                      .value = -1,
                                      .at = -1,
                                      .rows = 20,
                                      .columns = 10,
                                      .heat_rows = 40,
                                      .heat_columns = 80,
                                      .bins = 40};
    size_t length = strcspn(what, " ");
    const char *name = what + length + strspn(what + length, " ");
    int kind = 0;
    while (kind < ARRAY_LENGTH(kinds) && strncmp(kinds[kind], what, length) != 0)
        kind++;
    if (kind == ARRAY_LENGTH(kinds) || !debugger->target)
        return status_fail(status, STATUS_INVALID, "no picture %s", what);
    request.kind = (enum picture_kind)kind;
    const struct program *program = debugger_program(debugger);
    for (int v = 0; name[0] && v < program->value_count; v++)
        if (program->values[v].name && strcmp(program->values[v].name, name) == 0)
            request.value = v;
    picture_free(picture_take(debugger, &request));
    return true;
}

static bool measure(struct meter *meter, const char *command)
{
    struct status status = STATUS_NONE;
    double start = processor_now();
    meter->longest = meter->looks = meter->over = 0;
    meter->last = start;
    getrusage(RUSAGE_SELF, &meter->used);
    bool ok = command[0] == '@' ? take_picture(meter->debugger, command + 1, &status)
                                : debugger_execute(meter->debugger, command, &status);
    look(meter);
    printf("{\"command\": \"%s\", \"seconds\": %.2f, \"looks\": %lld, \"longest_ms\": %.2f, "
           "\"system_ms\": %.2f, \"faults\": %lld, \"over\": %d, \"place\": \"%s\"}\n",
           command, processor_now() - start, (long long)meter->looks, 1e3 * meter->longest,
           1e3 * meter->system, (long long)meter->faults, meter->over, meter->place);
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
    struct debugger_sink sink = {.context = &meter,
                                 .emit = emit,
                                 .cancelled = look,
                                 .publish = publish,
                                 .loaded = loaded,
                                 .unwanted = look};
    meter.debugger = debugger_create(&options, &sink);
    char *first = memory_format("file %s", argv[1]), *rest = NULL;
    bool ok = measure(&meter, first);
    for (char *command = strtok_r(argv[3], ";", &rest); command;
         command = strtok_r(NULL, ";", &rest))
        ok &= measure(&meter, command);
    free(first);
    debugger_free(meter.debugger);
    return ok ? 0 : 1;
}
