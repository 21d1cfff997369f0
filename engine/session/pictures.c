#include "engine/session/pictures.h"

#include "engine/base/memory.h"
#include "engine/session/debugger.h"
#include "engine/session/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the program ---- */

/* program_instruction_text() begins with the number, which screens show by themselves. */
static char *text_without_number(const struct program *program, int index)
{
    char text[600];
    const char *from = program_instruction_text(program, index, text, sizeof(text));
    from += strspn(from, " ");
    from += strspn(from, "0123456789");
    return memory_string(from + strspn(from, " "));
}

static void fill_instruction(const struct program *program, int index,
                             struct picture_instruction *row)
{
    const struct instruction *in = &program->instructions[index];
    const struct origin *origin = &in->origin;
    char source[128];
    row->text = text_without_number(program, index);
    row->layer = memory_string(origin->layer ? origin->layer : "");
    row->part = memory_string(origin->part ? origin->part : "");
    row->source = memory_string(describe_source(&origin->source, source, sizeof(source)));
    row->key = memory_string(origin->source.key);
    row->fault = memory_string(in->fault);
    row->op = op_name(in->op);
    row->phase = origin->phase;
    row->stage = origin->stage;
    row->micro_batch = origin->micro_batch;
    row->micro_batches = origin->micro_batches;
    row->micro_sequence = origin->micro_sequence;
    row->micro_sequences = origin->micro_sequences;
    memcpy(row->inputs, in->inputs, sizeof(row->inputs));
    memcpy(row->outputs, in->outputs, sizeof(row->outputs));
    row->input_count = in->input_count;
    row->output_count = in->output_count;
}

static void fill_value(const struct program *program, int index, struct picture_value *row)
{
    const struct value *value = &program->values[index];
    char name[400];
    row->name = memory_string(program_value_text(program, index, name, sizeof(name)));
    row->what = value->what;
    row->dtype = value->dtype;
    row->shape = value->shape;
    row->shard = value->shard;
    row->bytes = (int64_t)value_bytes(value);
    row->producer = value->producer;
    row->named = value->name && value->name[0];
    row->log_point = value->log_point;
}

struct program_picture *picture_of_program(const struct program *program)
{
    struct program_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->instruction_count = program->instruction_count;
    picture->value_count = program->value_count;
    picture->instructions =
        memory_zeroed((size_t)program->instruction_count, sizeof(*picture->instructions));
    picture->values = memory_zeroed((size_t)program->value_count, sizeof(*picture->values));
    for (int i = 0; i < program->instruction_count; i++)
        fill_instruction(program, i, &picture->instructions[i]);
    for (int v = 0; v < program->value_count; v++)
        fill_value(program, v, &picture->values[v]);
    return picture;
}

void program_picture_free(struct program_picture *picture)
{
    if (!picture)
        return;
    for (int i = 0; i < picture->instruction_count; i++) {
        struct picture_instruction *row = &picture->instructions[i];
        free(row->text);
        free(row->layer);
        free(row->part);
        free(row->source);
        free(row->key);
        free(row->fault);
    }
    for (int v = 0; v < picture->value_count; v++)
        free(picture->values[v].name);
    free(picture->instructions);
    free(picture->values);
    free(picture);
}

/* ---- the reports of the steps ---- */

static struct step_report *copy_reports(const struct run *run, int *count)
{
    *count = run->reported;
    struct step_report *copy = memory_zeroed((size_t)run->reported, sizeof(*copy));
    memcpy(copy, run->reports, (size_t)run->reported * sizeof(*copy));
    return copy;
}

struct metrics_picture *picture_of_metrics(const struct pair *pair)
{
    struct metrics_picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->steps = pair->test->steps;
    picture->test = copy_reports(pair->test, &picture->test_count);
    if (pair->reference)
        picture->reference = copy_reports(pair->reference, &picture->reference_count);
    return picture;
}

void metrics_picture_free(struct metrics_picture *picture)
{
    if (!picture)
        return;
    free(picture->test);
    free(picture->reference);
    free(picture);
}

/* ---- all of them ---- */

/* Places of a program do not move while it is loaded; another run is another program. Hashed once:
 * a large program takes longer than a picture of where it stands. */
static uint64_t identity_of(struct target *target)
{
    if (target->identity != 0)
        return target->identity;
    uint64_t hash = program_hash(target->pair->test->program);
    for (const char *c = target->name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (const char *c = target->fault; c && *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    target->identity = hash ? hash : 1;
    return target->identity;
}

static bool is_unwanted(const void *context)
{
    const struct debugger_sink *sink = context;
    return sink->unwanted && sink->unwanted(sink->context);
}

static struct tensor_picture *tensor_with_follows(struct debugger *debugger,
                                                  const struct picture_request *request)
{
    struct pair *pair = debugger->target->pair;
    int value = request->value >= 0 ? request->value : debugger->last_value;
    const struct interrupt unwanted = {.asked = is_unwanted, .context = &debugger->sink};
    struct tensor_picture *picture =
        picture_of_tensor(pair, value, request, &debugger->survey, &unwanted);
    picture_add_follows(picture, &debugger->record, pair->test->program);
    return picture;
}

/* Needs no run: what a run printed last can be read when it is gone. */
static void take_output(struct rank_output *output, struct picture *picture)
{
    struct status status = STATUS_NONE;
    picture->output = memory_zeroed(1, sizeof(*picture->output));
    if (output && !rank_output_fetch(output, &picture->request.output, picture->output, &status))
        picture->output_problem = memory_string(status.text);
}

struct picture *picture_take(struct debugger *debugger, const struct picture_request *request)
{
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    if (request->kind == PICTURE_OUTPUT) {
        take_output(debugger->sink.output, picture);
        return picture;
    }
    if (!debugger->target)
        return picture;
    struct pair *pair = debugger->target->pair;
    picture->identity = identity_of(debugger->target);
    if (request->kind == PICTURE_PROGRAM)
        picture->program = picture_of_program(pair->test->program);
    else if (request->kind == PICTURE_STATE)
        picture->state = picture_of_state(debugger, request->step);
    else if (request->kind == PICTURE_TENSOR)
        picture->tensor = tensor_with_follows(debugger, request);
    else if (request->kind == PICTURE_MEMORY)
        picture->memory = picture_of_memory(pair, request->at);
    else if (request->kind == PICTURE_RANKS)
        picture->ranks = picture_of_ranks(debugger);
    else
        picture->metrics = picture_of_metrics(pair);
    return picture;
}

void picture_free(struct picture *picture)
{
    if (!picture)
        return;
    program_picture_free(picture->program);
    state_picture_free(picture->state);
    tensor_picture_free(picture->tensor);
    memory_picture_free(picture->memory);
    metrics_picture_free(picture->metrics);
    ranks_picture_free(picture->ranks);
    if (picture->output)
        output_page_free(picture->output);
    free(picture->output);
    free(picture->output_problem);
    free(picture);
}
