/* Elements of a tensor as text to paste elsewhere: one number, or a NumPy expression of what the
 * tensor view shows. Pure. */
#ifndef UI_NUMPY_H
#define UI_NUMPY_H

#include "engine/base/status.h"
#include "engine/session/pictures.h"
#include "ui/tensor_parts.h"

enum { NUMPY_ELEMENTS_MOST = 4096 };

/* The number of one side at a place of the plane, with all its digits; of all sides it is the
 * test's. False when the picture has none there, or not that side. */
bool numpy_number(const struct tensor_picture *tensor, enum tensor_side side, int64_t row,
                  int64_t column, struct text *out, struct status *status);

/* An expression for the window of one side (of all sides: the test's). The reference of a trace is
 * read from its file by numpy.memmap; what lives in a run only is written out, at most
 * NUMPY_ELEMENTS_MOST elements. `np` is numpy. */
bool numpy_expression(const struct tensor_picture *tensor, enum tensor_side side, struct text *out,
                      struct status *status);

#endif
