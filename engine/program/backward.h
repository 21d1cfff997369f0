/* The backward pass, derived instruction by instruction. */
#ifndef ENGINE_PROGRAM_BACKWARD_H
#define ENGINE_PROGRAM_BACKWARD_H

#include "engine/program/builder.h"

/* Emits the backward instructions of the forward instructions first .. last-1, in reverse order.
 * Gradients that already reached their outputs (from later instructions) are in
 * builder->gradient; gradients of their inputs are left there. Gradients of parameters are
 * accumulated in f32 over all calls: builder->gradient of the parameter's master value.
 * Loss instructions are roots: their gradient is builder->loss_scale. The builder's origin must
 * hold the micro-batch; phase, layer and part are taken from the forward instructions. */
void backward_emit(struct builder *builder, int first, int last);

#endif
