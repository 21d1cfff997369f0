/* The part of the CUDA runtime that the CUDA device uses, on the host: "device memory" is host
 * memory full of 0xff bytes, streams do their work at once. Names, codes and argument lists are
 * those of cuda_runtime_api.h, so that the same sources compile against either.
 *
 * LOCKSTEP_EMULATED_GPU in the environment plays a machine that lacks something: "no-driver",
 * "old-driver", "no-gpu", "old-gpu". LOCKSTEP_EMULATED_MEMORY sets the memory of the GPU in
 * bytes, LOCKSTEP_EMULATED_GPUS their number. */
#ifndef TESTS_CUDA_EMULATOR_RUNTIME_H
#define TESTS_CUDA_EMULATOR_RUNTIME_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorIllegalAddress = 700,
    cudaErrorIllegalState = 401,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
} cudaError_t;

/* What a stream still does besides, for libraries that put work of their own on it: `busy` carries
 * on with it, and says whether it goes on. */
struct CUstream_st {
    int (*busy)(void *work);
    void *work;
    struct CUgraph_st *captured; /* NULL: what is put on it runs */
};
typedef struct CUstream_st *cudaStream_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;

enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
};

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeMode = 20,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

enum { cudaStreamNonBlocking = 1 };

enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal = 0,
    cudaStreamCaptureModeThreadLocal = 1,
    cudaStreamCaptureModeRelaxed = 2,
};

enum cudaComputeMode {
    cudaComputeModeDefault = 0,
    cudaComputeModeProhibited = 2,
    cudaComputeModeExclusiveProcess = 3,
};

typedef struct cudaUUID {
    char bytes[16];
} cudaUUID_t;

/* Only what is read of it. */
struct cudaDeviceProp {
    char name[256];
    cudaUUID_t uuid;
    int pciBusID, pciDeviceID, pciDomainID;
};

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaDeviceReset(void);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int index);
cudaError_t cudaDeviceGetAttribute(int *number, enum cudaDeviceAttr attribute, int index);
cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int index);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
/* Capturing keeps what is put on the stream, with the arguments of that moment, and a launch runs
 * it on the memory as it is then. As CUDA has it: memory may not be allocated or freed meanwhile,
 * nor may anybody wait; it spoils the capture. Stricter than CUDA: nor may anything be copied
 * between host and device, as no host memory lives as long as a graph. */
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);

/* For the emulator's own parts: a failed kernel makes every later call fail, as on a GPU. */
void emulator_set_sticky(cudaError_t error);
/* The text of what the emulator found wrong in a kernel, or "". */
const char *emulator_finding(void);
/* Bytes that were copied to the host, and how often the host waited for work that was queued. */
size_t emulator_fetched(void);
size_t emulator_waits(void);
/* Launches of graphs, and all that was put on a stream by itself: kernels, products, copies within
 * the GPU, memory that is set. */
size_t emulator_graphs(void);
size_t emulator_launches(void);
/* For those who queue work. Whether `stream` captures: then it must not run, but give a copy of
 * itself to emulator_capture(), which takes care of it. `run` is called for each launch. */
int emulator_captures(cudaStream_t stream);
cudaError_t emulator_capture(cudaStream_t stream, cudaError_t (*run)(void *work), void *work,
                             void (*release)(void *work));
/* What must not be called while any stream captures calls this first: spoils the capture, and gives
 * the error that the call then has. */
cudaError_t emulator_forbid(void);
/* Remembers an error as the runtime does, and gives it; a sticky one instead, if there is one. */
cudaError_t emulator_result(cudaError_t error);
/* For those who queue work: false if it does not run, because an earlier one died, or this one does
 * as LOCKSTEP_EMULATED_FAILURE asks. */
int emulator_begins(const char *kernel);
void emulator_clear(void); /* forgets finding and sticky error: for tests of the emulator */

#ifdef __cplusplus
}
#endif

#endif
