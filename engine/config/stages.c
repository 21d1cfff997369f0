#include "engine/config/stages.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/config/check.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { WORDS = 5, WORD_SIZE = 40 };

/* In the order of enum learning_rate_decay. */
static const char *const types[] = {"constant", "linear", "power", "cosine"};
static const char expected_type[] = "expected constant, linear, power or cosine first";

struct words {
    char text[WORDS][WORD_SIZE];
    int count;
};

/* The words between commas up to `end`; false if one is empty or too long, or there are too many.
 */
static bool split(const char *at, const char *end, struct words *words)
{
    *words = (struct words){.count = 0};
    for (;;) {
        size_t length = strcspn(at, ",;");
        if (at + length > end || length == 0 || length >= WORD_SIZE || words->count == WORDS)
            return false;
        memcpy(words->text[words->count++], at, length);
        at += length;
        if (at == end)
            return true;
        at++;
    }
}

/* What is wrong with the words of a stage; NULL if nothing is. */
static const char *read_stage(const struct words *words, struct learning_rate_stage *stage)
{
    int type = 0;
    int64_t updates;
    double power = 1;
    while (type < ARRAY_LENGTH(types) && strcmp(words->text[0], types[type]) != 0)
        type++;
    if (type == ARRAY_LENGTH(types))
        return expected_type;
    bool constant = type == DECAY_CONSTANT;
    if (constant ? words->count != 3 : words->count < 4)
        return constant ? "expected constant,UPDATES,RATE" : "expected TYPE,UPDATES,RATE,LAST_RATE";
    if (!check_integer(words->text[1], constant ? -1 : 1, INT_MAX / LEARNING_RATE_STAGES,
                       &updates) ||
        updates == 0)
        return "expected a number of updates from 1 (or -1 for a constant stage without end)";
    if (!check_number(words->text[2], &stage->first) || stage->first < 0 || stage->first > 1e6)
        return "expected a rate from 0 to 1e6";
    stage->last = stage->first;
    if (!constant &&
        (!check_number(words->text[3], &stage->last) || stage->last < 0 || stage->last > 1e6))
        return "expected a last rate from 0 to 1e6";
    if (words->count > 4 && (!check_number(words->text[4], &power) || !(power > 0) || power > 1e3))
        return "expected a power above 0, at most 1000";
    stage->type = type == DECAY_LINEAR ? DECAY_POWER : (enum learning_rate_decay)type;
    stage->power = power;
    stage->end = updates < 0 ? INT_MAX : stage->begin + (int)updates;
    return NULL;
}

static void describe(char why[STAGES_WHY_SIZE], int stage, const char *text, int length,
                     const char *problem)
{
    char word[WORD_SIZE];
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(text, ",;"), text);
    const char *closest =
        problem == expected_type ? names_closest(word, types, ARRAY_LENGTH(types)) : NULL;
    snprintf(why, STAGES_WHY_SIZE, "stage %d of the schedule is '%.*s'; %s%s%s%s", stage, length,
             text, problem, closest ? " (did you mean '" : "", closest ? closest : "",
             closest ? "'?)" : "");
}

bool stages_parse(const char *text, struct optimizer_config *optimizer, char why[STAGES_WHY_SIZE])
{
    int count = 0, begin = 0;
    char too_many[60];
    snprintf(too_many, sizeof(too_many), "expected no more than %d stages", LEARNING_RATE_STAGES);
    const char *problem = NULL, *at = text, *end = text;
    for (; !problem; at = end + 1) {
        struct words words;
        end = at + strcspn(at, ";");
        struct learning_rate_stage stage = {.begin = begin};
        if (begin == INT_MAX)
            problem = "expected no stage behind one without end";
        else if (count == LEARNING_RATE_STAGES)
            problem = too_many;
        else
            problem = split(at, end, &words) ? read_stage(&words, &stage)
                                             : "expected TYPE,UPDATES,RATE[,LAST_RATE[,POWER]];...";
        if (problem)
            break;
        optimizer->stages[count++] = stage;
        begin = stage.end;
        if (!*end)
            break;
    }
    optimizer->stage_count = problem ? 0 : count;
    if (problem)
        describe(why, count + 1, at, end - at > 100 ? 100 : (int)(end - at), problem);
    return !problem;
}
