/* Rotary position embeddings: the table of cosines and sines. Facts, 2.5: frequencies in float64,
 * positions are indices in the packed sequence. */
#include "engine/model/model.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double llama3_frequency(const struct rotary_config *rotary, double frequency)
{
    double wavelength = 2 * M_PI / frequency;
    double context = rotary->original_context_length;
    double low = rotary->low_frequency_factor, high = rotary->high_frequency_factor;
    if (wavelength < context / high)
        return frequency;
    if (wavelength > context / low)
        return frequency / rotary->scale_factor;
    double smooth = (context / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / rotary->scale_factor + smooth * frequency;
}

/* The channel pair at which a number of rotations over the original context is reached. */
static double yarn_correction(const struct rotary_config *rotary, int head_size, double rotations)
{
    return head_size * log(rotary->original_context_length / (2 * M_PI * rotations)) /
           (2 * log(rotary->theta));
}

static double yarn_frequency(const struct rotary_config *rotary, int head_size, int pair,
                             double frequency)
{
    double low = fmax(floor(yarn_correction(rotary, head_size, rotary->beta_fast)), 0);
    double high = fmin(ceil(yarn_correction(rotary, head_size, rotary->beta_slow)), head_size - 1);
    if (low == high)
        high += 0.001;
    double ramp = (double)(float)clamp((pair - low) / (high - low), 0, 1);
    return frequency / rotary->scale_factor * ramp + frequency * (1 - ramp);
}

static double pair_frequency(const struct rotary_config *rotary, int head_size, int pair)
{
    double frequency = pow(rotary->theta, -2.0 * pair / head_size);
    if (rotary->type == ROTARY_LLAMA3)
        return llama3_frequency(rotary, frequency);
    if (rotary->type == ROTARY_YARN)
        return yarn_frequency(rotary, head_size, pair, frequency);
    return frequency;
}

static double attention_factor(const struct rotary_config *rotary)
{
    if (rotary->type != ROTARY_YARN)
        return 1;
    return rotary->attention_factor > 0 ? rotary->attention_factor
                                        : 0.1 * log(rotary->scale_factor) + 1;
}

void rotary_table(const struct rotary_config *rotary, int head_size, int64_t positions,
                  float *table)
{
    int half = head_size / 2;
    double factor = attention_factor(rotary);
    for (int pair = 0; pair < half; pair++) {
        double frequency = pair_frequency(rotary, head_size, pair);
        for (int64_t position = 0; position < positions; position++) {
            double angle = (double)position * frequency;
            table[position * head_size + pair] = (float)(cos(angle) * factor);
            table[position * head_size + half + pair] = (float)(sin(angle) * factor);
        }
    }
}
