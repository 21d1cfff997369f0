#include "engine/device/cpu/kernel/functions.h"
#include "engine/device/cpu/kernel/math.h"

/* gelu: 0.5(1 + tanh(u)) = sigmoid(2u), which does not cancel for negative x.
 * u = sqrt(2/pi) (x + 0.044715 x^3) */
static inline float gelu_argument(float x)
{
    return 1.5957691216057308f * (x + 0.044715f * x * x * x);
}

static inline float function(enum activation kind, float x)
{
    switch (kind) {
    case ACTIVATION_GELU:
        return x * math_sigmoid(gelu_argument(x));
    case ACTIVATION_SILU:
        return x * math_sigmoid(x);
    case ACTIVATION_RELU:
        return x > 0 || x != x ? x : 0.0f; /* NaN stays NaN */
    case ACTIVATION_SIGMOID:
        return math_sigmoid(x);
    case ACTIVATION_SQUARED_RELU:
        return x > 0 || x != x ? x * x : 0.0f;
    default:
        return x;
    }
}

static inline float derivative(enum activation kind, float x)
{
    float s;
    switch (kind) {
    case ACTIVATION_GELU:
        s = math_sigmoid(gelu_argument(x));
        return s + x * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 3 * 0.044715f * x * x);
    case ACTIVATION_SILU:
        s = math_sigmoid(x);
        return s + x * s * (1.0f - s);
    case ACTIVATION_RELU:
        return x > 0 ? 1.0f : x == x ? 0.0f : x;
    case ACTIVATION_SIGMOID:
        s = math_sigmoid(x);
        return s * (1.0f - s);
    case ACTIVATION_SQUARED_RELU:
        return x > 0 || x != x ? 2.0f * x : 0.0f;
    default:
        return 1.0f;
    }
}

/* One loop per kind, so that the choice is outside the loop and each loop vectorises. */
#define EACH_KIND(body)                                                                            \
    switch (kind) {                                                                                \
        body(ACTIVATION_GELU) body(ACTIVATION_SILU) body(ACTIVATION_RELU) body(ACTIVATION_SIGMOID) \
            body(ACTIVATION_SQUARED_RELU) body(ACTIVATION_IDENTITY) default : break;               \
    }

void KERNEL(activation)(enum activation kind, float *out, const float *x, int64_t n)
{
#define LOOP(k)                                                                                    \
    case k:                                                                                        \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = function(k, x[i]);            \
        break;
    EACH_KIND(LOOP)
#undef LOOP
}

void KERNEL(activation_gradient)(enum activation kind, float *out, const float *dy, const float *x,
                                 int64_t n)
{
#define LOOP(k)                                                                                    \
    case k:                                                                                        \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = dy[i] * derivative(k, x[i]);  \
        break;
    EACH_KIND(LOOP)
#undef LOOP
}

void KERNEL(gated)(enum activation kind, float *out, const float *gate, const float *up, int64_t n)
{
#define LOOP(k)                                                                                    \
    case k:                                                                                        \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = function(k, gate[i]) * up[i]; \
        break;
    EACH_KIND(LOOP)
#undef LOOP
}

void KERNEL(gated_gradient)(enum activation kind, float *dgate, float *dup, const float *dy,
                            const float *gate, const float *up, int64_t n)
{
#define LOOP(k)                                                                                    \
    case k:                                                                                        \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                        \
        {                                                                                          \
            float x = gate[i], d = dy[i];                                                          \
            dgate[i] = d * up[i] * derivative(k, x);                                               \
            dup[i] = d * function(k, x);                                                           \
        }                                                                                          \
        break;
    EACH_KIND(LOOP)
#undef LOOP
}
