#include "engine/tensor/op.h"

#include <string.h>

static const char *const names[OP_COUNT] = {
#define OP_NAME(suffix, name, minimum, maximum, outputs) name,
    OP_LIST(OP_NAME)
#undef OP_NAME
};

const char *op_name(enum op op)
{
    return names[op];
}

bool op_find(const char *name, enum op *op)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *op = (enum op)i;
            return true;
        }
    return false;
}

bool op_is_collective(enum op op)
{
    return op >= OP_ALL_REDUCE;
}

int op_in_place(enum op op, int output)
{
    switch (op) {
    case OP_SCALE:
    case OP_ADD:
    case OP_ACCUMULATE:
    case OP_WRITE_ROWS:
    case OP_ADD_BIAS:
    case OP_ROTARY:
    case OP_ACTIVATION_GRADIENT:
    case OP_SUM_SQUARES:
    case OP_ALL_REDUCE:
    case OP_BROADCAST:
        return output == 0 ? 0 : -1;
    case OP_OPTIMIZER_FACTORS:
        return output == 1 ? 2 : -1;
    case OP_ADAMW: /* outputs p, m, v; inputs p, g, m, v */
        return output == 0 ? 0 : output + 1;
    default:
        return -1;
    }
}
