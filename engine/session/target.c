#include "engine/session/target.h"

#include "engine/base/memory.h"
#include "engine/program/faults.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "llama/basic/bf4", the name of a test, means the run "llama/bf4". */
static char *run_name(const char *name)
{
    const char *first = strchr(name, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    for (int group = 0; second && group < GROUP_COUNT; group++) {
        const char *word = test_group_name(group);
        size_t length = strlen(word);
        if ((size_t)(second - first - 1) == length && strncmp(first + 1, word, length) == 0)
            return memory_format("%.*s%s", (int)(first - name), name, second);
    }
    return memory_string(name);
}

static bool is_folder(const char *path)
{
    struct stat information;
    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

static bool load_reference_config(struct target *target, const struct target_request *request,
                                  const char *variant, struct status *status)
{
    char *name = strchr(variant, '/') ? run_name(variant)
                                      : memory_format("%s/%s", target->test->model, variant);
    target->reference = config_load(request->search, name, status);
    target->reference_name = name;
    return target->reference != NULL;
}

/* Which tolerance table compares the two sides. */
static const char *table_of(const struct target *target, const char *default_reference)
{
    const struct config *test = target->test, *reference = target->reference;
    const char *own = target->variant->tolerances;
    if (reference && strcmp(test->name, reference->name) == 0)
        return "layer_match";
    /* That table ignores layers, since traces of the two have other names. Runs are matched value
     * by value, micro-sequences with their rows. */
    if (reference && own && strcmp(own, "layer_mismatch") == 0)
        own = "layer_match";
    if (own && reference && default_reference && strcmp(reference->variant, default_reference) == 0)
        return own;
    enum precision precision = test->distributed.compute_dtype;
    bool same = reference && reference->distributed.compute_dtype == precision;
    if (!same && precision != PRECISION_FP32)
        return precision == PRECISION_BF16 ? "bf16" : "fp16";
    return own ? own : "layer_match";
}

static bool load_tolerances(struct target *target, const struct target_request *request,
                            struct status *status)
{
    const char *table = table_of(target, target->variant->compares_with);
    const char *column = strcmp(device_name(request->device), "cuda") == 0 ? "cuda" : "cpu";
    target->tolerances = tolerances_load(request->search, table, column, status);
    if (!target->tolerances)
        return false;
    tolerances_rescale(target->tolerances,
                       target->variant->compare_factor * target->test->compare_factor);
    return true;
}

static bool load_configs(struct target *target, const struct target_request *request,
                         struct status *status)
{
    target->test = config_load(request->search, target->name, status);
    target->variant =
        target->test ? variant_load(request->search, target->test->variant, status) : NULL;
    if (!target->variant)
        return false;
    if (request->against && is_folder(request->against)) {
        target->reference_name = memory_string(request->against);
        target->trace = trace_open(request->against, status);
        return target->trace && load_tolerances(target, request, status);
    }
    const char *against = request->against ? request->against : target->variant->compares_with;
    if (!against)
        against = target->test->variant;
    return load_reference_config(target, request, against, status) &&
           load_tolerances(target, request, status);
}

static bool create_pair(struct target *target, const struct target_request *request,
                        struct status *status)
{
    struct pair_options options = {.test = target->test,
                                   .reference = target->reference,
                                   .trace = target->trace,
                                   .tolerances = target->tolerances,
                                   .device = request->device,
                                   .comm = request->comm,
                                   .keep_limit = request->keep_limit,
                                   .inner_values = true,
                                   .threads = request->threads};
    options.test_options.keep_points = options.reference_options.keep_points = true;
    options.test_options.points_limit = options.reference_options.points_limit =
        request->keep_limit > 0 ? request->keep_limit / 4 : 0;
    if (target->fault) {
        options.test_options.change = faults_change;
        options.test_options.change_context = target->fault;
    }
    target->pair = pair_create(&options, status);
    if (!target->pair)
        return false;
    target->interrupt = request->interrupt;
    target->pair->interrupt = target->interrupt.asked ? &target->interrupt : NULL;
    return true;
}

struct target *target_load(const struct target_request *request, struct status *status)
{
    struct target *target = memory_zeroed(1, sizeof(*target));
    target->name = run_name(request->run);
    target->fault = memory_string(request->fault);
    if (load_configs(target, request, status) && create_pair(target, request, status))
        return target;
    target_free(target);
    return NULL;
}

void target_free(struct target *target)
{
    if (!target)
        return;
    pair_free(target->pair);
    tolerances_free(target->tolerances);
    trace_close(target->trace);
    variant_free(target->variant);
    config_free(target->reference);
    config_free(target->test);
    free(target->name);
    free(target->reference_name);
    free(target->fault);
    free(target);
}
