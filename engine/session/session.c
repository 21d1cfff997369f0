/* The engine thread, and the queues between it and the front end.
 *
 * An interrupt stores the number of the newest command: the engine gives up what runs or waits
 * with that number or a smaller one. So an interrupt never hits a command that was posted after
 * it, and none is lost between two commands. */
#include "engine/session/session.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/engine.h"
#include "engine/session/output.h"
#include "engine/session/pictures.h"
#include "engine/session/recorder.h"
#include "engine/session/replay.h"
#include "engine/session/snapshot.h"
#include "engine/session/words.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SECONDS 0.1 /* between two looks after what the engine has */

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

void session_shell_ended(struct session *session, const char *failure)
{
    pthread_mutex_lock(&session->mutex);
    free(session->shell_failed);
    session->shell_failed = memory_string(failure);
    session->in_shell = false;
    pthread_cond_signal(&session->arrived);
    pthread_mutex_unlock(&session->mutex);
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

static void *run_engine(void *context)
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

static void copy_options(struct session *session, const struct session_options *options)
{
    const struct config_search *search = &options->search;
    session->options = *options;
    session->options.device = memory_string(options->device ? options->device : "auto");
    for (int i = 0; i < search->directory_count; i++)
        names_set(&session->directories, search->directories[i], i);
    session->overrides = memory_zeroed((size_t)search->override_count, sizeof(char *));
    for (int i = 0; i < search->override_count; i++)
        session->overrides[i] = memory_string(search->overrides[i]);
    session->options.search.directories = (const char *const *)session->directories.names;
    session->options.search.directory_count = session->directories.count;
    session->options.search.overrides = (const char *const *)session->overrides;
}

static bool open_pipe(struct session *session, struct status *status)
{
    if (pipe(session->wake) != 0)
        return status_fail(status, STATUS_IO, "pipe: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        fcntl(session->wake[i], F_SETFL, O_NONBLOCK);
        fcntl(session->wake[i], F_SETFD, FD_CLOEXEC);
    }
    return true;
}

/* The engine thread and all that devices start from it shall see no signals. */
static bool start_thread(struct session *session, struct status *status)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&session->thread, NULL, run_engine, session);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 || status_fail(status, STATUS_IO, "no thread: %s", strerror(error));
}

static void free_session(struct session *session)
{
    while (session->first_command) {
        struct queued_command *command = session->first_command;
        session->first_command = command->next;
        free(command->line);
        free(command);
    }
    while (session->first_request)
        free(take_request(session, false));
    session_events_free(session->first_event);
    snapshot_release(&session->snapshot);
    words_release(session->words);
    rank_output_free(session->output);
    free(session->shell_failed);
    for (int i = 0; i < 2; i++)
        if (session->wake[i] >= 0)
            close(session->wake[i]);
    pthread_mutex_destroy(&session->mutex);
    pthread_cond_destroy(&session->arrived);
    for (int i = 0; i < session->options.search.override_count; i++)
        free(session->overrides[i]);
    free(session->overrides);
    names_free(&session->directories);
    free((void *)(uintptr_t)session->options.device);
    free(session);
}

/* The engine that was asked for, behind a recorder if one was asked for. */
static bool open_engine(struct session *session, const struct session_options *options,
                        struct status *status)
{
    if (options->engine)
        session->engine = *options->engine;
    else if (!options->replay)
        session->engine = debugger_engine();
    else if (!replay_open(options->replay, &session->engine, status))
        return false;
    return !options->record || recorder_open(options->record, &session->engine, status);
}

struct session *session_start(const struct session_options *options, struct status *status)
{
    struct session *session = memory_zeroed(1, sizeof(*session));
    session->wake[0] = session->wake[1] = -1;
    session->last_command = &session->first_command;
    session->last_request = &session->first_request;
    session->last_event = &session->first_event;
    pthread_mutex_init(&session->mutex, NULL);
    pthread_cond_init(&session->arrived, NULL);
    copy_options(session, options);
    session->output = rank_output_create(NULL);
    if (open_engine(session, options, status) && open_pipe(session, status) &&
        start_thread(session, status))
        return session;
    if (session->engine.free)
        session->engine.free(session->engine.state);
    free_session(session);
    return NULL;
}

void session_stop(struct session *session)
{
    if (!session)
        return;
    session_interrupt(session);
    pthread_mutex_lock(&session->mutex);
    session->stopping = true;
    pthread_cond_signal(&session->arrived);
    pthread_mutex_unlock(&session->mutex);
    pthread_join(session->thread, NULL);
    free_session(session);
}

uint64_t session_post(struct session *session, const char *line)
{
    struct queued_command *command = memory_zeroed(1, sizeof(*command));
    command->line = memory_string(line);
    command->number = atomic_load(&session->posted) + 1;
    /* Before the engine can see the command: an interrupt from now on is meant for it too. */
    atomic_store(&session->posted, command->number);
    uint64_t number = command->number;
    command->asks = atomic_fetch_add(&session->asks, 1) + 1;
    pthread_mutex_lock(&session->mutex);
    *session->last_command = command;
    session->last_command = &command->next;
    pthread_cond_signal(&session->arrived);
    pthread_mutex_unlock(&session->mutex);
    return number;
}

void session_request(struct session *session, const struct picture_request *request)
{
    struct queued_request *queued = memory_zeroed(1, sizeof(*queued));
    queued->request = *request;
    queued->asks = request->kind == PICTURE_TENSOR ? atomic_fetch_add(&session->asks, 1) + 1
                                                   : atomic_load(&session->asks);
    pthread_mutex_lock(&session->mutex);
    *session->last_request = queued;
    session->last_request = &queued->next;
    pthread_cond_signal(&session->arrived);
    pthread_mutex_unlock(&session->mutex);
}

void session_interrupt(struct session *session)
{
    atomic_store(&session->interrupted, atomic_load(&session->posted));
    atomic_fetch_add(&session->asks, 1);
}

int session_wake_fd(const struct session *session)
{
    return session->wake[0];
}

struct session_event *session_take_events(struct session *session)
{
    char bytes[256];
    while (read(session->wake[0], bytes, sizeof(bytes)) > 0)
        continue;
    pthread_mutex_lock(&session->mutex);
    struct session_event *events = session->first_event;
    session->first_event = NULL;
    session->last_event = &session->first_event;
    pthread_mutex_unlock(&session->mutex);
    return events;
}

void session_events_free(struct session_event *events)
{
    while (events) {
        struct session_event *next = events->next;
        picture_free(events->picture);
        free(events->text);
        free(events);
        events = next;
    }
}

struct rank_output *session_output(struct session *session)
{
    return session->output;
}

char *session_file_line(const struct session_file *file)
{
    const struct {
        const char *word, *value;
    } pairs[] = {{"against", file->against}, {"init", file->init_from}, {"data", file->data}};
    struct text line = {0};
    text_format(&line, "file %s", file->run);
    for (int i = 0; i < ARRAY_LENGTH(pairs); i++) {
        const char *value = pairs[i].value;
        if (!value)
            continue;
        const char *quote = !*value || strpbrk(value, " \t") ? "\"" : "";
        text_format(&line, " %s %s%s%s", pairs[i].word, quote, value, quote);
    }
    if (file->fault)
        text_format(&line, " fault %s", file->fault);
    return text_take(&line);
}

const char *session_command_name(const char *line)
{
    char word[COMMAND_WORD_SIZE];
    const char *arguments;
    const struct command *command =
        command_split(line, word, &arguments, NULL) ? command_find(word, NULL) : NULL;
    return command ? command->name : NULL;
}

const struct snapshot *session_snapshot(struct session *session)
{
    pthread_mutex_lock(&session->mutex);
    const struct snapshot *snapshot = snapshot_hold(session->snapshot);
    pthread_mutex_unlock(&session->mutex);
    return snapshot;
}

int session_complete(struct session *session, const char *line, size_t start, size_t end,
                     char ***matches)
{
    pthread_mutex_lock(&session->mutex);
    struct words *words = words_hold(session->words);
    pthread_mutex_unlock(&session->mutex);
    int count = words_complete(words, &session->options.search, line, start, end, matches);
    words_release(words);
    return count;
}
