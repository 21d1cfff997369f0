/* What the engine does with very many ranks, played by one process (bench/simulate.h):
 *   lockstep_bench_ranks [RANKS [LINES]]
 *   lockstep_bench_ranks stops MODEL/VARIANT [in-process]
 * 1024 ranks by default, each of which prints 100 lines in each of the two steps. Prints one JSON
 * object: how many instructions of ranks a world takes in a second; the same of a debugger, whose
 * ranks go on in lockstep, compared, while they print; how old what a picture shows is when the
 * front end has it; how long keys take. "stops" is of real ranks: what one step of all of them
 * costs. With "simulate ..." and "rank" it is the ranks. */
#include "bench/figures.h"
#include "bench/ranks_screens.h"
#include "bench/ranks_stops.h"
#include "bench/simulate.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/ranks/pool.h"
#include "engine/ranks/rank.h"
#include "engine/session/output.h"
#include "engine/session/pictures.h"
#include "engine/session/session.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LATENCIES = 1 << 20, STEPS = 2, LIMIT_MS = 300000 };

/* ---- the engine's world alone ---- */

struct count {
    int64_t lines, bytes;
};

static void count_lines(void *context, int rank, int stream, const char *bytes, size_t length,
                        int64_t nanoseconds)
{
    struct count *count = context;
    (void)rank, (void)stream, (void)nanoseconds;
    count->bytes += (int64_t)length;
    for (size_t i = 0; i < length; i++)
        count->lines += bytes[i] == '\n';
}

static struct world *start_world(const struct config *config, const struct config_search *search,
                                 struct device *device, struct rank_pool *pool)
{
    struct status status = STATUS_NONE;
    struct run_options options = {.plan = PLAN_KEEP};
    struct world *world =
        pool ? world_create_in_pool(pool, config, search, device, &options, &status) : NULL;
    if (!world)
        give_up(status.text);
    return world;
}

/* Every rank runs its steps as fast as it can: the engine takes what they do. */
static void measure_world(const struct simulation *what, const struct config_search *search)
{
    struct status status = STATUS_NONE;
    struct count count = {0};
    struct rank_pool_options options = {.size = what->ranks,
                                        .on_output = count_lines,
                                        .output_context = &count,
                                        .launch.timeout = 120};
    struct config *config = config_load(search, "small/many", &status);
    struct device *device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    if (!config || !device)
        give_up(status.text);
    double begun = now();
    struct rank_pool *pool = rank_pool_create(&options, &status);
    if (!pool)
        give_up(status.text);
    double connected = now();
    struct world *world = start_world(config, search, device, pool);
    double ready = now(), took = processor_now();
    struct world_event event;
    int64_t events = 0;
    for (int step = 0; step < STEPS; step++) {
        for (int rank = 0; rank < what->ranks; rank++)
            if (!world_allow(world, rank, world->ranks[rank].run->program->instruction_count,
                             &status))
                give_up(status.text);
        while (world_next(world, 60, &event)) {
            if (event.kind != WORLD_DONE)
                give_up(world->ranks[event.rank].reason);
            events++;
        }
    }
    double ended = now();
    took = processor_now() - took;
    for (double until = now() + 5;
         count.lines < (int64_t)what->lines * STEPS * what->ranks && now() < until;)
        rank_pool_poll(pool, 0.1);
    printf("{\"ranks\": %d, \"connected_s\": %.2f, \"ready_s\": %.2f, \"events\": %lld, "
           "\"events_per_s\": %.0f, \"event_cpu_us\": %.2f, \"lines\": %lld, \"lines_lost\": %lld",
           what->ranks, connected - begun, ready - begun, (long long)events,
           (double)events / (ended - ready), took / (double)events * 1e6, (long long)count.lines,
           (long long)what->lines * STEPS * what->ranks - (long long)count.lines);
    world_free(world);
    rank_pool_free(pool);
    config_free(config);
    device_close(device);
}

/* ---- a debugger ---- */

struct watch {
    struct session *session;
    double *latencies; /* seconds between a line's being printed and its being in a picture */
    int count;
    int64_t newest; /* the line that was shown last */
    int pictures, pending;
    double ranks_seconds; /* asking for pictures of all ranks, until they came */
    double asked;
    bool done, ok;
};

/* The time at the end of a line. */
static double time_of_line(const char *text)
{
    const char *at = strstr(text, " at ");
    return at ? atof(at + 4) : 0;
}

static void take_output_picture(struct watch *watch, const struct output_page *page)
{
    double arrived = now();
    for (int i = 0; i < page->count; i++) {
        const struct output_line *line = &page->lines[i];
        double printed = time_of_line(line->text);
        if (line->partial || line->sequence <= watch->newest || printed <= 0)
            continue;
        watch->newest = line->sequence;
        if (watch->count < MOST_LATENCIES)
            watch->latencies[watch->count++] = arrived - printed;
    }
}

static void take_events(struct watch *watch)
{
    struct session_event *events = session_take_events(watch->session);
    for (struct session_event *event = events; event; event = event->next) {
        if (event->kind == EVENT_ERROR)
            give_up(event->text);
        if (event->kind == EVENT_DONE)
            watch->done = true, watch->ok = event->ok;
        if (event->kind != EVENT_PICTURE)
            continue;
        watch->pending--;
        watch->pictures++;
        if (event->picture->output)
            take_output_picture(watch, event->picture->output);
    }
    session_events_free(events);
}

/* The pictures that the view of ranks asks for, again whenever they have come. */
static void ask(struct watch *watch)
{
    struct picture_request ranks = {.kind = PICTURE_RANKS};
    struct picture_request output = {.kind = PICTURE_OUTPUT,
                                     .output = {.anchor = OUTPUT_NEWEST, .before = 40}};
    if (watch->pending > 0)
        return;
    session_request(watch->session, &ranks);
    session_request(watch->session, &output);
    watch->pending = 2;
}

static void run_command(struct watch *watch, const char *line, bool pictures)
{
    struct pollfd fd = {.fd = session_wake_fd(watch->session), .events = POLLIN};
    watch->done = false;
    session_post(watch->session, line);
    while (!watch->done) {
        if (pictures)
            ask(watch);
        if (poll(&fd, 1, LIMIT_MS) <= 0)
            give_up("the engine does not answer");
        take_events(watch);
    }
    if (!watch->ok)
        give_up(line);
}

static int64_t lines_of(struct watch *watch)
{
    struct rank_output_counts counts;
    rank_output_count(session_output(watch->session), -1, &counts);
    return counts.lines[0] + counts.lines[1];
}

static void measure_session(const struct simulation *what, const struct config_search *search)
{
    struct status status = STATUS_NONE;
    struct session_options options = {
        .search = *search, .device = "cpu", .threads = 1, .keep_limit = -1, .launch.timeout = 120};
    struct watch watch = {.session = session_start(&options, &status), .newest = -1};
    int64_t lines = (int64_t)what->lines * STEPS * what->ranks;
    if (!watch.session)
        give_up(status.text);
    watch.latencies = memory_zeroed(MOST_LATENCIES, sizeof(double));
    double begun = now();
    run_command(&watch, "file small/many", false);
    double ready = now(), took = processor_now();
    run_command(&watch, "run", true);
    double ended = now();
    took = processor_now() - took;
    for (double until = now() + 5; lines_of(&watch) < lines && now() < until;)
        poll(NULL, 0, 50);
    double median = watch.count ? sort_median(watch.latencies, watch.count) : -1e-3;
    printf(", \"debugger_ready_s\": %.2f, \"debugger_run_s\": %.2f, \"debugger_cpu_s\": %.2f, "
           "\"debugger_lines_per_s\": %.0f, \"debugger_lines_lost\": %lld, \"pictures\": %d, "
           "\"lines_shown\": %d, \"latency_median_ms\": %.2f, \"latency_99_ms\": %.2f, "
           "\"resident_mib\": %.0f",
           ready - begun, ended - ready, took, (double)lines / (ended - ready),
           (long long)(lines - lines_of(&watch)), watch.pictures, watch.count, median * 1e3,
           watch.count ? watch.latencies[watch.count * 99 / 100] * 1e3 : -1, resident_of(getpid()));
    session_stop(watch.session);
    free(watch.latencies);
}

/* ---- */

static void prepare(const struct simulation *what, char *folder, char self[PATH_MAX])
{
    struct status status = STATUS_NONE;
    ssize_t length = readlink("/proc/self/exe", self, PATH_MAX - 1);
    self[length > 0 ? length : 0] = '\0';
    if (!mkdtemp(folder) || !simulation_write_folder(what, folder, self, &status))
        give_up(status.text);
    char *path = memory_format("%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    free(path);
}

static void clean(const char *folder)
{
    char *command = memory_format("rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", folder);
    free(command);
}

int main(int count, char **words)
{
    int code;
    struct simulation what = {.missing_rank = -1, .missing_instruction = -1};
    struct status status = STATUS_NONE;
    char folder[] = "/tmp/lockstep-ranks-XXXXXX", self[PATH_MAX];
    if (count > 1 && strcmp(words[1], "simulate") == 0) {
        if (!simulation_read(&what, count - 2, words + 2) || !simulation_serve(&what, &status))
            give_up(status.text);
        return 0;
    }
    if (keeper_serve(count, words, &code))
        return code;
    if (count > 1 && strcmp(words[1], "rank") == 0) {
        rank_serve(&status);
        give_up(status.text);
    }
    if (count > 2 && strcmp(words[1], "stops") == 0) {
        measure_stops(words[2], count > 3 && strcmp(words[3], "in-process") == 0,
                      &(struct config_search){0});
        return 0;
    }
    what.ranks = count > 1 ? atoi(words[1]) : 1024;
    what.lines = count > 2 ? atoi(words[2]) : 100;
    if (what.ranks < 4 || what.ranks % 4 != 0 || what.lines < 0) {
        fprintf(stderr, "usage: lockstep_bench_ranks [RANKS [LINES]]: a multiple of 4 ranks\n");
        return 2;
    }
    prepare(&what, folder, self);
    const char *directories[] = {folder};
    struct config_search search = {.directories = directories, .directory_count = 1};
    measure_world(&what, &search);
    fflush(stdout);
    measure_session(&what, &search);
    fflush(stdout);
    char lockstep[PATH_MAX + 16];
    snprintf(lockstep, sizeof(lockstep), "%s", self);
    strcpy(strrchr(lockstep, '/'), "/lockstep");
    if (access(lockstep, X_OK) == 0) /* beside this program */
        measure_screens(lockstep, folder);
    printf("}\n");
    clean(folder);
    return 0;
}
