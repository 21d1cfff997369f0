/* CUDA graphs: calls that come in the same order again and again are captured once, and then put on
 * the GPU by one launch, which costs the host less than a call of its own for each kernel.
 *
 * What is captured is not declared by anybody. Calls are divided into segments: one ends where the
 * host looks at the GPU (a copy, a wait; so a stop is exact), or after
 * CUDA_SEGMENT_CALLS. A segment's calls run one by one the first time. When the first of them comes
 * again, it and those that follow are held back as long as they are the same, operands, addresses
 * and parameters; with the last one all are launched. If another call comes, or the host looks,
 * what was held back runs one by one. So the GPU never gets anything else than what was asked for,
 * in that order. What changes from step to step is in device memory (op.h), and read there. */
#ifndef ENGINE_DEVICE_CUDA_GRAPHS_H
#define ENGINE_DEVICE_CUDA_GRAPHS_H

#include "engine/device/cuda/cuda.h"

enum {
    CUDA_SEGMENT_CALLS = 64, /* the GPU begins after so many calls at the latest */
    CUDA_SEGMENT_LEAST = 4,  /* shorter ones are not worth a graph */
    CUDA_SEGMENTS = 128,     /* that are remembered; the one that was used last is forgotten last */
};

/* NULL without graphs: LOCKSTEP_CUDA_GRAPHS=0, or where each call is waited for. */
struct cuda_graphs *cuda_graphs_open(const struct cuda_context *context);
/* Nothing that was held back runs any more. */
void cuda_graphs_close(struct cuda_graphs *graphs);

/* What is put on the stream: a call of an operation, or one of the device's own kernels. All but
 * `call` is 0 with the former. */
struct cuda_work {
    enum { CUDA_CALL = 0, CUDA_SAMPLE, CUDA_COMPARISON } kind;
    struct op_call call;                  /* of the others only inputs: from; reference and test */
    void *to;                             /* samples; sums */
    int64_t step, count;                  /* of samples */
    struct device_statistics *statistics; /* may be NULL */
    double scale;                         /* of a comparison */
};

/* Runs what the device supports, or holds it back. A failure may be one of an earlier call, as
 * everywhere with a GPU. One that is found on the host may be too: of a call that was held back and
 * is run by this one, by cuda_graphs_flush(), or by a release before. The text then begins with
 * that operation, and the calls after it do not run, as if the caller had been told at once. */
bool cuda_graphs_run(struct cuda_context *context, const struct cuda_work *work,
                     struct status *status);

/* cuda_graphs_flush() where nobody can be told: what fails is told by the next flush or run. */
void cuda_graphs_flush_untold(struct cuda_context *context);

#endif
