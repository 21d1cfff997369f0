/* What the layout rules let pass is right, in numbers; what they refuse, they name. For each kind
 * of instruction, operands are spread over 8 ranks in every way that differs in one operand, and
 * in random ones: where the rules allow it, each rank's part is computed in float64, and what the
 * layout of the result says of these parts must make up what one rank alone computes.
 *
 * Excepted in numbers, not in what is refused: slices of rows that are cut, which are slices of
 * each rank's rows; losses of the balance of experts, which are of each rank's tokens (facts, 2.7);
 * sums of squares, of which the schedule decides who counts what several have; messages, which go
 * to others. */
#include "helper_parts.h"

#include "engine/base/memory.h"
#include "engine/device/device.h"
#include "engine/program/rules.h"
#include "engine/tensor/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 8, RANDOM_SPREADS = 60 };

/* 2 tensor ranks x 2 sequence-data x 2 pipeline ranks, both of which have tied weights; or x 2
 * batch-data ranks. */
static const struct mesh meshes[] = {
    {.tensors = 2, .sequence_datas = 2, .datas = 2, .pipelines = 2, .tied = 3},
    {.tensors = 2, .sequence_datas = 2, .datas = 4, .pipelines = 1},
};

/* How the operands of one instruction are spread; of kinds that are told, what they are told. */
struct spread {
    const struct mesh *mesh;
    struct layout inputs[OP_MAX_INPUTS];
    struct layout expected;
    bool has_expected;
};

struct counts {
    int tried, refused, computed, passed_over;
};

/* ---- one way to spread the operands, on all ranks ---- */

struct trial {
    const struct sample *sample;
    const struct spread *spread;
    struct op_call calls[RANKS];
    struct layout outputs[OP_MAX_OUTPUTS];
    struct tensor results[RANKS][OP_MAX_OUTPUTS];
};

static void trial_end(struct trial *trial)
{
    for (int rank = 0; rank < RANKS; rank++) {
        for (int i = 0; i < trial->sample->input_count; i++)
            free(trial->calls[rank].inputs[i].data);
        for (int i = 0; i < trial->sample->output_count; i++)
            free(trial->results[rank][i].data);
    }
}

static void describe(const struct trial *trial, char *text, size_t size)
{
    char layout[160];
    int at = snprintf(text, size, "%s (", op_name(trial->sample->op));
    for (int i = 0; i < trial->sample->input_count; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%s", i ? "; " : "",
                       layout_text(&trial->spread->inputs[i], layout));
    if (trial->spread->has_expected)
        at += snprintf(text + at, size - (size_t)at, "; expected %s",
                       layout_text(&trial->spread->expected, layout));
    at += snprintf(text + at, size - (size_t)at, ") ->");
    for (int i = 0; i < trial->sample->output_count; i++)
        at += snprintf(text + at, size - (size_t)at, " %s%s", i ? "; " : "",
                       layout_text(&trial->outputs[i], layout));
}

/* Says which rules let it pass: false with a text that names the kind, and an operand or result. */
static bool is_allowed(struct trial *trial, int rank)
{
    const struct sample *sample = trial->sample;
    const struct spread *spread = trial->spread;
    struct seat seat = {*trial->spread->mesh, rank};
    struct op_call *call = &trial->calls[rank];
    struct status status = STATUS_NONE;
    struct layout_call layouts = {.op = sample->op,
                                  .parameters = &call->parameters,
                                  .seat = &seat,
                                  .input_count = call->input_count,
                                  .output_count = call->output_count};
    for (int i = 0; i < call->input_count; i++) {
        layouts.inputs[i] = spread->inputs[i];
        layouts.input_shapes[i] = call->inputs[i].shape;
    }
    for (int i = 0; i < call->output_count; i++)
        layouts.output_shapes[i] = call->outputs[i].shape;
    if (spread->has_expected)
        layouts.expected[0] = &spread->expected;
    if (!layout_infer(&layouts, trial->outputs, &status)) {
        bool says = strstr(status.text, op_name(sample->op)) == status.text &&
                    (strstr(status.text, "operand ") || strstr(status.text, "result")) &&
                    (strstr(status.text, " / ") || strstr(status.text, "partial over") ||
                     strstr(status.text, "whole"));
        if (!says)
            fail_msg("%s: refused with \"%s\"", op_name(sample->op), status.text);
        return false;
    }
    return rules_check(call, &status);
}

/* Collectives of one rank of a device are what their definition says (op.h). */
static void run_collective(struct trial *trial, int rank)
{
    const struct op_call *call = &trial->calls[rank];
    struct tensor *result = &trial->results[rank][0];
    struct shape shape = call->outputs[0].shape, piece = call->inputs[0].shape;
    int members[RANKS], own = 0;
    int count =
        mesh_members(trial->spread->mesh, rank, (enum comm_group)call->parameters.group, members);
    for (int m = 0; m < count; m++)
        own = members[m] == rank ? m : own;
    *result =
        tensor_of(memory_zeroed((size_t)shape_elements(shape), sizeof(double)), DTYPE_F64, shape);
    for (int64_t i = 0; i < shape_elements(shape); i++) {
        double number = 0;
        int64_t elements = shape_elements(piece), at = i;
        if (call->op == OP_REDUCE_SCATTER)
            at += own * shape_elements(shape);
        for (int m = 0; m < count; m++) {
            const struct tensor *theirs = &trial->calls[members[m]].inputs[0];
            bool sums = call->op == OP_ALL_REDUCE || call->op == OP_REDUCE_SCATTER;
            if (sums)
                number += tensor_load(theirs, at) / (call->parameters.average ? count : 1);
            else if (call->op == OP_ALL_GATHER && at / elements == m)
                number = tensor_load(theirs, at % elements);
            else if (call->op == OP_BROADCAST && m == 0)
                number = tensor_load(theirs, at);
        }
        tensor_store(result, i, number);
    }
}

static void run_rank(struct trial *trial, int rank)
{
    struct status status = STATUS_NONE;
    if (op_is_collective(trial->sample->op))
        run_collective(trial, rank);
    else if (!reference_run(&trial->calls[rank], trial->results[rank], &status))
        fail_msg("%s: %s", op_name(trial->sample->op), status.text);
}

/* ---- the whole, from the parts ---- */

/* Element of a rank's result, summed over the groups over which it is a summand. */
static double summed(const struct trial *trial, int output, int rank, int64_t element, int group)
{
    while (group < COMM_GROUP_COUNT && !(trial->outputs[output].partial >> group & 1))
        group++;
    if (group == COMM_GROUP_COUNT)
        return tensor_load(&trial->results[rank][output], element);
    int members[RANKS];
    int count = mesh_members(trial->spread->mesh, rank, (enum comm_group)group, members);
    double sum = 0;
    for (int m = 0; m < count; m++)
        sum += summed(trial, output, members[m], element, group + 1);
    return sum;
}

/* Logarithm of the sum of what the parts of a vocabulary have, which are rows of the result. */
static double summed_parts(const struct trial *trial, int rank, int64_t token, int cut)
{
    const struct layout *layout = &trial->outputs[0];
    while (cut < layout->cut_count && layout->cuts[cut].dimension != 0)
        cut++;
    if (cut == layout->cut_count)
        return exp(tensor_load(&trial->results[rank][0], token));
    int members[RANKS];
    int count = mesh_members(trial->spread->mesh, rank, layout->cuts[cut].group, members);
    double sum = 0;
    for (int m = 0; m < count; m++)
        sum += summed_parts(trial, members[m], token, cut + 1);
    return sum;
}

static void compare_parts(const struct trial *trial, const struct tensor *whole)
{
    struct layout tokens = {0};
    char text[1200];
    describe(trial, text, sizeof(text));
    for (int i = 0; i < trial->outputs[0].cut_count; i++)
        if (trial->outputs[0].cuts[i].dimension == 1)
            tokens.cuts[tokens.cut_count++] = trial->outputs[0].cuts[i];
    for (int rank = 0; rank < RANKS; rank++)
        for (int64_t t = 0; t < trial->results[rank][0].shape.dims[1]; t++) {
            struct seat seat = {*trial->spread->mesh, rank};
            struct shard shard = layout_shard(&tokens, &seat, trial->results[rank][0].shape);
            int64_t token = parts_whole_index(&shard, t);
            double expected = tensor_load(whole, token);
            double number = log(summed_parts(trial, rank, t, 0));
            if (!(fabs(number - expected) <= 1e-3))
                fail_msg("%s: the parts that rank %d knows make %g, not %g", text, rank, number,
                         expected);
        }
}

static double expected_number(const struct trial *trial, int output, int rank, int64_t element,
                              const struct tensor *whole)
{
    struct seat seat = {*trial->spread->mesh, rank};
    double number = tensor_load(whole, element);
    if (trial->sample->outputs_mean[output] == MEANS_SLOTS)
        return parts_own_slot(&trial->outputs[output], &seat, shape_elements(whole->shape), number);
    if (trial->sample->outputs_mean[output] == MEANS_ENDS)
        return number * (double)trial->calls[rank].inputs[0].shape.dims[0] /
               (double)trial->sample->inputs[0].shape.dims[0];
    return number;
}

static void compare_output(const struct trial *trial, int output, const struct tensor *whole)
{
    char text[1200];
    for (int rank = 0; rank < RANKS; rank++) {
        struct seat seat = {*trial->spread->mesh, rank};
        struct shape local = trial->results[rank][output].shape;
        struct shard shard = layout_shard(&trial->outputs[output], &seat, local);
        struct shape global = shard.global.rank ? shard.global : local;
        if (rank == 0)
            describe(trial, text, sizeof(text));
        if (!shape_equal(global, whole->shape))
            fail_msg("%s: result %d has another shape", text, output);
        for (int64_t i = 0; i < shape_elements(local); i++) {
            double expected =
                expected_number(trial, output, rank, parts_whole_index(&shard, i), whole);
            double number = summed(trial, output, rank, i, 0);
            if (!(fabs(number - expected) <= 1e-3 * (1 + fabs(expected))))
                fail_msg("%s: result %d of rank %d has %g at %d, not %g", text, output, rank,
                         number, (int)i, expected);
        }
    }
}

/* What one rank alone computes: a collective of one rank copies. */
static void run_alone(const struct sample *sample, struct tensor results[OP_MAX_OUTPUTS])
{
    struct status status = STATUS_NONE;
    struct op_call call = {.op = op_is_collective(sample->op) ? OP_COPY : sample->op,
                           .parameters = sample->parameters,
                           .input_count = sample->input_count,
                           .output_count = sample->output_count};
    memcpy(call.inputs, sample->inputs, sizeof(call.inputs));
    memcpy(call.outputs, sample->outputs, sizeof(call.outputs));
    if (sample->op == OP_SEND || sample->op == OP_RECEIVE)
        return;
    if (!reference_run(&call, results, &status))
        fail_msg("%s: %s", op_name(sample->op), status.text);
}

/* ---- trials ---- */

static bool cuts_rows(const struct layout *layout)
{
    for (int i = 0; i < layout->cut_count; i++)
        if (layout->cuts[i].dimension == 0)
            return true;
    return false;
}

static bool is_excepted(const struct trial *trial)
{
    switch (trial->sample->op) {
    case OP_SLICE_ROWS:
    case OP_WRITE_ROWS:
    case OP_LOAD_BALANCE:
    case OP_LOAD_BALANCE_GRADIENT:
        return cuts_rows(&trial->spread->inputs[0]);
    case OP_SUM_SQUARES:
    case OP_SEND:
    case OP_RECEIVE:
        return true;
    default:
        return false;
    }
}

static void compute(struct trial *trial, const struct tensor *whole)
{
    const struct sample *sample = trial->sample;
    char text[1200];
    describe(trial, text, sizeof(text));
    for (int rank = 0; rank < RANKS; rank++) {
        struct seat seat = {*trial->spread->mesh, rank};
        for (int i = 0; i < sample->input_count; i++) {
            const struct layout *layout = &trial->spread->inputs[i];
            struct op_call *call = &trial->calls[rank];
            if (sample->inputs[i].dtype == DTYPE_I32 && layout->partial)
                fail_msg("%s: summands of indices", text);
            call->inputs[i].data = parts_make(sample, i, layout, &seat, call);
            if (!call->inputs[i].data)
                fail_msg("%s: slots of tokens that rank %d has not", text, rank);
            call->inputs[i].row_stride = shape_columns(call->inputs[i].shape);
        }
    }
    for (int rank = 0; rank < RANKS; rank++)
        run_rank(trial, rank);
    for (int output = 0; output < sample->output_count; output++)
        if (sample->op == OP_CROSS_ENTROPY_PART && output == 0)
            compare_parts(trial, &whole[output]);
        else
            compare_output(trial, output, &whole[output]);
}

static void try_spread(const struct sample *sample, const struct tensor *whole,
                       const struct spread *spread, struct counts *counts)
{
    const struct seat first = {*spread->mesh, 0};
    enum comm_group group = (enum comm_group)sample->parameters.group;
    if (op_is_collective(sample->op) && seat_size(&first, group) == 1)
        return; /* never emitted */
    struct trial *trial = memory_zeroed(1, sizeof(*trial));
    trial->sample = sample;
    trial->spread = spread;
    bool divides = true, allowed = true;
    for (int rank = 0; divides && rank < RANKS; rank++) {
        struct seat seat = {*trial->spread->mesh, rank};
        divides =
            sample_local(sample, spread->inputs, spread->has_expected ? &spread->expected : NULL,
                         &seat, &trial->calls[rank]);
        allowed = divides && allowed && is_allowed(trial, rank);
    }
    if (divides) {
        counts->tried++;
        counts->refused += !allowed;
        counts->passed_over += allowed && is_excepted(trial);
        counts->computed += allowed && !is_excepted(trial);
        if (allowed && !is_excepted(trial))
            compute(trial, whole);
    }
    trial_end(trial);
    free(trial);
}

/* ---- ways to spread ---- */

static bool overlaps(const struct layout *layout, enum comm_group group)
{
    unsigned seen = layout->partial;
    for (int i = 0; i < layout->cut_count; i++)
        seen |= layout_covers(layout->cuts[i].group);
    for (int other = 0; other < COMM_GROUP_COUNT; other++)
        if (layout->partial >> other & 1)
            seen |= layout_covers((enum comm_group)other);
    return seen & layout_covers(group);
}

/* axis 0: rows, 1: columns, 2: a summand. A group knows a value once. */
static void spread_over(struct layout *layout, const struct seat *seat, int axis, int parts,
                        enum comm_group group)
{
    if (overlaps(layout, group) || seat_size(seat, group) == 1)
        return;
    if (axis == 2)
        layout->partial |= 1u << group;
    else
        layout_cut(layout, seat, axis, parts, group);
}

static void spread_randomly(struct layout *layout, const struct mesh *mesh, int rank,
                            struct random *random, int theme)
{
    static const int parts[] = {1, 1, 1, 2, KIND_EXPERTS};
    struct seat seat = {*mesh, 0};
    int cuts = (int)random_integer(random, 0, 9);
    for (int i = 0; i < (cuts > 8 ? 2 : cuts > 2 ? 1 : 0); i++) {
        bool own = random_integer(random, 0, 3) == 0;
        int group = own ? (int)random_integer(random, 0, COMM_GROUP_COUNT - 1) : theme;
        int axis = (int)random_integer(random, 0, 5);
        axis = axis == 5 ? 2 : axis % 2;
        if (axis < rank || axis == 2)
            spread_over(layout, &seat, axis, parts[random_integer(random, 0, 4)],
                        (enum comm_group)group);
    }
}

/* As most programs have it: what is of the same rows is cut in the same way. */
static bool spread_like_another(const struct sample *sample, struct spread *spread, int input,
                                struct random *random)
{
    if (input == 0 || random_integer(random, 0, 3) == 0)
        return false;
    int other = (int)random_integer(random, 0, input - 1);
    const struct shape *mine = &sample->inputs[input].shape, *theirs = &sample->inputs[other].shape;
    if (mine->dims[0] != theirs->dims[0])
        return false;
    for (int i = 0; i < spread->inputs[other].cut_count; i++) {
        const struct layout_cut *cut = &spread->inputs[other].cuts[i];
        if (cut->dimension < mine->rank)
            spread->inputs[input].cuts[spread->inputs[input].cut_count++] = *cut;
    }
    return true;
}

static bool is_told(enum op op)
{
    return op == OP_FILL || op == OP_RECEIVE || op == OP_EMBEDDING_GRADIENT ||
           op == OP_GATHER_ROWS_GRADIENT;
}

/* Each operand by itself, along each axis, in one or two parts, over each group. */
static void try_each(const struct sample *sample, const struct mesh *mesh,
                     const struct tensor *whole, struct counts *counts)
{
    struct seat seat = {*mesh, 0};
    for (int input = 0; input < sample->input_count; input++)
        for (int axis = 0; axis < 3; axis++)
            for (int parts = 1; parts <= (axis < 2 ? 2 : 1); parts++)
                for (int group = 0; group < COMM_GROUP_COUNT; group++) {
                    struct spread spread = {.mesh = mesh};
                    if (axis >= sample->inputs[input].shape.rank && axis < 2)
                        continue;
                    spread_over(&spread.inputs[input], &seat, axis, parts, (enum comm_group)group);
                    try_spread(sample, whole, &spread, counts);
                }
}

static void try_kind(enum op op, struct random *random, struct counts *counts)
{
    for (int i = 0; i < RANDOM_SPREADS; i++) {
        struct sample sample;
        struct tensor whole[OP_MAX_OUTPUTS] = {{0}};
        struct spread spread = {.mesh = &meshes[i % 2],
                                .has_expected = is_told(op) && random_integer(random, 0, 3) > 0};
        int theme = (int)random_integer(random, 0, COMM_GROUP_COUNT - 1);
        sample_make(&sample, op, random);
        run_alone(&sample, whole);
        if (i % (RANDOM_SPREADS / 4) == 0) /* with other parameters, in both meshes */
            try_each(&sample, spread.mesh, whole, counts);
        for (int input = 0; input < sample.input_count; input++)
            if (!spread_like_another(&sample, &spread, input, random))
                spread_randomly(&spread.inputs[input], spread.mesh, sample.inputs[input].shape.rank,
                                random, theme);
        if (spread.has_expected)
            spread_randomly(&spread.expected, spread.mesh, 2, random, theme);
        try_spread(&sample, whole, &spread, counts);
        for (int output = 0; output < sample.output_count; output++)
            free(whole[output].data);
        sample_free(&sample);
    }
}

/* Linear in one operand, whose parts and summands it takes as they are. */
static bool takes_all(enum op op)
{
    return op == OP_COPY || op == OP_SCALE || op == OP_BIAS_GRADIENT || op == OP_RECEIVE;
}

static void test_kinds(void **state)
{
    struct random random = random_start("layouts in numbers");
    struct counts all = {0};
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        struct counts counts = {0};
        /* of some kinds few layouts are right, and none may have been drawn */
        for (int round = 0; round < 20 && counts.computed + counts.passed_over == 0; round++)
            try_kind((enum op)op, &random, &counts);
        print_message("%-26s %5d ways: %5d refused, %4d computed, %3d excepted\n",
                      op_name((enum op)op), counts.tried, counts.refused, counts.computed,
                      counts.passed_over);
        if (!takes_all((enum op)op))
            assert_true(counts.refused > 0);
        assert_true(counts.computed + counts.passed_over > 0);
        all.tried += counts.tried;
        all.refused += counts.refused;
        all.computed += counts.computed;
    }
    print_message("%d ways to spread operands: %d refused, %d computed\n", all.tried, all.refused,
                  all.computed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
