/* Places of a program as users write them: for breakpoints, until, list and goto.
 *
 *   871, *871         an instruction of any step        2:871   of step 2 (from 1)
 *   backward          a phase; "backward decoder.1 mb=2": words together narrow it down
 *   decoder.1, decoder.1.mlp.layer_2, mlp               a layer, a part of one, of all layers
 *   gradient decoder.1.mlp.layer_2.weight               a tensor, by name, path, or %870
 *   /accumul|layer_2/                                   instructions whose text matches (POSIX)
 *
 * Pure functions on an immutable program; any thread. */
#ifndef ENGINE_SESSION_PLACES_H
#define ENGINE_SESSION_PLACES_H

#include "engine/program/program.h"

#include <regex.h>

enum place_kind { PLACE_INSTRUCTION = 0, PLACE_ORIGIN, PLACE_TENSOR, PLACE_EXPRESSION };

struct place {
    enum place_kind kind;
    char *text;      /* as it was written */
    int step;        /* from 0, -1 = any */
    int instruction; /* PLACE_INSTRUCTION */
    int phase;       /* PLACE_ORIGIN: enum phase or -1 */
    int micro_batch; /* PLACE_ORIGIN: -1 = any */
    char *layer;     /* PLACE_ORIGIN: "decoder.1.mlp" or NULL */
    int *values;     /* PLACE_TENSOR: all values that carry the name (running totals too) */
    int value_count, value_capacity;
    regex_t expression; /* PLACE_EXPRESSION */
};

/* Reads a place of a run of `steps` steps. On failure the text says what there is, and what was
 * perhaps meant. Free with place_free. */
bool place_parse(const struct program *program, int steps, const char *text, struct place *place,
                 struct status *status);
void place_free(struct place *place);

/* Whether instruction `index` belongs to the place (for a tensor: writes it). */
bool place_matches(const struct program *program, const struct place *place, int index);
/* Whether running into instruction `index` enters the place: it matches, and the one before it did
 * not or belongs to another micro-batch or phase. For expressions and instructions: matches. */
bool place_entered(const struct program *program, const struct place *place, int index);
/* The first instruction at `from` or later (around the end of the step) that matches, or -1. */
int place_find(const struct program *program, const struct place *place, int from);

/* The value that `text` names. Of several micro-batches' values of one name it is the one that was
 * written last before instruction `next`, else the first. -1 with suggestions on failure. */
int tensor_find(const struct program *program, const char *text, int next, struct status *status);
/* How long a canonical name is without micro-batch and micro-sequence. */
size_t tensor_name_length(const char *name);

/* "step 1, backward, micro-batch 2/4, decoder.1.mlp.layer_2". Returns `buffer`. */
const char *origin_text(const struct origin *origin, int step, char *buffer, int size);
bool same_text(const char *a, const char *b); /* strcmp that takes NULL as "" */

#endif
