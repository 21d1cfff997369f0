/* Between the parts of the emulation: a graph runs, so what runs now was not launched by itself. */
#ifndef TESTS_CUDA_EMULATOR_GRAPHS_H
#define TESTS_CUDA_EMULATOR_GRAPHS_H

#include "tests/cuda_emulator/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins and ends the run of a graph (runtime.c). */
void emulator_within(int within);

#ifdef __cplusplus
}
#endif

#endif
