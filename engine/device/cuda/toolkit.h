/* The GPU toolkit, or the tests' emulation of the part of it that is used here. For the C files;
 * kernels include launch.cuh. */
#ifndef ENGINE_DEVICE_CUDA_TOOLKIT_H
#define ENGINE_DEVICE_CUDA_TOOLKIT_H

#ifdef LOCKSTEP_CUDA_EMULATED
#include "tests/cuda_emulator/cublaslt.h"
#include "tests/cuda_emulator/runtime.h"
#else
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#endif

#endif
