/* Pictures against what they are of, taken at many places of a run. */
#include "engine/session/pictures.h"

#include "engine/base/memory.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct picture *take(struct bench *bench, enum picture_kind kind)
{
    struct picture_request request = {.kind = kind, .step = -1, .value = -1, .at = -1};
    return picture_take(bench->debugger, &request);
}

static const struct pair *pair_of(const struct bench *bench)
{
    return bench->debugger->target->pair;
}

static void test_program(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench);
    struct picture *none = take(&bench, PICTURE_PROGRAM);
    assert_null(none->program); /* nothing is loaded */
    picture_free(none);
    bench_do(&bench, "file llama/bf4 fault dropped-micro-batch");
    struct picture *picture = take(&bench, PICTURE_PROGRAM);
    const struct program *program = pair_of(&bench)->test->program;
    const struct program_picture *seen = picture->program;
    assert_int_equal(seen->instruction_count, program->instruction_count);
    assert_int_equal(seen->value_count, program->value_count);
    int faults = 0;
    for (int i = 0; i < seen->instruction_count; i++) {
        const struct picture_instruction *in = &seen->instructions[i];
        const char *op = op_name(program->instructions[i].op);
        assert_memory_equal(in->text, op, strlen(op));
        assert_string_equal(in->op, op);
        faults += in->fault != NULL;
        for (int k = 0; k < in->output_count; k++)
            assert_int_equal(seen->values[in->outputs[k]].producer, i);
    }
    assert_true(faults > 0);
    /* The same run has the same identity, another fault another. */
    struct picture *again = take(&bench, PICTURE_STATE);
    assert_true(again->identity == picture->identity);
    picture_free(again);
    bench_do(&bench, "file llama/bf4");
    again = take(&bench, PICTURE_STATE);
    assert_true(again->identity != picture->identity);
    picture_free(again);
    picture_free(picture);
    bench_close(&bench);
}

/* Every mark by another way: from the values to the instructions. */
static void check_state(const struct bench *bench, const struct state_picture *seen)
{
    const struct pair *pair = pair_of(bench);
    const struct program *program = pair->test->program;
    int results = 0;
    for (int v = 0; v < program->value_count; v++) {
        const struct record_entry *entry = record_at(&bench->debugger->record, seen->step, v);
        const struct picture_result *found = NULL;
        for (int r = 0; r < seen->result_count; r++)
            if (seen->results[r].value == v)
                found = &seen->results[r];
        if (program->values[v].producer < 0)
            continue;
        assert_int_equal(entry->compared, found != NULL);
        if (!found)
            continue;
        results++;
        assert_int_equal(entry->failed, found->status >= MARK_DIVERGED);
        assert_true(seen->instructions[program->values[v].producer].status >= found->status);
        if (found->measured)
            assert_int_equal(found->status == MARK_SAME, found->metrics.different == 0);
    }
    assert_int_equal(results, seen->result_count);
    for (int i = 0; i < seen->instruction_count; i++) {
        bool ran = seen->step < seen->now || i < seen->next;
        assert_int_equal(ran, seen->instructions[i].status != MARK_PENDING);
    }
}

static void test_state(void **state)
{
    struct random random = random_start("test_state");
    struct bench bench;
    char line[64];
    (void)state;
    bench_open(&bench);
    bench_do(&bench, "file llama/bf4 fault dropped-micro-batch");
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    struct picture *picture = take(&bench, PICTURE_STATE);
    check_state(&bench, picture->state);
    assert_int_equal(picture->state->focus, bench.debugger->last_value);
    assert_int_equal(picture->state->first_value, picture->state->focus);
    assert_int_equal(picture->state->first_step, 0);
    int count = picture->state->instruction_count;
    picture_free(picture);
    for (int i = 0; i < 10; i++) { /* forward and back, over both steps */
        int to = (int)(random_bits(&random) % (uint64_t)count);
        int step = (int)(random_bits(&random) % 2) + 1;
        snprintf(line, sizeof(line), "goto %d:%d", step, to);
        bench_do(&bench, line);
        snprintf(line, sizeof(line), "tbreak %d", to);
        bench_do(&bench, line);
        picture = take(&bench, PICTURE_STATE);
        check_state(&bench, picture->state);
        assert_int_equal(picture->state->instructions[to].breakpoint, 2);
        assert_int_equal(picture->state->next, to);
        bench_do(&bench, "delete");
        picture_free(picture);
    }
    bench_close(&bench);
}

static void check_window(const struct tensor_picture *seen, const struct pair_sides *sides)
{
    for (int r = 0; r < seen->rows; r++)
        for (int c = 0; c < seen->columns; c++) {
            int64_t index = (seen->plane * seen->all_rows + seen->row + r) * seen->all_columns +
                            seen->column + c;
            int at = r * seen->columns + c;
            assert_true(seen->test[at] == tensor_load(&sides->test, index) / sides->scale);
            if (seen->reference)
                assert_true(seen->reference[at] == tensor_load(&sides->reference, index));
        }
}

/* The largest difference is in the map, in the cell where it belongs, and nothing exceeds it. */
static void check_heat(const struct tensor_picture *seen, const struct pair_sides *sides)
{
    int64_t columns = seen->heat_wrap ? seen->heat_wrap : seen->all_columns;
    int64_t total = seen->all_rows * seen->all_columns, rows = (total + columns - 1) / columns;
    float *expected =
        memory_zeroed((size_t)(seen->heat_rows * seen->heat_columns), sizeof(*expected));
    for (int i = 0; i < seen->heat_rows * seen->heat_columns; i++)
        expected[i] = -1; /* the end of a vector's last row */
    for (int64_t i = 0; i < total; i++) {
        int64_t index = seen->plane * total + i;
        double heat = fabs(tensor_load(&sides->test, index) / sides->scale -
                           tensor_load(&sides->reference, index));
        float *cell = &expected[i / columns * seen->heat_rows / rows * seen->heat_columns +
                                i % columns * seen->heat_columns / columns];
        *cell = fmaxf(*cell, (float)heat);
    }
    for (int i = 0; i < seen->heat_rows * seen->heat_columns; i++)
        assert_true(seen->heat[i] == expected[i]);
    free(expected);
}

static int64_t sum_of(const int64_t *bins, int count)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += bins[i];
    return sum;
}

static void check_tensor(const struct bench *bench, int value, struct random *random)
{
    struct pair *pair = bench->debugger->target->pair;
    struct pair_sides sides = {0};
    struct status status = STATUS_NONE;
    struct picture_request request = {.kind = PICTURE_TENSOR,
                                      .value = value,
                                      .plane = (int64_t)(random_bits(random) % 5) - 1,
                                      .row = (int64_t)(random_bits(random) % 100) - 10,
                                      .column = (int64_t)(random_bits(random) % 100) - 10,
                                      .rows = (int)(random_bits(random) % 20),
                                      .columns = (int)(random_bits(random) % 20),
                                      .heat_rows = (int)(random_bits(random) % 30) + 1,
                                      .heat_columns = (int)(random_bits(random) % 30) + 1,
                                      .bins = (int)(random_bits(random) % 30) + 1};
    struct picture *picture = picture_take(bench->debugger, &request);
    const struct tensor_picture *seen = picture->tensor;
    assert_int_equal(seen->value, value);
    if (pair_view(pair, value, &sides, &status)) {
        int64_t count = shape_elements(seen->shape);
        assert_null(seen->problem);
        assert_int_equal(sides.has_reference, seen->reference != NULL);
        check_window(seen, &sides);
        assert_int_equal(seen->test_statistics.count, count);
        if (seen->bins > 0)
            assert_true(sum_of(seen->test_bins, seen->bins) <= count);
        if (sides.has_reference &&
            seen->test_statistics.nan + seen->test_statistics.infinite == 0) {
            check_heat(seen, &sides);
            assert_true(sum_of(seen->difference_bins, seen->bins) == count);
            if (dtype_is_float(seen->dtype))
                assert_true(fabs(seen->worst[0].test - seen->worst[0].reference) ==
                            seen->metrics.max_difference);
        }
    } else {
        assert_non_null(seen->problem);
    }
    pair_sides_free(&sides);
    picture_free(picture);
}

static void test_tensors(void **state)
{
    struct random random = random_start("test_tensors");
    static const char *const runs[] = {"llama/bf4 fault dropped-micro-batch", "llama/fp16",
                                       "mixtral/simple"};
    char line[100];
    (void)state;
    for (int run = 0; run < 3; run++) {
        struct bench bench;
        bench_open(&bench);
        snprintf(line, sizeof(line), "file %s", runs[run]);
        bench_do(&bench, line);
        bench_do(&bench, "until update");
        int values = pair_of(&bench)->test->program->value_count;
        for (int i = 0; i < 150; i++)
            check_tensor(&bench, (int)(random_bits(&random) % (uint64_t)values), &random);
        bench_close(&bench);
    }
}

/* ---- a tensor that takes long ---- */

static const struct picture_request large_request = {
    .kind = PICTURE_TENSOR, .rows = 7, .columns = 5, .heat_rows = 9, .heat_columns = 8, .bins = 11};

static struct picture *take_large(struct bench *bench, bool quick, int64_t row)
{
    struct picture_request request = large_request;
    const struct program *program = pair_of(bench)->test->program;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].name &&
            strcmp(program->values[v].name, "param embeddings.word_embeddings_weight") == 0)
            request.value = v;
    request.quick = quick;
    request.row = row;
    return picture_take(bench->debugger, &request);
}

/* What is there is as it must be; returns whether all of it is. */
static bool check_parts(const struct tensor_picture *seen, const struct tensor_picture *whole)
{
    bool numbers = seen->test_statistics.zeros >= 0;
    if (numbers) {
        assert_memory_equal(&seen->test_statistics, &whole->test_statistics,
                            sizeof(seen->test_statistics));
        assert_memory_equal(&seen->reference_statistics, &whole->reference_statistics,
                            sizeof(seen->reference_statistics));
        assert_int_equal(seen->worst_count, whole->worst_count);
        assert_memory_equal(seen->worst, whole->worst, sizeof(seen->worst));
    } else {
        assert_true(isnan(seen->test_statistics.rms));
        assert_int_equal(seen->worst_count, 0);
    }
    if (seen->bins > 0) {
        const size_t bytes = (size_t)whole->bins * sizeof(int64_t);
        assert_int_equal(seen->bins, whole->bins);
        assert_memory_equal(seen->test_bins, whole->test_bins, bytes);
        assert_memory_equal(seen->reference_bins, whole->reference_bins, bytes);
        assert_memory_equal(seen->difference_bins, whole->difference_bins, bytes);
    }
    if (seen->heat) {
        assert_int_equal(seen->heat_rows * seen->heat_columns,
                         whole->heat_rows * whole->heat_columns);
        assert_memory_equal(seen->heat, whole->heat,
                            (size_t)(seen->heat_rows * seen->heat_columns) * sizeof(*seen->heat));
        assert_true(seen->heat_most == whole->heat_most);
    }
    bool all = numbers && seen->bins > 0 && seen->heat;
    assert_int_equal(seen->partial, !all);
    return all;
}

/* A quick picture has the window; one that is given up what it has measured till then; what was
 * measured is not measured again for another window; a command drops it. */
static void test_large_tensor(void **state)
{
    struct random random = random_start("test_large_tensor");
    struct bench bench;
    int given_up = 0;
    (void)state;
    bench_open(&bench);
    bench_do(&bench, "set config base_model.embeddings.vocab_size=40000");
    bench_do(&bench, "file llama/bf16");
    bench_do(&bench, "stepi 3");
    struct picture *whole = take_large(&bench, false, 0);
    assert_false(whole->tensor->partial);
    assert_int_equal(whole->tensor->worst_count, PICTURE_WORST);
    for (int i = 0; i < 20; i++) {
        bench_do(&bench, "info run");
        struct picture *quick = take_large(&bench, true, 0);
        assert_true(quick->tensor->partial);
        assert_false(check_parts(quick->tensor, whole->tensor));
        assert_memory_equal(quick->tensor->test, whole->tensor->test,
                            (size_t)(quick->tensor->rows * quick->tensor->columns) *
                                sizeof(*quick->tensor->test));
        picture_free(quick);
        bench.cancel_after = (int)(random_bits(&random) % (i % 2 ? 60 : 500));
        struct picture *broken = take_large(&bench, false, 0);
        given_up += !check_parts(broken->tensor, whole->tensor);
        picture_free(broken);
        bench.cancel_after = -1;
        picture_free(take_large(&bench, false, 0));
        struct picture *moved = take_large(&bench, true, (int64_t)(random_bits(&random) % 30000));
        assert_true(check_parts(moved->tensor, whole->tensor));
        picture_free(moved);
    }
    assert_true(given_up > 0);
    bench_do(&bench, "goto 2:3"); /* the same tensor, after an update */
    struct picture *later = take_large(&bench, false, 0);
    assert_true(later->tensor->test_statistics.hash != whole->tensor->test_statistics.hash);
    picture_free(later);
    picture_free(whole);
    bench_close(&bench);
}

static void test_memory_and_metrics(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench);
    bench_do(&bench, "file llama/df4");
    bench_do(&bench, "run");
    struct picture *picture = take(&bench, PICTURE_MEMORY);
    const struct memory_picture *memory = picture->memory;
    const struct memory_plan *plan = pair_of(&bench)->test->executor->plan;
    bool peak = false;
    assert_int_equal(memory->forecast, memory_plan_total(plan));
    assert_true(memory->device.live_total >= memory->forecast);
    for (int p = 0; p < memory->point_count; p++) {
        assert_true(p == 0 || memory->points[p] > memory->points[p - 1]);
        peak = peak || memory->points[p] == plan->peak;
        assert_true(sum_of(memory->classes[p], MEMORY_CLASS_COUNT) <= memory->forecast);
    }
    assert_true(peak);
    for (int i = 1; i < memory->owner_count; i++) {
        assert_true(memory->owners[i].bytes <= memory->owners[i - 1].bytes);
        assert_true(memory->owners[i].first <= memory->owners_at &&
                    memory->owners_at <= memory->owners[i].last);
    }
    picture_free(picture);
    picture = take(&bench, PICTURE_METRICS);
    assert_int_equal(picture->metrics->test_count, 2);
    assert_true(picture->metrics->test[1].loss == pair_of(&bench)->test->reports[1].loss);
    assert_int_equal(picture->metrics->reference_count, pair_of(&bench)->reference ? 2 : 0);
    picture_free(picture);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_large_tensor),
        cmocka_unit_test(test_memory_and_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
