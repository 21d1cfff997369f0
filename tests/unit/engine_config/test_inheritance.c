/* Merging: parents, deletions, lists, variants, --set, and where each value came from. */
#include "../random.h"
#include "helper_config.h"

#include "engine/base/memory.h"
#include "engine/config/tree.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_chain(void **state)
{
    (void)state;
    char *folder = folder_make();
    folder_write(folder, "models/mid.yaml",
                 "extends: mixtral\n"
                 "compare_factor: 3\n"
                 "skip_tests: [bf, tp]\n"
                 "groups: {basic: main}\n"
                 "base_model: {decoder: {block: {mixer: {window_size: 64, head_groups: 2}}}}\n");
    folder_write(folder, "leaf.yaml", /* a plain model file beside the folder models */
                 "extends: mid\n"
                 "skip_tests: [ms]\n"
                 "hf_compare_factor: ~\n"
                 "base_model:\n"
                 "  decoder:\n"
                 "    block:\n"
                 "      mixer: {window_size: ~, heads: 4}\n"
                 "groups: {convert: broken}\n");
    struct config *config = load_fine(folder, "leaf/df2");
    const struct attention_config *mixer = &config->base_model.block.mixer;
    assert_int_equal(mixer->heads, 4);       /* its own */
    assert_int_equal(mixer->head_groups, 2); /* from mid, merged */
    assert_int_equal(mixer->head_size, 32);  /* from gpt_2, four files up */
    assert_int_equal(mixer->window_size, 0); /* deleted */
    assert_int_equal(config->base_model.block.mlp.experts, 4);
    assert_true(config->compare_factor == 3);    /* inherited */
    assert_true(config->hf_compare_factor == 1); /* deleted: back to the default */
    assert_int_equal(config->skip_test_count, 1);
    assert_string_equal(config->skip_tests[0], "ms");                  /* lists replace */
    assert_int_equal(config->groups[GROUP_BASIC], ACTION_UNIMPORTANT); /* never inherited */
    assert_int_equal(config->groups[GROUP_CONVERT], ACTION_BROKEN);
    assert_string_equal(config->checkpoint_format, "mixtral");
    assert_int_equal(config->data.micro_batch_size, 2048); /* the variant's */
    assert_int_equal(mixer->source.line, 7);
    assert_non_null(strstr(mixer->source.file, "/leaf.yaml"));
    assert_string_equal(config->base_model.block.mlp.source.file, "configs/models/mixtral.yaml");
    assert_string_equal(config->base_model.block.mixer.rotary.source.file,
                        "configs/models/starcoder_2.yaml");
    config_free(config);
    folder_remove(folder);
}

/* The example of the guide: a user's model is one file. */
static void test_custom_model_is_listed_and_valid(void **state)
{
    (void)state;
    char *folder = folder_make(), **names = NULL, *report = NULL;
    const char *directories[] = {folder};
    struct config_search search = {.directories = directories, .directory_count = 1};
    folder_write(folder, "my_custom_llama.yaml",
                 "extends: llama\n"
                 "base_model: {decoder: {num_blocks: 3}}\n"
                 "compare_factor: 2.0\n"
                 "groups: {basic: normal, checkpoint: normal, megatron: not_implemented}\n");
    int built_in = config_list_models(NULL, &names, NULL);
    config_names_free(names, built_in);
    int count = config_list_models(&search, &names, NULL);
    assert_int_equal(count, built_in + 1);
    assert_string_equal(names[built_in], "my_custom_llama"); /* without an order: behind */
    int problems = config_check_all(&search, &report);
    assert_string_equal(report, "");
    assert_int_equal(problems, 0);
    free(report);
    config_names_free(names, count);
    folder_remove(folder);
}

static void test_refining_a_built_in_name(void **state)
{
    (void)state;
    char *folder = folder_make();
    folder_write(folder, "models/llama.yaml", "extends: llama\ncompare_factor: 7\n");
    struct config *config = load_fine(folder, "qwen_2"); /* its parent is the user's llama */
    assert_true(config->compare_factor == 7);
    config_free(config);
    folder_remove(folder);
}

/* Which of two files of one name counts nobody can see. In two folders it is the order of them. */
static void test_two_files_of_one_name(void **state)
{
    (void)state;
    char *folders[] = {folder_make(), folder_make()}, *report = NULL;
    struct config_search search = {(const char *const *)folders, 2, NULL, 0};
    folder_write(folders[0], "one.yaml", "extends: llama\n");
    folder_write(folders[1], "one.yaml", "extends: llama\n");
    folder_write(folders[1], "variants/two.yml", "group: basic\n");
    assert_int_equal(config_check_all(&search, &report), 0);
    free(report);
    folder_write(folders[1], "models/one.yml", "extends: llama\n");
    folder_write(folders[1], "variants/two.yaml", "group: basic\n");
    char *expected =
        memory_format("%s/one.yaml: does not count, since %s/models/one.yml is there; expected one "
                      "file of this name in a folder\n"
                      "%s/variants/two.yml: does not count, since %s/variants/two.yaml is there; "
                      "expected one file of this name in a folder",
                      folders[1], folders[1], folders[1], folders[1]);
    assert_int_equal(config_check_all(&search, &report), 2);
    assert_string_equal(report, expected);
    free(expected);
    free(report);
    folder_remove(folders[0]);
    folder_remove(folders[1]);
}

static void test_variant_of_the_user(void **state)
{
    (void)state;
    char *folder = folder_make();
    folder_write(folder, "variants/tiny.yaml",
                 "group: basic\ncompares_with: simple\ntolerances: layer_match\n"
                 "compare_factor: 4\n"
                 "overrides: {data: {micro_batch_size: 64}, base_model: {decoder: {block: {mixer: "
                 "{window_size: ~}}}}}\n");
    struct config *config = load_fine(folder, "mistral/tiny");
    assert_int_equal(config->data.micro_batch_size, 64);
    assert_int_equal(config->base_model.block.mixer.window_size, 0); /* a variant deletes, too */
    config_free(config);
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    struct variant_config *variant = variant_load(&search, "tiny", NULL);
    assert_non_null(variant);
    assert_true(variant->compare_factor == 4);
    assert_int_equal(variant->ranks, 1);
    variant_free(variant);
    folder_remove(folder);
}

static void test_aliases_and_merge_keys(void **state)
{
    (void)state;
    static const char text[] =
        "extends: llama\n"
        "base_model:\n"
        "  decoder:\n"
        "    block:\n"
        "      mixer:\n"
        "        query_layer: &layer {weight: {initialization: {std: 0.5}}, lr_scale: 0}\n"
        "        key_layer: *layer\n"
        "        value_layer: *layer\n"
        "        dense_layer: {<<: *layer, lr_scale: 2}\n";
    struct status status = STATUS_NONE;
    struct config *config = config_load_text(NULL, "my.yaml", text, strlen(text), NULL, &status);
    assert_string_equal(status.text, "");
    assert_non_null(config);
    const struct attention_config *mixer = &config->base_model.block.mixer;
    assert_true(mixer->key_value.initialization_std == 0.5 && mixer->key_value.lr_scale == 0);
    assert_true(mixer->dense.initialization_std == 0.5 && mixer->dense.lr_scale == 2);
    config_free(config);
}

static void test_unset_values(void **state)
{
    (void)state;
    static const char text[] = "extends: llama\n"
                               "base_model:\n"
                               "  hidden_size: 64\n"
                               "  embeddings: {word_embeddings_layer: ~}\n"
                               "  decoder: {block: {mixer: {head_size: ~, dense_layer: ~}, mlp: "
                               "{activation: ~}}}\n";
    struct config *config = config_load_text(NULL, "my.yaml", text, strlen(text), NULL, NULL);
    assert_non_null(config);
    assert_int_equal(config->base_model.block.mixer.head_size, 8);
    assert_true(config->base_model.embedding_std == 0.125);
    assert_true(config->base_model.block.mixer.dense.initialization_std < 0);
    assert_int_equal(config->base_model.block.mlp.activation, ACTIVATION_TYPE_SILU);
    config_free(config);
}

/* What `config show` prints is itself a model file, and the same one. */
static void test_resolved_is_a_model(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt_2/fp16", "mtp_llama", "mixtral/dp2_tp2_pp2s1_bf4"};
    for (int i = 0; i < ARRAY_LENGTH(names); i++) {
        struct config *config = load_fine(NULL, names[i]);
        struct status status = STATUS_NONE;
        assert_non_null(strstr(config->resolved, "# configs/models/gpt_2.yaml:4\n"));
        struct config *again = config_load_text(NULL, "again.yaml", config->resolved,
                                                strlen(config->resolved), config->variant, &status);
        assert_string_equal(status.text, "");
        assert_int_equal(again->hash, config->hash);
        assert_int_equal(again->skip_test_count, config->skip_test_count);
        assert_memory_equal(again->groups, config->groups, sizeof(config->groups));
        config_free(again);
        config_free(config);
    }
}

/* What a variant or --set replaces of the model's own is shown, and nothing else: the number of
 * ranks above all, which a model may believe to be its own. */
static void test_replaced_is_shown(void **state)
{
    (void)state;
    char *folder = folder_make(), *expected;
    folder_write(folder, "a.yaml",
                 "extends: llama\n"
                 "data: {micro_batch_size: 2048, seed: 5}\n"
                 "distributed: {world_size: 4, seed: 7}\n"
                 "skip_tests: [bf]\n");
    const char *settings[] = {"distributed.seed=7", "data.seed=6", "skip_tests=[ms]"};
    struct config_search search = {(const char *const *)&folder, 1, settings, 3};
    struct status status = STATUS_NONE;
    struct config *config = config_load(&search, "a/dp2", &status);
    assert_string_equal(status.text, "");
    assert_int_equal(config->distributed.world_size, 2);
    expected = memory_format("# configs/variants/dp2.yaml:5, over %s/a.yaml:3\n", folder);
    assert_non_null(strstr(config->resolved, expected));
    free(expected);
    expected = memory_format("# --set:2, over %s/a.yaml:2\n", folder);
    assert_non_null(strstr(config->resolved, expected));
    free(expected);
    expected = memory_format("# --set:3, over %s/a.yaml:4\n", folder);
    assert_non_null(strstr(config->resolved, expected));
    free(expected);
    assert_non_null(strstr(config->resolved, "# --set:1\n")); /* says the same */
    assert_null(strstr(config->resolved, "over configs/"));   /* the defaults, the parents */
    config_free(config);
    folder_remove(folder);
}

/* Whether `after` over `before` tells of a replaced value of the key "list". */
static bool is_replaced(const char *before, const char *after)
{
    struct tree_pool pool = {0};
    struct status status = STATUS_NONE;
    struct node *parent = tree_parse(&pool, "before.yaml", before, strlen(before), &status);
    struct node *child = tree_parse(&pool, "after.yaml", after, strlen(after), &status);
    assert_string_equal(status.text, "");
    const struct node *merged = tree_override(&pool, parent, child);
    bool replaced = node_find(merged, "list")->over.file != NULL;
    pool_free(&pool);
    return replaced;
}

static void test_replaced_in_lists_of_mappings(void **state)
{
    (void)state;
    assert_true(is_replaced("list: [{a: 1}]", "list: [{b: 1}]"));
    assert_true(is_replaced("list: [{a: 1, b: 2}]", "list: [{a: 2, b: 1}]"));
    assert_true(is_replaced("list: [{a: [{b: 1}]}]", "list: [{a: [{c: 1}]}]"));
    assert_false(is_replaced("list: [{a: 1, b: 2}]", "list: [{b: 2, a: 1}]"));
    assert_true(is_replaced("list: [1, 2]", "list: [2, 1]"));
    assert_false(is_replaced("list: [1, [2]]", "list: [1, [2]]"));
}

static void test_hash_is_of_what_runs(void **state)
{
    (void)state;
    char *folder = folder_make();
    folder_write(folder, "a.yaml", "extends: llama\ngroups: {basic: main}\ndata: {seed: 1}\n");
    folder_write(folder, "b.yaml",
                 "# moved\n\ndata: {seed: 1}\ncompare_factor: 9\n"
                 "extends: llama\n");
    folder_write(folder, "c.yaml", "extends: llama\ndata: {seed: 2}\n");
    struct config *a = load_fine(folder, "a"), *b = load_fine(folder, "b");
    struct config *c = load_fine(folder, "c");
    assert_int_equal(a->hash, b->hash);
    assert_int_not_equal(a->hash, c->hash);
    config_free(a);
    config_free(b);
    config_free(c);
    folder_remove(folder);
}

static void test_settings(void **state)
{
    (void)state;
    struct random random = random_start("settings");
    for (int i = 0; i < 20; i++) {
        uint64_t seed = random_bits(&random);
        double rate = random_uniform(&random, 0, 1);
        char *settings[] = {memory_format("data.seed=%llu", (unsigned long long)seed),
                            memory_format("optimizer.learning_rate.base=%.17g", rate),
                            memory_string("base_model.decoder.block.mixer.window_size="),
                            memory_string("skip_tests=[\"^a,b$\", tp]"),
                            memory_string("groups.basic=broken"),
                            memory_string("data.path=some where")};
        struct config_search search = {.overrides = (const char *const *)settings,
                                       .override_count = ARRAY_LENGTH(settings)};
        struct status status = STATUS_NONE;
        struct config *config = config_load(&search, "mistral/bf4", &status);
        assert_string_equal(status.text, "");
        assert_int_equal(config->data.seed, seed);
        assert_true(config->optimizer.learning_rate == rate);
        assert_int_equal(config->base_model.block.mixer.window_size, 0);
        assert_string_equal(config->skip_tests[0], "^a,b$");
        assert_int_equal(config->groups[GROUP_BASIC], ACTION_BROKEN);
        assert_string_equal(config->data.path, "some where");
        assert_non_null(strstr(config->resolved, "# --set:1\n"));
        config_free(config);
        for (int j = 0; j < ARRAY_LENGTH(settings); j++)
            free(settings[j]);
    }
}

/* A comma for a decimal point in the user's locale must not change numbers. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    bool any = false;
    for (int i = 0; i < ARRAY_LENGTH(locales) && !any; i++)
        any = setlocale(LC_NUMERIC, locales[i]) != NULL;
    if (!any)
        skip();
    struct config *config = load_fine(NULL, "gpt_2");
    setlocale(LC_NUMERIC, "C");
    assert_true(config->compare_factor == 1.5);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_custom_model_is_listed_and_valid),
        cmocka_unit_test(test_refining_a_built_in_name),
        cmocka_unit_test(test_two_files_of_one_name),
        cmocka_unit_test(test_variant_of_the_user),
        cmocka_unit_test(test_aliases_and_merge_keys),
        cmocka_unit_test(test_unset_values),
        cmocka_unit_test(test_resolved_is_a_model),
        cmocka_unit_test(test_replaced_is_shown),
        cmocka_unit_test(test_replaced_in_lists_of_mappings),
        cmocka_unit_test(test_hash_is_of_what_runs),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
