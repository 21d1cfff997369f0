/* The mouse: rows and titles of panes, the edges between them, the key bar, the command line. */
#include "ui/state.h"

#include "engine/base/memory.h"

#include <stdlib.h>

enum { DOUBLE_CLICK_MS = 400 };

static bool is_twice(struct ui *ui, const struct keys_mouse *mouse)
{
    struct ui_mouse *last = &ui->mouse;
    int64_t now = ui_milliseconds(ui);
    bool twice =
        mouse->row == last->row && mouse->col == last->col && now - last->ms < DOUBLE_CLICK_MS;
    last->row = mouse->row;
    last->col = mouse->col;
    last->ms = now;
    return twice;
}

static void want_pictures(struct ui *ui)
{
    for (int kind = PICTURE_TENSOR; kind < PICTURE_KIND_COUNT; kind++)
        ui_want(ui, (enum picture_kind)kind);
}

static void click_pane(struct ui *ui, const struct layout_pane *pane,
                       const struct keys_mouse *mouse, bool twice)
{
    const struct view_operations *operations = ui_operations(pane->view);
    struct view_click click = {.box = pane->inside,
                               .row = mouse->row - pane->inside.row,
                               .col = mouse->col - pane->inside.col,
                               .twice = twice};
    bool wide = ui->request.cols >= LAYOUT_WIDE_COLS;
    ui->request.focus = pane->view;
    want_pictures(ui);
    if (pane->collapsed || click.col < 0)
        return;
    if (click.row >= 0 && operations->click)
        operations->click(ui, ui->states[pane->view], &click);
    else if (click.row < 0 && twice && wide) /* on a narrow screen it has the room already */
        ui_command(ui, "zoom", true);
}

/* What a press of a hint's key would do. */
static bool click_key_bar(struct ui *ui, const struct keys_mouse *mouse)
{
    const struct key_bar *bar = &ui->key_bar;
    if (ui->layout.keys.rows == 0 || mouse->row != ui->layout.keys.row)
        return false;
    for (int i = 0; i < bar->count; i++)
        if (mouse->col >= bar->hints[i].col && mouse->col < bar->hints[i].end) {
            ui_command(ui, bar->hints[i].command, true);
            break;
        }
    return true;
}

static void press(struct ui *ui, const struct key *key)
{
    const struct keys_mouse *mouse = &key->mouse;
    const struct layout_pane *pane = layout_pane_at(&ui->layout, mouse->row, mouse->col);
    bool twice = is_twice(ui, mouse);
    if (click_key_bar(ui, mouse))
        return;
    if (ui->layout.prompt.rows > 0 && mouse->row == ui->layout.prompt.row)
        ui_command(ui, "prompt", true);
    ui->mouse.drags = layout_edge_at(&ui->layout, mouse->row, mouse->col);
    if (pane)
        click_pane(ui, pane, mouse, twice);
}

/* The edge that was pressed follows the pointer. */
static void drag(struct ui *ui, const struct keys_mouse *mouse)
{
    int percent = layout_edge_percent(&ui->layout, ui->mouse.drags, mouse->row, mouse->col);
    if (ui->mouse.drags == LAYOUT_EDGE_SIDES)
        ui->request.left_percent = percent;
    else if (ui->mouse.drags == LAYOUT_EDGE_BOTTOM)
        ui->request.bottom_percent = percent;
    want_pictures(ui);
}

void ui_handle_mouse(struct ui *ui, const struct key *key)
{
    const struct layout_pane *pane = layout_pane_at(&ui->layout, key->mouse.row, key->mouse.col);
    enum layout_view view = pane ? pane->view : ui->request.focus;
    const struct keymap_binding *binding = keymap_find(&ui->keymap, layout_view_name(view), key);
    bool typing = ui->prompting != PROMPT_CLOSED; /* a line that is being typed stays */
    if (key->mouse.action != KEYS_DRAG)           /* whatever is bound to it */
        ui->mouse.drags = LAYOUT_EDGE_NONE;
    if (!binding)
        return;
    char *command = memory_string(binding->command); /* the map may change */
    if (command_is(command, "scroll", NULL)) {       /* the pane under the pointer */
        if (pane && !pane->collapsed)
            ui_operations(view)->act(ui, ui->states[view], command, true);
    } else if (command_is(command, "mouse drag", NULL)) {
        if (ui->mouse.drags != LAYOUT_EDGE_NONE)
            drag(ui, &key->mouse);
    } else if (!typing) {
        ui_forget_message(ui);
        if (command_is(command, "mouse select", NULL))
            press(ui, key);
        else
            ui_command(ui, command, true);
    }
    free(command);
}
