/* Changes of a compiled program that keep it consistent: what faults are made of. Before the
 * program is planned; engine thread. */
#ifndef ENGINE_PROGRAM_EDIT_H
#define ENGINE_PROGRAM_EDIT_H

#include "engine/program/program.h"

/* Puts an instruction (operands must exist) before instruction `index`, 0 to instruction_count;
 * later ones move up by one. It becomes the producer of its outputs. Returns `index`. */
int program_insert_instruction(struct program *program, int index,
                               const struct instruction *instruction);

/* Adds an unnamed computed value with the shape, origin and memory class of `like`, in `dtype`.
 * Returns its id. */
int program_add_value_like(struct program *program, int like, enum dtype dtype);

/* `heir`, which must have a producer, takes the place of `value`: the canonical name and all names
 * that lead to it, log point, gradient, the state that it becomes, its place among the outputs of
 * the step and gradients of parameters, and every use by instructions after the producer of `heir`.
 * `value` stays, unnamed. */
void program_take_over(struct program *program, int value, int heir);

#endif
