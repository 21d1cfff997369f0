/* A small process between the engine and a launcher. All that the launcher starts descends from it,
 * also what has cleared its environment, gone to a session of its own, and lost its parents: the
 * system gives it their orphans (PR_SET_CHILD_SUBREAPER). It ends them when the engine says so or
 * is gone, and removes the job folders (job_folder.h) of an engine that was killed. Internal to
 * engine/ranks. */
#ifndef ENGINE_RANKS_KEEPER_H
#define ENGINE_RANKS_KEEPER_H

/* The first argument of a keeper (keeper_serve(), in rank.h). */
#define KEEPER_COMMAND "keeper"

/* Arguments after that word; the launcher and its own arguments follow. Folders may be "". */
enum keeper_argument {
    KEEPER_ENGINE = 2, /* process */
    KEEPER_SOCKET,     /* descriptor: messages below */
    KEEPER_PATIENCE,   /* as in the order, should none come */
    KEEPER_FOLDERS,
    KEEPER_LAUNCHER = KEEPER_FOLDERS + 2
};

/* Keeper to engine. */
struct keeper_note {
    enum {
        KEEPER_STARTED, /* the launcher: its process */
        KEEPER_FAILED,  /* the launcher could not be started: errno */
        KEEPER_ABSENT,  /* the keeper itself could not be executed: errno */
        KEEPER_ENDED    /* the launcher: wait status */
    } kind;
    int value;
};

/* Engine to keeper, once: the end. All in milliseconds. */
struct keeper_order {
    int wait;     /* for the launcher to end by itself */
    int patience; /* for those that were asked to end, before they are killed */
};

/* How long a keeper takes at most until it has ended, too. */
int keeper_longest(const struct keeper_order *order);

#endif
