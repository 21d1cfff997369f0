/* Names of tensors as large programs have them. */
#ifndef BENCH_SYNTHETIC_NAME_H
#define BENCH_SYNTHETIC_NAME_H

#include <stdint.h>

/* Name number `index` (from 0) of an ordinary program, each another; free with free(). */
char *synthetic_name(int64_t index);

#endif
