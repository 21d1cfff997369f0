/* What lies behind a value, as the walk of blame.c sees it, and who stands out there. Internal to
 * the walk; the thread that owns the pair. */
#ifndef ENGINE_COMPARE_BLAME_REGION_H
#define ENGINE_COMPARE_BLAME_REGION_H

#include "engine/compare/blame_structure.h"
#include "engine/compare/check.h"

/* Values of the current step and who reads them. Free with region_free. */
struct region {
    struct structure_node *nodes; /* nearest to the start first */
    int count, capacity;
    unsigned char *seen; /* by value */
    int worst;           /* the worst diverged value at the border, -1 if none diverged */
    int worst_reader;    /* the node that reads it */
    double worst_ratio;
    int faint; /* the border value with the largest error within limits, -1 if there is only noise
                */
    int faint_reader;
    double faint_error;
};

/* The value's region: all that lies between it and the compared values it was computed from. */
struct region region_behind(struct pair *pair, int value);
/* Nothing yet. Then values are added, and all that was computed in this step behind them; that sets
 * *reads_states when there is more in the step before. */
struct region region_empty(const struct pair *pair);
void region_add(const struct pair *pair, struct region *region, int value, int other, int parent);
void region_grow_whole(const struct pair *pair, struct region *region, bool *reads_states);
void region_free(struct region *region);

/* Whether the programs can be compared with each other: not where they have other pieces, since too
 * much of them is only different then, and not wrong. */
bool region_can_compare(const struct pair *pair);
/* The node nearest to the start that the reference computes in another way; -1: none. A temporary
 * that the reference has too, for somebody else, is not wrong itself: its reader has got the wrong
 * one. */
int region_different_node(const struct pair *pair, const struct region *region);

/* ---- blame_verdict.c ---- */

/* A trace is no program: of what it does not have, any instruction of the region may be the wrong
 * one, but for those whose results were used for something that is right. Sets blame->suspects. */
void blame_suspect_all(const struct pair *pair, const struct region *region, struct blame *blame);
/* Numbers accuse the last one that was found. Without a witness beside them they do not, where the
 * precisions differ or are of 16 bits and rounding explains it, or where the value is within its
 * limits (`within`).
 */
void blame_acquit(const struct pair *pair, bool within, struct blame *blame);

#endif
