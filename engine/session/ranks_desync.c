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
    free(seat->since.places);
    seat->departure = (struct rank_departure){0};
    seat->since = (struct departed_since){0};
}

static void depart(struct rank_seat *seat, const struct team *team, int rank, int tensor, int step,
                   int against)
{
    struct rank_departure *departure = &seat->departure;
    struct team_difference difference;
    free(departure->tensor);
    team_difference(team, tensor, rank, against, &difference);
    *departure = (struct rank_departure){.tensor = memory_string(team->tensors[tensor].name),
                                         .step = step,
                                         .against = against,
                                         .further = seat->since.count,
                                         .different = difference.different,
                                         .elements = difference.elements,
                                         .own = difference.first,
                                         .other = difference.second};
    memcpy(departure->index, difference.index, sizeof(departure->index));
}

static void insert(struct departed_since *since, int at, int64_t place)
{
    ARRAY_PUSH(since->places, since->count, since->capacity, place);
    int64_t *there = &since->places[at];
    memmove(there + 1, there, (size_t)(since->count - 1 - at) * sizeof(*there));
    *there = place;
}

static void drop(struct departed_since *since, int at)
{
    int64_t *there = &since->places[at];
    since->count--;
    memmove(there, there + 1, (size_t)(since->count - at) * sizeof(*there));
}

/* Whether the tensor at a place departs, too. Each rank that brings the same part tells it anew, in
 * whatever order, and may show that it does not. */
static void note_since(struct rank_seat *seat, int64_t place, bool departs)
{
    struct departed_since *since = &seat->since;
    int at = since->count;
    while (at > 0 && since->places[at - 1] >= place) /* nearly always the last */
        at--;
    bool known = at < since->count && since->places[at] == place;
    if (departs && !known)
        insert(since, at, place);
    else if (!departs && known)
        drop(since, at);
    seat->departure.further = since->count;
}

/* The first tensor stays, since what follows may follow from it. It is looked at again when others
 * bring the same part: only then it shows who is alone. */
static void note(struct rank_seat *seat, const struct team *team, int rank, int tensor, int step,
                 int against)
{
    struct rank_departure *departure = &seat->departure;
    int64_t place = (int64_t)step * team->tensor_count + tensor;
    bool same = departure->tensor && seat->departed_at == place;
    if (against < 0 && same) {
        forget(seat);
    } else if (against >= 0 && (!departure->tensor || (same && departure->against != against))) {
        depart(seat, team, rank, tensor, step, against);
        seat->departed_at = place;
    } else if (departure->tensor && !same) {
        note_since(seat, place, against >= 0);
    }
}

static void note_departures(struct debugger *debugger, const struct team_event *event, int tensor)
{
    enum { OTHER_PART = -2 };
    const struct team *team = debugger->target->team;
    int count = ranks_count(debugger);
    int *against = memory_zeroed((size_t)count, sizeof(*against));
    for (int rank = 0; rank < count; rank++)
        against[rank] = OTHER_PART;
    team_unlike(team, tensor, event->rank, against);
    for (int rank = 0; rank < count; rank++)
        if (against[rank] != OTHER_PART)
            note(&debugger->seats[rank], team, rank, tensor, event->pair.step, against[rank]);
    free(against);
}

void ranks_note_desync(struct debugger *debugger, struct team_event *event)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *first = &team->tensors[event->desynchronised[0].tensor];
    char text[TEAM_DESYNC_TEXT];
    for (int i = 0; i < event->desynchronised_count; i++) {
        note_departures(debugger, event, event->desynchronised[i].tensor);
        if (!debugger->passing)
            say(debugger, "%s\n", team_desync_text(team, event, i, text));
    }
    if (!debugger->passing && debugger->stop_on_divergence && event->pair.failed < 0)
        event->pair.failed = first->values[event->rank];
}

/* Of what departed since only the part from there on, which the run comes to again. */
static void forget_since(struct rank_seat *seat, int64_t place)
{
    struct departed_since *since = &seat->since;
    while (since->count > 0 && since->places[since->count - 1] >= place)
        since->count--;
    seat->departure.further = since->count;
}

void ranks_forget_desync(struct debugger *debugger, int step)
{
    for (int rank = 0; rank < ranks_count(debugger); rank++) {
        struct rank_seat *seat = &debugger->seats[rank];
        if (seat->departure.tensor && seat->departure.step >= step)
            forget(seat);
        else if (seat->departure.tensor)
            forget_since(seat, (int64_t)step * debugger->target->team->tensor_count);
    }
}
