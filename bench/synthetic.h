/* A session without a run, for measurements and fuzzing of what stands in front of it: any number
 * of tensors that were compared, ranks that print, texts that nobody would wish for. */
#ifndef BENCH_SYNTHETIC_H
#define BENCH_SYNTHETIC_H

#include "engine/session/engine.h"

#include <stddef.h>

struct synthetic {
    int tensors;      /* each written by an instruction of its own, and compared */
    int instructions; /* of the listing; 0: as many as tensors */
    int ranks;        /* that print; 0: none */
    int lines;        /* that each of them prints in a second, once "continue" was said */
    uint64_t seed;    /* of all numbers */
    /* All names and texts are taken from these bytes, one after the other, again and again; NULL:
     * names as programs have them. Borrowed until the session is stopped. */
    const unsigned char *bytes;
    size_t size;
};

/* Commands: "file ..." loads, "continue" lets the ranks print from then on, while the run stands
 * still, "fail ..." fails, any other one says something. */
struct session_engine synthetic_engine(const struct synthetic *what);

#endif
