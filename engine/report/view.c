/* Looking into one tensor: where the difference is, how numbers are spread, the worst elements. */
#include "engine/report/page.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>

struct sides {
    const struct tensor *reference, *test;
    double scale;
    int64_t count;
};

static double difference_at(const struct sides *sides, int64_t index)
{
    return fabs(tensor_load(sides->test, index) / sides->scale -
                tensor_load(sides->reference, index));
}

/* ---- the map: the last dimension runs to the right, all others down ---- */

static void size_map(struct page_view *view, struct shape shape, int64_t count, int64_t *rows,
                     int64_t *columns)
{
    int64_t last = shape.rank > 0 ? shape.dims[shape.rank - 1] : 1;
    bool whole = shape_elements(shape) == count && last > 0 && last < count;
    if (!whole) { /* a vector, or samples: folded, about twice as wide as high */
        int64_t fold = (count + PAGE_HEAT_COLUMNS - 1) / PAGE_HEAT_COLUMNS;
        fold = count <= (int64_t)PAGE_HEAT_COLUMNS * PAGE_HEAT_ROWS
                   ? PAGE_HEAT_COLUMNS
                   : (fold + PAGE_HEAT_ROWS - 1) / PAGE_HEAT_ROWS * PAGE_HEAT_COLUMNS;
        last = view->heat_wrap = fold < count ? fold : count;
    }
    *columns = last;
    *rows = (count + last - 1) / last;
}

/* A NaN stays: it must not be hidden by its neighbours. */
static void take_heat(struct page_view *view, const struct sides *sides, struct shape shape)
{
    int64_t rows, columns;
    size_map(view, shape, sides->count, &rows, &columns);
    view->heat_rows = (int)(rows < PAGE_HEAT_ROWS ? rows : PAGE_HEAT_ROWS);
    view->heat_columns = (int)(columns < PAGE_HEAT_COLUMNS ? columns : PAGE_HEAT_COLUMNS);
    int cells = view->heat_rows * view->heat_columns;
    view->heat = memory_zeroed((size_t)cells, sizeof(*view->heat));
    for (int i = 0; i < cells; i++)
        view->heat[i] = -1;
    for (int64_t i = 0; i < sides->count; i++) {
        int64_t row = i / columns * view->heat_rows / rows;
        int64_t column = i % columns * view->heat_columns / columns;
        float *cell = &view->heat[row * view->heat_columns + column];
        double heat = difference_at(sides, i);
        if (!isfinite(heat))
            *cell = NAN;
        else if (heat > (double)*cell) /* also than the -1 of an empty cell; not than NaN */
            *cell = (float)heat;
        if (isfinite(heat) && heat > view->heat_most)
            view->heat_most = heat;
    }
}

/* ---- histograms ---- */

static void widen(double number, double *low, double *high)
{
    if (!isfinite(number))
        return;
    *low = number < *low ? number : *low;
    *high = number > *high ? number : *high;
}

static void count_in(int64_t bins[PAGE_BINS], double number, double low, double high)
{
    if (!isfinite(number))
        return;
    double place = high > low ? (number - low) / (high - low) * PAGE_BINS : 0;
    int bin = place < 0 ? 0 : place >= PAGE_BINS ? PAGE_BINS - 1 : (int)place;
    bins[bin]++;
}

static void take_histograms(struct page_view *view, const struct sides *sides)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < sides->count; i++) {
        widen(tensor_load(sides->test, i) / sides->scale, &low, &high);
        widen(tensor_load(sides->reference, i), &low, &high);
    }
    if (low > high)
        return; /* nothing is finite */
    view->bins = PAGE_BINS;
    view->low = low;
    view->high = high;
    view->difference_high = view->heat_most;
    for (int64_t i = 0; i < sides->count; i++) {
        count_in(view->test_bins, tensor_load(sides->test, i) / sides->scale, low, high);
        count_in(view->reference_bins, tensor_load(sides->reference, i), low, high);
        count_in(view->difference_bins, difference_at(sides, i), 0, view->difference_high);
    }
}

static void add_view(struct page *page, struct page_view *view)
{
    const struct page_row *row = &page->rows[view->row];
    char guess[300];
    if (row->measured && metrics_guess(&row->metrics, guess, sizeof(guess)))
        view->guess = memory_string(guess);
    ARRAY_PUSH(page->views, page->view_count, page->view_capacity, *view);
}

void page_add_view(struct page *page, int row, const struct tensor *reference,
                   const struct tensor *test, double scale, int64_t stride, const char *producer)
{
    struct page_view view = {
        .row = row, .stride = stride > 0 ? stride : 1, .producer = memory_string(producer)};
    struct sides sides = {reference, test, scale, shape_elements(test->shape)};
    view.shape = page->rows[row].shape;
    if (view.stride == 1 && shape_elements(view.shape) > sides.count)
        view.shape = test->shape;
    if (sides.count > 0) {
        take_heat(&view, &sides, view.shape);
        take_histograms(&view, &sides);
    }
    view.worst_count = metrics_worst(reference, test, scale, view.worst, PAGE_WORST);
    add_view(page, &view);
}

void page_add_worst(struct page *page, int row, const struct worst_element *worst, int count)
{
    struct page_view view = {.row = row, .stride = 1, .worst_count = count};
    for (int i = 0; i < count; i++)
        view.worst[i] = worst[i];
    add_view(page, &view);
}
