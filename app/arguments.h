/* Command-line options as a table: parsed, and shown as help, from the same entries. */
#ifndef APP_ARGUMENTS_H
#define APP_ARGUMENTS_H

#include "engine/base/status.h"

#include <stdio.h>

/* Words of the command line; strings are those of argv. Free `words` with word_list_free. */
struct word_list {
    const char **words;
    int count, capacity;
};
void word_list_free(struct word_list *list);

enum argument_kind {
    ARGUMENT_FLAG = 0, /* bool */
    ARGUMENT_COUNT,    /* int: how often it was given */
    ARGUMENT_INTEGER,  /* int, not negative */
    ARGUMENT_TEXT,     /* const char * */
    ARGUMENT_TEXTS,    /* struct word_list: one word each time it is given */
    ARGUMENT_WORDS,    /* struct word_list: all words up to the next option */
};

struct argument {
    const char *name;  /* "--models" */
    const char *other; /* a second spelling ("-n"), or NULL */
    enum argument_kind kind;
    void *target;
    const char *value; /* what the value is called in the help, NULL for flags */
    const char *help;
};

/* What a subcommand says about itself. */
struct usage {
    const char *name;     /* "lockstep test" */
    const char *synopsis; /* "[PATTERN...] [options]" */
    const char *text;     /* what it does */
};

enum arguments_result { ARGUMENTS_OK = 0, ARGUMENTS_HELP, ARGUMENTS_WRONG };

/* Parses argv[1..]; words that belong to no option go to `positional` (NULL: none allowed), as does
 * everything after "--". ARGUMENTS_HELP after --help or -h: the help was printed. ARGUMENTS_WRONG:
 * `status` says what is wrong, with the closest option. */
enum arguments_result arguments_parse(int argc, char **argv, const struct usage *usage,
                                      const struct argument *arguments, int count,
                                      struct word_list *positional, struct status *status);

/* An option of another program that people's fingers know, and what there is in its place. */
struct advice {
    const char *option; /* "-k" */
    const char *instead;
};

/* Fails with the advice if argv has one of these options, with or without `=VALUE`, before "--".
 * Before arguments_parse, for options that it does not have. */
bool arguments_advise(int argc, char **argv, const struct advice *advices, int count,
                      struct status *status);

/* Takes the options of `arguments` (with values of one word, flags and texts only) out of argv,
 * wherever they stand before "--"; the rest stays for arguments_parse. */
bool arguments_take(int *argc, char **argv, const struct argument *arguments, int count,
                    struct status *status);

/* The lines of an option table, for help texts. */
void arguments_print(FILE *stream, const struct argument *arguments, int count);

#endif
