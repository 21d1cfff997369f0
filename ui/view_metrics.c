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

static const struct measure measures[] = {{"loss", loss_of},
                                          {"gradient norm", norm_of},
                                          {"learning rate", rate_of},
                                          {"loss scale", scale_of}};

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
    double difference = NAN;
    if (test && reference) {
        double base = fabs(measure->of(reference));
        difference = fabs(measure->of(test) - measure->of(reference)) / (base > 0 ? base : 1);
    }
    pen_right(pen, 9, difference > 0 ? THEME_WITHIN : THEME_DIM, number_text(difference, text));
}

static void draw_plot(struct pen *pen, const struct metrics_picture *metrics,
                      const struct measure *measure)
{
    double most = 0;
    for (int i = 0; i < metrics->test_count; i++)
        most = fmax(most, fabs(measure->of(&metrics->test[i])));
    for (int i = 0; i < metrics->reference_count; i++)
        most = fmax(most, fabs(measure->of(&metrics->reference[i])));
    for (int i = 0; i < metrics->steps && pen_room(pen) > 2; i++) {
        const struct step_report *test = report_at(metrics->test, metrics->test_count, i);
        static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        static const char *const plain[] = {"_", "_", ".", ".", "o", "o", "O", "#"};
        if (!test)
            break;
        int height = most > 0 ? (int)(fabs(measure->of(test)) / most * 7.999) : 0;
        height = height < 0 || height > 7 ? 7 : height;
        pen_put(pen, THEME_TEST, term_ascii() ? plain[height] : blocks[height]);
    }
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct metrics_view *view = context;
    const struct metrics_picture *metrics = metrics_of(ui);
    struct pen pen = pen_at(box, 0);
    (void)focus;
    if (!metrics) {
        pen_put(&pen, THEME_DIM, " no run is open");
        return;
    }
    int shown = ARRAY_LENGTH(measures);
    while (shown > 1 && 7 + shown * 35 > box.cols)
        shown--;
    int row = 0;
    pen_cell(&pen, 6, THEME_DIM, " step");
    for (int m = 0; m < shown; m++) {
        pen_right(&pen, 13, THEME_TITLE, measures[m].name);
        pen_right(&pen, 13, THEME_DIM, "reference");
        pen_right(&pen, 9, THEME_DIM, "rel.diff");
    }
    int rows = box.rows - 2 - ARRAY_LENGTH(measures);
    list_resize(&view->list, metrics->steps);
    list_show(&view->list, rows);
    for (int i = 0; i < rows && view->list.top + i < metrics->steps; i++) {
        int step = view->list.top + i;
        const struct step_report *test = report_at(metrics->test, metrics->test_count, step);
        pen_line(&pen, ++row, -1);
        pen_format(&pen, THEME_NUMBER, "%5d ", step + 1);
        for (int m = 0; m < shown; m++)
            put_measure(&pen, metrics, step, &measures[m]);
        if (test && test->skipped)
            pen_put(&pen, THEME_WARNING, "  skipped");
    }
    row++;
    for (int m = 0; m < ARRAY_LENGTH(measures); m++) {
        pen_line(&pen, ++row, -1);
        pen_format(&pen, THEME_DIM, " %-14s", measures[m].name);
        draw_plot(&pen, metrics, &measures[m]);
    }
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
    .help = "Loss, gradient norm, learning rate and loss scale of the finished steps, of the test "
            "and the reference, and their relative difference.",
    .at_stops = true,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .act = act,
    .wish = wish,
    .save = save,
};
