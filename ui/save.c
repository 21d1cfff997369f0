#include "ui/save.h"

#include "ui/state.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ---- */

/* "dir/memory.csv" and "owners": "dir/memory-owners.csv". */
static char *name_of_table(const char *path, const char *table)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash ? slash : path, '.');
    size_t stem = dot ? (size_t)(dot - path) : strlen(path);
    return memory_format("%.*s-%s%s", (int)stem, path, table, dot ? dot : "");
}

static bool write_one(const char *path, const struct text *content, bool replace,
                      struct text *names, struct status *status)
{
    const char *bytes = content->data ? content->data : "";
    if (!file_write(path, bytes, content->length, replace ? FILE_REPLACE : FILE_KEEP, status))
        return false;
    text_format(names, "%s%s", names->length ? ", " : "", path);
    return true;
}

/* All names are looked at before the first file is written. */
static bool save_tables(const struct sheet *sheet, const char *path, bool replace,
                        struct text *names, struct status *status)
{
    bool good = true;
    for (int write = 0; write < 2; write++)
        for (int i = 0; good && i < sheet->table_count; i++) {
            struct text content = {0};
            char *own = i ? name_of_table(path, sheet->tables[i]->name) : memory_string(path);
            if (!write && !replace && access(own, F_OK) == 0)
                good = status_fail(status, STATUS_EXISTS, "%s exists already", own);
            if (write)
                sheet_write_csv(sheet->tables[i], &content);
            good = good && (!write || write_one(own, &content, replace, names, status));
            text_free(&content);
            free(own);
        }
    return good;
}

bool sheet_save(const struct sheet *sheet, const char *path, enum sheet_format format, bool replace,
                struct text *names, struct status *status)
{
    struct text content = {0};
    if (format == SHEET_CSV)
        return save_tables(sheet, path, replace, names, status);
    if (format == SHEET_JSON)
        sheet_write_json(sheet, &content);
    else
        sheet_write_text(sheet, &content);
    bool good = write_one(path, &content, replace, names, status);
    text_free(&content);
    return good;
}

/* ---- the command ---- */

/* Takes "--format NAME" or "--format=NAME" off the front; -1: the file's name says. */
static bool take_format(const char **arguments, int *format, struct status *status)
{
    static const char option[] = "--format";
    size_t length = sizeof(option) - 1;
    *format = -1;
    if (strncmp(*arguments, option, length) != 0)
        return true;
    const char *word = *arguments + length;
    if (*word != '=' && *word != ' ')
        return status_fail(status, STATUS_INVALID, "--format takes text, csv or json");
    word += 1 + strspn(word + 1, " ");
    size_t end = strcspn(word, " ");
    char *name = memory_string_part(word, end);
    *format = sheet_format_find(name);
    if (*format < 0)
        status_fail(status, STATUS_INVALID, "there is no format \"%s\": text, csv or json", name);
    free(name);
    *arguments = word + end + strspn(word + end, " ");
    return *format >= 0;
}

/* A name in the current folder that is free. */
static char *free_name(enum layout_view view, enum sheet_format format)
{
    const char *name = layout_view_name(view), *ending = sheet_format_ending(format);
    char *path = memory_format("lockstep-%s.%s", name, ending);
    for (int number = 2; access(path, F_OK) == 0 && number < 10000; number++) {
        free(path);
        path = memory_format("lockstep-%s-%d.%s", name, number, ending);
    }
    return path;
}

/* "~/x" as shells have it. */
static char *expand(const char *path)
{
    const char *home = getenv("HOME");
    bool tilde = path[0] == '~' && path[1] == '/' && home;
    return tilde ? memory_format("%s%s", home, path + 1) : memory_string(path);
}

/* What every saved view tells: where its numbers are from. */
static void add_origin(const struct ui *ui, struct sheet *sheet)
{
    const struct snapshot *now = ui->snapshot;
    sheet_fact(sheet, "view", layout_view_name(ui->request.focus));
    if (!now || now->state == RUN_NONE)
        return;
    sheet_fact(sheet, "run", now->run);
    sheet_fact(sheet, "reference", now->reference);
    sheet_fact(sheet, "place", now->place);
}

void ui_save(struct ui *ui, const char *arguments, bool replace)
{
    const struct view_operations *operations = ui_operations(ui->request.focus);
    struct sheet sheet = {0};
    struct text names = {0};
    struct status status = STATUS_NONE;
    int format;
    char *path = NULL;
    bool good = take_format(&arguments, &format, &status);
    if (good) {
        path = arguments[0] ? expand(arguments)
                            : free_name(ui->request.focus,
                                        format < 0 ? SHEET_TEXT : (enum sheet_format)format);
        add_origin(ui, &sheet);
        operations->save(ui, ui->states[ui->request.focus], &sheet);
        if (sheet.table_count == 0)
            good = status_fail(&status, STATUS_INVALID, "there is nothing to save in this view");
    }
    if (good)
        good =
            sheet_save(&sheet, path, format < 0 ? sheet_format_of(path) : (enum sheet_format)format,
                       replace, &names, &status);
    if (good)
        ui_say(ui, THEME_NORMAL, "saved %s", names.data);
    else if (status.code == STATUS_EXISTS)
        ui_say(ui, THEME_ERROR, "%s: \":save! %s\" replaces it", status.text, arguments);
    else
        ui_say(ui, THEME_ERROR, "%s", status.text);
    sheet_free(&sheet);
    text_free(&names);
    free(path);
}
