/* The front end's side of a session: queues of commands and requests to the engine thread, and of
 * events from it. */
#include "engine/session/session.h"

#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/output.h"
#include "engine/session/recorder.h"
#include "engine/session/replay.h"
#include "engine/session/session_internal.h"
#include "engine/session/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void session_shell_ended(struct session *session, const char *failure)
{
    pthread_mutex_lock(&session->mutex);
    free(session->shell_failed);
    session->shell_failed = memory_string(failure);
    session->in_shell = false;
    pthread_cond_signal(&session->arrived);
    pthread_mutex_unlock(&session->mutex);
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
    int error = pthread_create(&session->thread, NULL, session_run_engine, session);
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
    while (session->first_request) {
        struct queued_request *request = session->first_request;
        session->first_request = request->next;
        free(request);
    }
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
