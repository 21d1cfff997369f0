/* Recordings of a session, for tests of front ends that need no run: a text file with one JSON
 * object for each line, in the order in which the front end was told of it. A recorder is an engine
 * in front of another one.
 *
 *   {"format":"lockstep-recording","version":2}     the first line
 *   {"command":"continue"}                          what follows, up to the next command, is its
 *   {"snapshot":{...}} {"event":N,"text":"..."}     as published and emitted
 *   {"loaded":true}                                 a program was loaded
 *   {"done":true} or {"done":false,"code":N,"error":"..."}, both with "quit":true if asked for
 *   {"picture":{...}}                               taken then, with what was asked for
 *   {"again":KIND}                                  the same as the last one of that kind
 *
 * Members of the objects: picture_fields.c. */
#ifndef ENGINE_SESSION_RECORDER_H
#define ENGINE_SESSION_RECORDER_H

#include "engine/session/engine.h"

enum { RECORDING_VERSION = 2 };

/* Puts a recorder in front of *engine, which it takes over. The file is made anew. On failure
 * *engine stays as it was. A recording that could not be written to its end says so by an
 * EVENT_MESSAGE. */
bool recorder_open(const char *path, struct session_engine *engine, struct status *status);

#endif
