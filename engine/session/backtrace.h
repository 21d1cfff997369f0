/* The frames of backtrace and blame. Engine thread. */
#ifndef ENGINE_SESSION_BACKTRACE_H
#define ENGINE_SESSION_BACKTRACE_H

#include "engine/compare/check.h"
#include "engine/session/debugger.h"

enum { BACKTRACE_FRAMES = 16 }; /* shown at most, unless the user says so */

/* "3.3e-01"; "-" when it is not known. */
const char *backtrace_error_text(double error, char buffer[32]);
/* One line: number, instruction, operation, value, verdict, error. */
void backtrace_frame(struct debugger *debugger, int number, int instruction, int value,
                     const char *verdict, double error);
/* The error of a value in the step at hand, also of a state that it began with. */
struct value_error backtrace_error_of(const struct debugger *debugger, int value);

#endif
