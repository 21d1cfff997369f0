#include "engine/ranks/launch.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/keeper.h"
#include "engine/ranks/launched.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* After being asked: mpirun takes two seconds, more on a busy machine, and then removes its files,
 * which stay when it is killed, unless they lie in a folder of the engine's. Asked while its
 * processes start and one of them has died, it sometimes never ends. */
enum {
    PATIENCE_MILLISECONDS = 15000,
    PATIENCE_HERE_MILLISECONDS = 5000,
    KEEPER_MILLISECONDS = 60000 /* that one may take to start, on a busy machine */
};

struct words {
    char **words; /* owned, NULL-terminated when done */
    int count, capacity;
};

static void add(struct words *list, char *word)
{
    ARRAY_PUSH(list->words, list->count, list->capacity, word);
}

static void free_words(struct words *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->words[i]);
    free(list->words);
}

/* ---- what is started ---- */

static void add_user_launcher(struct words *command, const char *launcher)
{
    char *copy = memory_string(launcher), *rest = copy;
    for (char *word; (word = strsep(&rest, " \t"));)
        if (*word)
            add(command, memory_string(word));
    free(copy);
}

/* Recovery: one rank that dies must not take the others away before they were looked at. Binding:
 * by default mpirun binds each of two ranks to one core, threads and all. */
static void add_mpirun(struct words *command, const struct launch_options *options)
{
    static const char *const fixed[] = {
        "mpirun", "--enable-recovery", "--bind-to", "none",         "--oversubscribe",
        "-x",     LAUNCH_TOKEN,        "-x",        LAUNCH_ADDRESS, "-np"};
    for (int i = 0; i < ARRAY_LENGTH(fixed); i++)
        add(command, memory_string(fixed[i]));
    add(command, memory_format("%d", options->size));
    if (options->hostfile) {
        add(command, memory_string("--hostfile"));
        add(command, memory_string(options->hostfile));
    }
}

static void add_keeper(struct words *command, const struct launch *launch, int socket,
                       const struct launch_options *options)
{
    add(command, memory_string(options->program));
    add(command, memory_string(KEEPER_COMMAND));
    add(command, memory_format("%d", (int)getpid()));
    add(command, memory_format("%d", socket));
    add(command, memory_format("%d", launch->patience));
    add(command, memory_string(options->folder ? options->folder : ""));
    add(command, memory_string(options->memory_folder ? options->memory_folder : ""));
}

static void add_launcher(struct words *command, const struct launch_options *options)
{
    if (options->launcher)
        add_user_launcher(command, options->launcher);
    else if (options->size > 1)
        add_mpirun(command, options);
    add(command, memory_string(options->program));
    add(command, memory_string("rank"));
    add(command, NULL);
}

static bool is_named(const char *entry, const char *name)
{
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

static void set(struct words *environment, const char *name, const char *value)
{
    for (int i = 0; i < environment->count; i++)
        if (is_named(environment->words[i], name)) {
            free(environment->words[i]);
            environment->words[i] = memory_format("%s=%s", name, value);
            return;
        }
    add(environment, memory_format("%s=%s", name, value));
}

static void set_default(struct words *environment, const char *name, const char *value)
{
    if (!getenv(name))
        set(environment, name, value);
}

/* Open MPI's settings that suit ranks which wait for a debugger; what the user has set stays.
 * pml, btl: no time is lost on looking for other networks. opal_signal: handlers of its own only
 * for a signal that nobody sends, as an empty list is the default one: a rank dies of a signal as
 * it would alone, and its last words are its own. Whether one process may read another's memory
 * differs from machine to machine, and is found out by failing: vader's two copies always work. */
static void set_open_mpi(struct words *environment, const struct launch_options *options)
{
    if (options->folder)
        set_default(environment, "OMPI_MCA_orte_tmpdir_base", options->folder);
    if (options->memory_folder)
        set_default(environment, "OMPI_MCA_btl_vader_backing_directory", options->memory_folder);
    set_default(environment, "OMPI_MCA_pml", "ob1");
    set_default(environment, "OMPI_MCA_btl", options->remote ? "self,vader,tcp" : "self,vader");
    set_default(environment, "OMPI_MCA_opal_signal", "64");
    set_default(environment, "OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    if (geteuid() == 0) {
        set(environment, "OMPI_ALLOW_RUN_AS_ROOT", "1");
        set(environment, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
}

static void build_environment(struct words *environment, const struct launch_options *options)
{
    for (char **entry = environ; *entry; entry++)
        add(environment, memory_string(*entry));
    set(environment, LAUNCH_ADDRESS, options->address);
    set(environment, LAUNCH_TOKEN, options->token);
    if (options->size == 1 && !options->launcher)
        set(environment, LAUNCH_RANK, "0");
    set_open_mpi(environment, options);
    /* there are as many ranks as cores, or more: threads that spin would take them from the others
     */
    if (!getenv("OMP_WAIT_POLICY"))
        set(environment, "GOMP_SPINCOUNT", "1000");
    add(environment, NULL);
}

/* ---- starting ---- */

/* Whether execvp would find it. */
static bool find_program(const char *name, struct status *status)
{
    char *path = memory_string(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"), *rest = path;
    bool found = strchr(name, '/') != NULL;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        char *candidate = memory_format("%s/%s", *folder ? folder : ".", name);
        found = access(candidate, X_OK) == 0;
        free(candidate);
    }
    free(path);
    return found ||
           status_fail(status, STATUS_UNSUPPORTED,
                       "%s is not installed: it starts the processes of several ranks", name);
}

/* In the child, after fork: only calls that are safe there. */
static void become(char **command, char **environment, int output, int socket)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    fcntl(socket, F_SETFD, 0);
    execve(command[0], command, environment);
    struct keeper_note note = {.kind = KEEPER_ABSENT, .value = errno};
    ssize_t sent = send(socket, &note, sizeof(note), MSG_NOSIGNAL);
    _exit(sent < 0 ? 126 : 127);
}

/* What the keeper says; false: nothing within this time, or it has ended. */
static bool take_note(struct launch *launch, struct keeper_note *note, int milliseconds)
{
    struct pollfd poller = {.fd = launch->descriptor, .events = POLLIN};
    while (poll(&poller, 1, milliseconds) < 0 && errno == EINTR)
        continue;
    return recv(launch->descriptor, note, sizeof(*note), MSG_DONTWAIT) == sizeof(*note);
}

static bool fork_keeper(struct launch *launch, char **command, char **environment, int output,
                        int socket, struct status *status)
{
    pid_t pid = fork();
    if (pid == 0)
        become(command, environment, output, socket);
    if (pid < 0)
        return status_fail(status, STATUS_IO, "no process for the keeper of the launch: %s",
                           strerror(errno));
    launch->keeper = pid;
    setpgid(pid, pid);
    return true;
}

/* The keeper has been forked, and this process' copy of its socket is closed: who does not become
 * one is seen at once. */
static bool await_launcher(struct launch *launch, const char *program, const char *launcher,
                           struct status *status)
{
    struct keeper_note note;
    if (!take_note(launch, &note, KEEPER_MILLISECONDS))
        return status_fail(status, STATUS_IO, "%s: the keeper of the launch did not start",
                           program);
    if (note.kind != KEEPER_STARTED)
        return status_fail(status, STATUS_IO, "%s: %s",
                           note.kind == KEEPER_ABSENT ? program : launcher, strerror(note.value));
    launch->pid = (pid_t)note.value;
    return true;
}

static bool start(struct launch *launch, const struct launch_options *options,
                  const struct words *launcher, int output, struct status *status)
{
    struct words command = {0}, environment = {0};
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        return status_fail(status, STATUS_IO, "no socket for ranks: %s", strerror(errno));
    launch->descriptor = sockets[0];
    add_keeper(&command, launch, sockets[1], options);
    for (int i = 0; i < launcher->count; i++)
        add(&command, memory_string(launcher->words[i]));
    add(&command, NULL);
    build_environment(&environment, options);
    bool ok = fork_keeper(launch, command.words, environment.words, output, sockets[1], status);
    close(sockets[1]);
    ok = ok && await_launcher(launch, options->program, launcher->words[0], status);
    free_words(&command);
    free_words(&environment);
    return ok;
}

/* A program that is no keeper, or no rank, would otherwise start itself, and so on forever. */
static bool check_outside(struct status *status)
{
    return !getenv(LAUNCH_TOKEN) ||
           status_fail(status, STATUS_INVALID,
                       "this process was itself started for ranks (" LAUNCH_TOKEN
                       " is set), and can start none");
}

bool launch_start(struct launch *launch, const struct launch_options *options,
                  struct status *status)
{
    struct words launcher = {0};
    int output[2] = {-1, -1};
    *launch = (struct launch){.descriptor = -1, .output = -1};
    launch->token = memory_string(options->token);
    launch->patience = options->folder ? PATIENCE_HERE_MILLISECONDS : PATIENCE_MILLISECONDS;
    add_launcher(&launcher, options);
    bool ok = check_outside(status) && find_program(launcher.words[0], status);
    if (ok && pipe2(output, O_CLOEXEC) != 0)
        ok = status_fail(status, STATUS_IO, "no pipe for ranks: %s", strerror(errno));
    if (ok)
        ok = start(launch, options, &launcher, output[1], status);
    if (output[1] >= 0)
        close(output[1]);
    launch->output = output[0];
    if (output[0] >= 0)
        fcntl(output[0], F_SETFL, O_NONBLOCK);
    if (!ok)
        launch_stop(launch, 0);
    free_words(&launcher);
    return ok;
}

/* ---- the end ---- */

/* How the keeper has ended, which stays to be waited for. It is about to, if it has not: it has
 * closed its socket. */
static int keeper_status(const struct launch *launch)
{
    siginfo_t how = {0};
    while (waitid(P_PID, (id_t)launch->keeper, &how, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    return how.si_code == CLD_EXITED ? how.si_status << 8 : how.si_status;
}

/* Reads what the keeper has said; false: it has ended. */
static bool listen_to_keeper(struct launch *launch)
{
    struct keeper_note note;
    ssize_t got;
    while ((got = recv(launch->descriptor, &note, sizeof(note), MSG_DONTWAIT)) == sizeof(note))
        if (note.kind == KEEPER_ENDED && !launch->ended) {
            launch->ended = true;
            launch->wait_status = note.value;
        }
    return got < 0 && (errno == EAGAIN || errno == EINTR);
}

bool launch_has_ended(struct launch *launch)
{
    if (!launch->ended && launch->keeper > 0 && !listen_to_keeper(launch) && !launch->ended) {
        launch->ended = true;
        launch->wait_status = keeper_status(launch);
    }
    return launch->ended;
}

/* Until the keeper has ended; false: it takes too long. */
static bool wait_for_keeper(struct launch *launch, int milliseconds)
{
    struct pollfd poller = {.fd = launch->descriptor, .events = POLLIN};
    double deadline = clock_seconds() + milliseconds / 1e3;
    while (listen_to_keeper(launch)) {
        double left = deadline - clock_seconds();
        if (left <= 0)
            return false;
        poll(&poller, 1, (int)(left * 1e3) + 1);
    }
    return true;
}

/* Without a keeper only those are found that have the token. */
static void end_known(const struct launch *launch)
{
    struct launched all = {.token = launch->token, .elsewhere = true};
    if (launched_signal(&all, SIGTERM) == 0 || launched_wait(&all, launch->patience))
        return;
    launched_signal(&all, SIGKILL);
    launched_wait(&all, LAUNCHED_KILLED_MILLISECONDS);
}

static void stop_keeper(struct launch *launch, int milliseconds)
{
    struct keeper_order order = {.wait = milliseconds, .patience = launch->patience};
    int state = -1;
    ssize_t sent = send(launch->descriptor, &order, sizeof(order), MSG_NOSIGNAL);
    if (!wait_for_keeper(launch, sent < 0 ? LAUNCHED_KILLED_MILLISECONDS : keeper_longest(&order)))
        kill(launch->keeper, SIGKILL);
    while (waitpid(launch->keeper, &state, 0) < 0 && errno == EINTR)
        continue;
    if (state != 0)
        end_known(launch);
}

void launch_stop(struct launch *launch, int milliseconds)
{
    if (launch->keeper > 0)
        stop_keeper(launch, milliseconds);
    if (launch->descriptor >= 0)
        close(launch->descriptor);
    if (launch->output >= 0)
        close(launch->output);
    free(launch->token);
    *launch = (struct launch){.descriptor = -1, .output = -1};
}

const char *launch_status_text(int wait_status, char *buffer, int size)
{
    if (WIFSIGNALED(wait_status))
        snprintf(buffer, (size_t)size, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(buffer, (size_t)size, "ended with exit status %d", WEXITSTATUS(wait_status));
    return buffer;
}
