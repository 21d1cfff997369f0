/* What a launch has started on this machine, and is still there: a launcher may start others in the
 * background, in groups and sessions of their own, and end before they do. They descend from the
 * keeper of the launch (keeper.h), or, where somebody else was asked to start them, are found by
 * the token of the launch in the environment that they were started with (launch.h). Linux: /proc.
 * Internal to engine/ranks. */
#ifndef ENGINE_RANKS_LAUNCHED_H
#define ENGINE_RANKS_LAUNCHED_H

#include <stdbool.h>
#include <sys/types.h>

/* Until the system has taken a killed process away. */
enum { LAUNCHED_KILLED_MILLISECONDS = 5000 };

/* Which of them: members of a process group, or all others. */
struct launched {
    const char *token; /* of the launch; borrowed */
    pid_t ancestor;    /* what descends from it is one of them, too; 0: there is none */
    pid_t group;
    bool elsewhere; /* all but the group */
};

/* Sends each of them a signal (0: none), and returns how many there are; those that have ended and
 * are not waited for yet do not count, nor do those of other users. */
int launched_signal(const struct launched *which, int number);
/* Until none is left, so long at most; whether none is. */
bool launched_wait(const struct launched *which, int milliseconds);

#endif
