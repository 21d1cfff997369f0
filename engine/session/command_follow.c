/* Following single elements through a run. */
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/slices.h"

#include <stdlib.h>
#include <string.h>

static void say_follow(struct debugger *debugger, const struct follow *follow)
{
    struct text text = {0};
    follow_describe(follow, debugger_program(debugger), &text);
    say(debugger, "%s", text.data);
    text_free(&text);
}

static const struct follow *find_follow(const struct debugger *debugger, int number)
{
    const struct follows *follows = &debugger->record.follows;
    for (int i = 0; i < follows->count; i++)
        if (follows->list[i].number == number)
            return &follows->list[i];
    return NULL;
}

/* The one element that "[3,4]" picks of a value. */
static bool read_place(const struct value *value, const char *text, int64_t *place,
                       struct status *status)
{
    struct slices slices;
    char shape[80];
    if (!slices_parse(text, value->shape, &slices, status))
        return false;
    if (slices_elements(&slices) != 1)
        return status_fail(
            status, STATUS_INVALID,
            "follow takes one element: TENSOR[I,J], with an index for each dimension "
            "of %s",
            shape_text(value->shape, shape));
    for (int d = 0; d < slices.rank; d++)
        place[d] = slices.dims[d].start;
    return true;
}

bool command_follow(struct debugger *debugger, const char *arguments, struct status *status)
{
    const struct follows *follows = &debugger->record.follows;
    int64_t place[TENSOR_MAX_RANK] = {0};
    const char *slices;
    if (!*arguments) {
        if (follows->count == 0)
            say(debugger, "Nothing is followed: follow TENSOR[I,J].\n");
        for (int i = 0; i < follows->count; i++)
            say_follow(debugger, &follows->list[i]);
        return true;
    }
    char *name = argument_tensor(arguments, &slices);
    int value = describe_pick_value(debugger, name, status);
    free(name);
    if (value < 0 || !read_place(&debugger_program(debugger)->values[value], slices, place, status))
        return false;
    int number =
        follow_add(&debugger->record.follows, debugger->target->pair, value, place, status);
    if (number < 0)
        return false;
    say_follow(debugger, find_follow(debugger, number));
    return true;
}

bool command_unfollow(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct follows *follows = &debugger->record.follows;
    char word[32];
    if (!*arguments) {
        while (follows->count > 0)
            follow_remove(follows, follows->list[0].number);
        return true;
    }
    while (argument_word(&arguments, word, sizeof(word)), *word) {
        int number;
        if (!argument_count(word, 0, &number, status))
            return false;
        if (!follow_remove(follows, number))
            return status_fail(status, STATUS_NOT_FOUND,
                               "nothing is followed as number %d: see "
                               "follow",
                               number);
    }
    return true;
}
