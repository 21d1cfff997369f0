/* The listing of a program as a tree that folds: passes (a phase of a micro-batch), layers,
 * instructions. Each node carries the worst of what is below it. Pure: no terminal, no session. */
#ifndef UI_PROGRAM_TREE_H
#define UI_PROGRAM_TREE_H

#include "engine/session/pictures.h"

enum tree_level { TREE_PASS = 0, TREE_LAYER, TREE_INSTRUCTION };

struct tree_node {
    enum tree_level level;
    int first, last; /* instructions, inclusive */
    int parent;      /* node, -1 */
    bool folded;
    char *label; /* owned */
    struct picture_mark mark;
};

struct program_tree {
    struct tree_node *nodes; /* in listing order: a node comes before those below it */
    int count, capacity;
    int *visible; /* nodes that no fold hides */
    int visible_count;
    int *leaves; /* [instructions]: the node of each */
    int instruction_count;
};

/* Everything folded. Zero-initialise; free with program_tree_free. */
void program_tree_build(struct program_tree *tree, const struct program_picture *program);
void program_tree_free(struct program_tree *tree);
/* Takes over the marks of all instructions. */
void program_tree_mark(struct program_tree *tree, const struct state_picture *state);
void program_tree_fold(struct program_tree *tree, int node, bool folded);
void program_tree_fold_all(struct program_tree *tree);
/* Unfolds what hides the instruction; returns its row among the visible ones. */
int program_tree_reveal(struct program_tree *tree, int instruction);
/* The row of a node, or of what hides it. */
int program_tree_row(const struct program_tree *tree, int node);
/* The first instruction after (direction 1) or before (-1) `from` that is diverged or NaN; -1. */
int program_tree_divergence(const struct program_tree *tree, int from, int direction);

struct json_t;
/* A node as a new JSON object, and the node that such an object is about: -1 when the program has
 * no such row, or the object is something else. */
struct json_t *program_tree_json(const struct program_tree *tree, int index);
int program_tree_find(const struct program_tree *tree, const struct json_t *json);

#endif
