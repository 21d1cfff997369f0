#include "bench/ranks_stops.h"
#include "bench/figures.h"

#include "engine/base/memory.h"
#include "engine/ranks/board.h"
#include "engine/session/pictures.h"
#include "engine/session/session.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 120, WARM = 10, LIMIT_MS = 120000, MOST_PROCESSES = 64 };

struct stops {
    struct session *session;
    pid_t processes[MOST_PROCESSES]; /* of ranks */
    int process_count;
    bool done, pictured;
};

static void keep_processes(struct stops *stops, const struct ranks_picture *ranks)
{
    stops->process_count = 0;
    stops->pictured = true;
    for (int rank = 0; rank < ranks->rank_count && rank < MOST_PROCESSES; rank++)
        if (ranks->ranks[rank].pid > 0)
            stops->processes[stops->process_count++] = (pid_t)ranks->ranks[rank].pid;
}

static void take_events(struct stops *stops)
{
    struct session_event *events = session_take_events(stops->session);
    for (struct session_event *event = events; event; event = event->next) {
        if (event->kind == EVENT_ERROR)
            give_up(event->text);
        stops->done |= event->kind == EVENT_DONE;
        if (event->kind == EVENT_PICTURE && event->picture->ranks)
            keep_processes(stops, event->picture->ranks);
    }
    session_events_free(events);
}

static void wait_for(struct stops *stops, const bool *holds)
{
    struct pollfd fd = {.fd = session_wake_fd(stops->session), .events = POLLIN};
    while (!*holds) {
        if (poll(&fd, 1, LIMIT_MS) <= 0)
            give_up("the engine does not answer");
        take_events(stops);
    }
}

static void run(struct stops *stops, const char *line)
{
    stops->done = false;
    session_post(stops->session, line);
    wait_for(stops, &stops->done);
}

/* What the engine and the ranks took of the processors, seconds. */
static double processors(const struct stops *stops)
{
    double sum = processor_now();
    for (int i = 0; i < stops->process_count; i++)
        sum += processor_of(stops->processes[i]);
    return sum;
}

void measure_stops(const char *run_name, bool in_process, const struct config_search *search)
{
    struct status status = STATUS_NONE;
    double each[STEPS];
    struct session_options options = {.search = *search,
                                      .device = "cpu",
                                      .threads = 1,
                                      .keep_limit = -1,
                                      .launch = {.in_process = in_process, .timeout = 120}};
    struct stops stops = {.session = session_start(&options, &status)};
    if (!stops.session)
        give_up(status.text);
    char *line = memory_format("file %s", run_name);
    run(&stops, line);
    free(line);
    for (int i = 0; i < WARM; i++)
        run(&stops, "stepi");
    session_request(stops.session, &(struct picture_request){.kind = PICTURE_RANKS});
    wait_for(&stops, &stops.pictured);
    double took = processors(&stops), begun = now();
    for (int i = 0; i < STEPS; i++) {
        double start = now();
        run(&stops, "stepi");
        each[i] = now() - start;
    }
    double wall = now() - begun;
    took = processors(&stops) - took;
    double median = sort_median(each, STEPS);
    printf("{\"run\": \"%s\", \"in_process\": %s, \"steps\": %d, \"step_ms\": %.3f, "
           "\"step_median_ms\": %.3f, \"step_99_ms\": %.3f, \"cpu_ms\": %.3f, "
           "\"waiting_percent\": %.1f}\n",
           run_name, in_process ? "true" : "false", STEPS, wall / STEPS * 1e3, median * 1e3,
           each[STEPS * 99 / 100] * 1e3, took / STEPS * 1e3,
           100 * (1 - took / wall / (double)sysconf(_SC_NPROCESSORS_ONLN)));
    session_stop(stops.session);
}
