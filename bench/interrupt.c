/* How long a debugging session takes to stop, asked at random times: from the request to the event
 * that says so, on the clock and in processor time of all threads (which tells more on a busy
 * machine). Prints one JSON object, with the place of the slowest stop.
 * Usage: lockstep_bench_interrupt MODEL/VARIANT COUNT THREADS [KEY=VALUE...] */
#include "bench/figures.h"

#include "engine/base/memory.h"
#include "engine/session/session.h"
#include "tests/unit/random.h"

#include <poll.h>
#include <string.h>

enum { LONGEST_RUN = 700 }; /* milliseconds until the request, at most */

struct stops {
    double *seconds, *processor; /* [count] */
    int count;
    double worst;
    char place[200]; /* of the worst */
};

/* Whether the command has ended. One that fails would be measured as one that stops at once. */
static bool has_ended(struct session *session, uint64_t number)
{
    bool done = false;
    struct session_event *events = session_take_events(session);
    for (const struct session_event *event = events; event; event = event->next) {
        if (event->kind == EVENT_ERROR)
            give_up(event->text);
        done = done || (event->kind == EVENT_DONE && event->command >= number);
    }
    session_events_free(events);
    return done;
}

static void await(struct session *session, uint64_t number)
{
    struct pollfd fd = {.fd = session_wake_fd(session), .events = POLLIN};
    do
        poll(&fd, 1, -1);
    while (!has_ended(session, number));
}

static void command(struct session *session, const char *line)
{
    await(session, session_post(session, line));
}

/* Lets the session go on for a while and asks it to stop. No stop, if it has come to its end. */
static void stop_once(struct session *session, struct random *random, struct stops *stops)
{
    struct timespec pause = {0, random_integer(random, 0, LONGEST_RUN * 1000000L - 1)};
    const struct snapshot *snapshot = session_snapshot(session);
    bool ended = snapshot->state == RUN_ENDED;
    snapshot_release(&snapshot);
    uint64_t number = session_post(session, ended ? "run" : "continue");
    nanosleep(&pause, NULL);
    if (has_ended(session, number))
        return;
    double start = now(), spent = processor_now();
    session_interrupt(session);
    await(session, number);
    double seconds = now() - start;
    stops->seconds[stops->count] = seconds;
    stops->processor[stops->count++] = processor_now() - spent;
    if (seconds <= stops->worst)
        return;
    stops->worst = seconds;
    snapshot = session_snapshot(session);
    snprintf(stops->place, sizeof(stops->place), "%s", snapshot->place ? snapshot->place : "");
    snapshot_release(&snapshot);
}

static void print(const char *run, const struct stops *stops)
{
    int last = stops->count - 1;
    double median = sort_median(stops->seconds, stops->count);
    double processor_median = sort_median(stops->processor, stops->count);
    printf("{\"run\": \"%s\", \"stops\": %d, \"median\": %.3f, \"most\": %.3f, "
           "\"processor_median\": %.3f, \"processor_most\": %.3f, \"place\": \"%s\"}\n",
           run, stops->count, 1e3 * median, 1e3 * stops->seconds[last], 1e3 * processor_median,
           1e3 * stops->processor[last], stops->place);
}

static bool measure(const char *run, int wanted, const struct session_options *options)
{
    struct status status = STATUS_NONE;
    struct session *session = session_start(options, &status);
    struct random random = random_start("interrupt");
    struct stops stops = {.seconds = memory_zeroed((size_t)wanted, sizeof(double)),
                          .processor = memory_zeroed((size_t)wanted, sizeof(double))};
    char *file = memory_format("file %s", run);
    if (session) {
        command(session, file);
        command(session, "start");
        while (stops.count < wanted)
            stop_once(session, &random, &stops);
        print(run, &stops);
    } else {
        fprintf(stderr, "%s\n", status.text);
    }
    session_stop(session);
    free(file);
    free(stops.seconds);
    free(stops.processor);
    return session != NULL;
}

int main(int argc, char **argv)
{
    if (argc < 4 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: %s MODEL/VARIANT COUNT THREADS [KEY=VALUE...]\n", argv[0]);
        return 2;
    }
    struct session_options options = {
        .search = {.overrides = (const char *const *)argv + 4, .override_count = argc - 4},
        .device = "cpu",
        .threads = atoi(argv[3]),
        .keep_limit = -1};
    return measure(argv[1], atoi(argv[2]), &options) ? 0 : 1;
}
