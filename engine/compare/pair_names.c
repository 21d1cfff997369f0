/* Which values of the two programs are the same tensor. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/tensor/shard.h"

#include <stdlib.h>
#include <string.h>

/* Rows of experts' tensors are in the order of the experts, not of the tokens. */
static bool rows_are_tokens(const struct program *program, const struct value *value)
{
    const char *mlp = strstr(value->path, ".mlp.");
    if (!mlp || strncmp(mlp, ".mlp.router", 11) == 0 || strcmp(mlp, ".mlp.output") == 0)
        return true;
    for (int i = 0; i < program->instruction_count; i++)
        if (program->instructions[i].op == OP_GATHER_ROWS)
            return false;
    return true;
}

char *pair_whole_name(const struct value *value)
{
    const char *suffix = strstr(value->name, " ms=");
    return suffix ? memory_string_part(value->name, (size_t)(suffix - value->name)) : NULL;
}

bool pair_is_rows_of(const struct program *program, const struct value *value, struct shape whole,
                     struct shard *place)
{
    if ((value->what != WHAT_FW && value->what != WHAT_BW) || !rows_are_tokens(program, value))
        return false;
    *place = shard_whole(whole);
    if (!shard_cut(place, 0, 1, value->origin.micro_sequences, value->origin.micro_sequence) ||
        !shape_equal(shard_local_shape(place), pair_whole_shape(value)))
        return false;
    for (int i = 0; i < value->shard.cut_count; i++) {
        const struct shard_cut *cut = &value->shard.cuts[i];
        if (!shard_cut(place, cut->dimension, cut->parts, cut->pieces, cut->index))
            return false;
    }
    return true;
}

/* A micro-sequence ("fw X ms=1/4") has its rows in the whole tensor ("fw X"), if the reference does
 * not split it: tokens are rows, and micro-sequences are equal parts in order. */
static void match_rows(struct pair *pair, int value)
{
    const struct value *of = &pair->test->program->values[value];
    char *name = pair_whole_name(of);
    int other = name ? program_find(pair->reference_program, name) : -1;
    struct shard place;
    free(name);
    if (other < 0 || !pair_is_rows_of(pair->test->program, of,
                                      pair->reference_program->values[other].shape, &place))
        return;
    pair->reference_value[value] = other;
    pair->reference_row[value] = of->origin.micro_sequence * pair_whole_shape(of).dims[0];
    pair->test_value[other] = value;
}

/* A name that several values of one program carry one after the other (running totals) means its
 * last one on both sides. */
void pair_match_names(struct pair *pair)
{
    const struct program *test = pair->test->program, *reference = pair->reference_program;
    for (int v = 0; v < reference->value_count; v++)
        pair->test_value[v] = -1;
    for (int i = 0; i < test->by_name.count; i++) {
        int value = test->by_name.values[i];
        int other = program_find(reference, test->by_name.names[i]);
        if (pair->reference_value[value] >= 0)
            continue;
        if (other < 0) {
            match_rows(pair, value);
            continue;
        }
        pair->reference_value[value] = other;
        pair->test_value[other] = value;
    }
}
