#include "app/last_failed.h"
#include "app/app.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "ui/user_files.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "lockstep-last-failed"
enum { VERSION = 1 };

/* The folders that a list belongs to: the current one, then those of --config-dir. NULL if there is
 * no current one. */
static json_t *folders_of(const struct config_search *search)
{
    json_t *folders = json_array();
    char *here = realpath(".", NULL);
    for (int i = -1; here && i < search->directory_count; i++) {
        char *folder = i < 0 ? memory_string(here) : realpath(search->directories[i], NULL);
        /* A name that is no UTF-8 makes no string: then nothing is kept. */
        json_t *name = json_string(folder ? folder : search->directories[i]);
        free(folder);
        if (name) {
            json_array_append_new(folders, name);
            continue;
        }
        free(here);
        here = NULL;
    }
    if (!here) {
        json_decref(folders);
        return NULL;
    }
    free(here);
    return folders;
}

/* NULL: there is no place for it. */
static char *path_of(const json_t *folders)
{
    char *text = folders ? json_dumps(folders, JSON_COMPACT) : NULL;
    if (!text)
        return NULL;
    char *name = memory_format("last-failed/%016" PRIx64 ".json", hash_string(text));
    char *path = user_cache_path(name);
    free(name);
    free(text);
    return path;
}

static bool is_usable(const json_t *json, const json_t *folders)
{
    const char *format = json_string_value(json_object_get(json, "format"));
    return format && strcmp(format, FORMAT) == 0 &&
           json_integer_value(json_object_get(json, "version")) == VERSION &&
           json_equal(json_object_get(json, "folders"), folders) &&
           json_is_array(json_object_get(json, "failed"));
}

static bool read_file(const char *path, const json_t *folders, struct names *failed,
                      struct status *status)
{
    char *text = NULL;
    if (!user_read_file(path, &text, status))
        return status->code == STATUS_NOT_FOUND;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool usable = json && is_usable(json, folders);
    const json_t *list = json_object_get(json, "failed"), *id;
    size_t index;
    if (usable)
        json_array_foreach(list, index, id) if (json_is_string(id))
            names_set(failed, json_string_value(id), 1);
    json_decref(json);
    free(text);
    return usable ||
           status_fail(status, STATUS_INVALID,
                       "%s: not the failures that this version keeps of this folder", path);
}

struct names last_failed_read(const struct config_search *search, bool warn)
{
    struct names failed = {0};
    struct status status = STATUS_NONE;
    json_t *folders = folders_of(search);
    char *path = path_of(folders);
    if (path && !read_file(path, folders, &failed, &status) && warn)
        app_complain(0, "no failures are known: %s", status.text);
    free(path);
    json_decref(folders);
    return failed;
}

static bool has_model(const struct test_list *list, const char *id)
{
    for (int i = 0; i < list->model_count; i++) {
        size_t length = strlen(list->models[i].name);
        if (strncmp(id, list->models[i].name, length) == 0 && id[length] == '/')
            return true;
    }
    return false;
}

/* Skipped because one that it depends on did not pass. */
static bool was_held_up(const struct test_list *list, const struct outcome *outcomes, int test)
{
    const struct test_case *of = &list->tests[test];
    bool held_up = false;
    for (int i = 0; i < of->dependency_count; i++)
        held_up = held_up || outcomes[of->dependencies[i]].kind != OUTCOME_PASSED;
    return held_up && outcomes[test].kind == OUTCOME_SKIPPED;
}

static bool is_kept(const struct test_list *list, const struct outcome *outcomes, const char *id)
{
    int test = test_list_find(list, id);
    if (test < 0)
        return !has_model(list, id);
    return outcomes[test].kind == OUTCOME_NONE || was_held_up(list, outcomes, test);
}

/* Those of before that stay, then the new ones, in the order of the list. */
static json_t *merge(const struct names *before, const struct test_list *list,
                     const struct outcome *outcomes)
{
    json_t *failed = json_array();
    for (int i = 0; i < before->count; i++)
        if (is_kept(list, outcomes, before->names[i]))
            json_array_append_new(failed, json_string(before->names[i]));
    for (int i = 0; i < list->test_count; i++)
        if (outcomes[i].kind == OUTCOME_FAILED)
            json_array_append_new(failed, json_string(list->tests[i].id));
    return failed;
}

bool last_failed_write(const struct config_search *search, const struct test_list *list,
                       const struct outcome *outcomes, struct status *status)
{
    json_t *folders = folders_of(search);
    char *path = path_of(folders);
    if (!path) {
        json_decref(folders);
        return status_fail(status, STATUS_IO, "neither XDG_CACHE_HOME nor HOME is a folder");
    }
    struct names before = last_failed_read(search, false); /* others may have written meanwhile */
    json_t *failed = merge(&before, list, outcomes);
    bool nothing = json_array_size(failed) == 0 && before.count == 0; /* nor was there anything */
    json_t *json = json_pack("{s:s, s:i, s:O, s:o}", "format", FORMAT, "version", VERSION,
                             "folders", folders, "failed", failed);
    char *dumped = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
    bool ok = nothing || (user_make_folders(path, status) &&
                          file_write(path, dumped, strlen(dumped), FILE_REPLACE, status));
    free(dumped);
    json_decref(json);
    json_decref(folders);
    names_free(&before);
    free(path);
    return ok;
}
