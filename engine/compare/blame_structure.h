/* What the reference has in place of a value behind a divergence, and whether its program computes
 * that in the same way. Looks at programs only, not at numbers. For blame.c. */
#ifndef ENGINE_COMPARE_BLAME_STRUCTURE_H
#define ENGINE_COMPARE_BLAME_STRUCTURE_H

#include "engine/compare/pair.h"

/* A computed value of the test, what the reference has in its place (-1: unknown), and the index of
 * the node that reads it (-1: none). */
struct structure_node {
    int value, other, parent;
};

/* The instruction that writes a value; NULL for none, or value < 0. */
const struct instruction *structure_producer(const struct program *program, int value);

/* What the reference has in place of input `i` of the instruction behind a node: the same operand
 * of the same instruction, or, for a part (of a micro-sequence, of a chunk of the loss, of a sum in
 * another order), the whole. -1: unknown. */
int structure_operand(const struct pair *pair, const struct structure_node *node, int i);

/* Whether the reference is known to compute the value in another way, other than layout, order and
 * precision of the two runs explain. False when it is not known what it has there. */
bool structure_differs(const struct pair *pair, const struct structure_node *node);

/* Whether the reference has the very same instruction somewhere: same kind and parameters, on the
 * same named values; or would have it, were it of the test's precision. */
bool structure_elsewhere(const struct pair *pair, int value);

#endif
