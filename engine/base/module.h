/* Parts of the program that are shared objects beside it, loaded when asked for, so that it starts
 * on machines that lack their libraries. Any thread. */
#ifndef ENGINE_BASE_MODULE_H
#define ENGINE_BASE_MODULE_H

#include "engine/base/status.h"

/* The address of `symbol` in lockstep_<name>.so, which is looked for in $LOCKSTEP_MODULE_PATH, the
 * folder of the executable, and ../lib/lockstep from there. NULL on failure (STATUS_UNSUPPORTED,
 * with the loader's reason). Modules stay loaded: GPU and MPI libraries do not survive unloading.
 */
void *module_symbol(const char *name, const char *symbol, struct status *status);

#endif
