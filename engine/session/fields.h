/* Structs as JSON objects, both ways, by a description of their members: what a recording keeps of
 * pictures and snapshots. Members that are zero, empty or NULL are left out, and what is missing
 * is zero; so members can be added without a new version. Not-a-number is null, infinities are the
 * texts "inf" and "-inf"; every other number comes back bit by bit. */
#ifndef ENGINE_SESSION_FIELDS_H
#define ENGINE_SESSION_FIELDS_H

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum field_kind {
    FIELD_BOOL = 0,
    FIELD_CHAR, /* a small number, with a sign */
    FIELD_INT,  /* and enums */
    FIELD_INT64,
    FIELD_UINT64,
    FIELD_FLOAT,
    FIELD_DOUBLE,
    FIELD_TEXT,   /* char *, owned; NULL is kept */
    FIELD_BUFFER, /* char [count] */
    FIELD_WORD,   /* const char *: a static name, of an operation or a group of ranks */
    FIELD_STRUCT,
};

/* How often the member is there. */
enum field_times {
    TIMES_ONE = 0,
    TIMES_FIXED,   /* an array of `count` */
    TIMES_PART,    /* an array of `count`, of which as many as the int at `count_at` are used */
    TIMES_POINTER, /* a pointer to as many as the int at `count_at` (times the one at `count_by`,
                      if that is not 0); owned; NULL is kept */
};

struct field {
    const char *name; /* NULL ends a list */
    enum field_kind kind;
    enum field_times times;
    size_t offset, count_at, count_by;
    int count;
    const struct field *fields; /* FIELD_STRUCT */
    size_t size;                /* of one */
};

/* Appends the object. */
void fields_write(struct text *out, const struct field *fields, const void *object);
/* Fills a zeroed object. A count whose member comes before the array must agree with the array's
 * length. False with the member's name in `status`; what was filled is to be freed as usual. */
bool fields_read(const json_t *json, const struct field *fields, void *object,
                 struct status *status);
/* Appends a text in quotation marks; bytes that are no UTF-8 become U+FFFD. */
void fields_write_text(struct text *out, const char *text);

#endif
