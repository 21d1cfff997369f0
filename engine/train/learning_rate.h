/* The learning rate as a function of the optimizer step. Facts, section 5.7. */
#ifndef ENGINE_TRAIN_LEARNING_RATE_H
#define ENGINE_TRAIN_LEARNING_RATE_H

#include "engine/config/config.h"

/* The rate of update number `iteration`, counted from 1 (skipped updates do not count); any number
 * >= 0 is fine. Linear from 0 to learning_rate over warmup_iterations, then, with
 * s = (iteration - warmup) / (decay_iterations - warmup):
 *   linear  f = s,  power  f = s^decay_power,  cosine  f = (1 - cos(pi s^decay_power)) / 2,
 *   rate = learning_rate + f (minimum_learning_rate - learning_rate),
 * and the minimum after decay_iterations. Constant, or without a decay_iterations beyond the
 * warm-up: learning_rate. A decay_power of 0 (not set) is 1.
 * With `stages` these alone count: in each s = (iteration - begin) / (end - begin), and the rate
 * goes from `first` to `last` by the same f; behind the last stage it stays. Any thread. */
double learning_rate_at(const struct optimizer_config *optimizer, int iteration);
/* The sum of the rates of updates 1 to `iterations`: how far they may have moved a parameter, but
 * for a factor. Any thread. */
double learning_rate_sum(const struct optimizer_config *optimizer, int iterations);

#endif
