#include "engine/session/device_loss.h"

#include "engine/session/commands.h"
#include "engine/session/motion.h"

/* How running to the same place once more went. */
enum second_run { SECOND_LOST = 0, SECOND_ARRIVED, SECOND_BROKE_OFF };

/* Up to and with the instruction before which the failure was noticed: what died had been queued
 * by then. */
static enum second_run run_again(struct debugger *debugger, int64_t noticed, struct status *status)
{
    struct pair_event event;
    bool good = true, interrupted = false;
    while (good && !interrupted && debugger_position(debugger) <= noticed &&
           !pair_ended(debugger->target->pair)) {
        good = motion_run_one(debugger, &event, &interrupted, status);
        interrupted = interrupted || debugger_cancelled(debugger);
    }
    if (device_lost(debugger->device))
        return SECOND_LOST;
    bool there = debugger_position(debugger) > noticed || pair_ended(debugger->target->pair);
    return there ? SECOND_ARRIVED : SECOND_BROKE_OFF;
}

/* `remark`: what is known of the second run by now. */
static bool reopen(struct debugger *debugger, bool blocking, const struct status *failure,
                   const char *remark, struct status *status)
{
    struct status again = STATUS_NONE;
    if (load_on_new_device(debugger, blocking, &again))
        return true;
    debugger->blocking = false;
    device_close(debugger->device); /* one that waits is not for what is loaded next */
    debugger->device = NULL;
    if (again.code == STATUS_CANCELLED)
        return status_fail(status, STATUS_INTERNAL,
                           "%.600s\nthe run is not loaded again: interrupted%s", failure->text,
                           remark);
    return status_fail(status, STATUS_INTERNAL,
                       "%.600s\nthe device does not open again in this process: start lockstep "
                       "again (%.300s)",
                       failure->text, again.text);
}

static const char *remark_of(enum second_run second)
{
    static const char *const remarks[] = {
        [SECOND_LOST] = "",
        [SECOND_ARRIVED] = "; it did not happen again with a wait after each operation",
        [SECOND_BROKE_OFF] = "; running it with a wait after each operation was broken off before"};
    return remarks[second];
}

bool device_loss_recover(struct debugger *debugger, struct status *status)
{
    struct status failure = *status, exact = STATUS_NONE;
    bool loaded = debugger->target != NULL;
    int64_t noticed = loaded ? debugger_position(debugger) : 0;
    enum second_run second = SECOND_LOST;
    if (failure.code == STATUS_OK)
        status_fail(&failure, STATUS_INTERNAL, "the %s device is lost",
                    device_name(debugger->device));
    if (loaded) {
        say(debugger,
            "%s\nAll that was on the GPU is gone. Running again up to there, waiting after each "
            "operation, to see which one it was.\n",
            failure.text);
        debugger_flush(debugger);
        if (!reopen(debugger, true, &failure, "", status))
            return false;
        second = run_again(debugger, noticed, &exact);
    }
    bool named = second == SECOND_LOST && exact.code;
    if (!reopen(debugger, false, named ? &exact : &failure, remark_of(second), status))
        return false;
    if (!loaded)
        return status_fail(status, failure.code, "%s", failure.text);
    return status_fail(status, STATUS_INTERNAL, "%s\nthe run is loaded again%s",
                       named ? exact.text : failure.text, remark_of(second));
}
