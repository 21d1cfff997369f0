#include "engine/base/expression.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many characters there are to match once repetitions are written out, as glibc does: x{2,5} is
 * five times x, x+ is xx*. Beyond the limit it is no longer exact. */
struct expansion {
    int sizes[EXPRESSION_LENGTH + 1]; /* of each open parenthesis, and of what is around them */
    int depth;
    int last; /* what a repetition would repeat */
};

static int bounded(long size)
{
    return size > EXPRESSION_EXPANDED ? EXPRESSION_EXPANDED + 1 : (int)size;
}

static void add_atom(struct expansion *expansion, int size)
{
    int *sum = &expansion->sizes[expansion->depth];
    *sum = bounded((long)*sum + size);
    expansion->last = bounded(size);
}

static void repeat(struct expansion *expansion, long times)
{
    int *sum = &expansion->sizes[expansion->depth];
    int more = times > 1 ? bounded((bounded(times) - 1) * (long)expansion->last) : 0;
    *sum = bounded((long)*sum + more);
    expansion->last = bounded((long)expansion->last + more);
}

/* The end of [...], where a ] in front and those of [:alpha:] and its like are not the last. */
static const char *bracket_end(const char *at)
{
    at += at[1] == '^' ? 2 : 1;
    at += *at == ']';
    while (*at && *at != ']') {
        bool named = at[0] == '[' && at[1] && strchr(":.=", at[1]);
        char end[] = {named ? at[1] : '\0', ']', '\0'};
        const char *close = named ? strstr(at + 2, end) : NULL;
        at = close ? close + 2 : at + 1;
    }
    return at;
}

/* {m}, {m,} or {m,n}; anything else between braces is not repeated. */
static const char *read_interval(struct expansion *expansion, const char *at)
{
    char *end;
    long least = strtol(at + 1, &end, 10), most = least;
    if (*end == ',' && isdigit((unsigned char)end[1]))
        most = strtol(end + 1, &end, 10);
    else if (*end == ',')
        most = bounded(least) + 1, end++;
    if (!isdigit((unsigned char)at[1]) && at[1] != ',')
        return at;
    repeat(expansion, most > least ? most : least);
    return *end == '}' ? end : at;
}

static const char *read_one(struct expansion *expansion, const char *at)
{
    switch (*at) {
    case '(':
        expansion->sizes[++expansion->depth] = 0;
        expansion->last = 0;
        return at;
    case ')':
        if (expansion->depth > 0)
            add_atom(expansion, expansion->sizes[expansion->depth--] + 1);
        else
            add_atom(expansion, 1);
        return at;
    case '{':
        return read_interval(expansion, at);
    case '+':
        repeat(expansion, 2);
        return at;
    case '[':
        add_atom(expansion, 1);
        at = bracket_end(at);
        return *at ? at : at - 1;
    case '\\':
        add_atom(expansion, 1);
        return at[1] ? at + 1 : at;
    case '*':
    case '?':
        return at;
    default:
        add_atom(expansion, *at != '|');
        return at;
    }
}

static bool is_too_large(const char *text)
{
    struct expansion expansion = {.depth = 0};
    for (const char *at = text; *at; at++)
        at = read_one(&expansion, at);
    while (expansion.depth > 0) /* not closed: told by the library */
        read_one(&expansion, ")");
    return expansion.sizes[0] > EXPRESSION_EXPANDED;
}

bool expression_compile(const char *text, regex_t *expression, char why[EXPRESSION_WHY_SIZE])
{
    if (strlen(text) > EXPRESSION_LENGTH) {
        snprintf(why, EXPRESSION_WHY_SIZE, "longer than %d bytes", EXPRESSION_LENGTH);
        return false;
    }
    if (is_too_large(text)) {
        snprintf(why, EXPRESSION_WHY_SIZE, "its repetitions make more than %d characters",
                 EXPRESSION_EXPANDED);
        return false;
    }
    int error = regcomp(expression, text, REG_EXTENDED | REG_NOSUB);
    if (error)
        regerror(error, NULL, why, EXPRESSION_WHY_SIZE);
    return error == 0;
}
