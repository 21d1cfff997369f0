#include "helper_recorded.h"

#include "engine/program/faults.h"
#include "tests/unit/configs.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts, (void)kind, (void)walk;
    return remove(path);
}

void recorded_open(struct recorded *it)
{
    struct status status = STATUS_NONE;
    *it = (struct recorded){.directory = "/tmp/lockstep_recorded_XXXXXX"};
    assert_non_null(mkdtemp(it->directory));
    it->device = device_open("cpu", &(struct device_options){.threads = 2}, &status);
    it->comm = comm_self();
    assert_non_null(it->device);
}

void recorded_close(struct recorded *it)
{
    nftw(it->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    comm_close(it->comm);
    device_close(it->device);
}

struct run *recorded_run(const struct recorded *it, const struct config *config)
{
    struct status status = STATUS_NONE;
    struct run *run = run_create(config, it->device, it->comm, &(struct run_options){0}, &status);
    if (!run)
        fail_msg("%s", status.text);
    return run;
}

struct pair *recorded_compare(struct recorded *it, const struct config *config, const char *fault)
{
    struct status status = STATUS_NONE;
    it->tolerances = tolerances_load(NULL, "layer_match", "cpu", &status);
    it->trace = trace_open(it->directory, &status);
    struct pair_options options = {.test = config,
                                   .trace = it->trace,
                                   .tolerances = it->tolerances,
                                   .device = it->device,
                                   .comm = it->comm,
                                   .inner_values = true};
    if (fault)
        options.test_options = (struct run_options){.change = faults_change,
                                                    .change_context = (void *)(uintptr_t)fault};
    it->pair = it->trace ? pair_create(&options, &status) : NULL;
    if (!it->pair)
        fail_msg("%s", status.text);
    return it->pair;
}

void recorded_end(struct recorded *it)
{
    pair_free(it->pair);
    trace_close(it->trace);
    tolerances_free(it->tolerances);
}
