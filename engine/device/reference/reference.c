/* The float64 reference as a device, and as a function on the tensors of any device. */
#include "engine/device/device.h"

#include "engine/base/memory.h"
#include "engine/device/reference/kernels.h"

#include <stdlib.h>
#include <string.h>

struct kernel {
    bool (*run)(const struct op_call *call, struct status *status);
};

static const struct kernel kernels[OP_COUNT] = {
#define REFERENCE_ENTRY(function, kind) [OP_##kind] = {reference_##function},
    REFERENCE_KERNELS(REFERENCE_ENTRY)
#undef REFERENCE_ENTRY
};

/* Types of the operands, inputs then outputs: f = f64, i = i32, * = any but another float. */
static const char *operand_types(enum op op)
{
    switch (op) {
    case OP_FILL:
        return "*";
    case OP_COPY:
    case OP_SLICE_ROWS:
        return "**";
    case OP_WRITE_ROWS:
        return "***";
    case OP_EMBEDDING:
    case OP_EMBEDDING_GRADIENT:
        return "iff";
    case OP_ATTENTION:
        return "ffiff";
    case OP_ATTENTION_GRADIENT:
        return "fffiffff";
    case OP_CROSS_ENTROPY:
        return "fifff";
    case OP_CROSS_ENTROPY_GRADIENT:
        return "fiffff";
    case OP_CROSS_ENTROPY_PART:
        return "fiff";
    case OP_CROSS_ENTROPY_PARALLEL:
        return "fifffff";
    case OP_TOP_K:
        return "fif";
    case OP_TOP_K_GRADIENT:
        return "fiff";
    case OP_LOAD_BALANCE:
        return "fif";
    case OP_LOAD_BALANCE_GRADIENT:
        return "fiff";
    case OP_ROUTE_ROWS:
        return "iii";
    case OP_GATHER_ROWS:
    case OP_GATHER_ROWS_GRADIENT:
        return "fif";
    case OP_GROUPED_MATMUL:
    case OP_GROUPED_MATMUL_GRADIENT:
        return "ffif";
    case OP_COMBINE_ROWS:
        return "ffif";
    case OP_COMBINE_ROWS_GRADIENT:
        return "fffiff";
    default:
        return "fffffffff";
    }
}

static bool has_type(const struct tensor *tensor, char type)
{
    if (type == 'f')
        return tensor->dtype == DTYPE_F64;
    if (type == 'i')
        return tensor->dtype == DTYPE_I32;
    return tensor->dtype == DTYPE_F64 || !dtype_is_float(tensor->dtype);
}

/* The operand that the reference cannot take, or NULL. */
static const struct tensor *find_wrong_operand(const struct op_call *call)
{
    const char *types = operand_types(call->op);
    for (int i = 0; i < call->input_count; i++)
        if (!has_type(&call->inputs[i], *types++))
            return &call->inputs[i];
    for (int i = 0; i < call->output_count; i++)
        if (!has_type(&call->outputs[i], *types++))
            return &call->outputs[i];
    return NULL;
}

static bool supports(void *context, const struct op_call *call)
{
    (void)context;
    return kernels[call->op].run && !find_wrong_operand(call);
}

static bool run(void *context, const struct op_call *call, struct status *status)
{
    (void)context;
    if (!kernels[call->op].run)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s is not supported on the reference device", op_name(call->op));
    const struct tensor *wrong = find_wrong_operand(call);
    if (wrong)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s with an operand of type %s is not supported on the reference "
                           "device: floats are f64, indices i32",
                           op_name(call->op), dtype_name(wrong->dtype));
    bool ok = kernels[call->op].run(call, status);
    /* An interrupt stays: if it is not there now, no part of the kernel was left out. */
    if (ok && interrupt_asked(call->interrupt))
        return interrupt_fail(status);
    return ok;
}

static bool open_device(void **context, const struct device_options *options, struct status *status)
{
    (void)options;
    (void)status;
    *context = NULL; /* no state */
    return true;
}

static void close_device(void *context)
{
    (void)context;
}

static bool allocate(void *context, size_t bytes, void **memory, struct status *status)
{
    (void)context;
    void *block = NULL;
    if (posix_memalign(&block, 64, bytes ? bytes : 1) != 0)
        return status_fail(status, STATUS_MEMORY, "no host memory for %zu bytes", bytes);
    *memory = block;
    return true;
}

static void release(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(memory);
}

static bool upload(void *context, void *to, const void *host, size_t bytes, struct status *status)
{
    (void)context;
    (void)status;
    memcpy(to, host, bytes);
    return true;
}

static bool download(void *context, void *host, const void *from, size_t bytes,
                     struct status *status)
{
    return upload(context, host, from, bytes, status);
}

const struct device_ops device_reference = {
    .name = "reference",
    .open = open_device,
    .close = close_device,
    .supports = supports,
    .run = run,
    .allocate = allocate,
    .release = release,
    .upload = upload,
    .download = download,
    .host_memory = true,
};

/* A contiguous tensor of the same shape, f64 if `like` is a float; not filled. */
static bool allocate_like(struct tensor *tensor, const struct tensor *like, struct status *status)
{
    char buffer[80];
    enum dtype dtype = dtype_is_float(like->dtype) ? DTYPE_F64 : like->dtype;
    void *data = memory_try((size_t)shape_elements(like->shape), dtype_size(dtype));
    if (!data)
        return status_fail(status, STATUS_MEMORY, "no memory for a %s tensor %s", dtype_name(dtype),
                           shape_text(like->shape, buffer));
    *tensor = tensor_of(data, dtype, like->shape);
    return true;
}

static bool copy_input(struct tensor *copy, const struct tensor *from,
                       const struct interrupt *interrupt, struct status *status)
{
    if (!allocate_like(copy, from, status))
        return false;
    size_t columns = (size_t)shape_columns(from->shape);
    for (int64_t i = 0; i < from->shape.dims[0] && !interrupt_asked(interrupt); i++)
        dtype_convert(
            (char *)copy->data + (size_t)i * columns * dtype_size(copy->dtype), copy->dtype,
            (const char *)from->data + (size_t)(i * from->row_stride) * dtype_size(from->dtype),
            from->dtype, columns);
    return true;
}

bool reference_run(const struct op_call *call, struct tensor results[OP_MAX_OUTPUTS],
                   struct status *status)
{
    struct op_call wide = *call;
    bool done = true;
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        wide.inputs[i].data = NULL;
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        wide.outputs[i].data = NULL;
    for (int i = 0; done && i < call->input_count; i++)
        done = copy_input(&wide.inputs[i], &call->inputs[i], call->interrupt, status);
    for (int i = 0; done && i < call->output_count; i++)
        done = allocate_like(&wide.outputs[i], &call->outputs[i], status);
    done = done && run(NULL, &wide, status);
    for (int i = 0; i < call->input_count; i++)
        free(wide.inputs[i].data);
    for (int i = 0; i < call->output_count; i++) {
        if (done)
            results[i] = wide.outputs[i];
        else
            free(wide.outputs[i].data);
    }
    return done;
}
