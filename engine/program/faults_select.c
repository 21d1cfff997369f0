/* Which instructions a clause means: one filter after the other, so that the message of the filter
 * that lets nothing through can list what was there before it. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/program/faults_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What instruction `in` has under a key, as text; "" when it has none. */
typedef const char *reader(const struct program *program, const struct instruction *in,
                           char buffer[256]);

static const char *read_op(const struct program *program, const struct instruction *in,
                           char buffer[256])
{
    (void)program;
    (void)buffer;
    return op_name(in->op);
}

static const char *read_layer(const struct program *program, const struct instruction *in,
                              char buffer[256])
{
    (void)program;
    (void)buffer;
    return in->origin.layer;
}

static const char *read_part(const struct program *program, const struct instruction *in,
                             char buffer[256])
{
    (void)program;
    (void)buffer;
    return in->origin.part;
}

static const char *read_phase(const struct program *program, const struct instruction *in,
                              char buffer[256])
{
    (void)program;
    (void)buffer;
    return phase_name(in->origin.phase);
}

static const char *read_index(int index, char buffer[256])
{
    buffer[0] = 0;
    if (index >= 0)
        snprintf(buffer, 256, "%d", index);
    return buffer;
}

static const char *read_micro_batch(const struct program *program, const struct instruction *in,
                                    char buffer[256])
{
    (void)program;
    return read_index(in->origin.micro_batch, buffer);
}

static const char *read_micro_sequence(const struct program *program, const struct instruction *in,
                                       char buffer[256])
{
    (void)program;
    return read_index(in->origin.micro_sequence, buffer);
}

static const char *read_rank(const struct program *program, const struct instruction *in,
                             char buffer[256])
{
    (void)in;
    return read_index(program->seat.rank, buffer);
}

static const char *read_name(const struct program *program, const struct instruction *in,
                             char buffer[256])
{
    int length = 0;
    buffer[0] = 0;
    for (int k = 0; k < in->output_count && length < 256; k++)
        length += snprintf(buffer + length, (size_t)(256 - length), "%s%s", k ? ", " : "",
                           program->values[in->outputs[k]].name);
    return buffer;
}

static const struct {
    const char *key, *plural;
    reader *read;
    bool part; /* a part of the text is enough */
} selectors[] = {
    {"rank", "ranks", read_rank, false},
    {"op", "kinds of instruction", read_op, false},
    {"layer", "layers", read_layer, false},
    {"part", "parts", read_part, false},
    {"phase", "phases", read_phase, false},
    {"mb", "micro-batches", read_micro_batch, false},
    {"ms", "micro-sequences", read_micro_sequence, false},
    {"name", "names", read_name, true},
};

bool fault_is_selector(const char *key)
{
    for (int i = 0; i < ARRAY_LENGTH(selectors); i++)
        if (strcmp(selectors[i].key, key) == 0)
            return true;
    return strcmp(key, "nth") == 0;
}

static bool matches(const struct program *program, int instruction, int selector, const char *want)
{
    char buffer[256];
    const char *has =
        selectors[selector].read(program, &program->instructions[instruction], buffer);
    return selectors[selector].part ? strstr(has, want) != NULL : strcmp(has, want) == 0;
}

static bool report_none(const struct program *program, const int *chosen, int count, int selector,
                        const char *want, struct status *status)
{
    enum { LISTED = 12 };
    if (selectors[selector].read == read_rank) /* this program is that of another rank */
        return status_fail(status, STATUS_NOT_FOUND, "no instruction with rank=%s; ranks: %d", want,
                           mesh_size(&program->seat.mesh));
    struct names seen = {0};
    struct text text = {0};
    for (int i = 0; i < count; i++) {
        char buffer[256];
        const char *has =
            selectors[selector].read(program, &program->instructions[chosen[i]], buffer);
        if (has[0] && names_set(&seen, has, 0) && seen.count <= LISTED)
            text_format(&text, "%s%s", seen.count > 1 ? ", " : "", has);
    }
    if (seen.count > LISTED)
        text_format(&text, " and %d more", seen.count - LISTED);
    status_fail(status, STATUS_NOT_FOUND, "no instruction with %s=%s; %s there: %s",
                selectors[selector].key, want, selectors[selector].plural,
                text.data ? text.data : "none");
    names_free(&seen);
    text_free(&text);
    return false;
}

static bool filter(const struct program *program, const struct fault_clause *clause, int selector,
                   int *chosen, int *count, struct status *status)
{
    const char *want = fault_text(clause, selectors[selector].key);
    if (!want)
        return true;
    int kept = 0, last = *count;
    int *left = memory_zeroed((size_t)last, sizeof(*left));
    for (int i = 0; i < last; i++)
        if (matches(program, chosen[i], selector, want))
            left[kept++] = chosen[i];
    bool ok = kept > 0 || report_none(program, chosen, last, selector, want, status);
    memcpy(chosen, left, (size_t)kept * sizeof(*chosen));
    *count = kept;
    free(left);
    return ok;
}

static bool keep_nth(const struct fault_clause *clause, int *chosen, int *count,
                     struct status *status)
{
    int nth;
    if (!fault_integer(clause, "nth", -1, &nth, status))
        return false;
    if (!fault_text(clause, "nth"))
        return true;
    if (nth < 0 || nth >= *count)
        return status_fail(status, STATUS_NOT_FOUND, "nth=%d: there are %d such instructions, 0-%d",
                           nth, *count, *count - 1);
    chosen[0] = chosen[nth];
    *count = 1;
    return true;
}

int *fault_select(const struct program *program, const struct fault_clause *clause, int *count,
                  struct status *status)
{
    if (!fault_text(clause, "op") && !fault_text(clause, "name")) {
        status_fail(status, STATUS_INVALID, "needs op=KIND or name=TENSOR");
        return NULL;
    }
    *count = program->instruction_count;
    int *chosen = memory_zeroed((size_t)*count, sizeof(*chosen));
    for (int i = 0; i < *count; i++)
        chosen[i] = i;
    bool ok = true;
    for (int s = 0; ok && s < ARRAY_LENGTH(selectors); s++)
        ok = filter(program, clause, s, chosen, count, status);
    if (ok && keep_nth(clause, chosen, count, status))
        return chosen;
    free(chosen);
    return NULL;
}
