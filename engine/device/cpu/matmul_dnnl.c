/* bf16 products through oneDNN, which uses AMX or AVX-512 BF16. Making a primitive costs a
 * millisecond (it writes code), so they are kept by shape as long as the device is open. */
#include "engine/device/cpu/cpu.h"

#include "engine/base/memory.h"

#include <stdlib.h>

#ifdef LOCKSTEP_HAVE_DNNL

#include <oneapi/dnnl/dnnl.h>

enum { CACHE_MOST = 1024 };

struct key {
    int64_t rows, columns, depth, a_stride, b_stride, out_stride;
    int64_t transpose_a, transpose_b, bias_dtype, out_dtype; /* bias_dtype -1: none */
};

struct entry {
    struct key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, bias, out, scratch;
    size_t scratch_bytes;
    bool usable; /* false: oneDNN has no such product; kept so as not to ask again */
};

struct matmul_cache {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *entries;
    int count, capacity;
};

struct matmul_cache *matmul_cache_open(void)
{
    /* Without bf16 instructions oneDNN emulates them: widening and sgemm are faster. */
    if ((dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) !=
        dnnl_cpu_isa_avx512_core_bf16)
        return NULL;
    struct matmul_cache *cache = memory_zeroed(1, sizeof(*cache));
    if (dnnl_engine_create(&cache->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&cache->stream, cache->engine, dnnl_stream_default_flags) !=
            dnnl_success) {
        matmul_cache_close(cache);
        return NULL;
    }
    return cache;
}

static void entry_free(struct entry *entry)
{
    dnnl_memory_t memories[] = {entry->a, entry->b, entry->bias, entry->out, entry->scratch};
    for (int i = 0; i < ARRAY_LENGTH(memories); i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (entry->primitive)
        dnnl_primitive_destroy(entry->primitive);
}

void matmul_cache_close(struct matmul_cache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < cache->count; i++)
        entry_free(&cache->entries[i]);
    free(cache->entries);
    if (cache->stream)
        dnnl_stream_destroy(cache->stream);
    if (cache->engine)
        dnnl_engine_destroy(cache->engine);
    free(cache);
}

static bool matrix_descriptor(dnnl_memory_desc_t *descriptor, int64_t rows, int64_t columns,
                              int64_t stride, bool transposed, enum dtype dtype)
{
    dnnl_dims_t dims = {rows, columns};
    dnnl_dims_t strides = {transposed ? 1 : stride, transposed ? stride : 1};
    return dnnl_memory_desc_init_by_strides(descriptor, 2, dims,
                                            dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32,
                                            strides) == dnnl_success;
}

static bool make_memory(struct matmul_cache *cache, dnnl_memory_t *memory,
                        const dnnl_memory_desc_t *descriptor)
{
    return dnnl_memory_create(memory, descriptor, cache->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

/* The primitive descriptor with its scratch memory left to us; NULL if there is none. */
static dnnl_primitive_desc_t describe(struct matmul_cache *cache, const dnnl_matmul_desc_t *matmul)
{
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t description = NULL;
    if (dnnl_primitive_attr_create(&attributes) != dnnl_success)
        return NULL;
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (dnnl_primitive_desc_create(&description, matmul, attributes, cache->engine, NULL) !=
        dnnl_success)
        description = NULL;
    dnnl_primitive_attr_destroy(attributes);
    return description;
}

static bool build(struct matmul_cache *cache, const struct matrix_product *p, struct entry *entry)
{
    dnnl_memory_desc_t a, b, bias, out;
    dnnl_matmul_desc_t matmul;
    if (!matrix_descriptor(&a, p->rows, p->depth, p->a_stride, p->transpose_a, DTYPE_BF16) ||
        !matrix_descriptor(&b, p->depth, p->columns, p->b_stride, p->transpose_b, DTYPE_BF16) ||
        !matrix_descriptor(&out, p->rows, p->columns, p->out_stride, false, p->out_dtype) ||
        !matrix_descriptor(&bias, 1, p->columns, p->columns, false, p->bias_dtype) ||
        dnnl_matmul_desc_init(&matmul, &a, &b, p->bias ? &bias : NULL, &out) != dnnl_success)
        return false;
    dnnl_primitive_desc_t description = describe(cache, &matmul);
    if (!description)
        return false;
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    entry->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    bool made = dnnl_primitive_create(&entry->primitive, description) == dnnl_success &&
                make_memory(cache, &entry->a, &a) && make_memory(cache, &entry->b, &b) &&
                make_memory(cache, &entry->out, &out) &&
                make_memory(cache, &entry->scratch, scratch) &&
                (!p->bias || make_memory(cache, &entry->bias, &bias));
    dnnl_primitive_desc_destroy(description);
    return made;
}

static struct entry *find(struct matmul_cache *cache, const struct matrix_product *p)
{
    struct key key = {p->rows,        p->columns,     p->depth,
                      p->a_stride,    p->b_stride,    p->out_stride,
                      p->transpose_a, p->transpose_b, p->bias ? (int64_t)p->bias_dtype : -1,
                      p->out_dtype};
    for (int i = 0; i < cache->count; i++)
        if (memcmp(&cache->entries[i].key, &key, sizeof(key)) == 0)
            return &cache->entries[i];
    if (cache->count >= CACHE_MOST) /* shapes that never repeat: start again */
        while (cache->count > 0)
            entry_free(&cache->entries[--cache->count]);
    struct entry entry = {.key = key};
    entry.usable = build(cache, p, &entry);
    ARRAY_PUSH(cache->entries, cache->count, cache->capacity, entry);
    return &cache->entries[cache->count - 1];
}

bool matmul_cache_plan(struct matmul_cache *cache, const struct matrix_product *product,
                       size_t *workspace)
{
    struct entry *entry = find(cache, product);
    *workspace = entry->scratch_bytes;
    return entry->usable;
}

bool matmul_cache_run(struct matmul_cache *cache, const struct matrix_product *product,
                      void *workspace, struct status *status)
{
    struct entry *entry = find(cache, product);
    dnnl_exec_arg_t arguments[5] = {{DNNL_ARG_SRC, entry->a},
                                    {DNNL_ARG_WEIGHTS, entry->b},
                                    {DNNL_ARG_DST, entry->out},
                                    {DNNL_ARG_SCRATCHPAD, entry->scratch},
                                    {DNNL_ARG_BIAS, entry->bias}};
    /* oneDNN's handles are not const; sources are only read. */
    dnnl_memory_set_data_handle(entry->a, (void *)(uintptr_t)product->a);
    dnnl_memory_set_data_handle(entry->b, (void *)(uintptr_t)product->b);
    dnnl_memory_set_data_handle(entry->out, product->out);
    dnnl_memory_set_data_handle(entry->scratch, workspace);
    if (product->bias)
        dnnl_memory_set_data_handle(entry->bias, (void *)(uintptr_t)product->bias);
    dnnl_status_t result =
        dnnl_primitive_execute(entry->primitive, cache->stream, product->bias ? 5 : 4, arguments);
    if (result == dnnl_success)
        result = dnnl_stream_wait(cache->stream);
    if (result != dnnl_success)
        return status_fail(status, STATUS_INTERNAL, "oneDNN matmul failed with code %d",
                           (int)result);
    return true;
}

#else

struct matmul_cache *matmul_cache_open(void)
{
    return NULL;
}

void matmul_cache_close(struct matmul_cache *cache)
{
    (void)cache;
}

bool matmul_cache_plan(struct matmul_cache *cache, const struct matrix_product *product,
                       size_t *workspace)
{
    (void)cache;
    (void)product;
    *workspace = 0;
    return false;
}

bool matmul_cache_run(struct matmul_cache *cache, const struct matrix_product *product,
                      void *workspace, struct status *status)
{
    (void)cache;
    (void)product;
    (void)workspace;
    return status_fail(status, STATUS_UNSUPPORTED, "this build has no oneDNN");
}

#endif
