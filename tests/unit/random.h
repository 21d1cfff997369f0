/* Random numbers of the tests: fresh in each run, with the seed printed, so that a failure can be
 * repeated with LOCKSTEP_TEST_SEED=<seed>. */
#ifndef TESTS_UNIT_RANDOM_H
#define TESTS_UNIT_RANDOM_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct random {
    uint64_t state;
};

/* splitmix64, https://prng.di.unimi.it/splitmix64.c */
static inline uint64_t random_bits(struct random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Takes the seed from the environment or the clock, and prints it. Each subject has numbers of its
 * own. */
static inline struct random random_start(const char *what)
{
    const char *given = getenv("LOCKSTEP_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct random clock = {(uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec};
    uint64_t seed = given ? strtoull(given, NULL, 10) : random_bits(&clock) >> 16;
    printf("%s: LOCKSTEP_TEST_SEED=%llu\n", what, (unsigned long long)seed);
    for (; *what; what++)
        seed = (seed ^ (unsigned char)*what) * 0x100000001b3u; /* FNV-1a */
    return (struct random){seed};
}

/* An integer of low..high, both included. */
static inline int64_t random_integer(struct random *random, int64_t low, int64_t high)
{
    return low + (int64_t)(random_bits(random) % (uint64_t)(high - low + 1));
}

/* Uniform in [low, high). */
static inline double random_uniform(struct random *random, double low, double high)
{
    return low + (high - low) * ((double)(random_bits(random) >> 11) * 0x1p-53);
}

static inline double random_normal(struct random *random)
{
    double radius = sqrt(-2 * log(1 - random_uniform(random, 0, 1)));
    return radius * cos(6.283185307179586 * random_uniform(random, 0, 1));
}

#endif
