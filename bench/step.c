/* Time of training steps of one configuration, alone and while a sampled trace of everything is
 * recorded, and planned against used memory. Prints one JSON object.
 * Usage: lockstep_bench_step MODEL[/VARIANT] STEPS THREADS TRACE_DIRECTORY [KEY=VALUE...]
 * "cuda" instead of a number of threads measures on the GPU; "queued" is then the part of a step
 * that the host takes to queue it. */
#include "bench/figures.h"

#include "app/record.h"

#include "engine/base/memory.h"
#include "engine/train/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct bench {
    struct run *run;
    struct recorder *recorder; /* of the step, as of `lockstep run --trace`; NULL: it stays alone */
    double *seconds, *queued;  /* [steps] */
};

static bool one_step(struct bench *bench, int step, struct status *status)
{
    struct run *run = bench->run;
    double start = now();
    do {
        bench->queued[step] = now() - start; /* at the last instruction, whose end is waited for */
        if (!run_one(run, status))
            return false;
        if (bench->recorder && !recorder_take(bench->recorder, run, status))
            return false;
    } while (run_next(run) < run->program->instruction_count);
    if (bench->recorder && !recorder_finish_step(bench->recorder, run, status))
        return false;
    bool ok = device_synchronize(run->device, status);
    bench->seconds[step] = now() - start;
    return ok;
}

/* Even steps alone, odd steps recorded, so that both meet the same noise. */
static bool all_steps(struct bench *bench, struct recorder *recorder, struct status *status)
{
    for (int step = 0; step < bench->run->steps; step++) {
        bench->recorder = step % 2 ? recorder : NULL;
        if (!one_step(bench, step, status))
            return false;
    }
    return true;
}

static void report(const struct bench *bench, struct device *device, double create)
{
    int steps = bench->run->steps, half = (steps - 2) / 2;
    double *alone = memory_zeroed((size_t)half + 1, sizeof(double));
    double *recorded = memory_zeroed((size_t)half + 1, sizeof(double));
    double *queued = memory_zeroed((size_t)half + 1, sizeof(double));
    for (int i = 0; i < half; i++) { /* the first two are warm-up */
        alone[i] = bench->seconds[2 + 2 * i];
        recorded[i] = bench->seconds[3 + 2 * i];
        queued[i] = bench->queued[2 + 2 * i];
    }
    struct device_memory memory;
    device_memory(device, &memory);
    printf("{\"run\": \"%s\", \"create\": %.4f, \"step\": %.5f, \"recorded_step\": %.5f, "
           "\"queued\": %.5f, \"instructions\": %d, \"tokens\": %" PRId64 ", "
           "\"planned\": %" PRId64 ", \"peak\": %" PRId64 "}\n",
           bench->run->config->name, create, sort_median(alone, half), sort_median(recorded, half),
           sort_median(queued, half), bench->run->program->instruction_count,
           bench->run->reports[0].tokens, memory_plan_total(bench->run->executor->plan),
           memory.peak_total);
    free(queued);
    free(alone);
    free(recorded);
}

static bool run_bench(const struct config *config, struct device *device, const char *directory,
                      struct status *status)
{
    struct comm *comm = comm_self();
    struct recorder_options what = {.directory = directory};
    double start = now();
    struct bench bench = {.run =
                              run_create(config, device, comm, &(struct run_options){0}, status)};
    double create = now() - start;
    struct recorder *recorder = bench.run ? recorder_create(bench.run, &what, status) : NULL;
    bench.seconds = memory_zeroed((size_t)config->train_iterations, sizeof(double));
    bench.queued = memory_zeroed((size_t)config->train_iterations, sizeof(double));
    bool ok = recorder && all_steps(&bench, recorder, status);
    if (ok)
        report(&bench, device, create);
    ok = recorder_finish(recorder, ok, status);
    free(bench.seconds);
    free(bench.queued);
    run_free(bench.run);
    comm_close(comm);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr,
                "usage: %s MODEL[/VARIANT] STEPS THREADS|cuda TRACE_DIRECTORY [KEY=VALUE...]\n",
                argv[0]);
        return 2;
    }
    const char *overrides[32];
    int count = 0;
    char *steps = memory_format("training.train_iters=%d", atoi(argv[2]) < 6 ? 6 : atoi(argv[2]));
    for (int i = 5; i < argc && count < 31; i++)
        overrides[count++] = argv[i];
    overrides[count++] = steps;
    struct config_search search = {NULL, 0, overrides, count};
    struct status status = STATUS_NONE;
    struct config *config = config_load(&search, argv[1], &status);
    struct device_options options = {.threads = atoi(argv[3])};
    const char *name = options.threads > 0 ? "cpu" : argv[3];
    struct device *device = config ? device_open(name, &options, &status) : NULL;
    bool ok = device && run_bench(config, device, argv[4], &status);
    if (!ok)
        fprintf(stderr, "%s\n", status.text);
    device_close(device);
    config_free(config);
    free(steps);
    return !ok;
}
