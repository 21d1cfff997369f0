/* How users are told where an instruction comes from, of real programs. */
/* link: lockstep_engine_train */
#include "engine/base/memory.h"
#include "engine/train/schedule.h"
#include "tests/unit/configs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Counts the instructions at a path whose visit reads `visit`. */
static int count_visits(const struct program *program, const char *visit, const char *path)
{
    char text[120], at[256];
    int count = 0;
    for (int i = 0; i < program->instruction_count; i++) {
        const struct origin *origin = &program->instructions[i].origin;
        count += strcmp(origin_visit(origin, text, sizeof(text)), visit) == 0 &&
                 strcmp(origin_path(origin, at, sizeof(at)), path) == 0;
    }
    return count;
}

/* Reductions and updates are of the whole step: they are in no micro-batch. */
static void check_last_phases(const struct program *program)
{
    char text[120];
    for (int i = 0; i < program->instruction_count; i++) {
        const struct origin *origin = &program->instructions[i].origin;
        if (origin->phase == PHASE_REDUCE || origin->phase == PHASE_UPDATE)
            assert_string_equal(origin_visit(origin, text, sizeof(text)),
                                phase_name(origin->phase));
    }
}

static void test_visits(void **state)
{
    static const struct {
        const char *name, *visits[2], *path;
        bool reduces; /* it has instructions of that phase, which say only that */
    } cases[] = {
        {"llama/simple", {"forward", "backward"}, "decoder.1.mlp.layer_2", false},
        {"llama/dp2_z2_df4",
         {"forward, micro-batch 1/8", "backward, micro-batch 7/8"},
         "decoder.1.mlp.layer_2",
         true},
        {"llama/ms4",
         {"forward, micro-sequence 1/4", "backward, micro-sequence 4/4"},
         "decoder.1.mlp.layer_2",
         false},
        {"llama/ce4", {"forward, chunk 1/4", "forward, chunk 4/4"}, "head.loss", false},
    };
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct status status = STATUS_NONE;
        struct config *config = load_tiny_config(cases[i].name);
        struct program *program = schedule_compile(config, &status);
        if (!program)
            fail_msg("%s: %s", cases[i].name, status.text);
        config_free(config);
        for (int k = 0; k < 2; k++)
            if (count_visits(program, cases[i].visits[k], cases[i].path) == 0)
                fail_msg("%s: nothing is at %s (%s)", cases[i].name, cases[i].path,
                         cases[i].visits[k]);
        check_last_phases(program);
        if (cases[i].reduces)
            assert_true(count_visits(program, "reduce", "decoder.1.mlp.layer_2.weight") > 0);
        program_free(program);
    }
}

/* A name is one value's: what two values of a step are called cannot be compared with anything. */
static void test_names_are_unique(void **state)
{
    static const char *const overrides[] = {
        "data.micro_batch_size=16", "schedule.depth_first_micro_batches=2",
        "schedule.micro_batch_splits=2", "base_model.head.cross_entropy_splits=2",
        "base_model.decoder.num_blocks=2"};
    static const char *const cases[] = {"gpt_2/df4",     "gpt_2/bf2_df2", "llama/df2",
                                        "llama/df4_z2",  "mtp_llama/df2", "mtp_llama/bf4",
                                        "mixtral/simple"};
    (void)state;
    for (int i = 0; i < 2 * ARRAY_LENGTH(cases); i++) {
        struct status status = STATUS_NONE;
        const char *name = cases[i / 2];
        struct config *config = load_config(name, overrides, i % 2 ? ARRAY_LENGTH(overrides) : 1);
        struct program *program = schedule_compile(config, &status);
        if (!program)
            fail_msg("%s: %s", name, status.text);
        for (int v = 0; v < program->value_count; v++) {
            const char *own = program->values[v].name;
            if (own[0] && program_find(program, own) != v)
                fail_msg("%s: values %d and %d are both %s", name, v, program_find(program, own),
                         own);
        }
        /* Here the last micro-batch ends with the whole gradient, which has a name of its own. */
        if (!strcmp(name, "gpt_2/df4") && i % 2 == 0) {
            const char *tied = "gradient embeddings.word_embeddings_weight mb=2/4";
            assert_true(program_find(program, tied) >= 0);
        }
        program_free(program);
        config_free(config);
    }
}

static void test_cut(void **state)
{
    struct origin origin = {.phase = PHASE_BACKWARD,
                            .micro_batch = 1,
                            .micro_batches = 4,
                            .micro_sequence = 0,
                            .micro_sequences = 2,
                            .chunk = 2,
                            .chunks = 8,
                            .layer = "decoder.1",
                            .part = "mlp"};
    const char *whole = "backward, micro-batch 2/4, micro-sequence 1/2, chunk 3/8";
    char text[80];
    (void)state;
    assert_string_equal(origin_visit(&origin, text, sizeof(text)), whole);
    for (int size = 1; size <= (int)strlen(whole) + 1; size++) {
        memset(text, '#', sizeof(text));
        assert_int_equal(strlen(origin_visit(&origin, text, size)), size - 1);
        assert_memory_equal(text, whole, (size_t)size - 1);
        assert_int_equal(text[size], '#');
    }
    assert_string_equal(origin_path(&origin, text, sizeof(text)), "decoder.1.mlp");
    assert_string_equal(origin_path(&origin, text, 8), "decoder");
    origin.part = "";
    assert_string_equal(origin_path(&origin, text, sizeof(text)), "decoder.1");
    origin.layer = NULL;
    assert_string_equal(origin_path(&origin, text, sizeof(text)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visits),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
