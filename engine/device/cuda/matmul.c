/* MATMUL through cublasLt. Its matrices are stored by columns, so a row-major C = op(A) op(B) is
 * computed as C^T = op(B)^T op(A)^T: the same memory, with the operands exchanged. */
#include "engine/device/cuda/cuda.h"

#include "engine/base/memory.h"
#include "engine/device/cuda/toolkit.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORKSPACE_MOST = 32 << 20, /* what NVIDIA advises for the H100 */
    ALIGNED = 16,              /* the widest load of the library's kernels */
    PLANS_MOST = 1024,
};

/* All that the choice of an algorithm depends on; compared as bytes, so it is zeroed first. */
struct matmul_key {
    int64_t rows, columns, depth, a_stride, b_stride, out_stride;
    int dtype, out_dtype;
    int transpose_a, transpose_b, bias;
    int a_align, b_align, out_align;
};

struct matmul_plan {
    struct matmul_key key;
    bool usable;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t left, right, out;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
};

struct matmul_plans {
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    struct matmul_plan *plans;
    int count, capacity;
};

struct matmul_plans *cuda_matmul_open(struct cuda_context *context, struct status *status)
{
    struct matmul_plans *plans = memory_zeroed(1, sizeof(*plans));
    cublasStatus_t error = cublasLtCreate(&plans->handle);
    if (error == CUBLAS_STATUS_SUCCESS)
        error = cublasLtMatmulPreferenceCreate(&plans->preference);
    if (error == CUBLAS_STATUS_SUCCESS)
        return plans;
    status_fail(status, STATUS_INTERNAL, "cuBLAS does not start on GPU %d, %s: %s", context->index,
                context->name, cublasLtGetStatusString(error));
    cuda_matmul_close(plans);
    return NULL;
}

static void plan_free(struct matmul_plan *plan)
{
    if (plan->out)
        cublasLtMatrixLayoutDestroy(plan->out);
    if (plan->right)
        cublasLtMatrixLayoutDestroy(plan->right);
    if (plan->left)
        cublasLtMatrixLayoutDestroy(plan->left);
    if (plan->operation)
        cublasLtMatmulDescDestroy(plan->operation);
}

static void plans_clear(struct matmul_plans *plans)
{
    for (int i = 0; i < plans->count; i++)
        plan_free(&plans->plans[i]);
    plans->count = 0;
}

void cuda_matmul_close(struct matmul_plans *plans)
{
    if (!plans)
        return;
    plans_clear(plans);
    free(plans->plans);
    if (plans->preference)
        cublasLtMatmulPreferenceDestroy(plans->preference);
    if (plans->handle)
        cublasLtDestroy(plans->handle);
    free(plans);
}

static cudaDataType_t type_of(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : dtype == DTYPE_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* NULL, before memory is planned, counts as aligned: arenas are. */
static int alignment_of(const void *data)
{
    uintptr_t lowest = (uintptr_t)data & (~(uintptr_t)data + 1);
    return lowest == 0 || lowest > ALIGNED ? ALIGNED : (int)lowest;
}

/* Whether the library knows such a product at all: equal inputs, f32 or the same as output. */
static bool key_of(const struct matrix_product *product, bool planning, struct matmul_key *key)
{
    bool types = product->a_dtype == product->b_dtype &&
                 (product->out_dtype == DTYPE_F32 || product->out_dtype == product->a_dtype) &&
                 (!product->bias || product->bias_dtype == product->out_dtype);
    if (!types || !product->rows || !product->columns || !product->depth)
        return false;
    memset(key, 0, sizeof(*key));
    key->rows = product->rows;
    key->columns = product->columns;
    key->depth = product->depth;
    key->a_stride = product->a_stride;
    key->b_stride = product->b_stride;
    key->out_stride = product->out_stride;
    key->dtype = (int)product->a_dtype;
    key->out_dtype = (int)product->out_dtype;
    key->transpose_a = product->transpose_a;
    key->transpose_b = product->transpose_b;
    key->bias = product->bias != NULL;
    key->a_align = planning ? ALIGNED : alignment_of(product->a);
    key->b_align = planning ? ALIGNED : alignment_of(product->b);
    key->out_align = planning ? ALIGNED : alignment_of(product->out);
    /* The library asks for no alignment of the bias, so it expects its usual one. */
    return planning || alignment_of(product->bias) == ALIGNED;
}

static cublasStatus_t describe(const struct cuda_context *context, struct matmul_plan *plan)
{
    const struct matmul_key *key = &plan->key;
    cublasOperation_t left = key->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t right = key->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cublasComputeType_t compute = context->tf32 && key->dtype == DTYPE_F32
                                      ? CUBLAS_COMPUTE_32F_FAST_TF32
                                      : CUBLAS_COMPUTE_32F;
    cublasStatus_t error = cublasLtMatmulDescCreate(&plan->operation, compute, CUDA_R_32F);
    if (!error)
        error = cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &left,
                                               sizeof(left));
    if (!error)
        error = cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &right,
                                               sizeof(right));
    if (!error && key->bias)
        error = cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                               &epilogue, sizeof(epilogue));
    uint64_t n = (uint64_t)key->columns, m = (uint64_t)key->rows, k = (uint64_t)key->depth;
    cudaDataType_t type = type_of((enum dtype)key->dtype);
    if (!error)
        error = cublasLtMatrixLayoutCreate(&plan->left, type, key->transpose_b ? k : n,
                                           key->transpose_b ? n : k, key->b_stride);
    if (!error)
        error = cublasLtMatrixLayoutCreate(&plan->right, type, key->transpose_a ? m : k,
                                           key->transpose_a ? k : m, key->a_stride);
    if (!error)
        error = cublasLtMatrixLayoutCreate(&plan->out, type_of((enum dtype)key->out_dtype), n, m,
                                           key->out_stride);
    return error;
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t preference,
                             cublasLtMatmulPreferenceAttributes_t attribute, uint64_t number,
                             size_t size)
{
    uint32_t small = (uint32_t)number;
    return cublasLtMatmulPreferenceSetAttribute(
        preference, attribute, size == sizeof(small) ? (void *)&small : (void *)&number, size);
}

/* The library's first choice of algorithm. Sums of partial products are only taken in float32.
 * Memory that is not aligned as planned was given no workspace. */
static cublasStatus_t choose(struct matmul_plans *plans, struct matmul_plan *plan)
{
    const struct matmul_key *key = &plan->key;
    cublasLtMatmulPreference_t preference = plans->preference;
    bool aligned = key->a_align == ALIGNED && key->b_align == ALIGNED && key->out_align == ALIGNED;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t error = prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                  aligned ? WORKSPACE_MOST : 0, sizeof(uint64_t));
    if (!error)
        error = prefer(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                       CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, sizeof(uint32_t));
    if (!error)
        error = prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                       (uint64_t)key->b_align, sizeof(uint32_t));
    if (!error)
        error = prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                       (uint64_t)key->a_align, sizeof(uint32_t));
    if (!error)
        error = prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                       (uint64_t)key->out_align, sizeof(uint32_t));
    if (!error)
        error = prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                       (uint64_t)key->out_align, sizeof(uint32_t));
    if (!error)
        error =
            cublasLtMatmulAlgoGetHeuristic(plans->handle, plan->operation, plan->left, plan->right,
                                           plan->out, plan->out, preference, 1, &found, &count);
    if (error || count == 0)
        return error ? error : CUBLAS_STATUS_NOT_SUPPORTED;
    plan->algorithm = found.algo;
    plan->workspace = found.workspaceSize;
    return found.state;
}

/* Found or made; a product that the library refuses is remembered too. None is made during a
 * capture, where the library may refuse what it does elsewhere: NULL. */
static struct matmul_plan *plan_of(struct cuda_context *context, const struct matmul_key *key)
{
    struct matmul_plans *plans = context->plans;
    for (int i = 0; i < plans->count; i++)
        if (memcmp(&plans->plans[i].key, key, sizeof(*key)) == 0)
            return &plans->plans[i];
    if (context->capturing)
        return NULL;
    if (plans->count == PLANS_MOST)
        plans_clear(plans);
    struct matmul_plan plan = {.key = *key};
    plan.usable = describe(context, &plan) == CUBLAS_STATUS_SUCCESS &&
                  choose(plans, &plan) == CUBLAS_STATUS_SUCCESS;
    ARRAY_PUSH(plans->plans, plans->count, plans->capacity, plan);
    return &plans->plans[plans->count - 1];
}

/* Bytes that the library (cublasLt) needs beside its operands; 0 if it has no way to do it. */
static size_t workspace_of(struct cuda_context *context, const struct matrix_product *product)
{
    struct matmul_key key;
    const struct matmul_plan *plan = key_of(product, true, &key) ? plan_of(context, &key) : NULL;
    return plan && plan->usable ? plan->workspace : 0;
}

static cublasStatus_t queue(struct cuda_context *context, struct matmul_plan *plan,
                            const struct matrix_product *product, void *workspace)
{
    const float one = 1, zero = 0;
    cublasStatus_t error = CUBLAS_STATUS_SUCCESS;
    if (product->bias)
        error = cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                               &product->bias, sizeof(product->bias));
    if (!error)
        error = cublasLtMatmul(context->plans->handle, plan->operation, &one, product->b,
                               plan->left, product->a, plan->right, &zero, product->out, plan->out,
                               product->out, plan->out, &plan->algorithm, workspace,
                               plan->workspace, context->stream);
    return error;
}

static bool cuda_matmul_run(struct cuda_context *context, const struct matrix_product *product,
                            void *workspace, struct status *status)
{
    struct matmul_key key;
    bool known = key_of(product, false, &key);
    struct matmul_plan *plan = known ? plan_of(context, &key) : NULL;
    bool usable = plan && plan->usable;
    cublasStatus_t error =
        usable ? queue(context, plan, product, workspace) : CUBLAS_STATUS_NOT_SUPPORTED;
    if (context->capturing && (usable ? error != CUBLAS_STATUS_SUCCESS : known && !plan))
        return status_fail(status, STATUS_INTERNAL, "matmul: not captured"); /* as cuda_fail() */
    if (error == CUBLAS_STATUS_NOT_SUPPORTED) {
        if (plan)
            plan->usable = false; /* it may only say so now */
        return cuda_product_run(
            context, &(struct cuda_product){.matrix = *product, .op = OP_MATMUL}, status);
    }
    if (error == CUBLAS_STATUS_SUCCESS) {
        cudaError_t died = context->blocking ? cudaStreamSynchronize(context->stream) : cudaSuccess;
        return died ? cuda_fail(context, (int)died, "cublasLtMatmul", status) : true;
    }
    /* Whatever the library calls it: most likely an earlier kernel has died. */
    cudaError_t died = cudaStreamSynchronize(context->stream);
    if (died)
        return cuda_fail(context, (int)died, "matmul", status);
    return status_fail(status, STATUS_INTERNAL, "matmul: cuBLAS: %s",
                       cublasLtGetStatusString(error));
}

CUDA_WORKSPACE(matmul)
{
    struct matrix_product product = matrix_product_of(call);
    return workspace_of(context, &product);
}

CUDA_RUN(matmul)
{
    struct matrix_product product = matrix_product_of(call);
    return cuda_matmul_run(context, &product, call->workspace, status);
}
