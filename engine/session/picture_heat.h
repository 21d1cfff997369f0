/* The heat map of one plane of a tensor. Internal to the pictures; pure functions. */
#ifndef ENGINE_SESSION_PICTURE_HEAT_H
#define ENGINE_SESSION_PICTURE_HEAT_H

#include "engine/compare/pair.h"
#include "engine/session/pictures.h"

/* Fills the heat fields of a picture whose planes are known. Each cell takes the largest magnitude
 * of its elements, so that no size of tensor hides a single bad one, and is not a number as soon as
 * one of them is not finite. */
void picture_take_heat(struct tensor_picture *picture, const struct pair_sides *sides,
                       const struct picture_request *request);

#endif
