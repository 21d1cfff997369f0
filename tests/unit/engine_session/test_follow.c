/* Followed elements against the tensors themselves, read at every stop: one row for each time that
 * a tensor is written, whatever way the run took. */
#include "engine/base/memory.h"
#include "engine/session/pictures.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const faulty = "file llama/bf4 fault dropped-micro-batch";
static const char *const weight = "gradient decoder.1.mlp.layer_2.weight";

static const struct follow *follow_at(const struct bench *bench, int i)
{
    assert_true(i < bench->debugger->record.follows.count);
    return &bench->debugger->record.follows.list[i];
}

/* Runs to the end instruction by instruction and writes down element [row, column] of every value
 * of the tensor as it is written; returns the number of rows. */
static int expect_rows(struct bench *bench, const char *tensor, int64_t row, int64_t column,
                       struct follow_row *rows, int most)
{
    struct pair *pair = bench->debugger->target->pair;
    const struct program *program = pair->test->program;
    int count = 0;
    while (bench->debugger->state != RUN_ENDED) {
        int step, next;
        debugger_place(bench->debugger, &step, &next);
        bench_do(bench, "stepi");
        const struct instruction *in = &program->instructions[next % program->instruction_count];
        for (int k = 0; k < in->output_count; k++) {
            const struct value *value = &program->values[in->outputs[k]];
            size_t length = strlen(tensor);
            struct pair_sides sides;
            struct status status = STATUS_NONE;
            if (strncmp(value->name, tensor, length) != 0 ||
                (value->name[length] && strncmp(value->name + length, " mb=", 4) != 0))
                continue;
            assert_true(count < most);
            assert_true(pair_view(pair, in->outputs[k], &sides, &status));
            int64_t index = row * value->shape.dims[1] + column;
            rows[count++] = (struct follow_row){
                .step = step,
                .value = in->outputs[k],
                .test = tensor_load(&sides.test, index) / sides.scale,
                .reference = sides.has_reference ? tensor_load(&sides.reference, index) : NAN,
                .has_reference = sides.has_reference,
                .failed = pair->results[in->outputs[k]].verdict.failures != 0};
            pair_sides_free(&sides);
        }
    }
    return count;
}

static void assert_rows(const struct follow *follow, const struct follow_row *rows, int count)
{
    assert_int_equal(follow->row_count, count);
    for (int i = 0; i < count; i++) {
        const struct follow_row *row = &follow->rows[i];
        assert_int_equal(row->step, rows[i].step);
        assert_int_equal(row->value, rows[i].value);
        assert_true(row->test == rows[i].test);
        assert_int_equal(row->has_reference, rows[i].has_reference);
        assert_true(!row->has_reference || row->reference == rows[i].reference);
        assert_int_equal(row->failed, rows[i].failed);
    }
}

static void test_rows(void **state)
{
    struct bench bench;
    struct follow_row rows[40], forward[40];
    char line[200];
    struct random random = random_start("followed elements");
    (void)state;
    bench_open(&bench);
    bench_do(&bench, faulty);
    int row = (int)(random_bits(&random) % 48), column = (int)(random_bits(&random) % 32);
    int count = expect_rows(&bench, weight, row, column, rows, 40);
    assert_int_equal(count, 2 * 4); /* two steps of three running totals and the sum */
    bench_do(&bench, "start");
    int before = expect_rows(&bench, "fw decoder.0.output", row, column, forward, 40);
    assert_int_equal(before, 2 * 4);
    bench_do(&bench, "start");
    snprintf(line, sizeof(line), "follow %s[%d,%d]", weight, row, column);
    must_contain(bench_do(&bench, line), "not written yet");
    bench_do(&bench, "continue");
    assert_rows(follow_at(&bench, 0), rows, count);
    /* Going back forgets, going on notes again; another element joins on the way. */
    for (int i = 0; i < 12; i++) {
        int64_t places = debugger_end(bench.debugger);
        int64_t to = (int64_t)(random_bits(&random) % (uint64_t)places);
        int instructions = debugger_program(bench.debugger)->instruction_count;
        snprintf(line, sizeof(line), "goto %d:%d", (int)(to / instructions) + 1,
                 (int)(to % instructions));
        bench_do(&bench, line);
        int here = 0;
        while (here < count &&
               (int64_t)rows[here].step * instructions +
                       debugger_program(bench.debugger)->values[rows[here].value].producer <
                   to)
            here++;
        assert_rows(follow_at(&bench, 0), rows, here);
        if (i == 6) {
            bench_do(&bench, "start");
            snprintf(line, sizeof(line), "follow fw decoder.0.output[%d,%d]", row, column);
            bench_do(&bench, line);
            assert_int_equal(bench.debugger->record.follows.count, 2);
            bench_do(&bench, line); /* the same one */
            assert_int_equal(bench.debugger->record.follows.count, 2);
        }
    }
    if (bench.debugger->state != RUN_ENDED)
        bench_do(&bench, "continue");
    assert_rows(follow_at(&bench, 0), rows, count);
    assert_rows(follow_at(&bench, 1), forward, before);
    bench_do(&bench, "unfollow 1");
    assert_rows(follow_at(&bench, 0), forward, before);
    must_contain(bench_fail(&bench, "unfollow 1"), "number 1");
    bench_do(&bench, "unfollow");
    must_contain(bench_do(&bench, "follow"), "Nothing is followed");
    bench_close(&bench);
}

/* Gradients of 16-bit runs still have their loss scale: both sides are shown without it. */
static void test_loss_scale(void **state)
{
    struct bench bench;
    struct follow_row rows[40];
    (void)state;
    bench_open(&bench);
    bench_do(&bench, "file llama/fp16");
    int count = expect_rows(&bench, "bw decoder.0.output", 3, 4, rows, 40);
    bench_do(&bench, "start");
    bench_do(&bench, "follow bw decoder.0.output[3,4]");
    bench_do(&bench, "continue");
    assert_rows(follow_at(&bench, 0), rows, count);
    assert_true(bench.debugger->target->pair->test_scale !=
                bench.debugger->target->pair->reference_scale);
    bench_close(&bench);
}

/* What is grafted has the reference's value from then on; what is at hand is noted at once. */
static void test_graft(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench);
    bench_do(&bench, faulty);
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "continue");
    bench_do(&bench, "follow gradient decoder.1.mlp.layer_2.weight[3,4]");
    const struct follow *follow = follow_at(&bench, 0);
    assert_int_equal(follow->row_count, 3); /* two totals and the one that diverged */
    const struct follow_row *last = &follow->rows[2];
    assert_true(last->failed && last->has_reference && last->test != last->reference);
    must_contain(bench_do(&bench, "follow"), "x ####################");
    bench_do(&bench, "graft");
    assert_int_equal(follow_at(&bench, 0)->row_count, 3);
    last = &follow_at(&bench, 0)->rows[2];
    assert_true(!last->failed && last->test == last->reference);
    bench_close(&bench);
}

static void test_wrong_places(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench);
    bench_do(&bench, faulty);
    must_contain(bench_fail(&bench, "follow fw decoder.0.output"), "[64,32]");
    must_contain(bench_fail(&bench, "follow fw decoder.0.output[1]"), "one element");
    must_contain(bench_fail(&bench, "follow fw decoder.0.output[0:2,1]"), "one element");
    must_contain(bench_fail(&bench, "follow fw decoder.0.output[0,32]"), "32");
    must_contain(bench_fail(&bench, "follow fw nowhere[0,0]"), "nowhere");
    assert_int_equal(bench.debugger->record.follows.count, 0);
    char line[100];
    for (int i = 0; i < FOLLOW_MOST; i++) {
        snprintf(line, sizeof(line), "follow fw decoder.0.output[%d,0]", i);
        bench_do(&bench, line);
    }
    must_contain(bench_fail(&bench, "follow fw decoder.0.output[0,1]"), "unfollow");
    bench_do(&bench, faulty); /* another run: nothing of the old one is left */
    assert_int_equal(bench.debugger->record.follows.count, 0);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_loss_scale),
        cmocka_unit_test(test_graft),
        cmocka_unit_test(test_wrong_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
