#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/diff.h"
#include "tests/unit/random.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static char word_init[] = "init", word_fw[] = "fw", word_gradient[] = "gradient",
            word_state[] = "state";

/* init exact; fw and gradient with limits, gradients may come several times; state ignored; all
 * else exact. */
static struct tolerance_rule rules[] = {
    {.step = word_init, .limits = {.scale = 1}},
    {.name = word_fw, .limits = {1e-3, 1e-4, 1e-2, 1e-3, 1e-5, 1, false, false}},
    {.name = word_gradient, .limits = {3e-3, 1e30, 3e-2, 1e30, 3e-6, 4, false, true}},
    {.name = word_state, .limits = {.scale = 1, .ignore = true}},
};

static char table_name[] = "test_table";
static const struct tolerances table = {
    .name = table_name, .rules = rules, .rule_count = 4, .otherwise = {.scale = 1}};

struct place {
    char directory[64], reference[80], test[80];
    struct trace_writer *writers[2]; /* reference, test */
    struct trace *traces[2];
    bool only_common;
    struct random random;
};

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int set_up(void **state)
{
    struct place *place = memory_zeroed(1, sizeof(*place));
    place->random = random_start("diff");
    strcpy(place->directory, "/tmp/lockstep_diff_XXXXXX");
    if (!mkdtemp(place->directory))
        return -1;
    snprintf(place->reference, sizeof(place->reference), "%s/reference", place->directory);
    snprintf(place->test, sizeof(place->test), "%s/test", place->directory);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    for (int side = 0; side < 2; side++) {
        trace_abandon(place->writers[side]);
        trace_close(place->traces[side]);
    }
    nftw(place->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

static void start(struct place *place, bool full_reference, bool full_test)
{
    struct trace_description what = {.run = "llama/basic", .full_tensors = full_reference};
    struct status status = STATUS_NONE;
    place->writers[0] = trace_create(place->reference, &what, &status);
    what.full_tensors = full_test;
    place->writers[1] = trace_create(place->test, &what, &status);
    if (!place->writers[0] || !place->writers[1])
        fail_msg("%s", status.text);
}

enum { REFERENCE = 1, TEST = 2, BOTH = 3 };

/* Adds random numbers to the sides; the test has them times `factor`, and `spoiled` in element
 * `at` (if at >= 0) times 100. */
static void add(struct place *place, int sides, const char *name, enum dtype dtype,
                struct shape shape, double factor, int64_t at)
{
    size_t count = (size_t)shape_elements(shape);
    struct tensor tensor = tensor_of(memory_zeroed(count, dtype_size(dtype)), dtype, shape);
    struct status status = STATUS_NONE;
    for (size_t i = 0; i < count; i++)
        dtype_store(dtype, tensor.data, i, random_normal(&place->random));
    if (sides & REFERENCE && !trace_add(place->writers[0], name, &tensor, &status))
        fail_msg("%s", status.text);
    for (size_t i = 0; i < count; i++)
        dtype_store(dtype, tensor.data, i, dtype_load(dtype, tensor.data, i) * factor);
    if (at >= 0)
        tensor_store(&tensor, at, tensor_load(&tensor, at) * 100 + 1);
    if (sides & TEST && !trace_add(place->writers[1], name, &tensor, &status))
        fail_msg("%s", status.text);
    free(tensor.data);
}

static void finish_step(struct place *place, int sides, const char *step)
{
    struct status status = STATUS_NONE;
    for (int side = 0; side < 2; side++)
        if (sides & 1 << side && !trace_finish_step(place->writers[side], step, &status))
            fail_msg("%s", status.text);
}

static struct diff *diff_of(struct place *place)
{
    struct status status = STATUS_NONE;
    for (int side = 0; side < 2; side++) {
        if (!trace_finish(place->writers[side], &status))
            fail_msg("%s", status.text);
        place->writers[side] = NULL;
        place->traces[side] = trace_open(side ? place->test : place->reference, &status);
        if (!place->traces[side])
            fail_msg("%s", status.text);
    }
    struct diff *diff =
        diff_traces(place->traces[0], place->traces[1], &table, place->only_common, &status);
    assert_non_null(diff);
    return diff;
}

static char *report_of(const struct diff *diff, struct text *text)
{
    struct report_options options = {.title = "a against b", .samples = 2};
    diff_report(diff, &options, text);
    return text->data;
}

static void assert_says(const char *report, const char *words)
{
    if (!strstr(report, words))
        fail_msg("the report does not say \"%s\":\n%s", words, report);
}

static void test_equal_traces(void **state)
{
    struct place *place = *state;
    start(place, false, false);
    add(place, BOTH, "param embedding.weight", DTYPE_F32, shape_of2(384, 256), 1, -1);
    finish_step(place, BOTH, "init");
    add(place, BOTH, "fw decoder.0", DTYPE_BF16, shape_of2(64, 33), 1, -1);
    add(place, BOTH, "bw decoder.0", DTYPE_BF16, shape_of2(64, 33), 1, -1);
    add(place, BOTH, "gradient decoder.0.weight", DTYPE_F32, shape_of2(7, 11), 4, -1);
    add(place, BOTH, "state decoder.0.weight", DTYPE_F32, shape_of1(9), 3, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_true(comparison_log_passed(&diff->log));
    assert_int_equal(diff->log.compared, 4);
    assert_int_equal(diff->log.ignored, 1);
    assert_null(comparison_log_first_failure(&diff->log));
    int64_t expected =
        trace_sample_count(shape_of2(384, 256)) + 2 * trace_sample_count(shape_of2(64, 33)) + 77;
    assert_int_equal(diff->log.elements, expected);
    assert_int_equal(diff->log.elements_whole, 384 * 256 + 2 * 64 * 33 + 77);
    assert_says(report, "a against b\n");
    assert_says(report, "  fw, bw, gradient: 3 of 3 tensors within limits (equal), ");
    assert_says(report, "PASSED  4 tensors compared in 2 steps, ");
    assert_null(strstr(report, "\033"));
    text_free(&text);
    diff_free(diff);
}

static void test_first_divergence(void **state)
{
    struct place *place = *state;
    start(place, true, true);
    add(place, BOTH, "fw decoder.0", DTYPE_F32, shape_of2(64, 32), 1 + 2e-5, -1);
    add(place, BOTH, "gradient decoder.1.weight", DTYPE_F32, shape_of2(30, 40), 3, -1);
    add(place, BOTH, "gradient decoder.0.weight", DTYPE_F32, shape_of2(30, 40), 4, 17 * 40 + 3);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_false(comparison_log_passed(&diff->log));
    assert_string_equal(comparison_log_first_failure(&diff->log)->name,
                        "gradient decoder.1.weight");
    assert_int_equal(diff->log.failed, 2);
    assert_int_equal(diff->log.kinds[TENSOR_GRADIENT].failed, 2);
    assert_int_equal(diff->log.kinds[TENSOR_FORWARD].failed, 0);
    assert_string_equal(comparison_log_closest(&diff->log)->name, "fw decoder.0");
    assert_says(report, "fw: 1 of 1 tensors within limits (worst 0.");
    assert_says(report, "gradient: 0 of 2 tensors within limits, 2,400 elements, all of them\n");
    assert_says(report, "gradient decoder.1.weight   f32 [30,40]\n      rms/scale 2.5");
    assert_says(report, "  looks like: norm ratio 3/4");
    assert_says(report, "worst at [17,3]: ");
    assert_says(report, "  looks like: one element differs, the rest is bit-equal");
    assert_true(strstr(report, "decoder.1.weight") < strstr(report, "[17,3]"));
    text_free(&text);
    diff_free(diff);
}

/* What one side lacks, in program order; ignored tensors count for neither side. */
static void test_names_and_steps(void **state)
{
    struct place *place = *state;
    start(place, false, false);
    add(place, BOTH, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "fw b", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, TEST, "fw \033[31mevil", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, TEST, "state x", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "state y", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, BOTH, "fw d", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "fw e", DTYPE_F32, shape_of2(3, 4), 1, -1);
    finish_step(place, BOTH, "train_1");
    add(place, REFERENCE, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, REFERENCE, "train_2");
    add(place, TEST, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, TEST, "train_3");
    add(place, TEST, "state a", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, TEST, "train_4");
    struct diff *diff = diff_of(place);
    static const char *const order[] = {"fw a", "fw \033[31mevil", "fw b", "fw d", "fw e"};
    static const int failures[] = {0, FAILURE_EXTRA, FAILURE_MISSING, 0, FAILURE_MISSING};
    assert_int_equal(diff->log.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(diff->log.results[i].name, order[i]);
        assert_int_equal(diff->log.results[i].verdict.failures, failures[i]);
    }
    assert_int_equal(diff->log.problem_count, 2);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_says(report, "step train_2 is missing in the test\n");
    assert_says(report, "step train_3 is only in the test\n");
    assert_says(report, "fw ?[31mevil   f32 [10]\n      extra: only in test\n");
    assert_says(report, "fw e   f32 [3,4]\n      missing: only in reference\n");
    assert_null(strstr(report, "\033"));
    text_free(&text);
    diff_free(diff);
}

/* The same, where only what both have is to be judged: nothing is missing, all that was left out is
 * counted, and a real difference still fails. */
static void check_only_common(struct place *place, double factor)
{
    place->only_common = true;
    start(place, false, false);
    add(place, BOTH, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "fw b", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, TEST, "fw c", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, TEST, "state x", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "state y", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, BOTH, "fw d", DTYPE_F32, shape_of1(10), factor, -1);
    add(place, REFERENCE, "fw e", DTYPE_F32, shape_of2(3, 4), 1, -1);
    finish_step(place, BOTH, "train_1");
    add(place, REFERENCE, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "fw b", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, REFERENCE, "state y", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, REFERENCE, "train_2");
    add(place, TEST, "fw a", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, TEST, "train_3");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    if (comparison_log_passed(&diff->log) != (factor == 1))
        fail_msg("with factor %g:\n%s", factor, report);
    assert_int_equal(diff->log.compared, 2);
    assert_int_equal(diff->log.count, 2);
    assert_int_equal(diff->log.only_reference, 4);
    assert_int_equal(diff->log.only_test, 2);
    assert_says(report, ", left out: 4 only in the reference, 2 only in the test\n");
    assert_says(report, "step train_2 has nothing to compare in the test: left out\n");
    assert_says(report, "step train_3 has nothing to compare in the reference: left out\n");
    text_free(&text);
    diff_free(diff);
}

static void test_only_common_within(void **state)
{
    check_only_common(*state, 1);
}

static void test_only_common_diverged(void **state)
{
    check_only_common(*state, 3);
}

/* Nothing in common is no agreement. */
static void test_only_common_of_nothing(void **state)
{
    struct place *place = *state;
    place->only_common = true;
    start(place, false, false);
    add(place, REFERENCE, "fw b", DTYPE_F32, shape_of1(10), 1, -1);
    add(place, TEST, "fw c", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_false(comparison_log_passed(&diff->log));
    assert_says(report, "nothing was compared\n");
    text_free(&text);
    diff_free(diff);
}

/* Traces of different runs: what differs in their manifests is said first, and fails nothing. */
static void describe(struct place *place, int side, const char *run, const char *config,
                     bool log_points)
{
    struct trace_description what = {
        .run = run, .config_text = config, .full_tensors = true, .log_points = log_points};
    struct status status = STATUS_NONE;
    place->writers[side] = trace_create(side ? place->test : place->reference, &what, &status);
    if (!place->writers[side])
        fail_msg("%s", status.text);
}

static void test_notes_of_other_runs(void **state)
{
    struct place *place = *state;
    describe(place, 0, "llama",
             "groups: {basic: main}   # a.yaml:1\n"
             "distributed:\n  compute_dtype: fp32   # a.yaml:2\n  seed: 4   # b.yaml:3\n"
             "base_model:\n  block:\n    heads: 8   # a.yaml:4\n    window: 5   # a.yaml:5\n"
             "data:\n  path: \"a # b\"   # a.yaml:7\n",
             false);
    describe(place, 1, "llama/bf16",
             "groups: {basic: normal}   # c.yaml:1\n"
             "distributed:\n  compute_dtype: bf16   # c.yaml:2\n  seed: 4   # d.yaml:3\n"
             "base_model:\n  block:\n    heads: 4   # c.yaml:4\n"
             "data:\n  path: \"a # c\"   # c.yaml:7\n",
             true);
    add(place, BOTH, "fw decoder.0", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_says(report, "\nanother run: llama/bf16, reference llama\n");
    assert_says(report,
                "\nother settings: distributed.compute_dtype is bf16, reference fp32; "
                "base_model.block.heads is 4, reference 8; data.path is \"a # c\", reference "
                "\"a # b\"; base_model.block.window is unset, reference 5\n");
    assert_says(report, "\nother precision: --tolerances bf16 is made for it, and for log points");
    assert_says(report, "\nonly the test has log points alone");
    assert_says(report, "PASSED  1 tensor compared in 1 step, 10 elements, all of them\n");
    assert_int_equal(diff->log.note_count, 4);
    text_free(&text);
    diff_free(diff);
}

/* A precision is another one where both sides tell theirs. */
static void test_no_note_of_an_untold_precision(void **state)
{
    struct place *place = *state;
    int told = (int)random_integer(&place->random, 0, 1);
    describe(place, told, "llama", "distributed:\n  compute_dtype: bf16\n  seed: 4\n", false);
    describe(place, !told, "llama", "distributed:\n  seed: 4\n", false);
    add(place, BOTH, "fw decoder.0", DTYPE_F32, shape_of1(10), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_says(report, "\nother settings: distributed.compute_dtype is ");
    assert_null(strstr(report, "--tolerances"));
    assert_int_equal(diff->log.note_count, 1);
    text_free(&text);
    diff_free(diff);
}

/* Tensors without an element agree, and are nothing that was compared. */
static void test_nothing_to_compare(void **state)
{
    struct place *place = *state;
    start(place, true, true);
    add(place, BOTH, "fw decoder.0", DTYPE_F32, shape_of2(0, 3), 1, -1);
    finish_step(place, BOTH, "train_1");
    add(place, REFERENCE, "fw decoder.0", DTYPE_F32, shape_of1(3), 1, -1);
    add(place, TEST, "state decoder.0", DTYPE_F32, shape_of1(3), 1, -1); /* ignored */
    finish_step(place, BOTH, "train_2");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_false(comparison_log_passed(&diff->log));
    assert_says(report, "step train_2 has nothing to compare in the test\n");
    assert_says(report, "FAILED  1 tensor compared in 1 step, no elements, 1 problem, 1 ignored\n"
                        "  nothing was compared\n");
    assert_int_equal(diff->log.note_count, 0);
    text_free(&text);
    diff_free(diff);
}

/* Other software may sample otherwise: such a file takes the place of the test's. */
static void record_otherwise(struct place *place, const char *step, const char *name,
                             const char *what, int64_t samples)
{
    struct status status = STATUS_NONE;
    struct tensor tensor =
        tensor_of(memory_zeroed((size_t)samples, sizeof(float)), DTYPE_F32, shape_of1(samples));
    const char *metadata[] = {name, what};
    char *path = memory_format("%s/%s.safetensors", place->test, step);
    if (!safetensors_write(path, &name, &tensor, 1, metadata, 1, &status))
        fail_msg("%s", status.text);
    trace_close(place->traces[1]);
    place->traces[1] = trace_open(place->test, &status);
    if (!place->traces[1])
        fail_msg("%s", status.text);
    free(tensor.data);
    free(path);
}

static void test_shapes_and_sampling(void **state)
{
    struct place *place = *state;
    start(place, false, false);
    add(place, REFERENCE, "fw a", DTYPE_F32, shape_of2(64, 32), 1, -1);
    add(place, TEST, "fw a", DTYPE_F32, shape_of2(32, 64), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.results[0].verdict.failures, FAILURE_SHAPE);
    assert_false(comparison_log_passed(&diff->log));
    struct text text = {0};
    char *report = report_of(diff, &text);
    assert_says(report, "shapes differ: [64,32] in reference, [32,64] in test\n");
    assert_says(report, "nothing was compared");
    text_clear(&text);
    diff_free(diff);
    record_otherwise(place, "train_1", "fw a",
                     "{\"shape\":[64,32],\"dtype\":\"f32\",\"sampling_step\":3}", 64 * 32 / 3);
    struct status status = STATUS_NONE;
    diff = diff_traces(place->traces[0], place->traces[1], &table, false, &status);
    assert_int_equal(diff->log.results[0].verdict.failures, FAILURE_SAMPLING);
    report = report_of(diff, &text);
    assert_says(report, "samples are of different places: every ");
    text_free(&text);
    diff_free(diff);
}

/* Whole on one side, sampled on the other: equal where both are known, and a difference is found at
 * its place in the whole tensor. */
static void test_whole_against_samples(void **state)
{
    struct place *place = *state;
    bool full_reference = random_integer(&place->random, 0, 1);
    struct shape shape = shape_of2(100, 60);
    int64_t stride = trace_sampling_step(shape), sample = 321;
    assert_true(stride > 1);
    start(place, full_reference, !full_reference);
    add(place, BOTH, "fw a", DTYPE_BF16, shape, 1, -1);
    add(place, BOTH, "fw b", DTYPE_F32, shape, 1, sample * stride);
    add(place, BOTH, "fw c", DTYPE_F32, shape_of1(50), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.failed, 1);
    assert_int_equal(diff->log.elements, 2 * trace_sample_count(shape) + 50);
    const struct tensor_result *result = comparison_log_first_failure(&diff->log);
    assert_string_equal(result->name, "fw b");
    assert_int_equal(result->metrics.max_index, sample);
    char place_text[120], expected[80];
    struct shape coordinates = shape_of2(sample * stride / 60, sample * stride % 60);
    assert_string_equal(tensor_result_place(result, sample, place_text),
                        shape_text(coordinates, expected));
    diff_free(diff);
}

/* A NaN between the samples is known from the recorded counts. */
static void test_nan_between_samples(void **state)
{
    struct place *place = *state;
    struct shape shape = shape_of1(5000);
    struct status status = STATUS_NONE;
    assert_true(trace_sampling_step(shape) > 1);
    start(place, false, false);
    float *numbers = memory_zeroed(5000, sizeof(float));
    struct tensor tensor = tensor_of(numbers, DTYPE_F32, shape);
    assert_true(trace_add(place->writers[0], "fw a", &tensor, &status));
    numbers[1] = NAN;
    assert_true(trace_add(place->writers[1], "fw a", &tensor, &status));
    free(numbers);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.results[0].verdict.failures, FAILURE_NOT_FINITE);
    assert_int_equal(diff->log.results[0].metrics.nan_test, 1);
    diff_free(diff);
}

/* A name that was recorded twice: its last tensor is compared, and it fails where that is not
 * allowed, on either side. */
static void test_duplicates(void **state)
{
    struct place *place = *state;
    struct shape shape = shape_of2(3, 5);
    struct text text = {0};
    start(place, false, true);
    add(place, TEST, "fw twice in the test", DTYPE_F32, shape, 1, -1);
    add(place, REFERENCE, "fw twice in the reference", DTYPE_F32, shape, 1, -1);
    add(place, REFERENCE, "gradient several", DTYPE_F32, shape, 1, -1);
    add(place, TEST, "gradient several", DTYPE_F32, shape, 1, -1);
    add(place, TEST, "gradient several", DTYPE_F32, shape, 1, -1);
    add(place, BOTH, "fw twice in the test", DTYPE_F32, shape, 1, -1);
    add(place, BOTH, "fw twice in the reference", DTYPE_F32, shape, 1, -1);
    add(place, BOTH, "gradient several", DTYPE_F32, shape, 4, -1);
    add(place, BOTH, "fw once", DTYPE_F32, shape, 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct trace_tensor several, once;
    assert_true(trace_find(&place->traces[1]->steps[0], "gradient several", &several));
    assert_true(trace_find(&place->traces[1]->steps[0], "fw once", &once));
    assert_int_equal(several.times, 3);
    assert_int_equal(once.times, 1);
    assert_int_equal(diff->log.count, 4);
    assert_int_equal(diff->log.failed, 2);
    for (int i = 0; i < diff->log.count; i++) {
        const struct tensor_result *result = &diff->log.results[i];
        bool wrong = strstr(result->name, "twice") != NULL;
        assert_int_equal(result->verdict.failures, wrong ? FAILURE_DUPLICATE : 0);
        assert_int_equal(result->metrics.count, 15);
        assert_int_equal(result->metrics.different, 0);
    }
    assert_says(report_of(diff, &text), "recorded more than once in one step");
    text_free(&text);
    diff_free(diff);
}

static void test_json(void **state)
{
    struct place *place = *state;
    start(place, false, false);
    add(place, BOTH, "fw a", DTYPE_F32, shape_of2(3, 5), 1, 7);
    add(place, TEST, "fw b", DTYPE_F32, shape_of2(3, 5), 1, -1);
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    struct text text = {0};
    diff_json(diff, &text);
    json_t *json = json_loads(text.data, 0, NULL);
    assert_non_null(json);
    assert_true(json_is_false(json_object_get(json, "passed")));
    assert_string_equal(json_string_value(json_object_get(json, "first_divergence")), "fw a");
    const json_t *tensors = json_object_get(json, "tensors");
    assert_int_equal(json_array_size(tensors), 2);
    const json_t *first = json_array_get(tensors, 0);
    assert_int_equal(json_integer_value(json_object_get(first, "max_index")), 7);
    assert_true(json_real_value(json_object_get(first, "max_difference")) ==
                diff->log.results[0].metrics.max_difference);
    const json_t *why = json_object_get(json_array_get(tensors, 1), "failures");
    assert_string_equal(json_string_value(json_array_get(why, 0)), "extra");
    json_decref(json);
    text_free(&text);
    diff_free(diff);
}

/* The summary grows with the results; a problem fails what would have passed. */
static void test_log_summary(void **state)
{
    (void)state;
    struct comparison_log log = {0};
    assert_false(comparison_log_passed(&log));
    assert_null(comparison_log_first_failure(&log));
    for (int i = 0; i < 10; i++) {
        struct tensor_result result = {.step = "train_1",
                                       .name = "fw x",
                                       .shape_test = shape_of1(4),
                                       .shape_reference = shape_of1(4),
                                       .metrics = {.count = 4},
                                       .verdict = {.worst = i / 10.0}};
        result.verdict.failures = i == 7 ? FAILURE_RMS_RELATIVE : 0;
        assert_int_equal(comparison_log_add(&log, &result), i);
        assert_int_equal(comparison_log_passed(&log), i < 7);
        assert_int_equal(log.first_failure, i < 7 ? -1 : 7);
        assert_int_equal(log.elements, 4 * (i + 1));
    }
    assert_true(comparison_log_closest(&log)->verdict.worst == 0.9);
    char share[32];
    assert_string_equal(limit_share_text(0.9, share), "0.90");
    assert_string_equal(limit_share_text(1e-7, share), "<0.01");
    comparison_log_free(&log);
    struct tensor_result good = {.step = "train_1", .name = "fw x", .metrics = {.count = 4}};
    comparison_log_add(&log, &good);
    assert_true(comparison_log_passed(&log));
    comparison_log_problem(&log, "rank %d died", 3);
    assert_false(comparison_log_passed(&log));
    comparison_log_problem(&log, "%2000d", 3);
    comparison_log_note(&log, "%2000d", 3);
    assert_int_equal(strlen(log.problems[1]), 2000);
    assert_int_equal(strlen(log.notes[0]), 2000);
    comparison_log_free(&log);
}

#define WITH_TRACES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* One run is split into micro-sequences: its parts are rows of the other's whole tensors. */
struct parts {
    int count, spoiled;
    int64_t rows, columns, at;
    bool whole_is_test;
};

/* The whole tensor on one side, its parts on the other; the spoiled part has one other element. */
static void add_parts(struct place *place, const struct parts *parts, const char *name)
{
    struct status status = STATUS_NONE;
    int64_t elements = parts->rows * parts->columns;
    struct shape shape = shape_of2(parts->rows, parts->columns);
    float *numbers = memory_zeroed((size_t)(elements * parts->count), sizeof(*numbers));
    for (int64_t i = 0; i < elements * parts->count; i++)
        numbers[i] = (float)random_normal(&place->random);
    struct tensor whole =
        tensor_of(numbers, DTYPE_F32, shape_of2(parts->rows * parts->count, parts->columns));
    assert_true(trace_add(place->writers[parts->whole_is_test], name, &whole, &status));
    for (int i = 0; i < parts->count; i++) {
        char *of_part = memory_format("%s ms=%d/%d", name, i, parts->count);
        float *own = numbers + i * elements;
        own[parts->at] += i == parts->spoiled ? 1 : 0;
        struct tensor part = tensor_of(own, DTYPE_F32, shape);
        assert_true(trace_add(place->writers[!parts->whole_is_test], of_part, &part, &status));
        free(of_part);
    }
    free(numbers);
}

static struct parts random_parts(struct place *place)
{
    struct random *random = &place->random;
    struct parts parts = {.count = (int)random_integer(random, 2, 5),
                          .rows = random_integer(random, 1, 200),
                          .columns = random_integer(random, 1, 40),
                          .whole_is_test = random_integer(random, 0, 1)};
    parts.spoiled = (int)random_integer(random, 0, parts.count - 1);
    parts.at = random_integer(random, 0, parts.rows * parts.columns - 1);
    return parts;
}

static void test_parts_of_whole_traces(void **state)
{
    struct place *place = *state;
    struct parts parts = random_parts(place);
    start(place, true, true);
    add_parts(place, &parts, "fw decoder.0.output");
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.compared, parts.count);
    assert_int_equal(diff->log.elements, parts.count * parts.rows * parts.columns);
    assert_int_equal(diff->log.failed, 1);
    const struct tensor_result *found = comparison_log_first_failure(&diff->log);
    char *name = memory_format("fw decoder.0.output ms=%d/%d", parts.spoiled, parts.count);
    assert_string_equal(found->name, name);
    assert_int_equal(found->metrics.different, 1);
    assert_int_equal(found->metrics.max_index, parts.at);
    free(name);
    diff_free(diff);
}

/* At least the places that the sampling of both has in common; a difference at one of them is
 * found, and told at its place in the part. */
static void test_parts_of_samples(void **state)
{
    struct place *place = *state;
    struct parts parts = random_parts(place);
    struct shape part = shape_of2(parts.rows, parts.columns);
    struct shape whole = shape_of2(parts.rows * parts.count, parts.columns);
    bool sampled[2] = {random_integer(&place->random, 0, 1), true}; /* reference, test */
    bool sampled_part = sampled[!parts.whole_is_test], sampled_whole = sampled[parts.whole_is_test];
    int64_t of_part = sampled_part ? trace_sampling_step(part) : 1;
    int64_t of_whole = sampled_whole ? trace_sampling_step(whole) : 1;
    int64_t part_end = sampled_part ? 1024 * of_part : INT64_MAX;
    int64_t whole_end = sampled_whole ? 1024 * of_whole : INT64_MAX;
    int64_t elements = parts.rows * parts.columns, common = 0, spoiled = 0;
    for (int i = 0; i < parts.count; i++)
        for (int64_t at = 0; at < elements; at++) {
            int64_t there = i * elements + at;
            bool meets =
                at % of_part == 0 && at < part_end && there % of_whole == 0 && there < whole_end;
            common += meets;
            spoiled += meets && i == parts.spoiled && at == parts.at;
        }
    start(place, !sampled[0], !sampled[1]);
    add_parts(place, &parts, "fw decoder.0.output");
    finish_step(place, BOTH, "train_1");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.elements, common);
    assert_int_equal(diff->log.compared + diff->log.parts_sampled, parts.count);
    assert_int_equal(diff->log.failed, spoiled);
    if (spoiled) {
        const struct tensor_result *found = comparison_log_first_failure(&diff->log);
        assert_int_equal(found->start + found->metrics.max_index * found->stride, parts.at);
    }
    diff_free(diff);
}

/* What only a split run has says nothing; a part that is not there, one of another shape, and a sum
 * that only one side has, do. */
static void test_parts_that_are_missing(void **state)
{
    struct place *place = *state;
    struct shape part = shape_of2(8, 4), whole = shape_of2(16, 4);
    start(place, true, true);
    add(place, TEST, "fw decoder.0.history ms=0/2", DTYPE_F32, part, 1, -1);
    add(place, TEST, "bw a.weight<-a ms=1/2", DTYPE_F32, part, 1, -1);
    add(place, REFERENCE, "fw head.loss", DTYPE_F32, shape_of1(1), 1, -1);
    add(place, TEST, "fw head.loss ms=0/2", DTYPE_F32, shape_of1(1), 1, -1);
    add(place, TEST, "fw head.loss ms=1/2", DTYPE_F32, shape_of1(1), 1, -1);
    add(place, TEST, "bw head.weight<-head.chunk_1_of_2", DTYPE_F32, part, 1, -1);
    add(place, REFERENCE, "fw head.logits", DTYPE_F32, whole, 1, -1);
    add(place, BOTH, "fw decoder.0.same", DTYPE_F32, part, 1, -1);
    finish_step(place, BOTH, "train_1");
    add(place, REFERENCE, "fw decoder.0.half", DTYPE_F32, whole, 1, -1);
    add(place, TEST, "fw decoder.0.other ms=0/2", DTYPE_F32, shape_of2(7, 4), 1, -1);
    add(place, REFERENCE, "fw decoder.0.other", DTYPE_F32, whole, 1, -1);
    add(place, TEST, "fw decoder.0.other ms=1/2", DTYPE_F32, shape_of2(7, 4), 1, -1);
    finish_step(place, BOTH, "train_2");
    add(place, TEST, "fw head.sum", DTYPE_F32, shape_of1(1), 1, -1);
    add(place, REFERENCE, "fw head.sum ms=0/2", DTYPE_F32, shape_of1(1), 1, -1);
    add(place, REFERENCE, "fw head.sum ms=1/2", DTYPE_F32, shape_of1(1), 1, -1);
    finish_step(place, BOTH, "train_3");
    struct diff *diff = diff_of(place);
    assert_int_equal(diff->log.compared, 1);
    assert_int_equal(diff->log.parts_alone, 6);
    assert_int_equal(diff->log.failed, 5);
    for (int i = 0; i < diff->log.count; i++) {
        const struct tensor_result *result = &diff->log.results[i];
        int failures = strstr(result->name, "half") || strstr(result->name, "loss")
                           ? FAILURE_MISSING
                       : strstr(result->name, "sum")   ? FAILURE_EXTRA
                       : strstr(result->name, "other") ? FAILURE_SHAPE
                                                       : 0;
        assert_int_equal(result->verdict.failures, failures);
    }
    diff_free(diff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TRACES(test_equal_traces),
        WITH_TRACES(test_first_divergence),
        WITH_TRACES(test_names_and_steps),
        WITH_TRACES(test_only_common_within),
        WITH_TRACES(test_only_common_diverged),
        WITH_TRACES(test_only_common_of_nothing),
        WITH_TRACES(test_notes_of_other_runs),
        WITH_TRACES(test_no_note_of_an_untold_precision),
        WITH_TRACES(test_nothing_to_compare),
        WITH_TRACES(test_shapes_and_sampling),
        WITH_TRACES(test_whole_against_samples),
        WITH_TRACES(test_nan_between_samples),
        WITH_TRACES(test_duplicates),
        WITH_TRACES(test_parts_of_whole_traces),
        WITH_TRACES(test_parts_of_samples),
        WITH_TRACES(test_parts_that_are_missing),
        WITH_TRACES(test_json),
        cmocka_unit_test(test_log_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
