/* Time of training steps of one configuration, alone and while a sampled trace of everything is
 * recorded, and planned against used memory. Prints one JSON object.
 * Usage: lockstep_bench_step MODEL[/VARIANT] STEPS THREADS TRACE_DIRECTORY [KEY=VALUE...]
 * "cuda" instead of a number of threads measures on the GPU; "queued" is then the part of a step
 * that the host takes to queue it. */
#include "bench/figures.h"

#include "engine/base/memory.h"
#include "engine/trace/trace.h"
#include "engine/train/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct bench {
    struct run *run;
    struct trace_writer *writer;     /* NULL: nothing is recorded */
    struct trace_gatherer *gatherer; /* NULL: values are in the host's memory */
    double *seconds, *queued;        /* [steps] */
};

static bool record(struct bench *bench, const struct instruction *done, struct status *status)
{
    for (int k = 0; k < done->output_count; k++) {
        const struct value *value = &bench->run->program->values[done->outputs[k]];
        if (!value->name[0] || !dtype_is_float(value->dtype))
            continue;
        struct tensor tensor = executor_tensor(bench->run->executor, value->id);
        if (bench->gatherer) {
            if (!trace_gather(bench->gatherer, value->name, &tensor, status))
                return false;
            continue;
        }
        bool (*add)(struct trace_writer *, const char *, const struct tensor *, struct status *) =
            value->log_point ? trace_add : trace_add_samples;
        if (!add(bench->writer, value->name, &tensor, status))
            return false;
    }
    return true;
}

static bool one_step(struct bench *bench, int step, struct status *status)
{
    struct run *run = bench->run;
    char name[32];
    double start = now();
    do {
        bench->queued[step] = now() - start; /* at the last instruction, whose end is waited for */
        if (!run_one(run, status))
            return false;
        if (bench->writer && !record(bench, &run->program->instructions[run_next(run) - 1], status))
            return false;
    } while (run_next(run) < run->program->instruction_count);
    if (bench->writer && bench->gatherer && !trace_gather_finish(bench->gatherer, status))
        return false;
    if (bench->writer && !trace_finish_step(bench->writer, run_step_name(step, name), status))
        return false;
    bool ok = device_synchronize(run->device, status);
    bench->seconds[step] = now() - start;
    return ok;
}

/* Even steps alone, odd steps recorded, so that both meet the same noise. */
static bool all_steps(struct bench *bench, struct trace_writer *writer, struct status *status)
{
    for (int step = 0; step < bench->run->steps; step++) {
        bench->writer = step % 2 ? writer : NULL;
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
    struct trace_description what = {.run = config->name};
    double start = now();
    struct bench bench = {.run =
                              run_create(config, device, comm, &(struct run_options){0}, status)};
    double create = now() - start;
    struct trace_writer *writer = bench.run ? trace_create(directory, &what, status) : NULL;
    bench.seconds = memory_zeroed((size_t)config->train_iterations, sizeof(double));
    bench.queued = memory_zeroed((size_t)config->train_iterations, sizeof(double));
    bench.gatherer = writer ? trace_gatherer_create(writer, device) : NULL;
    bool ok = writer && all_steps(&bench, writer, status);
    if (ok)
        report(&bench, device, create);
    trace_gatherer_free(bench.gatherer);
    if (ok)
        ok = trace_finish(writer, status);
    else if (writer)
        trace_abandon(writer);
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
