/* The members of pictures and snapshots, for recordings (fields.h). A member that is added to one
 * of those structs is to be added here, or replays show it as zero. */
#ifndef ENGINE_SESSION_PICTURE_FIELDS_H
#define ENGINE_SESSION_PICTURE_FIELDS_H

#include "engine/session/fields.h"
#include "engine/session/pictures.h"
#include "engine/session/session.h"

extern const struct field snapshot_fields[], request_fields[];

/* Appends a picture as one object. */
void picture_write(struct text *out, const struct picture *picture);
/* The picture, or NULL. Numbers of values and instructions are checked against each other as far
 * as one picture tells; free with picture_free. */
struct picture *picture_read(const json_t *json, struct status *status);
/* Whether the numbers of a picture fit each other: picture_read has asked. */
bool picture_check(const struct picture *picture, struct status *status);

#endif
