#include "ui/divergence_rows.h"

#include "ui/state.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdio.h>

enum column {
    COLUMN_NAME,
    COLUMN_ERROR,
    COLUMN_MAX,
    COLUMN_COSINE,
    COLUMN_NORM,
    COLUMN_WORST,
    COLUMN_PRODUCER,
    COLUMN_COUNT
};

/* In the order of enum column. */
static const struct {
    const char *heading;
    int width;   /* 0: what the others leave */
    int sorting; /* by a click on the heading; -1: none */
    bool wide;   /* only in wide tables */
} table[COLUMN_COUNT] = {{"  tensor", 0, SORT_NAME, false}, {"rms/scale", 9, SORT_ERROR, false},
                         {"max/sc.", 9, SORT_MAX, true},    {"cosine", 10, SORT_COSINE, true},
                         {"norm r.", 9, -1, true},          {"of limit", 9, SORT_WORST, false},
                         {"instr.", 7, SORT_PROGRAM, false}};

enum { MARK_WIDTH = 2 }; /* of the status in front of a name */

static bool is_shown(const struct divergence_columns *columns, int column)
{
    return columns->wide || !table[column].wide;
}

static int width_of(const struct divergence_columns *columns, int column)
{
    return column == COLUMN_NAME ? MARK_WIDTH + columns->name : table[column].width;
}

struct divergence_columns divergence_columns_of(int columns)
{
    enum { REMARK = 8, SHORTEST = 10, LONGEST = 100, WIDE = 100 }; /* REMARK: " samples" */
    struct divergence_columns result = {.wide = columns >= WIDE};
    int name = columns - MARK_WIDTH - REMARK;
    for (int c = COLUMN_NAME + 1; c < COLUMN_COUNT; c++)
        name -= is_shown(&result, c) ? table[c].width : 0;
    result.name = name < SHORTEST ? SHORTEST : name > LONGEST ? LONGEST : name;
    return result;
}

static void put_text(struct pen *pen, const struct divergence_columns *columns, int column,
                     enum theme_role role, const char *text)
{
    if (is_shown(columns, column))
        pen_right(pen, table[column].width, role, text);
}

static void put_number(struct pen *pen, const struct divergence_columns *columns, int column,
                       enum theme_role role, double number)
{
    char text[32];
    put_text(pen, columns, column, role, number_text(number, text));
}

/* What has no number ("-") is NAN here. */
void divergence_row_draw(struct pen *pen, const struct divergence_columns *columns,
                         const struct program_picture *program, const struct state_picture *state,
                         const struct picture_result *result)
{
    const struct picture_value *value = &program->values[result->value];
    const struct metrics *metrics = &result->metrics;
    enum theme_role role = status_role(result->status);
    bool first = state->first_step == state->step && state->first_value == result->value;
    bool finite = result->status != MARK_NAN, measured = result->measured && finite;
    bool has_norm = result->measured && metrics->rms_reference > 0;
    char text[32];
    pen_mark(pen, role, status_mark(result->status));
    pen_skip(pen, MARK_WIDTH - 1);
    pen_name(pen, columns->name, role, value->name);
    put_text(pen, columns, COLUMN_ERROR, role, finite ? number_text(result->error, text) : "NaN");
    put_number(pen, columns, COLUMN_MAX, role, measured ? result->verdict.max_relative : NAN);
    snprintf(text, sizeof(text), "%.5f", metrics->cosine);
    put_text(pen, columns, COLUMN_COSINE, THEME_NUMBER, measured ? text : "-");
    put_number(pen, columns, COLUMN_NORM, THEME_NUMBER,
               has_norm ? metrics->rms_test / metrics->rms_reference : NAN);
    put_number(pen, columns, COLUMN_WORST, role, result->worst);
    snprintf(text, sizeof(text), "%d", value->producer);
    put_text(pen, columns, COLUMN_PRODUCER, THEME_NUMBER, text);
    pen_put(pen, THEME_WARNING, first ? " first" : result->sampled ? " samples" : "");
}

void divergence_heading_draw(struct pen *pen, const struct divergence_columns *columns)
{
    pen_cell(pen, width_of(columns, COLUMN_NAME), THEME_DIM, table[COLUMN_NAME].heading);
    for (int c = COLUMN_NAME + 1; c < COLUMN_COUNT; c++)
        put_text(pen, columns, c, THEME_DIM, table[c].heading);
}

int divergence_heading_at(const struct divergence_columns *columns, int col)
{
    for (int c = 0; c < COLUMN_COUNT; c++) {
        col -= is_shown(columns, c) ? width_of(columns, c) : 0;
        if (col < 0)
            return table[c].sorting;
    }
    return -1;
}
