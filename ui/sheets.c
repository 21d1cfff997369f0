#include "ui/sheets.h"

#include "ui/tensor_parts.h"

#include <math.h>

/* ---- a tensor ---- */

static void add_comparison(const struct tensor_picture *tensor, struct sheet *sheet)
{
    const struct metrics *metrics = &tensor->metrics;
    const struct limits *limits = &tensor->limits;
    sheet_fact(sheet, "verdict", tensor->verdict.failures ? "diverged" : "within limits");
    sheet_fact_measure(sheet, "of_limit", tensor->verdict.worst);
    sheet_fact_measure(sheet, "rms_relative", tensor->verdict.rms_relative);
    sheet_fact_measure(sheet, "rms_relative_limit", limits->rms_relative);
    sheet_fact_measure(sheet, "max_relative", tensor->verdict.max_relative);
    sheet_fact_measure(sheet, "max_relative_limit", limits->max_relative);
    sheet_fact_measure(sheet, "rms_difference", metrics->rms_difference);
    sheet_fact_measure(sheet, "max_difference", metrics->max_difference);
    sheet_fact_measure(sheet, "cosine", metrics->cosine);
    sheet_fact_integer(sheet, "different", metrics->different);
    sheet_fact_integer(sheet, "nan_test", metrics->nan_test);
    sheet_fact_integer(sheet, "nan_reference", metrics->nan_reference);
    if (tensor->guess)
        sheet_fact(sheet, "looks_like", tensor->guess);
}

static void add_tensor_facts(const struct tensor_picture *tensor, struct sheet *sheet)
{
    char shape[80];
    sheet_fact(sheet, "tensor", tensor->name);
    sheet_fact_integer(sheet, "step", tensor->step + 1);
    sheet_fact(sheet, "dtype", dtype_name(tensor->dtype));
    sheet_fact(sheet, "shape", shape_text(tensor->whole, shape));
    sheet_fact_integer(sheet, "plane", tensor->plane);
    if (tensor->sampled)
        sheet_fact_integer(sheet, "every", tensor->stride);
    sheet_fact_measure(sheet, "divided_by", tensor->scale);
    if (tensor->compared)
        add_comparison(tensor, sheet);
}

static void add_numbers(const struct tensor_picture *tensor, struct sheet *sheet)
{
    struct sheet_table *table = sheet_add_table(
        sheet, "numbers",
        tensor->reference ? "row column test reference difference" : "row column test");
    for (int r = 0; r < tensor->rows; r++)
        for (int c = 0; c < tensor->columns; c++) {
            int at = r * tensor->columns + c;
            table_integer(table, tensor->row + r);
            table_integer(table, tensor->column + c);
            table_number(table, tensor->test[at]);
            if (!tensor->reference)
                continue;
            table_number(table, tensor->reference[at]);
            table_number(table, tensor->test[at] - tensor->reference[at]);
        }
}

static void add_worst(const struct tensor_picture *tensor, struct sheet *sheet)
{
    struct sheet_table *table =
        sheet_add_table(sheet, "worst", "place index test reference difference");
    char place[100];
    for (int i = 0; i < tensor->worst_count; i++) {
        const struct worst_element *worst = &tensor->worst[i];
        table_text(table, tensor_place(tensor, worst->index, place));
        table_integer(table, worst->index * tensor->stride);
        table_number(table, worst->test);
        table_number(table, worst->reference);
        table_number(table, worst->test - worst->reference);
    }
}

static void add_histogram(const struct tensor_picture *tensor, struct sheet *sheet)
{
    struct sheet_table *table = sheet_add_table(sheet, "histogram", "from to test");
    double width = (tensor->high - tensor->low) / tensor->bins;
    double step = tensor->difference_high / tensor->bins;
    if (tensor->reference_bins)
        sheet_add_column(table, "reference");
    if (tensor->difference_bins) {
        sheet_add_column(table, "difference_from");
        sheet_add_column(table, "difference_to");
        sheet_add_column(table, "difference");
    }
    for (int b = 0; b < tensor->bins; b++) {
        table_number(table, tensor->low + b * width);
        table_number(table, b + 1 < tensor->bins ? tensor->low + (b + 1) * width : tensor->high);
        table_integer(table, tensor->test_bins[b]);
        if (tensor->reference_bins)
            table_integer(table, tensor->reference_bins[b]);
        if (!tensor->difference_bins)
            continue;
        table_number(table, b * step);
        table_number(table, (b + 1) * step);
        table_integer(table, tensor->difference_bins[b]);
    }
}

/* Cells of the map: the largest |difference| (|value| without a reference) of each. */
static void add_map(const struct tensor_picture *tensor, struct sheet *sheet)
{
    struct sheet_table *table = sheet_add_table(sheet, "map", "map_row map_column largest");
    for (int i = 0; i < tensor->heat_rows * tensor->heat_columns; i++) {
        if (tensor->heat[i] < 0)
            continue; /* no element */
        table_integer(table, i / tensor->heat_columns);
        table_integer(table, i % tensor->heat_columns);
        table_number(table, (double)tensor->heat[i]);
    }
}

void sheet_of_tensor(const struct tensor_picture *tensor, struct sheet *sheet)
{
    add_tensor_facts(tensor, sheet);
    if (tensor->problem)
        sheet_fact(sheet, "problem", tensor->problem);
    if (tensor->partial)
        sheet_fact(sheet, "partial", "not all elements were looked at: parts are left out");
    if (!tensor->test)
        return;
    add_numbers(tensor, sheet);
    if (tensor->worst_count > 0)
        add_worst(tensor, sheet);
    if (tensor->bins > 0)
        add_histogram(tensor, sheet);
    if (tensor->heat)
        add_map(tensor, sheet);
}

/* ---- memory ---- */

void sheet_of_memory(const struct memory_picture *memory, struct sheet *sheet)
{
    struct sheet_table *timeline = sheet_add_table(sheet, "timeline", "instruction");
    sheet_fact(sheet, "device", memory->device_name);
    sheet_fact_integer(sheet, "forecast_bytes", memory->forecast);
    sheet_fact_integer(sheet, "reference_forecast_bytes", memory->reference_forecast);
    sheet_fact_integer(sheet, "device_bytes", memory->device.live_total);
    if (memory->device_total > 0) {
        sheet_fact_integer(sheet, "device_bytes_of_all_programs", memory->device_used);
        sheet_fact_integer(sheet, "device_bytes_in_all", memory->device_total);
    }
    sheet_fact_integer(sheet, "next_instruction", memory->next);
    sheet_fact_integer(sheet, "peak_instruction", memory->peak);
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++)
        sheet_add_column(timeline, memory_class_name((enum memory_class)c));
    for (int p = 0; p < memory->point_count; p++) {
        table_integer(timeline, memory->points[p]);
        for (int c = 0; c < MEMORY_CLASS_COUNT; c++)
            table_integer(timeline, memory->classes[p][c]);
    }
    sheet_fact_integer(sheet, "owners_at_instruction", memory->owners_at);
    struct sheet_table *owners = sheet_add_table(sheet, "owners", "value bytes class first last");
    for (int i = 0; i < memory->owner_count; i++) {
        const struct memory_owner *owner = &memory->owners[i];
        table_text(owners, owner->name);
        table_integer(owners, owner->bytes);
        table_text(owners, memory_class_name(owner->memory_class));
        table_integer(owners, owner->first);
        table_integer(owners, owner->last);
    }
    if (memory->owners_more > 0)
        sheet_fact_integer(sheet, "owners_not_listed", memory->owners_more);
}

/* ---- the reports of the steps ---- */

void sheet_of_metrics(const struct metrics_picture *metrics, struct sheet *sheet)
{
    struct sheet_table *table = sheet_add_table(
        sheet, "steps",
        "run step loss gradient_norm learning_rate loss_scale skipped tokens seconds");
    for (int side = 0; side < 2; side++) {
        const struct step_report *reports = side ? metrics->reference : metrics->test;
        int count = side ? metrics->reference_count : metrics->test_count;
        for (int i = 0; i < count; i++) {
            table_text(table, side ? "reference" : "test");
            table_integer(table, reports[i].step);
            table_number(table, reports[i].loss);
            table_number(table, reports[i].gradient_norm);
            table_number(table, reports[i].learning_rate);
            table_number(table, reports[i].loss_scale);
            table_flag(table, reports[i].skipped);
            table_integer(table, reports[i].tokens);
            table_number(table, reports[i].seconds);
        }
    }
}
