/* Rank processes: they give the bits of the same ranks in one process, whatever happens to one of
 * them is told, and nothing is left of them. This executable is also the rank: "test_pool rank". */
#include "helper_pool.h"
#include "helper_world.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/ranks/pool_internal.h"
#include "engine/ranks/rank.h"
#include "engine/ranks/world_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FLOOD_BYTES = 512 << 20 };

/* ---- in the rank ---- */

/* 1: it ends itself; 2: it prints without end. */
static void misbehave(int signal)
{
    static const char words[] = "all work and no play makes a rank a dull process\n";
    char lines[300 * (sizeof(words) - 1)];
    if (signal == SIGUSR1)
        _exit(42);
    for (size_t i = 0; i < sizeof(lines); i++)
        lines[i] = words[i % (sizeof(words) - 1)];
    for (size_t printed = 0; printed < FLOOD_BYTES;) {
        ssize_t count = write(STDERR_FILENO, lines, sizeof(lines));
        printed += count > 0 ? (size_t)count : 0;
    }
}

static int be_rank(void)
{
    struct status status = STATUS_NONE;
    signal(SIGUSR1, misbehave);
    signal(SIGUSR2, misbehave);
    if (!rank_serve(&status))
        fprintf(stderr, "%s\n", status.text);
    return 1;
}

/* ---- the same bits ---- */

static void check_same_bits(struct pool_test *it, const char *name, int tokens, int steps)
{
    struct status status = STATUS_NONE;
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = true};
    char text[600];
    pool_test_load(it, name, tokens);
    struct world *here = world_create(it->config, it->device, &options, &status);
    struct world *there = pool_test_world(it, &options);
    assert_non_null(here);
    for (int step = 0; step < steps; step++) {
        struct step_report ours, theirs;
        if (!world_finish_step(here, text))
            fail_msg("%s", text);
        run_step_of(there);
        assert_true(world_is_quiet(there));
        if (bits_of(here) != bits_of(there))
            fail_msg("%s: other bits in processes, step %d", name, step + 1);
        assert_true(world_report(here, step, &ours) && world_report(there, step, &theirs));
        assert_memory_equal(&ours.loss, &theirs.loss, sizeof(ours.loss));
        assert_memory_equal(&ours.gradient_norm, &theirs.gradient_norm, sizeof(double));
    }
    /* half a step on, then back to a saved step, and there again */
    uint64_t bits = bits_of(there);
    if (steps > 1) {
        for (int rank = 0; rank < there->size; rank++)
            assert_true(world_allow(there, rank, 40 + 7 * rank, &status));
        struct world_event event;
        while (world_next(there, 0, &event))
            assert_int_equal(event.kind, WORLD_DONE);
        if (!world_go_to_step(there, steps - 1, &status))
            fail_msg("%s", status.text);
        run_step_of(there);
        if (bits_of(there) != bits)
            fail_msg("%s: other bits after going back", name);
    }
    world_free(here);
    world_free(there);
}

static void test_bits(void **state)
{
    struct pool_test it;
    (void)state;
    pool_test_begin(&it, 8, 0);
    check_same_bits(&it, "llama/dp2", 64, 2);
    check_same_bits(&it, "llama/pp2s1_bf4", 64, 2);
    check_same_bits(&it, "gpt_2/stp2", 64, 1);
    check_same_bits(&it, "llama/dp2_stp2_pp2s2_bf4", 64, 2);
    pool_test_end(&it);
}

/* What a far rank says of a tensor is what follows from its bytes. */
static void check_answers(struct world *world, int rank, int number)
{
    struct run *run = world->ranks[rank].run;
    const struct value *value = &run->program->values[number];
    struct status status = STATUS_NONE;
    void *buffer = NULL;
    struct tensor part;
    uint64_t hash;
    char samples[64 * sizeof(float)] = "", right[64 * sizeof(float)] = "";
    struct sampling sampling = {3, 64};
    struct device_statistics got;
    struct text taken = {0};
    assert_true(executor_view(run->executor, number, &buffer, &part, &status));
    assert_true(world_hash_far(world, rank, number, &hash, &status));
    assert_true(hash == XXH3_64bits(part.data, value_bytes(value)));
    if (!world_summarize_far(world, rank, number, &sampling, &got, samples, &status))
        fail_msg("%s: %s", value->name, status.text);
    struct device_statistics statistics = summary_statistics(&part);
    assert_int_equal(got.finite, statistics.finite);
    assert_true(got.mean == statistics.mean && got.squares == statistics.squares);
    assert_true(got.minimum == statistics.minimum && got.maximum == statistics.maximum);
    summary_take(&part, &value->shard, &sampling, &taken);
    assert_true(
        summary_put(taken.data, taken.length, &value->shard, value->dtype, &sampling, right));
    assert_memory_equal(samples, right, sizeof(samples));
    text_free(&taken);
    free(buffer);
}

static void check_far_answers(struct pool_test *it)
{
    struct run_options options = {.plan = PLAN_KEEP};
    struct world_event event;
    struct status status = STATUS_NONE;
    int asked = 0;
    pool_test_load(it, "llama/stp2_pp2s1_bf4", 64);
    struct world *world = pool_test_world(it, &options);
    run_step_of(world);
    for (int rank = 0; rank < world->size; rank++) {
        struct executor *executor = world->ranks[rank].run->executor;
        assert_true(world_is_far(world, rank));
        for (int i = 0; i < executor->program->value_count; i++) {
            const struct value *value = &executor->program->values[i];
            if (!value->name[0] || value->dtype != DTYPE_F32 || !executor_holds(executor, i) ||
                shape_elements(value->shape) < 64 * 3)
                continue;
            check_answers(world, rank, i);
            asked++;
        }
    }
    assert_true(asked > 100);
    /* also while it waits for others in a collective */
    assert_true(world_allow(world, 0, INT32_MAX, &status));
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!world_is_quiet(world) && clock_seconds() < deadline)
        world_next(world, 0.2, &event);
    assert_int_equal(world->ranks[0].state, RANK_WAITING);
    const struct run *run = world->ranks[0].run;
    check_answers(world, 0, run->program->parameters[0].value);
    world_free(world);
}

/* As on another machine: no memory in common, everything goes over TCP. */
static void test_far(void **state)
{
    struct pool_test it = {.address = "127.0.0.1"};
    struct status status = STATUS_NONE;
    (void)state;
    pool_test_need_mpirun();
    it.pool = pool_test_start(&it, 4, 0);
    it.device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    check_same_bits(&it, "llama/dp2", 64, 2);
    check_same_bits(&it, "llama/stp2_pp2s1_bf4", 64, 2);
    check_far_answers(&it);
    pool_test_end(&it);
}

/* ---- standing, waiting, going on ---- */

/* Stops a process, or lets it go on, until its guardian has told of that. */
static void stop_process(struct rank_pool *pool, int rank, int signal)
{
    struct rank_process_state process;
    int expected = signal == SIGSTOP ? SIGSTOP : 0;
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    rank_pool_describe(pool, rank, &process);
    assert_int_equal(kill((pid_t)process.pid, signal), 0);
    while (process.stopped_by != expected && clock_seconds() < deadline) {
        rank_pool_poll(pool, 0.1);
        rank_pool_describe(pool, rank, &process);
    }
    assert_int_equal(process.stopped_by, expected);
}

static void test_waiting(void **state)
{
    struct pool_test it;
    struct run_options options = {.plan = PLAN_KEEP};
    struct status status = STATUS_NONE;
    struct world_event event;
    bool missing[2];
    char text[600];
    (void)state;
    pool_test_begin(&it, 2, 0);
    pool_test_load(&it, "llama/tp2", 64);
    struct world *world = pool_test_world(&it, &options);
    /* rank 0 alone, one instruction at a time, until it has to wait for rank 1 */
    assert_true(world_is_quiet(world));
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    int done = 0;
    while (clock_seconds() < deadline && !world_is_meeting(world, 0)) {
        assert_true(world_allow(world, 0, done + 1, &status));
        while (!world_next(world, 0.2, &event))
            assert_true(clock_seconds() < deadline);
        assert_int_equal(event.kind, WORLD_DONE);
        assert_int_equal(event.rank, 0);
        assert_int_equal(event.instruction, done++);
        assert_int_equal(run_next(world->ranks[0].run), done);
    }
    assert_true(done > 0);
    assert_true(world_allow(world, 0, done + 1, &status));
    while (world->ranks[0].state != RANK_WAITING && clock_seconds() < deadline)
        assert_false(world_next(world, 0.01, &event));
    assert_true(world_is_quiet(world));
    assert_int_equal(world_waits_for(world, 0, missing), 1);
    assert_true(missing[1]);
    world_waiting_text(world, 0, text, sizeof(text));
    assert_non_null(strstr(text, "rank 0 waits in "));
    assert_true(world->ranks[0].waiting_since > clock_seconds() - PATIENCE_SECONDS);
    struct comm_record records[2];
    assert_int_equal(rank_pool_collectives(it.pool, 0, records, 2), 1);
    assert_int_equal(rank_pool_collectives(it.pool, 1, records + 1, 1), 0);
    assert_int_equal(records[0].instruction, done);
    assert_int_equal(records[0].what.group, COMM_TENSOR);
    assert_true(records[0].sequence == 1 && records[0].entered > 0 && records[0].left == 0);
    /* a rank that waits gives up when all go back, and nothing is broken by it */
    assert_true(world_go_to_step(world, 0, &status));
    assert_int_equal(run_next(world->ranks[0].run), 0);
    run_step_of(world);
    assert_int_equal(rank_pool_collectives(it.pool, 0, records, 2), 2);
    assert_true(records[1].sequence == records[0].sequence + 1 &&
                records[1].entered >= records[0].left && records[1].left >= records[1].entered);
    /* a rank is held before its next instruction: rank 0, which cannot come to the end of its step
     * while rank 1 stands */
    stop_process(it.pool, 1, SIGSTOP);
    allow_all(world);
    world_hold(world, 0);
    world_hold(world, 1);
    stop_process(it.pool, 1, SIGCONT);
    deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!world_is_quiet(world) && clock_seconds() < deadline)
        world_next(world, 0.05, &event);
    assert_true(world_is_quiet(world));
    int stands = run_next(world->ranks[0].run);
    assert_true(stands < world->ranks[0].run->program->instruction_count);
    run_step_of(world);
    world_free(world);
    assert_true(rank_pool_is_sound(it.pool));
    pool_test_end(&it);
}

static bool change(const char *fault, struct run_options *options)
{
    options->change = faults_change;
    options->change_context = (void *)fault;
    return faults_check(fault, NULL);
}

/* A rank that comes to another collective is found at once, by all who meet there. */
static void test_mismatch(void **state)
{
    struct pool_test it;
    struct run_options options = {.plan = PLAN_KEEP};
    struct world_event event;
    char text[600];
    (void)state;
    pool_test_begin(&it, 2, 0);
    pool_test_load(&it, "llama/tp2", 64);
    assert_true(change("drop:rank=1,op=all_reduce,nth=1", &options));
    struct world *world = pool_test_world(&it, &options);
    allow_all(world);
    enum world_event_kind kind = run_on(world, &event);
    world_waiting_text(world, event.rank, text, sizeof(text));
    print_message("%s\n", text);
    assert_int_equal(kind, WORLD_MISMATCH);
    assert_non_null(strstr(text, "but rank"));
    world_free(world);
    assert_true(rank_pool_is_sound(it.pool)); /* nothing had moved */
    options.change = NULL;
    world = pool_test_world(&it, &options);
    run_step_of(world);
    world_free(world);
    pool_test_end(&it);
}

/* ---- what happens to ranks ---- */

/* Rank 1 is struck in the middle of a step; what it had computed can be read, the next run works.
 */
static void strike(struct pool_test *it, int signal, const char *expected)
{
    struct run_options options = {.plan = PLAN_KEEP};
    struct world_event event;
    struct rank_process_state victim;
    struct status status = STATUS_NONE;
    struct world *world = pool_test_world(it, &options);
    const struct run *run = world->ranks[1].run;
    int before = run->program->instruction_count / 4;
    while (before > 0 && (op_is_collective(run->program->instructions[before].op) ||
                          op_is_collective(run->program->instructions[before - 1].op)))
        before--;
    for (int rank = 0; rank < 2; rank++)
        assert_true(world_allow(world, rank, before, &status));
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (run_next(run) < before && clock_seconds() < deadline)
        world_next(world, 0.1, &event);
    assert_int_equal(run_next(run), before);
    rank_pool_describe(it->pool, 1, &victim);
    assert_true(victim.pid > 0 && !victim.ended);
    assert_int_equal(kill((pid_t)victim.pid, signal), 0);
    allow_all(world);
    assert_int_equal(run_on(world, &event), WORLD_LOST);
    assert_int_equal(event.rank, 1);
    assert_int_equal(world->ranks[1].state, RANK_LOST);
    print_message("%s\n", world->ranks[1].reason);
    assert_non_null(strstr(world->ranks[1].reason, expected));
    assert_false(world_allow(world, 1, before + 1, &status));
    /* the last thing that it has surely computed */
    int value = run->program->instructions[before - 1].outputs[0], elements = 0;
    assert_true(executor_holds(run->executor, value));
    struct tensor tensor = executor_tensor(run->executor, value);
    for (int64_t i = 0; i < shape_elements(tensor.shape); i++)
        elements += tensor_load(&tensor, i) != 0;
    assert_true(elements > 0);
    /* the other one waits for it, or is through */
    while (!world_is_quiet(world) && clock_seconds() < deadline)
        world_next(world, 0.1, &event);
    assert_true(world_is_quiet(world));
    assert_int_not_equal(world->ranks[0].state, RANK_LOST);
    world_free(world);
    assert_false(rank_pool_is_sound(it->pool));
    world = pool_test_world(it, &options);
    run_step_of(world);
    world_free(world);
    assert_true(rank_pool_is_sound(it->pool));
}

static void test_strikes(void **state)
{
    struct pool_test it;
    (void)state;
    pool_test_begin(&it, 2, 0);
    pool_test_load(&it, "llama/tp2", 64);
    strike(&it, SIGKILL, "was killed by signal 9");
    strike(&it, SIGSEGV, "was killed by signal 11");
    strike(&it, SIGUSR1, "ended with exit status 42");
    rank_pool_free(it.pool);
    it.pool = pool_test_start(&it, 2, 8);
    strike(&it, SIGSTOP, "was stopped by signal 19");
    pool_test_end(&it);
}

static long resident_kilobytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void test_flood(void **state)
{
    struct pool_test it;
    struct run_options options = {.plan = PLAN_KEEP};
    struct rank_process_state talker;
    (void)state;
    pool_test_begin(&it, 2, 0);
    pool_test_load(&it, "llama/dp2", 64);
    struct world *world = pool_test_world(&it, &options);
    rank_pool_describe(it.pool, 1, &talker);
    assert_int_equal(kill((pid_t)talker.pid, SIGUSR2), 0);
    long before = resident_kilobytes();
    run_step_of(world);
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (it.printed.bytes[1] < FLOOD_BYTES && clock_seconds() < deadline)
        rank_pool_poll(it.pool, 0.1);
    assert_true(it.printed.bytes[1] >= FLOOD_BYTES);
    assert_true(resident_kilobytes() - before < FLOOD_BYTES / 1024 / 8);
    assert_non_null(strstr(it.printed.last, "a dull process"));
    rank_pool_describe(it.pool, 1, &talker);
    assert_true(talker.printed[1] == it.printed.bytes[1] && it.printed.bytes[0] == 0);
    run_step_of(world);
    world_free(world);
    pool_test_end(&it);
}

/* ---- beginning and ending ---- */

static void test_nothing_left(void **state)
{
    struct pool_test it;
    (void)state;
    pool_test_begin(&it, 3, 0);
    rank_pool_free(it.pool);
    assert_true(wait_for_no_relatives());
    int descriptors = count_descriptors();
    it.pool = pool_test_start(&it, 3, 0);
    assert_true(count_relatives() >= 6);
    for (int rank = 0; rank < 3; rank++) {
        struct rank_process_state description;
        rank_pool_describe(it.pool, rank, &description);
        assert_true(description.pid > 0 && description.host[0] && !description.ended);
    }
    rank_pool_free(it.pool);
    it.pool = NULL;
    assert_int_equal(count_descriptors(), descriptors);
    assert_true(wait_for_no_relatives());
    pool_test_end(&it);
}

/* The system lets go of what a process that was killed has open, and a little later, on a busy
 * machine much later, it has ended. */
static void end_slowly(void)
{
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    _exit(1);
}

/* An engine in a process of its own, which does nothing once its ranks are there. */
static pid_t start_engine_that(void (*acts)(void), pid_t *launcher)
{
    int ready[2];
    struct pool_test it = {0};
    assert_int_equal(pipe(ready), 0);
    pid_t engine = fork();
    if (engine == 0) {
        struct rank_pool *pool = pool_test_start(&it, 3, 0);
        pid_t pid = pool ? pool->launch.pid : 0;
        if (!pool || write(ready[1], &pid, sizeof(pid)) != sizeof(pid))
            _exit(1);
        for (;;)
            acts();
    }
    assert_int_equal(read(ready[0], launcher, sizeof(*launcher)), sizeof(*launcher));
    close(ready[0]);
    close(ready[1]);
    return engine;
}

static void stay(void)
{
    pause();
}

static pid_t start_engine(pid_t *launcher)
{
    return start_engine_that(stay, launcher);
}

static void expect_nothing_left(pid_t engine)
{
    char found[512];
    assert_true(wait_for_no_relatives());
    if (find_left_over(engine, found, sizeof(found)))
        fail_msg("%s is left", found);
}

/* An engine that is killed takes everything with it, also when its launcher is killed as well. */
static void test_engine_killed(void **state)
{
    pid_t launcher;
    char found[512];
    (void)state;
    pool_test_need_mpirun();
    for (int both = 0; both < 2; both++) {
        pid_t engine = start_engine(&launcher);
        assert_true(count_relatives() >= 6);
        assert_true(find_left_over(engine, found, sizeof(found))); /* while it is in use */
        if (both)
            kill(launcher, SIGKILL);
        kill(engine, SIGKILL);
        waitpid(engine, NULL, 0);
        expect_nothing_left(engine);
    }
}

static void test_engine_ends_slowly(void **state)
{
    pid_t launcher;
    (void)state;
    pool_test_need_mpirun();
    pid_t engine = start_engine_that(end_slowly, &launcher);
    waitpid(engine, NULL, 0);
    expect_nothing_left(engine);
}

/* When all processes are killed at once, nobody is there to remove files: the next engine does. It
 * leaves those alone that are in use. */
static void test_all_killed(void **state)
{
    pid_t launcher;
    char found[512];
    (void)state;
    pool_test_need_mpirun();
    pid_t engine = start_engine(&launcher);
    kill(engine, SIGSTOP);
    signal_relatives(SIGSTOP); /* nobody sees the others die */
    signal_relatives(SIGKILL);
    kill(engine, SIGKILL);
    waitpid(engine, NULL, 0);
    assert_true(wait_for_no_relatives());
    assert_true(find_left_over(engine, found, sizeof(found)));
    pid_t other = start_engine(&launcher);
    assert_false(find_left_over(engine, found, sizeof(found)));
    engine = start_engine(&launcher);
    assert_true(find_left_over(other, found, sizeof(found)));
    kill(other, SIGKILL);
    kill(engine, SIGKILL);
    waitpid(other, NULL, 0);
    waitpid(engine, NULL, 0);
    expect_nothing_left(other);
    expect_nothing_left(engine);
}

static void expect_no_pool(struct rank_pool_options options, const char *expected)
{
    struct status status = STATUS_NONE;
    int descriptors = count_descriptors();
    assert_null(rank_pool_create(&options, &status));
    print_message("%s\n", status.text);
    assert_non_null(strstr(status.text, expected));
    assert_int_equal(count_descriptors(), descriptors);
    assert_true(wait_for_no_relatives());
}

static void write_launcher(char script[64], const char *text)
{
    strcpy(script, "/tmp/lockstep-launcher-XXXXXX");
    int fd = mkstemp(script);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* On a busy machine the launcher may need longer than the ranks are given, before it prints. */
static void expect_nobody_comes(void)
{
    char script[64], words[80], expected[80];
    struct status status;
    write_launcher(script, "echo no nodes\nexec sleep 600\n");
    snprintf(words, sizeof(words), "sh %s", script);
    for (double seconds = 0.5; seconds <= PATIENCE_SECONDS; seconds *= 2) {
        struct rank_pool_options options = {
            .size = 2, .launch.launcher = words, .start_timeout = seconds};
        memset(&status, 0, sizeof(status));
        assert_null(rank_pool_create(&options, &status));
        snprintf(expected, sizeof(expected), "0 of 2 ranks came within %g s, rank 0 is missing",
                 seconds);
        assert_non_null(strstr(status.text, expected));
        if (strstr(status.text, "; the launcher printed: no nodes"))
            break;
    }
    assert_non_null(strstr(status.text, "; the launcher printed: no nodes"));
    assert_true(wait_for_no_relatives());
    unlink(script);
}

/* Starts one rank, and does something to it, while the engine is stopped: that sees all at once
 * then. */
#define HASTY_LAUNCHER                                                                             \
    "kill -STOP $LOCKSTEP_TEST_ENGINE\nexport LOCKSTEP_RANK=0\n\"$@\" &\nguardian=$!\n"            \
    "for i in $(seq 6000); do rank=$(cat /proc/$guardian/task/$guardian/children)\n"               \
    "[ -z \"$rank\" ] || break; sleep 0.01; done\n"                                                \
    "go_on() { sleep 0.5; kill -CONT $LOCKSTEP_TEST_ENGINE; }\n"

static void expect_told(const char *launcher, const char *expected)
{
    char script[64], words[80];
    int ending;
    write_launcher(script, launcher);
    snprintf(words, sizeof(words), "sh %s", script);
    pid_t engine = fork();
    if (engine == 0) {
        char number[16];
        struct status status = STATUS_NONE;
        struct rank_pool_options options = {.size = 1,
                                            .launch.timeout = 1,
                                            .launch.launcher = words,
                                            .launch.address = "127.0.0.1"};
        snprintf(number, sizeof(number), "%d", (int)getpid());
        setenv("LOCKSTEP_TEST_ENGINE", number, 1);
        struct rank_pool *pool = rank_pool_create(&options, &status);
        print_message("%s\n", status.text);
        _exit(pool || !strstr(status.text, expected));
    }
    assert_int_equal(waitpid(engine, &ending, 0), engine);
    assert_int_equal(ending, 0);
    assert_true(wait_for_no_relatives());
    unlink(script);
}

/* What became of a rank is told, rather than that its launcher has ended, whatever is seen first.
 */
static void test_told_late(void **state)
{
    (void)state;
    expect_told(HASTY_LAUNCHER "kill -KILL $rank\nwait\ngo_on &\nexit 3\n",
                "rank 0 was killed by signal 9 (Killed) while it started");
    expect_told(HASTY_LAUNCHER "kill -STOP $rank\ngo_on\nwait\n",
                "rank 0 is missing and was stopped by signal 19");
}

static void test_launcher_fails(void **state)
{
    (void)state;
    expect_no_pool((struct rank_pool_options){.size = 2, .launch.launcher = "sh -c 'exit'"},
                   "the launcher");
    expect_no_pool(
        (struct rank_pool_options){.size = 2, .launch.launcher = "no-such-launcher -n 2"},
        "no-such-launcher is not installed");
    expect_no_pool((struct rank_pool_options){.size = 0}, "0 ranks");
    expect_no_pool((struct rank_pool_options){.size = 2, .program = "/bin/true"}, "");
    /* one that starts nothing, and stays */
    expect_nobody_comes();
    /* one whose processes do not know the token */
    static const char stranger[] = "export LOCKSTEP_RANK_TOKEN=0123456789abcdef0123456789abcdef\n"
                                   "export LOCKSTEP_RANK=0\nexec \"$@\"\n";
    char script[64], words[80];
    write_launcher(script, stranger);
    snprintf(words, sizeof(words), "sh %s", script);
    expect_no_pool((struct rank_pool_options){.size = 1,
                                              .launch.launcher = words,
                                              .launch.address = "127.0.0.1"},
                   "before all ranks had come");
    unlink(script);
}

/* One rank needs neither a launcher nor MPI. */
static void test_alone(void **state)
{
    struct pool_test it = {0};
    struct status status = STATUS_NONE;
    (void)state;
    it.pool = pool_test_start(&it, 1, 0);
    it.device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    check_same_bits(&it, "llama/simple", 64, 2);
    pool_test_end(&it);
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
        cmocka_unit_test(test_alone),         cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_bits),          cmocka_unit_test(test_far),
        cmocka_unit_test(test_waiting),       cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_strikes),       cmocka_unit_test(test_flood),
        cmocka_unit_test(test_engine_killed), cmocka_unit_test(test_engine_ends_slowly),
        cmocka_unit_test(test_all_killed),    cmocka_unit_test(test_launcher_fails),
        cmocka_unit_test(test_told_late),
    };
    return pool_test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
