/* What the measuring programs share: the clock, and what is said of many times. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

/* Seconds, from any beginning. */
double now(void);
/* Ends the process, with its name and why on standard error. */
void give_up(const char *what) __attribute__((noreturn));
/* For qsort. */
int compare_doubles(const void *left, const void *right);
/* Sorts the times (seconds) and prints members of a JSON object: NAME_median_ms, NAME_99_ms. */
void print_figures(const char *name, double *times, int count);

#endif
