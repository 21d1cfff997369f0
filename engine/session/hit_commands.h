/* Commands that run when a breakpoint stops the run: gdb's 'commands N', lines, 'end'. Engine
 * thread.
 *
 * A list is one text, each line with its newline: it travels with its breakpoint. */
#ifndef ENGINE_SESSION_HIT_COMMANDS_H
#define ENGINE_SESSION_HIT_COMMANDS_H

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <stdbool.h>

struct debugger;
struct breakpoint;
struct stops;

/* A list that is being typed; zero: none. */
struct typed_commands {
    int *numbers; /* of the breakpoints that it is for */
    int number_count, number_capacity;
    struct text lines;
    int nested;       /* lists in the list that have no 'end' yet */
    int source_depth; /* the debugger's when it began: a file ends what began in it */
};

/* Lists of the breakpoints that stopped the run last, to be done. */
struct due_commands {
    struct due_list {
        int number; /* of the breakpoint, which may be gone by now */
        char *lines;
    } * list;
    int count, capacity;
};

/* Whether a list is being typed: every line belongs to it. */
bool hit_commands_are_typed(const struct debugger *debugger);
/* The next line of it; 'end' gives it to its breakpoints. SESSION_ABANDON (session.h): drops it. */
void hit_commands_take(struct debugger *debugger, const char *line);
/* Drops what is typed. */
void hit_commands_abandon(struct debugger *debugger);
/* True unless a list that began in the source file which ends now has no 'end': it is dropped. */
bool hit_commands_check_end(struct debugger *debugger, struct status *status);

/* The breakpoint stopped the run. */
void hit_commands_note(struct debugger *debugger, const struct breakpoint *breakpoint);
/* Whether nothing is to be said of a stop: all that stopped the run are breakpoints whose commands
 * begin with 'silent'. */
bool hit_commands_are_silent(struct debugger *debugger, const struct stops *stops);
/* Does what is due, also what becomes due by it, until nothing is left. A command that moves the
 * run ends its list, as in gdb; one that fails ends all. */
bool hit_commands_run(struct debugger *debugger, struct status *status);
void hit_commands_forget(struct debugger *debugger); /* what is due */

#endif
