/* Actions on the parameters of an instruction: set, swap of two, shift of one. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/program/faults_internal.h"

#include <stddef.h>
#include <string.h>

enum kind { KIND_DOUBLE, KIND_LONG, KIND_INT, KIND_BOOL, KIND_ACTIVATION, KIND_GROUP };

struct entry {
    const char *name;
    enum kind kind;
    size_t offset;
};

static const struct entry entries[] = {
#define ENTRY(kind, member)                                                                        \
    {                                                                                              \
#member, kind, offsetof(struct op_parameters, member)                                      \
    }
    ENTRY(KIND_DOUBLE, value),          ENTRY(KIND_DOUBLE, factor),
    ENTRY(KIND_DOUBLE, epsilon),        ENTRY(KIND_DOUBLE, scale),
    ENTRY(KIND_DOUBLE, beta1),          ENTRY(KIND_DOUBLE, beta2),
    ENTRY(KIND_DOUBLE, decay),          ENTRY(KIND_LONG, first_row),
    ENTRY(KIND_LONG, window),           ENTRY(KIND_INT, heads),
    ENTRY(KIND_INT, head_groups),       ENTRY(KIND_INT, head_size),
    ENTRY(KIND_BOOL, causal),           ENTRY(KIND_BOOL, transpose_a),
    ENTRY(KIND_BOOL, transpose_b),      ENTRY(KIND_BOOL, inverse),
    ENTRY(KIND_BOOL, dynamic),          ENTRY(KIND_BOOL, average),
    ENTRY(KIND_ACTIVATION, activation), ENTRY(KIND_GROUP, group),
#undef ENTRY
};

static const char *const activations[ACTIVATION_COUNT] = {
    "gelu", "silu", "relu", "sigmoid", "squared_relu", "identity",
};

static const struct entry *find_entry(const char *name, struct status *status)
{
    struct text text = {0};
    for (int i = 0; i < ARRAY_LENGTH(entries); i++) {
        if (strcmp(entries[i].name, name) == 0) {
            text_free(&text);
            return &entries[i];
        }
        text_format(&text, "%s%s", i ? ", " : "", entries[i].name);
    }
    status_fail(status, STATUS_INVALID, "param=%s: there are %s", name, text.data);
    text_free(&text);
    return NULL;
}

static double read_entry(const struct op_parameters *parameters, const struct entry *entry)
{
    const char *at = (const char *)parameters + entry->offset;
    switch (entry->kind) {
    case KIND_DOUBLE:
        return *(const double *)(const void *)at;
    case KIND_LONG:
        return (double)*(const int64_t *)(const void *)at;
    case KIND_INT:
    case KIND_GROUP:
        return *(const int *)(const void *)at;
    case KIND_BOOL:
        return *(const bool *)(const void *)at;
    default:
        return *(const enum activation *)(const void *)at;
    }
}

static void write_entry(struct op_parameters *parameters, const struct entry *entry, double value)
{
    char *at = (char *)parameters + entry->offset;
    switch (entry->kind) {
    case KIND_DOUBLE:
        *(double *)(void *)at = value;
        break;
    case KIND_LONG:
        *(int64_t *)(void *)at = (int64_t)value;
        break;
    case KIND_INT:
    case KIND_GROUP:
        *(int *)(void *)at = (int)value;
        break;
    case KIND_BOOL:
        *(bool *)(void *)at = value != 0;
        break;
    default:
        *(enum activation *)(void *)at = (enum activation)value;
    }
}

static bool read_activation(const char *text, double *value, struct status *status)
{
    for (int i = 0; i < ACTIVATION_COUNT; i++)
        if (strcmp(activations[i], text) == 0) {
            *value = i;
            return true;
        }
    return status_fail(status, STATUS_INVALID,
                       "value=%s: expected gelu, silu, relu, sigmoid, squared_relu or identity",
                       text);
}

static bool read_group(const char *text, double *value, struct status *status)
{
    for (int group = 0; group < COMM_GROUP_COUNT; group++)
        if (strcmp(comm_group_name((enum comm_group)group), text) == 0) {
            *value = group;
            return true;
        }
    return status_fail(status, STATUS_INVALID,
                       "value=%s: expected world, data, sequence data, tensor, pipeline or tied",
                       text);
}

static bool read_value(struct fault_change *change, const struct entry *entry, double *value)
{
    const char *text = fault_text(change->clause, "value");
    int whole;
    if (!text)
        return status_fail(change->status, STATUS_INVALID, "set needs param=KEY and value=NUMBER");
    if (entry->kind == KIND_ACTIVATION)
        return read_activation(text, value, change->status);
    if (entry->kind == KIND_GROUP)
        return read_group(text, value, change->status);
    if (entry->kind == KIND_DOUBLE)
        return fault_number(change->clause, "value", 0, value, change->status);
    if (!fault_integer(change->clause, "value", 0, &whole, change->status))
        return false;
    *value = whole;
    return entry->kind != KIND_BOOL || whole == 0 || whole == 1 ||
           status_fail(change->status, STATUS_INVALID, "value=%s: expected 0 or 1", text);
}

/* swap:param=A,with=B */
static bool swap_entries(struct fault_change *change, const struct entry *entry, const char *with)
{
    struct op_parameters *parameters = &fault_instruction(change)->parameters;
    const struct entry *other = find_entry(with, change->status);
    if (!other)
        return false;
    if (other->kind != entry->kind)
        return status_fail(change->status, STATUS_INVALID, "%s and %s are of different types",
                           entry->name, with);
    double a = read_entry(parameters, entry), b = read_entry(parameters, other);
    if (a == b)
        return fault_skip(change, "the two parameters are equal");
    write_entry(parameters, entry, b);
    write_entry(parameters, other, a);
    return true;
}

bool fault_set(struct fault_change *change)
{
    const char *name = fault_text(change->clause, "param");
    const char *with = fault_text(change->clause, "with");
    const struct entry *entry = find_entry(name ? name : "", change->status);
    double value;
    if (!entry)
        return false;
    if (strcmp(change->clause->action, "swap") == 0)
        return with ? swap_entries(change, entry, with)
                    : status_fail(change->status, STATUS_INVALID, "swap needs with=KEY");
    if (!read_value(change, entry, &value))
        return false;
    struct op_parameters *parameters = &fault_instruction(change)->parameters;
    if (read_entry(parameters, entry) == value)
        return fault_skip(change, "the parameter has that value already");
    write_entry(parameters, entry, value);
    return true;
}

bool fault_add_to_parameter(struct fault_change *change, const char *name, double by)
{
    const struct entry *entry = find_entry(name, change->status);
    if (!entry)
        return false;
    if (entry->kind != KIND_LONG && entry->kind != KIND_INT)
        return status_fail(change->status, STATUS_INVALID, "%s is not a whole number", name);
    if (by == 0)
        return status_fail(change->status, STATUS_INVALID, "by=0 changes nothing");
    struct op_parameters *parameters = &fault_instruction(change)->parameters;
    write_entry(parameters, entry, read_entry(parameters, entry) + by);
    return true;
}
