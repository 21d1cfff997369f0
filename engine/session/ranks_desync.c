#include "engine/base/memory.h"
#include "engine/compare/team_desync.h"
#include "engine/session/ranks_motion.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(((struct rank_departure *)0)->index) == TEAM_DESYNC_INDEX,
              "the index of a difference is copied whole");

static void forget(struct rank_seat *seat)
{
    free(seat->departure.tensor);
    seat->departure = (struct rank_departure){0};
}

static void depart(struct rank_seat *seat, const struct team *team, int rank, int tensor, int step,
                   int against)
{
    struct rank_departure *departure = &seat->departure;
    struct team_difference difference;
    forget(seat);
    team_difference(team, tensor, rank, against, &difference);
    *departure = (struct rank_departure){.tensor = memory_string(team->tensors[tensor].name),
                                         .step = step,
                                         .against = against,
                                         .different = difference.different,
                                         .elements = difference.elements,
                                         .own = difference.first,
                                         .other = difference.second};
    memcpy(departure->index, difference.index, sizeof(departure->index));
}

/* The first tensor stays, since what follows may follow from it. It is looked at again when others
 * bring the same part: only then it shows who is alone. */
static void note(struct rank_seat *seat, const struct team *team, int rank, int tensor, int step,
                 int against)
{
    struct rank_departure *departure = &seat->departure;
    int64_t position = (int64_t)step * team->tensor_count + tensor;
    bool same = departure->tensor && seat->departed_at == position;
    if (against < 0 && same) {
        forget(seat);
    } else if (against >= 0 && (!departure->tensor || (same && departure->against != against))) {
        depart(seat, team, rank, tensor, step, against);
        seat->departed_at = seat->departed_last = position;
    } else if (against >= 0 && seat->departed_last != position) {
        departure->further++;
        seat->departed_last = position;
    }
}

static void note_departures(struct debugger *debugger, const struct team_event *event)
{
    enum { OTHER_PART = -2 };
    const struct team *team = debugger->target->team;
    int count = ranks_count(debugger);
    int *against = memory_zeroed((size_t)count, sizeof(*against));
    for (int rank = 0; rank < count; rank++)
        against[rank] = OTHER_PART;
    team_unlike(team, event->desynchronised, event->rank, against);
    for (int rank = 0; rank < count; rank++)
        if (against[rank] != OTHER_PART)
            note(&debugger->seats[rank], team, rank, event->desynchronised, event->pair.step,
                 against[rank]);
    free(against);
}

void ranks_note_desync(struct debugger *debugger, struct team_event *event)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[event->desynchronised];
    char text[TEAM_DESYNC_TEXT];
    note_departures(debugger, event);
    if (debugger->passing)
        return;
    say(debugger, "%s\n", team_desync_text(team, event, text));
    if (debugger->stop_on_divergence && event->pair.failed < 0)
        event->pair.failed = tensor->values[event->rank];
}

void ranks_forget_desync(struct debugger *debugger, int step)
{
    for (int rank = 0; rank < ranks_count(debugger); rank++)
        if (debugger->seats[rank].departure.tensor && debugger->seats[rank].departure.step >= step)
            forget(&debugger->seats[rank]);
}
