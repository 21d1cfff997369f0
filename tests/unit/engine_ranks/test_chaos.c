/* Whatever befalls a rank, wherever it is: the report names the rank, what happened and where, with
 * its last words; nothing takes longer than it may; what was computed is right; the processes can
 * be started again, and the next run has the bits of the ranks in one process. LOCKSTEP_TEST_COUNT
 * says how often (a third of that with ranks far away). This executable is also the rank:
 * "test_chaos rank". */
#include "helper_expected.h"
#include "helper_pool.h"
#include "helper_strike.h"
#include "helper_world.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/pool_internal.h"
#include "engine/ranks/rank.h"
#include "tests/unit/random.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__)
#define SIGNALS_WAIT 1 /* the sanitizer hands them over when it likes: once in a while never */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_WAIT 1
#endif
#endif
#ifndef SIGNALS_WAIT
#define SIGNALS_WAIT 0
#endif

enum { RANKS = EXPECTED_RANKS, TIMEOUT_SECONDS = 8, DEFAULT_ROUNDS = 18 };

/* ---- a life ---- */

enum moment { STARTING, LOADING, STANDING, RUNNING, GOING_BACK, ENDING, QUITTING, MOMENTS };

static const char *const moment_names[MOMENTS] = {"starting",   "loading", "standing", "running",
                                                  "going back", "ending",  "quitting"};

struct life {
    struct pool_test *it;
    const struct expected *expected;
    struct random *random;
    struct world *world;
    struct strike strike;
    enum moment moment;
    bool struck; /* the victim was told */
    pid_t victim;
    int place;         /* the instruction that the victim stood before; -1: it moved */
    char report[1200]; /* "": nothing was reported */
};

static pid_t pid_of(const struct rank_pool *pool, int rank)
{
    struct rank_process_state state;
    rank_pool_describe(pool, rank, &state);
    return (pid_t)state.pid;
}

static void strike_now(struct life *life, enum moment moment)
{
    if (life->moment != moment)
        return;
    life->victim = pid_of(life->it->pool, life->strike.rank);
    life->struck = true;
    strike_send(&life->strike, life->victim);
}

static bool report(struct life *life, const char *text)
{
    snprintf(life->report, sizeof(life->report), "%s", text);
    return false;
}

static bool live_start(struct life *life)
{
    struct status status = STATUS_NONE;
    strike_announce(&life->strike);
    bool ok = rank_pool_restart(life->it->pool, &status);
    strike_announce(NULL);
    life->struck = true;
    life->victim = ok ? pid_of(life->it->pool, life->strike.rank) : 0;
    return ok || report(life, status.text);
}

static bool live_load(struct life *life)
{
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = true};
    struct status status = STATUS_NONE;
    struct pool_test *it = life->it;
    life->world =
        world_create_in_pool(it->pool, it->config, &it->search, it->device, &options, &status);
    return life->world || report(life, status.text);
}

/* Until all are at the end of their step. */
static bool live_run(struct life *life)
{
    struct world_event event;
    return run_on(life->world, &event) == WORLD_DONE ||
           report(life, life->world->ranks[event.rank].reason);
}

static bool live_step(struct life *life)
{
    struct status status = STATUS_NONE;
    for (int rank = 0; rank < life->world->size; rank++)
        if (!world_allow(life->world, rank,
                         life->world->ranks[rank].run->program->instruction_count, &status))
            return report(life, status.text);
    return live_run(life);
}

/* The victim was struck behind its last instruction: unless that is seen now, its place is in the
 * next step. */
static bool live_at_end(struct life *life)
{
    struct world_event event;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    if (!strike_is_instant(life->strike.kind) || life->strike.kind == STRIKE_STOP) {
        life->place = -1;
        return live_run(life);
    }
    while (clock_seconds() < deadline)
        if (world_next(life->world, 0.1, &event) && event.kind != WORLD_DONE)
            return report(life, life->world->ranks[event.rank].reason);
    fail_msg("%s at the end of a step is not noticed", strike_name(life->strike.kind));
    return false;
}

/* The victim stands before some instruction when it is struck; the others are where they came. */
static bool live_standing(struct life *life)
{
    struct status status = STATUS_NONE;
    struct world_event event;
    struct world *world = life->world;
    const struct run *run = world->ranks[life->strike.rank].run;
    int place = (int)random_integer(life->random, 0, run->program->instruction_count);
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    for (int rank = 0; rank < world->size; rank++) {
        int most = world->ranks[rank].run->program->instruction_count;
        assert_true(world_allow(world, rank, rank == life->strike.rank ? place : most, &status));
    }
    while (run_next(run) < place || !world_is_quiet(world)) {
        if (world_next(world, 0.1, &event) && event.kind != WORLD_DONE)
            return report(life, world->ranks[event.rank].reason);
        if (clock_seconds() > deadline)
            fail_msg("rank %d does not come to %d", life->strike.rank, place);
    }
    life->strike.microseconds = 0;
    life->place = place;
    strike_now(life, STANDING);
    if (place == run->program->instruction_count)
        return live_at_end(life);
    if (!world_allow(world, life->strike.rank, run->program->instruction_count, &status))
        return report(life, status.text);
    return live_run(life);
}

static bool live_back(struct life *life)
{
    struct status status = STATUS_NONE;
    struct world *world = life->world;
    struct world_event event;
    for (int rank = 0; rank < world->size; rank++) {
        int most = world->ranks[rank].run->program->instruction_count;
        if (!world_allow(world, rank, (int)random_integer(life->random, 1, most), &status))
            return report(life, status.text);
    }
    if (world_next(world, 0.01, &event) && event.kind != WORLD_DONE)
        return report(life, world->ranks[event.rank].reason);
    strike_now(life, GOING_BACK);
    return world_go_to_step(world, 1, &status) || report(life, status.text);
}

/* A rank far away may be gone when its memory is read. */
static bool live_look(struct life *life)
{
    struct status status = STATUS_NONE;
    return expected_check(life->expected, life->world, false, &status) >= 0 ||
           report(life, status.text);
}

/* False: something was reported. */
static bool live(struct life *life)
{
    if (life->moment == STARTING && !live_start(life))
        return false;
    strike_now(life, LOADING);
    if (!live_load(life))
        return false;
    strike_now(life, RUNNING);
    if (life->moment == STANDING ? !live_standing(life) : !live_step(life))
        return false;
    if (!live_look(life) || !live_step(life) || !live_back(life) || !live_step(life))
        return false;
    strike_now(life, ENDING);
    return live_look(life);
}

/* ---- its end ---- */

static void check_report(const struct life *life)
{
    char rank[32], words[32], place[160] = "";
    enum strike_kind kind = life->strike.kind;
    snprintf(rank, sizeof(rank), "rank %d", life->strike.rank);
    snprintf(words, sizeof(words), "last words %d", life->strike.word);
    bool whose = strike_takes_all(kind) || strstr(life->report, rank);
    /* one that only misses something may live, and say so itself */
    bool heard = life->moment == STARTING || strike_takes_all(kind) || !strike_is_deadly(kind) ||
                 strstr(life->report, words);
    if (life->place >= 0 && strike_is_instant(kind)) {
        const struct program *program = life->world->ranks[life->strike.rank].run->program;
        if (life->place < program->instruction_count)
            program_instruction_text(program, life->place, place, sizeof(place));
        else
            snprintf(place, sizeof(place), "the end of its step");
    }
    if (!whose || !heard || !strike_is_told(kind, life->report) || !strstr(life->report, place))
        fail_msg("wrong report of \"%s\" of rank %d while %s%s%s: %s", strike_name(kind),
                 life->strike.rank, moment_names[life->moment], place[0] ? " before " : "", place,
                 life->report);
}

/* The others are not blamed, and come to rest. */
static void check_others(const struct life *life)
{
    struct world_event event;
    struct world *world = life->world;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!strike_takes_all(life->strike.kind) && !world_is_quiet(world)) {
        if (world_next(world, 0.1, &event) && event.kind != WORLD_DONE)
            fail_msg("%s of rank %d while %s: then rank %d: %s", strike_name(life->strike.kind),
                     life->strike.rank, moment_names[life->moment], event.rank,
                     world->ranks[event.rank].reason);
        if (clock_seconds() > deadline)
            fail_msg("the others do not come to rest");
    }
}

/* Whether the fault may pass without being seen: what it takes away is not needed any more, or was
 * not there yet. */
static bool may_be_harmless(const struct life *life)
{
    return !strike_is_deadly(life->strike.kind) ||
           (life->moment == STARTING &&
            (life->strike.kind == STRIKE_DROP || life->strike.kind == STRIKE_GARBAGE ||
             life->strike.kind == STRIKE_HALF));
}

/* What comes a while after the start may come after a short life: it is not to meet the next one.
 */
static void await_strike(const struct life *life)
{
    struct rank_pool *pool = life->it->pool;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    if (life->moment != STARTING || life->report[0])
        return;
    while (!strike_has_come() && pid_of(pool, life->strike.rank) == life->victim &&
           rank_pool_is_sound(pool)) {
        rank_pool_poll(pool, 0.01);
        if (clock_seconds() > deadline)
            fail_msg("%s of rank %d has not come", strike_name(life->strike.kind),
                     life->strike.rank);
    }
}

static void end_life(struct life *life)
{
    struct rank_pool *pool = life->it->pool;
    struct status status = STATUS_NONE;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    if (life->report[0]) {
        check_report(life);
        if (life->world && rank_is_lost(life->world, life->strike.rank))
            check_others(life);
        bool gone = strike_takes_all(life->strike.kind) || strstr(life->report, "cannot be read");
        if (life->world && expected_check(life->expected, life->world, gone, &status) < 0)
            fail_msg("%s of rank %d while %s: %s", strike_name(life->strike.kind),
                     life->strike.rank, moment_names[life->moment], status.text);
    }
    world_free(life->world);
    life->world = NULL;
    if (life->moment == QUITTING) {
        strike_now(life, QUITTING);
        if (!rank_pool_restart(pool, &status))
            fail_msg("after %s while %s: %s", strike_name(life->strike.kind),
                     moment_names[life->moment], status.text);
    } else if (may_be_harmless(life)) {
        await_strike(life);
    } else if (pid_of(pool, life->strike.rank) == life->victim) {
        /* else it was seen before the run began, which then has others */
        while (rank_pool_is_sound(pool) && clock_seconds() < deadline)
            rank_pool_poll(pool, 0.1);
        if (rank_pool_is_sound(pool))
            fail_msg("%s of rank %d while %s is not noticed", strike_name(life->strike.kind),
                     life->strike.rank, moment_names[life->moment]);
    }
}

/* A run that nobody disturbs. What the last one took away for good, without being noticed, may
 * only show now: once. */
static void live_in_peace(struct life *life)
{
    struct status status = STATUS_NONE;
    enum moment struck = life->moment;
    bool late = may_be_harmless(life) && life->strike.kind != STRIKE_FLOOD;
    life->moment = MOMENTS;
    life->report[0] = '\0';
    if (!live(life)) {
        if (late) {
            life->moment = struck;
            check_report(life);
            life->moment = MOMENTS;
            world_free(life->world);
            life->world = NULL;
            life->report[0] = '\0';
        }
        if (!live(life))
            fail_msg("after %s: %s", strike_name(life->strike.kind), life->report);
    }
    assert_true(all_at_end(life->world));
    assert_true(expected_check(life->expected, life->world, false, &status) > 100);
    world_free(life->world);
    life->world = NULL;
}

/* What was taken away without being noticed stays away: the next fault is of ranks that have all.
 */
static void leave_nothing(struct life *life)
{
    struct status status = STATUS_NONE;
    enum strike_kind kind = life->strike.kind;
    if ((kind == STRIKE_NO_MEMORY || kind == STRIKE_NO_FILES) &&
        !rank_pool_restart(life->it->pool, &status))
        fail_msg("again after %s: %s", strike_name(kind), status.text);
}

/* ---- two hundred ---- */

static enum strike_kind choose_kind(struct random *random, int round)
{
    /* one that stays stopped takes the whole time that a rank may be silent */
    static const int weights[STRIKE_KINDS] = {4, 3, 2, 1, 2, 3, 2, 3, 3, 2, 1, 2, 2, 2, 2, 2};
    int total = 0;
    if (round < STRIKE_KINDS) /* each of them, for once */
        return (enum strike_kind)round;
    for (int kind = 0; kind < STRIKE_KINDS; kind++)
        total += weights[kind];
    int left = (int)random_integer(random, 0, total - 1), kind = 0;
    while ((left -= weights[kind]) >= 0)
        kind++;
    return (enum strike_kind)kind;
}

static void one_round(struct pool_test *it, const struct expected *expected, struct random *random,
                      int round)
{
    struct life life = {.it = it, .expected = expected, .random = random, .place = -1};
    double began = clock_seconds();
    pool_test_load(it, expected->variant, EXPECTED_TOKENS);
    int ranks = it->config->distributed.world_size;
    life.moment = (enum moment)random_integer(random, 0, MOMENTS - 1);
    int longest = life.moment == STARTING ? 200000 : life.moment == LOADING ? 30000 : 12000;
    life.strike = (struct strike){.kind = choose_kind(random, round),
                                  .rank = (int)random_integer(random, 0, ranks - 1),
                                  .microseconds = (int)random_integer(random, 0, longest),
                                  .word = (int)random_integer(random, 0, 255)};
    if (SANITIZED && life.strike.kind == STRIKE_NO_MEMORY)
        life.strike.kind = STRIKE_KILL; /* sanitizers need memory of their own */
    if (getenv("LOCKSTEP_TEST_VERBOSE"))
        print_message("%d: %s, %s of rank %d after %d us, %s\n", round, expected->variant,
                      strike_name(life.strike.kind), life.strike.rank, life.strike.microseconds,
                      moment_names[life.moment]);
    live(&life);
    end_life(&life);
    double middle = clock_seconds();
    if (getenv("LOCKSTEP_TEST_VERBOSE"))
        print_message("   %.2f s, %s\n", middle - began,
                      life.report[0] ? life.report : "not reported");
    live_in_peace(&life);
    leave_nothing(&life);
    if (getenv("LOCKSTEP_TEST_VERBOSE"))
        print_message("   %.2f s in peace\n", clock_seconds() - middle);
}

static void run_chaos(struct pool_test *it, const char *what, int count)
{
    static const char *const variants[] = {"llama/dp2", "llama/tp2", "llama/pp2s1_bf4",
                                           "llama/stp2_pp2s1_bf4"};
    struct expected expected[ARRAY_LENGTH(variants)];
    struct random random = random_start(what);
    for (int i = 0; i < ARRAY_LENGTH(variants); i++)
        expected_fill(&expected[i], it, variants[i]);
    for (int round = 0; round < count; round++)
        one_round(it, &expected[random_integer(&random, 0, ARRAY_LENGTH(variants) - 1)], &random,
                  round);
    for (int i = 0; i < ARRAY_LENGTH(variants); i++)
        expected_free(&expected[i]);
}

static int rounds(void)
{
    const char *given = getenv("LOCKSTEP_TEST_COUNT");
    if (!given && SIGNALS_WAIT)
        skip();
    return given ? atoi(given) : DEFAULT_ROUNDS;
}

static int begin(void **state)
{
    *state = memory_zeroed(1, sizeof(struct pool_test));
    return 0;
}

/* Also after a failure: nothing is left. */
static int end(void **state)
{
    pool_test_end(*state);
    strike_has_come(); /* and no sign of it stays */
    free(*state);
    return wait_for_no_relatives() ? 0 : -1;
}

static void test_near(void **state)
{
    struct pool_test *it = *state;
    int count = rounds();
    pool_test_begin(it, RANKS, TIMEOUT_SECONDS);
    run_chaos(it, "near", count);
}

/* Ranks that share no memory with the engine, and speak to it over TCP. */
static void test_far(void **state)
{
    struct pool_test *it = *state;
    struct status status = STATUS_NONE;
    int count = rounds() / 3;
    pool_test_need_mpirun();
    it->address = "127.0.0.1";
    it->pool = pool_test_start(it, RANKS, TIMEOUT_SECONDS);
    it->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    run_chaos(it, "far", count);
}

static int be_rank(void)
{
    struct status status = STATUS_NONE;
    strike_prepare();
    if (!rank_serve(&status))
        fprintf(stderr, "%s\n", status.text);
    return 1;
}

int main(int argc, char **argv)
{
    int code;
    if (keeper_serve(argc, argv, &code))
        return code;
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return be_rank();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    pool_test_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_near, begin, end),
        cmocka_unit_test_setup_teardown(test_far, begin, end),
    };
    return pool_test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
