#include "engine/train/learning_rate.h"

#include <math.h>

static double decay_fraction(enum learning_rate_decay decay, double power, double s)
{
    switch (decay) {
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

static double rate_of_stages(const struct optimizer_config *optimizer, int iteration)
{
    const struct learning_rate_stage *stage = optimizer->stages;
    const struct learning_rate_stage *end = stage + optimizer->stage_count;
    while (stage < end && iteration >= stage->end)
        stage++;
    if (stage == end)
        return stage[-1].last;
    double s = (double)(iteration - stage->begin) / ((double)stage->end - stage->begin);
    return stage->first +
           decay_fraction(stage->type, stage->power, s) * (stage->last - stage->first);
}

double learning_rate_at(const struct optimizer_config *optimizer, int iteration)
{
    if (optimizer->stage_count > 0)
        return rate_of_stages(optimizer, iteration);
    double base = optimizer->learning_rate, minimum = optimizer->minimum_learning_rate;
    int warmup = optimizer->warmup_iterations, end = optimizer->decay_iterations;
    if (iteration < warmup)
        return base * iteration / warmup;
    if (optimizer->decay == DECAY_CONSTANT || end <= warmup)
        return base;
    if (iteration >= end)
        return minimum;
    double s = (double)(iteration - warmup) / (end - warmup);
    double power = optimizer->decay_power > 0 ? optimizer->decay_power : 1;
    return base + decay_fraction(optimizer->decay, power, s) * (minimum - base);
}

double learning_rate_sum(const struct optimizer_config *optimizer, int iterations)
{
    double sum = 0;
    for (int iteration = 1; iteration <= iterations; iteration++)
        sum += learning_rate_at(optimizer, iteration);
    return sum;
}
