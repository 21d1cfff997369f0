#include "engine/suite/keyword.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <string.h>

enum { DEEPEST = 100 };

struct reader {
    const char *at;
    const char *id;       /* NULL: only to be read */
    const char *expected; /* what is missing at `at`; NULL: nothing */
    int depth;
};

static bool read_or(struct reader *reader);

/* The next word, "(" or ")" in *token; 0 at the end. */
static size_t peek(struct reader *reader, const char **token)
{
    reader->at += strspn(reader->at, " \t\n");
    *token = reader->at;
    if (*reader->at == '(' || *reader->at == ')')
        return 1;
    return strcspn(reader->at, " \t\n()");
}

static bool take(struct reader *reader, const char *wanted)
{
    const char *token;
    size_t length = peek(reader, &token);
    bool found = length == strlen(wanted) && strncmp(token, wanted, length) == 0;
    reader->at += found ? length : 0;
    return found;
}

/* Whether `id` contains the word, whatever the case. */
static bool contains(const char *id, const char *word, size_t length)
{
    for (; *id; id++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)id[i]) == tolower((unsigned char)word[i]))
            i++;
        if (i == length)
            return true;
    }
    return false;
}

static bool read_word(struct reader *reader)
{
    static const char *const operators[] = {"and", "or", "not", ")"};
    const char *token;
    size_t length = peek(reader, &token);
    bool is_word = length > 0;
    for (int i = 0; i < ARRAY_LENGTH(operators); i++)
        is_word =
            is_word && !(length == strlen(operators[i]) && !strncmp(token, operators[i], length));
    if (!is_word) {
        reader->expected = reader->expected ? reader->expected : "a part of a test's id";
        return false;
    }
    reader->at += length;
    return reader->id && contains(reader->id, token, length);
}

static bool read_not(struct reader *reader)
{
    if (++reader->depth > DEEPEST)
        reader->expected = "an expression that is less deep";
    bool holds = false;
    if (reader->expected) {
        /* it has ended */
    } else if (take(reader, "not")) {
        holds = !read_not(reader);
    } else if (take(reader, "(")) {
        holds = read_or(reader);
        if (!reader->expected && !take(reader, ")"))
            reader->expected = "and, or, or )";
    } else {
        holds = read_word(reader);
    }
    reader->depth--;
    return holds;
}

static bool read_and(struct reader *reader)
{
    bool holds = read_not(reader);
    while (!reader->expected && take(reader, "and"))
        holds = read_not(reader) && holds;
    return holds;
}

static bool read_or(struct reader *reader)
{
    bool holds = read_and(reader);
    while (!reader->expected && take(reader, "or"))
        holds = read_and(reader) || holds;
    return holds;
}

static bool read_all(struct reader *reader)
{
    const char *token;
    bool holds = read_or(reader);
    if (!reader->expected && peek(reader, &token) > 0)
        reader->expected = "and, or, or the end";
    return holds;
}

bool keyword_check(const char *expression, struct status *status)
{
    struct reader reader = {.at = expression};
    read_all(&reader);
    return !reader.expected ||
           status_fail(status, STATUS_INVALID, "\"%.200s\", column %d: expected %s", expression,
                       (int)(reader.at - expression) + 1, reader.expected);
}

bool keyword_matches(const char *expression, const char *id)
{
    struct reader reader = {.at = expression, .id = id};
    return read_all(&reader);
}
