/* The parts that the layout rules are made of, and the rules. Internal to engine/program. */
#ifndef ENGINE_PROGRAM_LAYOUT_INTERNAL_H
#define ENGINE_PROGRAM_LAYOUT_INTERNAL_H

#include "engine/program/layout.h"

/* The cuts of one dimension, in their order. */
struct layout_side {
    int count;
    struct {
        int parts;
        enum comm_group group;
    } cuts[SHARD_MAX_CUTS];
};

/* An instruction with its outputs' layouts as they are derived. */
struct layout_inference {
    const struct layout_call *call;
    struct layout *out;
    struct status *status;
};

/* Fails with both operands' layouts and `why`; `b` < 0: there is only one. */
bool layout_refuse(const struct layout_inference *it, int a, int b, const char *why);

/* The same of a result as it was derived. */
bool layout_refuse_result(const struct layout_inference *it, int output, const char *why);

struct layout_side layout_side(const struct layout *layout, int dimension);
bool layout_side_equal(const struct layout_side *a, const struct layout_side *b);
unsigned layout_side_groups(const struct layout_side *side); /* as bits */
/* Adds the cuts of a side as cuts of `dimension`, with their parts times `parts`. */
void layout_put(struct layout *layout, int dimension, const struct layout_side *side, int parts);
bool layout_same_cuts(const struct layout *a, const struct layout *b);
/* The groups over which it is cut, or a summand, as bits. */
unsigned layout_groups(const struct layout *layout);
/* The groups that two ranks of this group may both be in, as bits, itself among them. */
unsigned layout_overlap(enum comm_group group);
/* The rows of `of` and nothing else. */
struct layout layout_rows_like(const struct layout *of, unsigned partial);

/* What rules demand of inputs; false after layout_refuse. */
bool layout_same_side(const struct layout_inference *it, int a, int dimension_a, int b,
                      int dimension_b);
bool layout_complete(const struct layout_inference *it, int input);
bool layout_all_complete(const struct layout_inference *it, int first, int last);
bool layout_whole(const struct layout_inference *it, int input, int dimension);
/* Not several blocks of each: `first_row` is the place of the first, and the others follow it. */
bool layout_in_one_piece(const struct layout_inference *it, int input, int dimension);
/* The result of a product that sums over what is cut over `summed`. One operand may be a summand,
 * over groups that the other one does not know. */
bool layout_product(struct layout_inference *it, int a, int b, unsigned summed);

typedef bool layout_rule(struct layout_inference *it);
/* By kind; NULL: outputs are whole. */
layout_rule *layout_rule_of(enum op op);
layout_rule *layout_expert_rule_of(enum op op);

#endif
