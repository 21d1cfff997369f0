/* What backward rules do with the gradients that they emit. Internal to the backward pass. */
#ifndef ENGINE_PROGRAM_BACKWARD_INTERNAL_H
#define ENGINE_PROGRAM_BACKWARD_INTERNAL_H

#include "engine/program/backward.h"

/* Whether a gradient of the value is needed. */
bool backward_wanted(const struct builder *builder, int value);

/* Adds a contribution to the gradient of `value`; nothing if none is wanted. Contributions to one
 * value come in the order of the backward pass: their names count them. */
void backward_contribute(struct builder *builder, int value, int contribution);
/* Scatters the sum of the gradients of what `gather` (all_gather) gave, and contributes the rows to
 * its operand. `beside`: that has other contributions, so this one needs a name. */
void backward_scatter_summand(struct builder *builder, const struct instruction *gather,
                              bool beside);
/* All contributions to the gradient of a forward value are in: summands of it are added up. */
void backward_complete(struct builder *builder, int value);
/* A complete gradient gets its canonical name. */
void backward_name(struct builder *builder, int value);

#endif
