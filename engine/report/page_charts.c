#include "engine/report/html.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- layers x phases ---- */

enum { MAP_COLUMNS_MOST = 48, CELL_WIDTH = 26, CELL_HEIGHT = 18, LABEL_WIDTH = 130 };

struct map_cell {
    int tensors, failed, worst_row;
    enum page_status status;
    double worst;
};

struct map {
    int step;
    bool batches; /* a column for each micro-batch */
    struct names layers, phases;
    struct map_cell *cells; /* [layers * phases] */
};

/* "fw decoder.0.output mb=1/4": layer "decoder.0", phase "fw 2". */
static void split_name(const char *name, bool batches, char layer[80], char phase[80])
{
    size_t word = strcspn(name, " ");
    const char *path = name[word] ? name + word + 1 : name;
    size_t length = strcspn(path, ".< ");
    if (path[length] == '.' && path[length + 1] >= '0' && path[length + 1] <= '9')
        length += 1 + strcspn(path + length + 1, ".< ");
    snprintf(layer, 80, "%.*s", (int)(length < 79 ? length : 79), path);
    const char *batch = strstr(path, " mb=");
    int number = batch ? atoi(batch + 4) : -1;
    int shown = word < 40 ? (int)word : 40;
    if (batches && number >= 0)
        snprintf(phase, 80, "%.*s %d", shown, name, number + 1);
    else
        snprintf(phase, 80, "%.*s", name[word] ? shown : 0, name);
}

static void name_map(struct map *map, const struct page *page)
{
    char layer[80], phase[80];
    for (int r = 0; r < page->row_count; r++) {
        if (page->rows[r].step != map->step)
            continue;
        split_name(page->rows[r].name, map->batches, layer, phase);
        if (names_find(&map->layers, layer) < 0)
            names_set(&map->layers, layer, map->layers.count);
        if (names_find(&map->phases, phase) < 0)
            names_set(&map->phases, phase, map->phases.count);
    }
}

static void fill_map(struct map *map, const struct page *page)
{
    char layer[80], phase[80];
    map->cells =
        memory_zeroed((size_t)map->layers.count * (size_t)map->phases.count, sizeof(*map->cells));
    for (int r = 0; r < page->row_count; r++) {
        const struct page_row *row = &page->rows[r];
        if (row->step != map->step)
            continue;
        split_name(row->name, map->batches, layer, phase);
        struct map_cell *cell = &map->cells[names_find(&map->layers, layer) * map->phases.count +
                                            names_find(&map->phases, phase)];
        cell->status = row->status > cell->status ? row->status : cell->status;
        cell->failed += row->status >= PAGE_DIVERGED;
        if (cell->tensors++ == 0 || row->of_limit > cell->worst) {
            cell->worst = isnan(row->of_limit) ? 0 : row->of_limit;
            cell->worst_row = r;
        }
    }
}

/* Shades: 0 the same bits, 1 to 3 within limits, 4 to 6 beyond them. */
static int shade_of(const struct map_cell *cell)
{
    static const double steps[] = {0.03, 0.3, 1, 10, 100};
    int shade = 1;
    if (cell->status == PAGE_SAME)
        return 0;
    for (int i = 0; i < ARRAY_LENGTH(steps); i++)
        shade += cell->worst > steps[i];
    return cell->status >= PAGE_DIVERGED && shade < 4 ? 4 : shade;
}

static void add_map_cell(const struct page *page, const struct map_cell *cell, int x, int y,
                         struct text *out)
{
    const char *sign = cell->status >= PAGE_DIVERGED ? "\xc3\x97" : "";
    if (cell->status == PAGE_NOT_FINITE)
        sign = "!";
    else if (cell->status == PAGE_UNMATCHED)
        sign = "?";
    text_format(out, "<g><rect class=\"%s%d\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>",
                cell->status >= PAGE_NOT_FINITE ? "odd" : "s", shade_of(cell), x, y, CELL_WIDTH - 2,
                CELL_HEIGHT - 2);
    text_format(out, "<text x=\"%d\" y=\"%d\" class=\"sign\">%s</text>", x + CELL_WIDTH / 2 - 1,
                y + CELL_HEIGHT - 6, sign);
    text_format(out, "<title>%d of %d diverged; worst ", cell->failed, cell->tensors);
    html_number(out, cell->worst);
    html_with(out, " of its limit: ", page->rows[cell->worst_row].name, "</title></g>\n");
}

static void draw_map(const struct page *page, const struct map *map, struct text *out)
{
    int width = LABEL_WIDTH + map->phases.count * CELL_WIDTH + 50; /* the last label leans over */
    int top = 84, height = top + map->layers.count * CELL_HEIGHT;
    text_format(out,
                "<svg class=\"map\" role=\"img\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
                "%d\">\n",
                width, height, width, height);
    for (int p = 0; p < map->phases.count; p++) {
        int x = LABEL_WIDTH + p * CELL_WIDTH + CELL_WIDTH / 2 + 3;
        text_format(out, "<text x=\"%d\" y=\"%d\" transform=\"rotate(-60 %d %d)\">", x, top - 6, x,
                    top - 6);
        html_with(out, "", map->phases.names[p], "</text>\n");
    }
    for (int l = 0; l < map->layers.count; l++) {
        text_format(out, "<text x=\"%d\" y=\"%d\" class=\"end\">", LABEL_WIDTH - 8,
                    top + l * CELL_HEIGHT + CELL_HEIGHT - 6);
        html_with(out, "", map->layers.names[l], "</text>\n");
        for (int p = 0; p < map->phases.count; p++)
            if (map->cells[l * map->phases.count + p].tensors > 0)
                add_map_cell(page, &map->cells[l * map->phases.count + p],
                             LABEL_WIDTH + p * CELL_WIDTH, top + l * CELL_HEIGHT, out);
    }
    text_add(out, "</svg>\n");
}

static void add_map(const struct page *page, int step, struct text *out)
{
    struct map map = {.step = step, .batches = true};
    name_map(&map, page);
    if (map.phases.count > MAP_COLUMNS_MOST) {
        names_free(&map.layers);
        names_free(&map.phases);
        map = (struct map){.step = step};
        name_map(&map, page);
    }
    fill_map(&map, page);
    html_with(out, "<figure><figcaption>step ", page->steps[step], "</figcaption>\n");
    draw_map(page, &map, out);
    text_add(out, "</figure>\n");
    names_free(&map.layers);
    names_free(&map.phases);
    free(map.cells);
}

/* The steps that have something to show: where something diverged, else the last. */
void chart_maps(const struct page *page, struct text *out)
{
    enum { MAPS_MOST = 4 };
    int shown = 0;
    for (int s = 0; s < page->step_count && shown < MAPS_MOST; s++) {
        bool failed = false;
        for (int r = 0; r < page->row_count && !failed; r++)
            failed = page->rows[r].step == s && page->rows[r].status >= PAGE_DIVERGED;
        if (failed || (s == page->step_count - 1 && shown == 0)) {
            add_map(page, s, out);
            shown++;
        }
    }
    text_add(out, "<p class=\"legend\"><span class=\"key s0\"></span> same bits "
                  "<span class=\"key s1\"></span><span class=\"key s2\"></span>"
                  "<span class=\"key s3\"></span> within limits "
                  "<span class=\"key s4\"></span> \xc3\x97 beyond, "
                  "<span class=\"key s5\"></span> 10 and <span class=\"key s6\"></span> 100 times "
                  "<span class=\"key odd4\"></span> ! not finite, ? not on both sides</p>\n");
}

/* ---- the map of one tensor ---- */

enum { HEAT_LEVELS = 9 };

/* Level 0: no difference; 1 to 8: from `least` to `most`, in equal parts of the logarithm. */
static int level_of(float heat, double least, double most)
{
    if (isnan(heat))
        return HEAT_LEVELS;
    if (heat <= 0 || most <= 0)
        return 0;
    double place = log((double)heat / least) / log(most / least);
    return place <= 0 ? 1 : place >= 1 ? 8 : 1 + (int)(place * 8);
}

/* The least difference that has a colour of its own: four decades at most, a factor of two at
 * least. */
static double least_heat(const struct page_view *view)
{
    double least = view->heat_most / 2;
    for (int i = 0; i < view->heat_rows * view->heat_columns; i++)
        if (view->heat[i] > 0 && (double)view->heat[i] < least)
            least = (double)view->heat[i];
    return fmax(least, view->heat_most * 1e-4);
}

void chart_heat(const struct page_view *view, struct text *out)
{
    int rows = view->heat_rows, columns = view->heat_columns;
    int scale = columns > 32 ? 6 : columns > 8 ? 10 : 16;
    int64_t count = rows * columns;
    char shape[80];
    if (!view->heat)
        return;
    double least = least_heat(view);
    text_format(out,
                "<figure><svg class=\"heat\" role=\"img\" width=\"%d\" height=\"%d\" "
                "viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">\n",
                columns * scale, rows * scale, columns, rows);
    text_format(out, "<rect class=\"h0\" width=\"%d\" height=\"%d\"/>\n", columns, rows);
    for (int level = 1; level <= HEAT_LEVELS; level++) {
        bool any = false;
        for (int64_t i = 0; i < count; i++) {
            if (view->heat[i] < 0 || level_of(view->heat[i], least, view->heat_most) != level)
                continue;
            int64_t run = 1; /* cells of one level in a row are one stroke */
            while ((i + run) % columns != 0 &&
                   level_of(view->heat[i + run], least, view->heat_most) == level)
                run++;
            if (!any)
                text_format(out, "<path class=\"h%d\" d=\"", level);
            text_format(out, "M%" PRId64 " %" PRId64 "h%" PRId64 "v1h-%" PRId64 "z", i % columns,
                        i / columns, run, run);
            any = true;
            i += run - 1;
        }
        text_add(out, any ? "\"/>\n" : "");
    }
    text_add(out, "</svg><figcaption>largest |difference| of each cell; ");
    if (view->heat_wrap > 0)
        text_format(out, "folded into rows of %" PRId64, view->heat_wrap);
    else
        text_format(out, "%s: the last dimension runs to the right",
                    shape_text(view->shape, shape));
    text_format(out, "<br/><span class=\"legend\"><span class=\"key h0\"></span> 0, %.3g ", least);
    for (int level = 1; level < HEAT_LEVELS; level++)
        text_format(out, "<span class=\"key h%d\"></span>", level);
    text_format(out,
                " %.3g <span class=\"key h9\"></span> not finite</span>"
                "</figcaption></figure>\n",
                view->heat_most);
}

/* ---- histograms ---- */

enum { HISTOGRAM_WIDTH = 300, HISTOGRAM_HEIGHT = 110 };

static int64_t largest(const int64_t *bins, int count)
{
    int64_t most = 0;
    for (int b = 0; b < count; b++)
        most = bins[b] > most ? bins[b] : most;
    return most;
}

/* One outline. Heights are roots, so that thin tails show. */
static void add_outline(struct text *out, const char *class, const int64_t *bins, int count,
                        int64_t most)
{
    double width = (double)HISTOGRAM_WIDTH / count;
    text_format(out, "<path class=\"%s\" d=\"M0 %d", class, HISTOGRAM_HEIGHT);
    for (int b = 0; b < count; b++) {
        double height = most > 0 ? sqrt((double)bins[b] / (double)most) : 0;
        text_format(out, "V%.1fH%.1f", HISTOGRAM_HEIGHT * (1 - height), (b + 1) * width);
    }
    text_format(out, "V%dz\"/>", HISTOGRAM_HEIGHT);
}

static void open_histogram(struct text *out)
{
    text_format(out,
                "<figure><svg class=\"histogram\" role=\"img\" width=\"%d\" height=\"%d\" "
                "viewBox=\"0 0 %d %d\">",
                HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT, HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT);
}

void chart_histograms(const struct page_view *view, struct text *out)
{
    if (view->bins == 0)
        return;
    int64_t test = largest(view->test_bins, view->bins);
    int64_t reference = largest(view->reference_bins, view->bins);
    int64_t most = test > reference ? test : reference;
    open_histogram(out);
    add_outline(out, "reference", view->reference_bins, view->bins, most);
    add_outline(out, "test", view->test_bins, view->bins, most);
    text_format(out,
                "</svg><figcaption><span class=\"key test\"></span> test <span class=\"key "
                "reference\"></span> reference, from %.4g to %.4g</figcaption></figure>\n",
                view->low, view->high);
    open_histogram(out);
    add_outline(out, "difference", view->difference_bins, view->bins,
                largest(view->difference_bins, view->bins));
    text_format(out,
                "</svg><figcaption><span class=\"key difference\"></span> |difference|, from 0 "
                "to %.4g</figcaption></figure>\n",
                view->difference_high);
}

/* ---- memory ---- */

enum { MEMORY_WIDTH = 640, MEMORY_HEIGHT = 180 };

static int64_t sum_below(const int64_t classes[MEMORY_CLASS_COUNT], int class)
{
    int64_t sum = 0;
    for (int c = 0; c < class; c++)
        sum += classes[c];
    return sum;
}

void chart_memory(const struct page_memory *memory, struct text *out)
{
    int64_t most = 1;
    char bytes[32];
    for (int p = 0; p < memory->point_count; p++) {
        int64_t sum = sum_below(memory->classes[p], MEMORY_CLASS_COUNT);
        most = sum > most ? sum : most;
    }
    text_format(out,
                "<figure><svg class=\"memory\" role=\"img\" width=\"%d\" height=\"%d\" "
                "viewBox=\"0 0 %d %d\">\n",
                MEMORY_WIDTH, MEMORY_HEIGHT, MEMORY_WIDTH, MEMORY_HEIGHT);
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++) {
        double width = (double)MEMORY_WIDTH / memory->point_count, scale = MEMORY_HEIGHT;
        scale /= (double)most;
        text_format(out, "<path class=\"m%d\" d=\"M0 %.1f", c,
                    MEMORY_HEIGHT - (double)sum_below(memory->classes[0], c) * scale);
        for (int p = 0; p < memory->point_count; p++)
            text_format(out, "V%.1fH%.1f",
                        MEMORY_HEIGHT - (double)sum_below(memory->classes[p], c + 1) * scale,
                        (p + 1) * width);
        for (int p = memory->point_count - 1; p >= 0; p--)
            text_format(out, "V%.1fH%.1f",
                        MEMORY_HEIGHT - (double)sum_below(memory->classes[p], c) * scale,
                        p * width);
        text_format(out, "z\"><title>%s</title></path>\n", memory_class_name((enum memory_class)c));
    }
    text_format(out,
                "</svg><figcaption>live memory over the instructions of a step, as planned; "
                "the top is %s</figcaption></figure>\n",
                text_bytes((uint64_t)most, bytes));
}

/* ---- metrics of the steps ---- */

enum { LINE_WIDTH = 300, LINE_HEIGHT = 90 };

struct range {
    double low, high;
};

static void widen(struct range *range, double number)
{
    if (!isfinite(number))
        return;
    range->low = number < range->low ? number : range->low;
    range->high = number > range->high ? number : range->high;
}

static void add_line(struct text *out, const char *class, const double *numbers, int count,
                     int stride, struct range range)
{
    double height = range.high > range.low ? range.high - range.low : 1;
    bool pen_down = false;
    text_format(out, "<path class=\"%s line\" d=\"M0 0", class);
    for (int i = 0; i < count; i++) {
        double number = numbers[i * stride];
        double x = count > 1 ? (double)i / (count - 1) * (LINE_WIDTH - 8) + 4 : LINE_WIDTH / 2.0;
        double y = LINE_HEIGHT - 4 - (number - range.low) / height * (LINE_HEIGHT - 8);
        if (isfinite(number))
            text_format(out, "%c%.1f %.1f%s", pen_down ? 'L' : 'M', x, y, count == 1 ? "h4" : "");
        pen_down = isfinite(number);
    }
    text_add(out, "\"/>");
}

void chart_line(const char *title, const double *test, const double *reference, int count,
                int stride, struct text *out)
{
    struct range range = {INFINITY, -INFINITY};
    for (int i = 0; i < count; i++) {
        widen(&range, test[i * stride]);
        widen(&range, reference[i * stride]);
    }
    if (range.low > range.high)
        return;
    text_format(out,
                "<figure><svg class=\"plot\" role=\"img\" width=\"%d\" height=\"%d\" "
                "viewBox=\"0 0 %d %d\">",
                LINE_WIDTH, LINE_HEIGHT, LINE_WIDTH, LINE_HEIGHT);
    add_line(out, "reference", reference, count, stride, range);
    add_line(out, "test", test, count, stride, range);
    text_format(out, "</svg><figcaption>%s, from %.5g to %.5g</figcaption></figure>\n", title,
                range.low, range.high);
}
