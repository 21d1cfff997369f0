/* How fast the screens are, on a pseudo-terminal of 200x60 whose other end is this program:
 *   lockstep_bench_ui LOCKSTEP [TENSORS [RANKS [LINES]]]
 * LOCKSTEP is the program, for its first frame and its use of the processor when idle. All else is
 * measured on a made-up run of so many tensors (1,000,000) that were compared, while so many ranks
 * (8) print so many lines a second each (100,000). Prints one JSON object.
 *
 * For each key: the time until the terminal hears something, and what of the processor the thread
 * of the screens took, which also means something on a machine that does other things too. */
#include "ui/ui.h"
#include "bench/synthetic.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 60, COLS = 200, KEYS = 1000, LIMIT_MS = 20000 };

struct terminal {
    int master;
    pid_t pid;
    struct text heard; /* since it was cleared */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void give_up(const char *what)
{
    fprintf(stderr, "lockstep_bench_ui: %s\n", what);
    exit(1);
}

/* ---- the program under measurement ---- */

static void start(struct terminal *terminal, void (*program)(const void *), const void *context)
{
    struct winsize size = {.ws_row = ROWS, .ws_col = COLS};
    terminal->pid = forkpty(&terminal->master, NULL, NULL, &size);
    if (terminal->pid < 0)
        give_up("no pseudo-terminal");
    if (terminal->pid == 0) {
        setenv("TERM", "xterm-256color", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
        setenv("XDG_STATE_HOME", "/nonexistent", 1);
        unsetenv("NO_COLOR");
        program(context);
        _exit(1);
    }
}

static void run_lockstep(const void *context)
{
    execl(context, context, (char *)NULL);
}

static void run_made_up(const void *context)
{
    struct session_engine engine = synthetic_engine(context);
    struct ui_options options = {
        .device = "cpu", .threads = 1, .run = "made-up/run", .engine = &engine};
    struct status status = STATUS_NONE;
    setlocale(LC_ALL, "");
    _exit(!ui_run(&options, &status));
}

static void stop(struct terminal *terminal)
{
    kill(terminal->pid, SIGKILL);
    waitpid(terminal->pid, NULL, 0);
    close(terminal->master);
    text_free(&terminal->heard);
}

/* ---- the terminal's end ---- */

/* Whether something came within so many milliseconds; takes what is there. */
static bool hear(struct terminal *terminal, int milliseconds)
{
    char bytes[65536];
    struct pollfd fd = {.fd = terminal->master, .events = POLLIN};
    if (poll(&fd, 1, milliseconds) <= 0)
        return false;
    ssize_t count = read(terminal->master, bytes, sizeof(bytes));
    if (count <= 0)
        give_up("the screens have ended");
    text_add_part(&terminal->heard, bytes, (size_t)count);
    return true;
}

static void hear_rest(struct terminal *terminal, int quiet)
{
    while (hear(terminal, quiet))
        continue;
}

/* Waits until the words were written; the seconds that took. */
static double wait_words(struct terminal *terminal, const char *words)
{
    double begun = now();
    while (!terminal->heard.data || !strstr(terminal->heard.data, words))
        if (!hear(terminal, LIMIT_MS))
            give_up(words);
    return now() - begun;
}

static void type(struct terminal *terminal, const char *bytes)
{
    text_clear(&terminal->heard);
    if (write(terminal->master, bytes, strlen(bytes)) < 0)
        give_up(strerror(errno));
}

/* ---- figures ---- */

/* What the thread of the screens took of the processor, seconds. */
static double turn_of(const struct terminal *terminal)
{
    char path[64];
    unsigned long long took = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", terminal->pid, terminal->pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%llu", &took) != 1)
        give_up("no schedstat");
    fclose(file);
    return (double)took * 1e-9;
}

/* All threads of the process, seconds. */
static double processor_of(const struct terminal *terminal)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", terminal->pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                        &user, &system) != 2)
        give_up("no stat");
    fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_of(const struct terminal *terminal)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", terminal->pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1)
        give_up("no statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 0x1p20;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct figures {
    double median, most_of_them; /* 99 % are no larger */
};

static struct figures figures_of(double *numbers, int count)
{
    qsort(numbers, (size_t)count, sizeof(*numbers), compare_doubles);
    return (struct figures){numbers[count / 2], numbers[count * 99 / 100]};
}

static void print_figures(const char *name, double *numbers, int count)
{
    struct figures figures = figures_of(numbers, count);
    printf(", \"%s_median_ms\": %.3f, \"%s_99_ms\": %.3f", name, figures.median * 1e3, name,
           figures.most_of_them * 1e3);
}

/* One key: until the terminal hears something, and what that took of the processor. False when
 * nothing came: a late frame of the key before had both in it. */
static bool measure_key(struct terminal *terminal, const char *key, double *wall, double *took)
{
    double before = turn_of(terminal);
    double begun = now();
    type(terminal, key);
    bool heard = hear(terminal, 1000);
    *wall = now() - begun;
    hear_rest(terminal, 2);
    *took = turn_of(terminal) - before;
    return heard;
}

static void measure_keys(struct terminal *terminal, const char *name, const char *const *keys,
                         int kinds)
{
    static double wall[KEYS], took[KEYS];
    char label[64];
    int typed = 0;
    for (int measured = 0; measured < KEYS; typed++) {
        measured += measure_key(terminal, keys[typed % kinds], &wall[measured], &took[measured]);
        if (typed > KEYS + KEYS / 10)
            give_up("keys without frames");
    }
    print_figures(name, wall, KEYS);
    snprintf(label, sizeof(label), "%s_cpu", name);
    print_figures(label, took, KEYS);
}

/* Something that takes the thread of the screens longer: its time on the processor. */
static double measure_long(struct terminal *terminal, const char *keys)
{
    double before = turn_of(terminal);
    type(terminal, keys);
    if (!hear(terminal, LIMIT_MS))
        give_up("no frame");
    hear_rest(terminal, 300);
    return turn_of(terminal) - before;
}

/* ---- what is measured ---- */

static void measure_start(const char *program)
{
    enum { STARTS = 11 };
    double wall[STARTS], took[STARTS];
    struct terminal terminal = {0};
    double idle = 0;
    for (int i = 0; i < STARTS; i++) {
        terminal = (struct terminal){0};
        double begun = now();
        start(&terminal, run_lockstep, program);
        wait_words(&terminal, "quit"); /* the end of the key bar, drawn last */
        wall[i] = now() - begun;
        took[i] = turn_of(&terminal);
        if (i == STARTS - 1) {
            hear_rest(&terminal, 500);
            double before = processor_of(&terminal);
            struct timespec pause = {.tv_sec = 5};
            nanosleep(&pause, NULL);
            idle = (processor_of(&terminal) - before) / 5;
        }
        stop(&terminal);
    }
    printf("{\"idle_percent\": %.2f", idle * 100);
    print_figures("first_frame", wall, STARTS);
    print_figures("first_frame_cpu", took, STARTS);
}

static void measure_made_up(const struct synthetic *what)
{
    static const char *const moves[] = {"j", "k", "\033[6~", "\033[5~", ">", "k", "g", "\033[6~"};
    struct terminal terminal = {0};
    double begun = now();
    start(&terminal, run_made_up, what);
    wait_words(&terminal, " compared");
    double opened = now() - begun;
    hear_rest(&terminal, 1000);
    printf(", \"list_opened_ms\": %.1f, \"list_opened_cpu_ms\": %.1f", opened * 1e3,
           turn_of(&terminal) * 1e3);
    type(&terminal, "3 "); /* all that was compared, not only what diverged */
    hear_rest(&terminal, 1000);
    printf(", \"list_resident_mib\": %.0f", resident_of(&terminal));
    printf(", \"all_shown_ms\": %.1f", 1e3 * measure_long(&terminal, " "));
    type(&terminal, " ");
    hear_rest(&terminal, 1000);
    static const char *const sortings[] = {"worst", "error", "max", "cosine", "name"};
    for (int i = 0; i < 5; i++)
        printf(", \"sort_%s_ms\": %.1f", sortings[i], 1e3 * measure_long(&terminal, "o"));
    printf(", \"sort_name_again_ms\": %.1f", 1e3 * measure_long(&terminal, "O"));
    measure_long(&terminal, "O");
    measure_long(&terminal, "o");
    type(&terminal, "/mlp");
    hear_rest(&terminal, 300);
    printf(", \"filter_text_ms\": %.1f", 1e3 * measure_long(&terminal, "\r"));
    type(&terminal, "/rel_rms > 5e-4 && worst < 0.5");
    hear_rest(&terminal, 300);
    printf(", \"filter_condition_ms\": %.1f", 1e3 * measure_long(&terminal, "\r"));
    type(&terminal, "/name ~ decoder");
    hear_rest(&terminal, 300);
    measure_long(&terminal, "\r");
    measure_keys(&terminal, "key_quiet", moves, 8);
    type(&terminal, "c"); /* the ranks begin to print */
    hear_rest(&terminal, 1000);
    measure_keys(&terminal, "key", moves, 8);
    type(&terminal, "6");
    for (double until = now() + 1; now() < until;)
        hear(&terminal, 50);
    static const char *const here[] = {"k", "j"};
    measure_keys(&terminal, "key_ranks", here, 2);
    printf(", \"resident_mib\": %.0f}\n", resident_of(&terminal));
    stop(&terminal);
}

int main(int count, char **words)
{
    struct synthetic what = {.tensors = count > 2 ? atoi(words[2]) : 1000000,
                             .instructions = 2000,
                             .ranks = count > 3 ? atoi(words[3]) : 8,
                             .lines = count > 4 ? atoi(words[4]) : 100000,
                             .seed = 1};
    if (count < 2 || what.tensors < 1000) {
        fprintf(stderr, "usage: lockstep_bench_ui LOCKSTEP [TENSORS [RANKS [LINES]]]\n");
        return 2;
    }
    measure_start(words[1]);
    fflush(stdout);
    measure_made_up(&what);
    return 0;
}
