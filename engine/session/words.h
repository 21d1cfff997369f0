/* The words of a loaded program, for completion: shared by the engine thread, which makes them,
 * and the front-end thread. Immutable; counted. */
#ifndef ENGINE_SESSION_WORDS_H
#define ENGINE_SESSION_WORDS_H

#include "engine/program/program.h"

#include <stdatomic.h>

struct words {
    atomic_int holders;
    struct names layers;  /* "decoder.1", "decoder.1.mlp.layer_2", "mlp.layer_2" */
    struct names tensors; /* canonical names, in program order */
};

struct words *words_of_program(const struct program *program); /* one holder */
struct words *words_hold(struct words *words);                 /* NULL is fine */
void words_release(struct words *words);                       /* NULL is fine */

/* Completes line[start, end); see session_complete. `words` may be NULL, `search` too. */
int words_complete(const struct words *words, const struct config_search *search, const char *line,
                   size_t start, size_t end, char ***matches);

#endif
