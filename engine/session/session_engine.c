/* The engine's side of a session: what its thread does, one command after the other, pictures in
 * between. */
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/session/output.h"
#include "engine/session/session_internal.h"
#include "engine/session/snapshot.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SECONDS 0.1 /* between two looks after what the engine has */

/* A full pipe is fine: then the front end has been told already. */
static void wake(struct session *session)
{
    ssize_t written = write(session->wake[1], "", 1);
    (void)written;
}

static void add_event(struct session *session, const struct session_event *template)
{
    struct session_event *event = memory_zeroed(1, sizeof(*event));
    *event = *template;
    pthread_mutex_lock(&session->mutex);
    *session->last_event = event;
    session->last_event = &event->next;
    pthread_mutex_unlock(&session->mutex);
    wake(session);
}

static void sink_emit(void *context, enum event_kind kind, const char *text)
{
    struct session *session = context;
    add_event(session, &(struct session_event){
                           .kind = kind, .command = session->current, .text = memory_string(text)});
}

static bool sink_cancelled(void *context)
{
    struct session *session = context;
    return atomic_load(&session->interrupted) >= session->current;
}

static bool sink_unwanted(void *context)
{
    struct session *session = context;
    return atomic_load(&session->asks) != atomic_load(&session->taking);
}

static bool sink_shell(void *context, const char *command, struct status *status)
{
    struct session *session = context;
    pthread_mutex_lock(&session->mutex);
    session->in_shell = true;
    pthread_mutex_unlock(&session->mutex);
    sink_emit(session, EVENT_SHELL, command);
    pthread_mutex_lock(&session->mutex);
    while (session->in_shell && !session->stopping)
        pthread_cond_wait(&session->arrived, &session->mutex);
    char *failed = session->shell_failed;
    session->shell_failed = NULL;
    pthread_mutex_unlock(&session->mutex);
    if (failed)
        status_fail(status, STATUS_IO, "%s", failed);
    free(failed);
    return !failed;
}

/* Whether a picture needs no tensor: it can be taken while ranks are on their way. */
static bool is_about_ranks(const struct queued_request *request)
{
    enum picture_kind kind = request->request.kind;
    return kind == PICTURE_RANKS || kind == PICTURE_OUTPUT;
}

/* The first request; with `about_ranks` the first of that sort. NULL: there is none. */
static struct queued_request *take_request(struct session *session, bool about_ranks)
{
    pthread_mutex_lock(&session->mutex);
    struct queued_request **link = &session->first_request;
    while (*link && about_ranks && !is_about_ranks(*link))
        link = &(*link)->next;
    struct queued_request *request = *link;
    if (request) {
        *link = request->next;
        if (!request->next)
            session->last_request = link;
    }
    pthread_mutex_unlock(&session->mutex);
    return request;
}

/* The run stands between two instructions, or with `about_ranks` ranks are waited for. Returns
 * false if no picture (of that sort) is asked for. */
static bool serve_request(struct session *session, bool about_ranks)
{
    struct queued_request *request = take_request(session, about_ranks);
    if (!request)
        return false;
    atomic_store(&session->taking, request->asks);
    struct picture *picture = session->engine.picture(session->engine.state, &request->request);
    add_event(session, &(struct session_event){.kind = EVENT_PICTURE, .picture = picture});
    free(request);
    return true;
}

/* With the mutex held. */
static int count_requests(const struct session *session)
{
    int count = 0;
    for (const struct queued_request *one = session->first_request; one; one = one->next)
        count++;
    return count;
}

/* Those that are asked for now: the run goes on also while more are asked for without a pause. */
static void serve_requests(struct session *session, bool about_ranks)
{
    pthread_mutex_lock(&session->mutex);
    int count = count_requests(session);
    pthread_mutex_unlock(&session->mutex);
    while (count-- > 0 && serve_request(session, about_ranks))
        continue;
}

static void sink_publish(void *context, struct snapshot *snapshot)
{
    struct session *session = context;
    pthread_mutex_lock(&session->mutex);
    const struct snapshot *old = session->snapshot;
    bool moves = snapshot->state == RUN_RUNNING, waits = snapshot->waits;
    session->snapshot = snapshot;
    pthread_mutex_unlock(&session->mutex);
    snapshot_release(&old);
    sink_emit(session, EVENT_CHANGED, NULL);
    if (moves)
        serve_requests(session, waits);
}

static void sink_loaded(void *context, struct words *words)
{
    struct session *session = context;
    pthread_mutex_lock(&session->mutex);
    struct words *old = session->words;
    session->words = words;
    pthread_mutex_unlock(&session->mutex);
    words_release(old);
}

/* With the mutex held. */
static void wait_for_work(struct session *session)
{
    struct timespec until;
    if (!session->engine.idle) {
        pthread_cond_wait(&session->arrived, &session->mutex);
        return;
    }
    double left = session->idle_at - clock_seconds();
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += left > 0 ? (long)(left * 1e9) : 0; /* left is below a second */
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&session->arrived, &session->mutex, &until);
}

/* With the mutex held. Between commands the engine looks after what it has from time to time, also
 * while pictures are asked for without a pause. */
static void look_after(struct session *session)
{
    if (!session->engine.idle || clock_seconds() < session->idle_at)
        return;
    pthread_mutex_unlock(&session->mutex);
    session->engine.idle(session->engine.state);
    pthread_mutex_lock(&session->mutex);
    session->idle_at = clock_seconds() + IDLE_SECONDS;
}

/* With the mutex held. */
static bool command_is_next(const struct session *session)
{
    const struct queued_command *command = session->first_command;
    const struct queued_request *request = session->first_request;
    return command && (!request || request->asks >= command->asks);
}

/* The next command; NULL when the session ends. Takes the pictures first that were asked for before
 * it, and those that are asked for by now; not all that come meanwhile, which may have no end. */
static struct queued_command *take_command(struct session *session)
{
    pthread_mutex_lock(&session->mutex);
    for (int pictures = count_requests(session);
         (pictures > 0 || !command_is_next(session)) && !session->stopping;
         pictures -= pictures > 0) {
        if (session->first_request) {
            pthread_mutex_unlock(&session->mutex);
            serve_request(session, false);
            pthread_mutex_lock(&session->mutex);
        } else {
            wait_for_work(session);
        }
        look_after(session);
    }
    struct queued_command *command = session->stopping ? NULL : session->first_command;
    if (command) {
        session->first_command = command->next;
        if (!session->first_command)
            session->last_command = &session->first_command;
    }
    pthread_mutex_unlock(&session->mutex);
    return command;
}

static void run_command(struct session *session, const struct queued_command *command)
{
    struct status status = STATUS_NONE;
    session->current = command->number;
    bool ok, quit = false;
    if (sink_cancelled(session))
        ok = status_fail(&status, STATUS_CANCELLED, "interrupted before it began: %s",
                         command->line);
    else
        ok = session->engine.execute(session->engine.state, command->line, &quit, &status);
    if (!ok)
        sink_emit(session, EVENT_ERROR, status.text);
    if (quit)
        sink_emit(session, EVENT_QUIT, NULL);
    add_event(session,
              &(struct session_event){.kind = EVENT_DONE, .command = command->number, .ok = ok});
    session->current = 0;
}

void *session_run_engine(void *context)
{
    struct session *session = context;
    struct debugger_sink sink = {.context = session,
                                 .emit = sink_emit,
                                 .cancelled = sink_cancelled,
                                 .publish = sink_publish,
                                 .loaded = sink_loaded,
                                 .output = session->output,
                                 .unwanted = sink_unwanted,
                                 .shell = session->options.shell ? sink_shell : NULL};
    session->engine.start(session->engine.state, &session->options, &sink);
    struct queued_command *command;
    while ((command = take_command(session))) {
        run_command(session, command);
        free(command->line);
        free(command);
    }
    session->engine.free(session->engine.state);
    return NULL;
}
