#include "ui/heat.h"

#include <math.h>
#include <stdio.h>

/* Of xterm's palette. */
static const short below_zero[] = {189, 153, 117, 75, 33, 27, 21};
static const short above_zero[] = {224, 217, 210, 203, 197, 196, 160};
static const short magnitudes[] = {53, 54, 60, 24, 30, 36, 41, 77, 113, 149, 185, 226};
enum { SIGNED_STEPS = 7, MAGNITUDE_STEPS = 12, ZERO_COLOR = 239 };

int heat_rows_of_cell(enum heat_drawing drawing)
{
    return drawing == HEAT_HALF_BLOCKS ? 2 : 1;
}

/* 1 to `steps`; 0 for exactly zero, so that the smallest difference is seen as one. */
static int step_of(const struct heat_scale *scale, float magnitude, int steps)
{
    if (magnitude <= 0)
        return 0;
    double part = scale->most > 0 ? sqrt((double)magnitude / scale->most) : 1;
    int step = (int)ceil(part * steps);
    return step < 1 ? 1 : step > steps ? steps : step;
}

static int color_of(const struct heat_scale *scale, struct heat_number number)
{
    if (number.magnitude < 0)
        return THEME_COLOR_DEFAULT;
    if (number.magnitude == 0)
        return ZERO_COLOR;
    if (!scale->is_signed)
        return magnitudes[step_of(scale, number.magnitude, MAGNITUDE_STEPS) - 1];
    int step = step_of(scale, number.magnitude, SIGNED_STEPS) - 1;
    return number.sign < 0 ? below_zero[step] : above_zero[step];
}

static struct heat_cell half_blocks(const struct heat_scale *scale, struct heat_number upper,
                                    struct heat_number lower)
{
    struct heat_cell cell = {.style = {color_of(scale, upper), color_of(scale, lower), 0}};
    bool above = upper.magnitude >= 0, below = lower.magnitude >= 0;
    if (!above && below) { /* an empty half must show what is behind the map */
        cell.style = (struct theme_style){color_of(scale, lower), THEME_COLOR_DEFAULT, 0};
        snprintf(cell.glyph, sizeof(cell.glyph), "\u2584");
    } else {
        snprintf(cell.glyph, sizeof(cell.glyph), above ? "\u2580" : " ");
    }
    return cell;
}

/* The bright ends of the scales, which a terminal with 8 colours has too. */
static struct theme_style shade_style(const struct heat_scale *scale, struct heat_number number)
{
    struct theme_style style = {THEME_COLOR_DEFAULT, THEME_COLOR_DEFAULT, 0};
    if (scale->colors >= 8 && number.magnitude > 0 && scale->is_signed)
        style.foreground = theme_nearest_color(number.sign < 0 ? 27 : 196, scale->colors);
    return style;
}

static struct heat_cell shade(const struct heat_scale *scale, struct heat_number number)
{
    static const char *const shades[] = {"\u00b7", "\u2591", "\u2592", "\u2593", "\u2588"};
    static const char plain[] = ".:-=+*#%@";
    struct heat_cell cell = {.style = shade_style(scale, number)};
    if (number.magnitude < 0)
        snprintf(cell.glyph, sizeof(cell.glyph), " ");
    else if (scale->drawing == HEAT_SHADES)
        snprintf(cell.glyph, sizeof(cell.glyph), "%s", shades[step_of(scale, number.magnitude, 4)]);
    else
        snprintf(cell.glyph, sizeof(cell.glyph), "%c", plain[step_of(scale, number.magnitude, 8)]);
    return cell;
}

struct heat_cell heat_cell(const struct heat_scale *scale, struct heat_number upper,
                           struct heat_number lower)
{
    if (isnan(upper.magnitude) || (scale->drawing == HEAT_HALF_BLOCKS && isnan(lower.magnitude)))
        return (struct heat_cell){
            .glyph = "!", .style = {THEME_COLOR_DEFAULT, THEME_COLOR_DEFAULT, 0}, .bad = true};
    return scale->drawing == HEAT_HALF_BLOCKS ? half_blocks(scale, upper, lower)
                                              : shade(scale, upper);
}
