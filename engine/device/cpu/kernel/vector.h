/* Vectors as both gcc and clang know them, for what neither makes out of a loop by itself. */
#ifndef ENGINE_DEVICE_CPU_KERNEL_VECTOR_H
#define ENGINE_DEVICE_CPU_KERNEL_VECTOR_H

#include <stdint.h>

enum { VECTOR_LANES = 16 };
typedef float vector16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t vector16_mask __attribute__((vector_size(64), aligned(4), may_alias));

/* Lane by lane: where mask (all ones or all zeros) a, else b. */
#define VECTOR_SELECT(mask, a, b)                                                                  \
    ((vector16)(((vector16_mask)(a) & (mask)) | ((vector16_mask)(b) & ~(mask))))

#endif
