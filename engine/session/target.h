/* What is debugged: a run, what it is compared with, and by which limits. Engine thread. */
#ifndef ENGINE_SESSION_TARGET_H
#define ENGINE_SESSION_TARGET_H

#include "engine/compare/team.h"
#include "engine/ranks/pool.h"

/* In the place of a reference: the run is debugged alone. */
#define TARGET_ALONE "none"

struct target {
    char *name;                  /* "llama/bf4" */
    char *reference_name;        /* "llama/df4", a trace's folder, or "none" */
    char *fault;                 /* what was changed in the test's program, or NULL */
    char *init_from, *data_from; /* what both sides begin with, as of run_options, or NULL */
    struct config *test, *reference;
    struct variant_config *variant; /* of the test */
    struct trace *trace;
    struct tolerances *tolerances; /* NULL: there is no reference */
    struct interrupt interrupt;    /* of the pair */
    struct team *team;             /* several ranks: owns all pairs; NULL with one */
    struct pair *pair;             /* of the selected rank */
    uint64_t identity; /* of the program and what it is a run of, for pictures; 0: not known yet */
};

struct target_request {
    const struct config_search *search;
    const char *run;     /* MODEL, MODEL/VARIANT, or a test's name MODEL/GROUP/VARIANT */
    const char *against; /* VARIANT, MODEL/VARIANT, a trace's folder, or "none"; NULL: as the
                            variant says, else the run itself without the fault */
    const char *fault;   /* NULL: none */
    const char *init_from, *data_from; /* of run_options, for both sides; NULL: none */
    struct device *device;
    struct comm *comm;
    int threads;
    int64_t keep_limit; /* bytes */
    /* For a run of several ranks: processes for at least so many, or NULL for ranks in this process
     * (false: it cannot be run). */
    bool (*processes)(void *context, int ranks, struct rank_pool **pool, struct status *status);
    void *processes_context;
    struct interrupt interrupt;
};

/* Loads, compiles and initialises both sides, which stop before their first instruction. NULL on
 * failure. Free with target_free. `device` and `comm` must outlive the target. */
struct target *target_load(const struct target_request *request, struct status *status);
void target_free(struct target *target);
/* Whether there is nothing to compare with: no run, no trace. */
bool target_is_alone(const struct target *target);

#endif
