/* What the files of the safetensors reader share. Not for others to include. */
#ifndef ENGINE_TENSOR_SAFETENSORS_INTERNAL_H
#define ENGINE_TENSOR_SAFETENSORS_INTERNAL_H

#include "engine/tensor/safetensors.h"

#include <stddef.h>
#include <stdint.h>

/* A hash table of strings that are stored elsewhere. Zero-initialise. */
struct string_slot {
    uint32_t hash;
    int32_t position; /* index + 1; 0 = free */
};

struct string_index {
    struct string_slot *slots; /* [mask + 1] */
    size_t mask;
};

/* What hangs on safetensors.index. */
struct safetensors_index {
    struct string_index names;    /* over entries */
    struct string_index metadata; /* over the pairs of metadata; empty: as the entries */
    char *strings;                /* all names and keys */
    const char *header_end;       /* in the file */
    void *copies;                 /* data of tensors that were not aligned in the file */
};

/* The strings of string number i are at (char *const *)((const char *)first + i * stride). */
struct string_array {
    const void *first;
    size_t stride;
    int count;
};

/* Asks for large pages where a block of memory holds whole ones: a fault for each small page takes
 * longer than what is written there. Only a hint. */
void safetensors_large_pages(void *memory, size_t size);

/* Builds the table. -1 when done, the index of the second of two equal strings, or -2 when
 * memory ran out. */
int string_index_build(struct string_index *index, struct string_array strings);

/* Parses the JSON text header[0 .. length) into file->entries (in the order of the text, data
 * being the offset into the data section as a pointer-sized number) and file->metadata; strings
 * go to `strings`, which has room for `length` bytes. Checks each entry by itself, and that its
 * data end within data_size. */
bool safetensors_parse_header(struct safetensors *file, const char *header, size_t length,
                              uint64_t data_size, char *strings, struct status *status);

/* `text` for a message: control characters replaced, cut to fit. Returns `buffer`. */
const char *safetensors_printable(const char *text, char buffer[128]);

/* The JSON string *at .. end, whose opening quote was taken, unescaped to `out` with a zero after
 * it: never more bytes than are read. Returns the place after the zero, with *at after the closing
 * quote. NULL if it is malformed (*at is where) or does not end (*at is `end`). */
char *header_string_copy(const char **at, const char *end, char *out);
/* The same string checked, but left alone. */
bool header_string_skip(const char **at, const char *end);
/* How many characters from `text` to `end` are ASCII that a JSON string has as they are. */
size_t header_plain_length(const char *text, const char *end);

/* Length of the well-formed UTF-8 sequence at `text` of at most `length` bytes; 0 if malformed. */
size_t utf8_sequence(const char *text, size_t length);

#endif
