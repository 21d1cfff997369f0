#include "engine/program/memory_report.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <stdlib.h>
#include <string.h>

struct owner {
    int value;
    int64_t bytes;
};

static int compare_owners(const void *a, const void *b)
{
    const struct owner *one = a, *two = b;
    if (one->bytes != two->bytes)
        return one->bytes < two->bytes ? 1 : -1;
    return one->value - two->value;
}

static bool owns(const struct memory_plan *plan, const struct placement *place, int index)
{
    if (place->shares >= 0 || place->bytes == 0)
        return false;
    return place->persistent ||
           (place->first <= index && (plan->mode == PLAN_KEEP || index <= place->last));
}

int memory_plan_owners(const struct memory_plan *plan, const struct program *program, int index,
                       int **values)
{
    struct owner *owners = NULL;
    int count = 0, capacity = 0;
    for (int v = 0; v < program->value_count; v++) {
        struct owner owner = {v, plan->placements[v].bytes};
        if (owns(plan, &plan->placements[v], index))
            ARRAY_PUSH(owners, count, capacity, owner);
    }
    *values = NULL;
    if (count > 0) {
        qsort(owners, (size_t)count, sizeof(*owners), compare_owners);
        *values = memory_zeroed((size_t)count, sizeof(**values));
    }
    for (int i = 0; i < count; i++)
        (*values)[i] = owners[i].value;
    free(owners);
    return count;
}

static void add_classes(const struct memory_plan *plan, const struct program *program,
                        struct text *text)
{
    int64_t classes[MEMORY_CLASS_COUNT];
    char bytes[32];
    const char *separator = ": ";
    memory_plan_classes(plan, program, plan->peak, classes);
    text_format(text, "\nforecast of this run: %s",
                text_bytes((uint64_t)memory_plan_total(plan), bytes));
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++) {
        if (classes[c] == 0)
            continue;
        text_format(text, "%s%s %s", separator, memory_class_name((enum memory_class)c),
                    text_bytes((uint64_t)classes[c], bytes));
        separator = ", ";
    }
}

static void add_owners(const struct memory_plan *plan, const struct program *program,
                       struct text *text)
{
    enum { MOST = 5 };
    int *values, count = memory_plan_owners(plan, program, plan->peak, &values);
    text_add(text, "\nlargest there: ");
    for (int i = 0; i < count && i < MOST; i++) {
        char name[100], bytes[32];
        text_format(text, "%s%s %s", i ? ", " : "",
                    program_value_text(program, values[i], name, sizeof(name)),
                    text_bytes((uint64_t)plan->placements[values[i]].bytes, bytes));
    }
    free(values);
}

bool memory_report_add(const struct memory_plan *plan, const struct program *program,
                       struct status *status)
{
    struct text text = {0};
    char instruction[160];
    if (!status || plan->instruction_count == 0)
        return false;
    add_classes(plan, program, &text);
    program_instruction_text(program, plan->peak, instruction, sizeof(instruction));
    char *operands = strstr(instruction, " = ");
    if (operands)
        *operands = '\0';
    text_format(&text, "\nmost is live at instruction %s", instruction + strspn(instruction, " "));
    add_owners(plan, program, &text);
    status_fail(status, status->code, "%s%s", status->text, text.data);
    text_free(&text);
    return false;
}
