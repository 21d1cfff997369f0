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

/* 1 for "next", -1 for "previous", else 0. */
static int direction(const char *word)
{
    if (!*word)
        return 0;
    return strncmp("next", word, strlen(word)) == 0       ? 1
           : strncmp("previous", word, strlen(word)) == 0 ? -1
                                                          : 0;
}

bool command_rank(struct debugger *debugger, const char *arguments, struct status *status)
{
    char *end;
    long rank = strtol(arguments, &end, 10);
    bool is_number = *arguments && !*end;
    int count = ranks_count(debugger), by = direction(arguments);
    if (by != 0) {
        rank = (debugger->rank + count + by) % count;
        is_number = true;
    }
    if (!*arguments || strcmp(arguments, "all") == 0) {
        debugger->all_ranks |= *arguments != '\0';
        say_selected(debugger);
        return true;
    }
    if (!is_number || rank < 0 || rank >= count)
        return status_fail(status, STATUS_INVALID,
                           "rank: a number from 0 to %d, next, previous, or all", count - 1);
    if (debugger->target->team) {
        debugger->all_ranks = false;
        ranks_select(debugger, (int)rank);
    }
    say_selected(debugger);
    motion_show_place(debugger);
    debugger_publish(debugger);
    return true;
}
