/* Specifications of faults: what they change, what they refuse, and that a changed program is
 * still a program that can be planned and run. */
/* link: lockstep_engine_train */
#include "engine/base/memory.h"
#include "engine/program/edit.h"
#include "engine/program/executor.h"
#include "engine/program/faults.h"
#include "engine/program/rules.h"
#include "engine/train/run.h"
#include "engine/train/schedule.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct program *compile(const char *name)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config(name);
    struct program *program = schedule_compile(config, &status);
    if (!program)
        fail_msg("%s", status.text);
    /* instructions borrow file names of the configuration, which is not looked at here */
    config_free(config);
    return program;
}

/* Each value is written once, before it is read, by the instruction that it names; names lead to
 * the values that bear them; operands fit. */
static void check_consistency(const struct program *program)
{
    struct status status = STATUS_NONE;
    unsigned char *written = memory_zeroed((size_t)program->value_count, 1);
    for (int i = 0; i < program->instruction_count; i++) {
        const struct instruction *in = &program->instructions[i];
        struct op_call call;
        program_call(program, i, &call);
        if (!rules_check(&call, &status))
            fail_msg("instruction %d: %s", i, status.text);
        for (int k = 0; k < in->input_count; k++)
            assert_true(program->values[in->inputs[k]].kind != VALUE_COMPUTED ||
                        written[in->inputs[k]]);
        for (int k = 0; k < in->output_count; k++) {
            assert_int_equal(program->values[in->outputs[k]].producer, i);
            assert_false(written[in->outputs[k]]);
            written[in->outputs[k]] = 1;
        }
    }
    for (int i = 0; i < program->by_name.count; i++) {
        int value = program->by_name.values[i];
        assert_true(program->values[value].name[0] != 0);
        assert_true(program->values[value].kind != VALUE_COMPUTED || written[value]);
    }
    for (int i = 0; i < program->outputs.loss_count; i++)
        assert_true(written[program->outputs.losses[i]]);
    for (int p = 0; p < program->parameter_count; p++)
        if (program->parameters[p].gradient >= 0)
            assert_string_equal(program->values[program->parameters[p].gradient].path,
                                program->values[program->parameters[p].value].path);
    free(written);
}

static void run_faulty(const char *name, const char *spec, enum plan_mode mode)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config(name);
    struct device *device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    struct comm *comm = comm_self();
    struct run_options options = {
        .plan = mode, .change = faults_change, .change_context = (void *)(uintptr_t)spec};
    struct run *run = run_create(config, device, comm, &options, &status);
    while (run && !run_ended(run))
        if (!run_one(run, &status))
            break;
    if (!run || !run_ended(run))
        fail_msg("%s with %s: %s", name, spec, status.text);
    check_consistency(run->program);
    run_free(run);
    comm_close(comm);
    device_close(device);
    config_free(config);
}

/* In the model that a fault is for, and in 16 bit where that has a variant of its own. */
static void test_faulty_programs_run(void **state)
{
    int count;
    const struct fault_ready *faults = faults_ready(&count);
    (void)state;
    for (int i = 0; i < count; i++) {
        char half[64];
        if (fault_has_ranks(&faults[i]))
            continue; /* engine_compare/test_team.c */
        run_faulty(faults[i].run, faults[i].name, PLAN_REUSE);
        snprintf(half, sizeof(half), "%s/%s", faults[i].run, i % 2 ? "fp16" : "bf16");
        if (!strchr(faults[i].run, '/') && !strstr(faults[i].spec, "dtype=bf16"))
            run_faulty(half, faults[i].name, PLAN_KEEP);
    }
}

/* Actions and operands that no ready fault uses. */
static void test_other_actions_run(void **state)
{
    static const char *const specs[] = {
        "repeat:op=adamw,part=decoder.0.mlp.layer_1.weight",
        "repeat:op=rms_norm,layer=decoder.1+repeat:op=rotary,mb=0+repeat:op=add,phase=forward",
        "repeat:op=sum_squares",
        "scale:op=matmul,phase=forward,input=0,factor=1e+1",
        "cast:op=attention,input=1,dtype=f16",
        "cast:op=attention_gradient,output=1",
        "drop:op=adamw",
        "drop:op=rms_norm",
        "drop:op=embedding+drop:op=embedding_gradient",
        "shift:op=embedding,by=2",
        "shift:op=attention,input=2,by=-3",
        "drop:op=cross_entropy,input=1",
        "shift:op=rms_norm,input=1,by=-1",
        "stale:op=attention,mb=3,input=1",
        "stale:op=rms_norm,phase=forward",
        "swap:op=add,layer=decoder.0,part=mixer,phase=forward",
        ("swap:op=matmul,part=mixer.dense,layer=decoder.1,phase=forward,input=1,"
         "with=decoder.0.mixer.dense.weight"),
        "swap:op=adamw,param=epsilon,with=decay",
        "set:op=gated_activation,param=activation,value=relu",
        "scale:name=gradient decoder.0.mlp.layer_1.weight,factor=-1",
        "dropped-micro-batch+labels-shifted+stale-weights",
    };
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(specs); i++)
        run_faulty("llama/bf4", specs[i], i % 2 ? PLAN_KEEP : PLAN_REUSE);
}

static void check_refused(const char *spec, enum status_code code, const char *words)
{
    struct status status = STATUS_NONE;
    struct program *program = compile("llama/bf4");
    assert_false(faults_apply(program, spec, &status));
    if (!strstr(status.text, words))
        fail_msg("%s: \"%s\" does not say \"%s\"", spec, status.text, words);
    assert_int_equal(status.code, code);
    program_free(program);
}

static void test_mistakes_are_explained(void **state)
{
    (void)state;
    check_refused("dorp:op=add", STATUS_INVALID, "did you mean drop?");
    check_refused("", STATUS_INVALID, "drop, repeat, scale, shift, stale, swap, cast, set");
    check_refused("drop", STATUS_INVALID, "needs op=KIND or name=TENSOR");
    check_refused("drop:layer=decoder.0", STATUS_INVALID, "needs op=KIND or name=TENSOR");
    check_refused("drop:op", STATUS_INVALID, "expected key=value");
    check_refused("drop:op=add,op=copy", STATUS_INVALID, "op is given twice");
    check_refused("drop:op=add,factor=2", STATUS_INVALID, "unknown key \"factor\": drop has");
    check_refused("drop:op=norm", STATUS_NOT_FOUND, "rms_norm");
    check_refused("drop:op=rms_norm,layer=decoder.7", STATUS_NOT_FOUND,
                  "layers there: decoder.0, decoder.1, head");
    check_refused("drop:op=rms_norm,layer=head,part=norm_1", STATUS_NOT_FOUND,
                  "parts there: final_norm");
    check_refused("drop:op=rms_norm,mb=4", STATUS_NOT_FOUND, "micro-batches there: 0, 1, 2, 3");
    check_refused("drop:op=rms_norm,nth=99", STATUS_NOT_FOUND, "there are 20");
    check_refused("drop:op=rms_norm,nth=x", STATUS_INVALID, "not a number");
    check_refused("scale:op=rms_norm,factor=nan", STATUS_INVALID, "not a number");
    check_refused("scale:op=rms_norm,output=2", STATUS_INVALID, "output=2: rms_norm has 2");
    check_refused("scale:op=embedding,input=0", STATUS_INVALID, "integers");
    check_refused("drop:op=cross_entropy,input=1,value=7", STATUS_INVALID, "must be 0");
    check_refused("cast:op=rms_norm,dtype=f32", STATUS_INVALID, "is f32 already");
    check_refused("cast:op=rms_norm,dtype=i32", STATUS_INVALID, "expected bf16");
    check_refused("repeat:op=matmul", STATUS_INVALID, "does not fit matmul");
    check_refused("shift:op=rms_norm", STATUS_INVALID, "needs input=N or param=KEY");
    check_refused("shift:op=slice_rows,by=9", STATUS_INVALID, "rows outside of the tensor");
    check_refused("swap:op=matmul,part=mixer.query,phase=forward", STATUS_INVALID, "differ in");
    check_refused("swap:op=matmul,phase=forward,part=mixer.query,input=1,with=nothing.weight",
                  STATUS_NOT_FOUND, "no such parameter");
    check_refused("stale:op=cross_entropy,mb=0", STATUS_INVALID, "no operand is a weight");
    check_refused("set:op=attention,param=windw,value=1", STATUS_INVALID, "window");
    check_refused("set:op=attention,param=causal,value=2", STATUS_INVALID, "expected 0 or 1");
    check_refused("set:op=attention,param=causal,value=1", STATUS_INVALID, "already");
    check_refused("set:op=gated_activation,param=activation,value=tanh", STATUS_INVALID, "silu");
    check_refused("set:op=attention,param=head_groups,value=3", STATUS_INVALID, "head groups");
}

/* Any text is either applied or refused; a program that it was applied to is consistent. */
static void test_random_specifications(void **state)
{
    static const char *const words[] = {
        "drop:",      "repeat:",   "scale:",    "shift:",      "stale:",
        "swap:",      "cast:",     "set:",      "op=",         "layer=",
        "phase=",     "mb=",       "nth=",      "input=",      "output=",
        "by=",        "param=",    "with=",     "value=",      "factor=",
        "dtype=",     "forward",   "backward",  "0",           "1",
        "2",          "-1",        "half",      "decoder.",    "add",
        "matmul",     "rms_norm",  "rotary",    "adamw",       "bf16",
        "f16",        "factor",    "epsilon",   ",",           ",",
        ",",          ",",         "+",         "=",           "copy",
        "accumulate", "attention", "embedding", "sum_squares", "cross_entropy",
        "first_row",
    };
    struct random random = random_start("random specifications");
    int applied = 0;
    (void)state;
    for (int i = 0; i < 300; i++) {
        char spec[512] = "";
        int64_t op = random_integer(&random, 29, 33);
        strcat(spec, words[random_integer(&random, 0, 7)]);
        strcat(strcat(spec, "op="), words[op]);
        int64_t more = random_integer(&random, 0, 8);
        for (int64_t k = 0; k < more; k++)
            strcat(spec, words[random_integer(&random, 0, ARRAY_LENGTH(words) - 1)]);
        struct status status = STATUS_NONE;
        struct program *program = compile(i % 2 ? "llama/bf4" : "gpt_2/bf16");
        if (faults_apply(program, spec, &status)) {
            applied++;
            check_consistency(program);
            assert_true(faults_changed(program, NULL, 0) > 0);
        } else {
            assert_true(status.code == STATUS_INVALID || status.code == STATUS_NOT_FOUND);
        }
        program_free(program);
    }
    assert_in_range(applied, 5, 299);
}

static void test_insertion_keeps_the_program(void **state)
{
    struct random random = random_start("insertion");
    struct program *program = compile("gpt_2/df4");
    int changed[64];
    (void)state;
    int total = program->instruction_count;
    int gradient = program_find(program, "gradient decoder.1.mlp.layer_2.weight");
    for (int n = 0; n < 40; n++) {
        int at = (int)random_integer(&random, 0, program->instruction_count - 1);
        const struct instruction *in = &program->instructions[at];
        int value = in->output_count ? in->outputs[0] : -1;
        if (value < 0 || program->values[value].dtype != DTYPE_F32)
            continue;
        int heir = program_add_value_like(program, value, DTYPE_F32);
        struct instruction copy = {.op = OP_COPY,
                                   .inputs = {value},
                                   .input_count = 1,
                                   .outputs = {heir},
                                   .output_count = 1,
                                   .origin = in->origin,
                                   .fault = "test"};
        assert_int_equal(program_insert_instruction(program, at + 1, &copy), at + 1);
        program_take_over(program, value, heir);
        assert_string_equal(program->values[value].name, "");
        total++;
        check_consistency(program);
    }
    assert_int_equal(program->instruction_count, total);
    assert_true(faults_changed(program, changed, 64) > 10);
    assert_int_equal(program->instructions[changed[0]].op, OP_COPY);
    int after = program_find(program, "gradient decoder.1.mlp.layer_2.weight");
    assert_string_equal(program->values[after].name, "gradient decoder.1.mlp.layer_2.weight");
    assert_true(program->values[after].log_point);
    assert_true(after == gradient || program->values[gradient].name[0] == 0);
    program_free(program);
}

static void test_documentation_lists_all(void **state)
{
    static char text[1 << 16];
    int count;
    const struct fault_ready *faults = faults_ready(&count);
    (void)state;
    FILE *file = fopen(LOCKSTEP_SOURCE_DIR "/docs/faults.md", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = 0;
    fclose(file);
    for (int i = 0; i < count; i++) {
        assert_ptr_equal(faults_find(faults[i].name), &faults[i]);
        char row[600];
        snprintf(row, sizeof(row), "| `%s` | %s | `%s` | %s |", faults[i].name, faults[i].imitates,
                 faults[i].run, faults[i].needs);
        if (!strstr(text, row) || !strstr(text, faults[i].spec))
            fail_msg("docs/faults.md lacks: %s", row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes_are_explained),
        cmocka_unit_test(test_insertion_keeps_the_program),
        cmocka_unit_test(test_random_specifications),
        cmocka_unit_test(test_faulty_programs_run),
        cmocka_unit_test(test_other_actions_run),
        cmocka_unit_test(test_documentation_lists_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
