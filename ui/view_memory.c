/* Memory by class over the program, as planned before the run: now, at the peak, who owns it, and
 * what the device has counted. */
#include "ui/sheets.h"
#include "ui/state.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct memory_view {
    struct list list;               /* owners */
    bool follow;                    /* owners at the program counter instead of the peak */
    struct layout_rectangle owners; /* their table as drawn last; no rows: there was no room */
};

/* A letter stands for each class in the chart: colours only help. */
static const char *const letters[MEMORY_CLASS_COUNT] = {"P", "G", "O", "a", "i", "w", "c"};
static const int colors[MEMORY_CLASS_COUNT] = {33, 208, 141, 71, 244, 178, 203};

static void *create(struct ui *ui)
{
    (void)ui;
    return memory_zeroed(1, sizeof(struct memory_view));
}

static void destroy(void *state)
{
    free(state);
}

static const struct memory_picture *memory_of(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_MEMORY);
    return picture ? picture->memory : NULL;
}

static bool wish(struct ui *ui, void *context, struct picture_request *request)
{
    const struct memory_view *view = context;
    request->kind = PICTURE_MEMORY;
    request->at = view->follow && ui->snapshot ? ui->snapshot->next : -1;
    return true;
}

/* ---- drawing ---- */

static int64_t sum_of(const int64_t classes[MEMORY_CLASS_COUNT])
{
    int64_t sum = 0;
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++)
        sum += classes[c];
    return sum;
}

static struct theme_style class_style(int class)
{
    return (struct theme_style){theme_nearest_color(colors[class], term_colors()),
                                THEME_COLOR_DEFAULT, 0};
}

/* The class at a height (bytes from below) of a stack; -1 above it. */
static int class_at(const int64_t classes[MEMORY_CLASS_COUNT], int64_t height)
{
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++) {
        if (height < classes[c])
            return c;
        height -= classes[c];
    }
    return -1;
}

static int point_of_column(const struct memory_picture *memory, int column, int columns)
{
    return (int)((int64_t)column * memory->point_count / columns);
}

static void draw_column(struct layout_rectangle box, int column,
                        const int64_t classes[MEMORY_CLASS_COUNT], int64_t most)
{
    for (int r = 0; r < box.rows; r++) {
        int64_t height = most * (2 * (box.rows - 1 - r) + 1) / (2 * box.rows);
        int class = class_at(classes, height);
        if (class >= 0)
            term_put_style(box.row + r, box.col + column, 1, class_style(class), letters[class]);
    }
}

static void draw_chart(struct layout_rectangle box, const struct memory_picture *memory)
{
    int64_t most = 1;
    char text[32];
    for (int p = 0; p < memory->point_count; p++)
        most = sum_of(memory->classes[p]) > most ? sum_of(memory->classes[p]) : most;
    struct layout_rectangle chart = {box.row, box.col + 10, box.rows - 1, box.cols - 10};
    term_put(box.row, box.col, 10, THEME_DIM, text_bytes((uint64_t)most, text));
    term_put(box.row + box.rows - 2, box.col, 10, THEME_DIM, "0 B");
    bool counter = false, peak = false;
    for (int c = 0; c < chart.cols && memory->point_count > 0; c++) {
        int point = point_of_column(memory, c, chart.cols);
        int next = point_of_column(memory, c + 1, chart.cols);
        draw_column(chart, c, memory->classes[point], most);
        int end = next < memory->point_count ? memory->points[next] : memory->instruction_count + 1;
        bool here = !counter && memory->next < end;
        bool top = !peak && memory->peak < end;
        counter = counter || here;
        peak = peak || top;
        if (here || top)
            term_put(box.row + box.rows - 1, chart.col + c, 1, here ? THEME_COUNTER : THEME_WARNING,
                     here ? "^" : "*");
    }
    term_put(box.row + box.rows - 1, box.col, 10, THEME_DIM, "^now *peak");
}

static void put_bytes(struct pen *pen, int64_t bytes)
{
    char text[32];
    pen_right(pen, 12, THEME_NUMBER, text_bytes((uint64_t)bytes, text));
}

static int draw_classes(struct layout_rectangle box, const struct memory_picture *memory)
{
    struct pen pen = pen_at(box, 0);
    int row = 0;
    pen_format(&pen, THEME_DIM, "%-16s%12s%12s", " class", "now", "at the peak");
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++) {
        int64_t all = memory->now[c] + memory->at_peak[c];
        if (all == 0)
            continue;
        pen_line(&pen, ++row, -1);
        if (row < box.rows)
            term_put_style(box.row + row, box.col + 1, 1, class_style(c), letters[c]);
        pen_skip(&pen, 3);
        pen_cell(&pen, 13, THEME_NORMAL, memory_class_name((enum memory_class)c));
        put_bytes(&pen, memory->now[c]);
        put_bytes(&pen, memory->at_peak[c]);
    }
    pen_line(&pen, ++row, -1);
    pen_cell(&pen, 16, THEME_TITLE, " sum");
    put_bytes(&pen, sum_of(memory->now));
    put_bytes(&pen, sum_of(memory->at_peak));
    return row + 1;
}

static void draw_owners(struct memory_view *view, struct layout_rectangle box,
                        const struct memory_picture *memory, bool focus)
{
    struct pen pen = pen_at(box, 0);
    pen_format(&pen, THEME_DIM, " largest of %d live at instruction %d (%s)",
               memory->owner_count + memory->owners_more, memory->owners_at,
               view->follow ? "now" : "peak");
    if (pen_room(&pen) >= 15) { /* over the instructions from which to which they are */
        pen.col = box.cols - 14;
        pen_right(&pen, 13, THEME_DIM, "live from..to");
    }
    list_resize(&view->list, memory->owner_count);
    list_show(&view->list, box.rows - 1);
    for (int i = 1; i < box.rows && view->list.top + i - 1 < memory->owner_count; i++) {
        const struct memory_owner *owner = &memory->owners[view->list.top + i - 1];
        bool selected = view->list.top + i - 1 == view->list.selected;
        char range[40];
        pen_line(&pen, i, !selected ? -1 : focus ? THEME_SELECTION : THEME_CURRENT);
        put_bytes(&pen, owner->bytes);
        pen_format(&pen, THEME_DIM, "  %-12s", memory_class_name(owner->memory_class));
        snprintf(range, sizeof(range), "%d..%d", owner->first, owner->last);
        int width = pen_room(&pen) - 14;
        pen_name(&pen, width, THEME_NAME, owner->name);
        pen_right(&pen, 13, THEME_DIM, range);
    }
}

static void draw_summary(struct layout_rectangle box, const struct memory_picture *memory)
{
    struct pen pen = pen_at(box, 0);
    char test[32], reference[32];
    pen_format(&pen, THEME_NORMAL, " forecast %s", text_bytes((uint64_t)memory->forecast, test));
    if (memory->reference_forecast > 0)
        pen_format(&pen, THEME_NORMAL, " + reference %s",
                   text_bytes((uint64_t)memory->reference_forecast, reference));
    pen_format(&pen, THEME_NORMAL, "  on %s: %s", memory->device_name,
               text_bytes((uint64_t)memory->device.live_total, test));
    if (memory->keep)
        pen_put(&pen, THEME_DIM, "  keeps all values");
}

/* One line about the GPU as a whole, if it is one: rows used. */
static int draw_device(struct layout_rectangle box, const struct memory_picture *memory)
{
    struct pen pen = pen_at(box, 0);
    char used[32], total[32];
    if (memory->device_total <= 0)
        return 0;
    pen_format(&pen, THEME_NORMAL, " GPU: %s of %s in use",
               text_bytes((uint64_t)memory->device_used, used),
               text_bytes((uint64_t)memory->device_total, total));
    for (int i = 0; i < memory->processes_listed; i++) {
        const struct device_process *process = &memory->processes[i];
        pen_format(&pen, THEME_DIM, "%s%s %lld: %s",
                   i ? ", " : "; others: ", process->name[0] ? process->name : "process",
                   (long long)process->pid,
                   process->bytes < 0 ? "?" : text_bytes((uint64_t)process->bytes, used));
    }
    return 1;
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct memory_view *view = context;
    const struct memory_picture *memory = memory_of(ui);
    struct pen pen = pen_at(box, 0);
    if (!memory) {
        pen_put(&pen, THEME_DIM, ui_why_empty(ui));
        return;
    }
    draw_summary(box, memory);
    int top = 1 + draw_device((struct layout_rectangle){box.row + 1, box.col, 1, box.cols}, memory);
    int left = box.rows - top;
    int chart = left - 14 > 14 ? 14 : left - 14;
    struct layout_rectangle next = {box.row + top, box.col, chart, box.cols};
    if (chart >= 4) {
        draw_chart(next, memory);
        next.row += chart;
        left -= chart;
    }
    next.rows = left;
    int used = draw_classes(next, memory);
    next.row += used;
    next.rows -= used;
    view->owners = next.rows >= 2 ? next : (struct layout_rectangle){0};
    if (next.rows >= 2)
        draw_owners(view, next, memory, focus);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct memory_picture *memory = memory_of(ui);
    char text[32];
    (void)context;
    if (memory)
        text_format(out, "  peak %s at instruction %d",
                    text_bytes((uint64_t)sum_of(memory->at_peak), text), memory->peak);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct memory_view *view = context;
    const struct memory_picture *memory = memory_of(ui);
    (void)key;
    if (list_act(&view->list, command))
        return true;
    if (command_is(command, "toggle", NULL)) {
        view->follow = !view->follow;
        ui_want(ui, PICTURE_MEMORY);
    } else if (command_is(command, "open", NULL)) {
        if (memory && view->list.selected < memory->owner_count) {
            ui_show_value(ui, memory->owners[view->list.selected].value);
            ui_focus(ui, LAYOUT_TENSOR);
        }
    } else {
        return false;
    }
    return true;
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct memory_view *view = context;
    bool hit = view->owners.rows > 0 &&
               list_click(&view->list, 1, click->box.row + click->row - view->owners.row);
    if (hit && click->twice)
        act(ui, view, "open", true);
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct memory_picture *memory = memory_of(ui);
    (void)context;
    if (memory)
        sheet_of_memory(memory, out);
}

static json_t *remember(struct ui *ui, void *context)
{
    const struct memory_view *view = context;
    (void)ui;
    return json_pack("{s:b}", "now", view->follow);
}

static void restore(struct ui *ui, void *context, const json_t *json)
{
    struct memory_view *view = context;
    view->follow = json_is_true(json_object_get(json, "now"));
    ui_want(ui, PICTURE_MEMORY);
}

static const struct view_hint hints[] = {{"toggle", "now/peak"}, {"open", "tensor"}, {NULL, NULL}};

const struct view_operations view_memory = {
    .view = LAYOUT_MEMORY,
    .title = "Memory",
    .help = "Live memory over the instructions of a step, by class, as the plan has it; what the "
            "device has counted beside it (both runs); and who owns it at the peak, or, after "
            "Space, now.",
    .at_stops = true,
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .wish = wish,
    .remember = remember,
    .restore = restore,
    .save = save,
};
