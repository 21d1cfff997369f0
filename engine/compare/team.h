/* All ranks of a run, each compared with its slice of one single-process reference: a pair for each
 * rank, that share the reference. A tensor that several ranks hold parts of is judged as the whole
 * tensor once all parts have arrived; parts that several ranks hold alike are compared with each
 * other, bit for bit, with or without a reference. One thread (the engine's). */
#ifndef ENGINE_COMPARE_TEAM_H
#define ENGINE_COMPARE_TEAM_H

#include "engine/compare/pair.h"
#include "engine/compare/results.h"
#include "engine/ranks/world.h"
#include "engine/tensor/mosaic.h"

struct team_options {
    const struct config *test;           /* borrowed */
    const struct config *reference;      /* borrowed; a run of one rank; NULL: no live reference */
    const struct recording *recording;   /* borrowed; used when `reference` is NULL */
    const struct trace *trace;           /* borrowed; used when both are NULL; may be NULL too */
    const struct tolerances *tolerances; /* borrowed; NULL: nothing is judged */
    struct device *device;               /* of the reference */
    struct comm *comm;                   /* of the reference */
    struct run_options reference_options;
    bool inner_values; /* judge all named values, not only log points */
    int threads;       /* for comparing; 0 = all */
};

/* A tensor of the run as the ranks hold it: of one step, one micro-batch, one micro-sequence. */
struct team_tensor {
    const char *name;    /* canonical; borrowed from a rank's program */
    struct shape global; /* of the whole tensor */
    int *values;         /* [ranks]: the value of that name, or -1 */
    int *same_as;        /* [ranks]: the lowest rank that holds the same part, or -1 */
    int parts;           /* how many different parts there are */
    bool log_point;
    /* of the current step */
    uint64_t *hashes; /* [ranks]: of the part's bytes */
    bool *arrived;    /* [ranks] */
    int parts_arrived;
    bool compared;          /* all parts have been, with the reference */
    struct metrics metrics; /* of the whole: max_index is that of the global tensor */
    struct verdict verdict;
    const struct limits *limits; /* of a pair; NULL while nothing was judged */
    int worst_rank;              /* that holds the element at max_index */
};

struct team {
    struct team_options options;
    struct world *world;
    struct pair **pairs;   /* [world->size]; test runs belong to the world */
    struct run *reference; /* keeps every value of its step, which it leaves when all ranks have */
    struct names by_name;  /* tensor name -> index */
    struct team_tensor *tensors;
    int tensor_count, tensor_capacity;
    int step;                       /* the step that results belong to */
    struct team_event *given_again; /* owned; NULL: there is none */
    struct team_totals {
        int64_t tensors, elements; /* compared, as whole tensors */
        int64_t elements_whole;    /* of how many (more than `elements` when sampled) */
        int failed;
    } totals;
};

enum team_event_kind {
    TEAM_DONE = 0, /* an instruction ran and was compared */
    TEAM_FAILED,   /* a rank failed, was lost, or ranks disagree: `text` says it all */
};

struct team_event {
    enum team_event_kind kind;
    int rank;
    struct pair_event pair; /* what the instruction brought to that rank alone */
    int completed[OP_MAX_OUTPUTS], completed_count; /* tensors of which the last part arrived */
    int failed; /* the first of them that is not within its limits as a whole, or -1 */
    /* outputs that differ from what rank `against` holds of the same part, in their order */
    struct team_desync {
        int tensor, against;
    } desynchronised[OP_MAX_OUTPUTS];
    int desynchronised_count;
    bool again; /* team_give_again() */
    char text[1024];
};

/* Takes over `world` (also on failure), whose ranks stand before their first instruction; compares
 * the initial parameters. NULL on failure. */
struct team *team_create(const struct team_options *options, struct world *world,
                         struct status *status);
void team_free(struct team *team);

/* Lets a rank run up to instruction `limit` of its step. At the end of a step a rank goes on only
 * when all are there. */
bool team_allow(struct team *team, int rank, int limit, struct status *status);
/* The next thing that happened, within `seconds`: *got tells whether anything did. False when the
 * comparison itself failed. */
bool team_next(struct team *team, double seconds, struct team_event *event, bool *got,
               struct status *status);
/* The event comes again, once, before anything newer and with `again` set, unless the ranks go to
 * another step before: it was taken when nobody could act on it. One at a time. */
void team_give_again(struct team *team, const struct team_event *event);
/* Whether there is such an event, of that rank (-1: of any). */
bool team_gives_again(const struct team *team, int rank);
/* Lets every rank run to the end of its step; at the end of a step, of the next one. */
bool team_allow_step(struct team *team, struct status *status);
bool team_ended(const struct team *team);
/* Takes all ranks, and the reference, to the start of a step. */
bool team_go_to_step(struct team *team, int step, struct status *status);

/* The whole tensor, put together from its parts, beside the reference's whole tensor. Parts that
 * are not at hand are NaN; *missing counts them. What one rank has all of is looked at in its
 * memory, as pair_view() does: valid until the rank runs on. Free with pair_sides_free. */
bool team_view(struct team *team, int tensor, struct pair_sides *sides, int *missing,
               struct status *status);
/* A whole tensor, to be read where its parts lie: on this machine in the memory of the ranks, else
 * (and on GPUs) in copies of this tensor's parts. Valid until a rank runs on. */
struct team_parts {
    struct mosaic whole;
    void **copies; /* [count] */
    int count;
    size_t copied; /* bytes of them */
};
/* *complete tells whether the ranks have all of it; false: it could not be fetched. Free with
 * team_parts_free. */
bool team_view_parts(struct team *team, int tensor, struct team_parts *parts, bool *complete,
                     struct status *status);
void team_parts_free(struct team_parts *parts);
/* What a trace keeps of a whole tensor whose parts are all on far ranks (world_is_far), each of
 * which is asked for its own: statistics, and sampling->count samples. *taken is false, with
 * nothing done, where some part is near, or the ranks do not have all of it: team_view_parts()
 * tells. */
bool team_summarize(struct team *team, int tensor, const struct sampling *sampling, bool *taken,
                    struct device_statistics *statistics, char *samples, struct status *status);
/* A value of a rank's program; and the first rank that holds a part of a tensor. */
const struct value *team_value(const struct team *team, int rank, int value);
int team_first_rank(const struct team_tensor *tensor);
/* The tensor of that name, or -1. */
int team_find(const struct team *team, const char *name);
/* The tensor that a rank's value is (a part of), or -1. */
int team_tensor_of(const struct team *team, int rank, int value);
/* Whether a rank has computed that element of the whole in this step, and still has it. */
bool team_has_element(const struct team *team, int tensor, int64_t global_index);
/* The rank that holds an element, and its flat index there: the lowest such rank; -1 if none. */
int team_locate(const struct team *team, int tensor, int64_t global_index, int64_t *local_index);

/* Puts the reference's part into a value of `rank`, and into that of all ranks that hold the same
 * part, or with `whole` any part of the tensor; remembers it for whenever the ranks come there
 * again. Counts the ranks in *parts. What was computed from it since is as it was: go back. */
bool team_graft(struct team *team, int rank, int value, bool whole, int *parts,
                struct status *status);

/* Adds the tensor as it was judged, as one result. */
void team_log(struct team *team, int tensor, const char *step, struct comparison_log *log);
/* Log points of the reference that no rank computed, or not all of; and of ranks that the reference
 * has not. Calls `report` for each; returns the number. */
int team_unmatched(const struct team *team,
                   void (*report)(void *context, const char *name, bool missing), void *context);

#endif
