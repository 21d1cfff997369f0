#include "ui/result_order.h"

#include "engine/base/memory.h"
#include "engine/base/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a result is sorted by; the largest first. */
static double number_of(const struct picture_result *result, enum sorting sorting)
{
    double number = sorting == SORT_WORST   ? (double)result->worst
                    : sorting == SORT_ERROR ? (double)result->error
                    : !result->measured     ? NAN
                    : sorting == SORT_MAX   ? result->verdict.max_relative
                                            : -result->metrics.cosine;
    return isnan(number) ? (result->status == MARK_NAN ? INFINITY : -INFINITY) : number;
}

void result_order_program(struct result_order *order, const struct program_picture *program)
{
    size_t count = (size_t)program->value_count;
    const char **names = memory_zeroed(count, sizeof(*names));
    int *sorted = memory_zeroed(count, sizeof(*sorted));
    for (int v = 0; v < program->value_count; v++)
        names[v] = program->values[v].name;
    order_texts(names, sorted, program->value_count);
    order->name_places = memory_resize(order->name_places, count + 1, sizeof(*order->name_places));
    for (int i = 0; i < program->value_count; i++)
        order->name_places[sorted[i]] = i;
    order->named = program->value_count;
    free(names);
    free(sorted);
}

static uint64_t key_of(const struct result_order *order, const struct state_picture *state,
                       const struct result_row *row)
{
    const struct picture_result *result = &state->results[row->result];
    if (order->sorting == SORT_PROGRAM)
        return (uint64_t)row->result;
    if (order->sorting == SORT_NAME)
        return (uint64_t)order->name_places[result->value];
    return ~order_key(number_of(result, order->sorting));
}

static void reverse(struct order_row *rows, int count)
{
    for (int i = 0; i < count / 2; i++) {
        struct order_row row = rows[i];
        rows[i] = rows[count - 1 - i];
        rows[count - 1 - i] = row;
    }
}

/* Room that is kept: fresh pages of the system take as long as the sorting. */
static void reserve(struct result_order *order, int count)
{
    if (count <= order->capacity)
        return;
    order->capacity = count;
    order->room = memory_resize(order->room, (size_t)count * 2, sizeof(*order->room));
    order->sorted = memory_resize(order->sorted, (size_t)count, sizeof(*order->sorted));
}

static bool has_groups(const struct result_row *rows, int count)
{
    for (int i = 1; i < count; i++)
        if (rows[i].group != rows[0].group)
            return true;
    return false;
}

void result_order_sort(struct result_order *order, const struct program_picture *program,
                       const struct state_picture *state, struct result_row *rows, int count)
{
    bool groups = has_groups(rows, count);
    if (count < 2 || (order->sorting == SORT_PROGRAM && !order->reversed && !groups))
        return;
    if (order->named != program->value_count)
        result_order_program(order, program);
    reserve(order, count);
    struct order_row *room = order->room;
    for (int i = 0; i < count; i++)
        room[i] = (struct order_row){key_of(order, state, &rows[i]), i};
    order_rows(room, room + count, (size_t)count);
    if (order->reversed)
        reverse(room, count);
    /* by group last, which keeps the order inside of each */
    for (int i = 0; i < count && groups; i++)
        room[i].key = (uint64_t)rows[room[i].index].group;
    if (groups)
        order_rows(room, room + count, (size_t)count);
    for (int i = 0; i < count; i++)
        order->sorted[i] = rows[room[i].index];
    memcpy(rows, order->sorted, (size_t)count * sizeof(*rows));
}

void result_order_free(struct result_order *order)
{
    free(order->name_places);
    free(order->room);
    free(order->sorted);
    *order = (struct result_order){0};
}
