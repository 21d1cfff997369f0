/* Whole tensors of a team: put together from parts, reported, missed. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/compare/team_internal.h"
#include "engine/tensor/shard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies one rank's part into the whole; false when it is not at hand any more, or not yet. */
static bool put_part(struct team *team, const struct team_tensor *tensor, int rank,
                     struct tensor *whole)
{
    struct executor *executor = team->pairs[rank]->test->executor;
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    struct status ignored = STATUS_NONE;
    struct tensor view;
    void *buffer = NULL;
    bool ok = executor_holds(executor, value->id) &&
              executor_view(executor, value->id, &buffer, &view, &ignored);
    struct shard shard = value->shard.global.rank > 0 ? value->shard : shard_whole(value->shape);
    if (ok)
        shard_copy_in(&shard, &view, whole);
    free(buffer);
    return ok;
}

/* NaN in every element: what no rank has brought must not look like a number. */
static void fill_with_nan(struct tensor *tensor)
{
    size_t bytes = (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
    if (bytes == 0)
        return;
    tensor_store(tensor, 0, (double)NAN);
    for (size_t done = dtype_size(tensor->dtype), more; done < bytes; done += more) {
        more = done < bytes - done ? done : bytes - done;
        memcpy((char *)tensor->data + done, tensor->data, more);
    }
}

/* A rank that has all of it, and at hand, is looked at where it is: nothing is put together. */
static bool view_one(struct team *team, const struct team_tensor *tensor, int rank,
                     struct pair_sides *sides)
{
    struct executor *executor = team->pairs[rank]->test->executor;
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    struct status ignored = STATUS_NONE;
    return tensor->parts == 1 && shard_is_whole(&value->shard) &&
           shape_equal(value->shape, tensor->global) && executor_holds(executor, value->id) &&
           executor_view(executor, value->id, &sides->test_buffer, &sides->test, &ignored);
}

/* The part that `rank` has, of itself or of whoever holds the same: of replicas some may be ahead.
 */
static bool put_any(struct team *team, const struct team_tensor *tensor, int rank,
                    struct tensor *whole)
{
    for (int other = rank; other < team->world->size; other++)
        if (tensor->same_as[other] == rank && put_part(team, tensor, other, whole))
            return true;
    return false;
}

static bool put_together(struct team *team, const struct team_tensor *tensor, enum dtype dtype,
                         struct pair_sides *sides, int *missing, struct status *status)
{
    size_t elements = (size_t)shape_elements(tensor->global);
    sides->test_buffer = memory_try(elements, dtype_size(dtype));
    if (!sides->test_buffer)
        return status_fail(status, STATUS_MEMORY, "no memory for the whole of %s", tensor->name);
    sides->test = tensor_of(sides->test_buffer, dtype, tensor->global);
    fill_with_nan(&sides->test);
    for (int rank = 0; rank < team->world->size; rank++) {
        if (tensor->values[rank] < 0 || tensor->same_as[rank] != rank ||
            put_any(team, tensor, rank, &sides->test))
            continue;
        *missing += 1;
        sides->absent += shape_elements(team_value(team, rank, tensor->values[rank])->shape);
    }
    return true;
}

bool team_view(struct team *team, int index, struct pair_sides *sides, int *missing,
               struct status *status)
{
    const struct team_tensor *tensor = &team->tensors[index];
    int first = team_first_rank(tensor);
    const struct value *value = team_value(team, first, tensor->values[first]);
    *sides = (struct pair_sides){.scale = pair_scale_of(team->pairs[first], value->id)};
    *missing = 0;
    if (!view_one(team, tensor, first, sides)) {
        pair_sides_free(sides); /* what a failed look may have left */
        if (!put_together(team, tensor, value->dtype, sides, missing, status))
            return false;
    }
    struct status reason = STATUS_NONE;
    sides->has_reference = pair_view_whole_reference(team->pairs[first], value->id, sides, &reason);
    if (!sides->has_reference)
        snprintf(sides->reason, sizeof(sides->reason), "%.199s",
                 reason.code != STATUS_OK ? reason.text : "the run stands alone");
    return true;
}

enum { WORST_ELEMENTS = 10 };

/* The worst elements of the part that holds the worst of all; when that is gone, that one alone. */
static int find_worst(struct team *team, const struct team_tensor *tensor,
                      struct worst_element *elements)
{
    struct pair_sides sides;
    struct status ignored = STATUS_NONE;
    int rank = tensor->worst_rank, count = 0;
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    if (pair_view(team->pairs[rank], value->id, &sides, &ignored)) {
        if (sides.has_reference)
            count =
                metrics_worst(&sides.reference, &sides.test, sides.scale, elements, WORST_ELEMENTS);
        pair_sides_free(&sides);
    }
    for (int i = 0; i < count && value->shard.global.rank > 0; i++)
        elements[i].index = shard_global_flat(&value->shard, elements[i].index);
    if (count > 0 || tensor->metrics.max_index < 0)
        return count;
    elements[0] = (struct worst_element){tensor->metrics.max_index, tensor->metrics.max_reference,
                                         tensor->metrics.max_test_value};
    return 1;
}

void team_log(struct team *team, int index, const char *step, struct comparison_log *log)
{
    const struct team_tensor *tensor = &team->tensors[index];
    int first = team_first_rank(tensor);
    const struct pair *pair = team->pairs[first];
    const struct value *value = team_value(team, first, tensor->values[first]);
    int other = pair->reference_program ? pair->reference_value[value->id] : -1;
    struct worst_element elements[WORST_ELEMENTS];
    struct tensor_result result = {.step = step,
                                   .name = tensor->name,
                                   .position = value->producer,
                                   .dtype_test = value->dtype,
                                   .dtype_reference = value->dtype,
                                   .shape_test = tensor->global,
                                   .shape_reference = tensor->global,
                                   .metrics = tensor->metrics,
                                   .verdict = tensor->verdict,
                                   .limits = *tensor->limits,
                                   .parts = tensor->parts > 1 ? tensor->parts : 0,
                                   .rank = tensor->worst_rank};
    if (other >= 0) {
        result.dtype_reference = pair->reference_program->values[other].dtype;
        result.shape_reference = pair->reference_program->values[other].shape;
    }
    if (tensor->verdict.failures && tensor->metrics.count > 0 && tensor->worst_rank >= 0) {
        result.worst_count = find_worst(team, tensor, elements);
        result.worst = elements;
    }
    comparison_log_add(log, &result);
}

/* Elements of the whole that the ranks hold. */
static int64_t covered(const struct team *team, const struct team_tensor *tensor)
{
    int64_t elements = 0;
    for (int rank = 0; rank < team->world->size; rank++)
        if (tensor->values[rank] >= 0 && tensor->same_as[rank] == rank)
            elements += shape_elements(team_value(team, rank, tensor->values[rank])->shape);
    return elements;
}

static bool is_ignored(const struct team *team, const char *name)
{
    const struct limits *limits = tolerances_find(team->options.tolerances, "train_1", name);
    return !limits || limits->ignore;
}

static bool matches_any_rank(const struct team *team, int reference)
{
    for (int rank = 0; rank < team->world->size; rank++) {
        const struct pair *pair = team->pairs[rank];
        if (pair->test_value[reference] >= 0 ||
            pair_is_split(pair, &pair->reference_program->values[reference]))
            return true;
    }
    return false;
}

static bool has_reference(const struct team *team, const struct team_tensor *tensor)
{
    int first = team_first_rank(tensor);
    return team->pairs[first]->reference_value[tensor->values[first]] >= 0;
}

int team_unmatched(const struct team *team,
                   void (*report)(void *context, const char *name, bool missing), void *context)
{
    const struct program *reference = team->pairs[0]->reference_program;
    int count = 0;
    if (!reference || !team->options.tolerances)
        return 0;
    for (int i = 0; i < team->tensor_count; i++) {
        const struct team_tensor *tensor = &team->tensors[i];
        int first = team_first_rank(tensor);
        if (!tensor->log_point || is_ignored(team, tensor->name) ||
            pair_is_split(team->pairs[first], team_value(team, first, tensor->values[first])))
            continue;
        bool partly = covered(team, tensor) < shape_elements(tensor->global);
        if (partly || !has_reference(team, tensor)) {
            report(context, tensor->name, partly);
            count++;
        }
    }
    for (int v = 0; v < reference->value_count; v++) {
        const struct value *value = &reference->values[v];
        if (value->log_point && value->what != WHAT_PARAM && !matches_any_rank(team, v) &&
            !is_ignored(team, value->name)) {
            report(context, value->name, true);
            count++;
        }
    }
    return count;
}
