/* Finding a tensor by what a user types: the canonical name, its path, a unique end of it, %870. */
#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"
#include "engine/session/places.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SUGGESTIONS = 8 };

/* How well a name fits, best first. */
enum fit { FIT_NONE = 0, FIT_PART, FIT_END, FIT_PATH, FIT_NAME };

size_t tensor_name_length(const char *name)
{
    const char *batch = strstr(name, " mb=");
    if (!batch)
        batch = strstr(name, " ms=");
    return batch ? (size_t)(batch - name) : strlen(name);
}

/* `name` without micro-batch and micro-sequence, unless the user wrote them. */
static enum fit fit_of(const struct value *value, const char *text, bool exact_batch)
{
    if (!value->name[0])
        return FIT_NONE;
    size_t length = strlen(text);
    size_t name_length = exact_batch ? strlen(value->name) : tensor_name_length(value->name);
    if (name_length == length && strncmp(value->name, text, length) == 0)
        return FIT_NAME;
    if (strcmp(value->path, text) == 0)
        return FIT_PATH;
    if (name_length > length && strncmp(value->name + name_length - length, text, length) == 0) {
        char before = value->name[name_length - length - 1];
        if (before == '.' || before == ' ')
            return FIT_END;
    }
    return FIT_NONE;
}

/* Whether two values are the same tensor of different micro-batches (or versions). */
static bool same_tensor(const struct value *a, const struct value *b)
{
    return a->what == b->what && strcmp(a->path, b->path) == 0;
}

static int find_number(const struct program *program, const char *text, struct status *status)
{
    char *end;
    long id = strtol(text + 1, &end, 10);
    if (!isdigit((unsigned char)text[1]) || *end || id >= program->value_count) {
        status_fail(status, STATUS_NOT_FOUND, "there is no value %s: %%0 to %%%d", text,
                    program->value_count - 1);
        return -1;
    }
    return (int)id;
}

/* Of one tensor's values: the last that was written before `next`, else the first. */
static bool is_better(const struct program *program, int value, int best, int next)
{
    int a = program->values[value].producer, b = program->values[best].producer;
    bool written_a = a < next, written_b = b < next;
    if (written_a != written_b)
        return written_a;
    return written_a ? a > b : a < b;
}

static void suggest(const struct program *program, const char *text, struct status *status)
{
    const char *closest = NULL;
    int best = (int)strlen(text) / 3 + 1;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        if (!value->name[0])
            continue;
        int distance = names_distance(text, value->name);
        int path_distance = names_distance(text, value->path);
        distance = path_distance < distance ? path_distance : distance;
        if (distance < best) {
            best = distance;
            closest = value->name;
        }
    }
    if (closest)
        status_fail(status, STATUS_NOT_FOUND,
                    "no layer, phase or tensor is called '%s' (did you mean '%s'?)", text, closest);
    else
        status_fail(status, STATUS_NOT_FOUND,
                    "no layer, phase or tensor is called '%s'; 'info tensors WORD' lists names, "
                    "'info program' the layers",
                    text);
}

static int fail_ambiguous(const struct program *program, const char *text, enum fit fit, bool exact,
                          struct status *status)
{
    struct text list = {0};
    struct names seen = {0}; /* each micro-batch has the same */
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        if (fit_of(value, text, exact) != fit)
            continue;
        char *name = memory_string_part(value->name, tensor_name_length(value->name));
        if (names_set(&seen, name, v) && seen.count <= MAX_SUGGESTIONS)
            text_format(&list, "\n    %s", name);
        free(name);
    }
    status_fail(status, STATUS_INVALID, "'%s' names several tensors:%s%s", text, list.data,
                seen.count > MAX_SUGGESTIONS ? "\n    ..." : "");
    text_free(&list);
    names_free(&seen);
    return -1;
}

/* A gradient that is not complete yet means its last running total, if one was written. */
static int written_so_far(const struct program *program, int value, int next)
{
    const struct value *of = &program->values[value];
    int best = value;
    if (of->what != WHAT_GRADIENT || of->producer < next || strstr(of->name, " mb="))
        return value;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *other = &program->values[v];
        if (other->name[0] && same_tensor(other, of) && other->producer >= 0 &&
            other->producer < next &&
            (best == value || other->producer > program->values[best].producer))
            best = v;
    }
    return best;
}

int tensor_find(const struct program *program, const char *text, int next, struct status *status)
{
    if (text[0] == '%')
        return find_number(program, text, status);
    int exact_value = program_find(program, text);
    if (exact_value >= 0)
        return written_so_far(program, exact_value, next);
    bool exact = strstr(text, " mb=") || strstr(text, " ms=");
    int best = -1;
    enum fit best_fit = FIT_NONE;
    bool ambiguous = false;
    for (int v = 0; *text && v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        enum fit fit = fit_of(value, text, exact);
        if (fit == FIT_NONE || fit < best_fit)
            continue;
        if (fit > best_fit) {
            best = v;
            best_fit = fit;
            ambiguous = false;
        } else if (!same_tensor(value, &program->values[best])) {
            ambiguous = true;
        } else if (is_better(program, v, best, next)) {
            best = v;
        }
    }
    if (ambiguous)
        return fail_ambiguous(program, text, best_fit, exact, status);
    if (best < 0)
        suggest(program, text, status);
    return best;
}
