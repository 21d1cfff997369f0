/* Ranks that are lost: noticed also while nobody moves, told with what they printed last. */
#include "engine/session/ranks_motion.h"

#include "engine/compare/team.h"
#include "engine/session/output.h"

#include <string.h>

enum { LAST_LINES = 5 };

/* A rank that failed while data were on their way lives, and can be looked at, but can take part in
 * nothing any more. */
int ranks_lost(const struct debugger *debugger)
{
    const struct team *team = debugger->target ? debugger->target->team : NULL;
    bool sound = !debugger->pool || rank_pool_is_sound(debugger->pool);
    for (int rank = 0; team && rank < team->world->size; rank++) {
        enum rank_state state = team->world->ranks[rank].state;
        if (state == RANK_LOST || (state == RANK_FAILED && !sound))
            return rank;
    }
    return -1;
}

bool ranks_can_move(const struct debugger *debugger, struct status *status)
{
    int lost = ranks_lost(debugger);
    return lost < 0 ||
           status_fail(status, STATUS_INVALID,
                       "rank %d %s: what was computed can be looked at; 'run' or 'start' starts "
                       "the ranks again",
                       lost,
                       debugger->target->team->world->ranks[lost].state == RANK_LOST
                           ? "is lost"
                           : "failed while data moved");
}

int ranks_last_lines(const struct debugger *debugger, int rank, int most, const char *indent,
                     struct text *text)
{
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = most, .after = 2};
    struct output_page page = {0};
    struct status ignored = STATUS_NONE;
    query.filter.ranges[0] = (struct rank_range){rank, rank};
    query.filter.range_count = 1;
    if (!debugger->sink.output ||
        !rank_output_fetch(debugger->sink.output, &query, &page, &ignored))
        return 0;
    int count = page.count;
    for (int i = 0; i < count; i++)
        text_format(text, "%s%s %s%s\n", indent, page.lines[i].stream == RANK_STDERR ? "!" : "|",
                    page.lines[i].text, page.lines[i].cut ? " ..." : "");
    output_page_free(&page);
    return count;
}

void ranks_say_last_lines(struct debugger *debugger, int rank)
{
    struct text lines = {0};
    if (ranks_last_lines(debugger, rank, LAST_LINES, "    ", &lines) > 0)
        say(debugger, "rank %d printed last:\n%s", rank, lines.data);
    text_free(&lines);
}

/* Whether a process has ended that its world still believes in. */
static bool any_has_ended(const struct debugger *debugger)
{
    const struct world *world = debugger->target->team->world;
    struct rank_process_state process;
    for (int rank = 0; rank < world->size; rank++) {
        rank_pool_describe(debugger->pool, rank, &process);
        enum rank_state state = world->ranks[rank].state;
        if (process.ended && state != RANK_LOST && state != RANK_FAILED)
            return true;
    }
    return false;
}

static void tell_failure(struct debugger *debugger, const char *text)
{
    say(debugger, "%s\n", text);
    debugger_flush(debugger);
    debugger_set_state(debugger, RUN_FAILED, text);
    debugger_emit(debugger, EVENT_STOPPED,
                  ranks_lost(debugger) >= 0 ? "a rank was lost" : "an instruction failed");
}

/* A stop does not wait for an instruction that takes long, and an interrupt for none: what ranks
 * have done since is shown when it is done. */
void ranks_look(struct debugger *debugger)
{
    struct team_event event = {.kind = TEAM_DONE};
    struct status status = STATUS_NONE;
    bool got = true, moved = false;
    if (!debugger->pool || !debugger->target || !debugger->target->team)
        return;
    struct team *team = debugger->target->team;
    rank_pool_poll(debugger->pool, 0);
    if (debugger->halts != rank_pool_halts(debugger->pool)) {
        debugger->halts = rank_pool_halts(debugger->pool);
        debugger_publish(debugger);
    }
    if (debugger->state == RUN_FAILED && !any_has_ended(debugger))
        return; /* whatever follows from that */
    while (got && !team_gives_again(team, -1)) {
        if (!team_next(team, 0, &event, &got, &status)) { /* it could not be compared */
            tell_failure(debugger, status.text);
            return;
        }
        if (got && event.kind == TEAM_FAILED) {
            ranks_say_last_lines(debugger, event.rank);
            tell_failure(debugger, event.text);
            return;
        }
        if (got)
            ranks_note_late(debugger, &event);
        moved = moved || got;
    }
    if (moved) {
        debugger_flush(debugger);
        debugger_publish(debugger);
    }
}
