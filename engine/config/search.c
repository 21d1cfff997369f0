#include "engine/config/search.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const folders[] = {"models", "variants", "tolerances"};
static const char *const words[] = {"model", "variant", "tolerance table"};
static const char *const suffixes[] = {".yaml", ".yml"};

static int directory_count(const struct config_search *search)
{
    return search ? search->directory_count : 0;
}

/* The search order: the user's folders, ./lockstep.d, built in. NULL for the last. */
static const char *directory_at(const struct config_search *search, int place)
{
    if (place < directory_count(search))
        return search->directories[place];
    return place == directory_count(search) ? "lockstep.d" : NULL;
}

static bool is_name(const char *name, size_t length)
{
    if (length == 0 || length > 100 || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.+", name[i]))
            return false;
    return true;
}

static bool fail_folder(const char *path, const char *why, struct status *status)
{
    return status_fail(status, STATUS_NOT_FOUND, "configuration folder %s: %s", path, why);
}

/* `needed`: it must be there; one that is there must be readable in any case, or its files would
 * silently not count. */
static bool check_folder(const char *path, bool needed, struct status *status)
{
    DIR *directory = opendir(path);
    if (!directory && errno == ENOENT && !needed)
        return true;
    if (!directory)
        return fail_folder(path, errno == ENOTDIR ? "not a folder" : strerror(errno), status);
    closedir(directory);
    return true;
}

bool search_check(const struct config_search *search, struct status *status)
{
    for (int i = 0; directory_at(search, i); i++) {
        const char *folder = directory_at(search, i);
        if (!check_folder(folder, i < directory_count(search), status))
            return false;
        for (int kind = 0; kind < ARRAY_LENGTH(folders); kind++) {
            char *path = memory_format("%s/%s", folder, folders[kind]);
            bool fine = check_folder(path, false, status);
            free(path);
            if (!fine)
                return false;
        }
    }
    return true;
}

static bool read_into(const char *path, struct tree_pool *pool, struct config_file *file,
                      struct status *status)
{
    char *text;
    if (!file_read(path, TREE_FILE_LIMIT, &text, &file->length, status))
        return false;
    file->text = pool_zeroed(pool, file->length + 1);
    memcpy(file->text, text, file->length);
    free(text);
    return true;
}

/* Whether `path` is there. It may still be unreadable: then `status` fails. */
static bool open_file(const char *path, struct tree_pool *pool, struct config_file *file,
                      struct status *status)
{
    struct stat information;
    if (lstat(path, &information))
        return false;
    if (stat(path, &information)) /* a link to nothing */
        return !status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    file->path = pool_string(pool, path);
    if (S_ISREG(information.st_mode))
        read_into(path, pool, file, status);
    else
        status_fail(status, STATUS_IO, "%s: not a file", path);
    return true;
}

/* Where a file of that name may be in a folder of the user, in order; NULL behind the last. */
static char *candidate(const char *directory, enum config_kind kind, const char *name, int place)
{
    bool plain = place >= ARRAY_LENGTH(suffixes); /* models may lie in the folder itself */
    if (place >= 2 * ARRAY_LENGTH(suffixes) || (plain && kind != KIND_MODEL))
        return NULL;
    return memory_format("%s/%s%s%s%s", directory, plain ? "" : folders[kind], plain ? "" : "/",
                         name, suffixes[place % ARRAY_LENGTH(suffixes)]);
}

static bool open_in_directory(const char *directory, enum config_kind kind, const char *name,
                              struct tree_pool *pool, struct config_file *file,
                              struct status *status)
{
    bool found = false;
    char *path;
    for (int i = 0; !found && (path = candidate(directory, kind, name, i)); i++) {
        found = open_file(path, pool, file, status);
        free(path);
    }
    return found;
}

bool search_read_embedded(const char *name, struct config_file *file, struct status *status)
{
    for (int i = 0; i < embedded_config_count; i++) {
        const struct embedded_file *embedded = &embedded_configs[i];
        if (strcmp(embedded->path + strlen("configs/"), name))
            continue;
        file->path = embedded->path;
        file->text = (char *)(uintptr_t)embedded->text; /* only ever read */
        file->length = embedded->length;
        return true;
    }
    return status_fail(status, STATUS_NOT_FOUND, "configs/%s is not built in", name);
}

static bool open_embedded(enum config_kind kind, const char *name, struct config_file *file)
{
    char *path = memory_format("%s/%s.yaml", folders[kind], name);
    bool found = search_read_embedded(path, file, NULL);
    free(path);
    return found;
}

/* Bytes before .yaml or .yml; 0 of other files. */
static size_t stem_length(const char *file)
{
    size_t length = strlen(file);
    for (int i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        size_t cut = strlen(suffixes[i]);
        if (length > cut && !strcmp(file + length - cut, suffixes[i]))
            return length - cut;
    }
    return 0;
}

/* Adds the file's name, or where `odd`, the path of a file without one. */
static void add_file(struct names *names, const char *folder, const char *file, bool odd)
{
    size_t length = stem_length(file);
    if (length == 0 || is_name(file, length) == odd)
        return;
    char *name = odd ? memory_format("%s/%s", folder, file) : memory_string_part(file, length);
    names_set(names, name, names->count);
    free(name);
}

/* Files that begin with a point are an editor's, not the user's. */
static void add_directory(struct names *names, const char *path, bool odd)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            add_file(names, path, entry->d_name, odd);
    if (directory)
        closedir(directory);
}

static void add_folder(const char *directory, enum config_kind kind, struct names *names, bool odd)
{
    char *path = memory_format("%s/%s", directory, folders[kind]);
    add_directory(names, path, odd);
    free(path);
    if (kind == KIND_MODEL)
        add_directory(names, directory, odd);
}

static void add_folders(const struct config_search *search, enum config_kind kind,
                        struct names *names, bool odd)
{
    for (int place = 0; directory_at(search, place); place++)
        add_folder(directory_at(search, place), kind, names, odd);
}

void search_odd_files(const struct config_search *search, struct names *paths)
{
    for (int kind = 0; kind < ARRAY_LENGTH(folders); kind++)
        add_folders(search, (enum config_kind)kind, paths, true);
}

static void add_hidden_line(const char *path, const char *first, struct names *lines)
{
    char *line = memory_format(
        "%s: does not count, since %s is there; expected one file of this name in a folder", path,
        first);
    names_set(lines, line, lines->count);
    free(line);
}

/* Of several files of one name in one folder, those behind the first. */
static void add_hidden(const char *directory, enum config_kind kind, const char *name,
                       struct names *lines)
{
    struct stat information;
    char *first = NULL, *path;
    for (int i = 0; (path = candidate(directory, kind, name, i)); i++) {
        bool exists = lstat(path, &information) == 0;
        if (exists && !first) {
            first = path;
            continue;
        }
        if (exists)
            add_hidden_line(path, first, lines);
        free(path);
    }
    free(first);
}

void search_hidden_files(const struct config_search *search, struct names *lines)
{
    for (int place = 0; directory_at(search, place); place++)
        for (int kind = 0; kind < ARRAY_LENGTH(folders); kind++) {
            const char *directory = directory_at(search, place);
            struct names names = {0};
            add_folder(directory, (enum config_kind)kind, &names, false);
            for (int i = 0; i < names.count; i++)
                add_hidden(directory, (enum config_kind)kind, names.names[i], lines);
            names_free(&names);
        }
}

void search_names(const struct config_search *search, enum config_kind kind, struct names *names)
{
    add_folders(search, kind, names, false);
    char *prefix = memory_format("configs/%s/", folders[kind]);
    for (int i = 0; i < embedded_config_count; i++)
        if (!strncmp(embedded_configs[i].path, prefix, strlen(prefix)))
            add_file(names, prefix, embedded_configs[i].path + strlen(prefix), false);
    free(prefix);
}

/* "no model 'lama' (did you mean 'llama'?)" or the list of what there is. */
static bool fail_unknown(const struct config_search *search, enum config_kind kind,
                         const char *name, struct status *status)
{
    struct names names = {0};
    struct text text = {0};
    search_names(search, kind, &names);
    const char *closest = names_closest(name, (const char *const *)names.names, names.count);
    if (closest)
        text_format(&text, "did you mean '%s'?", closest);
    for (int i = 0; !closest && i < names.count; i++)
        text_format(&text, "%s%s", i ? ", " : "there are: ", names.names[i]);
    status_fail(status, STATUS_NOT_FOUND, "no %s '%.100s' (%s)", words[kind], name,
                text.data ? text.data : "there are none");
    text_free(&text);
    names_free(&names);
    return false;
}

bool search_read(const struct config_search *search, enum config_kind kind, const char *name,
                 int place, struct tree_pool *pool, struct config_file *file, struct status *status)
{
    struct status failure = STATUS_NONE;
    bool found = false;
    int last = directory_count(search) + 1;
    for (; is_name(name, strlen(name)) && place <= last && !found; place++) {
        file->place = place;
        if (place == last)
            found = open_embedded(kind, name, file);
        else
            found =
                open_in_directory(directory_at(search, place), kind, name, pool, file, &failure);
    }
    if (!found)
        return fail_unknown(search, kind, name, status);
    if (failure.code)
        return status_fail(status, failure.code, "%s", failure.text);
    return true;
}
