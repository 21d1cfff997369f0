#include "tests/cuda_emulator/cublaslt.h"

#include "tests/cuda_emulator/runtime.h"

#include "engine/tensor/dtype.h"

#include <stdlib.h>
#include <string.h>

struct cublasLtContext {
    int unused;
};

struct cublasLtMatmulDesc {
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};

struct cublasLtMatrixLayout {
    cudaDataType_t type;
    int64_t rows, columns, stride;
};

struct cublasLtMatmulPreference {
    uint64_t workspace;
    uint32_t align_a, align_b, align_c, align_d, reductions;
};

/* What the heuristic puts into an algorithm, for cublasLtMatmul to check. */
struct algorithm {
    uint64_t magic, workspace, align_a, align_b, align_d, m, n, k;
};
enum { MAGIC = 0x4c745f };

static int products;

int emulator_products(void)
{
    return products;
}

static void *zeroed(size_t bytes)
{
    return calloc(1, bytes);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = zeroed(sizeof(**handle));
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                   : "CUBLAS_STATUS_EXECUTION_FAILED";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *operation,
                                        cublasComputeType_t compute, cudaDataType_t scale)
{
    bool known = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    if (!known || scale != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    *operation = zeroed(sizeof(**operation));
    (*operation)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation)
{
    free(operation);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t take(void *to, size_t size, const void *data, size_t bytes)
{
    if (bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, data, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *data, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return take(&operation->a, sizeof(operation->a), data, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return take(&operation->b, sizeof(operation->b), data, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return take(&operation->epilogue, sizeof(operation->epilogue), data, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return take(&operation->bias, sizeof(operation->bias), data, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride)
{
    *layout = zeroed(sizeof(**layout));
    **layout = (struct cublasLtMatrixLayout){type, (int64_t)rows, (int64_t)columns, stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = zeroed(sizeof(**preference));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *data, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return take(&preference->workspace, sizeof(uint64_t), data, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return take(&preference->reductions, sizeof(uint32_t), data, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return take(&preference->align_a, sizeof(uint32_t), data, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return take(&preference->align_b, sizeof(uint32_t), data, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return take(&preference->align_c, sizeof(uint32_t), data, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return take(&preference->align_d, sizeof(uint32_t), data, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

static bool shapes_fit(const struct cublasLtMatmulDesc *operation,
                       const struct cublasLtMatrixLayout *a, const struct cublasLtMatrixLayout *b,
                       const struct cublasLtMatrixLayout *d, int64_t *depth)
{
    bool ta = operation->a == CUBLAS_OP_T, tb = operation->b == CUBLAS_OP_T;
    *depth = ta ? a->rows : a->columns;
    return (ta ? a->columns : a->rows) == d->rows && (tb ? b->rows : b->columns) == d->columns &&
           (tb ? b->columns : b->rows) == *depth && a->stride >= a->rows && b->stride >= b->rows &&
           d->stride >= d->rows;
}

/* An algorithm wants workspace for deep products, and none takes 16-bit floats that are not at
 * least 4-byte aligned: so that both of a caller's ways are gone. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    int64_t depth;
    *count = 0;
    if (emulator_forbid()) /* it may load kernels, which takes memory */
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (!handle || most < 1 || preference->reductions != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE ||
        !shapes_fit(operation, a, b, d, &depth) || c->type != d->type)
        return CUBLAS_STATUS_INVALID_VALUE;
    bool types = a->type == b->type && (d->type == CUDA_R_32F || d->type == a->type);
    bool aligned = preference->align_a >= 4 && preference->align_b >= 4 &&
                   preference->align_c >= 4 && preference->align_d >= 4;
    if (!types || !aligned)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    uint64_t workspace = depth > 40 && preference->workspace >= 1024 ? 1024 : 0;
    struct algorithm algorithm = {MAGIC,
                                  workspace,
                                  preference->align_a,
                                  preference->align_b,
                                  preference->align_d,
                                  (uint64_t)d->rows,
                                  (uint64_t)d->columns,
                                  (uint64_t)depth};
    memset(results, 0, sizeof(*results));
    memcpy(&results->algo, &algorithm, sizeof(algorithm));
    results->workspaceSize = workspace;
    results->state = CUBLAS_STATUS_SUCCESS;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

static enum dtype dtype_of(cudaDataType_t type)
{
    return type == CUDA_R_16F ? DTYPE_F16 : type == CUDA_R_16BF ? DTYPE_BF16 : DTYPE_F32;
}

/* op(X) as floats, `rows` x `columns`, by rows. */
static float *widen(const struct cublasLtMatrixLayout *x, const void *data, bool transposed,
                    int64_t rows, int64_t columns)
{
    float *wide = malloc((size_t)(rows * columns) * sizeof(float));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            int64_t at = transposed ? i * x->stride + j : j * x->stride + i;
            wide[i * columns + j] = (float)dtype_load(dtype_of(x->type), data, (size_t)at);
        }
    return wide;
}

static bool is_aligned(const void *data, uint64_t bytes)
{
    return (uintptr_t)data % bytes == 0;
}

/* A product that is queued, with copies of all that describes it. */
struct product {
    struct cublasLtMatmulDesc operation;
    struct cublasLtMatrixLayout left, right, to;
    const void *a, *b;
    void *d, *workspace;
    uint64_t workspace_bytes;
    int64_t m, n, k;
};

static void multiply(const struct product *it)
{
    float *left = widen(&it->left, it->a, it->operation.a == CUBLAS_OP_T, it->m, it->k);
    float *right = widen(&it->right, it->b, it->operation.b == CUBLAS_OP_T, it->k, it->n);
    float *row = malloc((size_t)it->n * sizeof(float));
    enum dtype type = dtype_of(it->to.type);
    for (int64_t i = 0; i < it->m; i++) {
        float bias = it->operation.epilogue == CUBLASLT_EPILOGUE_BIAS
                         ? (float)dtype_load(type, it->operation.bias, (size_t)i)
                         : 0.0f;
        memset(row, 0, (size_t)it->n * sizeof(float));
        for (int64_t l = 0; l < it->k; l++)
            for (int64_t j = 0; j < it->n; j++)
                row[j] += left[i * it->k + l] * right[l * it->n + j];
        for (int64_t j = 0; j < it->n; j++)
            dtype_store(type, it->d, (size_t)(j * it->to.stride + i), (double)(row[j] + bias));
    }
    free(left);
    free(right);
    free(row);
}

static cudaError_t run_product(void *memory)
{
    const struct product *it = memory;
    if (cudaPeekAtLastError() != cudaSuccess)
        return cudaPeekAtLastError();
    if (!emulator_begins("cublasLtMatmul"))
        return cudaSuccess;
    if (it->workspace_bytes)
        memset(it->workspace, 0xee, it->workspace_bytes);
    multiply(it);
    products++;
    return cudaSuccess;
}

static cublasStatus_t put_on(cudaStream_t stream, const struct product *it)
{
    struct product *kept;
    if (!emulator_captures(stream))
        return run_product((void *)it) ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
    kept = malloc(sizeof(*kept));
    *kept = *it;
    return emulator_result(emulator_capture(stream, run_product, kept, free))
               ? CUBLAS_STATUS_EXECUTION_FAILED
               : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    struct algorithm by;
    int64_t m = d_layout->rows, n = d_layout->columns, k;
    (void)c_layout;
    memcpy(&by, algo, sizeof(by));
    if (!handle || !stream || by.magic != MAGIC || c != d || *(const float *)alpha != 1 ||
        *(const float *)beta != 0 || !shapes_fit(operation, a_layout, b_layout, d_layout, &k) ||
        by.m != (uint64_t)m || by.n != (uint64_t)n || by.k != (uint64_t)k ||
        !is_aligned(a, by.align_a) || !is_aligned(b, by.align_b) || !is_aligned(d, by.align_d) ||
        (operation->bias && !is_aligned(operation->bias, 16)) || workspace_bytes < by.workspace)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (cudaPeekAtLastError() != cudaSuccess)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    const char *refusal = getenv("LOCKSTEP_EMULATED_REFUSAL");
    if (refusal) /* of what its heuristic had found */
        return strcmp(refusal, "failure") == 0 ? CUBLAS_STATUS_EXECUTION_FAILED
                                               : CUBLAS_STATUS_NOT_SUPPORTED;
    return put_on(stream, &(struct product){*operation, *a_layout, *b_layout, *d_layout, a, b, d,
                                            workspace, by.workspace, m, n, k});
}
