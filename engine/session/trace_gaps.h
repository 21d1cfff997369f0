/* What a trace has that the run beside it will not be compared with. */
#ifndef ENGINE_SESSION_TRACE_GAPS_H
#define ENGINE_SESSION_TRACE_GAPS_H

#include "engine/session/debugger.h"

/* Says how many of the parameters the trace has not, how many of its tensors the run does not
 * compute, and how many were recorded more than once in a step; nothing if there are none, or no
 * trace. An interrupt ends the search. */
void say_trace_gaps(struct debugger *debugger);

#endif
