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
#include "engine/compare/blame_structure.h"
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

enum {
    MAX_REPLAYS = 64, /* of one walk: a replay may have to run the step again */
    MAX_REGIONS = 1000,
    ROUNDINGS = 8, /* as many times may an instruction enlarge what went into it */
};

struct region {
    struct structure_node *nodes; /* nearest to the start first */
    int count, capacity;
    unsigned char *seen; /* by value */
    int worst;           /* the worst diverged value at the border, -1 if none diverged */
    int worst_reader;    /* the node that reads it */
    double worst_ratio;
    int faint; /* the border value with the largest error within limits, -1 if there is only noise
                */
    int faint_reader;
    double faint_error;
};

/* What is known of a walk so far. */
struct walk {
    struct pair *pair;
    struct blame *blame;
    int replays;   /* so far */
    bool diverged; /* something on the way was beyond its limits */
    bool certain;  /* the guilty one is known to be wrong, not only the last one that was found */
};

static void region_free(struct region *region)
{
    free(region->nodes);
    free(region->seen);
}

static void add_node(const struct pair *pair, struct region *region, int value, int other,
                     int parent)
{
    if (pair->reference && pair->reference_value[value] >= 0)
        other = pair->reference_value[value];
    ARRAY_PUSH(region->nodes, region->count, region->capacity,
               ((struct structure_node){value, other, parent}));
    region->seen[value] = 1;
}

/* The error of a state that was not compared in this step: it is that of the update before. */
static double state_error(struct pair *pair, int value)
{
    struct pair_sides sides;
    struct metrics metrics = {0};
    struct status ignored = STATUS_NONE;
    if (!pair->reference || pair->reference_value[value] < 0 || pair->test->step == 0 ||
        !dtype_is_float(pair->test->program->values[value].dtype) ||
        !pair_view(pair, value, &sides, &ignored))
        return 0;
    if (sides.has_reference)
        metrics_compute(&sides.reference, &sides.test, sides.scale, pair->options.threads,
                        &metrics);
    pair_sides_free(&sides);
    return metrics.rms_reference > 0 ? metrics.rms_difference / metrics.rms_reference : 0;
}

/* Relative errors up to this may be nothing but rounding. */
static double noise_of(const struct value *value)
{
    return 64 * dtype_epsilon(value->dtype == DTYPE_F64 ? DTYPE_F32 : value->dtype);
}

/* An input at the border of the region. */
static void look_at_border(struct pair *pair, struct region *region, int n, int input)
{
    const struct value *value = &pair->test->program->values[input];
    struct value_error error = value_error_of(pair, input);
    if (!error.known && value->kind == VALUE_STATE)
        error.relative = state_error(pair, input);
    double ratio = error.diverged ? pair->results[input].verdict.worst : 0;
    if (error.diverged && (region->worst < 0 || ratio > region->worst_ratio)) {
        region->worst = input;
        region->worst_reader = n;
        region->worst_ratio = ratio;
    }
    if (dtype_is_float(value->dtype) && error.relative > noise_of(value) &&
        error.relative > region->faint_error) {
        region->faint = input;
        region->faint_reader = n;
        region->faint_error = error.relative;
    }
}

/* Looks at the inputs of node `n`: those that nothing is known of join the region. */
static void look_behind(struct pair *pair, struct region *region, int n)
{
    const struct program *program = pair->test->program;
    const struct structure_node node = region->nodes[n];
    const struct instruction *in = structure_producer(program, node.value);
    for (int i = 0; i < in->input_count; i++) {
        int input = in->inputs[i];
        if (value_error_of(pair, input).known || !structure_producer(program, input))
            look_at_border(pair, region, n, input);
        else if (!region->seen[input])
            add_node(pair, region, input, structure_operand(pair, &node, i), n);
    }
}

static struct region region_behind(struct pair *pair, int value)
{
    struct region region = {.worst = -1, .faint = -1};
    region.seen = memory_zeroed((size_t)pair->test->program->value_count, 1);
    add_node(pair, &region, value, -1, -1);
    for (int n = 0; n < region.count; n++)
        look_behind(pair, &region, n);
    return region;
}

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

/* The node nearest to the start that the reference computes in another way; -1: none. A temporary
 * that the reference has too, for somebody else, is not wrong itself: its reader has got the wrong
 * one. */
static int different_node(const struct pair *pair, const struct region *region)
{
    for (int n = 0; n < region->count; n++) {
        const struct structure_node *node = &region->nodes[n];
        bool temporary = node->parent >= 0 && pair->reference_value[node->value] < 0;
        if (structure_differs(pair, node))
            return temporary && structure_elsewhere(pair, node->value) ? node->parent : n;
    }
    return -1;
}

/* The node of a region, at whose border nothing diverged, that introduced the error. -1: none. */
static int guilty_node(struct walk *walk, const struct region *region, struct status *status)
{
    int n = different_node(walk->pair, region);
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

static bool makes_right_one(const struct pair *pair, const struct instruction *in)
{
    for (int k = 0; k < in->output_count; k++) {
        struct value_error error = value_error_of(pair, in->outputs[k]);
        if (error.known && !error.diverged)
            return true;
    }
    return false;
}

/* Whether something right was computed with it, or of it at once: then it is hardly wrong. */
static bool is_cleared(const struct pair *pair, int value)
{
    const struct program *program = pair->test->program;
    bool cleared = makes_right_one(pair, structure_producer(program, value));
    for (int i = 0; i < program->instruction_count && !cleared; i++) {
        const struct instruction *in = &program->instructions[i];
        bool reads = false;
        for (int k = 0; k < in->input_count; k++)
            reads |= in->inputs[k] == value;
        cleared = reads && makes_right_one(pair, in);
    }
    return cleared;
}

/* A trace is no program: of what it does not have, any instruction may be the wrong one, but for
 * those whose results were used for something that is right. */
static void suspect_all(struct walk *walk, const struct region *region)
{
    const struct pair *pair = walk->pair;
    const struct program *program = pair->test->program;
    struct blame *blame = walk->blame;
    if (pair->reference || region->count < 2)
        return;
    /* A node comes after the node that reads it: what is only behind cleared ones is not asked. */
    unsigned char *suspected = memory_zeroed((size_t)program->instruction_count, 1);
    unsigned char *cleared = memory_zeroed((size_t)region->count, 1);
    for (int n = 0; n < region->count; n++) {
        const struct structure_node *node = &region->nodes[n];
        cleared[n] = node->parent >= 0 && (cleared[node->parent] || is_cleared(pair, node->value) ||
                                           !dtype_is_float(program->values[node->value].dtype));
        suspected[program->values[node->value].producer] |= !cleared[n];
    }
    blame->suspects = memory_zeroed((size_t)region->count, sizeof(*blame->suspects));
    blame->suspect_count = 0;
    for (int i = 0; i < program->instruction_count; i++)
        if (suspected[i])
            blame->suspects[blame->suspect_count++] = i;
    free(cleared);
    free(suspected);
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
            suspect_all(walk, region);
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

/* Everything that was computed in this step behind the values of the region so far; sets
 * *reads_states when there is more in the step before. */
static void grow_whole(const struct pair *pair, struct region *region, bool *reads_states)
{
    const struct program *program = pair->test->program;
    for (int n = 0; n < region->count; n++) {
        const struct structure_node node = region->nodes[n];
        const struct instruction *in = structure_producer(program, node.value);
        for (int i = 0; i < in->input_count; i++) {
            int input = in->inputs[i];
            *reads_states |= program->values[input].kind == VALUE_STATE;
            if (!region->seen[input] && structure_producer(program, input))
                add_node(pair, region, input, structure_operand(pair, &node, i), n);
        }
    }
}

/* The values that states have at the end of a step. */
static void add_updated_states(const struct pair *pair, struct region *region)
{
    const struct program *program = pair->test->program;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state >= 0 && structure_producer(program, v))
            add_node(pair, region, v, -1, -1);
}

static int micro_batches_of(const struct config *config)
{
    return config->schedule.depth_first_micro_batches *
           config->schedule.breadth_first_micro_batches;
}

/* Not where the programs have other pieces: too much of them is only different, and not wrong. */
static bool can_search(const struct pair *pair)
{
    const struct config *test = pair->options.test, *reference = pair->options.reference;
    return pair->reference && micro_batches_of(test) == micro_batches_of(reference);
}

/* Where numbers accuse nobody for sure, since an error came in far below the limits, the programs
 * themselves are compared: all that lies behind the value, in this step and in those before. */
static bool search_structure(struct walk *walk, int value, struct status *status)
{
    struct pair *pair = walk->pair;
    bool found = false, more = can_search(pair);
    for (int roots = value; more && !found; roots = -1) {
        struct region region = {.seen = memory_zeroed((size_t)pair->test->program->value_count, 1)};
        more = false;
        if (roots >= 0)
            add_node(pair, &region, roots, -1, -1);
        else
            add_updated_states(pair, &region);
        grow_whole(pair, &region, &more);
        int n = different_node(pair, &region);
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

/* What no updated state and no loss depends on is nobody's fault. Those that the reference has not
 * say nothing about what lies behind them. */
static void add_results(const struct pair *pair, struct region *region)
{
    const struct program *program = pair->test->program;
    const struct program_outputs *outputs = &program->outputs;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state >= 0 && structure_producer(program, v) &&
            pair->reference_value[v] >= 0)
            add_node(pair, region, v, -1, -1);
    for (int i = 0; i < outputs->loss_count; i++)
        if (!region->seen[outputs->losses[i]])
            add_node(pair, region, outputs->losses[i], -1, -1);
}

/* An instruction anywhere in the step that the reference does not have like that. */
static void find_elsewhere(const struct pair *pair, struct blame *blame)
{
    struct region region = {.seen = memory_zeroed((size_t)pair->test->program->value_count, 1)};
    bool ignored = false;
    add_results(pair, &region);
    grow_whole(pair, &region, &ignored);
    int n = can_search(pair) ? different_node(pair, &region) : -1;
    if (n >= 0) {
        const struct structure_node *node = &region.nodes[n];
        blame->elsewhere = pair->test->program->values[node->value].producer;
        blame->counterpart =
            node->other >= 0 ? pair->reference->program->values[node->other].producer : -1;
    }
    region_free(&region);
}

static bool other_precision(const struct pair *pair)
{
    const struct config *reference = pair->options.reference;
    return pair->reference &&
           pair->options.test->distributed.compute_dtype != reference->distributed.compute_dtype;
}

/* Whether the error of the guilty one is not much more than those of its inputs and one rounding.
 */
static bool is_explained(const struct blame *blame)
{
    const struct blame_link *link = &blame->links[blame->guilty];
    double inputs = isnan(link->input_error) ? 0 : link->input_error;
    return blame->check.supported &&
           link->error <= ROUNDINGS * (inputs + blame->check.expected_relative);
}

/* Numbers accuse the last one that was found. Without a witness beside them they do not, where the
 * precisions differ and rounding explains it, or where the value is within its limits. */
static void acquit(const struct pair *pair, bool within, struct blame *blame)
{
    if (blame->guilty < 0 || blame->sure || blame->check.wrong)
        return;
    if (!within && other_precision(pair) && blame->counterpart >= 0 && is_explained(blame)) {
        blame->rounding = blame->guilty;
        blame->counterpart = -1;
        find_elsewhere(pair, blame);
    }
    if (within || blame->rounding >= 0)
        blame->guilty = -1;
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
            acquit(pair, error.known && !error.diverged, blame);
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
