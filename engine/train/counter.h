/* Counter-based random numbers: number i of a stream is a function of the key and i alone, so any
 * part can be computed anywhere. splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
 * number generators", 2014), whose i-th output from state `key` is counter_mix(key + i * gamma). */
#ifndef ENGINE_TRAIN_COUNTER_H
#define ENGINE_TRAIN_COUNTER_H

#include <stdint.h>

#define COUNTER_GAMMA UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t counter_mix(uint64_t x)
{
    x += COUNTER_GAMMA;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Number `index` of the stream `key`, all 64 bits. */
static inline uint64_t counter_number(uint64_t key, uint64_t index)
{
    return counter_mix(key + index * COUNTER_GAMMA);
}

/* Number `index` of the stream `key`, as an integer of 0 to bound - 1; 1 <= bound <= 2^32. */
static inline uint64_t counter_below(uint64_t key, uint64_t index, uint64_t bound)
{
    return (counter_number(key, index) >> 32) * bound >> 32;
}

#endif
