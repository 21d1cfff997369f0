#include "engine/session/places.h"

#include "engine/base/expression.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether `path` is `word`, or starts with it at a dot. */
static bool path_within(const char *path, const char *word)
{
    size_t length = strlen(word);
    return strncmp(path, word, length) == 0 && (!path[length] || path[length] == '.');
}

bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

const char *origin_text(const struct origin *origin, int step, char *buffer, int size)
{
    char path[256], visit[120];
    origin_path(origin, path, sizeof(path));
    const char *shown = path; /* what is done to a parameter has its path as part */
    if (origin->layer && origin->part && path_within(origin->part, origin->layer))
        shown = origin->part;
    snprintf(buffer, (size_t)size, "step %d, %s%s%s", step + 1,
             origin_visit(origin, visit, sizeof(visit)), *shown ? ", " : "", shown);
    return buffer;
}

/* A layer's full path, or the path of a part in any layer. The parts of the last phases are the
 * parameters' paths: "decoder.1" alone does not mean those, "update decoder.1" does. */
static bool origin_matches_layer(const struct origin *origin, const char *layer, int phase)
{
    char path[256];
    if (path_within(origin_path(origin, path, sizeof(path)), layer))
        return phase >= 0 || origin->phase < PHASE_REDUCE || !origin->part ||
               !path_within(origin->part, layer);
    return origin->part && (phase >= 0 || origin->phase < PHASE_REDUCE) &&
           path_within(origin->part, layer);
}

static bool origin_matches(const struct origin *origin, const struct place *place)
{
    if (place->phase >= 0 && (int)origin->phase != place->phase)
        return false;
    if (place->micro_batch >= 0 && origin->micro_batch != place->micro_batch)
        return false;
    return !place->layer || origin_matches_layer(origin, place->layer, place->phase);
}

static bool writes(const struct place *place, const struct instruction *in)
{
    for (int k = 0; k < in->output_count; k++)
        for (int i = 0; i < place->value_count; i++)
            if (place->values[i] == in->outputs[k])
                return true;
    return false;
}

static bool expression_matches(const struct program *program, const struct place *place, int index)
{
    char text[600], path[256];
    const struct origin *origin = &program->instructions[index].origin;
    program_instruction_text(program, index, text, 300);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "  %s",
             origin_path(origin, path, sizeof(path)));
    return regexec(&place->expression, text, 0, NULL, 0) == 0;
}

bool place_matches(const struct program *program, const struct place *place, int index)
{
    const struct instruction *in = &program->instructions[index];
    switch (place->kind) {
    case PLACE_INSTRUCTION:
        return index == place->instruction;
    case PLACE_ORIGIN:
        return origin_matches(&in->origin, place);
    case PLACE_TENSOR:
        return writes(place, in);
    case PLACE_EXPRESSION:
        return expression_matches(program, place, index);
    }
    return false;
}

bool place_entered(const struct program *program, const struct place *place, int index)
{
    if (!place_matches(program, place, index))
        return false;
    if (place->kind != PLACE_ORIGIN || index == 0 || !place_matches(program, place, index - 1))
        return true;
    const struct origin *a = &program->instructions[index - 1].origin;
    const struct origin *b = &program->instructions[index].origin;
    return a->phase != b->phase || a->micro_batch != b->micro_batch ||
           a->micro_sequence != b->micro_sequence;
}

int place_find(const struct program *program, const struct place *place, int from)
{
    int count = program->instruction_count;
    for (int i = 0; i < count; i++) {
        int index = (from + i) % count;
        if (place_matches(program, place, index))
            return index;
    }
    return -1;
}

static bool read_integer(const char **text, int *number)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    long value = strtol(*text, &end, 10);
    if (value > 1000000000)
        return false;
    *number = (int)value;
    *text = end;
    return true;
}

/* "871", "*871", "2:871". Sets *done when the text is of that kind. */
static bool parse_instruction(const struct program *program, const char *text, struct place *place,
                              bool *done, struct status *status)
{
    int first, second = -1;
    const char *at = text + (*text == '*');
    *done = false;
    if (!read_integer(&at, &first) || (*at != ':' && *at))
        return true;
    if (*at == ':') {
        at++;
        if (!read_integer(&at, &second) || *at)
            return status_fail(status, STATUS_INVALID, "'%s': STEP:INSTRUCTION is two numbers",
                               text);
    }
    *done = true;
    place->kind = PLACE_INSTRUCTION;
    place->step = second >= 0 ? first - 1 : -1;
    place->instruction = second >= 0 ? second : first;
    if (second >= 0 && first < 1)
        return status_fail(status, STATUS_INVALID, "steps are counted from 1");
    if (place->instruction >= program->instruction_count)
        return status_fail(status, STATUS_NOT_FOUND,
                           "there is no instruction %d: a step has 0 to %d", place->instruction,
                           program->instruction_count - 1);
    return true;
}

static bool parse_expression(const char *text, struct place *place, struct status *status)
{
    size_t length = strlen(text);
    if (length < 3 || text[length - 1] != '/')
        return status_fail(status, STATUS_INVALID,
                           "a regular expression is written between two slashes: /layer_[12]/");
    char *expression = memory_string_part(text + 1, length - 2);
    char why[EXPRESSION_WHY_SIZE];
    bool fine = expression_compile(expression, &place->expression, why);
    free(expression);
    if (!fine)
        return status_fail(status, STATUS_INVALID, "%s: %s", text, why);
    place->kind = PLACE_EXPRESSION;
    return true;
}

static int phase_find(const char *word)
{
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        if (strcmp(word, phase_name(phase)) == 0)
            return phase;
    return -1;
}

static bool layer_exists(const struct program *program, const char *layer, int phase)
{
    for (int i = 0; i < program->instruction_count; i++) {
        const struct origin *origin = &program->instructions[i].origin;
        if ((phase < 0 || (int)origin->phase == phase) &&
            origin_matches_layer(origin, layer, phase))
            return true;
    }
    return false;
}

/* Phase, layer and mb=K in any order; each at most once. */
static bool parse_origin(const struct program *program, const char *text, struct place *place)
{
    char *copy = memory_string(text), *rest = copy, *word;
    bool ok = true;
    int words = 0;
    place->phase = place->micro_batch = -1;
    while (ok && (word = strsep(&rest, " \t"))) {
        if (!*word)
            continue;
        words++;
        const char *number = word + 3;
        if (place->phase < 0 && phase_find(word) >= 0)
            place->phase = phase_find(word);
        else if (strncmp(word, "mb=", 3) == 0)
            ok = read_integer(&number, &place->micro_batch) && (!*number || *number == '/');
        else if (!place->layer && layer_exists(program, word, place->phase))
            place->layer = memory_string(word);
        else
            ok = false;
    }
    free(copy);
    place->kind = PLACE_ORIGIN;
    if (ok && words > 0)
        return true;
    free(place->layer);
    place->layer = NULL;
    return false;
}

/* A partial sum of a parameter's gradient belongs to the gradient's name, and the values that
 * become a state belong to the state's. */
static bool is_version_of(const struct program *program, int value, int named)
{
    const struct value *of = &program->values[value], *as = &program->values[named];
    if (value == named || of->state == named)
        return true;
    return as->what == WHAT_GRADIENT && of->gradient_of >= 0 && of->gradient_of == as->gradient_of;
}

static bool names_same(const char *name, const char *wanted)
{
    size_t length = strlen(wanted);
    return strncmp(name, wanted, length) == 0 &&
           (!name[length] || strncmp(name + length, " mb=", 4) == 0 ||
            strncmp(name + length, " ms=", 4) == 0);
}

static bool parse_tensor(const struct program *program, const char *text, struct place *place,
                         struct status *status)
{
    int value = tensor_find(program, text, program->instruction_count, status);
    if (value < 0)
        return false;
    place->kind = PLACE_TENSOR;
    const char *name = program->values[value].name, *batch = strstr(name, " mb=");
    /* Without the micro-batch in the text, those of all micro-batches are meant. */
    bool all = batch && !strstr(text, " mb=") && text[0] != '%';
    char *wanted = all ? memory_string_part(name, (size_t)(batch - name)) : memory_string(name);
    for (int v = 0; v < program->value_count; v++) {
        bool same = *wanted && names_same(program->values[v].name, wanted);
        if (same || is_version_of(program, v, value))
            ARRAY_PUSH(place->values, place->value_count, place->value_capacity, v);
    }
    free(wanted);
    return true;
}

static bool check_step(const struct place *place, int steps, struct status *status)
{
    return place->step < steps ||
           status_fail(status, STATUS_INVALID, "there is no step %d: the run has %d",
                       place->step + 1, steps);
}

bool place_parse(const struct program *program, int steps, const char *text, struct place *place,
                 struct status *status)
{
    *place = (struct place){.step = -1, .phase = -1, .micro_batch = -1};
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    place->text = memory_string_part(text, length);
    bool done = false;
    bool ok;
    if (length == 0)
        ok = status_fail(status, STATUS_INVALID,
                         "a place is missing: a layer, tensor, phase, instruction or /expression/");
    else if (place->text[0] == '/')
        ok = parse_expression(place->text, place, status);
    else
        ok = parse_instruction(program, place->text, place, &done, status) &&
             (done || parse_origin(program, place->text, place) ||
              parse_tensor(program, place->text, place, status)) &&
             check_step(place, steps, status);
    if (!ok)
        place_free(place);
    return ok;
}

void place_free(struct place *place)
{
    if (place->kind == PLACE_EXPRESSION)
        regfree(&place->expression);
    free(place->text);
    free(place->layer);
    free(place->values);
    *place = (struct place){0};
}
