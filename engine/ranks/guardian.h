/* What a rank process does first: it splits in two. The child becomes the rank; the parent stays,
 * to tell the engine how the rank ended and to end it when the engine is gone. A launcher only sees
 * the parent, which never crashes. Internal to engine/ranks. */
#ifndef ENGINE_RANKS_GUARDIAN_H
#define ENGINE_RANKS_GUARDIAN_H

#include "engine/ranks/channel.h"

/* Connects to the engine and forks. Returns in the child only, where `address` and `hello` (whose
 * role it sets) are for the rank's own connections; or in the parent, when there is no child and
 * never was: false. Must be called before there are threads. */
bool guardian_split(const char *address, struct hello *hello, struct status *status);

#endif
