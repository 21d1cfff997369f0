/* Each kind of bad input has its exact position and message. */
#include "helper_config.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct bad {
    const char *text;
    const char *message;
};

#define MIXER "base_model:\n  decoder:\n    block:\n      mixer:\n        "

static const struct bad bad_documents[] = {
    /* not YAML, or not a document of ours */
    {"", "my.yaml:1:1: empty; expected keys and values"},
    {"# only a comment\n", "my.yaml:1:1: empty; expected keys and values"},
    {"- a\n", "my.yaml:1:1: a word or a list; expected keys and values"},
    {"extends: llama\n\tdata: {}\n", "my.yaml:2:1: not YAML: a tab; expected spaces"},
    {"extends: llama\ndata:\n  se\xff: 1\n", "my.yaml:3:5: not YAML: invalid leading UTF-8 octet"},
    {"extends: llama\noptimizer:\n  learning_rate:\n    decay_style: cosine\n",
     "my.yaml:4:18: a rate that decays needs decay_iterations, which is 0; expected more than "
     "warmup_iterations, which is 0"},
    {"extends: llama\noptimizer: {learning_rate: {schedule: \"linear,5,0,1;cosin,9,1,0\"}}\n",
     "my.yaml:2:39: stage 2 of the schedule is 'cosin,9,1,0'; expected constant, linear, power or "
     "cosine first (did you mean 'cosine'?)"},
    {"extends: llama\noptimizer: {learning_rate: {schedule: \"cosine,9,1e-4x,0\"}}\n",
     "my.yaml:2:39: stage 1 of the schedule is 'cosine,9,1e-4x,0'; expected a rate from 0 to 1e6"},
    {"extends: llama\noptimizer: {learning_rate: {schedule: \"constant,-1,1;constant,2,1\"}}\n",
     "my.yaml:2:39: stage 2 of the schedule is 'constant,2,1'; expected no stage behind one "
     "without "
     "end"},
    {"extends: llama\noptimizer: {learning_rate: {schedule: \"power,3,1,0,2,1\"}}\n",
     "my.yaml:2:39: stage 1 of the schedule is 'power,3,1,0,2,1'; expected "
     "TYPE,UPDATES,RATE[,LAST_RATE[,POWER]];..."},
    {"extends: llama\noptimizer: {learning_rate: {schedule: \"linear,0,1,0;\"}}\n",
     "my.yaml:2:39: stage 1 of the schedule is 'linear,0,1,0'; expected a number of updates from 1 "
     "(or -1 for a constant stage without end)"},
    {"extends: llama\n--- \nextends: llama\n", "my.yaml:3:1: a second document; expected one"},
    {"extends: llama\n? [a]\n: 1\n", "my.yaml:2:3: a key is a list or a mapping; expected a word"},
    {"extends: llama\ndata:\n  seed: 1\n  shuffle: true\n  seed: 2\n",
     "my.yaml:5:3: key 'seed' is given twice (first in line 3); expected once"},
    {"extends: llama\ndata: {path: \"a\\0b\"}\n",
     "my.yaml:2:14: a zero byte in a text; expected none"},
    {"extends: \"\\e[31mllama\"\n",
     "my.yaml:1:10: a line break or control character in a text; expected none"},
    {"extends: llama\n\"da\\u0085ta\": {}\n",
     "my.yaml:2:1: a line break or control character in a text; expected none"},
    {"extends: |\n  llama\n",
     "my.yaml:1:10: a line break or control character in a text; expected none"},
    {"extends: llama\ndata: {seed: !!int \"5\"}\n",
     "my.yaml:2:14: a tag; expected none: types follow from the keys"},
    {"extends: llama\ndata: {seed: !!str 5}\n", /* the tag that any text has */
     "my.yaml:2:14: a tag; expected none: types follow from the keys"},
    {"extends: llama\ndata: {seed: ! 5}\n",
     "my.yaml:2:14: a tag; expected none: types follow from the keys"},
    {"extends: llama\n!!str data: {seed: 5}\n",
     "my.yaml:2:1: a tag; expected none: types follow from the keys"},
    {"extends: llama\ndata: !!map {seed: 5}\n",
     "my.yaml:2:7: a tag; expected none: types follow from the keys"},
    {"extends: llama\nskip_tests: !!seq [ms]\n",
     "my.yaml:2:13: a tag; expected none: types follow from the keys"},
    {"extends: llama\ndata: !!set {seed: 5}\n",
     "my.yaml:2:7: a tag; expected none: types follow from the keys"},
    {"a: &a [*a]\n", "my.yaml:1:4: nested too deep, or an anchor that contains itself; expected at "
                     "most 64 levels"},
    {"a: &a [x]\nb: {<<: *a}\n",
     "my.yaml:2:4: << brings something else; expected a mapping or a list of mappings"},
    /* inheritance */
    {"extends: [llama]\n", "my.yaml:1:10: extends is not a word; expected a model's name"},
    {"\nextends: lama\n", "my.yaml:2:10: extends: no model 'lama' (did you mean 'llama'?)"},
    {"extends: text\n", "my.yaml:1:10: extends text, which is a cycle: my.yaml -> text; expected a "
                        "parent that does not come back here"},
    /* keys */
    {"extends: llama\nbase_model:\n  hiden_size: 3\n",
     "my.yaml:3:3: unknown key 'hiden_size' in base_model; did you mean 'hidden_size'?"},
    {"extnds: llama\n", "my.yaml:1:1: unknown key 'extnds' in the model; did you mean 'extends'?"},
    {"extends: llama\ngruops: {}\n",
     "my.yaml:2:1: unknown key 'gruops' in the model; did you mean 'groups'?"},
    /* cut between two characters, and nothing suggested that has nothing in common */
    {"extends: llama\ndata:\n  "
     "a\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
     "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
     "\u00e9: 1\n",
     "my.yaml:3:3: unknown key "
     "'a\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
     "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9' in "
     "data; allowed: type, path, "
     "seed, micro_batch_size, maximum_document_length, loss_masking_spans or shuffle"},
    {"extends: llama\nmulti_stage: {offload: true}\n",
     "my.yaml:2:15: unknown key 'offload' in multi_stage; allowed: zero_stage or layers_per_stage"},
    {"base_model:\n  decoder: {num_blocks: 1}\n",
     "my.yaml:2:3: base_model.embeddings.vocab_size is missing; expected an integer\n"
     "my.yaml:2:12: base_model.decoder.block.mixer.heads is missing; expected an integer\n"
     "my.yaml:2:12: base_model.decoder.block.mixer.head_groups is missing; expected an integer\n"
     "my.yaml:2:12: base_model.decoder.block.mlp.intermediate_size is missing; expected an "
     "integer\n"
     "my.yaml:2:3: base_model.hidden_size is missing; expected an integer"},
    {"extends: llama\n" MIXER "heads: ~\n",
     "my.yaml:6:16: base_model.decoder.block.mixer.heads is missing; expected an integer"},
    {"extends: llama\nbase_model:\n  decoder: {block: {mlp: ~}}\n",
     "my.yaml:3:26: base_model.decoder.block.mlp.intermediate_size is missing; expected an "
     "integer"},
    /* types */
    {"extends: llama\ndata: 5\n", "my.yaml:2:7: data is '5'; expected a mapping"},
    {"extends: llama\ndata: {micro_batch_size: 12k}\n", /* though the variant replaces it */
     "my.yaml:2:26: data.micro_batch_size is '12k'; expected a decimal integer up to "
     "9223372036854775807"},
    {"extends: llama\nskip_tests: ms\n", "my.yaml:2:13: skip_tests is 'ms'; expected a list"},
    {"extends: llama\nskip_tests: [ms, ~]\n",
     "my.yaml:2:18: skip_tests[1] is '~'; expected a text"},
    {"extends: llama\ndata: {seed: [1]}\n",
     "my.yaml:2:14: data.seed is a list; expected an integer"},
    {"extends: llama\ntraining: {train_iters: 12abc}\n",
     "my.yaml:2:25: training.train_iters is '12abc'; expected a decimal integer up to 2147483647"},
    {"extends: llama\ntraining: {train_iters: 1e3}\n",
     "my.yaml:2:25: training.train_iters is '1e3'; expected a decimal integer up to 2147483647"},
    {"extends: llama\ntraining: {train_iters: 010}\n",
     "my.yaml:2:25: training.train_iters is '010'; expected a decimal integer up to 2147483647"},
    {"extends: llama\ntraining: {train_iters: 99999999999}\n",
     "my.yaml:2:25: training.train_iters is '99999999999'; expected a decimal integer up to "
     "2147483647"},
    {"extends: llama\ntraining: {train_iters: \"2\"}\n",
     "my.yaml:2:25: training.train_iters is '2' in quotes; expected a decimal integer up to "
     "2147483647"},
    {"extends: llama\ndata: {seed: -1}\n",
     "my.yaml:2:14: data.seed is '-1'; expected a decimal integer from 0"},
    {"extends: llama\ncompare_factor: 0.5x\n",
     "my.yaml:2:17: compare_factor is '0.5x'; expected a finite number"},
    {"extends: llama\ncompare_factor: 02\n",
     "my.yaml:2:17: compare_factor is '02'; expected a finite number"},
    {"extends: llama\ncompare_factor: nan\n",
     "my.yaml:2:17: compare_factor is 'nan'; expected a finite number"},
    {"extends: llama\ncompare_factor: 1e999\n",
     "my.yaml:2:17: compare_factor is '1e999'; expected a finite number"},
    {"extends: llama\nrequires_cuda: flase\n",
     "my.yaml:2:16: requires_cuda is 'flase'; expected true or false (did you mean 'false'?)"},
    {"extends: llama\nrequires_cuda: True\n",
     "my.yaml:2:16: requires_cuda is 'True'; expected true or false (did you mean 'true'?)"},
    {"extends: llama\nrequires_cuda: 1\n",
     "my.yaml:2:16: requires_cuda is '1'; expected true or false"},
    {"extends: llama\ngroups: {basic: nromal}\n",
     "my.yaml:2:17: groups.basic is 'nromal'; expected main, normal, unimportant, broken or "
     "not_implemented (did you mean 'normal'?)"},
    /* values */
    {"extends: llama\nbase_model: {hidden_size: -4}\n",
     "my.yaml:2:27: base_model.hidden_size is -4; expected at least 1 and at most 1048576"},
    {"extends: llama\ndata: {micro_batch_size: -4096}\n", /* though the variant replaces it */
     "my.yaml:2:26: data.micro_batch_size is -4096; expected at least 1 and at most 16777216"},
    {"extends: llama\n" MIXER "{heads: 7}\n",
     "configs/models/starcoder_2.yaml:11:22: head_groups is 4; expected a divisor of heads, which "
     "is 7 (heads: my.yaml:6:17)"},
    {"extends: mixtral\nbase_model:\n  hidden_size: 1048576\n  decoder: {block: {mlp: {experts: "
     "65536, intermediate_size: 1000000}}}\n",
     "my.yaml:3:3: about 4.1e+17 parameters; expected sizes that make at most 1.1e+15"},
    {"extends: llama\n" MIXER "{heads: 9, head_groups: 4}\n",
     "my.yaml:6:33: head_groups is 4; expected a divisor of heads, which is 9"},
    {"extends: llama\n" MIXER "{heads: 6, head_groups: 3, head_size: ~}\n",
     "my.yaml:6:17: heads is 6, and without a head_size that must divide hidden_size, which is "
     "256; expected a divisor or a head_size (hidden_size: configs/models/gpt_2.yaml:4:16)"},
    {"extends: llama\n" MIXER "{head_size: 31}\n",
     "my.yaml:6:21: head_size is 31; expected an even number, as rotary embeddings turn pairs"},
    {"extends: mistral\n" MIXER "{causal: false}\n",
     "configs/models/mistral.yaml:8:22: window_size needs causal attention; expected causal: true "
     "or no window (causal: my.yaml:6:18)"},
    {"extends: llama\n" MIXER "value_layer: {lr_scale: 0.5}\n",
     "my.yaml:6:33: value_layer.lr_scale is 0.5; expected the same as key_layer has (nothing), as "
     "both are one layer"},
    {"extends: mixtral\nbase_model: {decoder: {block: {mlp: {experts_per_token: 5}}}}\n",
     "my.yaml:2:57: experts_per_token is 5; expected at most experts, which is 4 (experts: "
     "configs/models/mixtral.yaml:11:18)"},
    {"extends: mixtral\nbase_model: {decoder: {block: {mlp: {type: mlp}}}}\n",
     "configs/models/mixtral.yaml:11:18: experts without type: moe; expected none (type: "
     "my.yaml:2:44)\n"
     "configs/models/mixtral.yaml:12:28: experts_per_token without type: moe; expected none (type: "
     "my.yaml:2:44)"},
    {"extends: mixtral\nbase_model: {decoder: {block: {mlp: {router: {bias: {enabled: true}}}}}}\n",
     "my.yaml:2:63: experts and their router have no biases; expected false"},
    {"extends: mixtral\nbase_model: {decoder: {block: {mlp: {layer_2: {bias: {enabled: "
     "true}}}}}}\n",
     "my.yaml:2:64: experts and their router have no biases; expected false"},
    {"extends: mixtral\nbase_model: {decoder: {block: {mlp: {add_linear_biases: true}}}}\n",
     "my.yaml:2:57: experts have no biases; expected add_linear_biases: false"},
    {"extends: llama_3\n" MIXER "rotary: {low_frequency_factor: 4}\n",
     "configs/models/llama_3.yaml:12:34: high_frequency_factor is 4; expected more than "
     "low_frequency_factor, which is 4 (low_frequency_factor: my.yaml:6:40)"},
    {"extends: gpt_2\ndata: {maximum_document_length: 513}\n",
     "my.yaml:2:33: maximum_document_length is 513; expected at most num_position_embeddings, "
     "which is 512 (num_position_embeddings: configs/models/gpt_2.yaml:8:30)"},
    {"extends: llama\nskip_tests: [\"(a\"]\n",
     "my.yaml:2:14: skip_tests: '(a' is not a regular expression: Unmatched ( or \\(; expected a "
     "POSIX extended one"},
    {"extends: llama\nskip_tests: [\"(((a{1,999}){1,999}){1,999})\"]\n",
     "my.yaml:2:14: skip_tests: '(((a{1,999}){1,999}){1,999})' is not a regular expression: its "
     "repetitions make more than 5000 characters; expected a POSIX extended one"},
    {"extends: llama\noptimizer: {beta_1: 1}\n",
     "my.yaml:2:21: a moment that never changes; expected less than 1"},
    /* with the schedule and layout */
    {"extends: llama\nschedule: {micro_batch_splits: 3}\n",
     "my.yaml:2:32: micro_batch_splits is 3; expected a divisor of micro_batch_size, which is "
     "4096 (micro_batch_size: configs/variants/simple.yaml:8:23)"},
    {"extends: llama\ndistributed: {tensor_parallel: 2}\n",
     "my.yaml:2:32: tensor_parallel is 2; expected a divisor of world_size, which is 1 "
     "(world_size: configs/variants/simple.yaml:5:8)"},
    {"extends: llama\ndata: {type: tokens}\n",
     "my.yaml:2:14: data type tokens without data.path; expected a file"},
};

static void test_messages(void **state)
{
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(bad_documents); i++)
        load_fails(bad_documents[i].text, strlen(bad_documents[i].text), STATUS_INVALID,
                   bad_documents[i].message);
}

/* The model is right, but not under this variant: the suite skips such tests. */
static void test_not_causal(void **state)
{
    static const char text[] = "extends: llama\n" MIXER "{causal: false}\n"
                               "schedule: {micro_batch_splits: 2}\n";
    (void)state;
    load_fails(text, strlen(text), STATUS_UNSUPPORTED,
               "my.yaml:7:32: micro_batch_splits is 2; expected 1 without causal attention, as a "
               "micro-sequence does not see the keys of later ones");
}

/* Nine levels of nine aliases each: a thousand million values in 400 bytes. */
static void test_alias_bomb(void **state)
{
    (void)state;
    struct text text = {0};
    text_add(&text, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c < 'k'; c++) {
        text_format(&text, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++)
            text_format(&text, "%s*%c", i ? "," : "", c - 1);
        text_add(&text, "]\n");
    }
    load_fails(text.data, text.length, STATUS_INVALID,
               "my.yaml:1:4: too many values after expanding aliases; expected at most 20000");
    text_free(&text);
}

static void test_size(void **state)
{
    (void)state;
    struct text text = {0};
    while (text.length <= TREE_FILE_LIMIT)
        text_add(&text, "# a file that is not a configuration\n");
    char *message = memory_format("my.yaml:1:1: %zu bytes; expected at most 262144", text.length);
    load_fails(text.data, text.length, STATUS_INVALID, message);
    free(message);
    text_clear(&text);
    for (int i = 0; i < 300; i++)
        text_format(&text, "key_%d: 1\n", i);
    load_fails(text.data, text.length, STATUS_INVALID,
               "my.yaml:1:1: too many keys in one mapping; expected at most 256");
    text_free(&text);
}

static void fails_in(const char *folder, const char *name, const char *const *settings, int count,
                     enum status_code code, const char *expected)
{
    struct status status = STATUS_NONE;
    struct config_search search = {&folder, folder != NULL, settings, count};
    assert_null(config_load(&search, name, &status));
    assert_string_equal(status.text, expected);
    assert_int_equal(status.code, code);
}

static void test_cycle(void **state)
{
    (void)state;
    char *folder = folder_make();
    folder_write(folder, "a.yaml", "extends: b\n");
    folder_write(folder, "models/b.yaml", "compare_factor: 1\nextends: a\n");
    char *expected = memory_format("%s/models/b.yaml:2:10: extends a, which is a cycle: "
                                   "%s/a.yaml -> %s/models/b.yaml -> a; expected a parent that "
                                   "does not come back here",
                                   folder, folder, folder);
    fails_in(folder, "a", NULL, 0, STATUS_INVALID, expected);
    free(expected);
    for (int i = 0; i < 20; i++) {
        char *name = memory_format("chain_%d.yaml", i);
        char *text = memory_format("extends: chain_%d\n", i + 1);
        folder_write(folder, name, text);
        free(name);
        free(text);
    }
    expected =
        memory_format("%s/chain_15.yaml:1:10: too many parents; expected at most 15", folder);
    fails_in(folder, "chain_0", NULL, 0, STATUS_INVALID, expected);
    free(expected);
    folder_remove(folder);
}

static void test_names_and_folders(void **state)
{
    (void)state;
    fails_in(NULL, "lamma_3", NULL, 0, STATUS_NOT_FOUND,
             "no model 'lamma_3' (did you mean 'llama_3'?)");
    fails_in(NULL, "llama/stp3", NULL, 0, STATUS_NOT_FOUND,
             "no variant 'stp3' (did you mean 'stp2'?)");
    fails_in("/nowhere", "llama", NULL, 0, STATUS_NOT_FOUND,
             "configuration folder /nowhere: No such file or directory");
    struct status status = STATUS_NONE;
    assert_null(config_load(NULL, "../models/llama", &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    assert_null(variant_load(NULL, "", &status));
    assert_null(tolerances_load(NULL, "layer_macth", "cpu", &status));
    assert_string_equal(status.text,
                        "no tolerance table 'layer_macth' (did you mean 'layer_match'?)");
}

static void test_settings(void **state)
{
    (void)state;
    static const struct bad settings[] = {
        {"data.seed", "--set:1:1: 'data.seed'; expected key.path=value"},
        {"=3", "--set:1:1: '=3'; expected key.path=value"},
        {"data..seed=3", "--set:1:6: 'data..seed=3'; expected key.path=value"},
        {"data.sead=3", "--set:1:6: unknown key 'sead' in data; did you mean 'seed'?"},
        {"data.seed=3x", "--set:1:11: data.seed is '3x'; expected a decimal integer from 0"},
        {"data=[", "--set:1:6: not YAML: did not find expected node content while parsing a flow "
                   "node"},
        {"data.seed=!!str 3", "--set:1:11: a tag; expected none: types follow from the keys"},
        {"extends=llama", "--set:1:1: extends cannot be set here; name the model"},
        {"base_model.decoder.block.mixer.head_groups=3",
         "--set:1:44: head_groups is 3; expected a divisor of heads, which is 8 "
         "(heads: configs/models/gpt_2.yaml:18:16)"},
    };
    for (int i = 0; i < ARRAY_LENGTH(settings); i++)
        fails_in(NULL, "llama", &settings[i].text, 1, STATUS_INVALID, settings[i].message);
}

static void test_variants(void **state)
{
    (void)state;
    static const struct bad variants[] = {
        {"group: basik\n",
         "1:8: group is 'basik'; expected basic or distributed (did you mean 'basic'?)"},
        {"group: basic\nranks: 0\n", "2:8: ranks is 0; expected 1 to 65536"},
        {"group: basic\ncompare_factor: -1\n",
         "2:17: compare_factor is -1; expected more than 0 and at most 1000000000"},
        {"group: basic\nranks: 2\n",
         "2:8: ranks is 2; expected 1 in group basic (several: group distributed)"},
        {"group: basic\nname: odd\n", "2:7: name is 'odd'; expected 'v', as the file is called"},
        {"group: basic\ncompares_with: simple\n",
         "1:1: only one of compares_with and tolerances; expected both or none"},
        {"group: basic\noverrides: {groups: {}}\n",
         "2:13: unknown key 'groups' in overrides; allowed: base_model, optimizer, data, schedule, "
         "distributed, multi_stage or training"},
        {"ranks: 2\n", "1:1: group is missing; expected a word"},
        {"group: basic\noverrides: {data: {seed: x}}\n",
         "2:26: data.seed is 'x'; expected a decimal integer from 0"},
    };
    char *folder = folder_make();
    for (int i = 0; i < ARRAY_LENGTH(variants); i++) {
        folder_write(folder, "variants/v.yaml", variants[i].text);
        char *expected = memory_format("%s/variants/v.yaml:%s", folder, variants[i].message);
        fails_in(folder, "llama/v", NULL, 0, STATUS_INVALID, expected);
        free(expected);
    }
    folder_remove(folder);
}

/* One bad file of each kind: all are reported, once each, and the rest still is checked. */
static void test_check_all(void **state)
{
    (void)state;
    char *folder = folder_make(), *report = NULL;
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    folder_write(folder, "one.yaml", "extends: llama\ndata: {sed: 1}\n");
    folder_write(folder, "two.yaml",
                 "extends: llama\nbase_model: {decoder: {block: {mixer: {head_groups: 1, heads: "
                 "9}}}}\n");
    folder_write(folder, "variants/odd.yaml",
                 "group: basic\ncompares_with: smiple\ntolerances: bf61\n");
    folder_write(folder, "tolerances/t.yaml", "rules: [{name: x}]\notherwise: {ignore: true}\n");
    char *expected = memory_format(
        "%s/variants/odd.yaml:3:13: tolerances: no tolerance table 'bf61' (did you mean 'bf16'?)\n"
        "%s/variants/odd.yaml:2:16: compares_with: no variant 'smiple' (did you mean 'simple'?)\n"
        "%s/tolerances/t.yaml:1:9: the rule has no limits; expected relative and absolute, or "
        "ignore: true, or a column cpu or cuda\n"
        "%s/one.yaml:2:8: unknown key 'sed' in data; did you mean 'seed'?",
        folder, folder, folder, folder);
    int count = config_check_all(&search, &report);
    /* that two ranks cannot share 9 heads is no mistake: such tests are skipped */
    assert_string_equal(report, expected);
    assert_int_equal(count, 4);
    free(expected);
    free(report);
    folder_remove(folder);
}

/* A variant that is compared with itself by way of others would never run. One that leads into
 * such a circle, but is not part of it, is not the mistake. */
static void test_circle_of_references(void **state)
{
    (void)state;
    char *folder = folder_make(), *report = NULL;
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    folder_write(folder, "variants/a.yaml",
                 "group: basic\ncompares_with: b\ntolerances: layer_match\n");
    folder_write(folder, "variants/b.yaml",
                 "group: basic\ntolerances: layer_match\ncompares_with: a\n");
    folder_write(folder, "variants/c.yaml",
                 "group: basic\ncompares_with: b\ntolerances: layer_match\n");
    char *expected = memory_format(
        "%s/variants/a.yaml:2:16: compares_with b, which leads back to a; expected a reference "
        "that ends in a baseline\n"
        "%s/variants/b.yaml:3:16: compares_with a, which leads back to b; expected a reference "
        "that ends in a baseline",
        folder, folder);
    assert_int_equal(config_check_all(&search, &report), 2);
    assert_string_equal(report, expected);
    free(expected);
    free(report);
    folder_remove(folder);
}

/* One mistake of a variant is one line, however many models are tested under it. */
static void test_mistake_of_all_models(void **state)
{
    (void)state;
    char *folder = folder_make(), *report = NULL;
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    folder_write(folder, "variants/v.yaml",
                 "group: basic\noverrides: {schedule: {micro_batch_splits: 3}}\n");
    assert_int_equal(config_check_all(&search, &report), 1);
    assert_non_null(strstr(report, "variants/v.yaml:2:44: micro_batch_splits is 3; expected a "
                                   "divisor of micro_batch_size, which is 2048 "
                                   "(micro_batch_size: configs/base.yaml:61:21) (in gpt_2/v and "));
    assert_non_null(strstr(report, " other runs)"));
    free(report);
    folder_remove(folder);
}

/* What a variant or a parent deletes is missing there, not in the files around it. */
static void test_deleted(void **state)
{
    (void)state;
    char *folder = folder_make(), *report = NULL;
    struct config_search search = {(const char *const *)&folder, 1, NULL, 0};
    folder_write(folder, "one.yaml", "extends: llama\nbase_model: {hidden_size: ~}\n");
    folder_write(folder, "two.yaml", "extends: one\nbase_model: {decoder: {num_blocks: 2}}\n");
    folder_write(folder, "three.yaml", "extends: two\nbase_model: {hidden_size: 64}\n");
    folder_write(folder, "variants/v.yaml",
                 "group: basic\noverrides: {base_model: {embeddings: ~}}\n");
    assert_int_equal(config_check_all(&search, &report), 2);
    assert_non_null(strstr(report, "/variants/v.yaml:2:38: base_model.embeddings.vocab_size is "
                                   "missing; expected an integer (in gpt_2/v and "));
    assert_non_null(strstr(report, "/one.yaml:2:27: base_model.hidden_size is missing; expected "
                                   "an integer"));
    free(report);
    folder_remove(folder);
}

static void test_unreadable(void **state)
{
    (void)state;
    char *folder = folder_make();
    char *path = memory_format("%s/odd.yaml", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    char *expected = memory_format("%s: not a file", path);
    fails_in(folder, "odd", NULL, 0, STATUS_IO, expected);
    free(expected);
    free(path);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_not_causal),
        cmocka_unit_test(test_alias_bomb),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_names_and_folders),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_check_all),
        cmocka_unit_test(test_deleted),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_circle_of_references),
        cmocka_unit_test(test_mistake_of_all_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
