#include "engine/comm/backoff.h"

#include "engine/base/clock.h"

#include <sched.h>
#include <time.h>

enum { SPIN_MICROSECONDS = 50, LONGEST_NAP_MICROSECONDS = 1000 };

void backoff_pause(struct backoff *backoff)
{
    if (backoff->began <= 0)
        backoff->began = clock_seconds();
    if (clock_seconds() - backoff->began < SPIN_MICROSECONDS * 1e-6) {
        sched_yield(); /* more ranks than cores: whom we wait for may need this one */
        return;
    }
    backoff->nap = backoff->nap ? backoff->nap * 2 : 1;
    if (backoff->nap > LONGEST_NAP_MICROSECONDS)
        backoff->nap = LONGEST_NAP_MICROSECONDS;
    nanosleep(&(struct timespec){.tv_nsec = backoff->nap * 1000}, NULL);
}
