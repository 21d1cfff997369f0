/* A table of distinct strings with an integer each: name -> value lookup in constant time, and
 * the order of insertion kept. Zero-initialise; not thread safe. */
#ifndef ENGINE_BASE_NAMES_H
#define ENGINE_BASE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names {
    char **names; /* [count], owned, in order of insertion */
    int *values;  /* [count] */
    int count;
    int capacity;
    int *slots; /* [slot_count], index + 1 into names, 0 = free */
    int slot_count;
};

/* The value of `name`, or -1. */
int names_find(const struct names *names, const char *name);
/* Sets the value of `name` (copied). Returns true if the name is new. */
bool names_set(struct names *names, const char *name, int value);
void names_free(struct names *names);

/* FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/ */
uint64_t hash_bytes(const void *bytes, size_t length);
/* Of bytes that follow others, whose hash is `hash`. */
uint64_t hash_more(uint64_t hash, const void *bytes, size_t length);
uint64_t hash_string(const char *text);

/* Optimal string alignment distance between two short words, for "did you mean". */
int names_distance(const char *a, const char *b);
/* The closest of `candidates` to `word`, or NULL when none is near enough to be meant. */
const char *names_closest(const char *word, const char *const *candidates, int count);

#endif
