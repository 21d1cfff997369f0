/* Places that only other ranks have: ranks of a pipeline have programs of their own. */
#include "engine/session/ranks_motion.h"

#include "engine/compare/team.h"

int ranks_with_place(const struct debugger *debugger, const char *text)
{
    const struct team *team = debugger->target ? debugger->target->team : NULL;
    for (int rank = 0; team && rank < team->world->size; rank++) {
        struct status ignored = STATUS_NONE;
        struct place place;
        if (rank == debugger->rank ||
            !place_parse(ranks_program(debugger, rank), debugger_steps(debugger), text, &place,
                         &ignored))
            continue;
        place_free(&place);
        return rank;
    }
    return -1;
}

bool ranks_say_where(const struct debugger *debugger, const char *text, struct status *status)
{
    int rank = status->code == STATUS_NOT_FOUND ? ranks_with_place(debugger, text) : -1;
    if (rank >= 0)
        status_fail(status, STATUS_NOT_FOUND,
                    "rank %d has no '%s', but rank %d has: 'rank %d' selects it", debugger->rank,
                    text, rank, rank);
    return false;
}

int ranks_parse_elsewhere(const struct debugger *debugger, const char *text,
                          struct breakpoint *breakpoint, struct status *status)
{
    const struct team *team = debugger->target->team;
    for (int rank = 0; status->code == STATUS_NOT_FOUND && team && rank < team->world->size;
         rank++) {
        struct status ignored = STATUS_NONE;
        if (rank == debugger->rank ||
            !breakpoint_parse(ranks_program(debugger, rank), debugger_steps(debugger), text,
                              breakpoint, &ignored))
            continue;
        if (place_find(ranks_program(debugger, rank), &breakpoint->place, 0) < 0) {
            breakpoint_release(breakpoint);
            continue;
        }
        *status = STATUS_NONE;
        return rank;
    }
    return -1;
}

const struct program *ranks_program(const struct debugger *debugger, int rank)
{
    return rank < 0 ? debugger_program(debugger)
                    : debugger->target->team->world->ranks[rank].run->program;
}
