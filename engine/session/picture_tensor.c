#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "engine/session/picture_heat.h"
#include "engine/session/tensor_survey.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the window ---- */

static void fold_shape(struct tensor_picture *picture)
{
    const struct shape *shape = &picture->shape;
    picture->all_columns = shape->rank > 0 ? shape->dims[shape->rank - 1] : 1;
    picture->all_rows = shape->rank > 1 ? shape->dims[shape->rank - 2] : 1;
    picture->planes = 1;
    for (int i = 0; i + 2 < shape->rank; i++)
        picture->planes *= shape->dims[i];
}

static void place_window(struct tensor_picture *picture, const struct picture_request *request)
{
    int64_t rows = picture_limited(request->rows, 0, PICTURE_WINDOW);
    int64_t columns = picture_limited(request->columns, 0, PICTURE_WINDOW);
    picture->rows = (int)picture_limited(rows, 0, picture->all_rows);
    picture->columns = (int)picture_limited(columns, 0, picture->all_columns);
    picture->plane = picture_limited(request->plane, 0, picture->planes - 1);
    picture->row = picture_limited(request->row, 0, picture->all_rows - picture->rows);
    picture->column = picture_limited(request->column, 0, picture->all_columns - picture->columns);
}

static double *read_window(const struct tensor_picture *picture, const struct tensor *tensor,
                           double scale)
{
    double *numbers =
        memory_zeroed((size_t)picture->rows * (size_t)picture->columns, sizeof(*numbers));
    int64_t base = picture->plane * picture->all_rows + picture->row;
    for (int r = 0; r < picture->rows; r++)
        for (int c = 0; c < picture->columns; c++)
            numbers[r * picture->columns + c] =
                tensor_load(tensor, (base + r) * picture->all_columns + picture->column + c) /
                scale;
    return numbers;
}

/* ---- the whole ---- */

static void take_verdict(struct tensor_picture *picture, const struct pair *pair)
{
    const struct pair_result *result = &pair->results[picture->value];
    picture->compared = result->compared && pair->entered_step == picture->step;
    if (!picture->compared)
        return;
    char guess[300];
    picture->metrics = result->metrics;
    picture->verdict = result->verdict;
    if (result->limits)
        picture->limits = *result->limits;
    if (result->verdict.failures && metrics_guess(&result->metrics, guess, sizeof(guess)))
        picture->guess = memory_string(guess);
}

/* What takes no time; the rest is the survey's. */
static void take_window(struct tensor_picture *picture, const struct pair_sides *sides,
                        const struct picture_request *request)
{
    picture->scale = sides->scale;
    picture->shape = sides->test.shape; /* of the samples, if there are only those */
    fold_shape(picture);
    place_window(picture, request);
    picture->test = read_window(picture, &sides->test, sides->scale);
    if (sides->has_reference)
        picture->reference = read_window(picture, &sides->reference, 1);
    else
        picture->reference_problem = memory_string(sides->reason);
}

/* Of a sampled trace both sides are every so many-th element, as a vector. */
static void take_stride(struct tensor_picture *picture, const struct pair *pair)
{
    struct trace_tensor recorded;
    picture->stride = 1;
    if (!pair->trace_step || !trace_find(pair->trace_step, picture->name, &recorded) ||
        recorded.sampling_step == 0)
        return;
    picture->stride = recorded.sampling_step;
    picture->sampled = shape_elements(recorded.samples.shape) < shape_elements(picture->whole);
}

/* Where whoever has NumPy can read the same numbers. */
static void take_file(struct tensor_picture *picture, const struct pair *pair)
{
    const struct trace_step *step = pair->trace_step;
    struct trace_tensor recorded;
    if (!step || !picture->reference || !trace_find(step, picture->name, &recorded) ||
        shape_elements(recorded.samples.shape) != shape_elements(picture->shape))
        return;
    char *whole = realpath(step->file->path, NULL);
    picture->reference_file = whole ? whole : memory_string(step->file->path);
    picture->reference_offset = (const char *)recorded.samples.data - (const char *)step->file->map;
    picture->reference_dtype = recorded.samples.dtype;
}

struct tensor_picture *picture_of_tensor(struct pair *pair, int value,
                                         const struct picture_request *request,
                                         struct tensor_survey **kept,
                                         const struct interrupt *interrupt)
{
    struct tensor_picture *picture = memory_zeroed(1, sizeof(*picture));
    const struct program *program = pair->test->program;
    struct status status = STATUS_NONE;
    struct pair_sides sides = {0};
    char text[600] = "";
    picture->value = value;
    picture->step = pair->test->step;
    picture->scale = 1;
    picture->planes = 1;
    if (value < 0 || value >= program->value_count) {
        picture->value = -1;
        picture->name = memory_string("");
        return picture;
    }
    const struct value *shown = &program->values[value];
    picture->name = memory_string(program_value_text(program, value, text, sizeof(text)));
    picture->dtype = shown->dtype;
    picture->shape = picture->whole = shown->shape;
    take_stride(picture, pair);
    if (shown->producer >= 0)
        program_instruction_text(program, shown->producer, text, sizeof(text));
    picture->producer = memory_string(shown->producer >= 0 ? text : "");
    take_verdict(picture, pair);
    if (pair_view(pair, value, &sides, &status)) {
        take_window(picture, &sides, request);
        tensor_survey_fill(kept, pair, &sides, request, interrupt, picture);
    } else {
        picture->problem = memory_string(status.text);
    }
    pair_sides_free(&sides);
    take_file(picture, pair);
    return picture;
}

void tensor_picture_free(struct tensor_picture *picture)
{
    if (!picture)
        return;
    free(picture->name);
    free(picture->problem);
    free(picture->reference_problem);
    free(picture->producer);
    free(picture->guess);
    free(picture->reference_file);
    free(picture->test);
    free(picture->reference);
    free(picture->test_bins);
    free(picture->reference_bins);
    free(picture->difference_bins);
    free(picture->heat);
    free(picture->heat_sign);
    for (int i = 0; i < picture->follow_count; i++) {
        free(picture->follows[i].name);
        free(picture->follows[i].rows);
    }
    free(picture->follows);
    free(picture);
}
