#include "engine/device/cpu/instructions.h"

#include "engine/device/cpu/matrix/matrix.h"

#include <stdlib.h>

enum level { GENERIC, AVX2, AVX512, AMX, LEVELS };

static bool asked_level(enum level *level, struct status *status)
{
    static const char *const names[LEVELS] = {"generic", "avx2", "avx512", "amx"};
    const char *asked = getenv("LOCKSTEP_CPU");
    *level = AMX;
    if (!asked || !*asked)
        return true;
    for (int i = 0; i < LEVELS; i++)
        if (strcmp(asked, names[i]) == 0) {
            *level = (enum level)i;
            return true;
        }
    return status_fail(status, STATUS_INVALID,
                       "LOCKSTEP_CPU is \"%s\"; it may be generic, avx2, avx512 or amx", asked);
}

static enum level vector_level(void)
{
#ifdef LOCKSTEP_CPU_X86
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return AVX512;
    if (avx2)
        return AVX2;
#endif
    return GENERIC;
}

static const struct kernels *kernels_of(enum level level)
{
#ifdef LOCKSTEP_CPU_X86
    if (level >= AVX512)
        return &kernel_table_avx512;
    if (level == AVX2)
        return &kernel_table_avx2;
#endif
    (void)level;
    return &kernel_table_generic;
}

bool instructions_choose(struct cpu_context *context, struct status *status)
{
    enum level asked, vectors = vector_level();
    if (!asked_level(&asked, status))
        return false;
    context->kernels = kernels_of(asked < vectors ? asked : vectors);
#ifdef LOCKSTEP_CPU_MATRIX
    context->matrix_units = asked == AMX && vectors == AVX512 && matrix_open();
#endif
    return true;
}
