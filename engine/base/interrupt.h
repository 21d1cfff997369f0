/* How long work learns that the user does not want to wait for it. */
#ifndef ENGINE_BASE_INTERRUPT_H
#define ENGINE_BASE_INTERRUPT_H

#include "engine/base/status.h"

#include <stddef.h>

/* `asked` is called from any thread, often: it must be as cheap as reading an atomic number. Once
 * it has said yes it says yes until the work that looks at it has returned, so that no part of the
 * work can miss what another part has seen. */
struct interrupt {
    bool (*asked)(const void *context);
    const void *context;
};

/* NULL: nobody interrupts. */
static inline bool interrupt_asked(const struct interrupt *interrupt)
{
    return interrupt && interrupt->asked(interrupt->context);
}

/* What work says that ends because it was asked to. Returns false, as status_fail. */
static inline bool interrupt_fail(struct status *status)
{
    return status_fail(status, STATUS_CANCELLED, "interrupted");
}

#endif
