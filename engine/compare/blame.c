/* The walk from a divergent value to the instruction that introduced the error.
 *
 * An instruction is guilty when its output failed its limits while all inputs that can be compared
 * are within theirs. An input without a name cannot be compared: then the walk goes on through its
 * producer, and comes to rest where the compared inputs are fine. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct value_error value_error_of(const struct pair *pair, int value)
{
    const struct pair_result *result = &pair->results[value];
    if (!result->compared)
        return (struct value_error){.relative = NAN};
    double scale = result->metrics.rms_reference;
    double relative = scale > 0 ? result->metrics.rms_difference / scale
                                : (result->metrics.rms_difference > 0 ? INFINITY : 0);
    if (result->verdict.failures & FAILURE_NOT_FINITE)
        relative = INFINITY;
    return (struct value_error){true, result->verdict.failures != 0, relative};
}

int first_divergence(const struct pair *pair)
{
    const struct program *program = pair->test->program;
    for (int i = 0; i < program->instruction_count; i++)
        for (int k = 0; k < program->instructions[i].output_count; k++)
            if (value_error_of(pair, program->instructions[i].outputs[k]).diverged)
                return program->instructions[i].outputs[k];
    return -1;
}

/* The input to follow: the worst diverged one, else one that could not be compared. -1: none. */
static int suspect(const struct pair *pair, struct blame_link *link)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = &program->instructions[link->instruction];
    int worst = -1, unknown = -1;
    double worst_ratio = 0;
    link->input_error = NAN;
    for (int i = 0; i < in->input_count; i++) {
        int input = in->inputs[i];
        struct value_error error = value_error_of(pair, input);
        if (error.known && !(link->input_error >= error.relative))
            link->input_error = error.relative;
        if (error.diverged && (worst < 0 || pair->results[input].verdict.worst > worst_ratio)) {
            worst = input;
            worst_ratio = pair->results[input].verdict.worst;
        }
        bool opaque = !error.known && program->values[input].kind == VALUE_COMPUTED &&
                      dtype_is_float(program->values[input].dtype) &&
                      !program->values[input].name[0];
        if (opaque && unknown < 0)
            unknown = input;
    }
    link->inputs_diverged = worst >= 0;
    return worst >= 0 ? worst : unknown;
}

static struct blame_link *add_link(struct blame *blame, int step, int instruction, int value)
{
    struct blame_link link = {.step = step, .instruction = instruction, .value = value};
    ARRAY_PUSH(blame->links, blame->count, blame->capacity, link);
    return &blame->links[blame->count - 1];
}

/* A state that diverged was written by the step before: go there, to its end. */
static int enter_previous_step(struct pair *pair, int state, struct status *status)
{
    const struct program *program = pair->test->program;
    if (pair->test->step == 0 ||
        !pair_go_to(pair, pair->test->step - 1, program->instruction_count, status))
        return -1;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state == state)
            return v;
    return -1;
}

static bool walk(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    const struct program *program = pair->test->program;
    int last_diverged = -1;
    while (value >= 0 && program->values[value].producer >= 0) {
        struct blame_link *link =
            add_link(blame, pair->test->step, program->values[value].producer, value);
        link->error = value_error_of(pair, value).relative;
        if (value_error_of(pair, value).diverged)
            last_diverged = blame->count - 1;
        int next = suspect(pair, link);
        if (next < 0)
            break;
        if (program->values[next].kind == VALUE_STATE)
            next = enter_previous_step(pair, next, status);
        value = next;
    }
    blame->guilty = last_diverged;
    return status->code == STATUS_OK;
}

static bool same_instruction(const struct instruction *a, const struct instruction *b)
{
    return a->op == b->op && a->input_count == b->input_count &&
           memcmp(&a->parameters, &b->parameters, sizeof(a->parameters)) == 0;
}

static void find_counterpart(const struct pair *pair, struct blame *blame)
{
    blame->counterpart = -1;
    if (!pair->reference)
        return;
    const struct blame_link *link = &blame->links[blame->guilty];
    int other = pair->reference_value[link->value];
    if (other < 0)
        return;
    blame->counterpart = pair->reference->program->values[other].producer;
    if (blame->counterpart < 0)
        return;
    blame->different =
        !same_instruction(&pair->test->program->instructions[link->instruction],
                          &pair->reference->program->instructions[blame->counterpart]);
}

bool blame_walk(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    *blame = (struct blame){.guilty = -1, .counterpart = -1};
    int step = pair->test->step, next = run_next(pair->test);
    bool ok = walk(pair, value, blame, status);
    if (ok && blame->guilty >= 0) {
        const struct blame_link *link = &blame->links[blame->guilty];
        find_counterpart(pair, blame);
        ok = check_instruction(pair, link->step, link->instruction, &blame->check, status);
    }
    bool moved = pair->test->step != step || run_next(pair->test) != next;
    return (!moved || pair_go_to(pair, step, next, status)) && ok;
}

void blame_free(struct blame *blame)
{
    free(blame->links);
    blame->links = NULL;
    blame->count = blame->capacity = 0;
}
