#include "ui/user_files.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_LIMIT = 16 << 20 };

static char *base_path(const char *variable, const char *below_home, const char *name)
{
    const char *base = getenv(variable);
    if (base && base[0] == '/') /* the specification: relative paths are to be ignored */
        return memory_format("%s/lockstep/%s", base, name);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/')
        return NULL;
    return memory_format("%s/%s/lockstep/%s", home, below_home, name);
}

char *user_config_path(const char *name)
{
    return base_path("XDG_CONFIG_HOME", ".config", name);
}

char *user_state_path(const char *name)
{
    return base_path("XDG_STATE_HOME", ".local/state", name);
}

char *user_cache_path(const char *name)
{
    return base_path("XDG_CACHE_HOME", ".cache", name);
}

bool user_make_folders(const char *path, struct status *status)
{
    char *folder = memory_string(path);
    bool done = true;
    for (char *slash = strchr(folder + 1, '/'); slash && done; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            done = status_fail(status, STATUS_IO, "%s: %s", folder, strerror(errno));
        *slash = '/';
    }
    free(folder);
    return done;
}

bool user_read_file(const char *path, char **text, struct status *status)
{
    return file_read(path, FILE_LIMIT, text, NULL, status);
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static void cut_comment(char *line)
{
    for (char *hash = strchr(line, '#'); hash; hash = strchr(hash + 1, '#')) {
        /* "# " only: a key map binds the key # itself */
        bool starts = hash == line || is_blank(hash[-1]);
        bool ends = hash[1] == '\0' || is_blank(hash[1]);
        if (hash == line || (starts && ends)) {
            *hash = '\0';
            return;
        }
    }
}

char *user_next_line(char **cursor, int *number)
{
    while (**cursor) {
        char *line = *cursor;
        size_t length = strcspn(line, "\n");
        *cursor = line + length + (line[length] == '\n');
        line[length] = '\0';
        (*number)++;
        while (is_blank(*line))
            line++;
        cut_comment(line);
        char *end = line + strlen(line);
        while (end > line && is_blank(end[-1]))
            *--end = '\0';
        if (*line)
            return line;
    }
    return NULL;
}

char *user_next_word(char **line)
{
    char *word = *line;
    while (is_blank(*word))
        word++;
    char *end = word;
    while (*end && !is_blank(*end))
        end++;
    if (*end)
        *end++ = '\0';
    while (is_blank(*end))
        end++;
    *line = end;
    return word;
}
