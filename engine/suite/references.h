/* Recorded references, kept between tests: several tests compare with the same baseline, which
 * then runs once. Belongs to one environment; one thread. */
#ifndef ENGINE_SUITE_REFERENCES_H
#define ENGINE_SUITE_REFERENCES_H

#include "engine/compare/recording.h"

struct reference {
    struct config *config; /* owned */
    struct recording *recording;
    int users;              /* tests that are still to compare with it */
    struct reference *next; /* used longer ago */
};

struct references {
    struct reference *newest;
    int64_t bytes;
    struct recording_memory spare; /* of what was freed last, for the next one that is recorded */
};

/* At most this much is kept in all, spare memory included; what was used longest ago goes first. */
enum { REFERENCES_MEBIBYTES = 1024 };

/* The recording of a run with the same configuration (by its hash), or NULL. */
const struct recording *references_find(struct references *references, uint64_t config_hash);
/* Whether a recording of this size may be kept at all. */
bool references_fit(const struct program *program, int steps);
/* Keeps a recording that `users` tests will compare with; takes over both. */
void references_add(struct references *references, struct config *config,
                    struct recording *recording, int users);
/* A test that compares with this configuration's recording, if there is one, has ended; after the
 * last of them it is freed, and its memory is spare. */
void references_release(struct references *references, uint64_t config_hash);
void references_free(struct references *references);

#endif
