/* How fast two tensors are compared: `lockstep_bench_compare [million elements|try] [cpu|cuda
 * [THREADS]]`.
 * Prints, for each pair of dtypes and 1 thread or all, the best of several passes with every
 * metric, and beside it a pass that only reads the same memory. On a GPU it is a copy: as many
 * bytes read and written. "try" has a few elements: does it run at all? */
#include "engine/compare/compare.h"
#include "bench/figures.h"
#include "engine/base/memory.h"
#include "engine/device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { PASSES = 9, QUEUED = 10 };

/* Numbers in [-1, 1), the test's a few units beside the reference's. */
static void fill(struct tensor *reference, struct tensor *test, int64_t count)
{
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        double number = (double)(int32_t)state * 0x1p-31;
        dtype_store(reference->dtype, reference->data, (size_t)i, number);
        dtype_store(test->dtype, test->data, (size_t)i, number * (1 + 1e-6 * (state >> 29)));
    }
}

/* The bound: nothing but reading, 64 bits at a time, from both tensors at once. */
static uint64_t read_only(const struct tensor *reference, const struct tensor *test, int threads)
{
    const uint64_t *a = reference->data, *b = test->data;
    int64_t words_a = shape_elements(reference->shape) * (int64_t)dtype_size(reference->dtype) / 8;
    int64_t words_b = shape_elements(test->shape) * (int64_t)dtype_size(test->dtype) / 8;
    int64_t words = words_a < words_b ? words_a : words_b;
    uint64_t sum = 0;
    (void)threads;
#ifdef _OPENMP
#pragma omp parallel for simd schedule(static) reduction(^ : sum) num_threads(threads)
#endif
    for (int64_t i = 0; i < words; i++)
        sum ^= a[i] ^ b[i];
    return sum;
}

static int threads_of(const char *word)
{
    int all = 1;
#ifdef _OPENMP
    all = omp_get_max_threads();
#endif
    return word && atoi(word) > 0 ? atoi(word) : all;
}

static void measure(const struct tensor *reference, const struct tensor *test, double scale,
                    int threads)
{
    double best = 1e9, bound = 1e9;
    struct metrics metrics;
    volatile uint64_t sink = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = now();
        metrics_compute(reference, test, scale, threads, &metrics);
        double end = now();
        best = end - start < best ? end - start : best;
        sink ^= read_only(reference, test, threads);
        double read = now() - end;
        bound = read < bound ? read : bound;
    }
    (void)sink; /* the reads must not be optimised away */
    double bytes = (double)shape_elements(reference->shape) *
                   (double)(dtype_size(reference->dtype) + dtype_size(test->dtype));
    double smaller = dtype_size(reference->dtype) < dtype_size(test->dtype)
                         ? 2.0 * (double)dtype_size(reference->dtype)
                         : 2.0 * (double)dtype_size(test->dtype);
    double read_rate = (double)shape_elements(reference->shape) * smaller / bound * 1e-9;
    printf("%-5s %-5s scale %-8g %d thread%s %8.2f ms %7.2f GB/s   reading alone %6.2f GB/s\n",
           dtype_name(reference->dtype), dtype_name(test->dtype), scale, threads,
           threads == 1 ? " " : "s", best * 1e3, bytes / best * 1e-9, read_rate);
}

static bool upload(struct device *device, struct tensor *tensor, const void *host,
                   struct status *status)
{
    size_t bytes = (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
    return device_allocate(device, MEMORY_INPUTS, bytes, &tensor->data, status) &&
           device_upload(device, tensor->data, host, bytes, status);
}

static void release(struct device *device, const struct tensor *tensor)
{
    device_release(device, MEMORY_INPUTS, tensor->data,
                   (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype));
}

/* Seconds of one of several queued comparisons, or copies of the reference to the test. */
static bool time_device(struct device *device, const struct tensor *reference,
                        const struct tensor *test, double scale, struct device_sums *sums,
                        double *best, struct status *status)
{
    struct op_call copy = {.op = OP_COPY, .input_count = 1, .output_count = 1};
    copy.inputs[0] = *reference;
    copy.outputs[0] = *test;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = now();
        for (int i = 0; i < QUEUED; i++)
            if (!(sums ? device_compare(device, reference, test, scale, sums, status)
                       : device_run(device, &copy, status)))
                return false;
        if (!device_synchronize(device, status))
            return false;
        double seconds = (now() - start) / QUEUED;
        *best = pass == 0 || seconds < *best ? seconds : *best;
    }
    return true;
}

/* `reference` and `test` are the host's. */
static bool measure_device(struct device *device, struct tensor reference, struct tensor test,
                           double scale, struct status *status)
{
    double seconds = 0, copying = 0;
    const void *host = reference.data, *test_host = test.data;
    void *sums = NULL;
    reference.data = test.data = NULL;
    struct tensor other = reference;
    bool ok = upload(device, &reference, host, status) &&
              upload(device, &test, test_host, status) && upload(device, &other, host, status) &&
              device_allocate(device, MEMORY_WORKSPACE, sizeof(struct device_sums), &sums, status);
    ok = ok && time_device(device, &reference, &test, scale, sums, &seconds, status) &&
         time_device(device, &reference, &other, 1, NULL, &copying, status);
    if (ok) {
        double elements = (double)shape_elements(reference.shape);
        double size = (double)dtype_size(reference.dtype);
        printf("%-5s %-5s scale %-8g cuda %8.3f ms %8.1f GB/s   copying %8.1f GB/s\n",
               dtype_name(reference.dtype), dtype_name(test.dtype), scale, seconds * 1e3,
               elements * (size + (double)dtype_size(test.dtype)) / seconds * 1e-9,
               2 * elements * size / copying * 1e-9);
    }
    device_release(device, MEMORY_WORKSPACE, sums, sizeof(struct device_sums));
    release(device, &reference);
    release(device, &test);
    release(device, &other);
    return ok;
}

int main(int count, char **arguments)
{
    static const struct {
        enum dtype reference, test;
        double scale;
    } cases[] = {{DTYPE_F32, DTYPE_F32, 1},  {DTYPE_F32, DTYPE_F32, 65536},
                 {DTYPE_F32, DTYPE_BF16, 1}, {DTYPE_BF16, DTYPE_BF16, 1},
                 {DTYPE_F16, DTYPE_F16, 1},  {DTYPE_F32, DTYPE_F16, 65536},
                 {DTYPE_F64, DTYPE_F32, 1},  {DTYPE_F64, DTYPE_F64, 1}};
    bool trying = count > 1 && strcmp(arguments[1], "try") == 0;
    int64_t elements = trying ? 1000 : (count > 1 ? atol(arguments[1]) : 64) << 20;
    struct status status = STATUS_NONE;
    bool elsewhere = count > 2 && strcmp(arguments[2], "cpu") != 0;
    struct device *device = elsewhere ? device_open(arguments[2], NULL, &status) : NULL;
    int all = threads_of(count > 3 ? arguments[3] : NULL);
    if (status.code != STATUS_OK) {
        fprintf(stderr, "%s\n", status.text);
        return 1;
    }
    printf("%lld elements, best of %d passes, all metrics\n", (long long)elements, PASSES);
    for (int i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tensor reference = tensor_of(NULL, cases[i].reference, shape_of1(elements));
        struct tensor test = tensor_of(NULL, cases[i].test, shape_of1(elements));
        reference.data = memory_try((size_t)elements, dtype_size(reference.dtype));
        test.data = memory_try((size_t)elements, dtype_size(test.dtype));
        if (!reference.data || !test.data) {
            fprintf(stderr, "not enough memory for %lld elements\n", (long long)elements);
            free(reference.data);
            free(test.data);
            return 1;
        }
        fill(&reference, &test, elements);
        bool wide = reference.dtype == DTYPE_F64 || test.dtype == DTYPE_F64; /* not on a GPU */
        if (device && !wide && !measure_device(device, reference, test, cases[i].scale, &status))
            fprintf(stderr, "%s\n", status.text);
        if (!device)
            measure(&reference, &test, cases[i].scale, 1);
        if (!device && all > 1)
            measure(&reference, &test, cases[i].scale, all);
        free(reference.data);
        free(test.data);
    }
    device_close(device);
    return status.code != STATUS_OK;
}
