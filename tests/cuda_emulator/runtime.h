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
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorIllegalAddress = 700,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
} cudaError_t;

/* What a stream still does besides, for libraries that put work of their own on it: `busy` carries
 * on with it, and says whether it goes on. */
struct CUstream_st {
    int (*busy)(void *work);
    void *work;
};
typedef struct CUstream_st *cudaStream_t;

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
/* For those who queue work: false if it does not run, because an earlier one died, or this one does
 * as LOCKSTEP_EMULATED_FAILURE asks. */
int emulator_begins(const char *kernel);
void emulator_clear(void); /* forgets finding and sticky error: for tests of the emulator */

#ifdef __cplusplus
}
#endif

#endif
