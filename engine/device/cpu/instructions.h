/* Which instructions of the processor the CPU device uses. */
#ifndef ENGINE_DEVICE_CPU_INSTRUCTIONS_H
#define ENGINE_DEVICE_CPU_INSTRUCTIONS_H

#include "engine/device/cpu/cpu.h"

/* Sets kernels and matrix_units of the context to the most that processor and system have or, if
 * the environment's LOCKSTEP_CPU names one of generic, avx2, avx512 and amx, to no more than that.
 * Fails if it is something else. */
bool instructions_choose(struct cpu_context *context, struct status *status);

#endif
