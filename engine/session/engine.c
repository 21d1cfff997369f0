#include "engine/session/engine.h"

#include "engine/base/memory.h"
#include "engine/session/debugger.h"
#include "engine/session/pictures.h"
#include "engine/session/ranks_motion.h"

#include <stdlib.h>

struct holder {
    struct debugger *debugger; /* NULL before it is started */
};

static void start(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    struct holder *holder = state;
    holder->debugger = debugger_create(options, sink);
    debugger_publish(holder->debugger);
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct debugger *debugger = ((struct holder *)state)->debugger;
    bool ok = debugger_execute(debugger, line, status);
    *quit = debugger->quit;
    debugger->quit = false;
    return ok;
}

static struct picture *take(void *state, const struct picture_request *request)
{
    return picture_take(((struct holder *)state)->debugger, request);
}

/* Ranks may print, or die, while they stand still. */
static void idle(void *state)
{
    struct debugger *debugger = ((struct holder *)state)->debugger;
    if (debugger->pool)
        rank_pool_poll(debugger->pool, 0);
    ranks_look(debugger);
}

static void end(void *state)
{
    debugger_free(((struct holder *)state)->debugger);
    free(state);
}

struct session_engine debugger_engine(void)
{
    return (struct session_engine){.state = memory_zeroed(1, sizeof(struct holder)),
                                   .start = start,
                                   .execute = execute,
                                   .picture = take,
                                   .free = end,
                                   .idle = idle};
}
