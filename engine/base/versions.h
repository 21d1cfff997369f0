/* Inner loops outside of the devices' kernels, compiled once for each instruction set. */
#ifndef ENGINE_BASE_VERSIONS_H
#define ENGINE_BASE_VERSIONS_H

/* Before a function's definition: the version that fits the processor is chosen when the program
 * starts, by an ifunc, which the sanitizers' runtimes do not support; clang vectorises the plain
 * version. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VERSIONS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VERSIONS
#endif

#endif
