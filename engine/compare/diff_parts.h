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

/* How the names of a step say that its run was split. */
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

/* What two tensors have both kept, as views into their traces, of one shape. Element i of the views
 * is element first + i * stride of `part`. */
struct meeting {
    struct tensor whole, part;
    int64_t first, stride;
};

/* The elements that both have kept where those of `part` begin at element `offset` of `whole`.
 * False if there are none: both were sampled, and no sample is of one place. */
bool samples_meet(const struct trace_tensor *whole, const struct trace_tensor *part, int64_t offset,
                  struct meeting *meeting);

enum part_view {
    PART_MEETS,
    PART_SHAPE,   /* the part's shape is not that of the rows */
    PART_SAMPLED, /* no sample is of one place */
};

/* The same of rows `index` / `count` of `whole`, and of `part`, which is those rows. */
enum part_view part_align(const struct trace_tensor *whole, const struct trace_tensor *part,
                          int index, int count, struct meeting *meeting);

#endif
