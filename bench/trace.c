/* How long a trace of many tensors takes to open, and what memory it takes:
 *   lockstep_bench_trace FOLDER [TENSORS [STEPS]]
 * writes a sampled trace there if there is none, opens it a few times, each in a process of its
 * own, and prints one JSON object. Times are user + system time: they mean something on a machine
 * that does other things too. */
#include "bench/figures.h"
#include "bench/synthetic_name.h"

#include "engine/base/memory.h"
#include "engine/trace/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 7 };

static bool write_trace(const char *folder, int tensors, int steps, struct status *status)
{
    float numbers[4] = {1, 2, 3, 4};
    struct tensor tensor = tensor_of(numbers, DTYPE_F32, shape_of2(2, 2));
    struct trace_description what = {.run = "made-up"};
    struct trace_writer *writer = trace_create(folder, &what, status);
    bool ok = writer != NULL;
    for (int step = 0; ok && step < steps; step++) {
        char name[32];
        int count = tensors / steps;
        snprintf(name, sizeof(name), "train_%d", step + 1);
        for (int i = 0; ok && i < count; i++) {
            char *tensor_name = synthetic_name(i);
            ok = trace_add_samples(writer, tensor_name, &tensor, status);
            free(tensor_name);
        }
        ok = ok && trace_finish_step(writer, name, status);
    }
    if (ok)
        return trace_finish(writer, status);
    if (writer)
        trace_abandon(writer);
    return false;
}

/* What one opening took. */
struct opening {
    double wall, cpu;
    double megabytes; /* resident more than before, while it is open */
    int tensors;
};

static bool open_once(const char *folder, struct opening *opening, struct status *status)
{
    double start = now(), before = processor_now(), there = resident_of(getpid());
    struct trace *trace = trace_open(folder, status);
    if (!trace)
        return false;
    opening->wall = now() - start;
    opening->cpu = processor_now() - before;
    opening->megabytes = resident_of(getpid()) - there;
    for (int i = 0; i < trace->step_count; i++)
        opening->tensors += trace->steps[i].count;
    trace_close(trace);
    return true;
}

/* In a process of its own, so that memory is counted from nothing. */
static bool open_apart(const char *folder, struct opening *opening)
{
    int ends[2], code = 1;
    if (pipe(ends) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        struct status status = STATUS_NONE;
        struct opening mine = {0};
        bool ok = open_once(folder, &mine, &status) &&
                  write(ends[1], &mine, sizeof(mine)) == sizeof(mine);
        if (!ok)
            fprintf(stderr, "%s\n", status.text);
        _exit(!ok);
    }
    close(ends[1]);
    bool ok = read(ends[0], opening, sizeof(*opening)) == sizeof(*opening);
    close(ends[0]);
    return waitpid(child, &code, 0) == child && code == 0 && ok;
}

int main(int count, char **words)
{
    struct status status = STATUS_NONE;
    int tensors = count > 2 ? atoi(words[2]) : 1000000, steps = count > 3 ? atoi(words[3]) : 1;
    char *manifest = memory_format("%s/manifest.json", count > 1 ? words[1] : "");
    bool there = access(manifest, R_OK) == 0;
    free(manifest);
    if (count < 2 || tensors < 1 || steps < 1 ||
        (!there && !write_trace(words[1], tensors, steps, &status))) {
        fprintf(stderr, "usage: lockstep_bench_trace FOLDER [TENSORS [STEPS]]   %s\n", status.text);
        return 2;
    }
    struct opening best = {.wall = 1e9, .cpu = 1e9};
    for (int i = 0; i < ROUNDS; i++) {
        struct opening one;
        if (!open_apart(words[1], &one))
            return 1;
        best.tensors = one.tensors;
        best.wall = one.wall < best.wall ? one.wall : best.wall;
        best.cpu = one.cpu < best.cpu ? one.cpu : best.cpu;
        best.megabytes = one.megabytes > best.megabytes ? one.megabytes : best.megabytes;
    }
    printf("{\"tensors\": %d, \"wall_s\": %.4f, \"cpu_s\": %.4f, \"resident_mib\": %.1f}\n",
           best.tensors, best.wall, best.cpu, best.megabytes);
    return 0;
}
