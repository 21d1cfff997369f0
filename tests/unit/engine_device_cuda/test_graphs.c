/* What is captured and launched again gives the bits of the same calls one by one: whatever changes
 * between two rounds, and wherever the host looks. */
/* link: lockstep_engine_train */
#include "engine/base/memory.h"
#include "engine/train/run.h"
#include "helper_module.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <string.h>

static void must(bool ok, const struct status *status)
{
    if (!ok)
        fail_msg("%s", status->text);
}

static struct device *open_device(bool graphs)
{
    struct status status = STATUS_NONE;
    setenv("LOCKSTEP_CUDA_GRAPHS", graphs ? "1" : "0", 1);
    struct device *device = device_open("cuda", NULL, &status);
    unsetenv("LOCKSTEP_CUDA_GRAPHS");
    must(device != NULL, &status);
    return device;
}

/* ---- steps of models ---- */

/* The same training twice, side by side: with graphs and without. */
struct twins {
    struct device *devices[2];
    struct run *runs[2];
    struct comm *comm;
    struct config *config;
    size_t graphs, launches; /* by the first of them, in the step */
    struct slot *slots[2];   /* [instructions], device memory; NULL: nothing is looked at there */
};

/* What the device itself finds out about an output, without anybody waiting. */
struct slot {
    struct device_statistics statistics;
    struct device_sums sums;
    float samples[16];
};

static size_t slots_bytes(const struct twins *twins)
{
    return (size_t)twins->runs[0]->program->instruction_count * sizeof(struct slot);
}

static void open_slots(struct twins *twins)
{
    struct status status = STATUS_NONE;
    void *zeros = memory_zeroed(slots_bytes(twins), 1);
    for (int i = 0; i < 2; i++) {
        void *memory = NULL;
        must(device_allocate(twins->devices[i], MEMORY_WORKSPACE, slots_bytes(twins), &memory,
                             &status) &&
                 device_upload(twins->devices[i], memory, zeros, slots_bytes(twins), &status),
             &status);
        twins->slots[i] = memory;
    }
    free(zeros);
}

static void compare_slots(const struct twins *twins)
{
    struct status status = STATUS_NONE;
    void *found[2];
    for (int i = 0; i < 2; i++) {
        found[i] = memory_zeroed(slots_bytes(twins), 1);
        must(device_download(twins->devices[i], found[i], twins->slots[i], slots_bytes(twins),
                             &status),
             &status);
    }
    assert_memory_equal(found[0], found[1], slots_bytes(twins));
    free(found[0]);
    free(found[1]);
}

/* The output that instruction `done` has just written: against itself, times what is another number
 * from the third step on. */
static void look_there(const struct twins *twins, int i, int done)
{
    struct status status = STATUS_NONE;
    const struct run *run = twins->runs[i];
    const struct instruction *in = &run->program->instructions[done];
    if (!twins->slots[i] || in->output_count == 0)
        return;
    struct tensor output = executor_tensor(run->executor, in->outputs[0]);
    struct slot *slot = &twins->slots[i][done];
    int64_t count = shape_elements(output.shape);
    if (output.dtype != DTYPE_F32)
        return;
    must(device_sample(twins->devices[i], &output, 1, count < 16 ? count : 16, slot->samples,
                       &slot->statistics, &status) &&
             device_compare(twins->devices[i], &output, &output, 1 + run->step / 2, &slot->sums,
                            &status),
         &status);
}

static void open_twins(struct twins *twins, const char *name)
{
    static const char *const overrides[] = {"data.micro_batch_size=64",
                                            "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48",
                                            "training.train_iters=4",
                                            "optimizer.learning_rate.warmup_iterations=4",
                                            "optimizer.gradient_scaler.window=2"};
    struct status status = STATUS_NONE;
    *twins = (struct twins){.comm = comm_self(),
                            .config = load_config(name, overrides, ARRAY_LENGTH(overrides))};
    for (int i = 0; i < 2; i++) {
        twins->devices[i] = open_device(i == 0);
        twins->runs[i] = run_create(twins->config, twins->devices[i], twins->comm,
                                    &(struct run_options){0}, &status);
        must(twins->runs[i] != NULL, &status);
    }
}

static void close_twins(struct twins *twins)
{
    size_t bytes = slots_bytes(twins);
    for (int i = 0; i < 2; i++) {
        device_release(twins->devices[i], MEMORY_WORKSPACE, twins->slots[i], bytes);
        run_free(twins->runs[i]);
        device_close(twins->devices[i]);
    }
    comm_close(twins->comm);
    config_free(twins->config);
}

static void compare_value(struct twins *twins, int value)
{
    struct status status = STATUS_NONE;
    const struct value *what = &twins->runs[0]->program->values[value];
    void *data[2];
    for (int i = 0; i < 2; i++) {
        data[i] = memory_zeroed(value_bytes(what), 1);
        must(executor_read(twins->runs[i]->executor, value, data[i], &status), &status);
    }
    if (memcmp(data[0], data[1], value_bytes(what)) != 0)
        fail_msg("step %d, instruction %d: %s is not the same", twins->runs[0]->step,
                 run_next(twins->runs[0]), what->name);
    free(data[0]);
    free(data[1]);
}

/* One instruction of both, then a look at an output of it with a chance of one in `stops`. */
static void run_both(struct twins *twins, int stops, struct random *random)
{
    struct status status = STATUS_NONE;
    for (int i = 0; i < 2; i++) {
        size_t graphs = module_count("emulator_graphs"),
               launches = module_count("emulator_launches");
        must(run_one(twins->runs[i], &status), &status);
        look_there(twins, i, run_next(twins->runs[i]) - 1);
        if (i == 0) {
            twins->graphs += module_count("emulator_graphs") - graphs;
            twins->launches += module_count("emulator_launches") - launches;
        } else if (graphs != module_count("emulator_graphs")) {
            fail_msg("graphs although they are switched off");
        }
    }
    const struct run *run = twins->runs[0];
    const struct instruction *done = &run->program->instructions[run_next(run) - 1];
    if (stops && done->output_count && random_integer(random, 1, stops) == 1 &&
        executor_holds(run->executor, done->outputs[0]))
        compare_value(twins, done->outputs[0]);
}

static void compare_states(struct twins *twins)
{
    const struct program *program = twins->runs[0]->program;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].kind == VALUE_STATE)
            compare_value(twins, v);
}

static bool runs_step(const struct run *run)
{
    return run_next(run) < run->program->instruction_count;
}

static void check_training(const char *name, int stops, bool looks, struct random *random)
{
    struct twins twins;
    open_twins(&twins, name);
    if (looks)
        open_slots(&twins);
    int instructions = twins.runs[0]->program->instruction_count;
    for (int step = 0; step < twins.runs[0]->steps; step++) {
        twins.graphs = twins.launches = 0;
        do
            run_both(&twins, stops, random);
        while (runs_step(twins.runs[0]));
        compare_states(&twins);
        if (looks)
            compare_slots(&twins);
        /* The first time they run, the second time they are captured. */
        if (module_is_emulated() && !stops && step > 0 && !(looks && step == 2)) {
            assert_true(twins.graphs >= (size_t)(instructions / 64) && twins.graphs > 0);
            assert_true(twins.launches < (size_t)instructions / 8);
        }
    }
    const struct step_report *reports = twins.runs[0]->reports;
    assert_true(reports[1].learning_rate != reports[2].learning_rate &&
                reports[2].learning_rate != reports[3].learning_rate);
    assert_true(!strstr(name, "fp16") || reports[0].loss_scale != reports[3].loss_scale);
    close_twins(&twins);
}

static void test_training(void **state)
{
    static const char *const names[] = {"llama/simple", "llama/bf16", "llama/fp16"};
    static const char *const stopped[] = {"llama/fp16", "llama/ms4", "mixtral/simple"};
    struct random random = random_start("training");
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(names); i++)
        check_training(names[i], 0, false, &random);
    const char *name = stopped[random_integer(&random, 0, ARRAY_LENGTH(stopped) - 1)];
    check_training(name, (int)random_integer(&random, 4, 60), random_integer(&random, 0, 1),
                   &random);
    check_training("llama/simple", 0, true, &random);
}

/* ---- any calls ---- */

enum { BUFFERS = 5, ELEMENTS = 40, MOST_CALLS = 150 };

struct machine {
    struct device *device;
    void *buffers[BUFFERS];
};

static void open_machine(struct machine *machine, bool graphs)
{
    struct status status = STATUS_NONE;
    float zeros[ELEMENTS] = {0};
    machine->device = open_device(graphs);
    for (int b = 0; b < BUFFERS; b++) {
        must(device_allocate(machine->device, MEMORY_INPUTS, sizeof(zeros), &machine->buffers[b],
                             &status),
             &status);
        must(device_upload(machine->device, machine->buffers[b], zeros, sizeof(zeros), &status),
             &status);
    }
}

static void close_machine(struct machine *machine)
{
    for (int b = 0; b < BUFFERS; b++)
        device_release(machine->device, MEMORY_INPUTS, machine->buffers[b],
                       ELEMENTS * sizeof(float));
    device_close(machine->device);
}

/* A call that is not bound to a machine. */
struct note {
    enum op op;
    int from, also, to;
    int64_t elements;
    double factor;
};

static struct note random_note(struct random *random)
{
    static const enum op ops[] = {OP_FILL, OP_SCALE, OP_COPY, OP_ADD};
    struct note note = {.op = ops[random_integer(random, 0, 3)],
                        .to = (int)random_integer(random, 0, BUFFERS - 1),
                        .elements = random_integer(random, 1, ELEMENTS),
                        .factor = random_uniform(random, -1, 1)};
    note.from = (note.to + (int)random_integer(random, 1, BUFFERS - 1)) % BUFFERS;
    note.also = (note.to + (int)random_integer(random, 1, BUFFERS - 1)) % BUFFERS;
    return note;
}

/* All of it, or one thing about it. */
static void change(struct note *note, struct random *random)
{
    struct note other = random_note(random);
    int64_t what = random_integer(random, 0, 2);
    if (what == 0)
        *note = other;
    else if (what == 1)
        note->factor = other.factor;
    else
        note->elements = other.elements;
}

static void play(struct machine *machine, const struct note *note)
{
    struct status status = STATUS_NONE;
    struct shape shape = shape_of1(note->elements);
    struct op_call call = {.op = note->op, .output_count = 1};
    call.input_count = note->op == OP_ADD ? 2 : note->op == OP_FILL ? 0 : 1;
    call.parameters.value = note->op == OP_FILL ? note->factor : 0;
    call.parameters.factor = note->op == OP_SCALE ? note->factor : 0;
    call.inputs[0] = tensor_of(machine->buffers[note->from], DTYPE_F32, shape);
    call.inputs[1] = tensor_of(machine->buffers[note->also], DTYPE_F32, shape);
    call.outputs[0] = tensor_of(machine->buffers[note->to], DTYPE_F32, shape);
    must(device_run(machine->device, &call, &status), &status);
}

/* What a host does between calls, the same with both machines. */
static void disturb(struct machine machines[2], struct random *random)
{
    struct status status = STATUS_NONE;
    int buffer = (int)random_integer(random, 0, BUFFERS - 1);
    int64_t what = random_integer(random, 0, 3);
    float numbers[2][ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++)
        numbers[0][i] = (float)random_normal(random);
    for (int m = 0; m < 2; m++) {
        struct machine *machine = &machines[m];
        if (what == 0)
            must(device_upload(machine->device, machine->buffers[buffer], numbers[0],
                               sizeof(numbers[0]), &status),
                 &status);
        else if (what == 1)
            must(device_synchronize(machine->device, &status), &status);
        else
            must(device_download(machine->device, numbers[m], machine->buffers[buffer],
                                 sizeof(numbers[m]), &status),
                 &status);
    }
    assert_true(what < 2 || memcmp(numbers[0], numbers[1], sizeof(numbers[0])) == 0);
}

static void play_round(struct machine machines[2], const struct note *notes, int count,
                       int disturbances, struct random *random)
{
    for (int i = 0; i < count; i++) {
        for (int m = 0; m < 2; m++)
            play(&machines[m], &notes[i]);
        if (random_integer(random, 0, count) < disturbances)
            disturb(machines, random);
    }
    disturb(machines, random);
}

/* A row of calls, again and again, from time to time with another one in it. */
static void test_any_calls(void **state)
{
    struct random random = random_start("any calls");
    (void)state;
    for (int song = 0; song < 40; song++) {
        struct machine machines[2];
        struct note notes[MOST_CALLS];
        int count = (int)random_integer(&random, 1, MOST_CALLS);
        int disturbances = (int)random_integer(&random, 0, 2);
        for (int i = 0; i < count; i++)
            notes[i] = random_note(&random);
        for (int m = 0; m < 2; m++)
            open_machine(&machines[m], m == 0);
        for (int round = 0; round < 8; round++) {
            if (random_integer(&random, 0, 3) == 0)
                change(&notes[random_integer(&random, 0, count - 1)], &random);
            play_round(machines, notes, count, disturbances, &random);
        }
        for (int m = 0; m < 2; m++)
            close_machine(&machines[m]);
    }
}

/* An operation that dies within a graph is one of those that were asked for since the last wait;
 * and the device works again when it was opened anew. */
static void test_lost(void **state)
{
    enum { CALLS = 8, ROUNDS = 3 };
    const struct note note = {.op = OP_FILL, .elements = ELEMENTS, .factor = 1};
    (void)state;
    if (!module_is_emulated())
        skip();
    for (int opened = 0; opened < 2; opened++) {
        struct status status = STATUS_NONE;
        struct machine machine;
        open_machine(&machine, true);
        size_t graphs = module_count("emulator_graphs");
        if (opened == 0)
            setenv("LOCKSTEP_EMULATED_FAILURE", "21", 1);
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < CALLS; i++)
                play(&machine, &note);
            assert_int_equal(device_synchronize(machine.device, &status),
                             opened || round < ROUNDS - 1);
        }
        unsetenv("LOCKSTEP_EMULATED_FAILURE");
        assert_int_equal(module_count("emulator_graphs") - graphs, 2);
        assert_int_equal(device_lost(machine.device), !opened);
        assert_false(device_lost_by_last(machine.device));
        assert_true(opened || strstr(status.text, "one of the last 8 operations (..., fill"));
        close_machine(&machine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_training),
                                       cmocka_unit_test(test_any_calls),
                                       cmocka_unit_test(test_lost)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
