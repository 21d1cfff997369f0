/* The shape and dtype rule of every instruction kind. */
#ifndef ENGINE_PROGRAM_RULES_H
#define ENGINE_PROGRAM_RULES_H

#include "engine/base/status.h"
#include "engine/tensor/op.h"

/* Whether the operands of a call fit its kind (numbers of operands, shapes, dtypes, parameters).
 * On failure the status says which operand and why. Data pointers are not looked at. */
bool rules_check(const struct op_call *call, struct status *status);

#endif
