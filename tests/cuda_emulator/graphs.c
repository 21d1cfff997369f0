/* Capturing what is put on a stream, and running it again. */
#include "tests/cuda_emulator/graphs.h"

#include <stdbool.h>
#include <stdlib.h>

struct node {
    cudaError_t (*run)(void *work);
    void *work;
    void (*release)(void *work);
};

/* What a capture gives; an instance shares the nodes. */
struct CUgraph_st {
    struct node *nodes;
    size_t count, capacity;
    int owners;
    bool spoiled;
};

struct CUgraphExec_st {
    struct CUgraph_st *graph;
};

/* The stream that captures: there is one at most, and one thread. */
static cudaStream_t capturing;
static size_t graphs;

size_t emulator_graphs(void)
{
    return graphs;
}

int emulator_captures(cudaStream_t stream)
{
    return stream && stream->captured;
}

cudaError_t emulator_forbid(void)
{
    if (!capturing)
        return cudaSuccess;
    capturing->captured->spoiled = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t emulator_capture(cudaStream_t stream, cudaError_t (*run)(void *work), void *work,
                             void (*release)(void *work))
{
    struct CUgraph_st *graph = stream->captured;
    if (graph->spoiled) {
        release(work);
        return cudaErrorStreamCaptureInvalidated;
    }
    if (graph->count == graph->capacity) {
        graph->capacity = graph->capacity ? 2 * graph->capacity : 64;
        graph->nodes = realloc(graph->nodes, graph->capacity * sizeof(*graph->nodes));
    }
    graph->nodes[graph->count++] = (struct node){run, work, release};
    return cudaSuccess;
}

static void disown(struct CUgraph_st *graph)
{
    if (--graph->owners > 0)
        return;
    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i].release(graph->nodes[i].work);
    free(graph->nodes);
    free(graph);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    (void)mode;
    if (capturing)
        return emulator_result(cudaErrorIllegalState);
    struct CUgraph_st *graph = calloc(1, sizeof(*graph));
    graph->owners = 1;
    stream->captured = graph;
    capturing = stream;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    if (!stream->captured)
        return emulator_result(cudaErrorIllegalState);
    struct CUgraph_st *captured = stream->captured;
    stream->captured = NULL;
    capturing = NULL;
    if (captured->spoiled) {
        disown(captured);
        return emulator_result(cudaErrorStreamCaptureInvalidated);
    }
    *graph = captured;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags)
{
    *exec = NULL;
    if (flags || capturing)
        return emulator_result(flags ? cudaErrorInvalidValue : emulator_forbid());
    *exec = calloc(1, sizeof(**exec));
    (*exec)->graph = graph;
    graph->owners++;
    return emulator_result(cudaSuccess);
}

/* The first failure of a kernel ends it: all later calls fail as well. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    cudaError_t error = stream->captured ? emulator_forbid() : emulator_result(cudaSuccess);
    if (error)
        return emulator_result(error);
    graphs++;
    emulator_within(1);
    for (size_t i = 0; !error && i < exec->graph->count; i++)
        error = exec->graph->nodes[i].run(exec->graph->nodes[i].work);
    emulator_within(0);
    return error;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    disown(graph);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    disown(exec->graph);
    free(exec);
    return emulator_result(cudaSuccess);
}
