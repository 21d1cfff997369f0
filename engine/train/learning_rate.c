#include "engine/train/learning_rate.h"

#include <math.h>

static double decay_fraction(const struct optimizer_config *optimizer, double s)
{
    double power = optimizer->decay_power > 0 ? optimizer->decay_power : 1;
    switch (optimizer->decay) {
    case DECAY_LINEAR:
        return s;
    case DECAY_POWER:
        return pow(s, power);
    case DECAY_COSINE:
        return 0.5 * (1 - cos(3.14159265358979323846 * pow(s, power)));
    case DECAY_CONSTANT:
        break;
    }
    return 0;
}

double learning_rate_at(const struct optimizer_config *optimizer, int iteration)
{
    double base = optimizer->learning_rate, minimum = optimizer->minimum_learning_rate;
    int warmup = optimizer->warmup_iterations, end = optimizer->decay_iterations;
    if (iteration < warmup)
        return base * iteration / warmup;
    if (optimizer->decay == DECAY_CONSTANT || end <= warmup)
        return base;
    if (iteration >= end)
        return minimum;
    double s = (double)(iteration - warmup) / (end - warmup);
    return base + decay_fraction(optimizer, s) * (minimum - base);
}
