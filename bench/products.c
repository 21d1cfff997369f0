/* Speed of matrix products of one thread: in vectors, on matrix units, and by oneDNN, in GFLOP/s of
 * processor time (the best of many runs, since what else the machine does only adds time).
 * Usage: lockstep_bench_products [seconds for each number] */
#include "bench/figures.h"

#include "engine/base/memory.h"
#include "engine/device/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef LOCKSTEP_HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif

struct shape_case {
    const char *form;
    int64_t rows, depth, columns;
    bool transpose_a, transpose_b;
};

/* Everything one case needs; all of the size of the largest. */
struct bench {
    struct cpu_context *vectors, *matrix; /* matrix: NULL without units */
    float *a, *b, *out;
    void *a16, *b16, *workspace;
    double seconds;
};

enum { MOST = 2048 * 2048 + 4096 * 2048, WORKSPACE = 256 << 20 };

static struct cpu_context *open_device(const char *instructions)
{
    struct status status = STATUS_NONE;
    void *context = NULL;
    setenv("LOCKSTEP_CPU", instructions, 1);
    if (!device_cpu.open(&context, &(struct device_options){.threads = 1}, &status))
        fprintf(stderr, "%s\n", status.text);
    return context;
}

static struct matrix_product product_of(const struct bench *bench, const struct shape_case *shape,
                                        enum dtype dtype)
{
    struct matrix_product product = {
        .rows = shape->rows,
        .columns = shape->columns,
        .depth = shape->depth,
        .a = dtype == DTYPE_F32 ? (void *)bench->a : bench->a16,
        .b = dtype == DTYPE_F32 ? (void *)bench->b : bench->b16,
        .out = bench->out,
        .a_dtype = dtype,
        .b_dtype = dtype,
        .out_dtype = DTYPE_F32,
        .a_stride = shape->transpose_a ? shape->rows : shape->depth,
        .b_stride = shape->transpose_b ? shape->depth : shape->columns,
        .out_stride = shape->columns,
        .transpose_a = shape->transpose_a,
        .transpose_b = shape->transpose_b,
    };
    return product;
}

struct run {
    const struct bench *bench;
    struct matrix_product product;
    struct cpu_context *context;
#ifdef LOCKSTEP_HAVE_DNNL
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_exec_arg_t arguments[3];
#endif
};

static void run_own(struct run *run)
{
    cpu_product_multiply(run->context, &run->product, run->bench->workspace);
}

/* Prints GFLOP/s, or a dash where the run cannot be made. */
static void measure(struct run *run, void (*make)(struct run *run))
{
    double least = 0, start = processor_now();
    if (!make || !run->context) {
        printf(" %9s", "-");
        return;
    }
    for (int runs = 0; runs < 3 || processor_now() - start < run->bench->seconds; runs++) {
        double begin = processor_now();
        make(run);
        double seconds = processor_now() - begin;
        least = runs == 0 || seconds < least ? seconds : least;
    }
    const struct matrix_product *p = &run->product;
    printf(" %9.1f", 2e-9 * (double)p->rows * (double)p->columns * (double)p->depth / least);
    fflush(stdout);
}

#ifdef LOCKSTEP_HAVE_DNNL
static void run_sgemm(struct run *run)
{
    const struct matrix_product *p = &run->product;
    dnnl_sgemm(p->transpose_a ? 'T' : 'N', p->transpose_b ? 'T' : 'N', p->rows, p->columns,
               p->depth, 1, p->a, p->a_stride, p->b, p->b_stride, 0, p->out, p->out_stride);
}

static dnnl_memory_desc_t describe(enum dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                                   bool transposed)
{
    dnnl_memory_desc_t descriptor;
    dnnl_dims_t dims = {rows, columns};
    dnnl_dims_t strides = {transposed ? 1 : stride, transposed ? stride : 1};
    dnnl_memory_desc_init_by_strides(&descriptor, 2, dims,
                                     dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32, strides);
    return descriptor;
}

static void run_matmul(struct run *run)
{
    dnnl_primitive_execute(run->primitive, run->stream, 3, run->arguments);
    dnnl_stream_wait(run->stream);
}

static void measure_matmul(struct run *run)
{
    const struct matrix_product *p = &run->product;
    dnnl_memory_desc_t descriptors[3] = {
        describe(p->a_dtype, p->rows, p->depth, p->a_stride, p->transpose_a),
        describe(p->b_dtype, p->depth, p->columns, p->b_stride, p->transpose_b),
        describe(DTYPE_F32, p->rows, p->columns, p->out_stride, false)};
    const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    /* Handles are not const; sources are only read. */
    void *const data[3] = {(void *)(uintptr_t)p->a, (void *)(uintptr_t)p->b, p->out};
    dnnl_engine_t engine;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t description;
    dnnl_engine_create(&engine, dnnl_cpu, 0);
    dnnl_stream_create(&run->stream, engine, dnnl_stream_default_flags);
    dnnl_matmul_desc_init(&matmul, &descriptors[0], &descriptors[1], NULL, &descriptors[2]);
    dnnl_primitive_desc_create(&description, &matmul, NULL, engine, NULL);
    dnnl_primitive_create(&run->primitive, description);
    for (int i = 0; i < 3; i++) {
        run->arguments[i].arg = names[i];
        dnnl_memory_create(&run->arguments[i].memory, &descriptors[i], engine, data[i]);
    }
    measure(run, run_matmul);
    for (int i = 0; i < 3; i++)
        dnnl_memory_destroy(run->arguments[i].memory);
    dnnl_primitive_destroy(run->primitive);
    dnnl_primitive_desc_destroy(description);
    dnnl_stream_destroy(run->stream);
    dnnl_engine_destroy(engine);
}

static void measure_sgemm(struct run *run)
{
    measure(run, run_sgemm);
}
#else
static void measure_matmul(struct run *run)
{
    measure(run, NULL);
}

static void measure_sgemm(struct run *run)
{
    measure(run, NULL);
}
#endif

static void measure_case(const struct bench *bench, const struct shape_case *shape)
{
    struct run run = {.bench = bench, .context = bench->vectors};
    run.product = product_of(bench, shape, DTYPE_F32);
    printf("%-3s %4lld x %4lld x %4lld ", shape->form, (long long)shape->rows,
           (long long)shape->depth, (long long)shape->columns);
    measure(&run, run_own);
    measure_matmul(&run);
    measure_sgemm(&run);
    run.context = bench->matrix;
    measure(&run, run_own);
    run.product = product_of(bench, shape, DTYPE_BF16);
    measure(&run, run_own);
    run.context = bench->vectors;
    measure_matmul(&run);
    printf("\n");
}

static void fill(struct bench *bench)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < MOST; i++) {
        state = state * 1664525u + 1013904223u;
        bench->a[i] = bench->b[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
        ((uint16_t *)bench->a16)[i] = ((uint16_t *)bench->b16)[i] = float_to_bf16(bench->a[i]);
    }
}

int main(int argc, char **argv)
{
    static const struct shape_case cases[] = {
        {"y", 512, 256, 1024, false, true},    {"y", 4096, 256, 256, false, true},
        {"y", 4096, 256, 1024, false, true},   {"y", 4096, 1024, 256, false, true},
        {"dx", 4096, 256, 256, false, false},  {"dx", 4096, 1024, 256, false, false},
        {"dx", 4096, 256, 1024, false, false}, {"dW", 256, 4096, 256, true, false},
        {"dW", 1024, 4096, 256, true, false},  {"dW", 256, 4096, 1024, true, false},
        {"", 1024, 1024, 1024, false, false},  {"", 2048, 2048, 2048, false, false},
        {"", 64, 64, 64, false, false},        {"", 1, 256, 1024, false, true},
    };
    struct bench bench = {.seconds = argc > 1 ? atof(argv[1]) : 0.3};
    bench.vectors = open_device("avx512");
    bench.matrix = open_device("amx");
    if (!bench.vectors || !bench.matrix)
        return 2;
    if (!bench.matrix->matrix_units)
        bench.matrix = NULL;
    bench.a = memory_zeroed(MOST, sizeof(float));
    bench.b = memory_zeroed(MOST, sizeof(float));
    bench.out = memory_zeroed(MOST, sizeof(float));
    bench.a16 = memory_zeroed(MOST, 2);
    bench.b16 = memory_zeroed(MOST, 2);
    bench.workspace = aligned_alloc(64, WORKSPACE);
    fill(&bench);
    printf("%-22s %29s %19s %9s\n", "", "float32, in vectors", "matrix units", "bf16");
    printf("%-22s %9s %9s %9s %9s %9s %9s\n", "rows x depth x columns",
           bench.vectors->kernels->name, "oneDNN", "sgemm", "f32", "bf16", "oneDNN");
    for (int i = 0; i < ARRAY_LENGTH(cases); i++)
        measure_case(&bench, &cases[i]);
    return 0;
}
