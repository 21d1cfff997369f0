/* What a picture of a tensor tells after looking at each of its elements: statistics, the worst
 * elements, histograms, the map. That takes seconds for a large tensor, so it can be given up, and
 * is kept: a window that moves over the same tensor costs nothing. Internal to the pictures. */
#ifndef ENGINE_SESSION_TENSOR_SURVEY_H
#define ENGINE_SESSION_TENSOR_SURVEY_H

#include "engine/base/interrupt.h"
#include "engine/compare/pair.h"
#include "engine/session/pictures.h"

struct tensor_survey; /* of one tensor at one place of a run */

/* Fills the parts of `picture`, whose verdict, shape and plane are known, that `request` asks for;
 * from *kept where they are there (which may point to NULL, and is replaced when it is about
 * another tensor or another place of the run). False, with picture->partial set and those parts not
 * measured: `interrupt` (NULL: nobody) asked to give up, or the request is quick and this would not
 * be. Engine thread. */
bool tensor_survey_fill(struct tensor_survey **kept, const struct pair *pair,
                        const struct pair_sides *sides, const struct picture_request *request,
                        const struct interrupt *interrupt, struct tensor_picture *picture);

/* The numbers may be others from now on. NULL is legal. */
void tensor_survey_free(struct tensor_survey *survey);

#endif
