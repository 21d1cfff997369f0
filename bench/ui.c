/* How fast the screens are, on a pseudo-terminal of 200x60 whose other end is this program:
 *   lockstep_bench_ui LOCKSTEP [TENSORS [RANKS [LINES]]]
 * LOCKSTEP is the program, for its first frame and its use of the processor when idle. All else is
 * measured on a made-up run of so many tensors (1,000,000) that were compared, while so many ranks
 * (8) print so many lines a second each (100,000). Prints one JSON object.
 *
 * For each key: the time until the terminal hears something, and what of the processor the thread
 * of the screens took, which also means something on a machine that does other things too. */
#include "ui/ui.h"
#include "bench/figures.h"
#include "bench/synthetic.h"
#include "bench/terminal.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 1000, LIMIT_MS = 20000 };

/* ---- the program under measurement ---- */

static void run_lockstep(const void *context)
{
    execl(context, context, (char *)NULL);
}

static void run_made_up(const void *context)
{
    struct session_engine engine = synthetic_engine(context);
    struct ui_options options = {
        .device = "cpu", .threads = 1, .file = {.run = "made-up/run"}, .engine = &engine};
    struct status status = STATUS_NONE;
    setlocale(LC_ALL, "");
    _exit(!ui_run(&options, &status));
}

/* ---- figures ---- */

static void measure_keys(struct terminal *terminal, const char *name, const char *const *keys,
                         int kinds)
{
    static double wall[KEYS], took[KEYS];
    char label[64];
    int typed = 0;
    for (int measured = 0; measured < KEYS; typed++) {
        measured +=
            terminal_measure_key(terminal, keys[typed % kinds], &wall[measured], &took[measured]);
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
    double before = terminal_turn(terminal);
    terminal_type(terminal, keys);
    if (!terminal_hear(terminal, LIMIT_MS))
        give_up("no frame");
    terminal_hear_rest(terminal, 300);
    return terminal_turn(terminal) - before;
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
        terminal_start(&terminal, run_lockstep, program);
        terminal_wait_words(&terminal, "quit"); /* the end of the key bar, drawn last */
        wall[i] = now() - begun;
        took[i] = terminal_turn(&terminal);
        if (i == STARTS - 1) {
            terminal_hear_rest(&terminal, 500);
            double before = processor_of(terminal.pid);
            struct timespec pause = {.tv_sec = 5};
            nanosleep(&pause, NULL);
            idle = (processor_of(terminal.pid) - before) / 5;
        }
        terminal_stop(&terminal);
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
    terminal_start(&terminal, run_made_up, what);
    terminal_wait_words(&terminal, " compared");
    double opened = now() - begun;
    terminal_hear_rest(&terminal, 1000);
    printf(", \"list_opened_ms\": %.1f, \"list_opened_cpu_ms\": %.1f", opened * 1e3,
           terminal_turn(&terminal) * 1e3);
    terminal_type(&terminal, "3 "); /* all that was compared, not only what diverged */
    terminal_hear_rest(&terminal, 1000);
    printf(", \"list_resident_mib\": %.0f", resident_of(terminal.pid));
    printf(", \"all_shown_ms\": %.1f", 1e3 * measure_long(&terminal, " "));
    terminal_type(&terminal, " ");
    terminal_hear_rest(&terminal, 1000);
    static const char *const sortings[] = {"worst", "error", "max", "cosine", "name"};
    for (int i = 0; i < 5; i++)
        printf(", \"sort_%s_ms\": %.1f", sortings[i], 1e3 * measure_long(&terminal, "o"));
    printf(", \"sort_name_again_ms\": %.1f", 1e3 * measure_long(&terminal, "O"));
    measure_long(&terminal, "O");
    measure_long(&terminal, "o");
    terminal_type(&terminal, "/mlp");
    terminal_hear_rest(&terminal, 300);
    printf(", \"filter_text_ms\": %.1f", 1e3 * measure_long(&terminal, "\r"));
    terminal_type(&terminal, "/rel_rms > 5e-4 && worst < 0.5");
    terminal_hear_rest(&terminal, 300);
    printf(", \"filter_condition_ms\": %.1f", 1e3 * measure_long(&terminal, "\r"));
    terminal_type(&terminal, "/name ~ decoder");
    terminal_hear_rest(&terminal, 300);
    measure_long(&terminal, "\r");
    measure_keys(&terminal, "key_quiet", moves, 8);
    terminal_type(&terminal, "c"); /* the ranks begin to print */
    terminal_hear_rest(&terminal, 1000);
    measure_keys(&terminal, "key", moves, 8);
    terminal_type(&terminal, "6");
    for (double until = now() + 1; now() < until;)
        terminal_hear(&terminal, 50);
    static const char *const here[] = {"k", "j"};
    measure_keys(&terminal, "key_ranks", here, 2);
    printf(", \"resident_mib\": %.0f}\n", resident_of(terminal.pid));
    terminal_stop(&terminal);
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
