/* Texts about instructions, values and comparisons, said to the user. Engine thread. */
#ifndef ENGINE_SESSION_DESCRIBE_H
#define ENGINE_SESSION_DESCRIBE_H

#include "engine/session/debugger.h"

/* LISTED_NEXT: alone, at a stop; LISTED_HERE: the same in a listing, whose lines end with the key
 * of the configuration that asked for them. */
enum listed { LISTED_PLAIN = 0, LISTED_DONE, LISTED_NEXT, LISTED_HERE };

/* One line of a listing: breakpoint mark (* on, o off), state of its outputs (= within limits,
 * x diverged, - not compared), => for the next instruction, text, layer, configuration line. */
void describe_instruction(struct debugger *debugger, int index, enum listed listed);

/* "    gradient a.b  f32 [2,3]   rms/scale 3.3e-01 > 3.0e-03   DIVERGED" */
void describe_value_line(struct debugger *debugger, int value);

/* The tensor of the team that a value is shown as, put together from the parts of several ranks;
 * -1 when it is shown as the selected rank has it. */
int describe_whole(const struct debugger *debugger, int value);

/* '=', 'x' or '-' for the comparison of a value in the current step. */
char describe_mark(const struct pair *pair, int value);

/* The metric that is worst against its limit: "rms/scale 3.3e-01 > 3.0e-03"; why there is none. */
void describe_result(const struct pair *pair, int value, struct text *text);

void describe_statistics(struct debugger *debugger, const char *label,
                         const struct statistics *statistics);

/* "llama.yaml:31", "" when it is not known. */
const char *describe_source(const struct source *source, char *buffer, int size);

/* The value that a command is about: `text`, or, when it is empty, what the last stop was about,
 * the first divergence, or what was written last. -1 on failure. */
int describe_pick_value(struct debugger *debugger, const char *text, struct status *status);

#endif
