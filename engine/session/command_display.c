/* Tensors that are printed at every stop. */
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/display.h"

#include <stdlib.h>
#include <string.h>

void displays_free(struct displays *displays)
{
    for (int i = 0; i < displays->count; i++)
        free(displays->list[i].arguments);
    free(displays->list);
    *displays = (struct displays){0};
}

/* What is not there is told in a line, and ends nothing. */
static void show(struct debugger *debugger, const struct shown_tensor *shown)
{
    struct status status = STATUS_NONE;
    say(debugger, "%d: ", shown->number);
    if (!command_print(debugger, shown->arguments, &status))
        say(debugger, "%.*s\n", (int)strcspn(status.text, "\n"), status.text);
}

void display_all(struct debugger *debugger)
{
    for (int i = 0; debugger->target && i < debugger->displays.count; i++)
        show(debugger, &debugger->displays.list[i]);
}

/* Only what print would take: a tensor's name may still have to be written, but must exist. */
static bool check(struct debugger *debugger, const char *arguments, struct status *status)
{
    const char *slices, *at = arguments;
    enum side side;
    if (!argument_side(&at, "display", &side, status))
        return false;
    char *name = argument_tensor(at, &slices);
    int value = tensor_find(debugger_program(debugger), name,
                            debugger_program(debugger)->instruction_count, status);
    free(name);
    return value >= 0;
}

bool command_display(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct displays *displays = &debugger->displays;
    if (!*arguments) {
        if (displays->count == 0)
            say(debugger, "Nothing is displayed: 'display TENSOR[SLICES]'.\n");
        display_all(debugger);
        return true;
    }
    if (!check(debugger, arguments, status))
        return false;
    struct shown_tensor shown = {++displays->next_number, memory_string(arguments)};
    ARRAY_PUSH(displays->list, displays->count, displays->capacity, shown);
    show(debugger, &displays->list[displays->count - 1]);
    return true;
}

static int find(const struct displays *displays, int number)
{
    for (int i = 0; i < displays->count; i++)
        if (displays->list[i].number == number)
            return i;
    return -1;
}

static void remove_at(struct displays *displays, int index)
{
    free(displays->list[index].arguments);
    displays->count--;
    memmove(&displays->list[index], &displays->list[index + 1],
            (size_t)(displays->count - index) * sizeof(*displays->list));
}

bool command_undisplay(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct displays *displays = &debugger->displays;
    int number = 0;
    if (!*arguments) {
        while (displays->count > 0)
            remove_at(displays, displays->count - 1);
        return true;
    }
    if (!argument_count(arguments, 0, &number, status))
        return false;
    int index = find(displays, number);
    if (index < 0)
        return status_fail(status, STATUS_NOT_FOUND,
                           "nothing is displayed as %d: 'info display' lists what is", number);
    remove_at(displays, index);
    return true;
}

void info_display(struct debugger *debugger)
{
    const struct displays *displays = &debugger->displays;
    if (displays->count == 0)
        say(debugger, "Nothing is displayed: 'display TENSOR[SLICES]'.\n");
    for (int i = 0; i < displays->count; i++)
        say(debugger, "%d: %s\n", displays->list[i].number, displays->list[i].arguments);
}
