/* After an operation died on the GPU so that nothing there works any more, and all memory is gone.
 * Engine thread. */
#ifndef ENGINE_SESSION_DEVICE_LOSS_H
#define ENGINE_SESSION_DEVICE_LOSS_H

#include "engine/session/debugger.h"

/* For a command that left the device lost, with what it said in `status`. Opens the device again
 * and runs to the same place once more, waiting after each operation, so that the one that died is
 * known; then opens it once more and loads the run, which stands at its beginning. False, with the
 * instruction, the kernel and its tensors in `status`; without a run if the device does not open
 * again, or if an interrupt comes while it is loaded. */
bool device_loss_recover(struct debugger *debugger, struct status *status);

#endif
