/* What the measuring programs share: clocks, what processes take, and what is said of many times.
 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <sys/types.h>

/* Seconds, from any beginning. */
double now(void);
/* What all threads of this process took of the processors so far, in seconds. It means something on
 * a machine that does other things too. */
double processor_now(void);
/* The same of any process, in ticks of the system (10 ms). What is asked of a process that is gone
 * ends this one. */
double processor_of(pid_t process);
/* MiB of memory that a process has touched and not given back. */
double resident_of(pid_t process);
/* Ends the process, with its name and why on standard error. */
void give_up(const char *what) __attribute__((noreturn));
/* Sorts the numbers, the smallest first, and returns the one in the middle. */
double sort_median(double *numbers, int count);
/* Sorts the times (seconds) and prints members of a JSON object: NAME_median_ms, NAME_99_ms. */
void print_figures(const char *name, double *times, int count);

#endif
