#include "bench/synthetic.h"
#include "bench/synthetic_name.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/session/output.h"
#include "engine/session/pictures.h"
#include "engine/session/snapshot.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct made_up {
    struct synthetic what;
    struct debugger_sink sink;
    size_t at; /* in the bytes */
    uint64_t version;
    bool loaded;
    int next;
    pthread_t printing; /* the ranks: from "continue" to the end */
    bool prints;
    atomic_bool stop;
};

/* splitmix64, https://prng.di.unimi.it/splitmix64.c */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t number_of(const struct made_up *made, uint64_t index)
{
    return mix(made->what.seed * 0x100000001b3u ^ index);
}

/* In [0, 1); with bytes to be taken from, now and then something else. */
static double fraction_of(const struct made_up *made, uint64_t index)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0, 1e300, -1e-300, -1};
    uint64_t number = number_of(made, index);
    if (made->what.bytes && number % 8 == 0)
        return odd[number / 8 % 7];
    return (double)(number >> 11) * 0x1p-53;
}

/* The next text of the bytes: a length, and so many of them. */
static char *next_text(struct made_up *made, int64_t index)
{
    const struct synthetic *what = &made->what;
    if (!what->bytes)
        return synthetic_name(index);
    if (what->size == 0)
        return memory_string("");
    size_t length = what->bytes[made->at % what->size];
    length = length < 8 ? length * 300 : length % 64; /* some are very long */
    made->at = (made->at + 1) % what->size;
    size_t left = what->size - made->at;
    char *text =
        memory_string_part((const char *)what->bytes + made->at, length < left ? length : left);
    made->at = (made->at + length) % what->size;
    return text;
}

static int instruction_count(const struct made_up *made)
{
    return made->what.instructions ? made->what.instructions : made->what.tensors;
}

/* ---- pictures ---- */

static void fill_instruction(struct made_up *made, int index, struct picture_instruction *row)
{
    int values = made->what.tensors;
    bool hostile = made->what.bytes != NULL;
    *row = (struct picture_instruction){
        .text = next_text(made, index),
        .layer = hostile ? next_text(made, index) : memory_format("decoder.%d", index / 8 % 128),
        .part = hostile ? next_text(made, index) : memory_string("mlp.layer_2"),
        .source = hostile ? next_text(made, index) : memory_string("llama.yaml:31"),
        .fault = hostile && index % 3 == 0 ? next_text(made, index) : NULL,
        .op = op_name((enum op)(index % OP_COUNT)),
        .phase = (enum phase)(index / 100 % PHASE_COUNT),
        .micro_batch = index / 1024 % 4,
        .micro_batches = 4};
    row->outputs[0] = (int)((int64_t)index * values / instruction_count(made));
    row->output_count = values > 0;
    row->inputs[0] = row->outputs[0] > 0 ? row->outputs[0] - 1 : 0;
    row->input_count = values > 0;
}

static void fill_value(struct made_up *made, int index, struct picture_value *row)
{
    *row = (struct picture_value){
        .name = next_text(made, index),
        .what = (enum what)(index % 3),
        .dtype = (enum dtype)(index % 2),
        .shape = {.rank = 2, .dims = {64, 32}},
        .bytes = 8192,
        .producer = (int)((int64_t)index * instruction_count(made) / made->what.tensors),
        .named = true};
}

static struct program_picture *make_program(struct made_up *made)
{
    struct program_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->instruction_count = instruction_count(made);
    picture->value_count = made->what.tensors;
    picture->instructions =
        memory_zeroed((size_t)picture->instruction_count, sizeof(*picture->instructions));
    picture->values = memory_zeroed((size_t)picture->value_count, sizeof(*picture->values));
    for (int i = 0; i < picture->instruction_count; i++)
        fill_instruction(made, i, &picture->instructions[i]);
    for (int v = 0; v < picture->value_count; v++)
        fill_value(made, v, &picture->values[v]);
    return picture;
}

static enum picture_status status_of(const struct made_up *made, uint64_t index)
{
    uint64_t number = number_of(made, index) % 1000;
    return number < 2     ? MARK_NAN
           : number < 12  ? MARK_DIVERGED
           : number < 500 ? MARK_WITHIN
                          : MARK_SAME;
}

static void fill_result(const struct made_up *made, int v, struct picture_result *row)
{
    uint64_t seed = (uint64_t)v * 8;
    row->value = v;
    row->status = status_of(made, (uint64_t)v);
    row->worst = (float)(fraction_of(made, seed + 1) * (row->status > MARK_WITHIN ? 100 : 1));
    row->error = (float)(fraction_of(made, seed + 2) * 1e-3);
    row->measured = v % 4 != 3;
    row->sampled = v % 5 == 0;
    row->metrics.count = 2048;
    row->metrics.cosine = 1 - fraction_of(made, seed + 3) * 1e-3;
    row->metrics.rms_test = fraction_of(made, seed + 4);
    row->metrics.rms_reference = fraction_of(made, seed + 5);
    row->verdict.rms_relative = (double)row->error;
    row->verdict.max_relative = fraction_of(made, seed + 6);
    row->verdict.worst = (double)row->worst;
}

static struct state_picture *make_state(struct made_up *made, int step)
{
    struct state_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->instruction_count = instruction_count(made);
    picture->result_count = made->what.tensors;
    picture->step = step > 0 ? step : 0;
    picture->steps = 2;
    picture->next = made->next % (picture->instruction_count + 1);
    picture->first_value = picture->focus = made->what.tensors / 2 - 1;
    picture->has_reference = true;
    picture->instructions =
        memory_zeroed((size_t)picture->instruction_count, sizeof(*picture->instructions));
    picture->results = memory_zeroed((size_t)picture->result_count, sizeof(*picture->results));
    for (int i = 0; i < picture->instruction_count; i++)
        picture->instructions[i] =
            (struct picture_mark){.status = status_of(made, (uint64_t)i),
                                  .worst = (float)fraction_of(made, (uint64_t)i),
                                  .error = (float)(fraction_of(made, (uint64_t)i + 7) * 1e-3),
                                  .breakpoint = i % 50 == 49 ? 2 : 0,
                                  .number = i};
    for (int v = 0; v < picture->result_count; v++)
        fill_result(made, v, &picture->results[v]);
    return picture;
}

static double *make_numbers(const struct made_up *made, int count, uint64_t seed)
{
    double *numbers = memory_zeroed((size_t)count, sizeof(*numbers));
    for (int i = 0; i < count; i++)
        numbers[i] = fraction_of(made, seed + (uint64_t)i) - 0.5;
    return numbers;
}

static int64_t *make_bins(const struct made_up *made, int count, uint64_t seed)
{
    int64_t *bins = memory_zeroed((size_t)count, sizeof(*bins));
    for (int i = 0; i < count; i++)
        bins[i] = (int64_t)(number_of(made, seed + (uint64_t)i) % 1000);
    return bins;
}

static void fill_window(const struct made_up *made, const struct picture_request *request,
                        struct tensor_picture *picture)
{
    int64_t rows = picture->shape.dims[0], columns = picture->shape.dims[1];
    picture->planes = 1;
    picture->all_rows = rows;
    picture->all_columns = columns;
    picture->row = request->row < rows ? request->row : rows - 1;
    picture->column = request->column < columns ? request->column : columns - 1;
    int64_t left = rows - picture->row, wide = columns - picture->column;
    picture->rows = request->rows < left ? request->rows : (int)left;
    picture->columns = request->columns < wide ? request->columns : (int)wide;
    picture->test = make_numbers(made, picture->rows * picture->columns, 1);
    picture->reference = make_numbers(made, picture->rows * picture->columns, 2);
}

static void fill_heat(const struct made_up *made, const struct picture_request *request,
                      struct tensor_picture *picture)
{
    picture->heat_rows = request->heat_rows < 64 ? request->heat_rows : 64;
    picture->heat_columns = request->heat_columns < 32 ? request->heat_columns : 32;
    size_t cells = (size_t)(picture->heat_rows * picture->heat_columns);
    if (cells == 0)
        return;
    picture->heat_side = request->heat_side;
    picture->heat = memory_zeroed(cells, sizeof(*picture->heat));
    picture->heat_sign = memory_zeroed(cells, sizeof(*picture->heat_sign));
    for (size_t i = 0; i < cells; i++) {
        float cell = (float)fabs(fraction_of(made, i));
        picture->heat[i] = isfinite(cell) ? cell : NAN;
        picture->heat_sign[i] = (signed char)((int)(i % 3) - 1);
        if ((double)cell > picture->heat_most && isfinite(cell))
            picture->heat_most = (double)cell;
    }
}

static struct tensor_picture *make_tensor(struct made_up *made,
                                          const struct picture_request *request)
{
    struct tensor_picture *picture = memory_zeroed(1, sizeof(*picture));
    int value = request->value >= 0 ? request->value : made->what.tensors / 2 - 1;
    picture->value = value;
    picture->name = next_text(made, value);
    picture->producer = next_text(made, value);
    picture->guess = made->what.bytes ? next_text(made, value) : NULL;
    picture->shape = picture->whole = (struct shape){.rank = 2, .dims = {64, 32}};
    picture->stride = 1;
    picture->scale = 1;
    picture->compared = true;
    struct picture_result result = {0};
    fill_result(made, value > 0 ? value : 0, &result);
    picture->metrics = result.metrics;
    picture->verdict = result.verdict;
    fill_window(made, request, picture);
    fill_heat(made, request, picture);
    picture->bins = request->bins;
    picture->low = -0.5;
    picture->high = picture->difference_high = 0.5;
    picture->test_bins = make_bins(made, request->bins, 3);
    picture->reference_bins = make_bins(made, request->bins, 4);
    picture->difference_bins = make_bins(made, request->bins, 5);
    picture->worst_count = PICTURE_WORST;
    for (int i = 0; i < PICTURE_WORST; i++)
        picture->worst[i] = (struct worst_element){.index = i * 97 % 2048,
                                                   .reference = fraction_of(made, (uint64_t)i),
                                                   .test = fraction_of(made, (uint64_t)i + 99)};
    return picture;
}

static struct memory_picture *make_memory(struct made_up *made)
{
    struct memory_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->instruction_count = instruction_count(made);
    picture->next = made->next % (picture->instruction_count + 1);
    picture->peak = picture->instruction_count / 2;
    picture->point_count =
        picture->instruction_count < PICTURE_POINTS ? picture->instruction_count : PICTURE_POINTS;
    for (int i = 0; i < picture->point_count; i++) {
        picture->points[i] = (int)((int64_t)i * picture->instruction_count / picture->point_count);
        for (int k = 0; k < MEMORY_CLASS_COUNT; k++)
            picture->classes[i][k] = (int64_t)(number_of(made, (uint64_t)(i + k)) % 1000000);
    }
    picture->forecast = 123456789;
    snprintf(picture->device_name, sizeof(picture->device_name), "none");
    picture->owner_count = 20;
    picture->owners = memory_zeroed(20, sizeof(*picture->owners));
    for (int i = 0; i < 20; i++)
        picture->owners[i] = (struct memory_owner){.name = next_text(made, i),
                                                   .value = i % (made->what.tensors + 1) - 1,
                                                   .bytes = 1000000 - i,
                                                   .last = picture->instruction_count - 1};
    return picture;
}

static struct metrics_picture *make_metrics(const struct made_up *made)
{
    struct metrics_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->steps = picture->test_count = picture->reference_count = 10;
    picture->test = memory_zeroed(10, sizeof(*picture->test));
    picture->reference = memory_zeroed(10, sizeof(*picture->reference));
    for (int i = 0; i < 10; i++) {
        picture->test[i] = (struct step_report){.step = i + 1,
                                                .loss = fraction_of(made, (uint64_t)i),
                                                .gradient_norm = fraction_of(made, (uint64_t)i + 9),
                                                .learning_rate = 1e-3,
                                                .loss_scale = 65536};
        picture->reference[i] = picture->test[i];
    }
    return picture;
}

static struct ranks_picture *make_ranks(struct made_up *made)
{
    struct ranks_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->rank_count = made->what.ranks > 0 ? made->what.ranks : 4;
    picture->ranks = memory_zeroed((size_t)picture->rank_count, sizeof(*picture->ranks));
    for (int i = 0; i < picture->rank_count; i++) {
        struct rank_picture *rank = &picture->ranks[i];
        *rank = (struct rank_picture){
            .situation = (enum rank_situation)(number_of(made, (uint64_t)i) % SITUATION_COUNT),
            .next = made->next,
            .instructions = instruction_count(made),
            .text = next_text(made, i),
            .place = next_text(made, i),
            .exit_status = -1,
            .signal = -1,
            .pid = 1000 + i,
            .host = made->what.bytes ? next_text(made, i) : NULL,
            .reason = made->what.bytes ? next_text(made, i) : NULL,
            .memory_total = 1000000};
        rank->wait = (struct rank_wait){.operation = op_name(OP_MATMUL), .seconds = 1};
    }
    return picture;
}

static void take_output(struct made_up *made, struct picture *picture)
{
    struct status status = STATUS_NONE;
    picture->output = memory_zeroed(1, sizeof(*picture->output));
    if (made->sink.output &&
        rank_output_fetch(made->sink.output, &picture->request.output, picture->output, &status))
        return;
    free(picture->output);
    picture->output = NULL;
    picture->output_problem = memory_string(status.text);
}

static struct picture *take(void *state, const struct picture_request *request)
{
    struct made_up *made = state;
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    if (!made->loaded)
        return picture;
    picture->identity = 1;
    if (request->kind == PICTURE_PROGRAM)
        picture->program = make_program(made);
    else if (request->kind == PICTURE_STATE)
        picture->state = make_state(made, request->step);
    else if (request->kind == PICTURE_TENSOR)
        picture->tensor = make_tensor(made, request);
    else if (request->kind == PICTURE_MEMORY)
        picture->memory = make_memory(made);
    else if (request->kind == PICTURE_METRICS)
        picture->metrics = make_metrics(made);
    else if (request->kind == PICTURE_RANKS)
        picture->ranks = make_ranks(made);
    else if (request->kind == PICTURE_OUTPUT)
        take_output(made, picture);
    return picture;
}

/* ---- commands ---- */

static void publish(struct made_up *made, enum run_state state)
{
    bool hostile = made->what.bytes != NULL;
    struct snapshot facts = {.version = ++made->version, .state = state};
    if (made->loaded) {
        facts.run = hostile ? next_text(made, 0) : memory_string("made-up/run");
        facts.reference = hostile ? next_text(made, 1) : memory_string("made-up/reference");
        facts.place = next_text(made, made->next);
        facts.stop_reason = hostile ? next_text(made, 2) : memory_string("divergence");
        facts.steps = 2;
        facts.next = made->next;
        facts.instructions = instruction_count(made);
        facts.compared = made->what.tensors;
        facts.memory_live = 100000000;
        facts.memory_planned = 200000000;
    }
    made->sink.publish(made->sink.context, snapshot_of(&facts));
}

static void start(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    struct made_up *made = state;
    (void)options;
    made->sink = *sink;
    publish(made, RUN_NONE);
}

static void say(struct made_up *made, enum event_kind kind, const char *fallback)
{
    char *text = made->what.bytes ? next_text(made, 0) : memory_string(fallback);
    made->sink.emit(made->sink.context, kind, text);
    free(text);
}

/* ---- ranks that print ---- */

/* All ranks print in turns, each as many lines as are due. */
static void *print(void *context)
{
    enum { BLOCK = 100 };
    struct made_up *made = context;
    struct text block = {0};
    struct timespec pause = {.tv_nsec = 1000000};
    int64_t begun = clock_nanoseconds(), printed = 0;
    for (int i = 0; i < BLOCK; i++)
        text_format(&block, "step %d: loss 3.14159 gradient norm 1.4142, made up\n", i);
    while (!atomic_load(&made->stop)) {
        int64_t now = clock_nanoseconds();
        int64_t due = (int64_t)((double)(now - begun) * 1e-9 * made->what.lines);
        for (; printed + BLOCK <= due && !atomic_load(&made->stop); printed += BLOCK)
            for (int rank = 0; rank < made->what.ranks; rank++)
                rank_output_append(made->sink.output, rank, RANK_STDOUT, block.data, block.length,
                                   now);
        nanosleep(&pause, NULL);
    }
    text_free(&block);
    return NULL;
}

static void keep_going(struct made_up *made)
{
    if (made->what.ranks > 0 && !made->prints)
        made->prints = pthread_create(&made->printing, NULL, print, made) == 0;
    for (int i = 0; made->what.bytes && made->sink.output && i < 8; i++) {
        char *text = next_text(made, i);
        rank_output_append(made->sink.output, i % 3, (enum rank_stream)(i % RANK_STREAM_COUNT),
                           text, strlen(text), i);
        free(text);
    }
    made->sink.emit(made->sink.context, EVENT_RUNNING, NULL);
    publish(made, RUN_RUNNING);
    publish(made, RUN_STOPPED);
    say(made, EVENT_STOPPED, "divergence");
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct made_up *made = state;
    *quit = strcmp(line, "quit") == 0;
    made->next++;
    if (strncmp(line, "fail", 4) == 0) {
        char *text = next_text(made, 0);
        status_fail(status, STATUS_INVALID, "%s", text);
        free(text);
        return false;
    }
    if (strncmp(line, "file", 4) == 0) {
        made->loaded = true;
        made->next = 0;
        publish(made, RUN_STOPPED);
    } else if (strcmp(line, "continue") == 0) {
        keep_going(made);
    } else if (strncmp(line, "stop", 4) != 0) {
        say(made, EVENT_OUTPUT, "done");
        say(made, EVENT_MESSAGE, "by the way");
        publish(made, made->loaded ? RUN_STOPPED : RUN_NONE);
    }
    return true;
}

static void end(void *state)
{
    struct made_up *made = state;
    atomic_store(&made->stop, true);
    if (made->prints)
        pthread_join(made->printing, NULL);
    free(made);
}

struct session_engine synthetic_engine(const struct synthetic *what)
{
    struct made_up *made = memory_zeroed(1, sizeof(*made));
    made->what = *what;
    return (struct session_engine){
        .state = made, .start = start, .execute = execute, .picture = take, .free = end};
}
