/* Time of every operation of one training step of a small llama (2 layers, 8x512 tokens, hidden
 * 256, 8 heads of 32 in 4 groups, gated MLP 1024, 384 words), one operation at a time, and the sum
 * over the step. Usage: lockstep_bench_ops [f32|bf16|f16] [threads] [document length] */
#include "engine/device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKENS = 4096, HIDDEN = 256, HEADS = 8, GROUPS = 4, SIZE = 32, WIDTH = 1024, WORDS = 384 };
enum { LAYERS = 2, PARAMETERS = 2162944, MOST_RUNS = 200 };

struct bench {
    struct device *device;
    enum dtype dtype; /* of activations and weights in products */
    int document;     /* tokens of each document */
    double total, matmul_total;
    bool failed;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Values that keep every operation in its usual range; integers are tokens. */
static void fill(struct tensor *tensor)
{
    uint32_t state = 12345;
    int64_t count = shape_elements(tensor->shape);
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        double value = (double)(state >> 8) * 0x1p-24 - 0.5;
        if (tensor->dtype == DTYPE_I32)
            value = (double)((state >> 8) % WORDS);
        if (tensor->dtype == DTYPE_F64)
            value = 1;
        dtype_store(tensor->dtype, tensor->data, (size_t)i, value);
    }
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
    fill(&tensor);
    return tensor;
}

/* Seconds of the fastest of the runs during about half a second (what else the machine does only
 * adds time); negative on failure. */
static double measure(struct bench *bench, struct op_call *call)
{
    double least = 0, start = now();
    struct status status = STATUS_NONE;
    int runs = 0;
    while (runs < MOST_RUNS && (runs < 5 || now() - start < 0.5)) {
        double begin = now();
        if (!device_run(bench->device, call, &status) ||
            !device_synchronize(bench->device, &status)) {
            fprintf(stderr, "%s: %s\n", op_name(call->op), status.text);
            bench->failed = true;
            return -1;
        }
        double seconds = now() - begin;
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
    double flops = 2.0 * TOKENS * (double)in * (double)out;
    char title[64];
    struct op_call forward = {.op = OP_MATMUL, .parameters = {.transpose_b = true}};
    forward.inputs[0] = make(bench, dtype, TOKENS, in);
    forward.inputs[1] = make(bench, dtype, out, in);
    forward.outputs[0] = make(bench, dtype, TOKENS, out);
    snprintf(title, sizeof(title), "%s y", name);
    run(bench, title, &forward, times, flops);
    struct op_call dx = {.op = OP_MATMUL};
    dx.inputs[0] = make(bench, dtype, TOKENS, out);
    dx.inputs[1] = make(bench, dtype, out, in);
    dx.outputs[0] = make(bench, dtype, TOKENS, in);
    snprintf(title, sizeof(title), "%s dx", name);
    run(bench, title, &dx, times, flops);
    struct op_call dw = {.op = OP_MATMUL, .parameters = {.transpose_a = true}};
    dw.inputs[0] = make(bench, dtype, TOKENS, out);
    dw.inputs[1] = make(bench, dtype, TOKENS, in);
    dw.outputs[0] = make(bench, DTYPE_F32, out, in);
    snprintf(title, sizeof(title), "%s dW", name);
    run(bench, title, &dw, times, flops);
}

static struct tensor documents(struct bench *bench)
{
    struct tensor start = make(bench, DTYPE_I32, TOKENS, 0);
    for (int i = 0; start.data && i < TOKENS; i++)
        ((int32_t *)start.data)[i] = i / bench->document * bench->document;
    return start;
}

static void attention(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    const struct op_parameters parameters = {.heads = HEADS,
                                             .head_groups = GROUPS,
                                             .head_size = SIZE,
                                             .scale = 0.17677669,
                                             .causal = true};
    struct op_call forward = {.op = OP_ATTENTION, .parameters = parameters};
    forward.inputs[0] = make(bench, dtype, TOKENS, HEADS * SIZE);
    forward.inputs[1] = make(bench, dtype, TOKENS, 2 * GROUPS * SIZE);
    forward.inputs[2] = documents(bench);
    forward.outputs[0] = make(bench, dtype, TOKENS, HEADS * SIZE);
    forward.outputs[1] = make(bench, DTYPE_F32, TOKENS, HEADS);
    run(bench, "attention", &forward, LAYERS, 0);
    struct op_call backward = {.op = OP_ATTENTION_GRADIENT, .parameters = parameters};
    backward.inputs[0] = make(bench, dtype, TOKENS, HEADS * SIZE);
    backward.inputs[1] = make(bench, dtype, TOKENS, HEADS * SIZE);
    backward.inputs[2] = make(bench, dtype, TOKENS, 2 * GROUPS * SIZE);
    backward.inputs[3] = documents(bench);
    backward.inputs[4] = make(bench, dtype, TOKENS, HEADS * SIZE);
    backward.inputs[5] = make(bench, DTYPE_F32, TOKENS, HEADS);
    backward.outputs[0] = make(bench, dtype, TOKENS, HEADS * SIZE);
    backward.outputs[1] = make(bench, dtype, TOKENS, 2 * GROUPS * SIZE);
    for (int i = 0; backward.inputs[5].data && i < TOKENS * HEADS; i++)
        ((float *)backward.inputs[5].data)[i] = 4; /* about what 50 keys give */
    run(bench, "attention gradient", &backward, LAYERS, 0);
}

static void norms(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    const struct op_parameters parameters = {.epsilon = 1e-5};
    struct op_call forward = {.op = OP_RMS_NORM, .parameters = parameters};
    forward.inputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    forward.inputs[1] = make(bench, dtype, HIDDEN, 0);
    forward.outputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    forward.outputs[1] = make(bench, DTYPE_F32, TOKENS, 0);
    run(bench, "rms norm", &forward, 2 * LAYERS + 1, 0);
    struct op_call backward = {.op = OP_RMS_NORM_GRADIENT, .parameters = parameters};
    backward.inputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    backward.inputs[1] = make(bench, dtype, TOKENS, HIDDEN);
    backward.inputs[2] = make(bench, dtype, HIDDEN, 0);
    backward.inputs[3] = make(bench, DTYPE_F32, TOKENS, 0);
    backward.outputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    backward.outputs[1] = make(bench, DTYPE_F32, HIDDEN, 0);
    run(bench, "rms norm gradient", &backward, 2 * LAYERS + 1, 0);
}

static void pointwise(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    struct op_call rotary = {
        .op = OP_ROTARY,
        .parameters = {.heads = HEADS, .head_size = SIZE},
    };
    rotary.inputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    rotary.inputs[1] = make(bench, DTYPE_F32, TOKENS, SIZE);
    rotary.outputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    run(bench, "rotary", &rotary, 4 * LAYERS, 0);
    struct op_call add = {.op = OP_ADD};
    add.inputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    add.inputs[1] = make(bench, dtype, TOKENS, HIDDEN);
    add.outputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    run(bench, "add", &add, 5 * LAYERS, 0);
    struct op_call gated = {.op = OP_GATED_ACTIVATION,
                            .parameters = {.activation = ACTIVATION_SILU}};
    gated.inputs[0] = make(bench, dtype, TOKENS, 2 * WIDTH);
    gated.outputs[0] = make(bench, dtype, TOKENS, WIDTH);
    run(bench, "gated silu", &gated, LAYERS, 0);
    struct op_call gradient = {.op = OP_GATED_ACTIVATION_GRADIENT,
                               .parameters = {.activation = ACTIVATION_SILU}};
    gradient.inputs[0] = make(bench, dtype, TOKENS, WIDTH);
    gradient.inputs[1] = make(bench, dtype, TOKENS, 2 * WIDTH);
    gradient.outputs[0] = make(bench, dtype, TOKENS, 2 * WIDTH);
    run(bench, "gated silu gradient", &gradient, LAYERS, 0);
}

static void ends(struct bench *bench)
{
    enum dtype dtype = bench->dtype;
    struct op_call embedding = {.op = OP_EMBEDDING};
    embedding.inputs[0] = make(bench, DTYPE_I32, TOKENS, 0);
    embedding.inputs[1] = make(bench, dtype, WORDS, HIDDEN);
    embedding.outputs[0] = make(bench, dtype, TOKENS, HIDDEN);
    run(bench, "embedding", &embedding, 1, 0);
    struct op_call gradient = {.op = OP_EMBEDDING_GRADIENT};
    gradient.inputs[0] = make(bench, DTYPE_I32, TOKENS, 0);
    gradient.inputs[1] = make(bench, dtype, TOKENS, HIDDEN);
    gradient.outputs[0] = make(bench, DTYPE_F32, WORDS, HIDDEN);
    run(bench, "embedding gradient", &gradient, 1, 0);
    struct op_call loss = {.op = OP_CROSS_ENTROPY, .parameters = {.factor = 1}};
    loss.inputs[0] = make(bench, dtype, TOKENS, WORDS);
    loss.inputs[1] = make(bench, DTYPE_I32, TOKENS, 0);
    loss.inputs[2] = make(bench, DTYPE_F64, 1, 0);
    loss.outputs[0] = make(bench, DTYPE_F32, 1, 0);
    loss.outputs[1] = make(bench, DTYPE_F32, TOKENS, 0);
    run(bench, "cross entropy", &loss, 1, 0);
    struct op_call back = {.op = OP_CROSS_ENTROPY_GRADIENT, .parameters = {.factor = 1}};
    back.inputs[0] = make(bench, dtype, TOKENS, WORDS);
    back.inputs[1] = make(bench, DTYPE_I32, TOKENS, 0);
    back.inputs[2] = make(bench, DTYPE_F64, 1, 0);
    back.inputs[3] = make(bench, DTYPE_F32, TOKENS, 0);
    back.inputs[4] = make(bench, DTYPE_F64, 1, 0);
    back.outputs[0] = make(bench, dtype, TOKENS, WORDS);
    run(bench, "cross entropy gradient", &back, 1, 0);
}

static void optimizer(struct bench *bench)
{
    struct op_call norm = {.op = OP_SUM_SQUARES};
    norm.inputs[0] = make(bench, DTYPE_F64, 1, 0);
    norm.inputs[1] = make(bench, DTYPE_F32, PARAMETERS, 0);
    norm.outputs[0] = make(bench, DTYPE_F64, 1, 0);
    run(bench, "sum squares", &norm, 1, 0);
    struct op_call adamw = {
        .op = OP_ADAMW,
        .parameters = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .decay = 0.1, .factor = 1}};
    for (int i = 0; i < 4; i++)
        adamw.inputs[i] = make(bench, DTYPE_F32, PARAMETERS, 0);
    adamw.inputs[4] = make(bench, DTYPE_F64, 5, 0);
    if (adamw.inputs[4].data)
        memcpy(adamw.inputs[4].data, (double[5]){1, 0, 1e-3, 0.1, 0.05}, 5 * sizeof(double));
    for (int i = 0; i < 3; i++)
        adamw.outputs[i] = make(bench, DTYPE_F32, PARAMETERS, 0);
    for (int64_t i = 0; adamw.inputs[3].data && i < PARAMETERS; i++)
        ((float *)adamw.inputs[3].data)[i] = 1e-4f;
    run(bench, "adamw", &adamw, 1, 0);
}

int main(int argc, char **argv)
{
    struct bench bench = {.dtype = DTYPE_F32, .document = argc > 3 ? atoi(argv[3]) : 50};
    struct device_options options = {.threads = argc > 2 ? atoi(argv[2]) : 0};
    struct status status = STATUS_NONE;
    if (argc > 1 && !dtype_find(argv[1], &bench.dtype))
        return 2;
    if (bench.document < 1 || !(bench.device = device_open("cpu", &options, &status))) {
        fprintf(stderr, "%s\n", status.text);
        return 2;
    }
    projection(&bench, "query", HIDDEN, HEADS * SIZE, LAYERS);
    projection(&bench, "key value", HIDDEN, 2 * GROUPS * SIZE, LAYERS);
    projection(&bench, "dense", HEADS * SIZE, HIDDEN, LAYERS);
    projection(&bench, "layer 1", HIDDEN, 2 * WIDTH, LAYERS);
    projection(&bench, "layer 2", WIDTH, HIDDEN, LAYERS);
    projection(&bench, "head", HIDDEN, WORDS, 1);
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
