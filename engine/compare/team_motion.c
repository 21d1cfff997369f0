/* A team goes to a place: to the beginning of its step, and from there on. */
#include "engine/base/memory.h"
#include "engine/compare/team_internal.h"

#include <stdlib.h>

#define POLL_SECONDS 0.5

static const struct run *run_of(const struct team *team, int rank)
{
    return team->world->ranks[rank].run;
}

struct team_place team_where(const struct team *team)
{
    struct team_place place = {team->step,
                               memory_zeroed((size_t)team->world->size, sizeof(*place.next))};
    for (int rank = 0; rank < team->world->size; rank++)
        if (run_of(team, rank)->step == team->step) /* else it has not entered this step yet */
            place.next[rank] = run_next(run_of(team, rank));
    return place;
}

struct team_place team_end_of(const struct team *team, int step)
{
    struct team_place place = {step, memory_zeroed((size_t)team->world->size, sizeof(*place.next))};
    for (int rank = 0; rank < team->world->size; rank++)
        place.next[rank] = run_of(team, rank)->program->instruction_count;
    return place;
}

static bool is_there(const struct team *team, const struct team_place *place)
{
    for (int rank = 0; rank < team->world->size; rank++)
        if (run_next(run_of(team, rank)) < place->next[rank])
            return false;
    return true;
}

bool team_go_to(struct team *team, const struct team_place *place, struct status *status)
{
    struct team_event event;
    bool got;
    if (!team_go_to_step(team, place->step, status))
        return false;
    for (int rank = 0; rank < team->world->size; rank++)
        if (place->next[rank] > 0 && !team_allow(team, rank, place->next[rank], status))
            return false;
    while (!is_there(team, place)) {
        if (!team_next(team, POLL_SECONDS, &event, &got, status))
            return false;
        if (got && event.kind == TEAM_FAILED)
            return status_fail(status, STATUS_IO, "%s", event.text);
        if (!got && world_is_quiet(team->world))
            return status_fail(status, STATUS_INTERNAL, "the ranks stand still");
    }
    return true;
}
