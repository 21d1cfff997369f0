#include "ui/history.h"

#include "engine/base/memory.h"
#include "ui/user_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STANDARD_LIMIT = 1000 };

static void remove_at(struct history *history, int index)
{
    free(history->lines[index]);
    history->count--;
    memmove(history->lines + index, history->lines + index + 1,
            (size_t)(history->count - index) * sizeof(*history->lines));
}

static bool is_worth_keeping(const char *line)
{
    bool blank = true;
    for (const char *at = line; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return false;
        blank = blank && *at == ' ';
    }
    return !blank;
}

bool history_add(struct history *history, const char *line)
{
    if (!is_worth_keeping(line))
        return false;
    for (int i = history->count - 1; i >= 0; i--)
        if (strcmp(history->lines[i], line) == 0)
            remove_at(history, i);
    ARRAY_PUSH(history->lines, history->count, history->capacity, memory_string(line));
    while (history->count > (history->limit > 0 ? history->limit : STANDARD_LIMIT))
        remove_at(history, 0);
    return true;
}

bool history_load(struct history *history, const char *path, struct status *status)
{
    char *text = NULL;
    struct status failure = STATUS_NONE;
    if (!user_read_file(path, &text, &failure))
        return failure.code == STATUS_NOT_FOUND ||
               status_fail(status, failure.code, "%s", failure.text);
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        history_add(history, line);
    free(text);
    return true;
}

static bool write_lines(const struct history *history, const char *path, struct status *status)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        return status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    for (int i = 0; i < history->count; i++)
        fprintf(file, "%s\n", history->lines[i]);
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    return good || status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
}

bool history_save(const struct history *history, const char *path, struct status *status)
{
    struct history merged = {.limit = history->limit};
    if (!user_make_folders(path, status) || !history_load(&merged, path, status))
        return false;
    for (int i = 0; i < history->count; i++)
        history_add(&merged, history->lines[i]);
    char *temporary = memory_format("%s.%d", path, (int)getpid());
    bool good = write_lines(&merged, temporary, status);
    if (good && rename(temporary, path) != 0)
        good = status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    if (!good)
        unlink(temporary);
    free(temporary);
    history_free(&merged);
    return good;
}

void history_free(struct history *history)
{
    if (!history)
        return;
    for (int i = 0; i < history->count; i++)
        free(history->lines[i]);
    free(history->lines);
    *history = (struct history){.limit = history->limit};
}
