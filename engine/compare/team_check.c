#include "engine/compare/team_check.h"

#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "engine/compare/pair_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct program *program_of(const struct team *team, int rank)
{
    return team->pairs[rank]->test->program;
}

static bool accuse(struct suspect *suspect, int rank, int instruction, enum suspicion suspicion)
{
    suspect->rank = rank;
    suspect->instruction = instruction;
    suspect->suspicion = suspicion;
    return true;
}

/* ---- layouts ---- */

/* A summand over the data ranks is one over the sequence-data ranks among them. */
static unsigned summed_over(const struct layout *layout)
{
    bool data = layout->partial >> COMM_DATA & 1;
    return layout->partial & ~(data ? 1u << COMM_SEQUENCE_DATA : 0);
}

static bool layouts_equal(const struct layout *a, const struct layout *b)
{
    if (a->cut_count != b->cut_count || summed_over(a) != summed_over(b))
        return false;
    for (int i = 0; i < a->cut_count; i++)
        if (a->cuts[i].dimension != b->cuts[i].dimension || a->cuts[i].parts != b->cuts[i].parts ||
            a->cuts[i].group != b->cuts[i].group)
            return false;
    return true;
}

/* Own rows of a whole tensor are a slice by design: the first row must be the part's. */
static bool is_own_rows(const struct program *program, const struct instruction *in)
{
    const struct value *x = &program->values[in->inputs[0]];
    const struct value *y = &program->values[in->outputs[0]];
    return in->op == OP_SLICE_ROWS && y->layout.cut_count == x->layout.cut_count + 1 &&
           x->layout.partial == y->layout.partial &&
           in->parameters.first_row ==
               shard_global_index(&y->shard, 0, 0) - shard_global_index(&x->shard, 0, 0);
}

/* Operands do not tell the layout of the result. */
static bool needs_expectation(enum op op)
{
    return op == OP_FILL || op == OP_RECEIVE || op == OP_EMBEDDING_GRADIENT ||
           op == OP_GATHER_ROWS_GRADIENT;
}

bool team_check_layout(const struct team *team, int rank, int instruction, struct suspect *suspect)
{
    const struct program *program = program_of(team, rank);
    const struct instruction *in = &program->instructions[instruction];
    struct layout_call call = {.op = in->op,
                               .parameters = &in->parameters,
                               .seat = &program->seat,
                               .input_count = in->input_count,
                               .output_count = in->output_count};
    struct layout outputs[OP_MAX_OUTPUTS] = {{0}};
    struct status status = STATUS_NONE;
    char is[160], said[160];
    for (int i = 0; i < in->input_count; i++) {
        call.inputs[i] = program->values[in->inputs[i]].layout;
        call.input_shapes[i] = program->values[in->inputs[i]].shape;
    }
    for (int i = 0; i < in->output_count; i++) {
        call.output_shapes[i] = program->values[in->outputs[i]].shape;
        if (needs_expectation(in->op))
            call.expected[i] = &program->values[in->outputs[i]].layout;
    }
    if (!layout_infer(&call, outputs, &status)) {
        snprintf(suspect->why, sizeof(suspect->why), "%.*s", 280, status.text);
        return accuse(suspect, rank, instruction, SUSPICION_LAYOUT);
    }
    for (int i = 0; i < in->output_count; i++) {
        const struct layout *declared = &program->values[in->outputs[i]].layout;
        /* What one batch-data rank computes from its own micro-batch, or one end of the
         * pipeline for a tied weight, is a summand where it becomes a gradient. */
        if (in->origin.phase == PHASE_BACKWARD && !op_is_collective(in->op))
            outputs[i].partial |= declared->partial & (layout_covers(COMM_DATA) | 1u << COMM_TIED);
        if (layouts_equal(&outputs[i], declared) || is_own_rows(program, in))
            continue;
        snprintf(suspect->why, sizeof(suspect->why), "the result is %s, but taken for %s",
                 layout_text(&outputs[i], is), layout_text(declared, said));
        return accuse(suspect, rank, instruction, SUSPICION_LAYOUT);
    }
    return false;
}

/* ---- collectives ---- */

int team_members(const struct team *team, int rank, int instruction, int *members)
{
    const struct program *program = program_of(team, rank);
    const struct instruction *in = &program->instructions[instruction];
    if (in->op == OP_RECEIVE) {
        members[0] = in->parameters.peer;
        return 1;
    }
    return mesh_members(&program->seat.mesh, rank, (enum comm_group)in->parameters.group, members);
}

/* Whether `in` of `rank` is one of the meetings between the same ranks as `of`; messages are
 * counted for each sender and receiver. */
static bool meets(const struct instruction *in, const struct instruction *of, enum op op, int peer)
{
    if (of->op == OP_RECEIVE)
        return in->op == op && in->parameters.peer == peer;
    return op_is_collective(in->op) && in->op != OP_SEND && in->op != OP_RECEIVE &&
           in->parameters.group == of->parameters.group;
}

int team_meeting(const struct team *team, int rank, int instruction, int member)
{
    const struct program *mine = program_of(team, rank), *theirs = program_of(team, member);
    const struct instruction *of = &mine->instructions[instruction];
    int before = 0;
    for (int i = 0; i < instruction; i++)
        before += meets(&mine->instructions[i], of, OP_RECEIVE, member);
    for (int i = 0; i < theirs->instruction_count; i++)
        if (meets(&theirs->instructions[i], of, OP_SEND, rank) && before-- == 0)
            return i;
    return -1;
}

/* The tensor that a member brings; false when it is not at hand. */
static bool brought(const struct team *team, int rank, int instruction, int member, void **buffer,
                    struct tensor *view)
{
    int there = team_meeting(team, rank, instruction, member);
    struct executor *executor = team->pairs[member]->test->executor;
    struct status ignored = STATUS_NONE;
    if (there < 0)
        return false;
    const struct instruction *in = &executor->program->instructions[there];
    return in->input_count > 0 && executor_holds(executor, in->inputs[0]) &&
           executor_view(executor, in->inputs[0], buffer, view, &ignored);
}

/* What a sum, a gathering or a scattered sum of what the members brought should be on this rank,
 * whatever the instruction's parameters say: into `out` (f64). */
static void put_together(enum op op, int index, const struct tensor *part, bool mine,
                         struct tensor *out)
{
    int64_t count = shape_elements(part->shape), here = shape_elements(out->shape);
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(part, i);
        int64_t at = op == OP_ALL_GATHER ? index * count + i : op == OP_REDUCE_SCATTER ? i : i;
        if (op == OP_BROADCAST && !mine)
            return;
        if (at < here)
            tensor_store(out, at, tensor_load(out, at) + number);
    }
}

static struct tensor rows_for(const struct tensor *whole, int index, int members)
{
    struct tensor rows = *whole;
    int64_t count = whole->shape.dims[0] / members;
    rows.shape.dims[0] = count;
    rows.data = (char *)whole->data +
                (size_t)(index * count * whole->row_stride) * dtype_size(whole->dtype);
    return rows;
}

/* The ideal result on this rank; false when something is not at hand. `data` has room for it. */
static bool ideal(const struct team *team, int rank, int instruction, const int *members, int count,
                  struct tensor *out)
{
    const struct instruction *in = &program_of(team, rank)->instructions[instruction];
    int own = 0;
    while (own < count - 1 && members[own] != rank)
        own++;
    for (int i = 0; i < count; i++) {
        void *buffer = NULL;
        struct tensor view;
        if (!brought(team, rank, instruction, members[i], &buffer, &view)) {
            free(buffer);
            return false;
        }
        struct tensor part = in->op == OP_REDUCE_SCATTER ? rows_for(&view, own, count) : view;
        put_together(in->op, i, &part, members[i] == in->parameters.peer, out);
        free(buffer);
    }
    return true;
}

static bool judge_collective(struct team *team, int rank, int instruction,
                             const struct tensor *expected, struct suspect *suspect)
{
    struct pair *pair = team->pairs[rank];
    int output = pair->test->program->instructions[instruction].outputs[0];
    struct pair_sides sides;
    struct status ignored = STATUS_NONE;
    struct metrics given, right = {.rms_difference = INFINITY};
    if (!pair_view(pair, output, &sides, &ignored))
        return false;
    metrics_compute(expected, &sides.test, 1, team->options.threads, &given);
    if (sides.has_reference && shape_equal(sides.reference.shape, expected->shape))
        metrics_compute(&sides.reference, expected, sides.scale, team->options.threads, &right);
    pair_sides_free(&sides);
    double scale = given.rms_reference > 0 ? given.rms_reference : 1;
    if (given.rms_difference <= 1e-4 * scale && given.nan_test == 0)
        return false;
    const struct limits *limits = pair->results[output].limits;
    bool was_right =
        limits && isfinite(right.rms_difference) && !metrics_judge(&right, limits).failures;
    snprintf(suspect->why, sizeof(suspect->why),
             "what its members brought, put together, %s; what it gave differs from that by %.1e",
             was_right ? "is what the reference has" : "is something else",
             given.rms_difference / scale);
    return accuse(suspect, rank, instruction, SUSPICION_COLLECTIVE);
}

/* A message must be the tensor that the receiver takes it for. */
static bool check_message(const struct team *team, int rank, int instruction,
                          struct suspect *suspect)
{
    const struct program *mine = program_of(team, rank);
    const struct instruction *in = &mine->instructions[instruction];
    int sender = in->parameters.peer, there = team_meeting(team, rank, instruction, sender);
    const struct program *theirs = program_of(team, sender);
    if (there < 0)
        return false;
    const struct value *sent = &theirs->values[theirs->instructions[there].inputs[0]];
    const struct value *taken = &mine->values[in->outputs[0]];
    if (!sent->name[0] || !taken->name[0] || strcmp(sent->name, taken->name) == 0 ||
        program_find(theirs, taken->name) == sent->id)
        return false;
    snprintf(suspect->why, sizeof(suspect->why), "it sends %.100s, which rank %d takes for %.100s",
             sent->name, rank, taken->name);
    return accuse(suspect, sender, there, SUSPICION_DIFFERENT);
}

bool team_check_collective(struct team *team, int rank, int instruction, struct suspect *suspect)
{
    const struct program *program = program_of(team, rank);
    const struct instruction *in = &program->instructions[instruction];
    if (!op_is_collective(in->op) || in->op == OP_SEND || in->output_count == 0)
        return false;
    if (in->op == OP_RECEIVE && check_message(team, rank, instruction, suspect))
        return true;
    struct shape shape = program->values[in->outputs[0]].shape;
    int *members = memory_zeroed((size_t)team->world->size, sizeof(*members));
    int count = team_members(team, rank, instruction, members);
    double *data = memory_zeroed((size_t)shape_elements(shape), sizeof(*data));
    struct tensor expected = tensor_of(data, DTYPE_F64, shape);
    bool accused = ideal(team, rank, instruction, members, count, &expected) &&
                   judge_collective(team, rank, instruction, &expected, suspect);
    free(data);
    free(members);
    return accused;
}

/* ---- kernels ---- */

bool team_check_kernel(struct team *team, int rank, int instruction, struct suspect *suspect)
{
    struct check check;
    struct status status = STATUS_NONE;
    struct pair *pair = team->pairs[rank];
    if (op_is_collective(pair->test->program->instructions[instruction].op) ||
        !check_instruction(pair, pair->test->step, instruction, &check, &status) ||
        !check.supported || !check.wrong)
        return false;
    snprintf(suspect->why, sizeof(suspect->why),
             "float64 of the same inputs differs from what was computed by %.1e > %.1e",
             check.introduced_relative, check.expected_relative);
    return accuse(suspect, rank, instruction, SUSPICION_KERNEL);
}
