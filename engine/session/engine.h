/* What a session drives on its thread: the debugger, or something that stands in for it and looks
 * the same from outside: a recording that is replayed (replay.h), runs that are made up. A recorder
 * (recorder.h) stands in front of another engine and writes down what it says.
 *
 * The session makes no difference between them: it queues commands and requests, and hands events,
 * snapshots and pictures over. */
#ifndef ENGINE_SESSION_ENGINE_H
#define ENGINE_SESSION_ENGINE_H

#include "engine/session/session.h"

struct words;

/* Where output goes, and who may interrupt. To be called on the engine's thread only, but for
 * `cancelled`: threads of kernels ask it, too, often, and once it has said yes it does so until the
 * command ends. */
struct debugger_sink {
    void *context;
    void (*emit)(void *context, enum event_kind kind, const char *text);
    bool (*cancelled)(void *context);
    void (*publish)(void *context, struct snapshot *snapshot); /* takes it over */
    void (*loaded)(void *context, struct words *words);        /* takes the holder over */
    struct rank_output *output; /* of the session, for what ranks print; NULL: it is not kept */
    /* Whether the picture that is being taken should be given up, as something else is wanted: a
     * command, a newer one of a tensor, or that the user need not wait. Any thread, as `cancelled`.
     * NULL: never. */
    bool (*unwanted)(void *context);
    /* Has the front end run a command of the shell ("": a shell), and waits for its end, not for
     * its success. NULL: there is no shell. */
    bool (*shell)(void *context, const char *command, struct status *status);
};

/* A table with its state. All of it is called on the session's thread, but `free`, which may also
 * be called by the thread that made it, when it was never started. */
struct session_engine {
    void *state;
    /* Once, first: publishes the first snapshot. Options and sink stay good until `free`. */
    void (*start)(void *state, const struct session_options *options,
                  const struct debugger_sink *sink);
    /* One command line; everything that it has to say goes to the sink before it returns. False
     * with the reason in `status` when the command failed; *quit: the user asked to leave. */
    bool (*execute)(void *state, const char *line, bool *quit, struct status *status);
    /* As picture_take() in pictures.h. While a command runs: only from inside of
     * `publish`, and of a snapshot that `waits` only what needs no tensors: ranks and output. */
    struct picture *(*picture)(void *state, const struct picture_request *request);
    void (*free)(void *state);
    /* Some times a second while no command runs; NULL: nothing to do. */
    void (*idle)(void *state);
};

/* The debugger as an engine. */
struct session_engine debugger_engine(void);

#endif
