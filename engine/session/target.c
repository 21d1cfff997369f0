#include "engine/session/target.h"

#include "engine/base/memory.h"
#include "engine/compare/tables.h"
#include "engine/compare/team.h"
#include "engine/program/faults.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat information;
    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

static bool load_reference_config(struct target *target, const struct target_request *request,
                                  const char *variant, struct status *status)
{
    char *name = strchr(variant, '/') ? memory_string(variant)
                                      : memory_format("%s/%s", target->test->model, variant);
    target->reference = config_load(request->search, name, status);
    if (target->reference) /* of a test's name without the group */
        target->reference_name = memory_string(target->reference->name);
    free(name);
    return target->reference != NULL;
}

/* Which tolerance table compares the two sides. `usual`: the reference is the one that the variant
 * goes back to, which its own table is for. */
static const char *table_of(const struct target *target, bool usual)
{
    const struct config *test = target->test, *reference = target->reference;
    const char *own = table_of_wholes(target->variant->tolerances);
    if (reference && strcmp(test->name, reference->name) == 0)
        return "layer_match";
    if (own && usual)
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
    const struct config *reference = target->reference;
    const char *standard = target->variant->compares_with;
    bool several = target->test->distributed.world_size > 1;
    bool usual = reference && standard &&
                 (strcmp(reference->variant, standard) == 0 || (several && !request->against));
    const char *table = table_of(target, usual);
    const char *column = strcmp(device_name(request->device), "cuda") == 0 ? "cuda" : "cpu";
    target->tolerances = tolerances_load(request->search, table, column, status);
    if (!target->tolerances)
        return false;
    tolerances_rescale(target->tolerances,
                       target->variant->compare_factor * target->test->compare_factor);
    return true;
}

/* The single-process run that a distributed variant goes back to: what it compares with, if that is
 * distributed, compares with, and so on. Tensors have one name in every layout. NULL: none. */
static char *single_process_reference(const struct target *target,
                                      const struct target_request *request, struct status *status)
{
    char *name = memory_string(target->variant->compares_with);
    while (name) {
        struct variant_config *variant = variant_load(request->search, name, status);
        free(name);
        if (!variant)
            return NULL;
        name = memory_string(variant->ranks > 1 ? variant->compares_with : variant->name);
        bool found = variant->ranks <= 1;
        variant_free(variant);
        if (found)
            return name;
    }
    status_fail(status, STATUS_INVALID,
                "%s compares with no run of one rank: name one (debug ... --against VARIANT)",
                target->name);
    return NULL;
}

/* Nothing is compared with a reference, so nothing is judged. A folder or variant of that name can
 * be given in another way (./none). */
static bool is_alone(const struct target_request *request)
{
    return request->against && strcmp(request->against, TARGET_ALONE) == 0;
}

static bool load_configs(struct target *target, const struct target_request *request,
                         struct status *status)
{
    target->test = config_load(request->search, request->run, status);
    target->variant =
        target->test ? variant_load(request->search, target->test->variant, status) : NULL;
    if (!target->variant)
        return false;
    target->name = memory_string(target->test->name);
    if (is_alone(request)) {
        target->reference_name = memory_string(TARGET_ALONE);
        return true;
    }
    if (request->against && is_folder(request->against)) {
        target->reference_name = memory_string(request->against);
        target->trace = trace_open(request->against, status);
        return target->trace && load_tolerances(target, request, status);
    }
    if (request->against && strchr("/.~", request->against[0]))
        return status_fail(status, STATUS_NOT_FOUND,
                           "no folder '%s': a reference is a VARIANT, MODEL/VARIANT, the folder of "
                           "a trace, or " TARGET_ALONE,
                           request->against);
    const char *against = request->against ? request->against : target->variant->compares_with;
    char *single = NULL;
    if (!against)
        against = target->test->variant;
    if (target->test->distributed.world_size > 1 && !request->against) {
        if (!(single = single_process_reference(target, request, status)))
            return false;
        against = single;
    }
    bool ok = load_reference_config(target, request, against, status);
    free(single);
    if (ok && target->reference->distributed.world_size > 1)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s has %d ranks: a reference is a run of one rank, or a trace",
                           target->reference_name, target->reference->distributed.world_size);
    return ok && load_tolerances(target, request, status);
}

static void set_run_options(const struct target *target, const struct target_request *request,
                            struct run_options *test, struct run_options *reference)
{
    test->keep_points = reference->keep_points = true;
    test->init_from = reference->init_from = target->init_from;
    test->data_from = reference->data_from = target->data_from;
    test->points_limit = reference->points_limit =
        request->keep_limit > 0 ? request->keep_limit / 4 : 0;
    if (target->fault) {
        test->change = faults_change;
        test->change_context = target->fault;
    }
}

/* Every rank keeps every value: what one of them computed long ago may be another one's input. */
static bool create_team(struct target *target, const struct target_request *request,
                        struct status *status)
{
    struct run_options run_options = {.plan = PLAN_KEEP};
    struct team_options options = {.test = target->test,
                                   .reference = target->reference,
                                   .trace = target->trace,
                                   .tolerances = target->tolerances,
                                   .device = request->device,
                                   .comm = request->comm,
                                   .inner_values = true,
                                   .threads = request->threads};
    set_run_options(target, request, &run_options, &options.reference_options);
    target->interrupt = request->interrupt;
    struct rank_pool *pool = NULL;
    if (request->processes &&
        !request->processes(request->processes_context, target->test->distributed.world_size, &pool,
                            status))
        return false;
    struct world *world = pool ? world_create_in_pool(pool, target->test, request->search,
                                                      request->device, &run_options, status)
                               : world_create(target->test, request->device, &run_options, status);
    target->team = world ? team_create(&options, world, status) : NULL;
    if (!target->team || !world_check_fault(world, target->fault, status))
        return false;
    target->pair = target->team->pairs[0];
    return true;
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
    if (target->test->distributed.world_size > 1)
        return create_team(target, request, status);
    set_run_options(target, request, &options.test_options, &options.reference_options);
    target->interrupt = request->interrupt;
    options.interrupt = target->interrupt.asked ? &target->interrupt : NULL;
    target->pair = pair_create(&options, status);
    return target->pair != NULL;
}

struct target *target_load(const struct target_request *request, struct status *status)
{
    struct target *target = memory_zeroed(1, sizeof(*target));
    target->fault = memory_string(request->fault);
    target->init_from = memory_string(request->init_from);
    target->data_from = memory_string(request->data_from);
    if (load_configs(target, request, status) && create_pair(target, request, status))
        return target;
    target_free(target);
    return NULL;
}

bool target_is_alone(const struct target *target)
{
    return !target->tolerances;
}

void target_free(struct target *target)
{
    if (!target)
        return;
    if (!target->team)
        pair_free(target->pair);
    team_free(target->team);
    tolerances_free(target->tolerances);
    trace_close(target->trace);
    variant_free(target->variant);
    config_free(target->reference);
    config_free(target->test);
    free(target->name);
    free(target->reference_name);
    free(target->fault);
    free(target->init_from);
    free(target->data_from);
    free(target);
}
