/* How far a result may be from the float64 reference.
 *
 * An element is the sum or product of rounded numbers: with n terms of float32 arithmetic its
 * error is at most about n * 2^-24 * S, where S is the same expression with each term replaced by
 * its magnitude, so that nothing cancels (Higham, Accuracy and Stability of Numerical Algorithms,
 * section 3.1). Then it is rounded once to the output's type: half a unit in its last place. The
 * functions here compute S, element by element. For operations that are linear or polynomial with
 * positive coefficients, S is the operation itself on absolute values. For n stands the largest
 * dimension of the operands, and 16 more for exp, tanh, square roots and their arguments. */
#include "helper_op_cases.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double load(const struct op_case *it, int input, int64_t index)
{
    return tensor_load(&it->call.inputs[input], index);
}

static int64_t rows_of(const struct op_case *it, int input)
{
    return it->call.inputs[input].shape.dims[0];
}

static int64_t columns_of(const struct op_case *it, int input)
{
    return shape_columns(it->call.inputs[input].shape);
}

/* S = the operation on absolute values. */
static void absolute(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    struct op_call call = it->call;
    struct tensor results[OP_MAX_OUTPUTS];
    call.parameters.factor = fabs(call.parameters.factor);
    call.parameters.value = fabs(call.parameters.value);
    for (int i = 0; i < call.input_count; i++) {
        struct tensor *input = &call.inputs[i];
        if (!dtype_is_float(input->dtype))
            continue;
        int64_t count = shape_elements(input->shape);
        double *numbers = memory_zeroed((size_t)count, sizeof(double));
        for (int64_t j = 0; j < count; j++)
            numbers[j] = fabs(tensor_load(input, j));
        *input = tensor_of(numbers, DTYPE_F64, input->shape);
    }
    bool done = reference_run(&call, results, NULL);
    for (int i = 0; i < call.input_count; i++)
        if (call.inputs[i].data != it->call.inputs[i].data)
            free(call.inputs[i].data);
    for (int i = 0; done && i < call.output_count; i++) {
        double *to = scales[i].data;
        for (int64_t j = 0; j < shape_elements(results[i].shape); j++)
            to[j] = fmax(to[j], tensor_load(&results[i], j));
        free(results[i].data);
    }
}

/* Without the minus signs of the turn: the larger of the two directions. */
static void rotary(struct op_case it, struct tensor scales[OP_MAX_OUTPUTS])
{
    absolute(&it, scales);
    it.call.parameters.inverse = !it.call.parameters.inverse;
    absolute(&it, scales);
}

/* n = (x - mean) inverse has an error of (|x| + |mean|) inverse, and the variance one of that
 * squared, relative to itself. The mean of a root mean square norm is 0. */
static void norm(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                 struct tensor scales[OP_MAX_OUTPUTS])
{
    bool layer = it->call.op == OP_LAYER_NORM;
    int64_t columns = columns_of(it, 0);
    double *y = scales[0].data, *means = scales[1].data, *inverses = scales[layer ? 2 : 1].data;
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double mean = layer ? tensor_load(&wanted[1], t) : 0, magnitude = 0, largest = 0;
        double inverse = tensor_load(&wanted[layer ? 2 : 1], t);
        for (int64_t j = 0; j < columns; j++) {
            magnitude += fabs(load(it, 0, t * columns + j)) / (double)columns;
            largest = fmax(largest, fabs(load(it, 0, t * columns + j)));
        }
        double spread = (largest + fabs(mean)) * inverse;
        double relative = layer ? 1 + spread * spread : 1;
        for (int64_t j = 0; j < columns; j++) {
            double n = (fabs(load(it, 0, t * columns + j)) + fabs(mean)) * inverse;
            y[t * columns + j] = n * relative * fabs(load(it, 1, j));
            y[t * columns + j] += layer ? fabs(load(it, 2, j)) : 0;
        }
        if (layer)
            means[t] = magnitude;
        inverses[t] = inverse * relative;
    }
}

/* dx = inverse (g - mean(g) - n mean(g n)), dw = sum dy n, db = sum dy. */
static void norm_gradient(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    bool layer = it->call.op == OP_LAYER_NORM_GRADIENT;
    int64_t columns = columns_of(it, 0);
    double *dx = scales[0].data, *dw = scales[1].data, *db = scales[2].data;
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double mean = layer ? load(it, 3, t) : 0, inverse = load(it, layer ? 4 : 3, t);
        double g_mean = 0, gn_mean = 0;
        for (int64_t j = 0; j < columns; j++) {
            double n = (fabs(load(it, 1, t * columns + j)) + fabs(mean)) * inverse;
            double dy = fabs(load(it, 0, t * columns + j)), g = dy * fabs(load(it, 2, j));
            g_mean += g / (double)columns;
            gn_mean += g * n / (double)columns;
            dw[j] += dy * n;
            if (layer)
                db[j] += dy;
        }
        for (int64_t j = 0; j < columns; j++) {
            double n = (fabs(load(it, 1, t * columns + j)) + fabs(mean)) * inverse;
            double g = fabs(load(it, 0, t * columns + j)) * fabs(load(it, 2, j));
            dx[t * columns + j] = inverse * (g + g_mean + n * gn_mean);
        }
    }
}

/* The parts of attention that a bound needs, for query t of head h and key j. */
struct pair {
    int64_t q, k, v;  /* indices of the first elements in q and kv */
    double magnitude; /* of the score: scale * sum |q k| */
    double weight;    /* the probability */
    bool seen;
};

static struct pair pair_of(const struct op_case *it, int q, double lse, int64_t t, int64_t h,
                           int64_t j)
{
    const struct op_parameters *by = &it->call.parameters;
    int64_t d = by->head_size, group = h / (by->heads / by->head_groups), p = by->first_row + t;
    struct pair pair = {.q = (t * by->heads + h) * d,
                        .k = (j * 2 * by->head_groups + group) * d,
                        .v = ((j * 2 + 1) * by->head_groups + group) * d};
    pair.seen = load(it, q + 2, j) == load(it, q + 2, p);
    if (by->causal)
        pair.seen = pair.seen && j <= p && (!by->window || j > p - by->window);
    double score = 0;
    for (int64_t i = 0; pair.seen && i < d; i++) {
        double product = by->scale * load(it, q, pair.q + i) * load(it, q + 1, pair.k + i);
        score += product;
        pair.magnitude += fabs(product);
    }
    pair.weight = pair.seen ? exp(score - lse) : 0;
    return pair;
}

/* An error e of a score is a relative error e of its weight. */
static void attention(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                      struct tensor scales[OP_MAX_OUTPUTS])
{
    const struct op_parameters *by = &it->call.parameters;
    double *o = scales[0].data, *lses = scales[1].data;
    for (int64_t row = 0; row < rows_of(it, 0) * by->heads; row++) {
        int64_t t = row / by->heads, h = row % by->heads;
        double lse = tensor_load(&wanted[1], row), largest = 0;
        for (int64_t j = 0; j < rows_of(it, 1); j++)
            largest = fmax(largest, pair_of(it, 0, lse, t, h, j).magnitude);
        for (int64_t j = 0; j < rows_of(it, 1); j++) {
            struct pair pair = pair_of(it, 0, lse, t, h, j);
            for (int64_t i = 0; pair.seen && i < by->head_size; i++)
                o[pair.q + i] += pair.weight * fabs(load(it, 1, pair.v + i)) * (1 + 2 * largest);
        }
        lses[row] = fabs(lse) + largest + 1;
    }
}

/* dv = p do, ds = p (do.v - do.o), dq = scale ds k, dk = scale ds q, with p = exp(s - lse). */
static void attention_gradient(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    const struct op_parameters *by = &it->call.parameters;
    double *dq = scales[0].data, *dkv = scales[1].data;
    for (int64_t row = 0; row < rows_of(it, 1) * by->heads; row++) {
        double lse = load(it, 5, row);
        for (int64_t j = 0; j < rows_of(it, 2); j++) {
            struct pair pair = pair_of(it, 1, lse, row / by->heads, row % by->heads, j);
            double weight = pair.weight * (1 + pair.magnitude + fabs(lse)), slope = 0;
            for (int64_t i = 0; i < by->head_size; i++)
                slope += fabs(load(it, 0, pair.q + i)) *
                         (fabs(load(it, 2, pair.v + i)) + fabs(load(it, 4, pair.q + i)));
            for (int64_t i = 0; pair.seen && i < by->head_size; i++) {
                dkv[pair.v + i] += weight * fabs(load(it, 0, pair.q + i));
                dkv[pair.k + i] += by->scale * weight * slope * fabs(load(it, 1, pair.q + i));
                dq[pair.q + i] += by->scale * weight * slope * fabs(load(it, 2, pair.k + i));
            }
        }
    }
}

/* Bounds of |f(x)| and |f'(x)| as sums of the magnitudes of what they are computed from: the
 * tails of gelu are differences, 1 - tanh^2 times a cubic. */
static double value_scale(enum activation activation, double x)
{
    if (activation == ACTIVATION_SQUARED_RELU)
        return x * x;
    return fabs(x) + (activation == ACTIVATION_SIGMOID ? 1 : 0);
}

static double slope_scale(double x)
{
    return 1 + 2 * fabs(x) + 0.1 * fabs(x * x * x);
}

static void activation(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    enum activation kind = it->call.parameters.activation;
    double *out = scales[0].data;
    int64_t columns = shape_columns(scales[0].shape), count = shape_elements(scales[0].shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t gate = i / columns * 2 * columns + i % columns;
        if (it->call.op == OP_ACTIVATION)
            out[i] = value_scale(kind, load(it, 0, i));
        else if (it->call.op == OP_ACTIVATION_GRADIENT)
            out[i] = fabs(load(it, 0, i)) * slope_scale(load(it, 1, i));
        else
            out[i] = value_scale(kind, load(it, 0, gate)) * fabs(load(it, 0, gate + columns));
    }
}

static void gated_gradient(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    double *out = scales[0].data;
    int64_t columns = columns_of(it, 0);
    for (int64_t i = 0; i < rows_of(it, 0) * columns; i++) {
        int64_t gate = i / columns * 2 * columns + i % columns, up = gate + columns;
        double dy = fabs(load(it, 0, i));
        out[gate] = dy * fabs(load(it, 1, up)) * slope_scale(load(it, 1, gate));
        out[up] = dy * value_scale(it->call.parameters.activation, load(it, 1, gate));
    }
}

static double largest_of_row(const struct op_case *it, int64_t row)
{
    double largest = 0;
    for (int64_t j = 0; j < columns_of(it, 0); j++)
        largest = fmax(largest, fabs(load(it, 0, row * columns_of(it, 0) + j)));
    return largest;
}

static void cross_entropy(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                          struct tensor scales[OP_MAX_OUTPUTS])
{
    double factor = it->call.parameters.factor, count = load(it, 2, 0);
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double scale = 1 + fabs(tensor_load(&wanted[1], t)) + factor * largest_of_row(it, t);
        ((double *)scales[1].data)[t] = scale;
        if (load(it, 1, t) >= 0 && count > 0)
            *(double *)scales[0].data += 2 * scale / count;
    }
}

static void cross_entropy_part(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                               struct tensor scales[OP_MAX_OUTPUTS])
{
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double largest = it->call.parameters.factor * largest_of_row(it, t);
        ((double *)scales[0].data)[t] = 1 + fabs(tensor_load(&wanted[0], t)) + largest;
        ((double *)scales[1].data)[t] = fabs(tensor_load(&wanted[1], t));
    }
}

static void cross_entropy_parallel(const struct op_case *it,
                                   const struct tensor wanted[OP_MAX_OUTPUTS],
                                   struct tensor scales[OP_MAX_OUTPUTS])
{
    double count = load(it, 2, 0);
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double scale = 1 + fabs(tensor_load(&wanted[1], t));
        ((double *)scales[1].data)[t] = scale;
        if (load(it, 1, t) >= 0 && count > 0)
            *(double *)scales[0].data += (scale + fabs(load(it, 4, t))) / count;
    }
}

static void cross_entropy_gradient(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    double factor = it->call.parameters.factor, count = load(it, 2, 0), scale = load(it, 4, 0);
    int64_t columns = columns_of(it, 0);
    double *out = scales[0].data;
    for (int64_t i = 0; count > 0 && i < rows_of(it, 0) * columns; i++) {
        double logit = factor * load(it, 0, i), lse = load(it, 3, i / columns);
        double softmax = exp(logit - lse) * (1 + fabs(logit) + fabs(lse));
        bool label =
            load(it, 1, i / columns) == (double)(it->call.parameters.first_row + i % columns);
        out[i] = scale * factor / count * (softmax + label);
    }
}

/* Softmax over a row whose logits have an error relative to the largest. */
static void router(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                   struct tensor scales[OP_MAX_OUTPUTS])
{
    bool top = it->call.op == OP_TOP_K, gradient = it->call.op == OP_LOAD_BALANCE_GRADIENT;
    double largest = 0, loads = 1;
    for (int64_t t = 0; t < rows_of(it, 0); t++)
        largest = fmax(largest, largest_of_row(it, t));
    int output = top ? 1 : 0;
    double *out = scales[output].data;
    for (int64_t i = 0; i < shape_elements(scales[output].shape); i++)
        if (gradient) /* shares and loads are at most 1 */
            out[i] = 2 * fabs(load(it, 2, 0) * it->call.parameters.factor) * loads * (1 + largest) /
                     (double)rows_of(it, 0);
        else
            out[i] = fabs(tensor_load(&wanted[output], i)) * (1 + 2 * largest);
}

/* s_i (ds_i - sum s ds) */
static void top_k_gradient(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    int64_t k = columns_of(it, 0), experts = shape_columns(scales[0].shape);
    double *out = scales[0].data;
    for (int64_t t = 0; t < rows_of(it, 0); t++) {
        double mean = 0;
        for (int64_t i = t * k; i < (t + 1) * k; i++)
            mean += fabs(load(it, 2, i) * load(it, 0, i));
        for (int64_t i = t * k; i < (t + 1) * k; i++)
            out[t * experts + (int64_t)load(it, 1, i)] =
                fabs(load(it, 2, i)) * (fabs(load(it, 0, i)) + mean);
    }
}

static void adamw(const struct op_case *it, struct tensor scales[OP_MAX_OUTPUTS])
{
    const struct op_parameters *by = &it->call.parameters;
    double *p = scales[0].data, *m = scales[1].data, *v = scales[2].data;
    for (int64_t i = 0; load(it, 4, 1) == 0 && i < shape_elements(scales[0].shape); i++) {
        double g = fabs(load(it, 4, 0) * load(it, 1, i)), rate = load(it, 4, 2) * by->factor;
        m[i] = by->beta1 * fabs(load(it, 2, i)) + (1 - by->beta1) * g;
        v[i] = by->beta2 * load(it, 3, i) + (1 - by->beta2) * g * g;
        double direction = m[i] / load(it, 4, 3) / (sqrt(v[i] / load(it, 4, 4)) + by->epsilon);
        p[i] = fabs(load(it, 0, i)) * (1 + rate * by->decay) + rate * direction;
    }
}

static void find_scales(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                        struct tensor scales[OP_MAX_OUTPUTS])
{
    switch (it->call.op) {
    case OP_ROTARY:
        rotary(*it, scales);
        break;
    case OP_LAYER_NORM:
    case OP_RMS_NORM:
        norm(it, wanted, scales);
        break;
    case OP_LAYER_NORM_GRADIENT:
    case OP_RMS_NORM_GRADIENT:
        norm_gradient(it, scales);
        break;
    case OP_ATTENTION:
        attention(it, wanted, scales);
        break;
    case OP_ATTENTION_GRADIENT:
        attention_gradient(it, scales);
        break;
    case OP_ACTIVATION:
    case OP_ACTIVATION_GRADIENT:
    case OP_GATED_ACTIVATION:
        activation(it, scales);
        break;
    case OP_GATED_ACTIVATION_GRADIENT:
        gated_gradient(it, scales);
        break;
    case OP_CROSS_ENTROPY:
        cross_entropy(it, wanted, scales);
        break;
    case OP_CROSS_ENTROPY_PART:
        cross_entropy_part(it, wanted, scales);
        break;
    case OP_CROSS_ENTROPY_PARALLEL:
        cross_entropy_parallel(it, wanted, scales);
        break;
    case OP_CROSS_ENTROPY_GRADIENT:
        cross_entropy_gradient(it, scales);
        break;
    case OP_TOP_K:
    case OP_LOAD_BALANCE:
    case OP_LOAD_BALANCE_GRADIENT:
        router(it, wanted, scales);
        break;
    case OP_TOP_K_GRADIENT:
        top_k_gradient(it, scales);
        break;
    case OP_ADAMW:
        adamw(it, scales);
        break;
    case OP_COPY: /* exact but for the rounding of the output */
    case OP_SLICE_ROWS:
    case OP_WRITE_ROWS:
    case OP_EMBEDDING:
    case OP_GATHER_ROWS:
        break;
    default:
        absolute(it, scales);
    }
}

static double largest_dimension(const struct op_call *call)
{
    int64_t largest = 1;
    for (int i = 0; i < call->input_count; i++)
        for (int j = 0; j < call->inputs[i].shape.rank; j++)
            if (call->inputs[i].shape.dims[j] > largest)
                largest = call->inputs[i].shape.dims[j];
    return (double)largest;
}

/* Near zero: f16 is rounded to a multiple of 2^-24; with the others, a float32 intermediate below
 * the smallest normal number 2^-126 may be flushed, and then be scaled by up to 2^16. */
static double tiny(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? 0x1p-25 : dtype == DTYPE_F64 ? 0 : 0x1p-110;
}

void op_case_bounds(const struct op_case *it, const struct tensor wanted[OP_MAX_OUTPUTS],
                    struct tensor bounds[OP_MAX_OUTPUTS])
{
    const struct op_call *call = &it->call;
    bool wide = it->dtype == DTYPE_F64 || call->op == OP_OPTIMIZER_FACTORS; /* f64 throughout */
    double terms = largest_dimension(call) + 16;
    if (call->op == OP_SUM_SQUARES)
        terms = (double)shape_elements(call->inputs[1].shape);
    for (int i = 0; i < call->output_count; i++) {
        size_t count = (size_t)shape_elements(wanted[i].shape);
        bounds[i] = tensor_of(memory_zeroed(count, sizeof(double)), DTYPE_F64, wanted[i].shape);
    }
    find_scales(it, wanted, bounds);
    for (int i = 0; i < call->output_count; i++) {
        enum dtype dtype = call->outputs[i].dtype;
        double *bound = bounds[i].data;
        for (int64_t j = 0; j < shape_elements(bounds[i].shape); j++)
            bound[j] = !dtype_is_float(dtype)
                           ? 0
                           : bound[j] * terms * (wide ? 0x1p-52 : 0x1p-24) + tiny(dtype) +
                                 fabs(tensor_load(&wanted[i], j)) * dtype_epsilon(dtype) * 0.5;
    }
}
