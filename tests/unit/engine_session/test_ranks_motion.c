/* A debugger on runs of several ranks, all in this process: who moves, who is shown, who is blamed.
 */
#include "helper_debugger.h"

#include "engine/compare/team.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void open_ranks(struct bench *bench, const char *file)
{
    bench_open(bench);
    bench->debugger->launch.in_process = true;
    bench_do(bench, file);
}

static const struct run *run_of(const struct bench *bench, int rank)
{
    return bench->debugger->target->team->world->ranks[rank].run;
}

/* Values of all ranks; leaves the selection as it was. */
static uint64_t hash_all(struct bench *bench)
{
    int selected = bench->debugger->rank, held;
    uint64_t hash = 0;
    for (int rank = 0; rank < ranks_count(bench->debugger); rank++) {
        ranks_select(bench->debugger, rank);
        hash = hash * 1000003 + bench_hash(bench, &held);
        assert_true(held > 0);
    }
    ranks_select(bench->debugger, selected);
    return hash;
}

static void test_ranks_step_together(void **state)
{
    (void)state;
    struct random random = random_start("together");
    struct bench bench;
    char line[64];
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, random_integer(&random, 0, 1) ? "rank 1" : "rank 0");
    for (int round = 0; round < 12; round++) {
        int64_t before = debugger_position(bench.debugger);
        int count = (int)random_integer(&random, 1, 9);
        snprintf(line, sizeof(line), "stepi %d", count);
        bench_do(&bench, line);
        assert_int_equal(debugger_position(bench.debugger), before + count);
        const struct run *selected = run_of(&bench, bench.debugger->rank);
        const struct run *other = run_of(&bench, 1 - bench.debugger->rank);
        int64_t share = (int64_t)run_next(selected) * other->program->instruction_count /
                        selected->program->instruction_count;
        assert_int_equal(other->step, selected->step);
        bool waits = bench.debugger->target->team->world->ranks[1 - bench.debugger->rank].state ==
                     RANK_WAITING; /* for the selected one */
        assert_true(waits || run_next(other) >= share);
        assert_true(run_next(other) <= share + 8); /* as far as a collective takes it with it */
    }
    bench_close(&bench);
}

static void test_locked_rank_says_for_whom_it_waits(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "set scheduler-locking on");
    int before = run_next(run_of(&bench, 1));
    must_contain(bench_do(&bench, "continue"), "rank 0 waits in ");
    must_contain(bench.output.data, "for rank 1, which stands before");
    must_contain(bench.output.data, "Only rank 0 may move");
    assert_string_equal(bench.reason, "waits for other ranks");
    assert_int_equal(run_next(run_of(&bench, 1)), before);
    assert_true(run_next(run_of(&bench, 0)) > before);
    bench_do(&bench, "set scheduler-locking off");
    must_contain(bench_do(&bench, "continue"), "Run finished");
    assert_int_equal(run_of(&bench, 1)->step, run_of(&bench, 0)->step);
    bench_close(&bench);
}

static void test_breakpoint_of_another_rank(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "break decoder.1 if rank == 1");
    must_contain(bench_do(&bench, "run"), "Breakpoint 1");
    assert_int_equal(bench.debugger->rank, 1);
    must_contain(bench_do(&bench, "info breakpoints"), "if rank == 1");
    int64_t first = debugger_position(bench.debugger);
    /* on the way to a place, and back, nobody else is selected */
    bench_do(&bench, "rank 0");
    bench_do(&bench, "goto 1:60");
    assert_int_equal(bench.debugger->rank, 0);
    must_contain(bench_do(&bench, "reverse-continue"), "Nothing stopped");
    assert_int_equal(bench.debugger->rank, 0);
    bench_do(&bench, "rank next");
    bench_do(&bench, "goto 1:60");
    bench_do(&bench, "reverse-continue");
    bench_do(&bench, "reverse-continue");
    assert_int_equal(debugger_position(bench.debugger), first);
    bench_close(&bench);
}

static bool has_layer(const struct program *program, const char *layer)
{
    for (int i = 0; i < program->instruction_count; i++)
        if (program->instructions[i].origin.layer &&
            strcmp(program->instructions[i].origin.layer, layer) == 0)
            return true;
    return false;
}

static void test_pipeline_ranks_have_their_own_programs(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/pp2s2_bf4");
    assert_true(has_layer(run_of(&bench, 0)->program, "head"));
    assert_false(has_layer(run_of(&bench, 0)->program, "decoder.0"));
    assert_true(has_layer(run_of(&bench, 1)->program, "decoder.0"));
    assert_false(has_layer(run_of(&bench, 1)->program, "head"));
    must_contain(bench_do(&bench, "info program"), "head");
    must_contain(bench_fail(&bench, "list decoder.0"), "decoder.0");
    bench_do(&bench, "rank 1");
    assert_null(strstr(bench_do(&bench, "info program"), "head"));
    bench_do(&bench, "until decoder.0");
    bench_do(&bench, "rank 0");
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    must_contain(bench_do(&bench, "info ranks"), "\n1 ");
    bench_close(&bench);
}

/* What only another rank of the pipeline has can be waited for, and it is said who has it. */
static void test_breakpoints_where_only_another_rank_comes(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/pp2s2_bf4");
    must_contain(bench_fail(&bench, "list decoder.0"), "rank 1 has: 'rank 1' selects it");
    must_contain(bench_fail(&bench, "goto decoder.0"), "rank 1 has");
    must_contain(bench_fail(&bench, "check decoder.0"), "rank 1 has");
    must_contain(bench_fail(&bench, "print fw decoder.0.output mb=0/4"), "rank 1 has");
    must_contain(bench_fail(&bench, "break decoder.7"), "no layer, phase or tensor");
    must_contain(bench_do(&bench, "tbreak decoder.0 if mb == 1"), " of rank 1\n");
    must_contain(bench_do(&bench, "watch fw decoder.0.output"), " of rank 1\n");
    must_contain(bench_do(&bench, "info breakpoints"), "hit 0 times, of rank 1\n");
    must_contain(bench_do(&bench, "run"), "2, fw decoder.0.output");
    assert_int_equal(bench.debugger->rank, 1);
    bench_do(&bench, "rank 0");
    bench_do(&bench, "delete 2");
    must_contain(bench_do(&bench, "continue"), "1, decoder.0 if mb == 1");
    assert_int_equal(bench.debugger->rank, 1);
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    bench_close(&bench);
}

/* So can it be gone to: whoever comes there first stops all. */
static void test_until_where_only_another_rank_comes(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/pp2s2_bf4");
    must_contain(bench_do(&bench, "until decoder.0 if mb == 1"), "[Switching to rank 1]");
    assert_string_equal(bench.reason, "place reached");
    const struct run *run = run_of(&bench, 1);
    assert_string_equal(run->program->instructions[run_next(run)].origin.layer, "decoder.0");
    assert_int_equal(run->program->instructions[run_next(run)].origin.micro_batch, 1);
    bench_do(&bench, "rank 0");
    must_contain(bench_do(&bench, "until fw decoder.0.output mb=2/4"),
                 "fw decoder.0.output mb=2/4");
    assert_int_equal(bench.debugger->rank, 1);
    assert_string_equal(bench.reason, "place reached");
    assert_true(executor_holds(run->executor, bench.debugger->last_value));
    bench_do(&bench, "rank 0");
    must_contain(bench_fail(&bench, "until decoder.7"), "no layer, phase or tensor");
    bench_fail(&bench, "until backward decoder.0 mb=9");
    must_contain(bench_fail(&bench, "until /no such text/"), "no instruction writes or matches");
    must_contain(bench_do(&bench, "until /decoder.0.mlp.hidden mb=3/"), "[Switching to rank 1]");
    bench_do(&bench, "rank 0");
    /* nothing of it is left */
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    assert_int_equal(bench.debugger->rank, 0);
    bench_close(&bench);
}

static void test_going_back_gives_the_same_bits_on_all_ranks(void **state)
{
    static const char *const files[] = {"file llama/stp2", "file llama/dp2"};
    (void)state;
    struct random random = random_start("back");
    char line[64];
    for (int i = 0; i < 6; i++) {
        struct bench bench;
        open_ranks(&bench, files[i % 2]);
        int64_t count = debugger_program(bench.debugger)->instruction_count;
        /* where two steps meet, and behind that, too */
        int64_t place = i < 2 ? random_integer(&random, 1, 2 * count - 1) : count + (i >= 4);
        snprintf(line, sizeof(line), "goto %d:%d", (int)(place / count) + 1, (int)(place % count));
        bench_do(&bench, line);
        assert_int_equal(debugger_position(bench.debugger), place);
        uint64_t hash = hash_all(&bench);
        bench_do(&bench, "continue");
        assert_int_not_equal(hash_all(&bench), hash);
        bench_do(&bench, line);
        if (hash_all(&bench) != hash)
            fail_msg("%s %s: other bits", files[i % 2], line);
        bench_close(&bench);
    }
}

/* Replicas are compared with each other, whatever the reference says. */
static void test_desynchronised_ranks(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/tp2 fault learning-rate-of-one-rank");
    must_contain(bench_do(&bench, "run"), "differs between ranks 0 and 1, which hold the same");
    bench_close(&bench);
}

/* Of a run alone, too: with the tensor, the ranks, and where in it. */
static void test_desynchronised_without_reference(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"file llama/tp2 against none fault learning-rate-of-one-rank",
         ".updated differs between ranks 0 and 1, which hold the same: "},
        {"file llama/tp2 against none fault kernel-of-one-rank",
         "fw decoder.1.norm_2.output differs between ranks 0 and 1, which hold the same: "},
        {"file llama/stp2 against none fault update-on-fewer-ranks",
         "state decoder.0.norm_1.weight.updated differs between ranks 0 and 1, which hold the "
         "same: "},
    };
    (void)state;
    for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
        struct bench bench;
        open_ranks(&bench, cases[i].line);
        bench_do(&bench, "stop on divergence");
        const char *said = bench_do(&bench, "run");
        must_contain(said, cases[i].text);
        must_contain(said, "elements, the first at [0");
        must_contain(said, "not compared");
        bench_close(&bench);
    }
    struct bench bench;
    open_ranks(&bench, "file llama/tp2 against none");
    bench_do(&bench, "stop on divergence");
    must_contain(bench_do(&bench, "run"), "Run finished; nothing was compared.");
    bench_close(&bench);
}

static struct rank_departure departure_of(const struct bench *bench, int rank)
{
    return bench->debugger->seats[rank].departure;
}

/* Of two ranks nobody can say who is right; of four, one is alone. With the weight that was not
 * updated depart its moments, which others write by the same instruction, and in the second step
 * the norm's output, two gradients, the weight and the moments. */
static void test_who_departs(void **state)
{
    enum { MOMENTS = 2, STEP = 4 + MOMENTS };
    (void)state;
    struct random random = random_start("who departs");
    struct bench bench;
    char line[128];
    int alone = (int)random_integer(&random, 0, 3), other = alone == 0 ? 1 : 0;
    bench_open(&bench);
    bench.debugger->launch.in_process = true;
    bench_do(&bench, "set config distributed.tensor_parallel=4");
    bench_do(&bench, "set config distributed.sequence_tensor_parallel=false");
    bench_do(&bench, "set config base_model.decoder.block.mixer.heads=4");
    bench_do(&bench, "set config base_model.decoder.block.mixer.head_groups=4");
    snprintf(
        line, sizeof(line),
        "file llama/dp2_stp2 against none fault drop:op=adamw,rank=%d,part=decoder.0.norm_1.weight",
        alone);
    bench_do(&bench, line);
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    assert_non_null(departure_of(&bench, alone).tensor); /* and another, if only two have come */
    bench_do(&bench, "stop off");
    bench_do(&bench, "continue");
    for (int rank = 0; rank < 4; rank++)
        assert_int_equal(departure_of(&bench, rank).tensor != NULL, rank == alone);
    struct rank_departure departure = departure_of(&bench, alone);
    assert_string_equal(departure.tensor, "state decoder.0.norm_1.weight.updated");
    assert_int_equal(departure.step, 0);
    assert_int_equal(departure.against, other);
    assert_int_equal(departure.elements, 32);
    assert_in_range(departure.different, 1, 32);
    assert_true(departure.own == 1 && departure.other != 1); /* as it was initialised */
    assert_true(departure.further > 0);
    snprintf(line, sizeof(line), "unlike rank %d: state decoder.0.norm_1.weight.updated", other);
    must_contain(bench_do(&bench, "info ranks"), line);
    bench_do(&bench, "goto 1:5"); /* before it happened */
    assert_null(departure_of(&bench, alone).tensor);
    bench_do(&bench, "goto 2:0"); /* seen again, though the way to a place says nothing */
    assert_int_equal(departure_of(&bench, alone).against, other);
    assert_null(departure_of(&bench, other).tensor);
    for (int again = 0; again < 4; again++) { /* each tensor counts once, however often it comes */
        assert_int_equal(departure_of(&bench, alone).further, MOMENTS);
        bench_do(&bench, "continue");
        assert_int_equal(departure_of(&bench, alone).further, MOMENTS + STEP);
        snprintf(line, sizeof(line), "goto 2:%d", (int)random_integer(&random, 1, 99));
        bench_do(&bench, line);
        assert_in_range(departure_of(&bench, alone).further, MOMENTS, MOMENTS + STEP);
        bench_do(&bench, "goto 2:0");
    }
    bench_close(&bench);
}

static void test_blame_names_rank_and_instruction(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2 fault old-weights-on-one-rank");
    bench_do(&bench, "stop on divergence");
    must_contain(bench_do(&bench, "run"), "DIVERGED");
    const char *found = strstr(bench_do(&bench, "blame"), "Rank 1, instruction ");
    assert_non_null(found);
    int guilty = atoi(found + strlen("Rank 1, instruction "));
    assert_non_null(run_of(&bench, 1)->program->instructions[guilty].fault);
    bench_close(&bench);
}

/* An update that is wrong on one rank, seen in the next step: the walk goes through a collective
 * and the state to the end of the step before, and everything is as it was afterwards. */
static void test_blame_goes_through_earlier_steps(void **state)
{
    static const char *const runs[] = {
        "file llama/tp2 fault scale:op=adamw,rank=1,part=decoder.0.mlp.layer_1.weight,factor=3",
        "file llama/dp2_z3 fault scale:op=adamw,rank=1,part=decoder.0.mlp.layer_1.weight,factor=3"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bench bench;
        open_ranks(&bench, runs[i]);
        bench_do(&bench, "goto 2:0");
        bench_do(&bench, "until fw decoder.0.output");
        bench_do(&bench, "stepi");
        uint64_t before = hash_all(&bench);
        int at[2] = {run_next(run_of(&bench, 0)), run_next(run_of(&bench, 1))};
        const char *found =
            strstr(bench_do(&bench, "blame fw decoder.0.output"), "Step 1, rank 1, instruction ");
        if (!found)
            fail_msg("%s: %s", runs[i], bench.output.data);
        int guilty = atoi(found + strlen("Step 1, rank 1, instruction "));
        const struct instruction *in = &run_of(&bench, 1)->program->instructions[guilty];
        assert_non_null(in->fault);
        assert_int_equal(in->origin.phase, PHASE_UPDATE);
        must_contain(bench.output.data, "step 1 rank 1");
        for (int rank = 0; rank < 2; rank++) {
            assert_int_equal(run_of(&bench, rank)->step, 1);
            assert_int_equal(run_next(run_of(&bench, rank)), at[rank]);
        }
        assert_true(hash_all(&bench) == before);
        bench_close(&bench);
    }
}

/* The parts of all ranks, or of one; nothing diverges behind it. */
static void test_graft_of_all_parts(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2 fault old-weights-on-one-rank");
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    int64_t here = debugger_position(bench.debugger);
    must_contain(bench_do(&bench, "graft"), "fw decoder.1.mlp.output is now the reference's on 2");
    assert_int_equal(debugger_position(bench.debugger), here);
    for (int rank = 0; rank < 2; rank++)
        assert_int_equal(bench.debugger->target->team->pairs[rank]->graft_count, 1);
    must_contain(bench_do(&bench, "diff fw decoder.1.mlp.output"), "bit-equal");
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    must_contain(bench_fail(&bench, "graft fw decoder.9.output"), "did you mean");
    bench_do(&bench, "start");
    bench_do(&bench, "until backward");
    bench_do(&bench, "rank 1");
    must_contain(bench_do(&bench, "graft fw decoder.0.output"), "on 1 rank;");
    assert_int_equal(bench.debugger->target->team->pairs[0]->graft_count, 1);
    bench_close(&bench);
}

/* "[40,3] ... (rank 1 [8,3])": the rows of rank 1 are the second half. */
static void test_worst_elements_name_rank_and_local_index(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "set worst 40");
    bench_do(&bench, "until backward");
    const char *at = bench_do(&bench, "diff fw decoder.0.output");
    must_contain(at, "f32 [64,32]");
    int seen = 0;
    while ((at = strstr(at, "\n    ["))) {
        int row, column, rank, local_row, local_column;
        at += 5;
        assert_int_equal(sscanf(at, "[%d,%d]", &row, &column), 2);
        const char *holder = strstr(at, "(rank ");
        assert_non_null(holder);
        assert_int_equal(sscanf(holder, "(rank %d [%d,%d])", &rank, &local_row, &local_column), 3);
        assert_int_equal(row, rank * 32 + local_row);
        assert_int_equal(column, local_column);
        seen++;
    }
    assert_int_equal(seen, 40);
    bench_do(&bench, "rank 1");
    assert_null(strstr(bench_do(&bench, "diff fw decoder.0.output"), "(rank"));
    must_contain(bench.output.data, "f32 [32,32]");
    bench_close(&bench);
}

static void test_lost_rank(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "break decoder.1");
    bench_do(&bench, "run");
    bench_do(&bench, "rank 1");
    struct world_rank *rank = &bench.debugger->target->team->world->ranks[1];
    rank->state = RANK_LOST; /* as a world of processes says it */
    snprintf(rank->reason, sizeof(rank->reason), "its process is gone");
    must_contain(bench_do(&bench, "info ranks"), "lost");
    must_contain(bench_fail(&bench, "stepi"), "'run' or 'start' starts the ranks again");
    must_contain(bench_fail(&bench, "reverse-stepi"), "rank 1 is lost");
    must_contain(bench_fail(&bench, "goto 1:3"), "rank 1 is lost");
    must_contain(bench_do(&bench, "print fw embeddings.output[0,0]"), "rank 1");
    must_contain(bench_do(&bench, "start"), "Rank 1 is lost: the ranks are started again");
    assert_int_equal(bench.debugger->rank, 1);
    assert_int_equal(debugger_position(bench.debugger), 0);
    must_contain(bench_do(&bench, "continue"), "Breakpoint 1");
    bench_do(&bench, "delete");
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    bench_close(&bench);
}

static char *read_whole(const char *path)
{
    struct text text = {0};
    char bytes[4096];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (size_t length; (length = fread(bytes, 1, sizeof(bytes), file)) > 0;)
        text_add_part(&text, bytes, length);
    fclose(file);
    return text_take(&text);
}

/* The first divergence is a step back: the report goes there on all ranks, and returns. */
static void test_report_has_the_ranks(void **state)
{
    static const char *const files[] = {"file llama/stp2 fault norm-epsilon",
                                        "file llama/pp2s2_bf4 fault norm-epsilon"};
    const char *line = "<b>\033[31m last words\n";
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bench bench;
        char path[] = "/tmp/lockstep-report-XXXXXX", command[80];
        int descriptor = mkstemp(path);
        assert_true(descriptor >= 0);
        close(descriptor);
        open_ranks(&bench, files[i]);
        bench_do(&bench, "run");
        rank_output_append(bench.printed, 1, RANK_STDERR, line, strlen(line), 1);
        int64_t position = debugger_position(bench.debugger);
        uint64_t hash = hash_all(&bench);
        int failed = bench.debugger->whole.failed;
        assert_true(failed > 0);
        snprintf(command, sizeof(command), "report! %s", path);
        bench_do(&bench, command);
        assert_int_equal(bench.debugger->rank, 0);
        assert_int_equal(debugger_position(bench.debugger), position);
        assert_true(hash_all(&bench) == hash);
        assert_int_equal(bench.debugger->whole.failed, failed);
        char *page = read_whole(path);
        must_contain(page, "Rank 1 printed last");
        must_contain(page, "! &lt;b&gt;^[[31m last words\n");
        must_contain(page, "<h2>First divergence</h2>");
        must_contain(page, "class=\"heat\"");
        assert_null(strstr(page, "Rank 0 printed last"));
        free(page);
        remove(path);
        bench_close(&bench);
    }
}

/* What a rank left unfinished is no beginning of what the next run's rank prints. */
static void test_another_run_ends_lines(void **state)
{
    struct bench bench;
    struct rank_output_counts counts;
    (void)state;
    open_ranks(&bench, "file llama/stp2");
    rank_output_append(bench.printed, 1, RANK_STDERR, "cut sho", 7, 1);
    rank_output_count(bench.printed, 1, &counts);
    assert_int_equal(counts.lines[RANK_STDERR], 0);
    bench_do(&bench, "file llama/stp2");
    rank_output_count(bench.printed, 1, &counts);
    assert_int_equal(counts.lines[RANK_STDERR], 1);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_run_ends_lines),
        cmocka_unit_test(test_report_has_the_ranks),
        cmocka_unit_test(test_ranks_step_together),
        cmocka_unit_test(test_locked_rank_says_for_whom_it_waits),
        cmocka_unit_test(test_breakpoint_of_another_rank),
        cmocka_unit_test(test_pipeline_ranks_have_their_own_programs),
        cmocka_unit_test(test_breakpoints_where_only_another_rank_comes),
        cmocka_unit_test(test_until_where_only_another_rank_comes),
        cmocka_unit_test(test_going_back_gives_the_same_bits_on_all_ranks),
        cmocka_unit_test(test_desynchronised_ranks),
        cmocka_unit_test(test_desynchronised_without_reference),
        cmocka_unit_test(test_who_departs),
        cmocka_unit_test(test_blame_names_rank_and_instruction),
        cmocka_unit_test(test_blame_goes_through_earlier_steps),
        cmocka_unit_test(test_graft_of_all_parts),
        cmocka_unit_test(test_worst_elements_name_rank_and_local_index),
        cmocka_unit_test(test_lost_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
