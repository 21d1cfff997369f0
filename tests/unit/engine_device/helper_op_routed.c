/* Cases of the operations between a router and its experts. */
#include "helper_op_cases.h"

#include <stdlib.h>

static int64_t any(struct op_case *it, int64_t low, int64_t high)
{
    return random_integer(it->random, low, high);
}

/* k different experts for each token; only some of all experts, so that others have no rows. */
static void fill_choices(struct op_case *it, struct tensor *chosen, int64_t experts)
{
    int64_t k = shape_columns(chosen->shape), used = any(it, k, experts);
    for (int64_t t = 0; t < chosen->shape.dims[0]; t++) {
        int64_t first = any(it, 0, used - 1), step = any(it, 0, 1) ? 1 : used - 1;
        for (int64_t i = 0; i < k; i++)
            tensor_store(chosen, t * k + i, (double)((first + i * step) % used));
    }
}

/* Random choices and what ROUTE_ROWS makes of them; the caller frees. */
static void route(struct op_case *it, int64_t tokens, int64_t experts, int64_t k,
                  struct tensor routed[OP_MAX_OUTPUTS])
{
    struct tensor chosen =
        tensor_of(malloc((size_t)(tokens * k) * sizeof(int32_t)), DTYPE_I32, shape_of2(tokens, k));
    fill_choices(it, &chosen, experts);
    op_case_reference(it, OP_ROUTE_ROWS, &chosen, 1,
                      (const struct shape[]){shape_of1(tokens * k), shape_of1(experts)}, 2, routed);
    free(chosen.data);
}

/* Logits of which many are equal: values on a coarse grid, exact in every type. */
static struct tensor *logits_with_ties(struct op_case *it, struct shape shape)
{
    struct tensor *logits = op_case_normal_input(it, DTYPE_COUNT, shape);
    if (any(it, 0, 1))
        for (int64_t i = 0; i < shape_elements(shape); i++)
            tensor_store(logits, i, 0.5 * (double)any(it, -4, 4));
    return logits;
}

static void make_router(struct op_case *it, enum op op)
{
    int64_t tokens = op_case_size(it), experts = any(it, 0, 3) ? any(it, 1, 16) : any(it, 17, 130);
    int64_t k = any(it, 1, experts < 8 ? experts : 8);
    struct shape shape = shape_of2(tokens, experts), chosen = shape_of2(tokens, k);
    struct tensor *scores;
    it->call.parameters.factor = random_uniform(it->random, 0.01, 2);
    switch (op) {
    case OP_TOP_K:
        logits_with_ties(it, shape);
        op_case_output(it, DTYPE_I32, chosen);
        op_case_output(it, DTYPE_F32, chosen);
        return;
    case OP_TOP_K_GRADIENT:
        op_case_normal_input(it, DTYPE_F32, chosen);
        fill_choices(it, op_case_input(it, DTYPE_I32, chosen), experts);
        scores = op_case_input(it, DTYPE_F32, chosen);
        for (int64_t i = 0; i < tokens * k; i++)
            tensor_store(scores, i, random_uniform(it->random, 0, 2 / (double)k));
        op_case_output(it, DTYPE_COUNT, shape);
        return;
    case OP_LOAD_BALANCE:
    case OP_LOAD_BALANCE_GRADIENT:
        op_case_normal_input(it, DTYPE_COUNT, shape);
        fill_choices(it, op_case_input(it, DTYPE_I32, chosen), experts);
        if (op == OP_LOAD_BALANCE) {
            op_case_output(it, DTYPE_F32, shape_of1(1));
            return;
        }
        tensor_store(op_case_input(it, DTYPE_F64, shape_of1(1)), 0,
                     random_uniform(it->random, 0.5, 100));
        op_case_output(it, DTYPE_COUNT, shape);
        return;
    default: /* ROUTE_ROWS */
        fill_choices(it, op_case_input(it, DTYPE_I32, chosen), experts);
        op_case_output(it, DTYPE_I32, shape_of1(tokens * k));
        op_case_output(it, DTYPE_I32, shape_of1(experts));
    }
}

static void make_moved_rows(struct op_case *it, enum op op)
{
    int64_t tokens = op_case_size(it), k = any(it, 1, 4), columns = op_case_size(it);
    struct shape few = shape_of2(tokens, columns), many = shape_of2(tokens * k, columns);
    struct shape scores = shape_of2(tokens, k);
    struct tensor routed[OP_MAX_OUTPUTS];
    route(it, tokens, k + any(it, 0, 6), k, routed);
    free(routed[1].data);
    if (op == OP_GATHER_ROWS || op == OP_COMBINE_ROWS_GRADIENT)
        op_case_normal_input(it, DTYPE_COUNT, few);
    if (op != OP_GATHER_ROWS)
        op_case_normal_input(it, DTYPE_COUNT, many);
    if (op == OP_COMBINE_ROWS || op == OP_COMBINE_ROWS_GRADIENT)
        op_case_normal_input(it, DTYPE_F32, scores);
    op_case_take(op_case_input(it, DTYPE_I32, shape_of1(tokens * k)), &routed[0]);
    bool from_few = op == OP_GATHER_ROWS || op == OP_COMBINE_ROWS_GRADIENT;
    op_case_output(it, DTYPE_COUNT, from_few ? many : few);
    if (op == OP_COMBINE_ROWS_GRADIENT)
        op_case_output(it, DTYPE_F32, scores);
}

static void make_grouped(struct op_case *it, enum op op)
{
    int64_t experts = any(it, 1, 8), k = any(it, 1, experts < 2 ? experts : 2);
    int64_t rows = op_case_size(it) * k, m = op_case_size(it), inner = op_case_size(it);
    bool transpose = any(it, 0, 1);
    struct tensor routed[OP_MAX_OUTPUTS];
    route(it, rows / k, experts, k, routed);
    free(routed[0].data);
    if (op == OP_GROUPED_MATMUL_GRADIENT) {
        op_case_normal_input(it, DTYPE_COUNT, shape_of2(rows, m));
        op_case_normal_input(it, DTYPE_COUNT, shape_of2(rows, inner));
        op_case_output(it, DTYPE_COUNT, shape_of2(experts * m, inner));
    } else {
        it->call.parameters.transpose_b = transpose;
        op_case_normal_input(it, DTYPE_COUNT, shape_of2(rows, inner));
        op_case_normal_input(it, DTYPE_COUNT,
                             transpose ? shape_of2(experts * m, inner)
                                       : shape_of2(experts * inner, m));
        op_case_output(it, DTYPE_COUNT, shape_of2(rows, m));
    }
    op_case_take(op_case_input(it, DTYPE_I32, shape_of1(experts)), &routed[1]);
}

bool op_case_is_routed(enum op op)
{
    return op >= OP_TOP_K && op <= OP_COMBINE_ROWS_GRADIENT;
}

void op_case_make_routed(struct op_case *it, enum op op)
{
    if (op <= OP_ROUTE_ROWS)
        make_router(it, op);
    else if (op == OP_GROUPED_MATMUL || op == OP_GROUPED_MATMUL_GRADIENT)
        make_grouped(it, op);
    else
        make_moved_rows(it, op);
}
