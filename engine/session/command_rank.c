/* Which of the ranks commands are about. */
#include "engine/session/commands.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"

#include <stdlib.h>
#include <string.h>

static void say_selected(struct debugger *debugger)
{
    if (!debugger->target->team)
        say(debugger, "The run has one rank.\n");
    else
        say(debugger, "[Rank %d of %d; tensors are shown %s]\n", debugger->rank,
            ranks_count(debugger),
            debugger->all_ranks ? "whole, from all ranks" : "as this rank has them");
}

bool command_rank(struct debugger *debugger, const char *arguments, struct status *status)
{
    char *end;
    long rank = strtol(arguments, &end, 10);
    if (!*arguments || strcmp(arguments, "all") == 0) {
        debugger->all_ranks |= *arguments != '\0';
        say_selected(debugger);
        return true;
    }
    if (*end || rank < 0 || rank >= ranks_count(debugger))
        return status_fail(status, STATUS_INVALID, "rank: a number from 0 to %d, or all",
                           ranks_count(debugger) - 1);
    debugger->all_ranks = false;
    if (debugger->target->team)
        ranks_select(debugger, (int)rank);
    say_selected(debugger);
    motion_show_place(debugger);
    debugger_publish(debugger);
    return true;
}
