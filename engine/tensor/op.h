/* The kinds of instruction, their operands and parameters: the contract between the program
 * (which emits them) and the devices (which run them).
 *
 * Notation: T tokens, C channels, H hidden size, V vocabulary, E experts, k experts per token,
 * N = T*k routed rows, d head size, h heads, g head groups, S tokens of the key/value sequence.
 * Tensors are [rows, columns] with contiguous columns; rows may be strided (tensor.row_stride).
 * "float" is f32, bf16 or f16 (f64 too on the reference); 16-bit inputs are widened to float32,
 * every sum is accumulated in float32 or better, the result is rounded once to the dtype of the
 * output, which may differ from the inputs' dtype. Scalars are [1].
 * An output marked (in place) may be the same memory as the named input; otherwise outputs do
 * not overlap inputs. Formulas: the model tests' description, section 2, and docs/numbers.md. */
#ifndef ENGINE_TENSOR_OP_H
#define ENGINE_TENSOR_OP_H

#include "engine/base/interrupt.h"
#include "engine/tensor/tensor.h"

/* X(enum suffix, name, minimum inputs, maximum inputs, outputs) */
#define OP_LIST(X)                                                                                 \
    X(FILL, "fill", 0, 0, 1)                                                                       \
    X(COPY, "copy", 1, 1, 1)                                                                       \
    X(SCALE, "scale", 1, 1, 1)                                                                     \
    X(ADD, "add", 2, 2, 1)                                                                         \
    X(ACCUMULATE, "accumulate", 2, 2, 1)                                                           \
    X(SLICE_ROWS, "slice_rows", 1, 1, 1)                                                           \
    X(WRITE_ROWS, "write_rows", 2, 2, 1)                                                           \
    X(EMBEDDING, "embedding", 2, 2, 1)                                                             \
    X(EMBEDDING_GRADIENT, "embedding_gradient", 2, 2, 1)                                           \
    X(ADD_BIAS, "add_bias", 2, 2, 1)                                                               \
    X(BIAS_GRADIENT, "bias_gradient", 1, 1, 1)                                                     \
    X(MATMUL, "matmul", 2, 3, 1)                                                                   \
    X(LAYER_NORM, "layer_norm", 3, 3, 3)                                                           \
    X(LAYER_NORM_GRADIENT, "layer_norm_gradient", 5, 5, 3)                                         \
    X(RMS_NORM, "rms_norm", 2, 2, 2)                                                               \
    X(RMS_NORM_GRADIENT, "rms_norm_gradient", 4, 4, 2)                                             \
    X(ROTARY, "rotary", 2, 2, 1)                                                                   \
    X(ATTENTION, "attention", 3, 3, 2)                                                             \
    X(ATTENTION_GRADIENT, "attention_gradient", 6, 6, 2)                                           \
    X(ACTIVATION, "activation", 1, 1, 1)                                                           \
    X(ACTIVATION_GRADIENT, "activation_gradient", 2, 2, 1)                                         \
    X(GATED_ACTIVATION, "gated_activation", 1, 1, 1)                                               \
    X(GATED_ACTIVATION_GRADIENT, "gated_activation_gradient", 2, 2, 1)                             \
    X(CROSS_ENTROPY, "cross_entropy", 3, 3, 2)                                                     \
    X(CROSS_ENTROPY_GRADIENT, "cross_entropy_gradient", 5, 5, 1)                                   \
    X(TOP_K, "top_k", 1, 1, 2)                                                                     \
    X(TOP_K_GRADIENT, "top_k_gradient", 3, 3, 1)                                                   \
    X(LOAD_BALANCE, "load_balance", 2, 2, 1)                                                       \
    X(LOAD_BALANCE_GRADIENT, "load_balance_gradient", 3, 3, 1)                                     \
    X(ROUTE_ROWS, "route_rows", 1, 1, 2)                                                           \
    X(GATHER_ROWS, "gather_rows", 2, 2, 1)                                                         \
    X(GATHER_ROWS_GRADIENT, "gather_rows_gradient", 2, 2, 1)                                       \
    X(GROUPED_MATMUL, "grouped_matmul", 3, 3, 1)                                                   \
    X(GROUPED_MATMUL_GRADIENT, "grouped_matmul_gradient", 3, 3, 1)                                 \
    X(COMBINE_ROWS, "combine_rows", 3, 3, 1)                                                       \
    X(COMBINE_ROWS_GRADIENT, "combine_rows_gradient", 4, 4, 2)                                     \
    X(SUM_SQUARES, "sum_squares", 2, 2, 1)                                                         \
    X(OPTIMIZER_FACTORS, "optimizer_factors", 3, 3, 3)                                             \
    X(ADAMW, "adamw", 5, 5, 3)                                                                     \
    X(CROSS_ENTROPY_PART, "cross_entropy_part", 2, 2, 2)                                           \
    X(CROSS_ENTROPY_PARALLEL, "cross_entropy_parallel", 5, 5, 2)                                   \
    X(ALL_REDUCE, "all_reduce", 1, 1, 1)                                                           \
    X(ALL_GATHER, "all_gather", 1, 1, 1)                                                           \
    X(REDUCE_SCATTER, "reduce_scatter", 1, 1, 1)                                                   \
    X(BROADCAST, "broadcast", 1, 1, 1)                                                             \
    X(SEND, "send", 1, 1, 0)                                                                       \
    X(RECEIVE, "receive", 0, 0, 1)

enum op {
#define OP_ENUM(suffix, name, minimum, maximum, outputs) OP_##suffix,
    OP_LIST(OP_ENUM)
#undef OP_ENUM
        OP_COUNT
};

enum { OP_MAX_INPUTS = 6, OP_MAX_OUTPUTS = 3 };

enum activation {
    ACTIVATION_GELU = 0, /* 0.5x(1+tanh(sqrt(2/pi)(x+0.044715x^3))) */
    ACTIVATION_SILU,
    ACTIVATION_RELU,
    ACTIVATION_SIGMOID,
    ACTIVATION_SQUARED_RELU,
    ACTIVATION_IDENTITY,
    ACTIVATION_COUNT,
};

/* clang-format off: it would run the entries together */
/* Parameters by kind; members not named there are 0. What each kind computes:
 *
 * FILL               out = value
 * COPY               out = in, converted to out's dtype
 * SCALE              out = factor * in (in place)
 * ADD                out = a + b (in place of a)
 * ACCUMULATE         out = total + x: total and out f32, x float (in place of total)
 * SLICE_ROWS         out = in[first_row : first_row + out rows]
 * WRITE_ROWS         (base, x): out = base, with x written at first_row (in place of base)
 * EMBEDDING          (indices i32 [T], weight [V,H]) -> [T,H]: row indices[t] - first_row of the
 *                    weight; a row outside 0..V-1 (also a negative index) gives zeros
 * EMBEDDING_GRADIENT (indices i32 [T], dy [T,H]) -> dweight [V,H]; rows never indexed are zero;
 *                    first_row as above
 * ADD_BIAS           (x [T,C], bias [C]) -> x + bias (in place of x)
 * BIAS_GRADIENT      dy [T,C] -> column sums [C]
 * MATMUL             (a, b[, bias]) -> op(a) op(b) [+ bias on each row]; op is the transpose where
 *                    transpose_a / transpose_b. y = x W^T is transpose_b with W [out,in].
 * LAYER_NORM         (x [T,C], w [C], b [C]) -> (y, mean f32 [T], inverse f32 [T]),
 *                    inverse = (biased variance + epsilon)^-1/2, y = (x-mean)*inverse*w + b
 * LAYER_NORM_GRADIENT (dy, x, w, mean, inverse) -> (dx, dw [C], db [C])
 * RMS_NORM           (x [T,C], w [C]) -> (y, inverse f32 [T]), inverse = (mean(x^2)+epsilon)^-1/2
 * RMS_NORM_GRADIENT  (dy, x, w, inverse) -> (dx, dw [C])
 * ROTARY             (x [T,C], table f32 [S', d]) -> [T,C] (in place of x): the first
 *                    heads*head_size columns are turned, the others copied. Row t uses table row
 *                    first_row + t: cos in the first d/2 columns, sin in the last (both times any
 *                    attention factor). Pairs are (x[i], x[i+d/2]): re' = re cos - im sin,
 *                    im' = im cos + re sin; `inverse` negates sin (also the backward rule)
 * ATTENTION          (q [T,h*d], kv [S,2*g*d], document_start i32 [S]) -> (o [T,h*d],
 *                    lse f32 [T,h]). kv columns: keys of all groups, then values. Query row t has
 *                    position p = first_row + t, and may see keys j with document_start[p] <= j <=
 *                    p, and j > p - window if window > 0; without `causal`, all j of its document
 *                    (document_start[j] == document_start[p]). Keys beyond S do not exist. Head i
 *                    uses group i / (h/g). Softmax of scale * q.k in float32; lse = log sum exp of
 *                    the scaled scores. The scores are never stored
 * ATTENTION_GRADIENT (do, q, kv, document_start, o, lse) -> (dq [T,h*d], dkv [S,2*g*d])
 * ACTIVATION         out = f(x)
 * ACTIVATION_GRADIENT (dy, x) -> dy * f'(x) (in place of dy)
 * GATED_ACTIVATION   x [T,2F] = gate, up -> f(gate) * up [T,F]
 * GATED_ACTIVATION_GRADIENT (dy [T,F], x [T,2F]) -> dx [T,2F]
 * CROSS_ENTROPY      (logits [T,V], labels i32 [T], count f64 [1]) -> (loss f32 [1], lse f32 [T]):
 *                    loss = sum over labels >= 0 of (lse - l[label]) / count, where l =
 *                    factor * logits and lse = log sum exp l; 0 when count is 0
 * CROSS_ENTROPY_GRADIENT (logits, labels, count, lse, scale f64 [1]) -> dlogits [T,V] =
 *                    scale*factor/count * (softmax - onehot), rows with label < 0 are zero. With
 *                    window > 0 the logits are a part of a vocabulary of `window`, from first_row
 *                    on, and lse is that of the whole
 * CROSS_ENTROPY_PART (logits [T,V], labels i32 [T]) -> (lse f32 [1,T], target f32 [T]): logits are
 *                    columns first_row .. first_row+V-1 of a vocabulary of `window`. lse = log sum
 *                    exp l of the part; target = l[label - first_row], 0 where the label is
 *                    masked or outside of the part
 * CROSS_ENTROPY_PARALLEL (logits [T,V], labels, count f64 [1], parts f32 [p,T], target f32 [T]) ->
 *                    (loss f32 [1], lse f32 [T]): parts = lse of all p parts, target = the sum of
 *                    theirs; lse = log sum exp of a column of parts, loss = sum over labels >= 0
 *                    of (lse - target) / count. Of the logits only the shape is looked at; they
 *                    are what the gradient goes to. first_row and window as above
 * TOP_K              logits [T,E] -> (experts i32 [T,k], scores f32 [T,k]): the k largest, largest
 *                    first, ties to the lower expert; scores = softmax over those k
 * TOP_K_GRADIENT     (dscores f32 [T,k], experts, scores) -> dlogits [T,E]
 * LOAD_BALANCE       (logits [T,E], experts i32 [T,k]) -> loss f32 [1] =
 *                    sum_e mean_t(softmax(logits)_te) * mean_t(e in experts_t)
 * LOAD_BALANCE_GRADIENT (logits, experts, scale f64 [1]) -> dlogits [T,E] =
 *                    scale * factor * d loss / d logits (through the softmax only)
 * ROUTE_ROWS         experts i32 [T,k] -> (rows i32 [N], ends i32 [E]): the pairs token*k+choice
 *                    sorted by expert (stable), and where each expert's rows end
 * GATHER_ROWS        (x [T,H], rows i32 [N]) -> y [N,H], y[i] = x[rows[i] / k], k = N/T
 * GATHER_ROWS_GRADIENT (dy [N,H], rows) -> dx [T,H], sum over a token's slots in order of choice
 * GROUPED_MATMUL     (x [N,K], weight, ends i32 [E]) -> y [N,M]: for the rows i of expert e,
 *                    y_i = x_i W_e^T if transpose_b (weight [E*M,K]), else x_i W_e (weight [E*K,M])
 * GROUPED_MATMUL_GRADIENT (a [N,M], b [N,K], ends) -> [E*M,K]: for each expert a_e^T b_e
 * COMBINE_ROWS       (y [N,H], scores f32 [T,k], rows) -> out [T,H] = sum_choices score * y of slot
 * COMBINE_ROWS_GRADIENT (dout [T,H], y, scores, rows) -> (dy [N,H], dscores f32 [T,k])
 * SUM_SQUARES        (total f64 [1], x) -> total + sum x^2, f64 [1] (in place of total)
 * OPTIMIZER_FACTORS  (sum_squares f64 [1], learning_rate f64 [1], scaler f64 [4]) ->
 *                    (factors f64 [5], scaler f64 [4] (in place), norm f32 [1]).
 *                    scaler: enum scaler.
 *                    s = 1/loss scale; norm = s*sqrt(sum_squares). If `dynamic` and norm is not
 *                    finite: skip: growth counter 0, hysteresis -1, and when it is <= 0 the scale
 *                    is halved (not below 1); the optimizer step does not advance. Otherwise step
 *                    += 1 and, if dynamic, good += 1; at `window` good steps: scale doubled, good
 *                    0, hysteresis back to `hysteresis`. factors = {multiplier of gradients: s *
 *                    min(1, factor/(norm + 1e-6)) if factor > 0, skip (1 or 0), learning rate,
 *                    1-beta1^step, 1-beta2^step}
 * ADAMW              (p f32, g f32, m f32, v f32, factors f64 [5]) -> (p, m, v) (in place): g' =
 *                    factors[0]*g; m = b1 m + (1-b1) g'; v = b2 v + (1-b2) g'^2; p = p -
 *                    lr*rate*((m/c1)/(sqrt(v/c2) + epsilon) + decay*p), where lr, c1, c2 =
 *                    factors[2..4] and rate = factor. With factors[1] (skip): outputs = inputs
 * ALL_REDUCE ...     collectives over `group` (an id that the communicator resolves); `average`
 *                    divides by its size. ALL_GATHER and REDUCE_SCATTER work on rows in rank
 *                    order. BROADCAST from `peer`. SEND to / RECEIVE from `peer` (global ranks). */
/* clang-format on */

/* Members of the loss scaler; a step that is skipped is no optimizer step. */
enum scaler {
    SCALER_LOSS_SCALE = 0,
    SCALER_GOOD_STEPS, /* since the scale changed, or a step was skipped */
    SCALER_HYSTERESIS, /* how many skipped steps are left before the scale is halved */
    SCALER_STEP,       /* updates that were made */
    SCALER_SIZE,
};

struct op_parameters {
    double value;   /* FILL */
    double factor;  /* SCALE, CROSS_ENTROPY*, LOAD_BALANCE_GRADIENT, OPTIMIZER_FACTORS, ADAMW */
    double epsilon; /* norms, ADAMW */
    double scale;   /* ATTENTION* */
    double beta1, beta2, decay; /* ADAMW; betas also OPTIMIZER_FACTORS */
    int64_t first_row; /* SLICE_ROWS, WRITE_ROWS, EMBEDDING*, ROTARY, ATTENTION*, CROSS_ENTROPY_* */
    int64_t window;    /* ATTENTION*: 0 = none; OPTIMIZER_FACTORS: growth interval; CROSS_ENTROPY_*:
                          vocabulary of which the logits are a part, 0 = all of it */
    int heads, head_groups, head_size; /* ROTARY (heads, head_size), ATTENTION* */
    int hysteresis;                    /* OPTIMIZER_FACTORS: failures that halve the scale */
    enum activation activation;        /* (GATED_)ACTIVATION(_GRADIENT) */
    bool causal, transpose_a, transpose_b, inverse, dynamic, average;
    int group, peer; /* collectives */
};

/* One call of an operation. The tensors' memory belongs to the device that runs it. */
struct op_call {
    enum op op;
    int input_count, output_count;
    struct op_parameters parameters;
    struct tensor inputs[OP_MAX_INPUTS];
    struct tensor outputs[OP_MAX_OUTPUTS];
    void *workspace; /* as many bytes as the device's workspace() asked for; 64-byte aligned */
    /* When it says yes, run() may give up with STATUS_CANCELLED: then the outputs and the workspace
     * hold anything, the inputs are as before. NULL: to the end. Devices need not look. */
    const struct interrupt *interrupt;
};

const char *op_name(enum op op); /* static */
bool op_find(const char *name, enum op *op);
/* Whether the kind is a collective, run by a communicator instead of a device. */
bool op_is_collective(enum op op);
/* Whether the operands are of types that devices take which compute in float32 ("float" is f32,
 * bf16 or f16), and vectors lie in one piece. No collective. The data pointers are not looked at.
 */
bool op_takes(const struct op_call *call);
/* The input whose memory output `output` may reuse, or -1 (see "in place" above). */
int op_in_place(enum op op, int output);

#endif
