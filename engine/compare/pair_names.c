/* Which values of the two programs are the same tensor. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"

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

/* A micro-sequence ("fw X ms=1/4") has its rows in the whole tensor ("fw X"), if the reference does
 * not split it: tokens are rows, and micro-sequences are equal parts in order. */
static void match_rows(struct pair *pair, int value)
{
    const struct value *of = &pair->test->program->values[value];
    const char *suffix = strstr(of->name, " ms=");
    if (!suffix || (of->what != WHAT_FW && of->what != WHAT_BW) ||
        !rows_are_tokens(pair->test->program, of))
        return;
    char *name = memory_string_part(of->name, (size_t)(suffix - of->name));
    int other = program_find(pair->reference_program, name);
    free(name);
    if (other < 0)
        return;
    struct shape whole = pair->reference_program->values[other].shape;
    whole.dims[0] /= of->origin.micro_sequences;
    if (!shape_equal(whole, pair_whole_shape(of)) ||
        whole.dims[0] * of->origin.micro_sequences !=
            pair->reference_program->values[other].shape.dims[0])
        return;
    pair->reference_value[value] = other;
    pair->reference_row[value] = of->origin.micro_sequence * whole.dims[0];
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
