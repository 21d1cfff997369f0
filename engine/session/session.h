/* The session: one debugging session on its own thread. The prompt, the screens and scripts all
 * use it in the same way: they post command lines, take events, and look at snapshots.
 *
 * Threads: session_start makes the engine thread, which alone touches runs, devices and files.
 * All functions here are for the one front-end thread, except session_interrupt, which any thread
 * or signal handler may call. Nothing here waits for the engine, except session_stop. */
#ifndef ENGINE_SESSION_SESSION_H
#define ENGINE_SESSION_SESSION_H

#include "engine/base/status.h"
#include "engine/config/config.h"
#include "engine/ranks/pool.h"

#include <stddef.h>
#include <stdint.h>

struct session;
struct picture; /* pictures.h */
struct picture_request;
struct rank_output;    /* output.h */
struct session_engine; /* engine.h */

struct session_options {
    struct config_search search; /* copied */
    const char *device;          /* "auto", "cpu", "cuda" */
    int threads;                 /* for kernels and comparisons, 0 = all cores */
    struct rank_launch launch;   /* strings are borrowed as long as the session */
    int64_t keep_limit;          /* bytes that two runs may take to keep every value; -1: half of
                                    the free memory */
    const char *record; /* a file to write all that the front end is told into; NULL: none */
    bool shell;         /* the front end answers EVENT_SHELL by session_shell_ended */
    const char *replay; /* such a file, to be played instead of running anything; NULL: none */
    const struct session_engine *engine; /* instead of the debugger; copied, taken over even when
                                            session_start fails. NULL: the debugger */
};

/* NULL on failure (no thread; a file to record or replay is not usable). No run is loaded yet: the
 * command "file MODEL/VARIANT" does it. */
struct session *session_start(const struct session_options *options, struct status *status);
/* Interrupts what runs, ends the thread, frees everything. NULL is fine. */
void session_stop(struct session *session);

/* Queues one command line, as typed at the prompt ("break decoder.1 if rel_rms > 1e-3"). Returns
 * its number (1, 2, ...); its end is announced by EVENT_DONE with that number. */
uint64_t session_post(struct session *session, const char *line);
/* Asks for a picture of the run, delivered by EVENT_PICTURE: at once when the run stands still,
 * before the commands that wait; between two instructions, some times a second, while it moves. One
 * of a tensor that takes long is given up, and comes with what was measured till then
 * (tensor_picture.partial), for a command, for a newer one of a tensor, and for an interrupt. */
void session_request(struct session *session, const struct picture_request *request);
/* What EVENT_SHELL asked for has ended; `failure`: it could not be run, NULL: it was, whatever its
 * exit status. */
void session_shell_ended(struct session *session, const char *failure);
/* Drops the list of commands that is being typed, if one is (snapshot.typing): a line to post. */
#define SESSION_ABANDON "\003"
/* A run stops before its next instruction; a command that waits gives up. Async-signal-safe. */
void session_interrupt(struct session *session);

enum event_kind {
    EVENT_OUTPUT = 0, /* text of a command, to be shown as it is (may be several lines) */
    EVENT_ERROR,      /* a command failed: text says why and what would work */
    EVENT_MESSAGE,    /* remarks that belong to no command */
    EVENT_RUNNING,    /* the run moves; screens show it as running */
    EVENT_STOPPED,    /* the run stands still; text is the reason in one line */
    EVENT_CHANGED,    /* a new snapshot is there */
    EVENT_DONE,       /* the command `command` ended; ok tells how */
    EVENT_QUIT,       /* the user asked to leave */
    EVENT_PICTURE,    /* a picture that was asked for */
    EVENT_SHELL,      /* run the text as a command of the shell ("": a shell); the engine waits */
};

struct session_event {
    enum event_kind kind;
    uint64_t command;        /* the command that it belongs to, 0 = none */
    bool ok;                 /* EVENT_DONE */
    char *text;              /* owned by the list, NULL if none */
    struct picture *picture; /* EVENT_PICTURE; owned by the list: who keeps it sets this to NULL */
    struct session_event *next;
};

/* Readable (poll) whenever events may be waiting. Owned by the session. */
int session_wake_fd(const struct session *session);
/* All events so far, in order; NULL if none. Free with session_events_free. Never waits. */
struct session_event *session_take_events(struct session *session);
void session_events_free(struct session_event *events);

/* What the ranks print, kept here as long as the session lives (output.h: any thread). A front end
 * that captures the output of a run inside this process appends it as that of rank 0. Pictures of
 * it are asked for by PICTURE_OUTPUT. */
struct rank_output *session_output(struct session *session);

/* Where the run is. An immutable picture; holders share it. */
enum run_state { RUN_NONE = 0, RUN_STOPPED, RUN_RUNNING, RUN_ENDED, RUN_FAILED };

struct snapshot {
    uint64_t version; /* grows with each change */
    enum run_state state;
    bool waits; /* for ranks, in the midst of an instruction: only ranks and output can be seen */
    char *run, *reference;  /* "llama/bf4", "llama/df4" or a trace's path, "" */
    int step, steps;        /* from 0 */
    int next, instructions; /* program counter; instructions of a step */
    char *place;            /* "step 1, backward, micro-batch 2/4, decoder.1.mlp.layer_2" */
    char *stop_reason;
    int rank, ranks; /* the selected one, of how many; 0 of 1 for a run of one rank */
    bool typing;     /* lines that are posted now are commands of a breakpoint, up to 'end' */
    bool confirm;    /* the user wants to be asked before a run in progress is left */
    bool exit_given; /* with EVENT_QUIT: the program is to end with exit_code */
    int exit_code;
    int breakpoints;
    int compared, failed;                /* tensors so far */
    int64_t memory_live, memory_planned; /* bytes */
    double seconds;                      /* of the run's own instructions */
};

/* What the command "file" loads, as words of a command line. NULL: not given. */
struct session_file {
    const char *run;              /* MODEL[/VARIANT], or a test's name */
    const char *against;          /* reference; NULL: as the variant says */
    const char *init_from, *data; /* files of initial parameters and of tokens */
    const char *fault;
};
/* The line to post for it: "file RUN against ..."; `run` must be given. To be freed. */
char *session_file_line(const struct session_file *file);

/* The full name of the command that `line` begins with ("quit" for "q"): static; NULL when it is
 * none, or could be several. Any thread. */
const char *session_command_name(const char *line);

/* The newest snapshot; give it back with snapshot_release, which also nulls the pointer. */
const struct snapshot *session_snapshot(struct session *session);
void snapshot_release(const struct snapshot **snapshot);

/* Words that could stand at `start`..`end` of `line`: commands, options, layers, tensors, files.
 * Answers from the command table and the loaded program's names (immutable once loaded). Returns
 * the count; free each and the array. */
int session_complete(struct session *session, const char *line, size_t start, size_t end,
                     char ***matches);

#endif
