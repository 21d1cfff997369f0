/* Cells of heat maps: from numbers to a character and its colours. Pure: no terminal here. */
#ifndef UI_HEAT_H
#define UI_HEAT_H

#include "ui/theme.h"

#include <stdbool.h>

/* What the terminal can draw, best last. */
enum heat_drawing {
    HEAT_ASCII = 0,   /* " .:-=+*#%@", no colours needed */
    HEAT_SHADES,      /* blanks and four shades; the sign by colour if there are colours */
    HEAT_HALF_BLOCKS, /* two cells above each other in one character, 256 colours */
};

/* One number of a map: its magnitude (NAN: not finite; below 0: nothing there) and its sign. */
struct heat_number {
    float magnitude;
    int sign;
};

/* How numbers become colours: by the square root of magnitude / most, so that small ones are seen
 * beside large ones. Signed: blue is below zero, red above, white in between; both ends are told
 * apart by people who do not see red and green as others do. Unsigned: violet over green to
 * yellow. Exactly zero is grey. */
struct heat_scale {
    enum heat_drawing drawing;
    double most;
    bool is_signed;
    int colors; /* of the terminal: 0, 8, 16, 256 */
};

struct heat_cell {
    char glyph[8];
    struct theme_style style;
    bool bad; /* holds a number that is not finite: to be drawn in the role for these */
};

/* Rows of numbers in one row of characters: 2 with half blocks, else 1. */
int heat_rows_of_cell(enum heat_drawing drawing);

/* `upper` alone, or both with half blocks. */
struct heat_cell heat_cell(const struct heat_scale *scale, struct heat_number upper,
                           struct heat_number lower);

#endif
