/* The debugger behind a session: what is loaded, where it stands, and the commands on it. It knows
 * no threads: the session runs it on the engine thread, tests call it directly. Internal to
 * engine/session. */
#ifndef ENGINE_SESSION_DEBUGGER_H
#define ENGINE_SESSION_DEBUGGER_H

#include "engine/base/text.h"
#include "engine/session/breakpoints.h"
#include "engine/session/display.h"
#include "engine/session/engine.h"
#include "engine/session/hit_commands.h"
#include "engine/session/record.h"
#include "engine/session/session.h"
#include "engine/session/target.h"
#include "engine/session/words.h"

/* What `set` and `show` are about. */
struct display {
    int list_size; /* lines of `list` */
    int digits;    /* of printed elements */
    int elements;  /* printed at most */
    int worst;     /* elements that `diff` shows */
    int bins;      /* of `hist` */
};

struct debugger {
    /* settings */
    struct names directories; /* folders of configurations, in order */
    char **overrides;         /* "key.path=value" */
    int override_count, override_capacity;
    char *device_name;
    int threads;
    int64_t keep_limit; /* as in session_options */
    struct debugger_sink sink;
    struct display display;
    /* what is loaded */
    struct device *device; /* opened by the first `file`, and by the next after it was lost */
    bool blocking;         /* opened to wait after each operation: device_loss.h */
    struct comm *comm;
    struct rank_launch launch;
    struct rank_pool *pool; /* started by the first run of several ranks; NULL without */
    struct target *target;  /* NULL before `file` */
    int target_overrides;   /* how many of the overrides it was loaded with */
    char *file;             /* arguments of the `file` that loaded it */
    struct record record;
    struct breakpoints breakpoints;
    struct displays displays;
    bool stop_on_divergence, stop_on_not_finite;
    /* several ranks: see ranks_motion.h */
    int rank;                /* the selected one: target->pair is its pair */
    struct rank_seat *seats; /* [ranks]; NULL with one rank */
    struct record whole;     /* of the team's tensors, whole, by their number there */
    bool all_ranks;          /* tensors are shown whole, put together from all ranks */
    bool locked;             /* only the selected rank moves */
    bool must_wait;          /* why it stopped: a locked rank waits for others */
    bool passing;            /* on the way to a place: nothing stops the run for another rank */
    /* where it stands */
    enum run_state state;
    char *stop_reason;
    int last_value; /* what the last stop was about: default of diff, print, backtrace; -1 */
    int list_first, list_next; /* what `list` showed last: [first, next); -1 = nothing yet */
    double published;          /* when the last snapshot was made, seconds */
    uint64_t version;          /* of snapshots */
    bool waits;                /* for ranks, in the midst of an instruction */
    uint64_t halts;            /* rank_pool_halts when it was looked last */
    /* of the tensor that a picture was taken of last; NULL after each command */
    struct tensor_survey *survey;
    char *repeat; /* what an empty line does again, or NULL */
    bool unasked; /* 'set confirm off' */
    struct typed_commands typed;
    struct due_commands due;
    bool doing; /* what is due: what the commands in there make due waits for them */
    bool moved; /* the run, since this was set to false */
    int source_depth;
    bool quit;
    bool exit_given; /* 'quit CODE' */
    int exit_code;
    struct text output; /* of the command that runs, not yet emitted */
};

struct debugger *debugger_create(const struct session_options *options,
                                 const struct debugger_sink *sink);
void debugger_free(struct debugger *debugger);

/* Runs one command line. False with the reason in `status` when it failed. */
bool debugger_execute(struct debugger *debugger, const char *line, struct status *status);

/* For commands. */

/* Adds to the command's output. */
void say(struct debugger *debugger, const char *format, ...) __attribute__((format(printf, 2, 3)));
void debugger_flush(struct debugger *debugger); /* emits what was said so far */
void debugger_emit(struct debugger *debugger, enum event_kind kind, const char *text);
bool debugger_cancelled(const struct debugger *debugger);
/* The same for work that looks by itself; with a target only. */
const struct interrupt *debugger_interrupt(const struct debugger *debugger);
/* True, or the failure of a command that the user does not want to wait for any more. */
bool debugger_goes_on(const struct debugger *debugger, struct status *status);
/* Sets the state and the reason of the stop, and publishes a snapshot. */
void debugger_set_state(struct debugger *debugger, enum run_state state, const char *reason);
void debugger_publish(struct debugger *debugger);
/* Publishes when the last time is 50 ms ago, with the results that are on their way. False: the
 * device reports a failure of an earlier instruction; it does so once only. */
bool debugger_publish_sometimes(struct debugger *debugger, struct status *status);
/* Ranks are waited for: publishes some times a second, so that it can be seen for whom. */
void debugger_publish_waiting(struct debugger *debugger);
/* Fills a search from the settings; `pointers` (two arrays) stay good until settings change. */
struct config_search debugger_search(const struct debugger *debugger);

/* Positions: step * instructions + instruction. The end of a step is the start of the next. */
int64_t debugger_position(const struct debugger *debugger);
int64_t debugger_end(const struct debugger *debugger);
static inline struct program *debugger_program(const struct debugger *debugger)
{
    return debugger->target->pair->test->program;
}
/* Of the whole run. */
static inline int debugger_steps(const struct debugger *debugger)
{
    return debugger->target->pair->test->steps;
}

/* The step and instruction that will run next; instruction == count at the end of the run. */
void debugger_place(const struct debugger *debugger, int *step, int *instruction);

#endif
