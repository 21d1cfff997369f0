#include "engine/base/memory.h"
#include "engine/compare/pair.h"
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

static bool lives_at(const struct placement *place, int index)
{
    return place->persistent || (place->first <= index && index <= place->last);
}

static int compare_owners(const void *a, const void *b)
{
    const struct memory_owner *one = a, *two = b;
    if (one->bytes != two->bytes)
        return one->bytes < two->bytes ? 1 : -1;
    return one->value - two->value;
}

static void take_owners(struct memory_picture *picture, const struct memory_plan *plan,
                        const struct program *program)
{
    int capacity = 0;
    for (int v = 0; v < plan->value_count; v++) {
        const struct placement *place = &plan->placements[v];
        if (place->shares >= 0 || place->bytes == 0 || !lives_at(place, picture->owners_at))
            continue;
        struct memory_owner owner = {.value = v,
                                     .bytes = place->bytes,
                                     .memory_class = program->values[v].memory_class,
                                     .first = place->persistent ? 0 : place->first,
                                     .last = place->persistent ? picture->instruction_count - 1
                                                               : place->last};
        ARRAY_PUSH(picture->owners, picture->owner_count, capacity, owner);
    }
    if (picture->owner_count > 0)
        qsort(picture->owners, (size_t)picture->owner_count, sizeof(*picture->owners),
              compare_owners);
    if (picture->owner_count > PICTURE_OWNERS) {
        picture->owners_more = picture->owner_count - PICTURE_OWNERS;
        picture->owner_count = PICTURE_OWNERS;
    }
    for (int i = 0; i < picture->owner_count; i++) {
        char name[400];
        picture->owners[i].name = memory_string(
            program_value_text(program, picture->owners[i].value, name, sizeof(name)));
    }
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
    device_memory(executor->device, &picture->device);
    snprintf(picture->device_name, sizeof(picture->device_name), "%s",
             device_name(executor->device));
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
