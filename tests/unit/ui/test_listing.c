/* The pure parts of the views: lists that scroll, the folding listing, filters. */
#include "engine/base/memory.h"
#include "tests/unit/random.h"
#include "ui/filter.h"
#include "ui/list.h"
#include "ui/program_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_list(const struct list *list)
{
    int last = list->count > 0 ? list->count - 1 : 0;
    assert_in_range(list->selected, 0, last);
    assert_in_range(list->top, 0, last);
}

static void test_list(void **state)
{
    static const char *const words[] = {"down",    "up",        "first",          "last",
                                        "page-up", "page-down", "half-page-down", "half-page-up"};
    struct random random = random_start("test_list");
    struct list list = {0};
    (void)state;
    for (int i = 0; i < 20000; i++) {
        int what = (int)random_integer(&random, 0, 5);
        if (what == 0)
            list_resize(&list, (int)random_integer(&random, 0, 50));
        else if (what == 1)
            list_scroll(&list, (int)random_integer(&random, -60, 60));
        else if (what == 2)
            list_reveal(&list, (int)random_integer(&random, -3, 60));
        else
            assert_true(list_move(&list, words[random_integer(&random, 0, 7)]));
        check_list(&list);
        list_show(&list, (int)random_integer(&random, 0, 20));
        check_list(&list);
        if (list.page > 0) /* what is selected can be seen */
            assert_true(list.count == 0 ||
                        (list.top <= list.selected && list.selected < list.top + list.page));
    }
    assert_false(list_move(&list, "sideways"));
    list_resize(&list, 10);
    list_select(&list, 3);
    assert_true(list_move(&list, "down"));
    assert_int_equal(list.selected, 4);
    assert_true(list_move(&list, "last"));
    assert_int_equal(list.selected, 9);
}

/* A program of random passes and layers, with random marks. */
struct random_program {
    struct program_picture program;
    struct state_picture state;
};

static void make_program(struct random_program *made, struct random *random)
{
    static const char *const layers[] = {"embeddings", "decoder.0", "decoder.1", "head", ""};
    int count = (int)random_integer(random, 1, 120);
    made->program.instruction_count = made->state.instruction_count = count;
    made->program.instructions = memory_zeroed((size_t)count, sizeof(*made->program.instructions));
    made->state.instructions = memory_zeroed((size_t)count, sizeof(*made->state.instructions));
    struct picture_instruction now = {.micro_batches = 3, .micro_sequence = -1};
    for (int i = 0; i < count; i++) {
        if (random_integer(random, 0, 9) == 0) {
            now.phase = (enum phase)random_integer(random, 0, PHASE_COUNT - 1);
            now.micro_batch = (int)random_integer(random, -1, 2);
        }
        struct picture_instruction *in = &made->program.instructions[i];
        *in = now;
        in->text = in->part = in->source = (char *)(uintptr_t) "";
        in->layer = (char *)(uintptr_t)
            layers[i > 0 && random_integer(random, 0, 3) ? i / 7 % 5
                                                         : random_integer(random, 0, 4)];
        made->state.instructions[i] = (struct picture_mark){
            .status = (enum picture_status)random_integer(random, 0, MARK_NAN),
            .worst = random_integer(random, 0, 3) ? (float)random_uniform(random, 0, 2) : NAN,
            .error = NAN};
    }
}

static void free_program(struct random_program *made)
{
    free(made->program.instructions);
    free(made->state.instructions);
}

static void check_tree(const struct program_tree *tree, const struct random_program *made)
{
    for (int n = 0; n < tree->count; n++) {
        const struct tree_node *node = &tree->nodes[n];
        enum picture_status worst = MARK_PENDING;
        for (int i = node->first; i <= node->last; i++)
            worst = made->state.instructions[i].status > worst ? made->state.instructions[i].status
                                                               : worst;
        assert_int_equal(node->mark.status, worst);
        assert_true(node->parent < n);
        if (node->level == TREE_INSTRUCTION) {
            assert_int_equal(tree->leaves[node->first], n);
        } else { /* all of it has one layer, or one pass */
            assert_int_equal(made->program.instructions[node->first].phase,
                             made->program.instructions[node->last].phase);
            assert_non_null(node->label);
        }
    }
    for (int v = 0; v < tree->visible_count; v++) {
        int node = tree->visible[v];
        assert_int_equal(program_tree_row(tree, node), v);
        for (int p = tree->nodes[node].parent; p >= 0; p = tree->nodes[p].parent)
            assert_false(tree->nodes[p].folded);
    }
}

static void test_tree(void **state)
{
    struct random random = random_start("test_tree");
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct random_program made = {0};
        struct program_tree tree = {0};
        make_program(&made, &random);
        int count = made.program.instruction_count;
        program_tree_build(&tree, &made.program);
        program_tree_mark(&tree, &made.state);
        check_tree(&tree, &made);
        for (int i = 0; i < 10; i++) {
            int instruction = (int)random_integer(&random, 0, count - 1);
            int row = program_tree_reveal(&tree, instruction);
            assert_int_equal(tree.visible[row], tree.leaves[instruction]);
            program_tree_fold(&tree, (int)random_integer(&random, 0, tree.count - 1),
                              random_integer(&random, 0, 1));
            check_tree(&tree, &made);
            int next = program_tree_divergence(&tree, instruction, 1);
            for (int k = instruction + 1; k < count && (next < 0 || k < next); k++)
                assert_true(made.state.instructions[k].status < MARK_DIVERGED);
            assert_true(next < 0 || made.state.instructions[next].status >= MARK_DIVERGED);
        }
        program_tree_fold_all(&tree);
        for (int v = 0; v < tree.visible_count; v++)
            assert_int_equal(tree.nodes[tree.visible[v]].level, TREE_PASS);
        program_tree_free(&tree);
        free_program(&made);
    }
}

static bool passes(const char *text)
{
    struct picture_instruction in = {.micro_batch = 2};
    struct picture_value value = {.name = (char *)(uintptr_t) "bw decoder.1.mlp.hidden mb=2/4"};
    struct program_picture program = {&in, 1, &value, 1};
    struct picture_result result = {.status = MARK_DIVERGED,
                                    .measured = true,
                                    .worst = 3,
                                    .metrics = {.rms_test = 1, .rms_reference = 2},
                                    .verdict = {.rms_relative = 0.01}};
    struct filter filter = {0};
    struct status status = STATUS_NONE;
    if (!filter_set(&filter, text, &status))
        fail_msg("%s: %s", text, status.text);
    bool answer = filter_passes(&filter, &program, &result, 1);
    filter_free(&filter);
    return answer;
}

static void test_filter(void **state)
{
    struct filter filter = {0};
    struct status status = STATUS_NONE;
    (void)state;
    assert_true(passes(""));
    assert_true(passes("mlp"));
    assert_false(passes("mixer"));
    assert_true(passes("rel_rms > 1e-3 && layer ~ mlp"));
    assert_false(passes("rel_rms > 1e-3 && layer ~ mixer"));
    assert_false(passes("rel_rms > 1e-1 && layer ~ mlp"));
    assert_true(passes("step == 2 && mb == 2 && norm_ratio < 0.6 && diverged"));
    assert_false(passes("cosine > 2 || step == 1"));
    /* A wrong filter is told, and the one before stays. */
    assert_true(filter_set(&filter, "mlp", &status));
    assert_false(filter_set(&filter, "rel_rms > ", &status));
    assert_false(filter_set(&filter, "mlp && ", &status));
    assert_string_equal(filter.text, "mlp");
    filter_free(&filter);
}

/* Keys and clicks mean the same in every list; what is no row is left to the view. */
static void test_list_keys_and_clicks(void **state)
{
    struct list list = {0};
    (void)state;
    list_resize(&list, 10);
    list_show(&list, 4);
    assert_true(list_act(&list, "move last"));
    assert_int_equal(list.selected, 9);
    list_show(&list, 4);
    assert_int_equal(list.top, 6);
    assert_true(list_act(&list, "scroll up"));
    assert_int_equal(list.top, 3);
    assert_int_equal(list.selected, 6); /* stays in sight */
    assert_true(list_act(&list, "scroll down"));
    assert_int_equal(list.top, 6);
    assert_false(list_act(&list, "move left"));
    assert_false(list_act(&list, "scroll"));
    assert_false(list_act(&list, "open"));
    assert_true(list_click(&list, 1, 2));
    assert_int_equal(list.selected, 7);
    assert_false(list_click(&list, 1, 0)); /* the heading */
    assert_false(list_click(&list, 1, 5)); /* below the page */
    assert_int_equal(list.selected, 7);
    list_resize(&list, 2);
    list_show(&list, 4);
    assert_false(list_click(&list, 0, 2)); /* below the last row */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_keys_and_clicks),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
