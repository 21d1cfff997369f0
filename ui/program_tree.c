#include "ui/program_tree.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_pass(const struct picture_instruction *a, const struct picture_instruction *b)
{
    return a->phase == b->phase && a->stage == b->stage && a->micro_batch == b->micro_batch &&
           a->micro_sequence == b->micro_sequence;
}

/* How many instructions the pass has in all its stages. */
static int pass_instructions(const struct program_picture *program,
                             const struct picture_instruction *row)
{
    int count = 0;
    for (int i = 0; i < program->instruction_count; i++) {
        const struct picture_instruction *other = &program->instructions[i];
        count += other->phase == row->phase && other->micro_batch == row->micro_batch &&
                 other->micro_sequence == row->micro_sequence;
    }
    return count;
}

/* "backward  batch 2/4  sequence 1/2", with the layers where stages divide a pass. */
static char *pass_label(const struct program_picture *program, int first, int last)
{
    const struct picture_instruction *row = &program->instructions[first];
    const char *from = row->layer, *to = program->instructions[last].layer;
    bool divided = last - first + 1 < pass_instructions(program, row);
    char batch[48] = "", sequence[48] = "";
    if (row->micro_batch >= 0 && row->micro_batches > 1)
        snprintf(batch, sizeof(batch), "  batch %d/%d", row->micro_batch + 1, row->micro_batches);
    if (row->micro_sequence >= 0 && row->micro_sequences > 1)
        snprintf(sequence, sizeof(sequence), "  sequence %d/%d", row->micro_sequence + 1,
                 row->micro_sequences);
    if (divided && from[0] && strcmp(from, to) == 0)
        return memory_format("%s%s%s  %s", phase_name(row->phase), batch, sequence, from);
    if (divided && from[0])
        return memory_format("%s%s%s  %s to %s", phase_name(row->phase), batch, sequence, from, to);
    return memory_format("%s%s%s", phase_name(row->phase), batch, sequence);
}

static int add_node(struct program_tree *tree, enum tree_level level, int index, int parent,
                    char *label)
{
    struct tree_node node = {.level = level,
                             .first = index,
                             .last = index,
                             .parent = parent,
                             .folded = level != TREE_INSTRUCTION,
                             .label = label};
    ARRAY_PUSH(tree->nodes, tree->count, tree->capacity, node);
    return tree->count - 1;
}

static void list_visible(struct program_tree *tree)
{
    tree->visible_count = 0;
    for (int n = 0; n < tree->count; n++) {
        int parent = tree->nodes[n].parent;
        bool hidden = false;
        for (; parent >= 0; parent = tree->nodes[parent].parent)
            hidden = hidden || tree->nodes[parent].folded;
        if (!hidden)
            tree->visible[tree->visible_count++] = n;
    }
}

void program_tree_build(struct program_tree *tree, const struct program_picture *program)
{
    int pass = -1, layer = -1;
    program_tree_free(tree);
    tree->instruction_count = program->instruction_count;
    tree->leaves = memory_zeroed((size_t)program->instruction_count, sizeof(int));
    for (int i = 0; i < program->instruction_count; i++) {
        const struct picture_instruction *row = &program->instructions[i];
        const struct picture_instruction *before = i > 0 ? row - 1 : NULL;
        bool new_pass = !before || !same_pass(before, row);
        if (new_pass)
            pass = add_node(tree, TREE_PASS, i, -1, NULL);
        if (new_pass || strcmp(before->layer, row->layer) != 0)
            layer = add_node(tree, TREE_LAYER, i, pass,
                             memory_string(row->layer[0] ? row->layer : "(step)"));
        tree->leaves[i] = add_node(tree, TREE_INSTRUCTION, i, layer, NULL);
        tree->nodes[pass].last = tree->nodes[layer].last = i;
    }
    for (int n = 0; n < tree->count; n++)
        if (tree->nodes[n].level == TREE_PASS)
            tree->nodes[n].label = pass_label(program, tree->nodes[n].first, tree->nodes[n].last);
    tree->visible = memory_zeroed((size_t)tree->count, sizeof(int));
    list_visible(tree);
}

void program_tree_free(struct program_tree *tree)
{
    for (int n = 0; n < tree->count; n++)
        free(tree->nodes[n].label);
    free(tree->nodes);
    free(tree->visible);
    free(tree->leaves);
    *tree = (struct program_tree){0};
}

static void add_mark(struct picture_mark *sum, const struct picture_mark *one)
{
    /* Half done is not done: pending below shows only while nothing was compared. */
    if (one->status > sum->status)
        sum->status = one->status;
    if (!(sum->worst >= one->worst) && !isnan(one->worst))
        sum->worst = one->worst;
    if (!(sum->error >= one->error) && !isnan(one->error))
        sum->error = one->error;
    if (one->breakpoint > sum->breakpoint)
        sum->breakpoint = one->breakpoint;
}

void program_tree_mark(struct program_tree *tree, const struct state_picture *state)
{
    const struct picture_mark none = {.worst = NAN, .error = NAN};
    for (int n = 0; n < tree->count; n++)
        tree->nodes[n].mark = none;
    for (int i = 0; i < tree->instruction_count && i < state->instruction_count; i++)
        for (int n = tree->leaves[i]; n >= 0; n = tree->nodes[n].parent)
            add_mark(&tree->nodes[n].mark, &state->instructions[i]);
}

void program_tree_fold(struct program_tree *tree, int node, bool folded)
{
    if (tree->nodes[node].level != TREE_INSTRUCTION)
        tree->nodes[node].folded = folded;
    list_visible(tree);
}

void program_tree_fold_all(struct program_tree *tree)
{
    for (int n = 0; n < tree->count; n++)
        tree->nodes[n].folded = tree->nodes[n].level != TREE_INSTRUCTION;
    list_visible(tree);
}

int program_tree_row(const struct program_tree *tree, int node)
{
    int low = 0, high = tree->visible_count - 1;
    while (low < high) { /* the last visible node that is not behind `node` */
        int middle = (low + high + 1) / 2;
        if (tree->visible[middle] <= node)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int program_tree_reveal(struct program_tree *tree, int instruction)
{
    int leaf = tree->leaves[instruction];
    for (int n = tree->nodes[leaf].parent; n >= 0; n = tree->nodes[n].parent)
        tree->nodes[n].folded = false;
    list_visible(tree);
    return program_tree_row(tree, leaf);
}

int program_tree_divergence(const struct program_tree *tree, int from, int direction)
{
    for (int i = from + direction; i >= 0 && i < tree->instruction_count; i += direction)
        if (tree->nodes[tree->leaves[i]].mark.status >= MARK_DIVERGED)
            return i;
    return -1;
}
