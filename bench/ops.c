/* Time of every operation of one training step of a llama-like model, one operation at a time, and
 * the sum over the step.
 * Usage: lockstep_bench_ops [f32|bf16|f16] [threads|cuda] [document length] [small|135m|1b] [try]
 * "try" runs each operation once, at sizes that an emulated GPU can do: do they run at all? */
#include "bench/figures.h"

#include "engine/base/memory.h"
#include "engine/device/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 200, QUEUED = 20 };

struct model {
    const char *name;
    int tokens, hidden, heads, groups, size, width, words, layers;
    int64_t parameters;
};

static const struct model models[] = {
    {"small", 4096, 256, 8, 4, 32, 1024, 384, 2, 2162944},
    {"135m", 8192, 576, 9, 3, 64, 1536, 49152, 30, 134515008},
    {"1b", 4096, 2048, 32, 8, 64, 8192, 49152, 16, 1074000000}, /* embeddings tied */
};

struct bench {
    struct device *device;
    const struct model *model;
    enum dtype dtype; /* of activations and weights in products */
    int document;     /* tokens of each document */
    double total, matmul_total;
    bool trying, failed;
};

/* Values that keep every operation in its usual range; integers are tokens. */
static void fill(const struct tensor *tensor, void *data, int words)
{
    uint32_t state = 12345;
    int64_t count = shape_elements(tensor->shape);
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        double value = (double)(state >> 8) * 0x1p-24 - 0.5;
        if (tensor->dtype == DTYPE_I32)
            value = (double)((state >> 8) % (uint32_t)words);
        if (tensor->dtype == DTYPE_F64)
            value = 1;
        dtype_store(tensor->dtype, data, (size_t)i, value);
    }
}

/* Its elements become those of `data`, which is freed. */
static void put(struct bench *bench, const struct tensor *tensor, void *data)
{
    struct status status = STATUS_NONE;
    size_t bytes = (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
    if (tensor->data && (!device_upload(bench->device, tensor->data, data, bytes, &status) ||
                         !device_synchronize(bench->device, &status))) {
        fprintf(stderr, "%s\n", status.text);
        bench->failed = true;
    }
    free(data);
}

static void put_floats(struct bench *bench, const struct tensor *tensor, float number)
{
    int64_t count = shape_elements(tensor->shape);
    float *data = memory_zeroed((size_t)count, sizeof(float));
    for (int64_t i = 0; i < count; i++)
        data[i] = number;
    put(bench, tensor, data);
}

static struct tensor make(struct bench *bench, enum dtype dtype, int64_t rows, int64_t columns)
{
    struct shape shape = columns ? shape_of2(rows, columns) : shape_of1(rows);
    struct tensor tensor = tensor_of(NULL, dtype, shape);
    size_t bytes = (size_t)shape_elements(shape) * dtype_size(dtype);
    struct status status = STATUS_NONE;
    if (!device_allocate(bench->device, MEMORY_ACTIVATIONS, bytes, &tensor.data, &status)) {
        fprintf(stderr, "%s\n", status.text);
        bench->failed = true;
        return tensor;
    }
    void *data = memory_zeroed(bytes ? bytes : 1, 1);
    fill(&tensor, data, bench->model->words);
    put(bench, &tensor, data);
    return tensor;
}

static bool run_times(struct bench *bench, const struct op_call *call, int times)
{
    struct status status = STATUS_NONE;
    for (int i = 0; i < times && !bench->failed; i++)
        bench->failed = !device_run(bench->device, call, &status);
    if (!bench->failed)
        bench->failed = !device_synchronize(bench->device, &status);
    if (bench->failed)
        fprintf(stderr, "%s: %s\n", op_name(call->op), status.text);
    return !bench->failed;
}

/* Seconds of the fastest of the runs during about half a second (what else the machine does only
 * adds time); negative on failure. On a GPU several are queued at once, as in a step. */
static double measure(struct bench *bench, struct op_call *call)
{
    double least = 0, start = now();
    int runs = 0, times = device_host_memory(bench->device) || bench->trying ? 1 : QUEUED;
    int most = bench->trying ? 1 : MOST_RUNS;
    while (runs < most && (runs < 5 || now() - start < 0.5)) {
        double begin = now();
        if (!run_times(bench, call, times))
            return -1;
        double seconds = (now() - begin) / times;
        least = runs++ == 0 || seconds < least ? seconds : least;
    }
    return least;
}

static int64_t bytes_of(const struct tensor *tensor)
{
    return shape_elements(tensor->shape) * (int64_t)dtype_size(tensor->dtype);
}

/* Runs a call that is made `times` times per step, prints a line, frees its tensors. */
static void run(struct bench *bench, const char *name, struct op_call *call, int times,
                double flops)
{
    int64_t bytes = 0;
    struct status status = STATUS_NONE;
    while (call->input_count < OP_MAX_INPUTS && call->inputs[call->input_count].data)
        bytes += bytes_of(&call->inputs[call->input_count++]);
    while (call->output_count < OP_MAX_OUTPUTS && call->outputs[call->output_count].data)
        bytes += bytes_of(&call->outputs[call->output_count++]);
    size_t workspace = device_workspace(bench->device, call);
    device_allocate(bench->device, MEMORY_WORKSPACE, workspace, &call->workspace, &status);
    double seconds = measure(bench, call);
    printf("%-28s %8.3f ms  x %2d = %8.3f ms  ", name, seconds * 1e3, times, seconds * times * 1e3);
    if (flops > 0)
        printf("%8.1f GFLOP/s\n", flops / seconds * 1e-9);
    else
        printf("%8.1f GB/s\n", (double)bytes / seconds * 1e-9);
    bench->total += seconds * times;
    if (call->op == OP_MATMUL)
        bench->matmul_total += seconds * times;
    device_release(bench->device, MEMORY_WORKSPACE, call->workspace, workspace);
    for (int i = 0; i < call->input_count; i++)
        device_release(bench->device, MEMORY_ACTIVATIONS, call->inputs[i].data,
                       (size_t)bytes_of(&call->inputs[i]));
    for (int i = 0; i < call->output_count; i++)
        device_release(bench->device, MEMORY_ACTIVATIONS, call->outputs[i].data,
                       (size_t)bytes_of(&call->outputs[i]));
}

/* y = x W^T, dx = dy W and dW = dy^T x in float32, of one projection. */
static void projection(struct bench *bench, const char *name, int64_t in, int64_t out, int times)
{
    enum dtype dtype = bench->dtype;
    double flops = 2.0 * bench->model->tokens * (double)in * (double)out;
    char title[64];
    struct op_call forward = {.op = OP_MATMUL, .parameters = {.transpose_b = true}};
    forward.inputs[0] = make(bench, dtype, bench->model->tokens, in);
    forward.inputs[1] = make(bench, dtype, out, in);
    forward.outputs[0] = make(bench, dtype, bench->model->tokens, out);
    snprintf(title, sizeof(title), "%s y", name);
    run(bench, title, &forward, times, flops);
    struct op_call dx = {.op = OP_MATMUL};
    dx.inputs[0] = make(bench, dtype, bench->model->tokens, out);
    dx.inputs[1] = make(bench, dtype, out, in);
    dx.outputs[0] = make(bench, dtype, bench->model->tokens, in);
    snprintf(title, sizeof(title), "%s dx", name);
    run(bench, title, &dx, times, flops);
    struct op_call dw = {.op = OP_MATMUL, .parameters = {.transpose_a = true}};
    dw.inputs[0] = make(bench, dtype, bench->model->tokens, out);
    dw.inputs[1] = make(bench, dtype, bench->model->tokens, in);
    dw.outputs[0] = make(bench, DTYPE_F32, out, in);
    snprintf(title, sizeof(title), "%s dW", name);
    run(bench, title, &dw, times, flops);
}

static struct tensor documents(struct bench *bench)
{
    struct tensor start = make(bench, DTYPE_I32, bench->model->tokens, 0);
    int32_t *starts = memory_zeroed((size_t)bench->model->tokens, sizeof(*starts));
    for (int i = 0; i < bench->model->tokens; i++)
        starts[i] = i / bench->document * bench->document;
    put(bench, &start, starts);
    return start;
}

static void attention(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    const struct op_parameters parameters = {.heads = bench->model->heads,
                                             .head_groups = bench->model->groups,
                                             .head_size = bench->model->size,
                                             .scale = 1 / sqrt(bench->model->size),
                                             .causal = true};
    struct op_call forward = {.op = OP_ATTENTION, .parameters = parameters};
    forward.inputs[0] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    forward.inputs[1] =
        make(bench, dtype, bench->model->tokens, 2 * bench->model->groups * bench->model->size);
    forward.inputs[2] = documents(bench);
    forward.outputs[0] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    forward.outputs[1] = make(bench, DTYPE_F32, bench->model->tokens, bench->model->heads);
    double pairs =
        0.5 * (double)bench->model->tokens *
        (bench->document < bench->model->tokens ? bench->document : bench->model->tokens);
    double flops = 4.0 * pairs * bench->model->heads * bench->model->size;
    run(bench, "attention", &forward, bench->model->layers, flops);
    struct op_call backward = {.op = OP_ATTENTION_GRADIENT, .parameters = parameters};
    backward.inputs[0] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    backward.inputs[1] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    backward.inputs[2] =
        make(bench, dtype, bench->model->tokens, 2 * bench->model->groups * bench->model->size);
    backward.inputs[3] = documents(bench);
    backward.inputs[4] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    backward.inputs[5] = make(bench, DTYPE_F32, bench->model->tokens, bench->model->heads);
    backward.outputs[0] =
        make(bench, dtype, bench->model->tokens, bench->model->heads * bench->model->size);
    backward.outputs[1] =
        make(bench, dtype, bench->model->tokens, 2 * bench->model->groups * bench->model->size);
    put_floats(bench, &backward.inputs[5], 4); /* about what 50 keys give */
    run(bench, "attention gradient", &backward, bench->model->layers, 2.5 * flops);
}

static void norms(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    const struct op_parameters parameters = {.epsilon = 1e-5};
    struct op_call forward = {.op = OP_RMS_NORM, .parameters = parameters};
    forward.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    forward.inputs[1] = make(bench, dtype, bench->model->hidden, 0);
    forward.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    forward.outputs[1] = make(bench, DTYPE_F32, bench->model->tokens, 0);
    run(bench, "rms norm", &forward, 2 * bench->model->layers + 1, 0);
    struct op_call backward = {.op = OP_RMS_NORM_GRADIENT, .parameters = parameters};
    backward.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    backward.inputs[1] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    backward.inputs[2] = make(bench, dtype, bench->model->hidden, 0);
    backward.inputs[3] = make(bench, DTYPE_F32, bench->model->tokens, 0);
    backward.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    backward.outputs[1] = make(bench, DTYPE_F32, bench->model->hidden, 0);
    run(bench, "rms norm gradient", &backward, 2 * bench->model->layers + 1, 0);
}

static void pointwise(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    struct op_call rotary = {
        .op = OP_ROTARY,
        .parameters = {.heads = bench->model->heads, .head_size = bench->model->size},
    };
    rotary.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    rotary.inputs[1] = make(bench, DTYPE_F32, bench->model->tokens, bench->model->size);
    rotary.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    run(bench, "rotary", &rotary, 4 * bench->model->layers, 0);
    struct op_call add = {.op = OP_ADD};
    add.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    add.inputs[1] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    add.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    run(bench, "add", &add, 5 * bench->model->layers, 0);
    struct op_call gated = {.op = OP_GATED_ACTIVATION,
                            .parameters = {.activation = ACTIVATION_SILU}};
    gated.inputs[0] = make(bench, dtype, bench->model->tokens, 2 * bench->model->width);
    gated.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->width);
    run(bench, "gated silu", &gated, bench->model->layers, 0);
    struct op_call gradient = {.op = OP_GATED_ACTIVATION_GRADIENT,
                               .parameters = {.activation = ACTIVATION_SILU}};
    gradient.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->width);
    gradient.inputs[1] = make(bench, dtype, bench->model->tokens, 2 * bench->model->width);
    gradient.outputs[0] = make(bench, dtype, bench->model->tokens, 2 * bench->model->width);
    run(bench, "gated silu gradient", &gradient, bench->model->layers, 0);
}

static void ends(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    struct op_call embedding = {.op = OP_EMBEDDING};
    embedding.inputs[0] = make(bench, DTYPE_I32, bench->model->tokens, 0);
    embedding.inputs[1] = make(bench, dtype, bench->model->words, bench->model->hidden);
    embedding.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    run(bench, "embedding", &embedding, 1, 0);
    struct op_call gradient = {.op = OP_EMBEDDING_GRADIENT};
    gradient.inputs[0] = make(bench, DTYPE_I32, bench->model->tokens, 0);
    gradient.inputs[1] = make(bench, dtype, bench->model->tokens, bench->model->hidden);
    gradient.outputs[0] = make(bench, DTYPE_F32, bench->model->words, bench->model->hidden);
    run(bench, "embedding gradient", &gradient, 1, 0);
    struct op_call loss = {.op = OP_CROSS_ENTROPY, .parameters = {.factor = 1}};
    loss.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->words);
    loss.inputs[1] = make(bench, DTYPE_I32, bench->model->tokens, 0);
    loss.inputs[2] = make(bench, DTYPE_F64, 1, 0);
    loss.outputs[0] = make(bench, DTYPE_F32, 1, 0);
    loss.outputs[1] = make(bench, DTYPE_F32, bench->model->tokens, 0);
    run(bench, "cross entropy", &loss, 1, 0);
    struct op_call back = {.op = OP_CROSS_ENTROPY_GRADIENT, .parameters = {.factor = 1}};
    back.inputs[0] = make(bench, dtype, bench->model->tokens, bench->model->words);
    back.inputs[1] = make(bench, DTYPE_I32, bench->model->tokens, 0);
    back.inputs[2] = make(bench, DTYPE_F64, 1, 0);
    back.inputs[3] = make(bench, DTYPE_F32, bench->model->tokens, 0);
    back.inputs[4] = make(bench, DTYPE_F64, 1, 0);
    back.outputs[0] = make(bench, dtype, bench->model->tokens, bench->model->words);
    run(bench, "cross entropy gradient", &back, 1, 0);
}

static void optimizer(struct bench *bench)
{
    struct op_call norm = {.op = OP_SUM_SQUARES};
    norm.inputs[0] = make(bench, DTYPE_F64, 1, 0);
    norm.inputs[1] = make(bench, DTYPE_F32, bench->model->parameters, 0);
    norm.outputs[0] = make(bench, DTYPE_F64, 1, 0);
    run(bench, "sum squares", &norm, 1, 0);
    struct op_call adamw = {
        .op = OP_ADAMW,
        .parameters = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .decay = 0.1, .factor = 1}};
    for (int i = 0; i < 4; i++)
        adamw.inputs[i] = make(bench, DTYPE_F32, bench->model->parameters, 0);
    adamw.inputs[4] = make(bench, DTYPE_F64, 5, 0);
    double *factors = memory_zeroed(5, sizeof(*factors));
    memcpy(factors, (double[5]){1, 0, 1e-3, 0.1, 0.05}, 5 * sizeof(double));
    put(bench, &adamw.inputs[4], factors);
    for (int i = 0; i < 3; i++)
        adamw.outputs[i] = make(bench, DTYPE_F32, bench->model->parameters, 0);
    put_floats(bench, &adamw.inputs[3], 1e-4f);
    run(bench, "adamw", &adamw, 1, 0);
}

static struct model small_of(struct model model)
{
    model.tokens = 96;
    model.heads = model.groups = 1;
    model.hidden = model.size;
    model.width = model.words = 80;
    model.parameters = 1000;
    return model;
}

int main(int argc, char **argv)
{
    struct bench bench = {.dtype = DTYPE_F32, .document = argc > 3 ? atoi(argv[3]) : 50};
    struct device_options options = {.threads = argc > 2 ? atoi(argv[2]) : 0};
    struct status status = STATUS_NONE;
    bool gpu = argc > 2 && strcmp(argv[2], "cuda") == 0;
    for (int i = 0; i < ARRAY_LENGTH(models); i++)
        if (strcmp(models[i].name, argc > 4 ? argv[4] : "small") == 0)
            bench.model = &models[i];
    if ((argc > 1 && !dtype_find(argv[1], &bench.dtype)) || !bench.model)
        return 2;
    bench.trying = argc > 5 && strcmp(argv[5], "try") == 0;
    const struct model small = small_of(*bench.model);
    if (bench.trying)
        bench.model = &small;
    const char *device = gpu ? "cuda" : "cpu";
    if (bench.document < 1 || !(bench.device = device_open(device, &options, &status))) {
        fprintf(stderr, "%s\n", status.text);
        return 2;
    }
    const struct model *model = bench.model;
    projection(&bench, "query", model->hidden, model->heads * model->size, model->layers);
    projection(&bench, "key value", model->hidden, 2 * model->groups * model->size, model->layers);
    projection(&bench, "dense", model->heads * model->size, model->hidden, model->layers);
    projection(&bench, "layer 1", model->hidden, 2 * model->width, model->layers);
    projection(&bench, "layer 2", model->width, model->hidden, model->layers);
    projection(&bench, "head", model->hidden, model->words, 1);
    attention(&bench);
    norms(&bench);
    pointwise(&bench);
    ends(&bench);
    optimizer(&bench);
    printf("step: %.1f ms, of which products %.1f ms, the rest %.1f ms\n", bench.total * 1e3,
           bench.matmul_total * 1e3, (bench.total - bench.matmul_total) * 1e3);
    device_close(bench.device);
    return bench.failed;
}
