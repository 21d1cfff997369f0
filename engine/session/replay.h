/* A recording (recorder.h) played back as an engine: the same commands in the same order give the
 * same events, snapshots and pictures, without a run. */
#ifndef ENGINE_SESSION_REPLAY_H
#define ENGINE_SESSION_REPLAY_H

#include "engine/session/engine.h"

/* Reads all of the file and checks it: a recording may come from anywhere. Commands other than the
 * one that comes next in the recording fail and say which one that is. A picture that was not taken
 * at this place with this request is answered by the newest one before it of the same kind and
 * value, else by an empty one. */
bool replay_open(const char *path, struct session_engine *engine, struct status *status);

#endif
