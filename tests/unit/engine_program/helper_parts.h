/* The numbers that a rank has of an operand that is spread over ranks. */
#ifndef TESTS_UNIT_ENGINE_PROGRAM_HELPER_PARTS_H
#define TESTS_UNIT_ENGINE_PROGRAM_HELPER_PARTS_H

#include "helper_kinds.h"

/* The index in the whole tensor of an element of a part; flat, both. */
int64_t parts_whole_index(const struct shard *shard, int64_t index);
/* A slot as a rank counts it that has slots laid out like that, of `count` in all: it counts its
 * own tokens. NAN: it has not that token. */
double parts_own_slot(const struct layout *slots, const struct seat *seat, int64_t count,
                      double slot);
/* A rank's part of an operand, or its summand of that, for the call that it makes; free it. NULL: a
 * slot is of a token that the rank has not. */
void *parts_make(const struct sample *sample, int input, const struct layout *layout,
                 const struct seat *seat, const struct op_call *call);

#endif
