#include "bench/ranks_screens.h"
#include "bench/figures.h"
#include "bench/terminal.h"

#include <stdio.h>
#include <unistd.h>

enum { MOST_KEYS = 4000, SECONDS = 60 };

struct screens {
    const char *lockstep, *folder;
};

static void run_screens(const void *context)
{
    const struct screens *what = context;
    execl(what->lockstep, what->lockstep, "tui", "small/many", "--config-dir", what->folder,
          (char *)NULL);
}

/* Keys in the view of ranks while they run; until nothing changes any more. */
static int measure_keys(struct terminal *terminal, double *wall, double *took)
{
    int count = 0, silent = 0;
    for (double until = now() + SECONDS; count < MOST_KEYS && silent < 3 && now() < until;) {
        bool heard =
            terminal_measure_key(terminal, count & 1 ? "k" : "j", &wall[count], &took[count]);
        count += heard;
        silent = heard ? 0 : silent + 1;
    }
    return count;
}

void measure_screens(const char *lockstep, const char *folder)
{
    static double wall[MOST_KEYS], took[MOST_KEYS];
    struct terminal terminal = {0};
    terminal_start(&terminal, run_screens, &(struct screens){lockstep, folder});
    terminal_wait_words(&terminal, " instructions"); /* loaded */
    terminal_type(&terminal, "6");                   /* the view of ranks: table and output */
    terminal_wait_words(&terminal, "merged");
    /* nothing is computed: everything diverges */
    terminal_type(&terminal, ":stop off divergence\r");
    terminal_type(&terminal, "c");
    int count = measure_keys(&terminal, wall, took);
    if (count == 0)
        give_up("no key was answered");
    printf(", \"keys\": %d", count);
    print_figures("key", wall, count);
    print_figures("key_cpu", took, count);
    terminal_stop(&terminal);
}
