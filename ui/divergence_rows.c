#include "ui/divergence_rows.h"

#include "ui/state.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdio.h>

struct divergence_columns divergence_columns_of(int columns)
{
    enum { NUMBERS = 33, MORE_NUMBERS = 61, SHORTEST = 10, LONGEST = 100, WIDE = 100 };
    bool wide = columns >= WIDE;
    int name = columns - 2 - (wide ? MORE_NUMBERS : NUMBERS);
    return (struct divergence_columns){.name = name < SHORTEST  ? SHORTEST
                                               : name > LONGEST ? LONGEST
                                                                : name,
                                       .wide = wide};
}

static void put_number(struct pen *pen, bool known, double number, enum theme_role role)
{
    char text[32];
    pen_right(pen, 9, role, number_text(known ? number : NAN, text));
}

static void put_cosine(struct pen *pen, const struct picture_result *result, bool finite)
{
    char text[32];
    snprintf(text, sizeof(text), "%.5f", result->metrics.cosine);
    pen_right(pen, 10, THEME_NUMBER, result->measured && finite ? text : "-");
}

void divergence_row_draw(struct pen *pen, const struct divergence_columns *columns,
                         const struct program_picture *program, const struct state_picture *state,
                         const struct picture_result *result)
{
    const struct picture_value *value = &program->values[result->value];
    const struct metrics *metrics = &result->metrics;
    enum theme_role role = status_role(result->status);
    bool first = state->first_step == state->step && state->first_value == result->value;
    char number[32];
    pen_mark(pen, role, status_mark(result->status));
    pen_skip(pen, 1);
    pen_name(pen, columns->name, role, value->name);
    bool finite = result->status != MARK_NAN;
    if (finite)
        put_number(pen, true, result->error, role);
    else
        pen_right(pen, 9, role, "NaN");
    if (columns->wide) {
        put_number(pen, result->measured && finite, result->verdict.max_relative, role);
        put_cosine(pen, result, finite);
        put_number(pen, result->measured && metrics->rms_reference > 0,
                   metrics->rms_test / metrics->rms_reference, THEME_NUMBER);
    }
    put_number(pen, true, result->worst, role);
    snprintf(number, sizeof(number), "%d", value->producer);
    pen_right(pen, 7, THEME_NUMBER, number);
    pen_put(pen, THEME_WARNING, first ? " first" : result->sampled ? " samples" : "");
}

void divergence_heading_draw(struct pen *pen, const struct divergence_columns *columns)
{
    pen_cell(pen, columns->name + 2, THEME_DIM, "  tensor");
    pen_right(pen, 9, THEME_DIM, "rms/scale");
    if (columns->wide) {
        pen_right(pen, 9, THEME_DIM, "max/sc.");
        pen_right(pen, 10, THEME_DIM, "cosine");
        pen_right(pen, 9, THEME_DIM, "norm r.");
    }
    pen_right(pen, 9, THEME_DIM, "of limit");
    pen_right(pen, 7, THEME_DIM, "instr.");
}

int divergence_heading_at(const struct divergence_columns *columns, int col)
{
    const struct {
        int width, sorting;
        bool wide;
    } all[] = {{columns->name + 2, SORT_NAME, false},
               {9, SORT_ERROR, false},
               {9, SORT_MAX, true},
               {10, SORT_COSINE, true},
               {9, -1, true},
               {9, SORT_WORST, false},
               {7, SORT_PROGRAM, false}};
    for (int i = 0; i < ARRAY_LENGTH(all); i++) {
        if (all[i].wide && !columns->wide)
            continue;
        col -= all[i].width;
        if (col < 0)
            return all[i].sorting;
    }
    return -1;
}
