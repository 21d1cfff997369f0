/* The heat map of one plane of a tensor. Internal to the pictures; pure functions. */
#ifndef ENGINE_SESSION_PICTURE_HEAT_H
#define ENGINE_SESSION_PICTURE_HEAT_H

#include "engine/base/interrupt.h"
#include "engine/compare/pair.h"
#include "engine/session/pictures.h"

/* The number of [low, high] that is nearest to `number`. */
static inline int64_t picture_limited(int64_t number, int64_t low, int64_t high)
{
    return number < low ? low : number > high ? high : number;
}

/* Fills the heat fields of a picture whose planes are known. Each cell takes the largest magnitude
 * of its elements, so that no size of tensor hides a single bad one, and is not a number as soon as
 * one of them is not finite. False, with a map of a part only: `interrupt` (NULL: nobody) asked to
 * give up. */
bool picture_take_heat(struct tensor_picture *picture, const struct pair_sides *sides,
                       const struct picture_request *request, const struct interrupt *interrupt);

#endif
