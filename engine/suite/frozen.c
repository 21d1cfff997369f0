/* The frozen-weights test of the facts, section 6.1: with a learning-rate scale of 0 for the MLP,
 * its parameters are there but not trained, in every block, and nothing else changes. */
#include "engine/base/memory.h"
#include "engine/suite/execute_internal.h"
#include "engine/train/schedule.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A configuration with some keys changed on top of the search's own overrides. */
static struct config *load(const struct execution *execution, const char *const *keys, int count,
                           struct status *status)
{
    const struct config_search *given = execution->environment->search;
    struct config_search search = given ? *given : (struct config_search){0};
    int before = search.override_count;
    const char **overrides = memory_zeroed((size_t)(before + count), sizeof(*overrides));
    for (int i = 0; i < before; i++)
        overrides[i] = search.overrides[i];
    for (int i = 0; i < count; i++)
        overrides[before + i] = keys[i];
    search.overrides = overrides;
    search.override_count = before + count;
    struct config *config =
        config_load(&search, test_model_name(execution->list, execution->test), status);
    free(overrides);
    return config;
}

/* Length of the layer's part of a parameter's path: "decoder.1", "head",
 * "multi_token_prediction.blocks.0". With one layer in each stage this names the stage. */
static size_t layer_length(const char *path)
{
    static const char *const numbered[] = {"decoder.", "multi_token_prediction.blocks.",
                                           "multi_token_prediction.heads."};
    for (int i = 0; i < ARRAY_LENGTH(numbered); i++)
        if (strncmp(path, numbered[i], strlen(numbered[i])) == 0)
            return strlen(numbered[i]) + strcspn(path + strlen(numbered[i]), ".");
    return strcspn(path, ".");
}

static bool is_of_mlp(const char *path)
{
    return strncmp(path + layer_length(path), ".mlp.", 5) == 0;
}

/* Parameters of one layer. */
struct count {
    int64_t all, trained, mlp;
};

static struct count count_layer(const struct program *program, const char *layer, size_t length)
{
    struct count count = {0};
    for (int p = 0; p < program->parameter_count; p++) {
        const struct parameter *parameter = &program->parameters[p];
        const struct value *value = &program->values[parameter->value];
        int64_t elements = shape_elements(value->shape);
        if (layer_length(value->path) != length || strncmp(value->path, layer, length) != 0)
            continue;
        count.all += elements;
        count.trained += parameter->gradient >= 0 ? elements : 0;
        count.mlp += is_of_mlp(value->path) ? elements : 0;
    }
    return count;
}

static void compare_layer(struct execution *execution, const struct program *normal,
                          const struct program *frozen, const char *path)
{
    size_t length = layer_length(path);
    struct count before = count_layer(normal, path, length);
    struct count after = count_layer(frozen, path, length);
    if (before.all != after.all)
        outcome_set(execution->outcome, OUTCOME_FAILED,
                    "%.*s has %" PRId64 " parameters, but %" PRId64 " with a frozen MLP",
                    (int)length, path, before.all, after.all);
    else if (before.trained - after.trained != before.mlp)
        outcome_set(execution->outcome, OUTCOME_FAILED,
                    "%.*s: freezing an MLP of %" PRId64 " parameters froze %" PRId64, (int)length,
                    path, before.mlp, before.trained - after.trained);
}

static void compare_layers(struct execution *execution, const struct program *normal,
                           const struct program *frozen)
{
    int64_t mlp = 0;
    for (int p = 0; p < normal->parameter_count; p++) {
        const char *path = normal->values[normal->parameters[p].value].path;
        mlp +=
            is_of_mlp(path) ? shape_elements(normal->values[normal->parameters[p].value].shape) : 0;
        compare_layer(execution, normal, frozen, path);
    }
    if (mlp == 0)
        outcome_set(execution->outcome, OUTCOME_FAILED, "the model has no MLP to freeze");
    if (normal->parameter_count != frozen->parameter_count)
        outcome_set(execution->outcome, OUTCOME_FAILED, "%d parameters, but %d with a frozen MLP",
                    normal->parameter_count, frozen->parameter_count);
}

/* All parameters of a run, one after the other. NULL on failure. */
static char *read_parameters(struct run *run, struct status *status)
{
    const struct program *program = run->program;
    size_t bytes = 0, offset = 0;
    for (int p = 0; p < program->parameter_count; p++)
        bytes += value_bytes(&program->values[program->parameters[p].value]);
    char *data = memory_try(bytes, 1);
    if (!data) {
        status_fail(status, STATUS_MEMORY, "no memory for a copy of the parameters");
        return NULL;
    }
    for (int p = 0; p < program->parameter_count; p++) {
        int value = program->parameters[p].value;
        if (!executor_read(run->executor, value, data + offset, status)) {
            free(data);
            return NULL;
        }
        offset += value_bytes(&program->values[value]);
    }
    return data;
}

/* After training, exactly the parameters of the MLPs are what they were. */
static void compare_trained(struct execution *execution, const struct program *program,
                            const char *before, const char *after)
{
    size_t offset = 0;
    for (int p = 0; p < program->parameter_count; p++) {
        const struct value *value = &program->values[program->parameters[p].value];
        bool same = memcmp(before + offset, after + offset, value_bytes(value)) == 0;
        offset += value_bytes(value);
        if (same != is_of_mlp(value->path))
            outcome_set(execution->outcome, OUTCOME_FAILED,
                        same ? "%s was not trained" : "%s is frozen, but changed", value->path);
    }
}

static bool train(struct execution *execution, const struct config *config, struct status *status)
{
    struct environment *environment = execution->environment;
    struct run_options options = execution_options(execution);
    struct run *run = run_create(config, environment->device, environment->comm, &options, status);
    char *before = run ? read_parameters(run, status) : NULL, *after = NULL;
    bool ok = before && run_step(run, status) && (after = read_parameters(run, status));
    if (ok) {
        compare_trained(execution, run->program, before, after);
        execution_take_steps(execution, run);
        execution_take_memory(execution, run, NULL);
    }
    free(before);
    free(after);
    run_free(run);
    return ok;
}

bool execute_frozen(struct execution *execution, struct status *status)
{
    static const char *const keys[] = {"multi_stage.layers_per_stage=1", "training.train_iters=1",
                                       "base_model.decoder.block.mlp.lr_scale=0"};
    struct config *normal = load(execution, keys, 2, status);
    struct config *frozen = normal ? load(execution, keys, 3, status) : NULL;
    struct program *normal_program = frozen ? schedule_compile(normal, status) : NULL;
    struct program *frozen_program = normal_program ? schedule_compile(frozen, status) : NULL;
    bool ok = frozen_program != NULL;
    if (ok) {
        compare_layers(execution, normal_program, frozen_program);
        ok = train(execution, frozen, status);
        outcome_set(execution->outcome, ok ? OUTCOME_PASSED : OUTCOME_FAILED, "%s",
                    ok ? "" : status->text);
    }
    program_free(normal_program);
    program_free(frozen_program);
    config_free(normal);
    config_free(frozen);
    return ok;
}
