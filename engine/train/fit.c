#include "engine/train/fit.h"

#include "engine/base/text.h"
#include "engine/train/schedule.h"

#include <stdio.h>

struct fit {
    const struct config *config;
    struct device *device;
    int rank;
    int64_t room; /* bytes of one run */
};

/* Bytes that a run takes whose memory is used again; -1 if there is no such program. */
static int64_t forecast(const struct fit *fit, const struct config *config)
{
    int64_t bytes = -1;
    struct status ignored = STATUS_NONE;
    struct program *program = schedule_compile_rank(config, fit->rank, &ignored);
    if (!program)
        return -1;
    struct memory_plan *plan = memory_plan_create(program, fit->device, PLAN_REUSE, &ignored);
    if (plan)
        bytes = memory_plan_total(plan);
    memory_plan_free(plan);
    program_free(program);
    return bytes;
}

/* The same tokens of a step, in micro-batches of a `parts`-th of the size. */
static bool smaller_batches(struct config *config, int parts)
{
    if (config->data.micro_batch_size % parts ||
        (config->data.micro_batch_size / parts) % config->schedule.micro_batch_splits)
        return false;
    config->data.micro_batch_size /= parts;
    config->schedule.depth_first_micro_batches *= parts;
    return true;
}

static bool more_splits(struct config *config, int parts)
{
    config->schedule.micro_batch_splits *= parts;
    return config->data.micro_batch_size % config->schedule.micro_batch_splits == 0;
}

/* The least division that fits; false if none does. Configurations are changed in a copy that
 * borrows all that it points at. */
static bool search(const struct fit *fit, bool (*divide)(struct config *config, int parts),
                   struct config *found, int64_t *bytes)
{
    enum { MOST_PARTS = 64 };
    for (int parts = 2; parts <= MOST_PARTS; parts *= 2) {
        *found = *fit->config;
        if (!divide(found, parts))
            return false;
        *bytes = forecast(fit, found);
        if (*bytes >= 0 && *bytes <= fit->room)
            return true;
    }
    return false;
}

static void add_search(const struct fit *fit, struct text *text)
{
    struct config found;
    int64_t bytes;
    char words[32], room[32];
    text_bytes((uint64_t)fit->room, room);
    bool batches = search(fit, smaller_batches, &found, &bytes);
    if (batches)
        text_format(text,
                    "\nwhat fits: data.micro_batch_size=%lld with "
                    "schedule.depth_first_micro_batches=%d takes %s of %s",
                    (long long)found.data.micro_batch_size,
                    found.schedule.depth_first_micro_batches, text_bytes((uint64_t)bytes, words),
                    room);
    bool splits = search(fit, more_splits, &found, &bytes);
    if (splits)
        text_format(text, "%sschedule.micro_batch_splits=%d takes %s",
                    batches ? "; " : "\nwhat fits: ", found.schedule.micro_batch_splits,
                    text_bytes((uint64_t)bytes, words));
    if (!batches && !splits)
        text_format(text, "\nno division of the micro-batch fits into %s", room);
}

bool fit_add(const struct config *config, int rank, struct device *device, int runs,
             struct status *status)
{
    struct fit fit = {config, device, rank, 0};
    struct text text = {0};
    if (!status || status->code != STATUS_MEMORY || !device_room(device, &fit.room))
        return false;
    fit.room /= runs > 1 ? runs : 1;
    add_search(&fit, &text);
    status_fail(status, STATUS_MEMORY, "%s%s", status->text, text.data);
    text_free(&text);
    return false;
}
