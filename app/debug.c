/* lockstep debug: the prompt, and scripts without one. All work is the session's; this only posts
 * lines and prints events. */
#include "app/app.h"
#include "app/arguments.h"
#include "app/run_words.h"

#include "engine/base/memory.h"
#include "engine/session/session.h"
#include "ui/lineedit.h"
#include "ui/shell.h"
#include "ui/term_guard.h"

#include <errno.h>
#include <grp.h>
#include <locale.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct prompt {
    struct term_guard *guard;
    struct session *session;
    struct lineedit *edit; /* NULL in batch */
    char **lines;          /* to be run before anything is read */
    int line_count, line_capacity, next_line;
    int file_line;    /* index of the line that loads the run, -1 = none */
    uint64_t waiting; /* number of the command that runs, 0 = none */
    char *urgent;     /* owned: typed while a command ran, to be done as soon as it has stopped */
    char *asked;      /* owned: waits for the answer whether it is meant */
    bool begins_list; /* the command that runs is 'commands' */
    bool posted;      /* a command, since this was looked at: it may have ended already */
    bool batch, quit, failed, interactive;
    bool code_given; /* by 'quit CODE': nothing else changes it */
    int code;
};

static const char *const PROMPT = "(lockstep) ", *const PROMPT_OF_LIST = "> ";

static void add_line(struct prompt *prompt, char *line)
{
    ARRAY_PUSH(prompt->lines, prompt->line_count, prompt->line_capacity, line);
}

static void show(struct prompt *prompt, FILE *stream, const char *prefix, const char *text)
{
    if (prompt->edit)
        lineedit_hide(prompt->edit);
    size_t length = text ? strlen(text) : 0;
    fflush(stream == stdout ? stderr : stdout);
    fprintf(stream, "%s%s%s", prefix, text ? text : "",
            length && text[length - 1] == '\n' ? "" : "\n");
    fflush(stream);
    if (prompt->edit)
        lineedit_show(prompt->edit);
}

static void show_error(struct prompt *prompt, const char *text)
{
    char *shown = app_printable(text ? text : "");
    show(prompt, prompt->interactive ? stdout : stderr,
         prompt->interactive ? "" : "lockstep: ", shown);
    free(shown);
}

/* A command ended: in a script a failure ends everything, at the prompt it is told and forgotten.
 */
static void end_command(struct prompt *prompt, bool ok)
{
    bool was_file = prompt->next_line - 1 == prompt->file_line && prompt->file_line >= 0;
    prompt->waiting = 0;
    prompt->failed = prompt->failed || !ok;
    if (was_file)
        prompt->file_line = -1;
    if (!ok && was_file && !prompt->interactive)
        prompt->code = EXIT_USAGE;
    if (ok || !prompt->batch)
        return;
    prompt->code = was_file ? EXIT_USAGE : EXIT_FAILED;
    prompt->quit = true;
}

/* In a script that is typed through a pipe its lines are not the command's input. */
static void run_shell(struct prompt *prompt, const char *command)
{
    struct status status = STATUS_NONE;
    bool piped = prompt->edit && !prompt->interactive;
    bool ok = shell_run(command, piped ? -1 : STDIN_FILENO, -1, &status);
    session_shell_ended(prompt->session, ok ? NULL : status.text);
}

static void leave(struct prompt *prompt)
{
    const struct snapshot *snapshot = session_snapshot(prompt->session);
    prompt->quit = true;
    prompt->code_given = snapshot && snapshot->exit_given;
    if (prompt->code_given)
        prompt->code = snapshot->exit_code;
    snapshot_release(&snapshot);
}

static void handle_event(struct prompt *prompt, const struct session_event *event)
{
    switch (event->kind) {
    case EVENT_OUTPUT:
    case EVENT_MESSAGE:
        show(prompt, stdout, "", event->text);
        break;
    case EVENT_ERROR:
        show_error(prompt, event->text);
        break;
    case EVENT_QUIT:
        leave(prompt);
        break;
    case EVENT_SHELL:
        run_shell(prompt, event->text);
        break;
    case EVENT_DONE:
        if (event->command == prompt->waiting)
            end_command(prompt, event->ok);
        break;
    case EVENT_RUNNING:
    case EVENT_STOPPED: /* its text is in the output too */
    case EVENT_CHANGED:
    case EVENT_PICTURE:
        break;
    }
}

static void handle_events(struct prompt *prompt)
{
    struct session_event *events = session_take_events(prompt->session);
    for (const struct session_event *event = events; event; event = event->next)
        handle_event(prompt, event);
    session_events_free(events);
}

/* Whether the next line belongs to a breakpoint's commands. */
static bool is_typing(const struct prompt *prompt)
{
    const struct snapshot *snapshot = session_snapshot(prompt->session);
    bool typing = snapshot && snapshot->typing;
    snapshot_release(&snapshot);
    return typing;
}

/* What is typed while the command runs. Some of it cannot wait for the end: it stops the command.
 */
static bool is_urgent(void *context, const char *line)
{
    struct prompt *prompt = context;
    const char *name = line ? session_command_name(line) : "quit";
    if (!name || (strcmp(name, "quit") != 0 && strcmp(name, "kill") != 0))
        return false;
    if (prompt->begins_list || is_typing(prompt)) /* to be done when the breakpoint is hit */
        return false;
    free(prompt->urgent);
    prompt->urgent = memory_string(line ? line : name);
    if (prompt->waiting)
        session_interrupt(prompt->session);
    lineedit_interrupt(prompt->edit); /* what was typed before it must not answer the question */
    return true;
}

static void post(struct prompt *prompt, const char *line)
{
    const char *name = session_command_name(line);
    prompt->begins_list = name && strcmp(name, "commands") == 0;
    prompt->waiting = session_post(prompt->session, line);
    prompt->posted = true;
    if (prompt->edit) /* these came with the command: they follow it */
        lineedit_read_ahead(prompt->edit, NULL);
}

/* Leaving a run that has begun is asked about, as gdb does; not in scripts. Opens the question. */
static bool ask(struct prompt *prompt, const char *line)
{
    const char *name = session_command_name(line);
    bool leaves = name && strcmp(name, "quit") == 0, kills = name && strcmp(name, "kill") == 0;
    if (!prompt->interactive || (!leaves && !kills))
        return false;
    const struct snapshot *snapshot = session_snapshot(prompt->session);
    bool active = snapshot && !snapshot->typing && snapshot->confirm &&
                  snapshot->state != RUN_NONE && snapshot->state != RUN_ENDED &&
                  (snapshot->step > 0 || snapshot->next > 0);
    if (active) {
        char *text = memory_format("A run is active: %s, %s.", snapshot->run, snapshot->place);
        show(prompt, stdout, "", text);
        free(text);
        prompt->asked = memory_string(line);
        lineedit_ask(prompt->edit, leaves ? "Quit anyway? (y or n) " : "End it? (y or n) ");
    }
    snapshot_release(&snapshot);
    return active;
}

static bool says(const char *line, const char *word)
{
    size_t length = strcspn(line, " \t");
    return length > 0 && strncasecmp(line, word, length) == 0 && length <= strlen(word);
}

/* The end of the input says yes, as in gdb. */
static void take_answer(struct prompt *prompt, const char *line)
{
    if (line && !says(line, "yes") && !says(line, "no")) {
        show(prompt, stdout, "", "Please answer y or n.");
        lineedit_ask(prompt->edit, "(y or n) ");
        return;
    }
    char *asked = prompt->asked;
    prompt->asked = NULL;
    if (!line || says(line, "yes"))
        post(prompt, asked);
    else
        lineedit_prompt(prompt->edit, PROMPT);
    free(asked);
}

static void on_line(void *context, const char *line)
{
    struct prompt *prompt = context;
    if (prompt->asked) {
        take_answer(prompt, line);
    } else if (!line && !prompt->interactive) {
        prompt->quit = true;
    } else {
        if (!line) /* Ctrl-D: on a terminal more may come */
            lineedit_reopen(prompt->edit);
        const char *meant = line ? line : is_typing(prompt) ? "end" : "quit";
        if (!ask(prompt, meant))
            post(prompt, meant);
    }
}

static int on_complete(void *context, const char *line, size_t start, size_t end, char ***matches)
{
    struct prompt *prompt = context;
    return session_complete(prompt->session, line, start, end, matches);
}

static void forget_question(struct prompt *prompt)
{
    if (!prompt->asked)
        return;
    free(prompt->asked);
    prompt->asked = NULL;
    lineedit_prompt(prompt->edit, PROMPT);
}

static void handle_signals(struct prompt *prompt)
{
    for (int signal; (signal = term_guard_take(prompt->guard)) != 0;) {
        if (signal == SIGINT && (prompt->waiting || !prompt->edit)) {
            session_interrupt(prompt->session);
            if (prompt->edit && prompt->interactive)
                lineedit_interrupt(prompt->edit);
        } else if (signal == SIGINT) {
            forget_question(prompt);
            lineedit_interrupt(prompt->edit);
            if (is_typing(prompt))
                post(prompt, SESSION_ABANDON);
        } else if (signal == SIGTSTP)
            term_guard_stop(prompt->guard);
        else if (signal == SIGWINCH && prompt->edit)
            lineedit_resize(prompt->edit, 0, 0);
        if ((signal == SIGTSTP || signal == SIGCONT) && prompt->edit)
            lineedit_resume(prompt->edit);
    }
}

/* Posts the next prepared line, or opens the prompt. */
static void go_on(struct prompt *prompt)
{
    if (prompt->waiting || prompt->quit)
        return;
    char *urgent = prompt->urgent;
    prompt->urgent = NULL;
    if (urgent)
        on_line(prompt, urgent);
    else if (prompt->next_line < prompt->line_count)
        prompt->waiting = session_post(prompt->session, prompt->lines[prompt->next_line++]);
    else if (!prompt->edit)
        prompt->quit = true;
    else
        lineedit_prompt(prompt->edit, is_typing(prompt) ? PROMPT_OF_LIST : PROMPT);
    free(urgent);
}

static bool wait_for_something(struct prompt *prompt, struct status *status)
{
    bool reading = prompt->edit && !prompt->waiting;
    int input = !prompt->edit ? -1
                : reading     ? lineedit_fd(prompt->edit)
                              : lineedit_ahead_fd(prompt->edit);
    struct pollfd fds[3] = {{.fd = session_wake_fd(prompt->session), .events = POLLIN},
                            {.fd = term_guard_fd(prompt->guard), .events = POLLIN},
                            {.fd = input, .events = POLLIN}};
    bool ready = reading && lineedit_ready(prompt->edit);
    if (poll(fds, 3, ready ? 0 : -1) < 0 && errno != EINTR)
        return status_fail(status, STATUS_IO, "poll: %s", strerror(errno));
    handle_signals(prompt);
    handle_events(prompt);
    bool readable = fds[2].revents & (POLLIN | POLLHUP);
    if (reading && (ready || readable) && !lineedit_feed(prompt->edit))
        prompt->quit = true;
    else if (!reading && readable)
        lineedit_read_ahead(prompt->edit, is_urgent);
    return true;
}

static bool loop(struct prompt *prompt, struct status *status)
{
    bool was_waiting = true;
    while (!prompt->quit) {
        if (was_waiting && !prompt->waiting)
            go_on(prompt);
        was_waiting = prompt->waiting != 0;
        if (!prompt->quit && !wait_for_something(prompt, status))
            return false;
        was_waiting = was_waiting || prompt->waiting != 0 || prompt->posted;
        prompt->posted = false;
    }
    return true;
}

/* At home the two init files are one: it is run once. */
static bool is_current_folder(const char *folder)
{
    struct stat there, here;
    return stat(folder, &there) == 0 && stat(".", &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

/* Whether the group is the user's alone, as Debian makes one for everybody: of the user's name, the
 * first of the user's groups, and with nobody else in it. Files are writable for it there (umask
 * 002), and Debian's ssh takes them as well. */
static bool is_private_group(gid_t group)
{
    const struct passwd *user = getpwuid(geteuid());
    const struct group *known = user && user->pw_gid == group ? getgrgid(group) : NULL;
    if (!known || strcmp(known->gr_name, user->pw_name) != 0)
        return false;
    for (char **member = known->gr_mem; *member; member++)
        if (strcmp(*member, user->pw_name) != 0)
            return false;
    return true;
}

static bool others_can_write(const struct stat *file)
{
    return (file->st_mode & S_IWOTH) ||
           ((file->st_mode & S_IWGRP) && !is_private_group(file->st_gid));
}

/* Commands that run unasked, and of which `report!` replaces files: not those that somebody else
 * left in a shared folder. */
static bool is_trusted(const struct stat *file)
{
    return (file->st_uid == geteuid() || file->st_uid == 0) && !others_can_write(file);
}

static void add_init_file(struct prompt *prompt, const char *folder)
{
    char *path = memory_format("%s/.lockstepinit", folder);
    struct stat file;
    bool there = stat(path, &file) == 0;
    if (there && !is_trusted(&file))
        fprintf(stderr,
                "lockstep: %s is not run: another user %s it ('source %s' runs it all the same)\n",
                path, others_can_write(&file) ? "can write" : "owns", path);
    else if (there && access(path, R_OK) == 0)
        add_line(prompt, memory_format("source %s", path));
    free(path);
}

/* Where an option's value stands on the command line. */
static int position_of(int argc, char **argv, const char *word)
{
    for (int i = 0; i < argc; i++)
        if (word >= argv[i] && word <= argv[i] + strlen(argv[i]))
            return i;
    return argc;
}

/* -x and -ex in the order in which they were given, as gdb does. */
static void add_scripts(struct prompt *prompt, int argc, char **argv, const struct word_list *files,
                        const struct word_list *commands)
{
    int f = 0, c = 0;
    while (f < files->count || c < commands->count) {
        int file = f < files->count ? position_of(argc, argv, files->words[f]) : argc + 1;
        int command = c < commands->count ? position_of(argc, argv, commands->words[c]) : argc + 1;
        if (file <= command && f < files->count)
            add_line(prompt, memory_format("source %s", files->words[f++]));
        else
            add_line(prompt, memory_string(commands->words[c++]));
    }
}

static bool open_prompt(struct prompt *prompt, struct status *status)
{
    if (prompt->batch)
        return true;
    struct lineedit_options options = {.context = prompt, .line = on_line, .complete = on_complete};
    prompt->edit = lineedit_open(&options, status);
    return prompt->edit != NULL;
}

static int run_prompt(struct prompt *prompt, const struct app_options *options)
{
    struct status status = STATUS_NONE;
    struct session_options session = {.search = options->search,
                                      .device = options->device,
                                      .threads = options->threads,
                                      .launch = options->launch,
                                      .keep_limit = -1,
                                      .shell = true};
    setlocale(LC_ALL, "");
    prompt->guard = term_guard_begin(prompt->interactive ? STDIN_FILENO : -1, true, &status);
    prompt->session = prompt->guard ? session_start(&session, &status) : NULL;
    bool ok = prompt->session && open_prompt(prompt, &status) && loop(prompt, &status);
    if (ok && !prompt->interactive && is_typing(prompt)) {
        show_error(prompt, "the commands of a breakpoint have no 'end'");
        prompt->failed = true;
        prompt->code = prompt->batch ? EXIT_FAILED : prompt->code;
    }
    session_stop(prompt->session);
    lineedit_close(prompt->edit);
    term_guard_end(prompt->guard);
    if (!ok)
        return app_complain(EXIT_FAILED, "%s", status.text);
    /* A script that comes through a pipe tells by the exit code, as one of -x does. */
    if (prompt->code == EXIT_DONE && prompt->failed && !prompt->interactive && !prompt->code_given)
        return EXIT_FAILED;
    return prompt->code;
}

static void free_prompt(struct prompt *prompt)
{
    for (int i = 0; i < prompt->line_count; i++)
        free(prompt->lines[i]);
    free(prompt->lines);
    free(prompt->urgent);
    free(prompt->asked);
}

/* What the command line asks for. */
struct debug_options {
    struct word_list files, commands, positional;
    struct session_file file;
    bool batch, no_init;
};

static enum arguments_result parse(int argc, char **argv, struct debug_options *debug,
                                   struct status *status)
{
    const struct argument arguments[] = {
        {"--command", "-x", ARGUMENT_TEXTS, &debug->files, "FILE", "run the commands of a file"},
        {"--execute", "-ex", ARGUMENT_TEXTS, &debug->commands, "COMMAND", "run one command"},
        {"--batch", NULL, ARGUMENT_FLAG, &debug->batch, NULL,
         "leave after them; exit code 1 if one failed"},
        {"--fault", NULL, ARGUMENT_TEXT, &debug->file.fault, "SPEC", "put a fault into the run"},
        {"--against", NULL, ARGUMENT_TEXT, &debug->file.against, "REFERENCE",
         "compare with a VARIANT, MODEL/VARIANT or a trace's folder; none: alone"},
        {"--init-from", NULL, ARGUMENT_TEXT, &debug->file.init_from, "FILE",
         "initial parameters (safetensors, or a recipe in JSON)"},
        {"--data", NULL, ARGUMENT_TEXT, &debug->file.data, "FILE",
         "tokens, labels and documents of each step (safetensors)"},
        {"--no-init", "-nx", ARGUMENT_FLAG, &debug->no_init, NULL, "do not read .lockstepinit"},
    };
    const struct usage usage = {"lockstep debug", "[MODEL[/VARIANT]] [options]",
                                "Opens a run and its reference at a prompt with gdb's habits.\n"
                                "Type help there. MODEL/GROUP/VARIANT, a test's name, works too."};
    int count = (int)(sizeof(arguments) / sizeof(arguments[0]));
    enum arguments_result result =
        arguments_parse(argc, argv, &usage, arguments, count, &debug->positional, status);
    if (result != ARGUMENTS_OK)
        return result;
    bool ok = run_words_take(&usage, &debug->positional, &debug->file, status);
    return ok ? ARGUMENTS_OK : ARGUMENTS_WRONG;
}

static int run_debug(int argc, char **argv, const struct debug_options *debug,
                     const struct app_options *options)
{
    struct prompt prompt = {.batch = debug->batch,
                            .file_line = -1,
                            .interactive =
                                !debug->batch && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    const char *home = getenv("HOME");
    if (!debug->no_init && home && *home && !is_current_folder(home))
        add_init_file(&prompt, home);
    if (debug->file.run) {
        prompt.file_line = prompt.line_count;
        add_line(&prompt, session_file_line(&debug->file));
    }
    if (!debug->no_init)
        add_init_file(&prompt, ".");
    add_scripts(&prompt, argc, argv, &debug->files, &debug->commands);
    int code = run_prompt(&prompt, options);
    free_prompt(&prompt);
    return code;
}

int command_debug(int argc, char **argv, const struct app_options *options)
{
    struct debug_options debug = {.batch = false};
    struct status status = STATUS_NONE;
    int code = EXIT_DONE;
    switch (parse(argc, argv, &debug, &status)) {
    case ARGUMENTS_OK:
        code = run_debug(argc, argv, &debug, options);
        break;
    case ARGUMENTS_HELP:
        break;
    case ARGUMENTS_WRONG:
        code = app_complain(EXIT_USAGE, "%s", status.text);
        break;
    }
    word_list_free(&debug.files);
    word_list_free(&debug.commands);
    word_list_free(&debug.positional);
    return code;
}
