#include "helper_world.h"

#include "engine/base/memory.h"
#include "tests/unit/configs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SCALE = 32, MOST_OVERRIDES = 32 };

/* Else updates of weights whose gradient is nothing but rounding are random. */
static const char *const always[] = {
    "base_model.hidden_size=32", "base_model.decoder.block.mixer.head_size=8",
    "base_model.decoder.block.mlp.intermediate_size=48", "data.maximum_document_length=100",
    "optimizer.epsilon=0.00001"};

static struct config *load(const char *model, const char *variant, const char *tokens,
                           const char *const *more)
{
    const char *overrides[MOST_OVERRIDES];
    char name[96];
    int count = 0;
    snprintf(name, sizeof(name), "%s/%s", model, variant);
    for (int i = 0; tokens && i < ARRAY_LENGTH(always); i++)
        overrides[count++] = always[i];
    if (tokens)
        overrides[count++] = tokens;
    for (; more && *more && count < MOST_OVERRIDES; more++)
        overrides[count++] = *more;
    return load_config(name, overrides, count);
}

struct config *load_small(const char *model, const char *variant, const char *const *more)
{
    char tokens[64];
    struct config *full = load(model, variant, NULL, NULL);
    snprintf(tokens, sizeof(tokens), "data.micro_batch_size=%d",
             (int)full->data.micro_batch_size / SCALE);
    config_free(full);
    return load(model, variant, tokens, more);
}

static void find_root(const char *variant, char root[64])
{
    static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};
    struct config_search search = {directories, 1, NULL, 0};
    struct status status = STATUS_NONE;
    snprintf(root, 64, "%s", variant);
    for (;;) {
        struct variant_config *found = variant_load(&search, root, &status);
        if (!found)
            fail_msg("%s", status.text);
        bool end = found->ranks == 1;
        if (!end)
            snprintf(root, 64, "%s", found->compares_with);
        variant_free(found);
        if (end)
            return;
    }
}

void two_runs_open(struct two_runs *it, struct config *config, struct config *baseline,
                   const struct run_options *options)
{
    struct status status = STATUS_NONE;
    *it = (struct two_runs){.config = config, .baseline_config = baseline, .looseness = 1};
    it->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    it->comm = comm_self();
    it->world = it->device ? world_create(config, it->device, options, &status) : NULL;
    struct run_options plain = {.plan = PLAN_KEEP};
    it->baseline = it->world ? run_create(baseline, it->device, it->comm, &plain, &status) : NULL;
    if (!it->baseline)
        fail_msg("%s: %s", config->name, status.text);
}

void two_runs_start(struct two_runs *it, const char *model, const char *variant,
                    const char *const *more, const struct run_options *options)
{
    char root[64];
    find_root(variant, root);
    two_runs_open(it, load_small(model, variant, more), load_small(model, root, more), options);
}

void two_runs_end(struct two_runs *it)
{
    world_free(it->world);
    run_free(it->baseline);
    comm_close(it->comm);
    device_close(it->device);
    config_free(it->config);
    config_free(it->baseline_config);
}

bool world_finish_step(struct world *world, char text[600])
{
    struct status status = STATUS_NONE;
    struct world_event event;
    for (int rank = 0; rank < world->size; rank++)
        if (!world_allow(world, rank, world->ranks[rank].run->program->instruction_count,
                         &status)) {
            snprintf(text, 600, "rank %d: %.500s", rank, status.text);
            return false;
        }
    while (world_next(world, 0, &event))
        if (event.kind == WORLD_FAILED) {
            snprintf(text, 600, "rank %d: %.500s", event.rank, world->ranks[event.rank].reason);
            return false;
        }
    for (int rank = 0; rank < world->size; rank++) {
        const struct run *run = world->ranks[rank].run;
        if (run_next(run) == run->program->instruction_count)
            continue;
        world_waiting_text(world, rank, text, 600);
        return false;
    }
    return true;
}

bool two_runs_step(struct two_runs *it, char text[600])
{
    struct status status = STATUS_NONE;
    if (!run_step(it->baseline, &status)) {
        snprintf(text, 600, "baseline: %.500s", status.text);
        return false;
    }
    return world_finish_step(it->world, text);
}

static const struct value *named(const struct run *run, int id)
{
    const struct value *value = &run->program->values[id];
    /* a name that several values carry one after the other means the last */
    bool compared = value->name[0] && dtype_is_float(value->dtype) && value->kind != VALUE_INPUT &&
                    program_find(run->program, value->name) == id;
    return compared && executor_holds(run->executor, id) ? value : NULL;
}

/* Rows of experts are not rows of tokens. */
static bool rows_are_tokens(const struct config *config, const struct value *value)
{
    const char *mlp = strstr(value->path, ".mlp.");
    return config->base_model.block.mlp.type != MLP_MOE || !mlp ||
           strncmp(mlp, ".mlp.router", 11) == 0 || strcmp(mlp, ".mlp.output") == 0;
}

/* The baseline's value of that name; that of a micro-sequence in the whole if only that is there,
 * with the row at which it begins. */
static int find_counterpart(const struct program *program, const struct value *value, int64_t rows,
                            int64_t *first)
{
    int found = program_find(program, value->name);
    const char *split = strstr(value->name, " ms=");
    int index, count;
    *first = 0;
    if (found >= 0 || !split || sscanf(split, " ms=%d/%d", &index, &count) != 2)
        return found;
    char *whole = memory_string_part(value->name, (size_t)(split - value->name));
    found = program_find(program, whole);
    free(whole);
    if (found < 0 || program->values[found].shape.dims[0] != count * rows)
        return -1;
    *first = index * rows;
    return found;
}

static double square_sum(const struct tensor *tensor)
{
    double sum = 0;
    for (int64_t i = 0; i < shape_elements(tensor->shape); i++)
        sum += tensor_load(tensor, i) * tensor_load(tensor, i);
    return sum;
}

/* Rounding of float32 sums in another order. An update takes the gradient over its own size: of one
 * that is little more than the optimizer's epsilon of 1e-5, rounding of 1e-8 changes a hundredth of
 * the learning rate of 1e-4. */
static double limit_of(const struct value *value, const struct tensor *reference)
{
    double rms = sqrt(square_sum(reference) / (double)shape_elements(reference->shape));
    bool moment = strstr(value->path, "moment"), updated = strstr(value->path, ".updated");
    return 1e-4 * rms + (moment ? 1e-9 : updated ? 1e-6 : 1e-7);
}

static void judge(struct two_runs *it, int rank, const struct value *value,
                  const struct tensor *tensor, const struct tensor *reference)
{
    double limit = it->looseness * limit_of(value, reference), error = 0;
    for (int64_t i = 0; i < shape_elements(tensor->shape); i++) {
        double difference = fabs(tensor_load(tensor, i) - tensor_load(reference, i));
        error = difference <= error ? error : difference; /* NaN stays */
    }
    it->compared++;
    if (!(error / limit <= it->worst))
        it->worst = error / limit;
    if (error <= limit)
        return;
    if (!it->wrong++ || getenv("LOCKSTEP_TEST_VERBOSE"))
        snprintf(it->first_wrong, sizeof(it->first_wrong), "rank %d, %s: off by %g, limit %g", rank,
                 value->name, error, limit);
    if (getenv("LOCKSTEP_TEST_VERBOSE"))
        printf("  %s\n", it->first_wrong);
}

static void compare_value(struct two_runs *it, int rank, int id, bool *covered)
{
    struct run *run = it->world->ranks[rank].run;
    const struct value *value = named(run, id);
    if (!value)
        return;
    const struct shard whole = shard_whole(value->shape);
    const struct shard *shard = value->shard.cut_count ? &value->shard : &whole;
    int64_t first;
    int there = find_counterpart(it->baseline->program, value, shard->global.dims[0], &first);
    if (there < 0 || !executor_holds(it->baseline->executor, there) ||
        (strstr(value->name, " ms=") && !rows_are_tokens(it->config, value) &&
         it->baseline_config->schedule.micro_batch_splits == 1)) {
        it->unmatched++;
        if (getenv("LOCKSTEP_TEST_VERBOSE"))
            printf("  rank %d: nothing to compare with %s\n", rank, value->name);
        return;
    }
    covered[there] = true;
    struct tensor global = executor_tensor(it->baseline->executor, there);
    global.data =
        (char *)global.data + (size_t)(first * global.row_stride) * dtype_size(global.dtype);
    if (first || global.shape.dims[0] != shard->global.dims[0])
        global.shape.dims[0] = strstr(value->name, " ms=") ? shard->global.dims[0] : -1;
    if (!shape_equal(global.shape, shard->global))
        fail_msg("%s has another shape", value->name);
    struct tensor local =
        tensor_of(memory_zeroed(value_bytes(value), 1), value->dtype, value->shape);
    shard_copy_out(shard, &global, &local);
    struct tensor mine = executor_tensor(run->executor, id);
    judge(it, rank, value, &mine, &local);
    free(local.data);
}

void two_runs_compare(struct two_runs *it)
{
    const struct program *program = it->baseline->program;
    bool *covered = memory_zeroed((size_t)program->value_count, sizeof(bool));
    for (int rank = 0; rank < it->world->size; rank++)
        for (int v = 0; v < it->world->ranks[rank].run->program->value_count; v++)
            compare_value(it, rank, v, covered);
    for (int v = 0; v < program->value_count; v++) {
        if (!named(it->baseline, v) || covered[v] || !program->values[v].log_point)
            continue;
        /* micro-sequences have losses of their own, of which the reports compare the sum */
        if (it->config->schedule.micro_batch_splits > 1 && strstr(program->values[v].path, "loss"))
            continue;
        it->uncovered++;
        if (getenv("LOCKSTEP_TEST_VERBOSE"))
            printf("  no rank has %s\n", program->values[v].name);
    }
    free(covered);
}

/* The value of the same name and part on another rank, or -1. */
static int replica_of(const struct run *run, const struct value *value)
{
    int found = program_find(run->program, value->name);
    return found >= 0 && named(run, found) &&
                   shape_equal(run->program->values[found].shape, value->shape) &&
                   shard_equal(&run->program->values[found].shard, &value->shard)
               ? found
               : -1;
}

int count_unequal_replicas(const struct world *world, int *pairs)
{
    int unequal = 0;
    *pairs = 0;
    for (int rank = 0; rank < world->size; rank++)
        for (int other = rank + 1; other < world->size; other++) {
            struct run *a = world->ranks[rank].run, *b = world->ranks[other].run;
            for (int v = 0; v < a->program->value_count; v++) {
                const struct value *value = named(a, v);
                int replica = value ? replica_of(b, value) : -1;
                if (replica < 0)
                    continue;
                ++*pairs;
                bool equal =
                    memcmp(executor_tensor(a->executor, v).data,
                           executor_tensor(b->executor, replica).data, value_bytes(value)) == 0;
                unequal += !equal;
                if (!equal && getenv("LOCKSTEP_TEST_VERBOSE"))
                    printf("  %s: ranks %d and %d differ\n", value->name, rank, other);
            }
        }
    return unequal;
}

uint64_t world_bits(const struct world *world)
{
    uint64_t bits = 1;
    for (int rank = 0; rank < world->size; rank++) {
        const struct run *run = world->ranks[rank].run;
        for (int v = 0; v < run->program->value_count; v++)
            if (named(run, v))
                bits = bits * 31 + hash_bytes(executor_tensor(run->executor, v).data,
                                              value_bytes(&run->program->values[v]));
    }
    return bits;
}
