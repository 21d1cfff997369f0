/* What is said of ranks that hold the same part of a tensor, and have other bits in it. */
#ifndef ENGINE_COMPARE_TEAM_DESYNC_H
#define ENGINE_COMPARE_TEAM_DESYNC_H

#include "engine/compare/team.h"

enum { TEAM_DESYNC_TEXT = 512 };

/* Of an event whose `desynchronised` is a tensor: "fw X differs between ranks 0 and 1, which hold
 * the same: 12 of 4,096 elements, the first at [3,5]: 0.25 and 0.5". The index is that in the part
 * which both hold. The elements are left out where one of the ranks does not have them any more, or
 * its memory cannot be read. Into `buffer`, which is returned. Engine thread. */
const char *team_desync_text(const struct team *team, const struct team_event *event,
                             char buffer[TEAM_DESYNC_TEXT]);

#endif
