/* The ranks of a run as screens and the prompt show them: where each stands, what it waits for, how
 * it ended, what memory it takes. Plain data that is taken on the engine thread and handed over; it
 * never points into the run. What is not known is -1, NAN or NULL, never 0. */
#ifndef ENGINE_SESSION_RANKS_H
#define ENGINE_SESSION_RANKS_H

#include "engine/base/text.h"
#include "engine/device/device.h"
#include "engine/session/output.h"
#include "engine/tensor/dtype.h"

/* In the order in which they are worth a look: the later, the more. */
enum rank_situation {
    SITUATION_EXITED = 0, /* its process ended with `exit_status` */
    SITUATION_STOPPED,    /* stands before its next instruction */
    SITUATION_RUNNING,
    SITUATION_STARTING, /* its process or connection is not there yet */
    SITUATION_WAITING,  /* has arrived at a collective and waits for others */
    SITUATION_HALTED,   /* its process is stopped by `signal`: the others wait for it */
    SITUATION_FAILED,   /* an instruction failed; its memory can be read */
    SITUATION_KILLED,   /* its process was ended by `signal` */
    SITUATION_LOST,     /* does not answer */
    SITUATION_COUNT
};
const char *rank_situation_name(enum rank_situation situation); /* "exited", ... static */

/* The collective that a rank waits in. */
struct rank_wait {
    const char *operation; /* "all_reduce": static; NULL: it waits in none */
    const char *group;     /* "data": static; NULL: not known */
    int64_t elements;
    enum dtype dtype;
    double seconds;                           /* for so long; NAN */
    struct rank_range missing[OUTPUT_RANGES]; /* the ranks that it waits for */
    int missing_count, missing_more;          /* ranges; ranks that did not fit in */
};

/* The first tensor of which a rank has other bits than ranks that hold the same. */
struct rank_departure {
    char *tensor; /* canonical name; NULL: there is none */
    int step;
    int against;                 /* a rank that holds the same, with the bits most of them have */
    int further;                 /* tensors of this rank that departed since */
    int64_t different, elements; /* of how many, 0: not known, nor what follows */
    char index[48];              /* of the first that differs, in the rank's part: "[3,5]" */
    double own, other;           /* the rank's element there, and that of rank `against` */
};

struct rank_picture {
    enum rank_situation situation;
    int step, next, instructions; /* step from 0; the next instruction, of how many in a step */
    char *text;                   /* of that instruction, NULL: none */
    char *place;                  /* "decoder.1.mlp.layer_2", NULL */
    struct rank_wait wait;
    struct rank_departure departure;
    int exit_status, signal;                          /* -1: not ended, nor stopped, so */
    char *reason;                                     /* what happened, NULL */
    int64_t pid;                                      /* -1: none of its own */
    char *host;                                       /* NULL: this one */
    int64_t memory[MEMORY_CLASS_COUNT], memory_total; /* bytes in use; -1: not known */
    int64_t lines[RANK_STREAM_COUNT];                 /* printed so far */
};

struct ranks_picture {
    int rank_count;
    struct rank_picture *ranks; /* [rank_count] */
};

void ranks_picture_free(struct ranks_picture *picture);

/* Collects ranks (each one once, in any order) into ranges "0-3,7"; those that do not fit are
 * counted. `flags[rank]` tells who is in. */
void rank_wait_set_missing(struct rank_wait *wait, const bool *flags, int count);

/* What the rank does, in one line without its number: "waiting in all_reduce(data, 65,536 x f32) at
 * decoder.1.mlp for 12.3 s, for ranks 2,5-7". Appends. */
void rank_picture_describe(const struct rank_picture *rank, struct text *out);
/* "unlike rank 0: state X", in one line: nothing where the rank has not departed. Appends. */
void rank_departure_describe(const struct rank_departure *departure, struct text *out);
/* The elements, in one line: "[5] is 0.9, on rank 0 1; step 2, 3 of 64 elements; 12 more tensors
 * since". Appends. */
void rank_departure_details(const struct rank_departure *departure, struct text *out);

/* Ranks that are in the same situation at the same place, for rows of a table. */
struct rank_group {
    int first; /* the lowest of them: stands for all */
    int count;
    char *ranks;    /* "3", "0-511,700", "0-3,5,...": at most RANK_GROUP_TEXT bytes */
    int64_t memory; /* the most that one of them takes, -1 */
};

enum { RANK_GROUP_TEXT = 40 };

/* The ranks as rows: one for each, or one for each group with `merge`; what is worth a look most
 * first, then by number. Returns the count; free with rank_groups_free. */
int rank_groups(const struct ranks_picture *picture, bool merge, struct rank_group **groups);
void rank_groups_free(struct rank_group *groups, int count);

/* The table that `info ranks` prints: appends. Ranks are merged when there are more than `most`. */
void ranks_picture_table(const struct ranks_picture *picture, int most, struct text *out);

struct debugger;
/* Never NULL; no ranks when no run is loaded. Engine thread. */
struct ranks_picture *picture_of_ranks(const struct debugger *debugger);

#endif
