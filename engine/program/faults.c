#include "engine/program/faults.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/program/faults_internal.h"
#include "engine/program/rules.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void clause_free(struct fault_clause *clause)
{
    free(clause->text);
    free(clause->storage);
}

const char *fault_text(const struct fault_clause *clause, const char *key)
{
    for (int i = 0; i < clause->count; i++)
        if (strcmp(clause->keys[i], key) == 0)
            return clause->values[i];
    return NULL;
}

bool fault_number(const struct fault_clause *clause, const char *key, double missing,
                  double *number, struct status *status)
{
    const char *text = fault_text(clause, key);
    char *end = NULL;
    *number = text ? strtod(text, &end) : missing;
    if (text && (end == text || *end || !isfinite(*number)))
        return status_fail(status, STATUS_INVALID, "%s=%s is not a number", key, text);
    return true;
}

bool fault_integer(const struct fault_clause *clause, const char *key, int missing, int *number,
                   struct status *status)
{
    double value;
    if (!fault_number(clause, key, missing, &value, status))
        return false;
    if (value != floor(value) || fabs(value) > 1e9)
        return status_fail(status, STATUS_INVALID, "%s=%s is not a whole number", key,
                           fault_text(clause, key));
    *number = (int)value;
    return true;
}

static bool is_word_of(const char *word, const char *list)
{
    char padded[64];
    return word[0] && strlen(word) < sizeof(padded) - 3 && !strchr(word, ' ') &&
           strstr(list, (snprintf(padded, sizeof(padded), " %s ", word), padded)) != NULL;
}

static bool add_pair(struct fault_clause *clause, char *pair, const struct fault_action *action,
                     struct status *status)
{
    char *equals = strchr(pair, '=');
    if (!equals)
        return status_fail(status, STATUS_INVALID, "\"%s\": expected key=value", pair);
    *equals = 0;
    if (!fault_is_selector(pair) && !is_word_of(pair, action->keys))
        return status_fail(status, STATUS_INVALID,
                           "unknown key \"%s\": %s has%sand instructions are chosen by rank, op, "
                           "layer, part, phase, mb, ms, name, nth",
                           pair, action->name, action->keys);
    if (fault_text(clause, pair))
        return status_fail(status, STATUS_INVALID, "%s is given twice", pair);
    if (clause->count == FAULT_MAX_KEYS)
        return status_fail(status, STATUS_INVALID, "more than %d keys", FAULT_MAX_KEYS);
    clause->keys[clause->count] = pair;
    clause->values[clause->count++] = equals + 1;
    return true;
}

static bool parse_pairs(struct fault_clause *clause, char *rest, const struct fault_action *action,
                        struct status *status)
{
    while (rest && *rest) {
        char *comma = strchr(rest, ',');
        if (comma)
            *comma = 0;
        if (!add_pair(clause, rest, action, status))
            return false;
        rest = comma ? comma + 1 : NULL;
    }
    return true;
}

static bool check_changed(const struct program *program, int index, struct status *status)
{
    struct op_call call;
    char text[256];
    program_call(program, index, &call);
    if (rules_check(&call, status))
        return true;
    program_instruction_text(program, index, text, sizeof(text));
    status_context(status, "%s", text);
    status->code = STATUS_INVALID;
    return false;
}

/* From the last instruction to the first, so that insertions do not move those still to come. */
static bool change_all(struct program *program, const struct fault_clause *clause,
                       const struct fault_action *action, const int *chosen, int count,
                       struct status *status)
{
    const char *mark = program_intern(program, clause->text);
    const char *why = "there is nothing to change";
    int changed = 0;
    for (int i = count - 1; i >= 0; i--) {
        struct fault_change change = {.program = program,
                                      .clause = clause,
                                      .mark = mark,
                                      .index = chosen[i],
                                      .status = status};
        if (!action->apply(&change))
            return false;
        if (change.skipped) {
            why = change.why;
            continue;
        }
        fault_instruction(&change)->fault = mark;
        if (!check_changed(program, change.index, status))
            return false;
        changed++;
    }
    return changed > 0 || status_fail(status, STATUS_INVALID, "%s", why);
}

/* clause_free() in any case; NULL when it is not well formed. */
static const struct fault_action *parse_clause(const char *text, size_t length,
                                               struct fault_clause *clause, struct status *status)
{
    *clause = (struct fault_clause){.text = memory_string_part(text, length),
                                    .storage = memory_string_part(text, length)};
    char *colon = strchr(clause->storage, ':');
    if (colon)
        *colon = 0;
    clause->action = clause->storage;
    const struct fault_action *action = fault_action_find(clause->action, status);
    return action && parse_pairs(clause, colon ? colon + 1 : NULL, action, status) ? action : NULL;
}

/* With `program` NULL it is only parsed. */
static bool apply_clause(struct program *program, const char *text, size_t length,
                         struct status *status)
{
    struct fault_clause clause;
    const struct fault_action *action = parse_clause(text, length, &clause, status);
    bool ok = action != NULL;
    int count = 0;
    int *chosen = ok && program ? fault_select(program, &clause, &count, status) : NULL;
    if (program)
        ok = chosen && change_all(program, &clause, action, chosen, count, status);
    if (!ok)
        status_context(status, "fault \"%s\"", clause.text);
    free(chosen);
    clause_free(&clause);
    return ok;
}

/* A '+' joins clauses where a word follows; in 1e+3 a digit does. */
static size_t clause_length(const char *text)
{
    size_t length = 0;
    while (text[length] && !(text[length] == '+' && isalpha((unsigned char)text[length + 1])))
        length++;
    return length;
}

/* What a part of a specification stands for, itself if it is no name of a ready fault; it begins
 * there, and may have parts of its own. */
static const char *expand(const char *text, size_t length)
{
    char *name = memory_string_part(text, length);
    const struct fault_ready *ready = faults_find(name);
    free(name);
    return ready ? ready->spec : NULL;
}

/* Calls `each` for all parts, names replaced by what they stand for, until it says false. */
static bool for_parts(const char *spec,
                      bool (*each)(void *context, const char *text, size_t length,
                                   struct status *status),
                      void *context, struct status *status)
{
    for (const char *rest = spec;;) {
        size_t length = clause_length(rest);
        const char *stands_for = expand(rest, length);
        if (stands_for ? !for_parts(stands_for, each, context, status)
                       : !each(context, rest, length, status))
            return false;
        if (!rest[length])
            return true;
        rest += length + 1;
    }
}

static bool apply_part(void *program, const char *text, size_t length, struct status *status)
{
    return apply_clause(program, text, length, status);
}

bool faults_apply(struct program *program, const char *spec, struct status *status)
{
    return for_parts(spec, apply_part, program, status);
}

bool faults_check(const char *spec, struct status *status)
{
    return faults_apply(NULL, spec, status);
}

/* A part that one rank has no instruction for may be meant for others. */
static bool apply_if_there(void *program, const char *text, size_t length, struct status *status)
{
    if (apply_clause(program, text, length, status))
        return true;
    if (status->code != STATUS_NOT_FOUND)
        return false;
    *status = STATUS_NONE;
    return true;
}

bool faults_change(struct program *program, void *spec, struct status *status)
{
    bool alone = mesh_size(&program->seat.mesh) <= 1;
    return for_parts(spec, alone ? apply_part : apply_if_there, program, status);
}

/* The rank whose instructions a part is about; 0: of all ranks, or none that there is. */
static int rank_of(const char *text, size_t length, int ranks)
{
    struct status ignored = STATUS_NONE;
    struct fault_clause clause;
    int rank = 0;
    parse_clause(text, length, &clause, &ignored);
    if (!fault_integer(&clause, "rank", 0, &rank, &ignored) || rank < 0 || rank >= ranks)
        rank = 0;
    clause_free(&clause);
    return rank;
}

struct ranks_programs {
    struct program *const *programs;
    int count;
};

static bool is_anywhere(void *context, const char *text, size_t length, struct status *status)
{
    const struct ranks_programs *ranks = context;
    for (int rank = 0; rank < ranks->count; rank++) {
        const struct program *program = ranks->programs[rank];
        for (int i = 0; i < program->instruction_count; i++) {
            const char *mark = program->instructions[i].fault;
            if (mark && strlen(mark) == length && strncmp(mark, text, length) == 0)
                return true;
        }
    }
    int rank = rank_of(text, length, ranks->count);
    if (apply_clause(ranks->programs[rank], text, length, status))
        return true;
    if (rank > 0)
        status_context(status, "rank %d", rank);
    return false;
}

bool faults_check_ranks(struct program *const *programs, int count, const char *spec,
                        struct status *status)
{
    struct ranks_programs ranks = {programs, count};
    return for_parts(spec, is_anywhere, &ranks, status);
}

int faults_changed(const struct program *program, int *instructions, int capacity)
{
    int count = 0;
    for (int i = 0; i < program->instruction_count; i++)
        if (program->instructions[i].fault) {
            if (count < capacity)
                instructions[count] = i;
            count++;
        }
    return count;
}
