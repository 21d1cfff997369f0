#include "engine/ranks/launch.h"

#include "engine/base/memory.h"
#include "engine/ranks/launched.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* After being asked: mpirun takes two seconds, more on a busy machine, and then removes its files,
 * which stay when it is killed, unless they lie in a folder of the engine's. Asked while its
 * processes start and one of them has died, it sometimes never ends. */
enum {
    PATIENCE_MILLISECONDS = 15000,
    PATIENCE_HERE_MILLISECONDS = 5000,
    KILLED_MILLISECONDS = 5000 /* until the system has taken a killed process away */
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

static void build_command(struct words *command, const struct launch_options *options)
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

static void set_kept(struct words *environment, const struct launch_options *options)
{
    char machine[LAUNCHED_MACHINE];
    char *kept = memory_format("%d:%s:%s:%s", (int)getpid(), launched_machine(machine),
                               options->folder ? options->folder : "",
                               options->memory_folder ? options->memory_folder : "");
    set(environment, LAUNCH_KEPT, kept);
    free(kept);
}

static void build_environment(struct words *environment, const struct launch_options *options)
{
    for (char **entry = environ; *entry; entry++)
        add(environment, memory_string(*entry));
    set(environment, LAUNCH_ADDRESS, options->address);
    set(environment, LAUNCH_TOKEN, options->token);
    if (options->size == 1 && !options->launcher)
        set(environment, LAUNCH_RANK, "0");
    set_kept(environment, options);
    set_open_mpi(environment, options);
    /* there are as many ranks as cores, or more: threads that spin would take them from the others
     */
    if (!getenv("OMP_WAIT_POLICY"))
        set(environment, "GOMP_SPINCOUNT", "1000");
    add(environment, NULL);
}

/* ---- starting ---- */

/* The path of a program: execve looks into no PATH, and execvp may not be called after fork. */
static char *find_program(const char *name, struct status *status)
{
    char *path = memory_string(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"), *rest = path;
    char *found = strchr(name, '/') ? memory_string(name) : NULL;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        char *candidate = memory_format("%s/%s", *folder ? folder : ".", name);
        if (access(candidate, X_OK) == 0)
            found = candidate;
        else
            free(candidate);
    }
    free(path);
    if (!found)
        status_fail(status, STATUS_UNSUPPORTED,
                    "%s is not installed: it starts the processes of several ranks", name);
    return found;
}

/* In the child, after fork: only calls that are safe there. */
static void become(const char *path, char **command, char **environment, int output, int failure,
                   pid_t parent)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    /* asked rather than killed: mpirun removes its files then */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (getppid() == parent) /* else the engine died before it could be watched */
        execve(path, command, environment);
    int code = errno;
    if (write(failure, &code, sizeof(code)) < 0)
        _exit(126);
    _exit(127);
}

/* Forks; false with errno when the child could not become the program. */
static bool fork_child(struct launch *launch, const char *path, char **command, char **environment,
                       int output)
{
    int failure[2], code = 0;
    if (pipe2(failure, O_CLOEXEC) != 0)
        return false;
    pid_t parent = getpid();
    launch->pid = fork();
    if (launch->pid == 0)
        become(path, command, environment, output, failure[1], parent);
    int error = errno;
    close(failure[1]);
    ssize_t bytes = launch->pid > 0 ? read(failure[0], &code, sizeof(code)) : 0;
    close(failure[0]);
    if (launch->pid > 0 && bytes == 0) {
        setpgid(launch->pid, launch->pid);
        launch->descriptor = (int)syscall(SYS_pidfd_open, launch->pid, 0);
        return launch->descriptor >= 0;
    }
    if (launch->pid > 0)
        waitpid(launch->pid, NULL, 0);
    launch->pid = 0;
    errno = bytes > 0 ? code : error;
    return false;
}

bool launch_start(struct launch *launch, const struct launch_options *options,
                  struct status *status)
{
    struct words command = {0}, environment = {0};
    int output[2] = {-1, -1};
    *launch = (struct launch){.descriptor = -1, .output = -1};
    launch->token = memory_string(options->token);
    launch->patience = options->folder ? PATIENCE_HERE_MILLISECONDS : PATIENCE_MILLISECONDS;
    build_command(&command, options);
    build_environment(&environment, options);
    char *path = find_program(command.words[0], status);
    bool ok = path != NULL;
    if (ok && pipe2(output, O_CLOEXEC) != 0)
        ok = status_fail(status, STATUS_IO, "no pipe for ranks: %s", strerror(errno));
    if (ok && !fork_child(launch, path, command.words, environment.words, output[1]))
        ok = status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    if (output[1] >= 0)
        close(output[1]);
    launch->output = output[0];
    if (output[0] >= 0)
        fcntl(output[0], F_SETFL, O_NONBLOCK);
    if (!ok)
        launch_stop(launch, 0);
    free(path);
    free_words(&command);
    free_words(&environment);
    return ok;
}

bool launch_has_ended(struct launch *launch)
{
    siginfo_t how = {0};
    if (launch->ended || launch->pid <= 0)
        return launch->ended;
    /* it stays to be waited for: so its number, and that of its group, are nobody else's */
    int result = waitid(P_PID, (id_t)launch->pid, &how, WEXITED | WNOHANG | WNOWAIT);
    launch->ended = result != 0 || how.si_pid == launch->pid;
    if (result == 0 && launch->ended)
        launch->wait_status = how.si_code == CLD_EXITED ? how.si_status << 8 : how.si_status;
    return launch->ended;
}

static bool wait_for_end(struct launch *launch, int milliseconds)
{
    struct pollfd poller = {.fd = launch->descriptor, .events = POLLIN};
    if (!launch_has_ended(launch))
        poll(&poller, 1, milliseconds);
    return launch_has_ended(launch);
}

/* Those that the launcher has started may need as long as it does: it may be a script, and mpirun
 * what it waits for. */
static void end_group(struct launch *launch)
{
    struct launched group = {.token = launch->token, .group = launch->pid};
    if (!launch_has_ended(launch) || launched_signal(&group, 0) > 0) {
        kill(-launch->pid, SIGTERM);
        if (launched_wait(&group, launch->patience))
            wait_for_end(launch, launch->patience); /* of one that has cleared its environment */
    }
    kill(-launch->pid, SIGKILL);
    launched_wait(&group, KILLED_MILLISECONDS);
    while (waitpid(launch->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static void end_others(const struct launch *launch)
{
    struct launched others = {.token = launch->token, .group = launch->pid, .elsewhere = true};
    if (launched_signal(&others, SIGTERM) == 0 || launched_wait(&others, launch->patience))
        return;
    launched_signal(&others, SIGKILL);
    launched_wait(&others, KILLED_MILLISECONDS);
}

void launch_stop(struct launch *launch, int milliseconds)
{
    if (launch->pid > 0) {
        wait_for_end(launch, milliseconds);
        end_group(launch);
        end_others(launch);
    }
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
