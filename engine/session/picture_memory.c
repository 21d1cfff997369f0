#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "engine/program/memory_report.h"
#include "engine/session/pictures.h"

#include <stdio.h>
#include <stdlib.h>

static void take_points(struct memory_picture *picture, const struct memory_plan *plan,
                        const struct program *program)
{
    int count = picture->instruction_count;
    picture->point_count = count < PICTURE_POINTS ? count : PICTURE_POINTS;
    for (int p = 0; p < picture->point_count; p++) {
        picture->points[p] = (int)((int64_t)p * count / picture->point_count);
        /* The peak must be in the picture, between whichever points it falls. */
        int end = (int)((int64_t)(p + 1) * count / picture->point_count);
        if (plan->peak >= picture->points[p] && plan->peak < end)
            picture->points[p] = plan->peak;
        memory_plan_classes(plan, program, picture->points[p], picture->classes[p]);
    }
}

static void take_owners(struct memory_picture *picture, const struct memory_plan *plan,
                        const struct program *program)
{
    int *values, count = memory_plan_owners(plan, program, picture->owners_at, &values);
    picture->owner_count = count < PICTURE_OWNERS ? count : PICTURE_OWNERS;
    picture->owners_more = count - picture->owner_count;
    picture->owners = memory_zeroed((size_t)picture->owner_count, sizeof(*picture->owners));
    for (int i = 0; i < picture->owner_count; i++) {
        const struct placement *place = &plan->placements[values[i]];
        char name[400];
        picture->owners[i] = (struct memory_owner){
            .value = values[i],
            .bytes = place->bytes,
            .memory_class = program->values[values[i]].memory_class,
            .first = place->persistent ? 0 : place->first,
            .last =
                place->persistent || picture->keep ? picture->instruction_count - 1 : place->last,
            .name = memory_string(program_value_text(program, values[i], name, sizeof(name)))};
    }
    free(values);
}

/* Of the host's memory there is nothing to say that belongs to this run. */
static void take_device(struct memory_picture *picture, struct device *device)
{
    device_memory(device, &picture->device);
    snprintf(picture->device_name, sizeof(picture->device_name), "%s", device_name(device));
    if (device_host_memory(device) ||
        !device_totals(device, &picture->device_used, &picture->device_total))
        return;
    int count = device_processes(device, picture->processes, PICTURE_PROCESSES);
    picture->process_count = count;
    picture->processes_listed = count < PICTURE_PROCESSES ? count : PICTURE_PROCESSES;
}

struct memory_picture *picture_of_memory(const struct pair *pair, int at)
{
    const struct executor *executor = pair->test->executor;
    const struct memory_plan *plan = executor->plan;
    const struct program *program = pair->test->program;
    struct memory_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->instruction_count = plan->instruction_count;
    picture->next = run_next(pair->test);
    picture->peak = plan->peak;
    picture->keep = plan->mode == PLAN_KEEP;
    picture->forecast = memory_plan_total(plan);
    if (pair->reference)
        picture->reference_forecast = memory_plan_total(pair->reference->executor->plan);
    take_device(picture, executor->device);
    int last = plan->instruction_count - 1;
    memory_plan_classes(plan, program, picture->next < last ? picture->next : last, picture->now);
    memory_plan_classes(plan, program, plan->peak, picture->at_peak);
    picture->owners_at = at >= 0 && at <= last ? at : plan->peak;
    take_points(picture, plan, program);
    take_owners(picture, plan, program);
    return picture;
}

void memory_picture_free(struct memory_picture *picture)
{
    if (!picture)
        return;
    for (int i = 0; i < picture->owner_count; i++)
        free(picture->owners[i].name);
    free(picture->owners);
    free(picture);
}
