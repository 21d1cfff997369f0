/* Making and sharing snapshots. A snapshot never changes once it is made. */
#ifndef ENGINE_SESSION_SNAPSHOT_H
#define ENGINE_SESSION_SNAPSHOT_H

#include "engine/session/session.h"

struct debugger;

/* A picture of the debugger's state, with one holder. Engine thread. */
struct snapshot *snapshot_create(const struct debugger *debugger);
/* A snapshot with one holder that takes the texts of `facts` over (NULL becomes ""). Any thread. */
struct snapshot *snapshot_of(const struct snapshot *facts);
/* One more holder. Any thread that has one. */
const struct snapshot *snapshot_hold(const struct snapshot *snapshot);

#endif
