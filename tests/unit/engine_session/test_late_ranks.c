/* Rank processes that have begun an instruction when the run stops, and end it later: what they
 * have done is shown then, and what would have stopped the run stops it as soon as it moves. This
 * executable is also the ranks. */
#include "helper_debugger.h"

#include "engine/base/clock.h"
#include "engine/compare/team.h"
#include "engine/ranks/rank.h"
#include "engine/session/ranks.h"
#include "engine/session/ranks_motion.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_SECONDS = 60 };

static int published;

static void count_snapshot(void *context, struct snapshot *snapshot)
{
    const struct snapshot *given = snapshot;
    (void)context;
    published++;
    snapshot_release(&given);
}

/* ---- a rank that is stopped ---- */

/* A rank that a signal has stopped, while others wait for it. */
struct victim {
    struct bench bench; /* first: it is the context of what the debugger calls */
    bool running;       /* the command that has to wait for it */
    bool seen;          /* meanwhile */
    int told;           /* snapshots */
};

static void must_be_told_stopped(const struct ranks_picture *picture)
{
    struct text text = {0};
    assert_int_equal(picture->ranks[1].situation, SITUATION_HALTED);
    assert_int_equal(picture->ranks[1].signal, SIGSTOP);
    ranks_picture_table(picture, 32, &text);
    must_contain(text.data, "stopped by signal 19, SIGSTOP, step 1, ");
    text_free(&text);
}

/* Given when the run is waited for: it can be seen why. Then the rank goes on. */
static void look_at_victim(void *context, struct snapshot *snapshot)
{
    struct victim *victim = (struct victim *)context;
    const struct snapshot *given = snapshot;
    victim->told++;
    if (victim->running && snapshot->waits && !victim->seen) {
        struct ranks_picture *picture = picture_of_ranks(victim->bench.debugger);
        must_be_told_stopped(picture);
        victim->seen = true;
        kill((pid_t)picture->ranks[1].pid, SIGCONT);
        ranks_picture_free(picture);
    }
    snapshot_release(&given);
}

static enum rank_situation situation_of(const struct bench *bench, int rank)
{
    struct ranks_picture *picture = picture_of_ranks(bench->debugger);
    enum rank_situation situation = picture->ranks[rank].situation;
    ranks_picture_free(picture);
    return situation;
}

/* Until its guardian has told of that. */
static void stop_rank(struct bench *bench, int rank)
{
    struct ranks_picture *picture = picture_of_ranks(bench->debugger);
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    assert_int_equal(kill((pid_t)picture->ranks[rank].pid, SIGSTOP), 0);
    while (situation_of(bench, rank) != SITUATION_HALTED && clock_seconds() < deadline) {
        ranks_look(bench->debugger);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ranks_picture_free(picture);
}

static void need_processes(void)
{
    char folder[600], module[700];
    snprintf(folder, sizeof(folder), "%s", LOCKSTEP_BINARY);
    *strrchr(folder, '/') = '\0';
    snprintf(module, sizeof(module), "%s/lockstep_mpi.so", folder);
    setenv("LOCKSTEP_MODULE_PATH", folder, 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* of the ranks: MPI leaks */
    if (system("command -v mpirun >/dev/null") == 0 && access(module, R_OK) == 0)
        return;
    print_message("no mpirun, or built without MPI: rank processes are not tested\n");
    skip();
}

static void open_ranks(struct bench *bench, const char *file)
{
    need_processes();
    bench_open(bench);
    bench_do(bench, file);
    assert_non_null(bench->debugger->pool);
    bench->debugger->sink.publish = count_snapshot;
}

static const struct run *run_of(const struct bench *bench, int rank)
{
    return bench->debugger->target->team->world->ranks[rank].run;
}

static int64_t memory_of(const struct bench *bench, int rank)
{
    struct ranks_picture *picture = picture_of_ranks(bench->debugger);
    int64_t memory = picture->ranks[rank].memory_total;
    assert_int_equal(picture->ranks[rank].next, run_next(run_of(bench, rank)));
    ranks_picture_free(picture);
    return memory;
}

/* The rank goes on alone to `next`, as one does that had begun before the run stopped; the engine
 * is idle meanwhile. */
static void go_on(struct bench *bench, int rank, int next)
{
    struct status status = STATUS_NONE;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    assert_true(world_allow(bench->debugger->target->team->world, rank, next, &status));
    while (run_next(run_of(bench, rank)) < next && clock_seconds() < deadline) {
        ranks_look(bench->debugger);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(run_next(run_of(bench, rank)), next);
}

static bool is_collective(const struct program *program, int index)
{
    return op_is_collective(program->instructions[index].op);
}

/* Up to the first one that needs others: it is shown, memory and all, and told to whoever shows it.
 */
static void test_shown(void **state)
{
    (void)state;
    struct random random = random_start("late");
    struct bench bench;
    char line[64];
    open_ranks(&bench, "file llama/tp2");
    const struct program *program = run_of(&bench, 1)->program;
    int start = (int)random_integer(&random, 1, 30);
    while (is_collective(program, start))
        start++;
    snprintf(line, sizeof(line), "goto 1:%d", start);
    bench_do(&bench, line);
    int64_t before = memory_of(&bench, 1), own = memory_of(&bench, 0);
    int told = published, stops = bench.stops;
    go_on(&bench, 1, start + 1);
    assert_true(published > told);
    assert_true(memory_of(&bench, 1) > before); /* every value is kept */
    assert_int_equal(memory_of(&bench, 0), own);
    assert_int_equal(bench.stops, stops);
    told = published;
    ranks_look(bench.debugger);
    assert_int_equal(published, told); /* nothing new */
    bench_do(&bench, "stepi");
    assert_int_equal(run_next(run_of(&bench, 0)), start + 1);
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    bench_close(&bench);
}

/* What stops a run is not lost: the next command comes to it, of whichever rank it is. */
static void test_stops_then(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct bench bench;
        char line[64];
        open_ranks(&bench, "file llama/tp2 fault scale:op=rms_norm,layer=decoder.1,part=norm_1");
        bench_do(&bench, "stop on divergence");
        bench_do(&bench, "run");
        int at = run_next(run_of(&bench, bench.debugger->rank)) - 1;
        bench_do(&bench, "rank 0");
        snprintf(line, sizeof(line), "goto 1:%d", at);
        bench_do(&bench, line);
        go_on(&bench, late, at + 1);
        bench_do(&bench, late ? "rank 1" : "rank 0");
        must_contain(bench_do(&bench, "info divergences"), "norm_1.output");
        bench_do(&bench, "rank 0");
        must_contain(bench_do(&bench, "stepi"), "DIVERGED");
        assert_string_equal(bench.reason, "divergence");
        assert_int_equal(bench.debugger->rank, late);
        assert_int_equal(run_next(run_of(&bench, late)), at + 1);
        bench_do(&bench, "stepi"); /* once */
        assert_int_equal(run_next(run_of(&bench, bench.debugger->rank)), at + 2);
        bench_close(&bench);
    }
}

/* An instruction from `from` on that needs nobody, whose output the reference has nothing for. */
static int find_unmatched(const struct pair *pair, int from)
{
    const struct program *program = pair->test->program;
    for (int i = from; i < program->instruction_count; i++)
        if (!is_collective(program, i) && program->instructions[i].output_count > 0 &&
            pair->reference_value[program->instructions[i].outputs[0]] < 0)
            return i;
    fail_msg("each output has a reference");
    return -1;
}

/* What comes late and cannot be compared fails the run, and says why. */
static void test_not_compared(void **state)
{
    (void)state;
    struct random random = random_start("not compared");
    struct status status = STATUS_NONE;
    struct bench bench;
    char line[64];
    open_ranks(&bench, "file llama/tp2");
    struct pair *pair = bench.debugger->target->team->pairs[1];
    int at = find_unmatched(pair, (int)random_integer(&random, 1, 30));
    snprintf(line, sizeof(line), "goto 1:%d", at);
    bench_do(&bench, line);
    int stops = bench.stops;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    pair_graft_later(pair, pair->test->program->instructions[at].outputs[0]);
    assert_true(world_allow(bench.debugger->target->team->world, 1, at + 1, &status));
    while (bench.stops == stops && clock_seconds() < deadline) {
        ranks_look(bench.debugger);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(bench.stops, stops + 1);
    assert_int_equal(bench.debugger->state, RUN_FAILED);
    must_contain(bench.debugger->stop_reason, "rank 1: the reference has no whole tensor");
    must_contain(bench.output.data, bench.debugger->stop_reason);
    ranks_look(bench.debugger);
    assert_int_equal(bench.stops, stops + 1); /* once */
    bench_close(&bench);
}

/* It is not shown as one that waits or computes, and goes on as if nothing had been. */
static void test_stopped_by_signal(void **state)
{
    (void)state;
    struct victim victim = {.running = false};
    struct bench *bench = &victim.bench;
    open_ranks(bench, "file llama/tp2");
    bench->debugger->sink.publish = look_at_victim; /* its context is the bench */
    bench_do(bench, "start");
    ranks_look(bench->debugger);
    int told = victim.told;
    stop_rank(bench, 1);
    assert_int_equal(victim.told, told + 1); /* once, though nothing moves */
    ranks_look(bench->debugger);
    assert_int_equal(victim.told, told + 1);
    must_contain(bench_do(bench, "info ranks"), "stopped by signal 19, SIGSTOP");
    victim.running = true;
    must_contain(bench_do(bench, "continue"), "Run finished: no divergence");
    assert_true(victim.seen);
    assert_int_equal(situation_of(bench, 1), SITUATION_STOPPED);
    bench_close(bench);
}

int main(int argc, char **argv)
{
    int code;
    struct status status = STATUS_NONE;
    if (keeper_serve(argc, argv, &code))
        return code;
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return !rank_serve(&status);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_stops_then),
        cmocka_unit_test(test_not_compared),
        cmocka_unit_test(test_stopped_by_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
