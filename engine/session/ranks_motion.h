/* Moving the ranks of a run. One rank is selected: commands are about it, and a step is a step of
 * it. The others follow to the same place of their programs, and as far as the selected one needs
 * them; what stops any of them stops all. Engine thread. */
#ifndef ENGINE_SESSION_RANKS_MOTION_H
#define ENGINE_SESSION_RANKS_MOTION_H

#include "engine/compare/team.h"
#include "engine/session/debugger.h"
#include "engine/session/ranks.h"

/* Where tensors of a rank departed after its first, each once: step * tensors + tensor, ascending.
 * `places` is owned. */
struct departed_since {
    int64_t *places;
    int count, capacity;
};

/* What the debugger keeps for each rank, beside the run. */
struct rank_seat {
    struct record record;            /* not of the selected rank: that is debugger->record */
    struct breakpoints breakpoints;  /* the same, bound to this rank's program */
    struct rank_departure departure; /* ranks_desync.c; `tensor` is owned */
    int64_t departed_at;             /* its place, as in `since` */
    struct departed_since since;     /* `departure.further` of them */
};

/* After a target with several ranks was loaded, and before it is freed. */
void ranks_start(struct debugger *debugger);
void ranks_free(struct debugger *debugger);
/* As target_request.processes, of a debugger: the pool, started or grown. */
bool ranks_processes(void *debugger, int ranks, struct rank_pool **pool, struct status *status);
int ranks_count(const struct debugger *debugger); /* 1 without a team */

/* Makes another rank the one that commands are about. */
void ranks_select(struct debugger *debugger, int rank);
/* Breakpoints, and one that is in no list (NULL: none), are bound anew to the programs of all
 * ranks: before a run moves. */
void ranks_bind(struct debugger *debugger, const struct breakpoint *until);
/* Whether that one is what made the selected rank stop, and for which value. */
bool ranks_until(const struct debugger *debugger, const struct pair_event *event, int *value);

/* One instruction of the selected rank, with its comparisons, noted in the record. When a
 * breakpoint or a divergence stops another rank first, that one is selected and the event is its.
 * *interrupted when the user, or with locked ranks a collective, did not let it happen. */
bool ranks_run_one(struct debugger *debugger, struct pair_event *event, bool *interrupted,
                   struct status *status);
/* What a rank had begun when the run stopped, and has done since. What stops all (a divergence) is
 * given again to whoever moves the ranks next. */
void ranks_note_late(struct debugger *debugger, struct team_event *event);
/* Takes all ranks to the start of a step. */
bool ranks_go_to_step(struct debugger *debugger, int step, struct status *status);

/* ---- ranks_places.c ---- */

/* The first rank, not the selected one, whose program has that place (a tensor, too), or -1. */
int ranks_with_place(const struct debugger *debugger, const char *text);
/* After the selected rank's program was found not to have it: says in *status who has. False. */
bool ranks_say_where(const struct debugger *debugger, const char *text, struct status *status);
/* After the selected rank's program was found not to have the place of "PLACE [if CONDITION]":
 * reads it against that of the first rank that has it, and gives that rank; -1, with *status as it
 * was, when none has. */
int ranks_parse_elsewhere(const struct debugger *debugger, const char *text,
                          struct breakpoint *breakpoint, struct status *status);
/* The program of a rank; of the selected one for -1. */
const struct program *ranks_program(const struct debugger *debugger, int rank);

/* ---- ranks_desync.c ---- */

/* Ranks that hold the same part of a tensor disagree (event->desynchronised_count): as bad as a
 * divergence, and the program needs no reference to know it. Keeps for each of them whom it is
 * unlike, says it unless the run is on its way to a place, and makes it the event's failure where
 * divergences stop. */
void ranks_note_desync(struct debugger *debugger, struct team_event *event);
/* All ranks go to the start of `step`: what departed since is to be seen again. */
void ranks_forget_desync(struct debugger *debugger, int step);

/* ---- ranks_watch.c ---- */

/* The first rank that is lost (its process ended, or does not answer), or -1. */
int ranks_lost(const struct debugger *debugger);
/* Fails with what to do when a rank is lost. */
bool ranks_can_move(const struct debugger *debugger, struct status *status);
/* Appends the newest lines that a rank printed, each behind `indent` and a sign of its stream.
 * Returns how many: at most `most`. */
int ranks_last_lines(const struct debugger *debugger, int rank, int most, const char *indent,
                     struct text *text);
/* Says some of them, if there are any. */
void ranks_say_last_lines(struct debugger *debugger, int rank);
/* While nobody moves: takes what ranks have done since that they had begun before, and tells that
 * the run has changed; whether a process has ended: tells it, and the run has failed. Cheap. */
void ranks_look(struct debugger *debugger);

#endif
