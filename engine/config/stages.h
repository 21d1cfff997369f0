/* learning_rate.schedule: "TYPE,UPDATES,RATE[,LAST_RATE[,POWER]];..." (facts, 5.7).
 * Internal to engine/config. */
#ifndef ENGINE_CONFIG_STAGES_H
#define ENGINE_CONFIG_STAGES_H

#include "engine/config/config.h"

enum { STAGES_WHY_SIZE = 320 };

/* Fills `stages` and `stage_count` of `optimizer`; false with the reason in `why` (and a
 * stage_count of 0) if the text is wrong. Any thread. */
bool stages_parse(const char *text, struct optimizer_config *optimizer, char why[STAGES_WHY_SIZE]);

#endif
