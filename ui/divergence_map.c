#include "ui/divergence_map.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "ui/pen.h"
#include "ui/state.h"

#include <stdio.h>
#include <stdlib.h>

struct map {
    struct names layers, passes;
    struct picture_mark *cells; /* [layers * passes] */
};

static void pass_name(const struct picture_instruction *in, char *name, size_t size)
{
    if (in->micro_batch >= 0 && in->micro_batches > 1)
        snprintf(name, size, "%.3s%d", phase_name(in->phase), in->micro_batch + 1);
    else
        snprintf(name, size, "%.6s", phase_name(in->phase));
}

/* The names first, then the cells: the table must know its width. */
static void map_build(struct map *map, const struct program_picture *program,
                      const struct state_picture *state)
{
    char pass[16];
    for (int i = 0; i < program->instruction_count; i++) {
        const struct picture_instruction *in = &program->instructions[i];
        pass_name(in, pass, sizeof(pass));
        if (names_find(&map->passes, pass) < 0)
            names_set(&map->passes, pass, map->passes.count);
        const char *layer = in->layer[0] ? in->layer : "(step)";
        if (names_find(&map->layers, layer) < 0)
            names_set(&map->layers, layer, map->layers.count);
    }
    int width = map->passes.count;
    map->cells = memory_zeroed((size_t)(width * map->layers.count), sizeof(*map->cells));
    for (int i = 0; i < program->instruction_count; i++) {
        const struct picture_instruction *in = &program->instructions[i];
        const struct picture_mark *mark = &state->instructions[i];
        pass_name(in, pass, sizeof(pass));
        const char *layer = in->layer[0] ? in->layer : "(step)";
        struct picture_mark *cell =
            &map->cells[names_find(&map->layers, layer) * width + names_find(&map->passes, pass)];
        if (mark->status > cell->status)
            cell->status = mark->status;
        if (mark->status >= MARK_SAME && mark->worst > cell->worst)
            cell->worst = mark->worst;
    }
}

/* One cell: its sign, and a shade for how much of the limit. */
static void put_map_cell(struct pen *pen, const struct picture_mark *cell)
{
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"};
    static const char *const plain[] = {" ", ".", "o", "O", "#"};
    int shade = 0;
    if (cell->status >= MARK_SAME && cell->worst > 0)
        shade = cell->worst > 1 ? 4 : cell->worst > 0.3 ? 3 : cell->worst > 0.03 ? 2 : 1;
    enum theme_role role = status_role(cell->status);
    const char *fill = term_ascii() ? plain[shade] : shades[shade];
    pen_put(pen, role, " ");
    pen_put(pen, role, fill);
    pen_mark(pen, role, status_mark(cell->status));
    pen_put(pen, role, fill);
    pen_skip(pen, 3);
}

void divergence_map_draw(struct layout_rectangle box, struct list *list,
                         const struct program_picture *program, const struct state_picture *state)
{
    struct map map = {0};
    struct pen pen = pen_at(box, 0);
    map_build(&map, program, state);
    pen_skip(&pen, 16);
    for (int p = 0; p < map.passes.count; p++)
        pen_cell(&pen, 7, THEME_DIM, map.passes.names[p]);
    list_resize(list, map.layers.count);
    list_show(list, box.rows - 1);
    for (int row = 1; row < box.rows && list->top + row - 1 < map.layers.count; row++) {
        int layer = list->top + row - 1;
        pen_line(&pen, row, -1);
        pen_cell(&pen, 16, layer == list->selected ? THEME_CURRENT : THEME_NAME,
                 map.layers.names[layer]);
        for (int p = 0; p < map.passes.count; p++)
            put_map_cell(&pen, &map.cells[layer * map.passes.count + p]);
    }
    names_free(&map.layers);
    names_free(&map.passes);
    free(map.cells);
}
