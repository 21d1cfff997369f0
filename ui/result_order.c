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
                                          : 1 - result->metrics.cosine; /* spreads what is near 1 */
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

/* Room that is kept: fresh pages of the system take as long as the sorting. */
static void reserve(struct result_order *order, int count)
{
    if (count <= order->capacity)
        return;
    size_t most = (size_t)count;
    order->capacity = count;
    order->keys = memory_resize(order->keys, most, sizeof(*order->keys));
    order->room = memory_resize(order->room, most * 2, sizeof(*order->room));
    order->places = memory_resize(order->places, most, sizeof(*order->places));
    order->sorted = memory_resize(order->sorted, most, sizeof(*order->sorted));
}

void result_order_begin(struct result_order *order, const struct program_picture *program,
                        const struct state_picture *state)
{
    if (order->named != program->value_count)
        result_order_program(order, program);
    reserve(order, state->result_count);
}

void result_order_add(struct result_order *order, const struct picture_result *result, int value,
                      int row)
{
    if (order->sorting == SORT_NAME)
        order->keys[row] = (uint64_t)order->name_places[value];
    else if (order->sorting != SORT_PROGRAM)
        order->keys[row] = ~order_key(number_of(result, order->sorting));
    else
        order->keys[row] = (uint64_t)row;
}

static void reverse(int *places, int count)
{
    for (int i = 0; i < count / 2; i++) {
        int place = places[i];
        places[i] = places[count - 1 - i];
        places[count - 1 - i] = place;
    }
}

static bool has_groups(const struct result_row *rows, int count)
{
    for (int i = 1; i < count; i++)
        if (rows[i].group != rows[0].group)
            return true;
    return false;
}

/* Rows as `places` say. */
static void permute(struct result_order *order, struct result_row *rows, int count)
{
    for (int i = 0; i < count; i++)
        order->sorted[i] = rows[order->places[i]];
    memcpy(rows, order->sorted, (size_t)count * sizeof(*rows));
}

void result_order_sort(struct result_order *order, struct result_row *rows, int count)
{
    bool groups = has_groups(rows, count);
    if (count < 2 || (order->sorting == SORT_PROGRAM && !order->reversed && !groups))
        return;
    order_keys(order->keys, order->places, order->room, (size_t)count);
    if (order->reversed)
        reverse(order->places, count);
    permute(order, rows, count);
    if (!groups)
        return;
    /* by group last, which keeps the order inside of each */
    for (int i = 0; i < count; i++)
        order->keys[i] = (uint64_t)rows[i].group;
    order_keys(order->keys, order->places, order->room, (size_t)count);
    permute(order, rows, count);
}

void result_order_free(struct result_order *order)
{
    free(order->name_places);
    free(order->keys);
    free(order->room);
    free(order->places);
    free(order->sorted);
    *order = (struct result_order){0};
}
