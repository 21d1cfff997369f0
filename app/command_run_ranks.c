/* lockstep run for several ranks: all of them train, and tensors are put together from what each
 * has. */
#include "app/command_run.h"
#include "app/record.h"

#include "engine/base/memory.h"
#include "engine/compare/team_desync.h"
#include "engine/suite/capture.h"
#include "engine/tensor/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MILLISECONDS = 100 };

struct ranks_of_run {
    const struct config *config;
    const struct config_search *search;
    struct device *device;
    const struct app_options *app;
    const struct command_options *options;
    struct capture *capture;
    struct rank_pool *pool; /* NULL: all ranks are in this process */
};

/* One time that it trains. */
struct training {
    struct team *team;
    struct recorder *recorder; /* or NULL */
    int *order;                /* tensors of a step, in the order of their first parts */
    int count;
    bool desynchronised; /* ranks that hold the same have other bits */
};

/* ---- processes ---- */

static bool start_processes(struct ranks_of_run *ranks, struct status *status)
{
    const struct rank_launch *launch = &ranks->app->launch;
    struct rank_pool_options options = {.size = ranks->config->distributed.world_size,
                                        .launch = *launch,
                                        .threads = ranks->app->threads,
                                        .on_output = capture_take,
                                        .output_context = ranks->capture};
    struct status reason = STATUS_NONE;
    if (launch->in_process || (ranks->pool = rank_pool_create(&options, &reason)))
        return true;
    if (reason.code != STATUS_UNSUPPORTED || rank_launch_is_chosen(launch))
        return status_fail(status, reason.code, "%s", reason.text);
    app_complain(0, "ranks run inside of one process: %s", reason.text);
    return true;
}

struct ranks_of_run *ranks_of_run_start(const struct config *config,
                                        const struct config_search *search, struct device *device,
                                        const struct app_options *app,
                                        const struct command_options *options,
                                        struct status *status)
{
    struct ranks_of_run *ranks = memory_zeroed(1, sizeof(*ranks));
    struct capture_options capture = {.direct = true, .ranks = config->distributed.world_size};
    *ranks = (struct ranks_of_run){.config = config,
                                   .search = search,
                                   .device = device,
                                   .app = app,
                                   .options = options,
                                   .capture = capture_create(&capture)};
    if (start_processes(ranks, status))
        return ranks;
    ranks_of_run_free(ranks);
    return NULL;
}

void ranks_of_run_free(struct ranks_of_run *ranks)
{
    if (!ranks)
        return;
    rank_pool_free(ranks->pool);
    capture_free(ranks->capture);
    free(ranks);
}

static struct team *create_team(struct ranks_of_run *ranks, struct status *status)
{
    struct run_options options = command_run_options(ranks->options);
    struct team_options team = {
        .test = ranks->config, .device = ranks->device, .threads = ranks->app->threads};
    options.plan = PLAN_KEEP; /* tensors are put together at the end of a step */
    struct world *world = ranks->pool
                              ? world_create_in_pool(ranks->pool, ranks->config, ranks->search,
                                                     ranks->device, &options, status)
                              : world_create(ranks->config, ranks->device, &options, status);
    struct team *created = world ? team_create(&team, world, status) : NULL;
    if (!created || world_check_fault(world, ranks->options->fault, status))
        return created;
    team_free(created);
    return NULL;
}

/* ---- a step ---- */

/* The order does not depend on which rank happens to be faster. */
static void order_tensors(struct training *training)
{
    const struct team *team = training->team;
    bool *came = memory_zeroed((size_t)team->tensor_count, sizeof(*came));
    struct world_place *places;
    int count = world_order(team->world, &places);
    training->order = memory_zeroed((size_t)team->tensor_count, sizeof(*training->order));
    for (int i = 0; i < count; i++) {
        const struct program *program = team->world->ranks[places[i].rank].run->program;
        const struct instruction *done = &program->instructions[places[i].instruction];
        for (int k = 0; k < done->output_count; k++) {
            int tensor = team_tensor_of(team, places[i].rank, done->outputs[k]);
            if (tensor < 0 || came[tensor])
                continue;
            came[tensor] = true;
            training->order[training->count++] = tensor;
        }
    }
    free(places);
    free(came);
}

/* Of the first instruction that brings it, at once; the run goes on, and fails in the end. */
static void note_desync(struct training *training, const struct team_event *event)
{
    char text[TEAM_DESYNC_TEXT];
    if (training->desynchronised)
        return;
    for (int i = 0; i < event->desynchronised_count; i++)
        app_complain(0, "step %d: %s", event->pair.step + 1,
                     team_desync_text(training->team, event, i, text));
    training->desynchronised = event->desynchronised_count > 0;
}

static bool fail_standing(const struct team *team, struct status *status)
{
    char text[512];
    for (int rank = 0; rank < team->world->size; rank++)
        if (team->world->ranks[rank].state == RANK_WAITING)
            return status_fail(status, STATUS_IO, "%s",
                               world_waiting_text(team->world, rank, text, sizeof(text)));
    return status_fail(status, STATUS_INTERNAL, "the ranks stand still");
}

static bool step_of_ranks(struct training *training, struct status *status)
{
    struct team *team = training->team;
    struct team_event event;
    bool got;
    if (!team_allow_step(team, status))
        return false;
    for (;;) {
        if (!team_next(team, POLL_MILLISECONDS * 1e-3, &event, &got, status))
            return false;
        if (got && event.kind == TEAM_FAILED)
            return status_fail(status, STATUS_IO, "%s", event.text);
        if (got)
            note_desync(training, &event);
        else if (world_is_quiet(team->world))
            return true;
    }
}

/* ---- what is kept of it ---- */

/* The whole tensor goes to `view`, to be freed with pair_sides_free; false when ranks do not have
 * all of it. */
static bool is_whole(struct team *team, int tensor, struct pair_sides *view, struct status *status)
{
    int missing = 0;
    if (!team_view(team, tensor, view, &missing, status))
        return false;
    if (missing == 0)
        return true;
    pair_sides_free(view);
    return false;
}

/* Tensors of a step on their way into the trace. All threads work on some of them at a time; what
 * has to be fetched from elsewhere is not to be much at a time, unless all of it goes there. */
enum { BATCH = 256, FETCHED = 64 << 20 };
struct batch {
    struct training *training;
    struct team_parts *parts; /* of all */
    struct trace_item *items;
    int recorded, count;
    size_t copied; /* bytes of those that are not recorded yet */
};

static void batch_drop(struct batch *batch, int first)
{
    for (int i = first; i < batch->count; i++)
        team_parts_free(&batch->parts[i]);
}

static bool batch_record(struct batch *batch, struct status *status)
{
    int first = batch->recorded;
    batch->recorded = batch->count;
    batch->copied = 0;
    bool ok =
        recorder_add(batch->training->recorder, batch->items + first, batch->count - first, status);
    if (!recorder_keeps_tensors(batch->training->recorder))
        batch_drop(batch, first);
    return ok;
}

/* Of ranks whose memory is not read here, only what is kept comes. *taken: it was such a tensor. */
static bool batch_add_summary(struct batch *batch, int index, bool *taken, struct status *status)
{
    struct training *training = batch->training;
    const struct team_tensor *of = &training->team->tensors[index];
    int rank = team_first_rank(of);
    struct tensor tensor =
        tensor_of(NULL, team_value(training->team, rank, of->values[rank])->dtype, of->global);
    struct sampling sampling = {trace_sampling_step(of->global), trace_sample_count(of->global)};
    struct device_statistics statistics;
    *taken = false;
    if (recorder_keeps_tensors(training->recorder))
        return true;
    void *samples = memory_try((size_t)sampling.count, dtype_size(tensor.dtype));
    if (!samples)
        return status_fail(status, STATUS_MEMORY, "no memory to record \"%s\"", of->name);
    bool ok = team_summarize(training->team, index, &sampling, taken, &statistics, samples, status);
    if (!ok || !*taken) {
        free(samples);
        return ok;
    }
    if (!batch_record(batch, status)) { /* what came before it comes before it */
        free(samples);
        return false;
    }
    recorder_add_summary(training->recorder, of->name, &tensor, samples, &statistics);
    return true;
}

/* Nothing if the ranks do not have all of it. */
static bool batch_add(struct batch *batch, int tensor, struct status *status)
{
    struct team *team = batch->training->team;
    struct team_parts *parts = &batch->parts[batch->count];
    bool complete, taken;
    if (!batch_add_summary(batch, tensor, &taken, status))
        return false;
    if (taken)
        return true;
    if (!team_view_parts(team, tensor, parts, &complete, status))
        return false;
    if (!complete)
        return true;
    batch->items[batch->count++] =
        (struct trace_item){.name = team->tensors[tensor].name,
                            .tensor = &parts->whole,
                            .samples_only = !team->tensors[tensor].log_point};
    batch->copied += parts->copied;
    bool much = batch->count - batch->recorded >= BATCH || batch->copied >= FETCHED;
    return !much || batch_record(batch, status);
}

/* `finish` ends the step; until then parts stay where they are. */
static bool record_tensors(struct training *training, const int *tensors, int count,
                           bool (*finish)(struct training *training, struct status *status),
                           struct status *status)
{
    struct batch batch = {.training = training,
                          .parts = memory_zeroed((size_t)count, sizeof(*batch.parts)),
                          .items = memory_zeroed((size_t)count, sizeof(*batch.items))};
    bool ok = true;
    for (int i = 0; ok && i < count; i++)
        ok = batch_add(&batch, tensors[i], status);
    ok = ok && batch_record(&batch, status) && finish(training, status);
    batch_drop(&batch, 0); /* those that went already are empty */
    free(batch.parts);
    free(batch.items);
    return ok;
}

static bool finish_init(struct training *training, struct status *status)
{
    return recorder_finish_init(training->recorder, status);
}

static bool finish_step(struct training *training, struct status *status)
{
    return recorder_finish_step(training->recorder, training->team->world->ranks[0].run, status);
}

static bool record_parameters(struct training *training, struct status *status)
{
    const struct team *team = training->team;
    int *tensors = memory_zeroed((size_t)team->tensor_count, sizeof(*tensors)), count = 0;
    for (int i = 0; i < team->tensor_count; i++)
        if (strncmp(team->tensors[i].name, "param ", 6) == 0)
            tensors[count++] = i;
    bool ok = record_tensors(training, tensors, count, finish_init, status);
    free(tensors);
    return ok;
}

static bool record_step(struct training *training, struct status *status)
{
    const struct team *team = training->team;
    int *tensors = memory_zeroed((size_t)team->tensor_count, sizeof(*tensors)), count = 0;
    for (int i = 0; i < training->count; i++)
        if (recorder_wants(training->recorder, team->tensors[training->order[i]].log_point))
            tensors[count++] = training->order[i];
    bool ok = record_tensors(training, tensors, count, finish_step, status);
    free(tensors);
    return ok;
}

static bool has_only_numbers(const struct tensor *tensor)
{
    int64_t count = shape_elements(tensor->shape);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(tensor_load(tensor, i)))
            return false;
    return true;
}

/* The failure of a step, with the first tensor that is not finite. */
static bool fail_step(struct training *training, const struct step_report *step,
                      struct status *status)
{
    const char *what = isfinite(step->loss) ? "gradient norm" : "loss";
    for (int i = 0; i < training->count; i++) {
        struct pair_sides view;
        struct status ignored = STATUS_NONE;
        if (!is_whole(training->team, training->order[i], &view, &ignored))
            continue;
        bool finite = has_only_numbers(&view.test);
        pair_sides_free(&view);
        if (!finite)
            return status_fail(status, STATUS_INTERNAL,
                               "step %d: the %s is not finite; NaN or infinity appear first in %s",
                               step->step, what, training->team->tensors[training->order[i]].name);
    }
    return status_fail(status, STATUS_INTERNAL, "step %d: the %s is not finite", step->step, what);
}

static const char *path_of(const struct team *team, int tensor)
{
    const struct team_tensor *of = &team->tensors[tensor];
    int rank = 0;
    while (of->values[rank] < 0)
        rank++;
    return team->world->ranks[rank].run->program->values[of->values[rank]].path;
}

/* The parameter as it is after the last update; it may be frozen. */
static bool view_trained(struct team *team, int tensor, struct pair_sides *view,
                         struct status *status)
{
    char *name = memory_format("state %s.updated", path_of(team, tensor));
    int updated = team_find(team, name);
    free(name);
    return is_whole(team, updated >= 0 ? updated : tensor, view, status) ||
           status_fail(status, STATUS_INTERNAL, "the ranks do not have all of %s",
                       team->tensors[tensor].name);
}

static bool save_parameters(struct team *team, const char *path, struct status *status)
{
    size_t most = (size_t)team->tensor_count;
    const char **names = memory_zeroed(most, sizeof(*names));
    struct tensor *tensors = memory_zeroed(most, sizeof(*tensors));
    struct pair_sides *views = memory_zeroed(most, sizeof(*views));
    int count = 0;
    bool ok = true;
    for (int i = 0; ok && i < team->tensor_count; i++) {
        if (strncmp(team->tensors[i].name, "param ", 6) != 0)
            continue;
        if (!(ok = view_trained(team, i, &views[count], status)))
            break;
        names[count] = path_of(team, i);
        tensors[count] = views[count].test;
        count++;
    }
    ok = ok && safetensors_write(path, names, tensors, count, NULL, 0, status);
    for (int i = 0; i < count; i++)
        pair_sides_free(&views[i]);
    free(views);
    free(tensors);
    free(names);
    return ok;
}

/* ---- training ---- */

static bool run_steps(struct training *training, double *seconds, struct status *status)
{
    struct team *team = training->team;
    int steps = team->world->ranks[0].run->steps;
    for (int step = 0; step < steps; step++) {
        struct step_report report;
        if (!step_of_ranks(training, status))
            return false;
        if (!world_report(team->world, step, &report))
            return fail_standing(team, status);
        if (training->recorder && !record_step(training, status))
            return false;
        command_run_print_step(&report, steps);
        seconds[step] = report.seconds;
        if (!command_run_is_finite(&report))
            return fail_step(training, &report, status);
    }
    return true;
}

static bool begin_recording(struct ranks_of_run *ranks, struct training *training,
                            struct status *status)
{
    const struct command_options *options = ranks->options;
    struct recorder_options what = {options->trace, options->full_tensors, options->log_points,
                                    options->fault, device_name(ranks->device)};
    training->recorder = recorder_create(training->team->world->ranks[0].run, &what, status);
    return training->recorder && record_parameters(training, status);
}

bool ranks_of_run_train(struct ranks_of_run *ranks, bool record, double *seconds,
                        struct status *status)
{
    struct training training = {.team = create_team(ranks, status)};
    bool ok = training.team != NULL;
    if (ok)
        order_tensors(&training);
    if (ok && record && ranks->options->trace)
        ok = begin_recording(ranks, &training, status);
    ok = ok && run_steps(&training, seconds, status);
    if (ok && training.desynchronised)
        ok = status_fail(status, STATUS_INTERNAL,
                         "the ranks are out of step: what they should hold alike differs");
    ok = recorder_finish(training.recorder, ok, status);
    if (ok && record && ranks->options->save_parameters)
        ok = save_parameters(training.team, ranks->options->save_parameters, status);
    team_free(training.team);
    free(training.order);
    return ok;
}
