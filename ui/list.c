#include "ui/list.h"

#include <limits.h>
#include <string.h>

static int clamp(int number, int low, int high)
{
    if (number > high)
        number = high;
    return number < low ? low : number;
}

/* The furthest that the list scrolls. */
static int last_top(const struct list *list)
{
    return list->count - (list->page > 0 ? list->page : 1);
}

void list_resize(struct list *list, int count)
{
    list->count = count;
    list->selected = clamp(list->selected, 0, count - 1);
    list->top = clamp(list->top, 0, last_top(list));
}

void list_select(struct list *list, int row)
{
    list->selected = clamp(row, 0, list->count - 1);
}

void list_show(struct list *list, int page)
{
    list->page = page > 0 ? page : 0;
    if (list->selected < list->top)
        list->top = list->selected;
    if (list->page > 0 && list->selected >= list->top + list->page)
        list->top = list->selected - list->page + 1;
    list->top = clamp(list->top, 0, last_top(list));
}

void list_reveal(struct list *list, int row)
{
    list_select(list, row);
    if (list->selected < list->top || list->selected >= list->top + list->page)
        list->top = clamp(list->selected - list->page / 2, 0, last_top(list));
}

bool list_move(struct list *list, const char *word)
{
    int page = list->page > 1 ? list->page - 1 : 1;
    int half = list->page > 2 ? list->page / 2 : 1;
    const struct {
        const char *word;
        int rows;
    } moves[] = {
        {"down", 1},         {"up", -1},         {"first", -INT_MAX},      {"last", INT_MAX},
        {"page-down", page}, {"page-up", -page}, {"half-page-down", half}, {"half-page-up", -half}};
    for (unsigned i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
        if (strcmp(moves[i].word, word) != 0)
            continue;
        long long to = (long long)list->selected + moves[i].rows;
        list_select(list, to > INT_MAX ? INT_MAX : to < 0 ? 0 : (int)to);
        return true;
    }
    return false;
}

bool list_act(struct list *list, const char *command)
{
    if (strncmp(command, "move ", 5) == 0)
        return list_move(list, command + 5);
    bool up = strcmp(command, "scroll up") == 0;
    if (!up && strcmp(command, "scroll down") != 0)
        return false;
    list_scroll(list, up ? -3 : 3);
    return true;
}

bool list_click(struct list *list, int heading, int row)
{
    row -= heading;
    if (row < 0 || row >= list->page || list->top + row >= list->count)
        return false;
    list_select(list, list->top + row);
    return true;
}

void list_scroll(struct list *list, int rows)
{
    list->top = clamp(list->top + rows, 0, last_top(list));
    if (list->page > 0)
        list->selected = clamp(list->selected, list->top, list->top + list->page - 1);
    list->selected = clamp(list->selected, 0, list->count - 1);
}
