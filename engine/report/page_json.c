/* From the JSON of a comparison back to a page: what a worker process made, and a file keeps. */
#include "engine/report/page.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* JSON knows no infinity and no NaN: null, and what is missing; words for single elements. */
static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value))
        return strtod(json_string_value(value), NULL);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static int failures_of(const json_t *tensor)
{
    const json_t *names = json_object_get(tensor, "failures"), *name;
    size_t index;
    int failures = 0;
    json_array_foreach(names, index, name)
    {
        for (int bit = 0; json_is_string(name) && failure_name(bit); bit++)
            if (strcmp(json_string_value(name), failure_name(bit)) == 0)
                failures |= 1 << bit;
    }
    return failures;
}

/* The test's, or that of the only side that has one. */
static void read_type(const json_t *tensor, struct page_row *row)
{
    bool in_test = json_object_get(tensor, "shape_test") != NULL;
    const json_t *shape = json_object_get(tensor, in_test ? "shape_test" : "shape_reference");
    const char *dtype =
        json_string_value(json_object_get(tensor, in_test ? "dtype_test" : "dtype_reference"));
    size_t rank = json_array_size(shape);
    row->sized =
        dtype && json_is_array(shape) && rank <= TENSOR_MAX_RANK && dtype_find(dtype, &row->dtype);
    for (size_t i = 0; row->sized && i < rank; i++)
        row->shape.dims[i] = json_integer_value(json_array_get(shape, i));
    row->shape.rank = row->sized ? (int)rank : 0;
}

static void read_metrics(const json_t *tensor, struct page_row *row)
{
    const json_t *limits = json_object_get(tensor, "limits");
    row->measured = true;
    row->metrics = (struct metrics){.count = integer(tensor, "elements"),
                                    .rms_difference = number(tensor, "rms_difference"),
                                    .rms_reference = number(tensor, "rms_reference"),
                                    .rms_test = number(tensor, "rms_test"),
                                    .max_difference = number(tensor, "max_difference"),
                                    .max_index = -1,
                                    .cosine = number(tensor, "cosine"),
                                    .nan_test = integer(tensor, "nan_test"),
                                    .nan_reference = integer(tensor, "nan_reference"),
                                    .infinity_test = integer(tensor, "infinity_test"),
                                    .infinity_reference = integer(tensor, "infinity_reference"),
                                    .different = integer(tensor, "different")};
    row->limits = (struct limits){.rms_relative = number(limits, "rms_relative"),
                                  .rms_absolute = number(limits, "rms_absolute"),
                                  .max_relative = number(limits, "max_relative"),
                                  .max_absolute = number(limits, "max_absolute"),
                                  .rms_epsilon = number(limits, "rms_epsilon"),
                                  .scale = number(limits, "scale")};
    row->verdict = (struct verdict){.failures = row->failures,
                                    .rms_relative = number(tensor, "rms_relative"),
                                    .max_relative = number(tensor, "max_relative"),
                                    .worst = number(tensor, "of_limit")};
    /* a failure beyond all numbers; null otherwise only where nothing is known */
    if (isnan(row->verdict.worst) && row->failures)
        row->verdict.worst = INFINITY;
    row->error = row->verdict.rms_relative;
    row->of_limit = row->verdict.worst;
}

static enum page_status status_of(const struct page_row *row)
{
    if (!row->measured)
        return PAGE_UNMATCHED;
    if (row->failures)
        return row->failures & FAILURE_NOT_FINITE ? PAGE_NOT_FINITE : PAGE_DIVERGED;
    return metrics_same(&row->metrics) ? PAGE_SAME : PAGE_WITHIN;
}

static void add_row(struct page *page, const json_t *tensor)
{
    const char *step = json_string_value(json_object_get(tensor, "step"));
    const char *name = json_string_value(json_object_get(tensor, "name"));
    const json_t *position = json_object_get(tensor, "position");
    struct page_row row = {.step = page_step(page, step ? step : "-"),
                           .name = (char *)(uintptr_t)(name ? name : "-"),
                           .position =
                               json_is_integer(position) ? (int)json_integer_value(position) : -1,
                           .failures = failures_of(tensor),
                           .error = NAN,
                           .of_limit = NAN};
    const json_t *rank = json_object_get(tensor, "rank");
    row.worst_rank = json_is_integer(rank) ? (int)json_integer_value(rank) + 1 : 0;
    read_type(tensor, &row);
    if (json_object_get(tensor, "elements"))
        read_metrics(tensor, &row);
    row.status = status_of(&row);
    page_add_row(page, &row);
}

static void add_worst(struct page *page, int row, const json_t *tensor)
{
    const json_t *elements = json_object_get(tensor, "worst");
    struct worst_element worst[PAGE_WORST];
    int count = 0;
    for (; count < PAGE_WORST && count < (int)json_array_size(elements); count++) {
        const json_t *element = json_array_get(elements, (size_t)count);
        worst[count] = (struct worst_element){
            integer(element, "index"), number(element, "reference"), number(element, "test")};
    }
    page_add_worst(page, row, worst, count);
}

bool page_add_json(struct page *page, const char *json)
{
    json_t *comparison = json_loads(json, 0, NULL);
    const json_t *tensors = json_object_get(comparison, "tensors"), *tensor;
    const json_t *problems = json_object_get(comparison, "problems"), *problem;
    int rows[PAGE_VIEWS], before = page->row_count;
    size_t index;
    bool good = json_is_array(tensors);
    json_array_foreach(tensors, index, tensor) add_row(page, tensor);
    json_array_foreach(problems, index, problem) if (json_is_string(problem))
        page_note(page, "%s", json_string_value(problem));
    page->problem = page->problem || json_array_size(problems) > 0;
    page->ignored += (int)integer(comparison, "ignored");
    page->elements += integer(comparison, "elements");
    page->elements_whole += integer(comparison, "elements_whole");
    int count = good ? page_choose(page, rows) : 0;
    for (int i = 0; i < count; i++)
        if (rows[i] >= before)
            add_worst(page, rows[i], json_array_get(tensors, (size_t)(rows[i] - before)));
    json_decref(comparison);
    return good;
}
