/* Random calls of every operation, and their comparison on a device with the float64 reference:
 * the same cases for every device.
 *
 * A case's tensors lie in host blocks full of 0xff bytes (NaN as a float, -1 as an index): before
 * the first row, between strided rows and after the last; outputs are all 0xff. A kernel that
 * reads what it should not gets NaN; one that writes there is seen. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_HELPER_OP_CASES_H
#define TESTS_UNIT_ENGINE_DEVICE_HELPER_OP_CASES_H

#include "engine/device/device.h"
#include "tests/unit/random.h"

enum { OP_CASE_OPERANDS = OP_MAX_INPUTS + OP_MAX_OUTPUTS };

struct op_block {
    unsigned char *memory; /* owned */
    size_t bytes, offset;  /* of the whole block; of the first element */
};

struct op_case {
    struct op_call call;                      /* data pointers lead into the blocks */
    struct op_block blocks[OP_CASE_OPERANDS]; /* inputs, then outputs from OP_MAX_INPUTS */
    enum dtype dtype;   /* of the float operands, as far as the operation allows a choice */
    bool mixed_outputs; /* float outputs may be f32 besides `dtype` */
    bool mixed_inputs;  /* and so may inputs */
    struct random *random;
};

/* Whether the operation has float operands that can be of this type. */
bool op_case_has_dtype(enum op op, enum dtype dtype);
/* Makes a random valid case; op_case_free() it. Not for collectives. */
void op_case_make(struct op_case *it, enum op op, enum dtype dtype, struct random *random);
void op_case_free(struct op_case *it);
/* Kind, types, shapes, strides and parameters in one line, into `buffer`, which is returned. */
const char *op_case_text(const struct op_case *it, char *buffer, int size);

/* Runs the case on a device twice, and once more in place where that is allowed; false and a
 * text if it fails, gives other bits the second time, writes outside the rows of its outputs, or
 * is further from the reference than op_case_bounds() allows. */
bool op_case_check(struct op_case *it, const struct device_ops *ops, void *context,
                   struct status *status);

/* For each output, an f64 tensor of how far each element may be from `wanted` (the reference's
 * results); the caller frees their data. */
void op_case_bounds(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                    struct tensor bounds[OP_MAX_OUTPUTS]);

/* Checks `count` cases of a kind and type on a device. Fails the (cmocka) test on a wrong result,
 * and on an unsupported case whose floats are all of one type, which every device must run;
 * prints how many others were unsupported. */
void op_cases_run(enum op op, enum dtype dtype, int count, const struct device_ops *ops,
                  void *context, struct random *random);

/* For the parts of the generator: one operand of the case being made. Float operands: dtype
 * DTYPE_COUNT takes the case's type, or f32 in a mixed case. Inputs are to be filled. */
struct tensor *op_case_input(struct op_case *it, enum dtype dtype, struct shape shape);
struct tensor *op_case_output(struct op_case *it, enum dtype dtype, struct shape shape);
/* A size: 1 in one case of six, else small, odd or some dozens. */
int64_t op_case_size(struct op_case *it);
/* Fills it with normal numbers times `scale`; and an input of such numbers. */
void op_case_normal(struct op_case *it, struct tensor *tensor, double scale);
struct tensor *op_case_normal_input(struct op_case *it, enum dtype dtype, struct shape shape);
/* Runs `op` with the first `input_count` of `inputs` on the reference, for inputs that are results
 * of another operation. */
void op_case_reference(const struct op_case *it, enum op op, const struct tensor *inputs,
                       int input_count, const struct shape *shapes, int output_count,
                       struct tensor results[OP_MAX_OUTPUTS]);
/* Copies a result into an operand, with its rounding, and frees it. */
void op_case_take(struct tensor *to, struct tensor *result);
void op_case_make_routed(struct op_case *it, enum op op); /* the kinds from TOP_K to COMBINE */
bool op_case_is_routed(enum op op);

#endif
