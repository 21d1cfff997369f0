/* Waiting for something that has to be asked for again and again: a rank that waits burns no core.
 * Any thread. */
#ifndef ENGINE_COMM_BACKOFF_H
#define ENGINE_COMM_BACKOFF_H

/* One wait: yields for 50 us, then naps from 1 us up to 1 ms. Zero-initialise. */
struct backoff {
    double began; /* clock_seconds(); 0: not yet */
    long nap;     /* microseconds */
};
/* Lets a little time pass, more each time. */
void backoff_pause(struct backoff *backoff);

#endif
