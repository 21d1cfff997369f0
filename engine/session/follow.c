#include "engine/session/follow.h"

#include "engine/base/memory.h"
#include "engine/session/places.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The same tensor of any micro-batch or micro-sequence. A value without a name is itself only. */
static bool belongs(const struct program *program, const struct follow *follow, int value)
{
    const char *a = program->values[follow->value].name, *b = program->values[value].name;
    if (value == follow->value)
        return true;
    return a[0] && b[0] && tensor_name_length(a) == tensor_name_length(b) &&
           strncmp(a, b, tensor_name_length(a)) == 0;
}

/* The flat index of the place in a value; -1 if it is outside (a shorter micro-sequence). */
static int64_t index_in(const struct follow *follow, struct shape shape)
{
    int64_t index = 0;
    if (shape.rank != follow->rank)
        return -1;
    for (int d = 0; d < shape.rank; d++) {
        if (follow->place[d] >= shape.dims[d])
            return -1;
        index = index * shape.dims[d] + follow->place[d];
    }
    return index;
}

/* ---- reading ---- */

static bool read_test(struct pair *pair, int value, int64_t index, double *number)
{
    struct executor *executor = pair->test->executor;
    struct status ignored = STATUS_NONE;
    struct tensor view;
    void *buffer = NULL;
    bool ok =
        executor_holds(executor, value) && executor_view(executor, value, &buffer, &view, &ignored);
    if (ok)
        *number = tensor_load(&view, index);
    free(buffer);
    return ok;
}

/* Where element `index` is among what the pair shows of the reference: of a sampled trace every
 * so many-th. -1: not among them. */
static int64_t shown_index(const struct pair *pair, int value, const struct pair_sides *sides,
                           int64_t index)
{
    const struct value *of = &pair->test->program->values[value];
    int64_t shown = shape_elements(sides->reference.shape);
    if (shown == shape_elements(of->shape))
        return index;
    struct trace_tensor recorded;
    if (!pair->trace_step || !trace_find(pair->trace_step, of->name, &recorded) ||
        recorded.sampling_step <= 0 || index % recorded.sampling_step != 0)
        return -1;
    index /= recorded.sampling_step;
    return index < shown ? index : -1;
}

static bool read_row(struct pair *pair, const struct follow *follow, int value,
                     struct follow_row *row)
{
    struct pair_sides sides;
    struct status ignored = STATUS_NONE;
    int64_t index = index_in(follow, pair->test->program->values[value].shape);
    *row = (struct follow_row){.step = pair->test->step, .value = value, .reference = NAN};
    if (index < 0 || !read_test(pair, value, index, &row->test) ||
        !pair_view(pair, value, &sides, &ignored))
        return false;
    row->test /= sides.scale;
    int64_t shown = sides.has_reference ? shown_index(pair, value, &sides, index) : -1;
    row->has_reference = shown >= 0;
    if (shown >= 0)
        row->reference = tensor_load(&sides.reference, shown);
    row->failed = pair->results[value].compared && pair->results[value].verdict.failures;
    pair_sides_free(&sides);
    return true;
}

/* ---- rows ---- */

static int producer_of(const struct program *program, int value)
{
    return program->values[value].producer;
}

/* Whether a row comes after the writing of `value` in `step`. */
static bool is_after(const struct program *program, const struct follow_row *row, int step,
                     int value)
{
    if (row->step != step)
        return row->step > step;
    int a = producer_of(program, row->value), b = producer_of(program, value);
    return a != b ? a > b : row->value > value;
}

/* In its place; a row of the same writing is replaced. */
static void put_row(const struct program *program, struct follow *follow,
                    const struct follow_row *row)
{
    int at = follow->row_count;
    while (at > 0 && is_after(program, &follow->rows[at - 1], row->step, row->value))
        at--;
    if (at > 0 && follow->rows[at - 1].step == row->step &&
        follow->rows[at - 1].value == row->value) {
        follow->rows[at - 1] = *row;
        return;
    }
    ARRAY_PUSH(follow->rows, follow->row_count, follow->row_capacity, *row);
    memmove(&follow->rows[at + 1], &follow->rows[at],
            (size_t)(follow->row_count - 1 - at) * sizeof(*row));
    follow->rows[at] = *row;
    if (follow->row_count > FOLLOW_ROWS) {
        follow->row_count--;
        follow->dropped++;
        memmove(follow->rows, follow->rows + 1, (size_t)follow->row_count * sizeof(*row));
    }
}

static void note(struct follow *follow, struct pair *pair, int value)
{
    struct follow_row row;
    if (belongs(pair->test->program, follow, value) && read_row(pair, follow, value, &row))
        put_row(pair->test->program, follow, &row);
}

void follow_note_value(struct follows *follows, struct pair *pair, int value)
{
    for (int i = 0; i < follows->count; i++)
        note(&follows->list[i], pair, value);
}

void follow_note(struct follows *follows, struct pair *pair, const struct pair_event *event)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = &program->instructions[event->instruction];
    if (follows->count == 0)
        return;
    for (int k = 0; k < in->output_count; k++)
        follow_note_value(follows, pair, in->outputs[k]);
    /* What no instruction writes (inputs, parameters) is as it is from the step's beginning on. */
    for (int i = 0; event->instruction == 0 && i < follows->count; i++)
        if (producer_of(program, follows->list[i].value) < 0)
            note(&follows->list[i], pair, follows->list[i].value);
}

void follow_forget(struct follows *follows, const struct program *program, int step,
                   int instruction)
{
    for (int i = 0; i < follows->count; i++) {
        struct follow *follow = &follows->list[i];
        while (follow->row_count > 0) {
            const struct follow_row *last = &follow->rows[follow->row_count - 1];
            if (last->step < step ||
                (last->step == step && producer_of(program, last->value) < instruction))
                break;
            follow->row_count--;
        }
    }
}

/* ---- the list ---- */

static char *follow_name(const struct program *program, int value, const int64_t *place)
{
    char name[256];
    struct text text = {0};
    int rank = program->values[value].shape.rank;
    program_value_text(program, value, name, sizeof(name));
    text_add_part(&text, name, tensor_name_length(name));
    for (int d = 0; d < rank; d++)
        text_format(&text, "%s%" PRId64, d ? "," : "[", place[d]);
    text_add(&text, rank > 0 ? "]" : "");
    return text_take(&text);
}

int follow_add(struct follows *follows, struct pair *pair, int value, const int64_t *place,
               struct status *status)
{
    const struct program *program = pair->test->program;
    char *name = follow_name(program, value, place);
    for (int i = 0; i < follows->count; i++)
        if (strcmp(follows->list[i].name, name) == 0) {
            free(name);
            return follows->list[i].number;
        }
    if (follows->count == FOLLOW_MOST) {
        free(name);
        status_fail(status, STATUS_INVALID, "%d elements are followed already: see unfollow",
                    FOLLOW_MOST);
        return -1;
    }
    struct follow follow = {.number = ++follows->last_number,
                            .value = value,
                            .name = name,
                            .rank = program->values[value].shape.rank};
    memcpy(follow.place, place, (size_t)follow.rank * sizeof(*place));
    ARRAY_PUSH(follows->list, follows->count, follows->capacity, follow);
    for (int v = 0; v < program->value_count; v++)
        if (producer_of(program, v) < run_next(pair->test))
            note(&follows->list[follows->count - 1], pair, v);
    return follow.number;
}

static void free_follow(struct follow *follow)
{
    free(follow->name);
    free(follow->rows);
}

bool follow_remove(struct follows *follows, int number)
{
    for (int i = 0; i < follows->count; i++)
        if (follows->list[i].number == number) {
            free_follow(&follows->list[i]);
            follows->count--;
            memmove(&follows->list[i], &follows->list[i + 1],
                    (size_t)(follows->count - i) * sizeof(*follows->list));
            return true;
        }
    return false;
}

void follows_free(struct follows *follows)
{
    for (int i = 0; i < follows->count; i++)
        free_follow(&follows->list[i]);
    free(follows->list);
    *follows = (struct follows){0};
}

/* ---- the table ---- */

/* Test minus reference; NAN without one. */
static double follow_difference(const struct follow_row *row)
{
    return row->has_reference ? row->test - row->reference : NAN;
}

const char *follow_batch(const struct program *program, int value, char *buffer, int size)
{
    const char *name = program->values[value].name;
    const char *batch = name + tensor_name_length(name);
    snprintf(buffer, (size_t)size, "%s", batch + (*batch == ' '));
    return buffer;
}

static void add_number(struct text *out, bool known, double number)
{
    if (known)
        text_format(out, " %14.6e", number);
    else
        text_format(out, " %14s", "-");
}

static void add_row(const struct program *program, const struct follow_row *row, double most,
                    struct text *out)
{
    enum { BAR = 20 };
    double difference = follow_difference(row), part = fabs(difference) / most;
    int producer = producer_of(program, row->value);
    char batch[64];
    text_format(out, "    %4d %-16s ", row->step + 1,
                follow_batch(program, row->value, batch, sizeof(batch)));
    if (producer < 0)
        text_format(out, "%11s", "-");
    else
        text_format(out, "%11d", producer);
    add_number(out, true, row->test);
    add_number(out, row->has_reference, row->reference);
    add_number(out, row->has_reference, difference);
    text_add(out, row->failed ? " x " : "   ");
    for (int k = 0; isfinite(part) && k < (int)ceil(part * BAR); k++)
        text_add(out, "#");
    while (out->data[out->length - 1] == ' ')
        out->data[--out->length] = '\0';
    text_add(out, "\n");
}

void follow_describe(const struct follow *follow, const struct program *program, struct text *out)
{
    double most = 0;
    for (int i = 0; i < follow->row_count; i++)
        most = fmax(most, fabs(follow_difference(&follow->rows[i]))); /* passes over NaN */
    text_format(out, "%d: %s\n", follow->number, follow->name);
    if (follow->dropped > 0)
        text_format(out, "    the first %" PRId64 " times are not kept\n", follow->dropped);
    if (follow->row_count == 0)
        text_add(out, "    not written yet\n");
    else
        text_format(out, "    %4s %-16s %11s %14s %14s %14s\n", "step", "batch", "instruction",
                    "test", "reference", "difference");
    for (int i = 0; i < follow->row_count; i++)
        add_row(program, &follow->rows[i], most, out);
}
