#include "engine/device/cuda/graphs.h"

#include "engine/base/memory.h"
#include "engine/device/cuda/toolkit.h"

#include <stdlib.h>

struct segment {
    struct cuda_work *works;
    int count;
    cudaGraphExec_t graph; /* NULL: not captured, so far or, if `refused`, for good */
    bool refused;
    int64_t used; /* when it was used last; 0: no segment */
};

struct cuda_graphs {
    struct segment segments[CUDA_SEGMENTS];
    struct segment *followed; /* whose first `length` works are held back; NULL: they run */
    struct cuda_work *works;  /* else the `length` ones since the last end of a segment */
    int length;
    int64_t time;         /* counts uses */
    struct status untold; /* the first failure that nobody could be told */
};

struct cuda_graphs *cuda_graphs_open(const struct cuda_context *context)
{
    const char *value = getenv("LOCKSTEP_CUDA_GRAPHS");
    if (context->blocking || (value && strcmp(value, "0") == 0))
        return NULL;
    struct cuda_graphs *graphs = memory_zeroed(1, sizeof(*graphs));
    graphs->works = memory_zeroed(CUDA_SEGMENT_CALLS, sizeof(*graphs->works));
    return graphs;
}

static void forget(struct segment *segment)
{
    if (segment->graph)
        cudaGraphExecDestroy(segment->graph);
    free(segment->works);
    *segment = (struct segment){0};
}

void cuda_graphs_close(struct cuda_graphs *graphs)
{
    if (!graphs)
        return;
    for (int i = 0; i < CUDA_SEGMENTS; i++)
        forget(&graphs->segments[i]);
    free(graphs->works);
    free(graphs);
}

static bool equal_tensors(const struct tensor *a, const struct tensor *b, int count)
{
    for (int i = 0; i < count; i++)
        if (a[i].data != b[i].data || a[i].dtype != b[i].dtype ||
            a[i].row_stride != b[i].row_stride || !shape_equal(a[i].shape, b[i].shape))
            return false;
    return true;
}

/* All that kernels get from a call. The parameters as bytes: numbers must be the same bits, and
 * padding that differs costs a graph, no more. */
static bool equal_calls(const struct op_call *a, const struct op_call *b)
{
    return a->op == b->op && a->input_count == b->input_count &&
           a->output_count == b->output_count && a->workspace == b->workspace &&
           equal_tensors(a->inputs, b->inputs, a->input_count) &&
           equal_tensors(a->outputs, b->outputs, a->output_count) &&
           memcmp(&a->parameters, &b->parameters, sizeof(a->parameters)) == 0;
}

static bool equal_works(const struct cuda_work *a, const struct cuda_work *b)
{
    return a->kind == b->kind && equal_calls(&a->call, &b->call) && a->to == b->to &&
           a->step == b->step && a->count == b->count && a->statistics == b->statistics &&
           memcmp(&a->scale, &b->scale, sizeof(a->scale)) == 0;
}

static bool run_work(struct cuda_context *context, const struct cuda_work *work,
                     struct status *status)
{
    const struct tensor *in = work->call.inputs;
    if (work->kind == CUDA_COMPARISON)
        return cuda_compare_run(context, &in[0], &in[1], work->scale, context->scratch, work->to,
                                status);
    if (work->kind == CUDA_CALL)
        return cuda_operations[work->call.op].run(context, &work->call, status);
    return cuda_sample_run(context, in, work->step, work->count, work->to, context->scratch,
                           work->statistics, status);
}

static const char *name_of(const struct cuda_work *work)
{
    return work->kind == CUDA_CALL     ? op_name(work->call.op)
           : work->kind == CUDA_SAMPLE ? "samples"
                                       : "a comparison";
}

/* All but those from `now` on were asked for by earlier calls of the caller, who would take what
 * fails for what it asks for now. What has killed the GPU is none of them for certain. */
static bool run_works(struct cuda_context *context, const struct cuda_work *works, int count,
                      int now, struct status *status)
{
    for (int i = 0; i < count; i++) {
        if (run_work(context, &works[i], status))
            continue;
        if (i < now && status && !context->lost)
            status_context(status, "%s, asked for earlier", name_of(&works[i]));
        return false;
    }
    return true;
}

/* All calls have run before, so what they need (algorithms of products, kernels' code) is there. */
static bool capture(struct cuda_context *context, struct segment *segment)
{
    cudaGraph_t graph = NULL;
    if (cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
        return false;
    context->capturing = true;
    bool ok = run_works(context, segment->works, segment->count, 0, NULL);
    context->capturing = false;
    ok = cudaStreamEndCapture(context->stream, &graph) == cudaSuccess && ok &&
         cudaGraphInstantiateWithFlags(&segment->graph, graph, 0) == cudaSuccess;
    if (!ok)
        segment->graph = NULL;
    if (graph)
        cudaGraphDestroy(graph);
    return ok;
}

/* All of a segment, without a graph where there can be none. */
static bool launch(struct cuda_context *context, struct segment *segment, struct status *status)
{
    if (!segment->graph && !segment->refused && !capture(context, segment)) {
        segment->refused = true;
        cudaGetLastError(); /* what else is wrong with the GPU is met again */
    }
    if (!segment->graph)
        return run_works(context, segment->works, segment->count, segment->count - 1, status);
    cudaError_t error = cudaGraphLaunch(segment->graph, context->stream);
    return error == cudaSuccess ||
           cuda_fail(context, (int)error, "launching captured operations", status);
}

/* The one that was used last of those that begin so: with a stop in the middle of a step, the one
 * that ends there. */
static struct segment *find(struct cuda_graphs *graphs, const struct cuda_work *first)
{
    struct segment *found = NULL;
    for (int i = 0; i < CUDA_SEGMENTS; i++) {
        struct segment *segment = &graphs->segments[i];
        if (segment->used && (!found || segment->used > found->used) &&
            equal_works(&segment->works[0], first))
            found = segment;
    }
    return found;
}

static bool is_known(struct cuda_graphs *graphs)
{
    for (int i = 0; i < CUDA_SEGMENTS; i++) {
        struct segment *segment = &graphs->segments[i];
        int same = 0;
        if (!segment->used || segment->count != graphs->length)
            continue;
        while (same < segment->count && equal_works(&segment->works[same], &graphs->works[same]))
            same++;
        if (same == segment->count) {
            segment->used = ++graphs->time;
            return true;
        }
    }
    return false;
}

/* Takes the place of the one that was not used for the longest time. */
static void remember(struct cuda_context *context, struct cuda_graphs *graphs)
{
    struct segment *oldest = &graphs->segments[0];
    if (graphs->length < CUDA_SEGMENT_LEAST || is_known(graphs))
        return;
    for (int i = 1; i < CUDA_SEGMENTS; i++)
        if (graphs->segments[i].used < oldest->used)
            oldest = &graphs->segments[i];
    if (oldest->graph)
        cudaStreamSynchronize(context->stream); /* it may be running */
    forget(oldest);
    oldest->works = memory_zeroed((size_t)graphs->length, sizeof(*graphs->works));
    memcpy(oldest->works, graphs->works, (size_t)graphs->length * sizeof(*graphs->works));
    oldest->count = graphs->length;
    oldest->used = ++graphs->time;
}

/* What is held back runs; the segment goes on. */
static bool let_go(struct cuda_context *context, struct status *status)
{
    struct cuda_graphs *graphs = context->graphs;
    const struct segment *segment = graphs->followed;
    graphs->followed = NULL;
    if (!segment)
        return true;
    memcpy(graphs->works, segment->works, (size_t)graphs->length * sizeof(*graphs->works));
    bool ok = run_works(context, graphs->works, graphs->length, graphs->length, status);
    if (!ok)
        graphs->length = 0;
    return ok;
}

/* True if nothing is left to tell. */
static bool tell(struct cuda_graphs *graphs, struct status *status)
{
    if (graphs->untold.code == STATUS_OK)
        return true;
    status_fail(status, graphs->untold.code, "%s", graphs->untold.text);
    graphs->untold = STATUS_NONE;
    return false;
}

bool cuda_graphs_flush(struct cuda_context *context, struct status *status)
{
    struct cuda_graphs *graphs = context->graphs;
    if (!graphs)
        return true;
    if (!tell(graphs, status))
        return false;
    if (graphs->length == 0)
        return true;
    if (context->lost) {
        graphs->followed = NULL;
        graphs->length = 0;
        return true; /* whatever comes next says so */
    }
    bool ok = let_go(context, status);
    if (ok)
        remember(context, graphs);
    graphs->length = 0;
    return ok;
}

void cuda_graphs_flush_untold(struct cuda_context *context)
{
    struct status status = STATUS_NONE;
    struct cuda_graphs *graphs = context->graphs;
    /* Until the first failure is told, nothing can have been held back after it. */
    if (graphs && graphs->untold.code == STATUS_OK && !cuda_graphs_flush(context, &status))
        graphs->untold = status;
}

static bool is_next(const struct cuda_graphs *graphs, const struct cuda_work *work)
{
    return equal_works(&graphs->followed->works[graphs->length], work);
}

static bool run_now(struct cuda_context *context, const struct cuda_work *work,
                    struct status *status)
{
    struct cuda_graphs *graphs = context->graphs;
    if (!run_work(context, work, status))
        return false;
    graphs->works[graphs->length] = *work;
    graphs->works[graphs->length++].call.interrupt = NULL;
    return graphs->length < CUDA_SEGMENT_CALLS || cuda_graphs_flush(context, status);
}

bool cuda_graphs_run(struct cuda_context *context, const struct cuda_work *work,
                     struct status *status)
{
    struct cuda_graphs *graphs = context->graphs;
    if (!graphs)
        return run_work(context, work, status);
    if (!tell(graphs, status))
        return false;
    if (graphs->length == 0)
        graphs->followed = find(graphs, work);
    else if (graphs->followed && !is_next(graphs, work) && !let_go(context, status))
        return false;
    struct segment *segment = graphs->followed;
    if (!segment)
        return run_now(context, work, status);
    if (++graphs->length < segment->count)
        return true;
    graphs->followed = NULL;
    graphs->length = 0;
    segment->used = ++graphs->time;
    return launch(context, segment, status);
}
