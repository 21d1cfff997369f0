/* Between the files of the faults. */
#ifndef ENGINE_PROGRAM_FAULTS_INTERNAL_H
#define ENGINE_PROGRAM_FAULTS_INTERNAL_H

#include "engine/program/edit.h"
#include "engine/program/faults.h"

enum { FAULT_MAX_KEYS = 16 };

/* One ACTION:key=value,... of a specification. */
struct fault_clause {
    char *text;    /* the clause as written, owned */
    char *storage; /* what action, keys and values point into, owned */
    const char *action;
    const char *keys[FAULT_MAX_KEYS], *values[FAULT_MAX_KEYS];
    int count;
};

/* One instruction that is being changed. Insertions move it: `index` follows. */
struct fault_change {
    struct program *program;
    const struct fault_clause *clause;
    const char *mark;      /* for instruction.fault, owned by the program */
    int index;             /* of the instruction */
    int after;             /* instructions inserted right after it so far */
    bool skipped;          /* the action found nothing to change here */
    const char *why;       /* static; why it was skipped */
    struct status *status; /* of the caller */
};

/* The value of a key, NULL when it was not given. */
const char *fault_text(const struct fault_clause *clause, const char *key);
/* The same as a number; `missing` when it was not given. False when it is none. */
bool fault_number(const struct fault_clause *clause, const char *key, double missing,
                  double *number, struct status *status);
bool fault_integer(const struct fault_clause *clause, const char *key, int missing, int *number,
                   struct status *status);
/* Whether `key` chooses instructions. */
bool fault_is_selector(const char *key);

/* The instructions that a clause chooses, in order (free()), *count of them; NULL with a text that
 * lists what there is when none is left. */
int *fault_select(const struct program *program, const struct fault_clause *clause, int *count,
                  struct status *status);

struct fault_action {
    const char *name;
    const char *keys; /* its own keys, between blanks: " input factor " */
    bool (*apply)(struct fault_change *change);
};

/* The action called `name`; NULL with the list of all in `status`. */
const struct fault_action *fault_action_find(const char *name, struct status *status);

/* For actions. */
struct instruction *fault_instruction(const struct fault_change *change);
bool fault_skip(struct fault_change *change, const char *why);
/* Key "input" (or "output"): an operand that the instruction has. */
bool fault_operand(struct fault_change *change, const char *key, int missing, int *operand);
/* Inserts an instruction with one output like `like` before (after) the changed one; returns the
 * output. */
int fault_insert_before(struct fault_change *change, enum op op,
                        const struct op_parameters *parameters, const int *inputs, int input_count,
                        int like, enum dtype dtype);
int fault_insert_after(struct fault_change *change, enum op op,
                       const struct op_parameters *parameters, const int *inputs, int input_count,
                       int like, enum dtype dtype);

/* The larger actions. */
bool fault_shift(struct fault_change *change);
bool fault_stale(struct fault_change *change);
bool fault_swap(struct fault_change *change);
bool fault_set(struct fault_change *change);
/* Adds `by` to the integer parameter `name`. */
bool fault_add_to_parameter(struct fault_change *change, const char *name, double by);

#endif
