/* What the two sides of a session share: session.c, the front end's, and session_engine.c, the
 * engine thread's. Internal to these.
 *
 * An interrupt stores the number of the newest command: the engine gives up what runs or waits
 * with that number or a smaller one. So an interrupt never hits a command that was posted after
 * it, and none is lost between two commands. */
#ifndef ENGINE_SESSION_SESSION_INTERNAL_H
#define ENGINE_SESSION_SESSION_INTERNAL_H

#include "engine/session/engine.h"
#include "engine/session/pictures.h"
#include "engine/session/session.h"
#include "engine/session/words.h"

#include <pthread.h>
#include <stdatomic.h>

struct queued_command {
    uint64_t number;
    uint64_t asks; /* what session->asks was with it */
    char *line;
    struct queued_command *next;
};

struct queued_request {
    struct picture_request request;
    uint64_t asks; /* what session->asks was with it */
    struct queued_request *next;
};

struct session {
    pthread_t thread;
    struct session_engine engine;   /* engine thread */
    struct session_options options; /* copies; `search` points into `directories`, `overrides` */
    struct names directories;
    char **overrides;
    struct rank_output *output;           /* has a lock of its own */
    int wake[2];                          /* pipe: read end for the front end */
    _Atomic uint64_t posted, interrupted; /* numbers of commands */
    uint64_t current;                     /* engine thread: the command that runs */
    double idle_at;                       /* engine thread: when to look after what it has */
    _Atomic uint64_t asks;                /* commands, pictures of tensors and interrupts so far */
    _Atomic uint64_t taking; /* how many there were with the picture that is being taken */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t arrived;
    struct queued_command *first_command, **last_command;
    struct queued_request *first_request, **last_request;
    struct session_event *first_event, **last_event;
    const struct snapshot *snapshot;
    struct words *words;
    bool stopping;
    bool in_shell;      /* the front end runs a command of the shell, and the engine waits */
    char *shell_failed; /* why it could not; owned, NULL */
};

/* What the engine thread runs, for pthread_create; the context is the session. */
void *session_run_engine(void *context);

#endif
