/* Every gradient of the reference against central differences of its forward operation: for
 * random c, the gradient operation with dy = c is d/dx <c, f(x)>. Fresh random shapes and values
 * in each run. */
#include "helper_calls.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROUNDS = 12 };

/* One pair in one round: tensors that end with it. */
struct pair {
    struct random *random;
    struct op_call forward;
    struct tensor weights[OP_MAX_OUTPUTS]; /* c, for each output */
    struct tensor owned[32];
    int owned_count;
};

static struct tensor own(struct pair *pair, struct tensor tensor)
{
    assert_true(pair->owned_count < 32);
    return pair->owned[pair->owned_count++] = tensor;
}

static struct tensor normal(struct pair *pair, struct shape shape)
{
    return own(pair, helper_normal(pair->random, shape));
}

static struct tensor scalar(struct pair *pair, double number)
{
    return own(pair, helper_numbers(shape_of1(1), &number));
}

static struct tensor indices(struct pair *pair, struct shape shape)
{
    return own(pair, helper_indices(shape, NULL));
}

static int64_t any(struct pair *pair, int64_t low, int64_t high)
{
    return random_integer(pair->random, low, high);
}

/* Results of the forward call, and c for its first output. */
static void forward(struct pair *pair, struct tensor results[OP_MAX_OUTPUTS])
{
    struct op_call *call = &pair->forward;
    helper_run(call, results);
    for (int i = 0; i < call->output_count; i++)
        own(pair, results[i]);
    if (!pair->weights[0].data)
        pair->weights[0] = normal(pair, call->outputs[0].shape);
}

static struct tensor c(const struct pair *pair)
{
    return pair->weights[0];
}

/* Runs a gradient call and checks result `output` to be the gradient of forward input `input`. */
static void check(struct pair *pair, const struct op_call *gradient, int output, int input)
{
    struct tensor results[OP_MAX_OUTPUTS];
    helper_run(gradient, results);
    helper_check_gradient(&pair->forward, input, pair->weights, &results[output]);
    helper_free(results, gradient->output_count);
}

static void run_rounds(const char *name, void (*round)(struct pair *pair, int number))
{
    struct random random = random_start(name);
    for (int i = 0; i < ROUNDS; i++) {
        struct pair pair = {.random = &random};
        round(&pair, i);
        helper_free(pair.owned, pair.owned_count);
    }
}

static void round_embedding(struct pair *pair, int number)
{
    (void)number;
    struct tensor results[OP_MAX_OUTPUTS];
    int64_t tokens = any(pair, 1, 9), rows = any(pair, 1, 5), columns = any(pair, 1, 4);
    struct tensor index = indices(pair, shape_of1(tokens));
    for (int64_t t = 0; t < tokens; t++)
        ((int32_t *)index.data)[t] = (int32_t)any(pair, -2, rows + 4);
    struct op_call call = {.op = OP_EMBEDDING, .parameters.first_row = any(pair, 0, 2)};
    struct op_call gradient = {.op = OP_EMBEDDING_GRADIENT, .parameters = call.parameters};
    helper_input(&call, index);
    helper_input(&call, normal(pair, shape_of2(rows, columns)));
    helper_output(&call, DTYPE_F64, shape_of2(tokens, columns));
    pair->forward = call;
    forward(pair, results);
    helper_input(&gradient, index);
    helper_input(&gradient, c(pair));
    helper_output(&gradient, DTYPE_F64, shape_of2(rows, columns));
    check(pair, &gradient, 0, 1);
}

static void check_bias(struct pair *pair, int input)
{
    struct op_call gradient = {.op = OP_BIAS_GRADIENT};
    helper_input(&gradient, c(pair));
    helper_output(&gradient, DTYPE_F64, pair->forward.inputs[input].shape);
    check(pair, &gradient, 0, input);
}

static void round_add_bias(struct pair *pair, int number)
{
    (void)number;
    struct tensor results[OP_MAX_OUTPUTS];
    int64_t rows = any(pair, 1, 7), columns = any(pair, 1, 5);
    pair->forward.op = OP_ADD_BIAS;
    helper_input(&pair->forward, normal(pair, shape_of2(rows, columns)));
    helper_input(&pair->forward, normal(pair, shape_of1(columns)));
    helper_output(&pair->forward, DTYPE_F64, shape_of2(rows, columns));
    forward(pair, results);
    helper_check_gradient(&pair->forward, 0, pair->weights, &pair->weights[0]);
    check_bias(pair, 1);
}

static struct op_call product(struct tensor a, bool transpose_a, struct tensor b, bool transpose_b,
                              struct shape shape)
{
    struct op_call call = {.op = OP_MATMUL,
                           .parameters = {.transpose_a = transpose_a, .transpose_b = transpose_b}};
    helper_input(&call, a);
    helper_input(&call, b);
    helper_output(&call, DTYPE_F64, shape);
    return call;
}

/* The gradients of a product are products: of c with the other factor, on the side and in the
 * orientation that the transposes of the forward product ask for. */
static void round_matmul(struct pair *pair, int number)
{
    struct tensor results[OP_MAX_OUTPUTS];
    bool ta = number & 1, tb = number & 2;
    int64_t m = any(pair, 1, 7), k = any(pair, 1, 6), n = any(pair, 1, 5);
    struct tensor a = normal(pair, ta ? shape_of2(k, m) : shape_of2(m, k));
    struct tensor b = normal(pair, tb ? shape_of2(n, k) : shape_of2(k, n));
    pair->forward = product(a, ta, b, tb, shape_of2(m, n));
    if (number & 4)
        helper_input(&pair->forward, normal(pair, shape_of1(n)));
    forward(pair, results);
    struct op_call da =
        ta ? product(b, tb, c(pair), true, a.shape) : product(c(pair), false, b, !tb, a.shape);
    struct op_call db =
        tb ? product(c(pair), true, a, ta, b.shape) : product(a, !ta, c(pair), false, b.shape);
    check(pair, &da, 0, 0);
    check(pair, &db, 0, 1);
    if (number & 4)
        check_bias(pair, 2);
}

static void round_norm(struct pair *pair, int number)
{
    struct tensor results[OP_MAX_OUTPUTS];
    bool layer = number & 1;
    int64_t rows = any(pair, 1, 5), columns = any(pair, 1, 9);
    struct op_call call = {.op = layer ? OP_LAYER_NORM : OP_RMS_NORM,
                           .parameters.epsilon = random_uniform(pair->random, 0.1, 0.5)};
    struct op_call gradient = {.op = layer ? OP_LAYER_NORM_GRADIENT : OP_RMS_NORM_GRADIENT,
                               .parameters = call.parameters};
    struct tensor x = normal(pair, shape_of2(rows, columns)), w = normal(pair, shape_of1(columns));
    helper_input(&call, x);
    helper_input(&call, w);
    if (layer)
        helper_input(&call, normal(pair, shape_of1(columns)));
    helper_output(&call, DTYPE_F64, x.shape);
    helper_output(&call, DTYPE_F32, shape_of1(rows));
    if (layer)
        helper_output(&call, DTYPE_F32, shape_of1(rows));
    pair->forward = call;
    forward(pair, results);
    helper_input(&gradient, c(pair));
    helper_input(&gradient, x);
    helper_input(&gradient, w);
    helper_input(&gradient, results[1]);
    if (layer)
        helper_input(&gradient, results[2]);
    helper_output(&gradient, DTYPE_F64, x.shape);
    helper_output(&gradient, DTYPE_F64, w.shape);
    if (layer)
        helper_output(&gradient, DTYPE_F64, w.shape);
    for (int i = 0; i < gradient.output_count; i++)
        check(pair, &gradient, i, i);
}

static void round_rotary(struct pair *pair, int number)
{
    (void)number;
    struct tensor results[OP_MAX_OUTPUTS];
    int heads = (int)any(pair, 1, 3), size = 2 * (int)any(pair, 1, 4);
    int64_t rows = any(pair, 1, 5), first = any(pair, 0, 3), rest = any(pair, 0, 5);
    struct op_call call = {.op = OP_ROTARY,
                           .parameters = {.heads = heads, .head_size = size, .first_row = first}};
    struct op_call gradient = call;
    gradient.parameters.inverse = true;
    struct tensor table = normal(pair, shape_of2(first + rows + any(pair, 0, 2), size));
    helper_input(&call, normal(pair, shape_of2(rows, heads * size + rest)));
    helper_input(&call, table);
    helper_output(&call, DTYPE_F64, call.inputs[0].shape);
    pair->forward = call;
    forward(pair, results);
    helper_input(&gradient, c(pair));
    helper_input(&gradient, table);
    helper_output(&gradient, DTYPE_F64, call.inputs[0].shape);
    check(pair, &gradient, 0, 0);
}

/* Random documents: each token starts a new one with probability 1/4. */
static struct tensor documents(struct pair *pair, int64_t tokens)
{
    struct tensor starts = indices(pair, shape_of1(tokens));
    int32_t start = 0;
    for (int64_t i = 0; i < tokens; i++) {
        start = any(pair, 0, 3) ? start : (int32_t)i;
        ((int32_t *)starts.data)[i] = start;
    }
    return starts;
}

static void round_attention(struct pair *pair, int number)
{
    struct tensor results[OP_MAX_OUTPUTS];
    int groups = (int)any(pair, 1, 2), heads = groups * (int)any(pair, 1, 3);
    int size = (int)any(pair, 1, 4);
    int64_t tokens = any(pair, 1, 6), first = any(pair, 0, 3), keys = first + tokens;
    bool causal = number % 3 != 0;
    keys += causal ? 0 : any(pair, 0, 2);
    struct op_parameters parameters = {.scale = random_uniform(pair->random, 0.2, 1),
                                       .first_row = first,
                                       .window = causal ? any(pair, 0, 4) : 0,
                                       .heads = heads,
                                       .head_groups = groups,
                                       .head_size = size,
                                       .causal = causal};
    struct op_call call = {.op = OP_ATTENTION, .parameters = parameters};
    struct op_call gradient = {.op = OP_ATTENTION_GRADIENT, .parameters = parameters};
    helper_input(&call, normal(pair, shape_of2(tokens, heads * size)));
    helper_input(&call, normal(pair, shape_of2(keys, 2 * groups * size)));
    helper_input(&call, documents(pair, keys));
    helper_output(&call, DTYPE_F64, call.inputs[0].shape);
    helper_output(&call, DTYPE_F32, shape_of2(tokens, heads));
    pair->forward = call;
    forward(pair, results);
    helper_input(&gradient, c(pair));
    for (int i = 0; i < 3; i++)
        helper_input(&gradient, call.inputs[i]);
    helper_input(&gradient, results[0]);
    helper_input(&gradient, results[1]);
    helper_output(&gradient, DTYPE_F64, call.inputs[0].shape);
    helper_output(&gradient, DTYPE_F64, call.inputs[1].shape);
    check(pair, &gradient, 0, 0);
    check(pair, &gradient, 1, 1);
}

/* Away from zero, where relu has no derivative. */
static struct tensor away_from_zero(struct pair *pair, struct shape shape)
{
    struct tensor x = normal(pair, shape);
    for (int64_t i = 0; i < shape_elements(shape); i++)
        ((double *)x.data)[i] += ((double *)x.data)[i] < 0 ? -0.01 : 0.01;
    return x;
}

static void round_activation(struct pair *pair, int number)
{
    struct tensor results[OP_MAX_OUTPUTS];
    bool gated = number >= ACTIVATION_COUNT;
    enum activation activation = (enum activation)(number % ACTIVATION_COUNT);
    int64_t rows = any(pair, 1, 5), columns = any(pair, 1, 7);
    struct op_call call = {.op = gated ? OP_GATED_ACTIVATION : OP_ACTIVATION,
                           .parameters.activation = activation};
    struct op_call gradient = {.op = gated ? OP_GATED_ACTIVATION_GRADIENT : OP_ACTIVATION_GRADIENT,
                               .parameters.activation = activation};
    helper_input(&call, away_from_zero(pair, shape_of2(rows, gated ? 2 * columns : columns)));
    helper_output(&call, DTYPE_F64, shape_of2(rows, columns));
    pair->forward = call;
    forward(pair, results);
    helper_input(&gradient, c(pair));
    helper_input(&gradient, call.inputs[0]);
    helper_output(&gradient, DTYPE_F64, call.inputs[0].shape);
    check(pair, &gradient, 0, 0);
}

static void round_cross_entropy(struct pair *pair, int number)
{
    (void)number;
    struct tensor results[OP_MAX_OUTPUTS];
    int64_t tokens = any(pair, 1, 5), vocabulary = any(pair, 1, 7);
    struct tensor labels = indices(pair, shape_of1(tokens));
    for (int64_t t = 0; t < tokens; t++)
        ((int32_t *)labels.data)[t] = (int32_t)any(pair, -1, vocabulary - 1);
    struct op_call call = {.op = OP_CROSS_ENTROPY,
                           .parameters.factor = random_uniform(pair->random, 0.3, 2)};
    struct op_call gradient = {.op = OP_CROSS_ENTROPY_GRADIENT, .parameters = call.parameters};
    helper_input(&call, normal(pair, shape_of2(tokens, vocabulary)));
    helper_input(&call, labels);
    helper_input(&call, scalar(pair, (double)any(pair, 0, 5)));
    helper_output(&call, DTYPE_F32, shape_of1(1));
    helper_output(&call, DTYPE_F32, shape_of1(tokens));
    pair->forward = call;
    forward(pair, results);
    for (int i = 0; i < 3; i++)
        helper_input(&gradient, call.inputs[i]);
    helper_input(&gradient, results[1]);
    helper_input(&gradient, c(pair)); /* the scale: dy of the loss */
    helper_output(&gradient, DTYPE_F64, call.inputs[0].shape);
    check(pair, &gradient, 0, 0);
}

/* Logits with gaps between them, so that a small step never changes who is among the top k. */
static struct tensor spaced_logits(struct pair *pair, int64_t tokens, int64_t experts)
{
    struct tensor logits = normal(pair, shape_of2(tokens, experts));
    for (int64_t t = 0; t < tokens; t++) {
        double *row = (double *)logits.data + t * experts;
        for (int64_t e = 0; e < experts; e++) {
            int64_t other = any(pair, 0, e); /* a random order, built by insertion */
            row[e] = row[other];
            row[other] = 0.5 * (double)e + random_uniform(pair->random, 0, 0.4);
        }
    }
    return logits;
}

static void round_router(struct pair *pair, int number)
{
    (void)number;
    struct tensor results[OP_MAX_OUTPUTS], balance[OP_MAX_OUTPUTS];
    int64_t tokens = any(pair, 1, 6), experts = any(pair, 1, 6), k = any(pair, 1, experts);
    struct op_call call = {.op = OP_TOP_K}, gradient = {.op = OP_TOP_K_GRADIENT};
    helper_input(&call, spaced_logits(pair, tokens, experts));
    helper_output(&call, DTYPE_I32, shape_of2(tokens, k));
    helper_output(&call, DTYPE_F32, shape_of2(tokens, k));
    pair->weights[1] = normal(pair, shape_of2(tokens, k));
    pair->forward = call;
    forward(pair, results);
    pair->weights[0].data = NULL; /* indices have no gradient */
    helper_input(&gradient, pair->weights[1]);
    helper_input(&gradient, results[0]);
    helper_input(&gradient, results[1]);
    helper_output(&gradient, DTYPE_F64, call.inputs[0].shape);
    check(pair, &gradient, 0, 0);

    struct op_call loss = {.op = OP_LOAD_BALANCE};
    helper_input(&loss, call.inputs[0]);
    helper_input(&loss, results[0]);
    helper_output(&loss, DTYPE_F32, shape_of1(1));
    pair->forward = loss;
    pair->weights[0] = scalar(pair, random_normal(pair->random));
    forward(pair, balance);
    struct op_call back = {.op = OP_LOAD_BALANCE_GRADIENT, .parameters.factor = 0.25};
    helper_input(&back, loss.inputs[0]);
    helper_input(&back, loss.inputs[1]);
    helper_input(&back, scalar(pair, *(double *)c(pair).data / back.parameters.factor));
    helper_output(&back, DTYPE_F64, call.inputs[0].shape);
    check(pair, &back, 0, 0);
}

/* Rows and ends of random choices, as ROUTE_ROWS gives them. */
static void route(struct pair *pair, int64_t tokens, int64_t experts, int64_t k,
                  struct tensor routed[OP_MAX_OUTPUTS])
{
    struct op_call call = {.op = OP_ROUTE_ROWS};
    struct tensor chosen = indices(pair, shape_of2(tokens, k));
    for (int64_t i = 0; i < tokens * k; i++)
        ((int32_t *)chosen.data)[i] = (int32_t)any(pair, 0, experts - 1);
    helper_input(&call, chosen);
    helper_output(&call, DTYPE_I32, shape_of1(tokens * k));
    helper_output(&call, DTYPE_I32, shape_of1(experts));
    helper_run(&call, routed);
    own(pair, routed[0]);
    own(pair, routed[1]);
}

static void round_gather(struct pair *pair, int number)
{
    (void)number;
    struct tensor routed[OP_MAX_OUTPUTS], results[OP_MAX_OUTPUTS];
    int64_t tokens = any(pair, 1, 5), k = any(pair, 1, 3), columns = any(pair, 1, 4);
    struct op_call gradient = {.op = OP_GATHER_ROWS_GRADIENT};
    route(pair, tokens, any(pair, 1, 5), k, routed);
    pair->forward.op = OP_GATHER_ROWS;
    helper_input(&pair->forward, normal(pair, shape_of2(tokens, columns)));
    helper_input(&pair->forward, routed[0]);
    helper_output(&pair->forward, DTYPE_F64, shape_of2(tokens * k, columns));
    forward(pair, results);
    helper_input(&gradient, c(pair));
    helper_input(&gradient, routed[0]);
    helper_output(&gradient, DTYPE_F64, shape_of2(tokens, columns));
    check(pair, &gradient, 0, 0);
}

static void round_combine(struct pair *pair, int number)
{
    (void)number;
    struct tensor routed[OP_MAX_OUTPUTS], results[OP_MAX_OUTPUTS];
    int64_t tokens = any(pair, 1, 5), k = any(pair, 1, 3), columns = any(pair, 1, 4);
    struct op_call gradient = {.op = OP_COMBINE_ROWS_GRADIENT};
    route(pair, tokens, any(pair, 1, 5), k, routed);
    pair->forward.op = OP_COMBINE_ROWS;
    helper_input(&pair->forward, normal(pair, shape_of2(tokens * k, columns)));
    helper_input(&pair->forward, normal(pair, shape_of2(tokens, k)));
    helper_input(&pair->forward, routed[0]);
    helper_output(&pair->forward, DTYPE_F64, shape_of2(tokens, columns));
    forward(pair, results);
    helper_input(&gradient, c(pair));
    for (int i = 0; i < 3; i++)
        helper_input(&gradient, pair->forward.inputs[i]);
    helper_output(&gradient, DTYPE_F64, shape_of2(tokens * k, columns));
    helper_output(&gradient, DTYPE_F32, shape_of2(tokens, k));
    check(pair, &gradient, 0, 0);
    check(pair, &gradient, 1, 1);
}

/* More experts than rows in most rounds, so that some have none. */
static void round_grouped(struct pair *pair, int number)
{
    struct tensor routed[OP_MAX_OUTPUTS], results[OP_MAX_OUTPUTS];
    bool transpose = number & 1;
    int64_t rows = any(pair, 1, 6), experts = any(pair, 1, 5);
    int64_t inner = any(pair, 1, 4), columns = any(pair, 1, 4);
    route(pair, rows, experts, 1, routed);
    struct tensor x = normal(pair, shape_of2(rows, inner));
    struct tensor weight = normal(pair, transpose ? shape_of2(experts * columns, inner)
                                                  : shape_of2(experts * inner, columns));
    struct op_call call = {.op = OP_GROUPED_MATMUL, .parameters.transpose_b = transpose};
    helper_input(&call, x);
    helper_input(&call, weight);
    helper_input(&call, routed[1]);
    helper_output(&call, DTYPE_F64, shape_of2(rows, columns));
    pair->forward = call;
    forward(pair, results);
    struct op_call dx = {.op = OP_GROUPED_MATMUL, .parameters.transpose_b = !transpose};
    helper_input(&dx, c(pair));
    helper_input(&dx, weight);
    helper_input(&dx, routed[1]);
    helper_output(&dx, DTYPE_F64, x.shape);
    check(pair, &dx, 0, 0);
    struct op_call dweight = {.op = OP_GROUPED_MATMUL_GRADIENT};
    helper_input(&dweight, transpose ? c(pair) : x);
    helper_input(&dweight, transpose ? x : c(pair));
    helper_input(&dweight, routed[1]);
    helper_output(&dweight, DTYPE_F64, weight.shape);
    check(pair, &dweight, 0, 1);
}

#define TEST_OF(name)                                                                              \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_rounds(#name, round_##name);                                                           \
    }
TEST_OF(embedding)
TEST_OF(add_bias)
TEST_OF(matmul)
TEST_OF(norm)
TEST_OF(rotary)
TEST_OF(attention)
TEST_OF(activation)
TEST_OF(cross_entropy)
TEST_OF(router)
TEST_OF(gather)
TEST_OF(combine)
TEST_OF(grouped)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedding),  cmocka_unit_test(test_add_bias),
        cmocka_unit_test(test_matmul),     cmocka_unit_test(test_norm),
        cmocka_unit_test(test_rotary),     cmocka_unit_test(test_attention),
        cmocka_unit_test(test_activation), cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_router),     cmocka_unit_test(test_gather),
        cmocka_unit_test(test_combine),    cmocka_unit_test(test_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
