#include "bench/figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void give_up(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void print_figures(const char *name, double *times, int count)
{
    qsort(times, (size_t)count, sizeof(*times), compare_doubles);
    printf(", \"%s_median_ms\": %.3f, \"%s_99_ms\": %.3f", name, times[count / 2] * 1e3, name,
           times[count * 99 / 100] * 1e3);
}
