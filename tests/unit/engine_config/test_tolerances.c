/* The tables have the original's numbers, rules match in order, and rescaling leaves scales. */
#include "helper_config.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct expected_limits {
    const char *table, *device, *step, *name;
    double relative, absolute; /* < 0: ignored */
    double scale;
    bool duplicates;
};

#define NORM "gradient decoder.0.norm_1.weight"
#define BIAS "gradient decoder.0.mixer.query.bias"
#define WORDS "gradient embeddings.word_embeddings_weight"
#define GRADIENT "gradient decoder.1.mlp.layer_2.weight"
#define FW "fw decoder.0 output"
#define BW "bw decoder.0 output"

static const struct expected_limits expected[] = {
    {"layer_match", "cpu", "init", "param decoder.0.norm_1.bias", 0, 0, 1, false},
    {"layer_match", "cpu", "train_1", FW, 1e-3, 1e-4, 1, false},
    {"layer_match", "cpu", "train_1", BW, 3e-3, 1e-5, 1, false},
    {"layer_match", "cpu", "train_2", BIAS, 3e-3, 5e-5, 1, false},
    {"layer_match", "cuda", "train_2", NORM, 3e-3, 3e-5, 1, false},
    {"layer_match", "cuda", "train_2", "state step", 0, 0, 1, false},
    {"layer_mismatch", "cpu", "train_1", FW, -1, -1, 1, false},
    {"layer_mismatch", "cpu", "train_1", BW, -1, -1, 1, false},
    {"layer_mismatch", "cpu", "train_1", GRADIENT, 3e-3, 3e-5, 1, false},
    {"match_duplicate_gradients", "cpu", "train_1", FW, 1e-3, 1e-4, 1, false},
    {"match_duplicate_gradients", "cpu", "train_1", GRADIENT, 3e-3, 3e-5, 1, true},
    {"match_duplicate_gradients", "cpu", "train_1", BIAS, 3e-3, 5e-5, 1, true},
    {"mismatch_duplicate_gradients", "cpu", "train_1", FW, -1, -1, 1, false},
    {"mismatch_duplicate_gradients", "cpu", "train_1", GRADIENT, 3e-3, 3e-5, 1, true},
    {"pp_tied_weight", "cpu", "init", "param x", 0, 0, 1, true},
    {"pp_tied_weight", "cpu", "train_1", BW, -1, -1, 1, true},
    {"pp_tied_weight", "cpu", "train_1", GRADIENT, 3e-3, 3e-5, 1, true},
    {"bf16", "cpu", "init", NORM, 0, 0, 1, false},
    {"bf16", "cpu", "train_1", FW, 1.5e-2, 1.5e-3, 1, false},
    {"bf16", "cpu", "train_1", BW, 1.5e-2, 1e-5, 1, false},
    {"bf16", "cpu", "train_1", WORDS, 8e-2, 1e-4, 1, false},
    {"bf16", "cuda", "train_1", WORDS, 5e-2, 1e-4, 1, false},
    {"bf16", "cpu", "train_1", NORM, -1, -1, 1, false},
    {"bf16", "cuda", "train_1", NORM, 2e-2, 5e-5, 1, false},
    {"bf16", "cpu", "train_1", BIAS, 2e-2, 2e-3, 1, false},
    {"bf16", "cuda", "train_1", BIAS, 2e-2, 1e-3, 1, false},
    {"bf16", "cpu", "train_1", GRADIENT, 2e-2, 1e-4, 1, false},
    {"bf16", "cuda", "train_1", GRADIENT, 2e-2, 5e-5, 1, false},
    {"fp16", "cpu", "train_1", FW, 1.2e-3, 3e-4, 1, false},
    {"fp16", "cpu", "train_1", BW, 3e-3, 1e-5, 65536, false},
    {"fp16", "cpu", "train_1", NORM, -1, -1, 1, false},
    {"fp16", "cuda", "train_1", NORM, 3e-3, 5e-5, 65536, false},
    {"fp16", "cpu", "train_1", WORDS, 2e-2, 1e-4, 65536, false},
    {"fp16", "cuda", "train_1", WORDS, 3e-3, 5e-5, 65536, false},
    {"fp16", "cpu", "train_1", BIAS, 6e-3, 2e-4, 65536, false},
    {"fp16", "cuda", "train_1", BIAS, 3e-3, 1e-4, 65536, false},
    {"fp16", "cpu", "train_1", GRADIENT, 6e-3, 1e-4, 65536, false},
    {"fp16", "cpu", "train_1", "other", 0, 0, 1, false},
    {"resume", "cpu", "init", GRADIENT, -1, -1, 1, false},
    {"resume", "cpu", "train_1", GRADIENT, -1, -1, 1, false},
};

static struct tolerances *load(const char *table, const char *device)
{
    struct status status = STATUS_NONE;
    struct tolerances *tolerances = tolerances_load(NULL, table, device, &status);
    assert_string_equal(status.text, "");
    assert_non_null(tolerances);
    return tolerances;
}

static void test_tables(void **state)
{
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(expected); i++) {
        const struct expected_limits *row = &expected[i];
        struct tolerances *table = load(row->table, row->device);
        const struct limits *limits = tolerances_find(table, row->step, row->name);
        assert_string_equal(table->name, row->table);
        assert_int_equal(limits->ignore, row->relative < 0);
        assert_true(limits->scale == row->scale);
        assert_int_equal(limits->ignore_duplicates, row->duplicates);
        if (!limits->ignore) {
            assert_true(limits->rms_relative == row->relative);
            assert_true(limits->rms_absolute == row->absolute);
            assert_true(limits->max_relative == 10 * row->relative);
            assert_true(limits->max_absolute == 10 * row->absolute);
            assert_true(limits->rms_epsilon == row->absolute / 10);
        }
        tolerances_free(table);
    }
}

static void check_default(const struct limits *limits, double factor)
{
    assert_true(limits->rms_relative == 3e-3 * factor && limits->rms_absolute == 5e-4 * factor);
    assert_true(limits->max_relative == 1.5e-2 * factor && limits->max_absolute == 5e-3 * factor);
    assert_true(limits->rms_epsilon == 1e-4 * factor && limits->scale == 1);
}

static void test_default_and_rescale(void **state)
{
    (void)state;
    struct tolerances *table = load("default", "cpu");
    check_default(tolerances_find(table, "train_1", FW), 1);
    tolerances_rescale(table, 4);
    check_default(tolerances_find(table, "init", FW), 4);
    tolerances_free(table);
    table = load("resume", "cuda");
    check_default(tolerances_find(table, "train_2", FW), 1);
    tolerances_free(table);
    table = load("fp16", "cpu");
    tolerances_rescale(table, 2);
    const struct limits *limits = tolerances_find(table, "train_1", GRADIENT);
    assert_true(limits->scale == 65536 && limits->rms_relative == 1.2e-2);
    assert_true(limits->rms_epsilon == 2e-5 && limits->max_absolute == 2e-3);
    tolerances_free(table);
}

static void test_user_table(void **state)
{
    (void)state;
    char *folder = folder_make(), **names = NULL;
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    folder_write(folder, "tolerances/mine.yaml",
                 "rules:\n"
                 "  - {step: train_2, name: fw, relative: 1, absolute: 2, max_relative: 3}\n"
                 "  - {name: fw, relative: 5, absolute: 6, cuda: {absolute: 7}}\n"
                 "otherwise: {ignore: true}\n");
    struct tolerances *table = tolerances_load(&search, "mine", "cuda", NULL);
    assert_non_null(table);
    const struct limits *limits = tolerances_find(table, "train_2", "fw x");
    assert_true(limits->rms_relative == 1 && limits->max_relative == 3);
    assert_true(limits->max_absolute == 20);
    limits = tolerances_find(table, "train_1", "fw x");
    assert_true(limits->rms_relative == 5 && limits->rms_absolute == 7);
    assert_int_equal(table->rules[1].source.line, 3);
    assert_true(tolerances_find(table, "train_1", "bw x")->ignore);
    tolerances_free(table);
    int count = tolerances_list(&search, &names, NULL);
    assert_int_equal(count, 10);
    config_names_free(names, count);
    struct status status = STATUS_NONE;
    folder_write(folder, "tolerances/bad.yaml",
                 "rules: [{name: fw, relative: -1, absolute: 0}]\notherwise: {scale: 0}\n");
    assert_null(tolerances_load(&search, "bad", "cpu", &status));
    char *message = memory_format(
        "%s/tolerances/bad.yaml:1:30: rule.relative is -1; expected at least 0\n"
        "%s/tolerances/bad.yaml:2:20: otherwise.scale is 0; expected more than 0\n"
        "%s/tolerances/bad.yaml:2:12: otherwise has no limits; expected relative and absolute, or "
        "ignore: true",
        folder, folder, folder);
    assert_string_equal(status.text, message);
    free(message);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_default_and_rescale),
        cmocka_unit_test(test_user_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
