/* Parameter initialisation by a counter-based generator: each element depends on the seed, the
 * parameter's name and its index in the global tensor alone, so every layout starts bit-identical.
 *
 * Element i of a normal(0, std) tensor: key = splitmix64(seed ^ fnv1a64(name)); pair j = i / 2;
 * a = splitmix64(key + 2j * 0x9e3779b97f4a7c15), b = splitmix64(key + (2j+1) * 0x9e37...15);
 * u1 = ((a >> 11) + 1) * 2^-53, u2 = (b >> 11) * 2^-53; r = sqrt(-2 ln u1) (float64);
 * even i: (float)(std * r * cos(2 pi u2)), odd i: (float)(std * r * sin(2 pi u2)).
 * splitmix64(x): x += 0x9e3779b97f4a7c15; x = (x ^ x>>30) * 0xbf58476d1ce4e5b9;
 * x = (x ^ x>>27) * 0x94d049bb133111eb; return x ^ x>>31. (Steele, Lea, Flood 2014; Box-Muller.)
 * docs/numbers.md repeats this with a NumPy version. */
#ifndef ENGINE_TRAIN_INITIALIZE_H
#define ENGINE_TRAIN_INITIALIZE_H

#include <stdint.h>

/* Writes elements first .. first+count-1 of the tensor `name`. Any thread. */
void initialize_normal(float *out, int64_t first, int64_t count, const char *name, uint64_t seed,
                       double std);

#endif
