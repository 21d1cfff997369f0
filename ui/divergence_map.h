/* The map of layers and passes: where errors start and how they spread, at a glance. */
#ifndef UI_DIVERGENCE_MAP_H
#define UI_DIVERGENCE_MAP_H

#include "engine/session/pictures.h"
#include "ui/layout.h"
#include "ui/list.h"

/* Draws it into the box; `list` is about the layers and is set to their number. */
void divergence_map_draw(struct layout_rectangle box, struct list *list,
                         const struct program_picture *program, const struct state_picture *state);

#endif
