/* Faults: deliberate mistakes, for practice and for proving that the comparison finds them. A fault
 * changes the compiled program before it is planned; kernels know nothing of it.
 *
 * A specification is the name of a ready fault, or ACTION:key=value,key=value,...; several are
 * joined by '+'. Keys rank, op, layer, part, phase, mb, ms, name and nth choose the instructions,
 * the others belong to the action. docs/faults.md describes all. Engine thread. */
#ifndef ENGINE_PROGRAM_FAULTS_H
#define ENGINE_PROGRAM_FAULTS_H

#include "engine/program/program.h"

/* Applies a fault. Every instruction that was changed or inserted carries the text of its part of
 * the specification in `fault`. On failure (unknown word, no such instruction, an action that does
 * not fit: the text lists what there is) the program may be half changed: free it. */
bool faults_apply(struct program *program, const char *spec, struct status *status);

/* Whether `spec` is well formed: known actions with known keys, or names of ready faults. What it
 * can be applied to, only a program tells. */
bool faults_check(const char *spec, struct status *status);

/* As run_options.change; the context is the specification, a string. Of several ranks, those that
 * have no such instruction stay as they are. */
bool faults_change(struct program *program, void *spec, struct status *status);

/* Of the programs of all ranks, changed by faults_change(): whether every part of `spec` has
 * changed one. If not, the text says what the rank has that the part is about. */
bool faults_check_ranks(struct program *const *programs, int count, const char *spec,
                        struct status *status);

/* The instructions that carry a fault, in order: their number, and the first `capacity` indices. */
int faults_changed(const struct program *program, int *instructions, int capacity);

/* A fault with a name. Static storage. */
struct fault_ready {
    const char *name;     /* "dropped-micro-batch" */
    const char *spec;     /* what it stands for */
    const char *imitates; /* the mistake of real software that looks like this, one sentence */
    const char *run;      /* a MODEL/VARIANT to try it on */
    const char *needs;    /* what a model or variant must have for it, "" = nothing special */
};

/* All ready faults, `*count` of them. */
const struct fault_ready *faults_ready(int *count);
/* Whether it is one of a run of several ranks: of a variant with parallel layouts. */
bool fault_has_ranks(const struct fault_ready *fault);
const struct fault_ready *faults_find(const char *name); /* NULL if there is none */

#endif
