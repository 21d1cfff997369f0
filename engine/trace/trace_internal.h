/* What the reader and the writer of traces share. Not for others to include. */
#ifndef ENGINE_TRACE_TRACE_INTERNAL_H
#define ENGINE_TRACE_TRACE_INTERNAL_H

#include "engine/trace/trace.h"
#include "engine/trace/trace_statistics.h"

#define TRACE_FORMAT "lockstep-trace"
#define TRACE_SUFFIX ".safetensors"
enum { TRACE_VERSION = 1, TRACE_SAMPLES = 1024 };

/* Whether `name` can be a step, and so the name of a file: letters, digits, '_', '-', '.', not
 * beginning with a '.'. */
bool trace_step_name_is_valid(const char *name);

/* Reads entry number `entry` of a step's file with its metadata. False, and a message, if these are
 * wrong; `tensor` can be looked at all the same. Any thread. */
bool trace_tensor_read(const struct safetensors *file, int entry, struct trace_tensor *tensor,
                       struct status *status);

/* Reads a tensor's metadata in its usual form into what it says of `tensor`. `text` is a value of
 * safetensors.metadata: escaped, up to a quote. False, and nothing changed, for any other form,
 * right or wrong. */
bool trace_metadata_quick(const char *text, struct trace_tensor *tensor);

/* Reads DIR/manifest.json and checks format and version. `text` is NULL if there is none; both
 * results are owned by the caller (free(), json_decref()). */
struct json_t;
bool trace_manifest_read(const char *directory, char **text, struct json_t **root,
                         struct status *status);

/* Records samples that were taken elsewhere, as trace_add() takes them, of a writer that records
 * samples; takes the memory over. The data of `tensor` are not looked at. `statistics` may be NULL.
 */
void trace_put_samples(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       void *samples, const struct trace_statistics *statistics);

#endif
