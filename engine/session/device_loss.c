#include "engine/session/device_loss.h"

#include "engine/session/commands.h"
#include "engine/session/motion.h"

/* Up to and with the instruction before which the failure was noticed: what died had been queued
 * by then. True if it happened again. */
static bool run_until_lost(struct debugger *debugger, int64_t noticed, struct status *status)
{
    struct pair_event event;
    bool interrupted = false;
    while (debugger_position(debugger) <= noticed && !pair_ended(debugger->target->pair))
        if (!motion_run_one(debugger, &event, &interrupted, status) || interrupted)
            break;
    return device_lost(debugger->device);
}

static bool reopen(struct debugger *debugger, bool blocking, const struct status *failure,
                   struct status *status)
{
    struct status again = STATUS_NONE;
    if (load_on_new_device(debugger, blocking, &again))
        return true;
    debugger->blocking = false;
    return status_fail(status, STATUS_INTERNAL,
                       "%.600s\nthe device does not open again in this process: start lockstep "
                       "again (%.300s)",
                       failure->text, again.text);
}

bool device_loss_recover(struct debugger *debugger, struct status *status)
{
    struct status failure = *status, exact = STATUS_NONE;
    bool loaded = debugger->target != NULL, found = debugger->blocking;
    int64_t noticed = loaded ? debugger_position(debugger) : 0;
    if (failure.code == STATUS_OK)
        status_fail(&failure, STATUS_INTERNAL, "the %s device is lost",
                    device_name(debugger->device));
    if (loaded && !found) {
        say(debugger,
            "%s\nAll that was on the GPU is gone. Running again up to there, waiting after each "
            "operation, to see which one it was.\n",
            failure.text);
        debugger_flush(debugger);
        if (!reopen(debugger, true, &failure, status))
            return false;
        found = run_until_lost(debugger, noticed, &exact);
    }
    if (!reopen(debugger, false, found && exact.code ? &exact : &failure, status))
        return false;
    if (!loaded)
        return status_fail(status, failure.code, "%s", failure.text);
    return status_fail(status, STATUS_INTERNAL, "%s\nthe run is loaded again%s",
                       found && exact.code ? exact.text : failure.text,
                       found ? "" : "; it did not happen again with a wait after each operation");
}
