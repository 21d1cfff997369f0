/* What befalls a rank of a test: it does it to itself, as told by a signal or by its environment,
 * at once or after a while, wherever it is then. */
#ifndef TESTS_UNIT_ENGINE_RANKS_HELPER_STRIKE_H
#define TESTS_UNIT_ENGINE_RANKS_HELPER_STRIKE_H

#include <stdbool.h>
#include <sys/types.h>

enum strike_kind {
    STRIKE_KILL = 0,    /* SIGKILL */
    STRIKE_CRASH,       /* SIGSEGV */
    STRIKE_ABORT,       /* SIGABRT */
    STRIKE_STOP,        /* SIGSTOP, for ever */
    STRIKE_PAUSE,       /* SIGSTOP, and goes on after a moment */
    STRIKE_EXIT_0,      /* exit status 0 */
    STRIKE_EXIT_3,      /* exit status 3 */
    STRIKE_DROP,        /* shuts its connection with the engine down */
    STRIKE_GARBAGE,     /* sends random bytes over it */
    STRIKE_HALF,        /* sends half a message over it, and shuts it down */
    STRIKE_FLOOD,       /* prints 50 MB without a line end */
    STRIKE_NO_MEMORY,   /* may have no more memory than it has */
    STRIKE_NO_FILES,    /* may write no files: what its limit for them is is what a disk has */
    STRIKE_ORPHAN,      /* its guardian is killed */
    STRIKE_NO_LAUNCHER, /* its launcher is killed */
    STRIKE_NO_KEEPER,   /* the keeper of its launch is */
    STRIKE_KINDS,
};

enum { STRIKE_FLOOD_BYTES = 50 << 20 };

struct strike {
    enum strike_kind kind;
    int rank;
    int microseconds; /* until it happens; less than a second */
    int word;         /* 0 to 255: in the rank's last words, "last words 217" */
};

const char *strike_name(enum strike_kind kind);
/* Whether the rank cannot go on after it. */
bool strike_is_deadly(enum strike_kind kind);
/* Whether all ranks go with it. */
bool strike_takes_all(enum strike_kind kind);
/* Whether it does nothing any more from that moment on. */
bool strike_is_instant(enum strike_kind kind);
/* Whether a report of a lost rank says what befell it. */
bool strike_is_told(enum strike_kind kind, const char *report);
/* Tells a process. */
void strike_send(const struct strike *strike, pid_t pid);
/* Tells the ranks that are started from now on; NULL: none. */
void strike_announce(const struct strike *strike);
/* Whether what was announced last has come over a rank since this was asked for the last time. */
bool strike_has_come(void);

/* In the rank, before it is served. */
void strike_prepare(void);

#endif
