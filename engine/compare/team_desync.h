/* What is said of ranks that hold the same part of a tensor, and have other bits in it. */
#ifndef ENGINE_COMPARE_TEAM_DESYNC_H
#define ENGINE_COMPARE_TEAM_DESYNC_H

#include "engine/compare/team.h"

enum { TEAM_DESYNC_TEXT = 512, TEAM_DESYNC_INDEX = 48 };

/* Two ranks' copies of the same part, element by element. */
struct team_difference {
    int64_t different, elements;   /* of how many; 0 and 0: one of them is not at hand any more */
    char index[TEAM_DESYNC_INDEX]; /* of the first that differs, in the part: "[3,5]" */
    double first, second;          /* there */
};

/* Compares what ranks `first` and `second` hold now of the same part of `tensor` (index into the
 * team's): bit by bit, so NaN is the same as itself and -0 is not 0. False when no element differs
 * or one side cannot be read: `difference` is zero then. Reads both parts. Engine thread. */
bool team_difference(const struct team *team, int tensor, int first, int second,
                     struct team_difference *difference);

/* Whom each rank is unlike, of those that have brought the same part of `tensor` as `rank` in this
 * step. In against[rank]: -1 for ranks whose bits are those that most of them have, for the others
 * the lowest rank that has these; where several are as many, each is unlike another. Other ranks'
 * entries stay as they are. */
void team_unlike(const struct team *team, int tensor, int rank, int *against);

/* Of number `which` of an event's `desynchronised`: "fw X differs between ranks 0 and 1, which hold
 * the same: 12 of 4,096 elements, the first at [3,5]: 0.25 and 0.5". The index is that in the part
 * which both hold. The elements are left out where one of the ranks does not have them any more, or
 * its memory cannot be read. Into `buffer`, which is returned. Engine thread. */
const char *team_desync_text(const struct team *team, const struct team_event *event, int which,
                             char buffer[TEAM_DESYNC_TEXT]);

#endif
