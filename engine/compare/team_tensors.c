/* The tensors of a team: parts on ranks become whole tensors, replicas are held to be equal. */
#define XXH_INLINE_ALL
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/compare/team_internal.h"
#include "engine/tensor/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static bool is_listed(const struct value *value)
{
    if (!value->name[0] || !dtype_is_float(value->dtype))
        return false;
    return value->kind == VALUE_COMPUTED || value->what == WHAT_PARAM;
}

static struct team_tensor *add_tensor(struct team *team, const struct value *value)
{
    size_t size = (size_t)team->world->size;
    struct team_tensor tensor = {.name = value->name,
                                 .global = pair_whole_shape(value),
                                 .log_point = value->log_point,
                                 .worst_rank = -1};
    tensor.values = memory_zeroed(size, sizeof(*tensor.values));
    tensor.same_as = memory_zeroed(size, sizeof(*tensor.same_as));
    tensor.hashes = memory_zeroed(size, sizeof(*tensor.hashes));
    tensor.arrived = memory_zeroed(size, sizeof(*tensor.arrived));
    for (size_t rank = 0; rank < size; rank++)
        tensor.values[rank] = tensor.same_as[rank] = -1;
    names_set(&team->by_name, value->name, team->tensor_count);
    ARRAY_PUSH(team->tensors, team->tensor_count, team->tensor_capacity, tensor);
    return &team->tensors[team->tensor_count - 1];
}

static void find_owner(const struct team *team, struct team_tensor *tensor, int rank)
{
    const struct value *mine = team_value(team, rank, tensor->values[rank]);
    for (int other = 0; other < rank; other++) {
        if (tensor->values[other] < 0)
            continue;
        const struct value *theirs = team_value(team, other, tensor->values[other]);
        if (shape_equal(mine->shape, theirs->shape) && shard_equal(&mine->shard, &theirs->shard)) {
            tensor->same_as[rank] = other;
            return;
        }
    }
    tensor->same_as[rank] = rank;
    tensor->parts++;
}

static void list_rank(struct team *team, int rank)
{
    const struct program *program = team->pairs[rank]->test->program;
    for (int i = 0; i < program->by_name.count; i++) {
        const struct value *value = &program->values[program->by_name.values[i]];
        /* A value with two names is listed under its own. */
        if (!is_listed(value) || strcmp(value->name, program->by_name.names[i]) != 0)
            continue;
        int index = names_find(&team->by_name, value->name);
        struct team_tensor *tensor = index >= 0 ? &team->tensors[index] : add_tensor(team, value);
        tensor->log_point |= value->log_point;
        tensor->values[rank] = value->id;
        find_owner(team, tensor, rank);
    }
}

void team_list_tensors(struct team *team)
{
    for (int rank = 0; rank < team->world->size; rank++)
        list_rank(team, rank);
}

void team_free_tensors(struct team *team)
{
    for (int i = 0; i < team->tensor_count; i++) {
        free(team->tensors[i].values);
        free(team->tensors[i].same_as);
        free(team->tensors[i].hashes);
        free(team->tensors[i].arrived);
    }
    free(team->tensors);
    names_free(&team->by_name);
}

void team_clear_tensors(struct team *team)
{
    for (int i = 0; i < team->tensor_count; i++) {
        struct team_tensor *tensor = &team->tensors[i];
        memset(tensor->arrived, 0, (size_t)team->world->size * sizeof(*tensor->arrived));
        tensor->parts_arrived = 0;
        tensor->compared = false;
        tensor->limits = NULL;
        tensor->worst_rank = -1;
    }
}

int team_find(const struct team *team, const char *name)
{
    return names_find(&team->by_name, name);
}

int team_tensor_of(const struct team *team, int rank, int value)
{
    const struct value *of = team_value(team, rank, value);
    int tensor = of->name[0] ? names_find(&team->by_name, of->name) : -1;
    return tensor >= 0 && team->tensors[tensor].values[rank] == value ? tensor : -1;
}

/* Adds the metrics of one part. Sums are of squares, so that parts of any size add up. */
static void merge(struct metrics *whole, const struct metrics *part, int64_t index)
{
    double a = (double)whole->count, b = (double)part->count, all = a + b > 0 ? a + b : 1;
    double dot = whole->cosine * whole->rms_reference * whole->rms_test * a +
                 part->cosine * part->rms_reference * part->rms_test * b;
#define MERGE_RMS(field)                                                                           \
    whole->field = sqrt((whole->field * whole->field * a + part->field * part->field * b) / all)
    MERGE_RMS(rms_difference);
    MERGE_RMS(rms_reference);
    MERGE_RMS(rms_test);
#undef MERGE_RMS
    double sizes = whole->rms_reference * whole->rms_test * all;
    whole->cosine = sizes > 0 ? dot / sizes : (whole->rms_reference == whole->rms_test ? 1.0 : 0.0);
    if (whole->count == 0 || part->max_difference > whole->max_difference) {
        whole->max_difference = part->max_difference;
        whole->max_index = index;
        whole->max_reference = part->max_reference;
        whole->max_test_value = part->max_test_value;
    }
    whole->count += part->count;
    whole->nan_test += part->nan_test;
    whole->nan_reference += part->nan_reference;
    whole->infinity_test += part->infinity_test;
    whole->infinity_reference += part->infinity_reference;
    whole->different += part->different;
    whole->max_ulp = part->max_ulp > whole->max_ulp ? part->max_ulp : whole->max_ulp;
}

static void add_part(struct team *team, struct team_tensor *tensor, int rank,
                     const struct pair_result *result)
{
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    if (tensor->parts_arrived == 1)
        tensor->metrics = (struct metrics){.max_index = -1, .cosine = 1};
    double largest = tensor->metrics.count > 0 ? tensor->metrics.max_difference : -1;
    int64_t index = result->metrics.max_index;
    bool part = value->shard.global.rank > 0;
    if (part && index >= 0 && !result->sampled)
        index = shard_global_flat(&value->shard, index);
    if (result->metrics.max_difference > largest)
        tensor->worst_rank = rank;
    merge(&tensor->metrics, &result->metrics, index);
    tensor->limits = result->limits;
    if (tensor->parts_arrived < tensor->parts)
        return;
    tensor->verdict = metrics_judge(&tensor->metrics, tensor->limits);
    tensor->compared = true;
    team->totals.tensors++;
    team->totals.elements += tensor->metrics.count;
    team->totals.elements_whole += shape_elements(tensor->global);
    team->totals.failed += tensor->verdict.failures != 0;
}

static bool hash_value(struct team *team, struct team_tensor *tensor, int rank,
                       struct status *status)
{
    void *buffer = NULL;
    struct tensor view;
    struct executor *executor = team->pairs[rank]->test->executor;
    int value = tensor->values[rank];
    if (world_is_far(team->world, rank))
        return world_hash_far(team->world, rank, value, &tensor->hashes[rank], status) ||
               status_context(status, "rank %d", rank);
    if (!executor_view(executor, value, &buffer, &view, status))
        return status_context(status, "rank %d", rank);
    tensor->hashes[rank] = XXH3_64bits(view.data, value_bytes(team_value(team, rank, value)));
    free(buffer);
    return true;
}

/* The first rank that has brought the same part already, with other bits; -1 if there is none. */
static int differing_replica(const struct team *team, const struct team_tensor *tensor, int rank)
{
    for (int other = 0; other < team->world->size; other++)
        if (other != rank && tensor->arrived[other] &&
            tensor->same_as[other] == tensor->same_as[rank] &&
            tensor->hashes[other] != tensor->hashes[rank])
            return other;
    return -1;
}

static bool part_has_arrived(const struct team *team, const struct team_tensor *tensor, int rank)
{
    for (int other = 0; other < team->world->size; other++)
        if (other != rank && tensor->arrived[other] &&
            tensor->same_as[other] == tensor->same_as[rank])
            return true;
    return false;
}

static bool has_replicas(const struct team *team, const struct team_tensor *tensor, int rank)
{
    for (int other = 0; other < team->world->size; other++)
        if (other != rank && tensor->values[other] >= 0 &&
            tensor->same_as[other] == tensor->same_as[rank])
            return true;
    return false;
}

bool team_take_value(struct team *team, int rank, int value, struct team_event *event,
                     struct status *status)
{
    int index = team_tensor_of(team, rank, value);
    if (index < 0 || team->tensors[index].arrived[rank])
        return true;
    struct team_tensor *tensor = &team->tensors[index];
    const struct pair_result *result = &team->pairs[rank]->results[value];
    if (has_replicas(team, tensor, rank)) {
        if (!hash_value(team, tensor, rank, status))
            return false;
        int other = differing_replica(team, tensor, rank);
        if (other >= 0)
            event->desynchronised[event->desynchronised_count++] =
                (struct team_desync){index, other};
    }
    bool replica = part_has_arrived(team, tensor, rank);
    tensor->arrived[rank] = true;
    if (replica || !result->compared)
        return true;
    tensor->parts_arrived++;
    if (result->metrics.count == 0 && result->verdict.failures) { /* of another shape */
        tensor->verdict = result->verdict;
        tensor->limits = result->limits;
        tensor->metrics = (struct metrics){.max_index = -1};
        tensor->compared = true;
        team->totals.failed++;
    } else {
        add_part(team, tensor, rank, result);
    }
    if (!tensor->compared)
        return true;
    event->completed[event->completed_count++] = index;
    if (tensor->verdict.failures && event->failed < 0)
        event->failed = index;
    return true;
}

bool team_take_parameters(struct team *team, struct team_event *event, struct status *status)
{
    for (int rank = 0; rank < team->world->size; rank++) {
        const struct program *program = team->pairs[rank]->test->program;
        for (int p = 0; p < program->parameter_count; p++) {
            *event = (struct team_event){.failed = -1};
            if (!team_take_value(team, rank, program->parameters[p].value, event, status))
                return false;
            if (event->desynchronised_count > 0)
                return status_fail(status, STATUS_INTERNAL,
                                   "%s starts with different values on ranks %d and %d",
                                   team->tensors[event->desynchronised[0].tensor].name,
                                   event->desynchronised[0].against, rank);
        }
    }
    return true;
}

/* An element's flat index in what a rank has of the tensor; -1 when that is not in it. */
static int64_t local_index_of(const struct team *team, const struct team_tensor *tensor, int rank,
                              int64_t global_index)
{
    if (tensor->values[rank] < 0)
        return -1;
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    return value->shard.global.rank > 0 ? shard_local_flat(&value->shard, global_index)
                                        : global_index;
}

int team_locate(const struct team *team, int tensor, int64_t global_index, int64_t *local_index)
{
    for (int rank = 0; rank < team->world->size; rank++) {
        *local_index = local_index_of(team, &team->tensors[tensor], rank, global_index);
        if (*local_index >= 0)
            return rank;
    }
    return -1;
}

bool team_has_element(const struct team *team, int tensor, int64_t global_index)
{
    const struct team_tensor *of = &team->tensors[tensor];
    for (int rank = 0; rank < team->world->size; rank++)
        if (local_index_of(team, of, rank, global_index) >= 0 &&
            executor_holds(team->pairs[rank]->test->executor, of->values[rank]))
            return true;
    return false;
}
