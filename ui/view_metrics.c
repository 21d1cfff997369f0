/* What the steps reported, of both runs. */
#include "ui/sheets.h"
#include "ui/state.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct metrics_view {
    struct list list; /* steps */
};

/* A column of the reports. */
struct measure {
    const char *name;
    double (*of)(const struct step_report *report);
};

static double loss_of(const struct step_report *report)
{
    return report->loss;
}

static double norm_of(const struct step_report *report)
{
    return report->gradient_norm;
}

static double rate_of(const struct step_report *report)
{
    return report->learning_rate;
}

static double scale_of(const struct step_report *report)
{
    return report->loss_scale;
}

static double time_of(const struct step_report *report)
{
    return report->seconds;
}

static const struct measure measures[] = {{"loss", loss_of},
                                          {"gradient norm", norm_of},
                                          {"learning rate", rate_of},
                                          {"loss scale", scale_of},
                                          {"step time, s", time_of}};

static void *create(struct ui *ui)
{
    (void)ui;
    return memory_zeroed(1, sizeof(struct metrics_view));
}

static void destroy(void *state)
{
    free(state);
}

static const struct metrics_picture *metrics_of(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_METRICS);
    return picture ? picture->metrics : NULL;
}

static bool wish(struct ui *ui, void *context, struct picture_request *request)
{
    (void)ui;
    (void)context;
    request->kind = PICTURE_METRICS;
    return true;
}

static const struct step_report *report_at(const struct step_report *reports, int count, int step)
{
    return reports && step < count ? &reports[step] : NULL;
}

static void put_number(struct pen *pen, const struct step_report *report,
                       const struct measure *measure, enum theme_role role)
{
    char text[32] = "-";
    if (report)
        snprintf(text, sizeof(text), "%.6g", measure->of(report));
    pen_right(pen, 13, role, text);
}

static double difference_at(const struct metrics_picture *metrics, int step,
                            const struct measure *measure)
{
    const struct step_report *test = report_at(metrics->test, metrics->test_count, step);
    const struct step_report *reference =
        report_at(metrics->reference, metrics->reference_count, step);
    return test && reference ? fabs(measure->of(test) - measure->of(reference)) : NAN;
}

/* Test, reference and their difference relative to the reference. */
static void put_measure(struct pen *pen, const struct metrics_picture *metrics, int step,
                        const struct measure *measure)
{
    const struct step_report *test = report_at(metrics->test, metrics->test_count, step);
    const struct step_report *reference =
        report_at(metrics->reference, metrics->reference_count, step);
    char text[32];
    put_number(pen, test, measure, THEME_TEST);
    put_number(pen, reference, measure, THEME_REFERENCE);
    double difference = difference_at(metrics, step, measure);
    double base = reference ? fabs(measure->of(reference)) : 0;
    difference /= base > 0 ? base : 1;
    pen_right(pen, 9, difference > 0 ? THEME_WITHIN : THEME_DIM, number_text(difference, text));
    pen_skip(pen, 1);
}

/* ---- plots ---- */

enum line { LINE_TEST = 0, LINE_REFERENCE, LINE_DIFFERENCE, LINE_COUNT };

struct plot {
    const struct metrics_picture *metrics;
    const struct measure *measure;
    double low, high; /* of both runs, so that their lines can be compared */
};

static double point_of(const struct plot *plot, enum line line, int step)
{
    const struct metrics_picture *metrics = plot->metrics;
    if (line == LINE_DIFFERENCE)
        return difference_at(metrics, step, plot->measure);
    const struct step_report *report =
        line == LINE_TEST ? report_at(metrics->test, metrics->test_count, step)
                          : report_at(metrics->reference, metrics->reference_count, step);
    return report ? plot->measure->of(report) : NAN;
}

static void widen(const struct plot *plot, enum line line, double *low, double *high)
{
    for (int i = 0; i < plot->metrics->steps; i++) {
        double point = point_of(plot, line, i);
        *low = isfinite(point) ? fmin(*low, point) : *low;
        *high = isfinite(point) ? fmax(*high, point) : *high;
    }
}

/* How many steps have a point, which need not be finite. */
static int reported(const struct plot *plot, enum line line)
{
    const struct metrics_picture *metrics = plot->metrics;
    int test = metrics->test ? metrics->test_count : 0;
    int reference = metrics->reference ? metrics->reference_count : 0;
    if (line == LINE_DIFFERENCE)
        return test < reference ? test : reference;
    return line == LINE_TEST ? test : reference;
}

static void put_point(struct pen *pen, double point, double low, double high, enum theme_role role)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {"_", "_", ".", ".", "o", "o", "O", "#"};
    if (!isfinite(point)) {
        pen_mark(pen, THEME_NAN, THEME_MARK_NAN);
        return;
    }
    int height = (int)((high > low ? (point - low) / (high - low) : 0) * 7.999);
    pen_put(pen, role, term_ascii() ? plain[height] : blocks[height]);
}

/* One character for each step, the newest if there is not room for all. */
static void draw_line(struct pen *pen, const struct plot *plot, enum line line)
{
    static const char *const names[] = {"test", "reference", "difference"};
    static const enum theme_role roles[] = {THEME_TEST, THEME_REFERENCE, THEME_WITHIN};
    enum { SCALE = 26 };
    double low = line == LINE_DIFFERENCE ? 0 : plot->low;
    double high = line == LINE_DIFFERENCE ? -INFINITY : plot->high;
    if (line == LINE_DIFFERENCE)
        widen(plot, line, &low, &high);
    pen_cell(pen, 15, THEME_DIM, line == LINE_TEST ? plot->measure->name : "");
    pen_cell(pen, 11, roles[line], names[line]);
    int room = pen_room(pen) - SCALE, ended = reported(plot, line);
    for (int i = ended > room ? ended - room : 0; i < ended; i++)
        put_point(pen, point_of(plot, line, i), low, high, roles[line]);
    if (low <= high)
        pen_format(pen, THEME_DIM, "  %.4g..%.4g", low, high);
}

/* Of all measures: both runs and their difference, or only what there is room for. */
static void draw_plots(struct layout_rectangle box, int row, int lines,
                       const struct metrics_picture *metrics)
{
    struct pen pen = pen_at(box, 0);
    if (metrics->test_count == 0 && metrics->reference_count == 0) {
        pen_line(&pen, row, -1);
        pen_put(&pen, THEME_DIM, " no step has ended yet");
        return;
    }
    for (int m = 0; m < ARRAY_LENGTH(measures); m++) {
        struct plot plot = {metrics, &measures[m], INFINITY, -INFINITY};
        widen(&plot, LINE_TEST, &plot.low, &plot.high);
        widen(&plot, LINE_REFERENCE, &plot.low, &plot.high);
        for (int line = 0; line < lines && row < box.rows; line++) {
            pen_line(&pen, row++, -1);
            pen_skip(&pen, 1);
            draw_line(&pen, &plot, (enum line)line);
        }
    }
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct metrics_view *view = context;
    const struct metrics_picture *metrics = metrics_of(ui);
    struct pen pen = pen_at(box, 0);
    (void)focus;
    if (!metrics) {
        pen_put(&pen, THEME_DIM, ui_why_empty(ui));
        return;
    }
    int shown = ARRAY_LENGTH(measures);
    while (shown > 1 && 6 + shown * 36 > box.cols)
        shown--;
    pen_cell(&pen, 6, THEME_DIM, " step");
    for (int m = 0; m < shown; m++) {
        pen_right(&pen, 13, THEME_TITLE, measures[m].name);
        pen_right(&pen, 13, THEME_DIM, "reference");
        pen_right(&pen, 9, THEME_DIM, "rel.diff");
        pen_skip(&pen, 1);
    }
    /* the plots get as many lines as leave half of the box to the steps */
    int lines = box.rows / 2 / ARRAY_LENGTH(measures);
    lines = lines < 1 ? 1 : lines > LINE_COUNT ? LINE_COUNT : lines;
    int rows = box.rows - 2 - lines * ARRAY_LENGTH(measures);
    rows = rows < 1 ? 1 : rows > metrics->steps ? metrics->steps : rows;
    list_resize(&view->list, metrics->steps);
    list_show(&view->list, rows);
    for (int i = 0; i < rows && view->list.top + i < metrics->steps; i++) {
        int step = view->list.top + i;
        const struct step_report *test = report_at(metrics->test, metrics->test_count, step);
        pen_line(&pen, 1 + i, -1);
        pen_format(&pen, THEME_NUMBER, "%5d ", step + 1);
        for (int m = 0; m < shown; m++)
            put_measure(&pen, metrics, step, &measures[m]);
        if (test && test->skipped)
            pen_put(&pen, THEME_WARNING, " skipped");
    }
    draw_plots(box, rows + 2, lines, metrics);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct metrics_view *view = context;
    (void)ui;
    (void)key;
    return list_act(&view->list, command);
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct metrics_picture *metrics = metrics_of(ui);
    (void)context;
    if (metrics)
        sheet_of_metrics(metrics, out);
}

const struct view_operations view_metrics = {
    .view = LAYOUT_METRICS,
    .title = "Metrics",
    .help = "Loss, gradient norm, learning rate, loss scale and time of the finished steps, of the "
            "test and the reference, and their relative difference; below, as lines.",
    .at_stops = true,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .act = act,
    .wish = wish,
    .save = save,
};
