/* One instruction of each kind, with random operands, as one rank alone would run it; and what a
 * rank runs that has a part of the operands: parameters and shapes as the emitters of builder.h
 * give them. */
#ifndef TESTS_UNIT_ENGINE_PROGRAM_HELPER_KINDS_H
#define TESTS_UNIT_ENGINE_PROGRAM_HELPER_KINDS_H

#include "engine/program/layout.h"
#include "tests/unit/random.h"

enum { KIND_EXPERTS = 2 };

/* What the numbers of an operand mean, where a part of them means something else. */
enum meaning {
    MEANS_ITSELF = 0,
    MEANS_SLOTS, /* token * choices + choice, sorted by expert: a rank counts its own tokens */
    MEANS_ENDS,  /* of the rows of each expert: a rank counts its own rows */
};

struct sample {
    enum op op;
    struct op_parameters parameters;
    int input_count, output_count;
    struct tensor inputs[OP_MAX_INPUTS];   /* whole; data owned */
    struct tensor outputs[OP_MAX_OUTPUTS]; /* dtypes and shapes */
    enum meaning inputs_mean[OP_MAX_INPUTS], outputs_mean[OP_MAX_OUTPUTS];
};

/* Every choice that a kind has (transposes, a bias, groups of heads) is made at random. */
void sample_make(struct sample *sample, enum op op, struct random *random);
void sample_free(struct sample *sample);

/* The call of one rank whose operands are spread like that: without data. `expected` is the layout
 * that the first output is to have, of kinds that need to be told (layout.h). False: the operands
 * do not divide evenly. */
bool sample_local(const struct sample *sample, const struct layout *layouts,
                  const struct layout *expected, const struct seat *seat, struct op_call *call);

#endif
