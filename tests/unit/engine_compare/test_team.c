/* Runs of several ranks: clean ones agree with one process, tensor by tensor, and nothing in their
 * programs is suspected; every ready fault of several ranks is found, and blame names an
 * instruction that was changed, on a rank where it was.
 *
 * The data and the initial weights are other ones in each run (the seed is printed). */
#include "engine/base/memory.h"
#include "engine/compare/team_blame.h"
#include "engine/program/faults.h"
#include "tests/unit/distributed_variants.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};

static int micro_batch_tokens(const char *name)
{
    struct status status = STATUS_NONE;
    struct config_search search = {directories, 1, NULL, 0};
    struct config *config = config_load(&search, name, &status);
    if (!config)
        fail_msg("%s: %s", name, status.text);
    int tokens = (int)config->data.micro_batch_size / 32; /* the step has 128 tokens, not 4096 */
    config_free(config);
    return tokens;
}

static struct config *load(const char *name, uint64_t seed)
{
    char data_seed[64], seed_text[64], tokens[64];
    snprintf(data_seed, sizeof(data_seed), "data.seed=%d", (int)(seed % 1000000));
    snprintf(seed_text, sizeof(seed_text), "distributed.seed=%d", (int)(seed / 1000000 % 1000000));
    snprintf(tokens, sizeof(tokens), "data.micro_batch_size=%d", micro_batch_tokens(name));
    const char *overrides[] = {
        "base_model.hidden_size=64",
        "base_model.embeddings.vocab_size=256",
        "base_model.decoder.block.mixer.heads=4",
        "base_model.decoder.block.mixer.head_size=16",
        "base_model.decoder.block.mlp.intermediate_size=128",
        "data.maximum_document_length=24",
        data_seed,
        seed_text,
        tokens,
        strncmp(name, "gpt_2", 5) == 0 ? "base_model.decoder.block.mixer.head_groups=4"
                                       : "base_model.decoder.block.mixer.head_groups=2",
    };
    struct config_search search = {directories, 1, overrides, ARRAY_LENGTH(overrides)};
    struct status status = STATUS_NONE;
    struct config *config = config_load(&search, name, &status);
    if (!config)
        fail_msg("%s: %s", name, status.text);
    return config;
}

/* The single-process run that a variant goes back to: "llama/df4". */
static char *reference_of(const char *name)
{
    struct config_search search = {directories, 1, NULL, 0};
    struct status status = STATUS_NONE;
    char *variant = memory_string(strchr(name, '/') + 1);
    for (;;) {
        struct variant_config *loaded = variant_load(&search, variant, &status);
        if (!loaded)
            fail_msg("%s: %s", variant, status.text);
        if (loaded->ranks <= 1) {
            variant_free(loaded);
            break;
        }
        free(variant);
        variant = memory_string(loaded->compares_with);
        variant_free(loaded);
    }
    char *full = memory_format("%.*s/%s", (int)strcspn(name, "/"), name, variant);
    free(variant);
    return full;
}

struct bench {
    struct config *test, *reference;
    struct tolerances *tolerances;
    struct device *device;
    struct comm *comm;
    struct team *team;
};

static void bench_close(struct bench *bench)
{
    team_free(bench->team);
    tolerances_free(bench->tolerances);
    comm_close(bench->comm);
    device_close(bench->device);
    config_free(bench->test);
    config_free(bench->reference);
}

/* False, with everything closed, where the fault changes nothing. */
static bool bench_try(struct bench *bench, const char *name, const char *fault, uint64_t seed)
{
    struct status status = STATUS_NONE;
    char *reference = reference_of(name);
    bench->test = load(name, seed);
    bench->reference = load(reference, seed);
    free(reference);
    bench->tolerances = tolerances_load(NULL, "layer_match", "cpu", &status);
    bench->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    bench->comm = comm_self();
    struct run_options run_options = {.plan = PLAN_KEEP};
    if (fault) {
        run_options.change = faults_change;
        run_options.change_context = (void *)(uintptr_t)fault;
    }
    struct world *world = world_create(bench->test, bench->device, &run_options, &status);
    struct team_options options = {.test = bench->test,
                                   .reference = bench->reference,
                                   .tolerances = bench->tolerances,
                                   .device = bench->device,
                                   .comm = bench->comm,
                                   .inner_values = true,
                                   .threads = 1};
    bench->team = world ? team_create(&options, world, &status) : NULL;
    if (bench->team)
        return true;
    if (!fault || (!strstr(status.text, "has that value already") &&
                   !strstr(status.text, "is gathered from other ranks") &&
                   !strstr(status.text, "computed by an earlier")))
        fail_msg("%s: %s", name, status.text);
    bench_close(bench);
    return false;
}

static void bench_open(struct bench *bench, const char *name, const char *fault, uint64_t seed)
{
    if (!bench_try(bench, name, fault, seed))
        fail_msg("%s: %s changes nothing", name, fault ? fault : "no fault");
}

/* The first thing that is not as it should be. */
struct finding {
    bool found;
    int rank, value;
    char text[1400];
};

static void look_at(const struct team *team, const struct team_event *event,
                    struct finding *finding)
{
    int value = event->pair.failed;
    if (event->kind == TEAM_FAILED) {
        *finding = (struct finding){.found = true, .rank = event->rank, .value = -1};
        snprintf(finding->text, sizeof(finding->text), "%s", event->text);
        return;
    }
    if (value < 0 && event->desynchronised_count > 0)
        value = team->tensors[event->desynchronised[0].tensor].values[event->rank];
    if (value < 0)
        return;
    *finding = (struct finding){.found = true, .rank = event->rank, .value = value};
    snprintf(finding->text, sizeof(finding->text), "step %d, rank %d, %s%s", event->pair.step + 1,
             event->rank, team->pairs[event->rank]->test->program->values[value].name,
             event->desynchronised_count > 0 ? " (ranks differ)" : "");
}

/* One instruction of one rank after the other, to the end or to the first finding. */
static struct finding run_to_finding(struct team *team)
{
    struct status status = STATUS_NONE;
    struct finding finding = {0};
    while (!finding.found && !team_ended(team)) {
        if (!team_allow_step(team, &status))
            fail_msg("%s", status.text);
        struct team_event event;
        bool got = true;
        while (got && !finding.found) {
            if (!team_next(team, 0, &event, &got, &status))
                fail_msg("%s", status.text);
            if (got)
                look_at(team, &event, &finding);
        }
    }
    return finding;
}

static int suspicions(struct team *team, const char *name)
{
    int count = 0;
    char text[300];
    for (int rank = 0; rank < team->world->size; rank++) {
        const struct program *program = team->pairs[rank]->test->program;
        for (int i = 0; i < program->instruction_count; i++) {
            struct suspect suspect = {.counterpart = -1};
            if (!team_check_layout(team, rank, i, &suspect) &&
                !team_check_structure(team, rank, i, &suspect) &&
                !team_check_collective(team, rank, i, &suspect))
                continue;
            print_message("%s rank %d: %s\n    %s\n", name, rank,
                          program_instruction_text(program, i, text, sizeof(text)), suspect.why);
            count++;
        }
    }
    return count;
}

static int try_clean(const char *name, uint64_t seed)
{
    struct bench bench;
    bench_open(&bench, name, NULL, seed);
    struct finding finding = run_to_finding(bench.team);
    if (finding.found)
        print_message("%-28s %s\n", name, finding.text);
    int wrong = finding.found + suspicions(bench.team, name);
    wrong += bench.team->totals.failed + (bench.team->totals.tensors < 100);
    bench_close(&bench);
    return wrong;
}

static void test_clean_runs_agree_and_raise_no_suspicion(void **state)
{
    (void)state;
    static const char *const names[] = {"llama/dp2",
                                        "llama/dp2_z3",
                                        "llama/dp2_z2_df4",
                                        "llama/sdp2",
                                        "llama/tp2",
                                        "llama/stp2",
                                        "llama/stp2_ce4",
                                        "llama/dp2_stp2",
                                        "llama/pp2s2_bf4",
                                        "llama/sdp2_stp2_pp2s2_ms4",
                                        "gpt_2/tp2",
                                        "gpt_2/pp2s1_bf4",
                                        "mixtral/tp2",
                                        "mixtral/stp2",
                                        "starcoder_2/sdp2_stp2",
                                        "llama/tp2_df4"};
    struct random random = random_start("clean runs");
    int wrong = 0;
    for (int i = 0; i < ARRAY_LENGTH(names); i++)
        wrong += try_clean(names[i], random_bits(&random) >> 1);
    assert_int_equal(wrong, 0);
}

static bool carries_fault(const struct team *team, int rank, int instruction)
{
    return instruction >= 0 &&
           team->pairs[rank]->test->program->instructions[instruction].fault != NULL;
}

static void report(const struct fault_ready *fault, const struct team *team,
                   const struct finding *finding, const struct suspect *guilty)
{
    char text[300] = "nobody";
    if (guilty->suspicion)
        program_instruction_text(team->pairs[guilty->rank]->test->program, guilty->instruction,
                                 text, sizeof(text));
    print_message("%-32s %s\n", fault->name, finding->found ? finding->text : "NOT FOUND");
    print_message("%34s blamed: rank %d, %s\n%34s %s\n", "", guilty->rank, text, "", guilty->why);
}

static bool has_any_fault(const struct team *team)
{
    for (int rank = 0; rank < team->world->size; rank++)
        if (faults_changed(team->pairs[rank]->test->program, NULL, 0) > 0)
            return true;
    return false;
}

enum outcome { BLAMED = 0, MISSED, NOT_THERE };

/* MISSED when the fault was not found, or another instruction was blamed; NOT_THERE when the run
 * has no such instruction. */
static enum outcome try_fault(const struct fault_ready *fault, const char *run, uint64_t seed)
{
    struct bench bench;
    struct status status = STATUS_NONE;
    if (!bench_try(&bench, run, fault->name, seed))
        return NOT_THERE;
    if (!has_any_fault(bench.team)) {
        bench_close(&bench);
        return NOT_THERE;
    }
    struct finding finding = run_to_finding(bench.team);
    struct team_blame blame = {0};
    if (finding.found && finding.value >= 0 &&
        !team_blame_walk(bench.team, finding.rank, finding.value, &blame, &status))
        fail_msg("%s: %s", fault->name, status.text);
    const struct suspect *guilty = &blame.guilty;
    bool right = guilty->suspicion && carries_fault(bench.team, guilty->rank, guilty->instruction);
    if (!right) {
        print_message("%s:\n", run);
        report(fault, bench.team, &finding, guilty);
    }
    team_blame_free(&blame);
    bench_close(&bench);
    return right ? BLAMED : MISSED;
}

static void test_every_fault_is_found_and_blamed(void **state)
{
    (void)state;
    struct random random = random_start("faults of several ranks");
    int count, missed = 0, tried = 0;
    const struct fault_ready *faults = faults_ready(&count);
    for (int i = 0; i < count; i++)
        if (fault_has_ranks(&faults[i])) {
            /* data may hide a fault: then it must show with other data */
            missed += try_fault(&faults[i], faults[i].run, random_bits(&random) >> 1) != BLAMED &&
                      try_fault(&faults[i], faults[i].run, random_bits(&random) >> 1) != BLAMED;
            tried++;
        }
    assert_true(tried >= 25);
    assert_int_equal(missed, 0);
}

/* Of micro-sequences the reference has no loss, only of all: a wrong loss changes nothing else. */
static void test_losses_of_micro_sequences_are_compared(void **state)
{
    static const struct {
        const char *run, *op;
    } cases[] = {{"llama/pp2s2_ms4", "cross_entropy"},
                 {"llama/sdp2_stp2_pp2s2_ms4", "cross_entropy_parallel"},
                 {"gpt_2/sdp2_stp2_pp2s2_ms4", "cross_entropy_parallel"}};
    struct random random = random_start("losses of micro-sequences");
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *spec =
            memory_format("scale:op=%s,ms=%d,factor=%g", cases[i].op,
                          (int)random_integer(&random, 0, 3), random_uniform(&random, 1.1, 3));
        const struct fault_ready fault = {.name = spec};
        /* all labels of the micro-sequence may be masked: then it must show with other data */
        if (try_fault(&fault, cases[i].run, random_bits(&random) >> 1) != BLAMED &&
            try_fault(&fault, cases[i].run, random_bits(&random) >> 1) != BLAMED)
            fail_msg("%s, %s: not found, or not blamed", cases[i].run, spec);
        free(spec);
    }
}

/* What a fault does there is too little: one of eight ranks' part of the norm. */
static bool is_out_of_sight(const struct fault_ready *fault, const char *variant)
{
    return strcmp(fault->name, "norm-counts-fewer") == 0 && strstr(variant, "stp2_pp2s2");
}

static void test_faults_of_other_layouts(void **state)
{
    static const char *const models[] = {"llama", "gpt_2", "mixtral"};
    struct random random = random_start("faults of other layouts");
    const char *asked = getenv("LOCKSTEP_TEST_COUNT");
    int wanted = asked ? atoi(asked) : 12, count, missed = 0;
    const struct fault_ready *faults = faults_ready(&count);
    (void)state;
    for (int tried = 0; tried < wanted;) {
        const struct fault_ready *fault = &faults[random_integer(&random, 0, count - 1)];
        const char *variant = distributed_variants[random_integer(
            &random, 0, ARRAY_LENGTH(distributed_variants) - 1)];
        char run[100];
        snprintf(run, sizeof(run), "%s/%s",
                 models[random_integer(&random, 0, ARRAY_LENGTH(models) - 1)], variant);
        if (!fault_has_ranks(fault) || is_out_of_sight(fault, variant))
            continue;
        enum outcome outcome = try_fault(fault, run, random_bits(&random) >> 1);
        missed += outcome == MISSED && try_fault(fault, run, random_bits(&random) >> 1) == MISSED;
        tried += outcome != NOT_THERE;
    }
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_runs_agree_and_raise_no_suspicion),
        cmocka_unit_test(test_every_fault_is_found_and_blamed),
        cmocka_unit_test(test_losses_of_micro_sequences_are_compared),
        cmocka_unit_test(test_faults_of_other_layouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
