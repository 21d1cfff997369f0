/* The walk from a divergent value to the instruction that introduced the error.
 *
 * Behind a diverged value lie its inputs. Those that were compared are within limits, or diverged
 * themselves; the others (temporaries, names that only one side has) are looked through: the region
 * of a value is everything between it and the compared values that it was computed from. While a
 * value at the border of the region diverged, the walk goes on from the worst of these. Where none
 * did, the error was introduced inside of the region: by the instruction that the reference does
 * not have like that, else by the one whose result float64 does not confirm. If there is no such
 * one, the error came in below the limits and grew: then the walk goes on through inputs whose
 * errors are within limits, but more than rounding, and takes what it finds there; if it finds
 * nothing, the programs are compared: an instruction behind the value that the reference has not
 * like that. If there is none, what made the last diverged value is as far as it gets. */
#include "engine/base/memory.h"
#include "engine/compare/blame_region.h"

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

enum {
    MAX_REPLAYS = 64, /* of one walk: a replay may have to run the step again */
    MAX_REGIONS = 1000,
};

/* What is known of a walk so far. */
struct walk {
    struct pair *pair;
    struct blame *blame;
    int replays;   /* so far */
    bool diverged; /* something on the way was beyond its limits */
    bool certain;  /* the guilty one is known to be wrong, not only the last one that was found */
};

/* The node whose result is furthest from its float64 replay; -1 if all are right. */
static int wrong_node(struct walk *walk, const struct region *region, struct status *status)
{
    struct pair *pair = walk->pair;
    int wrong = -1, step = pair->test->step;
    double worst = 0;
    for (int n = 0; n < region->count && walk->replays < MAX_REPLAYS; n++, walk->replays++) {
        struct check check;
        int instruction = pair->test->program->values[region->nodes[n].value].producer;
        if (!check_instruction(pair, step, instruction, &check, status))
            return -1;
        double ratio = check.introduced_relative / check.expected_relative;
        if (check.supported && check.wrong && (wrong < 0 || ratio > worst)) {
            wrong = n;
            worst = ratio;
        }
    }
    return wrong;
}

/* The node of a region, at whose border nothing diverged, that introduced the error. -1: none. */
static int guilty_node(struct walk *walk, const struct region *region, struct status *status)
{
    int n = region_different_node(walk->pair, region);
    if (n >= 0)
        return n;
    return wrong_node(walk, region, status);
}

static void add_link(const struct pair *pair, struct blame *blame, int value)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = structure_producer(program, value);
    struct blame_link link = {.step = pair->test->step,
                              .instruction = program->values[value].producer,
                              .value = value,
                              .error = value_error_of(pair, value).relative,
                              .diverged = value_error_of(pair, value).diverged,
                              .input_error = NAN};
    for (int i = 0; i < in->input_count; i++) {
        struct value_error error = value_error_of(pair, in->inputs[i]);
        if (error.known && !(link.input_error >= error.relative))
            link.input_error = error.relative;
        link.inputs_diverged |= error.diverged;
    }
    ARRAY_PUSH(blame->links, blame->count, blame->capacity, link);
}

/* The links from the start of the region, without it, to node `n`. */
static void add_path(const struct pair *pair, struct blame *blame, const struct region *region,
                     int n)
{
    if (n <= 0)
        return;
    add_path(pair, blame, region, region->nodes[n].parent);
    add_link(pair, blame, region->nodes[n].value);
}

static void add_path_from_root(const struct pair *pair, struct blame *blame,
                               const struct region *region, int n)
{
    if (region->nodes[n].parent >= 0)
        add_path_from_root(pair, blame, region, region->nodes[n].parent);
    add_link(pair, blame, region->nodes[n].value);
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

/* The last link made it; who was suspected of having made an earlier one no longer is. */
static void accuse(struct walk *walk, const struct structure_node *node)
{
    const struct pair *pair = walk->pair;
    struct blame *blame = walk->blame;
    free(blame->suspects);
    blame->suspects = NULL;
    blame->suspect_count = 0;
    blame->guilty = blame->count - 1;
    blame->different = structure_differs(pair, node);
    blame->counterpart = pair->reference && node->other >= 0
                             ? pair->reference->program->values[node->other].producer
                             : -1;
}

/* The value to go on from behind the region, -1 at the end. */
static int next_value(struct walk *walk, const struct region *region, struct status *status)
{
    struct pair *pair = walk->pair;
    int n = region->worst_reader, next = region->worst;
    if (next < 0) {
        n = guilty_node(walk, region, status);
        add_path(pair, walk->blame, region, n);
        if (n >= 0) {
            accuse(walk, &region->nodes[n]);
            walk->certain = walk->blame->sure = true;
            return -1;
        }
        if (walk->diverged && walk->blame->guilty < 0) {
            accuse(walk, &region->nodes[0]);
            blame_suspect_all(pair, region, walk->blame);
        }
        n = region->faint_reader;
        next = region->faint;
    }
    if (next < 0)
        return -1;
    add_path(pair, walk->blame, region, n);
    walk->diverged |= region->worst >= 0;
    if (pair->test->program->values[next].kind == VALUE_STATE)
        next = enter_previous_step(pair, next, status);
    if (region->worst >= 0 && !structure_producer(pair->test->program, next)) {
        accuse(walk, &region->nodes[n]);
        walk->certain = true;
    }
    return next;
}

/* The values that states have at the end of a step. */
static void add_updated_states(const struct pair *pair, struct region *region)
{
    const struct program *program = pair->test->program;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state >= 0 && structure_producer(program, v))
            region_add(pair, region, v, -1, -1);
}

/* Where numbers accuse nobody for sure, since an error came in far below the limits, the programs
 * themselves are compared: all that lies behind the value, in this step and in those before. */
static bool search_structure(struct walk *walk, int value, struct status *status)
{
    struct pair *pair = walk->pair;
    bool found = false, more = region_can_compare(pair);
    for (int roots = value; more && !found; roots = -1) {
        struct region region = region_empty(pair);
        more = false;
        if (roots >= 0)
            region_add(pair, &region, roots, -1, -1);
        else
            add_updated_states(pair, &region);
        region_grow_whole(pair, &region, &more);
        int n = region_different_node(pair, &region);
        found = n >= 0;
        if (found) {
            if (roots >= 0)
                walk->blame->count = 0;
            add_path_from_root(pair, walk->blame, &region, n);
            accuse(walk, &region.nodes[n]);
            walk->blame->sure = true;
        }
        more = more && !found && pair->test->step > 0;
        region_free(&region);
        if (more &&
            !pair_go_to(pair, pair->test->step - 1, pair->test->program->instruction_count, status))
            return false;
    }
    return true;
}

static bool walk_back(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    struct walk walk = {
        .pair = pair, .blame = blame, .diverged = value_error_of(pair, value).diverged};
    int step = pair->test->step, next = run_next(pair->test), start = value;
    for (int i = 0; i < MAX_REGIONS && structure_producer(pair->test->program, value); i++) {
        if (status->code != STATUS_OK)
            return false;
        add_link(pair, blame, value);
        struct region region = region_behind(pair, value);
        value = next_value(&walk, &region, status);
        region_free(&region);
    }
    if (status->code == STATUS_OK && !walk.certain && pair_go_to(pair, step, next, status))
        search_structure(&walk, start, status);
    if (blame->guilty >= 0)
        blame->count = blame->guilty + 1;
    return status->code == STATUS_OK;
}

bool blame_walk(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    *blame = (struct blame){.guilty = -1, .counterpart = -1, .rounding = -1, .elsewhere = -1};
    struct value_error error = value_error_of(pair, value);
    int step = pair->test->step, next = run_next(pair->test);
    bool ok = walk_back(pair, value, blame, status);
    if (ok && blame->guilty >= 0) {
        const struct blame_link *link = &blame->links[blame->guilty];
        ok = check_instruction(pair, link->step, link->instruction, &blame->check, status);
        if (ok)
            blame_acquit(pair, error.known && !error.diverged, blame);
        if (blame->sure || blame->check.wrong || blame->guilty < 0)
            blame->suspect_count = 0;
    }
    bool moved = pair->test->step != step || run_next(pair->test) != next;
    return (!moved || pair_go_to(pair, step, next, status)) && ok;
}

void blame_free(struct blame *blame)
{
    free(blame->links);
    free(blame->suspects);
    blame->links = NULL;
    blame->suspects = NULL;
    blame->suspect_count = 0;
    blame->count = blame->capacity = 0;
}
