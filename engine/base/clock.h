/* Time since any beginning, which never goes back (CLOCK_MONOTONIC): the same for all processes of
 * a machine. Any thread; signal handlers, too. */
#ifndef ENGINE_BASE_CLOCK_H
#define ENGINE_BASE_CLOCK_H

#include <stdint.h>

double clock_seconds(void);
int64_t clock_nanoseconds(void);

#endif
