#include "helper_config.h"

#include "engine/base/memory.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

char *folder_make(void)
{
    char *path = memory_string("/tmp/lockstep_config_XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

void folder_write(const char *folder, const char *name, const char *text)
{
    char *path = memory_format("%s/%s", folder, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    free(path);
}

static int remove_one(const char *path, const struct stat *information, int type, struct FTW *walk)
{
    (void)information, (void)type, (void)walk;
    return remove(path);
}

void folder_remove(char *folder)
{
    assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

struct config *load_fine(const char *folder, const char *name)
{
    struct status status = STATUS_NONE;
    struct config_search search = {.directories = &folder, .directory_count = folder != NULL};
    struct config *config = config_load(&search, name, &status);
    if (!config)
        fail_msg("%s: %s", name, status.text);
    return config;
}

void load_fails(const char *text, size_t length, enum status_code code, const char *expected)
{
    struct status status = STATUS_NONE;
    struct config *config = config_load_text(NULL, "my.yaml", text, length, NULL, &status);
    if (config)
        fail_msg("accepted: %.200s", text);
    assert_string_equal(status.text, expected);
    assert_int_equal(status.code, code);
}
