/* Names of two traces of which one run was split: a micro-sequence ("fw X ms=1/4") has its rows in
 * the other's whole tensor ("fw X"). As pair_names.c, of names and shapes alone. */
#ifndef ENGINE_COMPARE_DIFF_PARTS_H
#define ENGINE_COMPARE_DIFF_PARTS_H

#include "engine/trace/trace.h"

/* How the run was split that recorded a step. */
struct split {
    int micro_sequences; /* 0: names have none */
    bool chunks;         /* the loss was computed in chunks of tokens */
    bool experts;        /* it has a mixture of experts */
};

struct split split_of(const struct trace_step *step);

/* The micro-sequence that a name is of: its number, and how many there are; `whole` gets the name
 * without it, to be freed. False if it is of none. */
bool part_of_name(const char *name, int *index, int *count, char **whole);
/* The name of a part of `whole`; to be freed. */
char *part_name(const char *whole, int index, int count);

/* Whether a name of a run that is split (or, in the other run, what takes its place) has no
 * counterpart in the other for that reason alone: contributions of micro-sequences and chunks,
 * gathered keys and values, the logits of all chunks. */
bool split_explains(const struct split *split, const struct split *other, const char *name);

/* Whether rows of tensors of this name are tokens in order, so that parts are rows of the whole. */
bool parts_are_rows(const struct split *split, const char *name);

enum part_view { PART_MEETS, PART_SHAPE, PART_SAMPLED };

/* Elements of rows `index` / `count` of `whole` and of `part`, which are those rows, that both have
 * kept: views into the traces. Element i of the views is element *first + i * *stride of the part.
 * PART_SHAPE: the part's shape is not that of the rows; PART_SAMPLED: no sample is of one place. */
enum part_view part_align(const struct trace_tensor *whole, const struct trace_tensor *part,
                          int index, int count, struct tensor *whole_view, struct tensor *part_view,
                          int64_t *first, int64_t *stride);

#endif
