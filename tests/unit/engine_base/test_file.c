/* Files are written whole, under their own name, or not at all; what is read is all that there is.
 */
#include "engine/base/file.h"

#include "engine/base/memory.h"
#include "tests/unit/random.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lockstep-file-XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *command = memory_format("rm -rf '%s'", folder);
    int result = chdir("/") == 0 ? system(command) : -1;
    free(command);
    return result;
}

static void holds(const char *path, const char *expected)
{
    char bytes[100] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof(bytes) - 1, file);
    fclose(file);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(bytes, expected);
}

static int files_here(void)
{
    int count = 0;
    DIR *here = opendir(".");
    for (struct dirent *entry; (entry = readdir(here));)
        count += entry->d_name[0] != '.';
    closedir(here);
    return count;
}

static void a_file_is_kept_unless_told_otherwise(void **state)
{
    struct status status = STATUS_NONE;
    (void)state;
    assert_true(file_write("one", "first", 5, FILE_KEEP, &status));
    assert_false(file_write("one", "second", 6, FILE_KEEP, &status));
    assert_int_equal(status.code, STATUS_EXISTS);
    assert_string_equal(status.text, "one exists already");
    holds("one", "first");
    assert_true(file_write("one", "2nd", 3, FILE_REPLACE, &status));
    holds("one", "2nd");
    assert_true(file_write("empty", NULL, 0, FILE_KEEP, &status));
    holds("empty", "");
    assert_int_equal(files_here(), 2); /* no temporary ones */
}

static void permissions_and_links_stay(void **state)
{
    struct status status = STATUS_NONE;
    struct stat information;
    (void)state;
    assert_true(file_write("real", "a", 1, FILE_KEEP, &status));
    assert_int_equal(chmod("real", 0640), 0);
    assert_int_equal(symlink("real", "link"), 0);
    assert_true(file_write("link", "b", 1, FILE_REPLACE, &status));
    holds("real", "b");
    assert_int_equal(lstat("link", &information), 0);
    assert_true(S_ISLNK(information.st_mode));
    assert_int_equal(stat("real", &information), 0);
    assert_int_equal(information.st_mode & 0777, 0640);
}

static void failures_name_the_file_and_leave_nothing(void **state)
{
    struct status status = STATUS_NONE;
    (void)state;
    int before = files_here();
    assert_false(file_write("nowhere/file", "x", 1, FILE_REPLACE, &status));
    assert_int_equal(status.code, STATUS_IO);
    assert_non_null(strstr(status.text, "nowhere/file: "));
    assert_false(file_write(".", "x", 1, FILE_REPLACE, &status));
    assert_string_equal(status.text, ". is a folder");
    assert_true(file_write("/dev/null", "x", 1, FILE_KEEP, &status)); /* nothing to be kept */
    assert_false(file_write("/dev/full", "x", 1, FILE_KEEP, &status));
    assert_non_null(strstr(status.text, "/dev/full: No space"));
    assert_int_equal(files_here(), before);
}

/* What can be tried before there is anything to write: a file is neither made nor changed. */
static void a_try_leaves_nothing(void **state)
{
    struct status status = STATUS_NONE;
    (void)state;
    assert_true(file_write("kept", "earlier", 7, FILE_REPLACE, &status));
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    int before = files_here();
    assert_true(file_can_write("kept", &status));
    assert_true(file_can_write("fresh", &status));
    assert_true(file_can_write("dangling", &status));
    assert_true(file_can_write("/dev/full", &status));
    assert_string_equal(status.text, "");
    assert_false(file_can_write("nowhere/file", &status));
    assert_non_null(strstr(status.text, "nowhere/file: "));
    assert_false(file_can_write("kept/file", &status));
    assert_false(file_can_write(".", &status));
    assert_string_equal(status.text, ". is a folder");
    assert_int_equal(files_here(), before);
    holds("kept", "earlier");
}

/* Whatever its size is beside the limit, a file that is read or mapped is all there. */
static void all_is_read_or_nothing(void **state)
{
    struct random random = random_start("file");
    (void)state;
    for (int round = 0; round < 50; round++) {
        size_t limit = (size_t)random_integer(&random, 0, 9000);
        size_t size = round % 2 ? limit + (size_t)random_integer(&random, 0, 2)
                                : (size_t)random_integer(&random, 0, 9000);
        char *bytes = memory_zeroed(size, 1), *text = NULL;
        struct status status = STATUS_NONE;
        size_t length = 1, mapped = 1;
        void *map = NULL;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (char)random_bits(&random);
        assert_true(file_write("some", bytes, size, FILE_REPLACE, &status));
        assert_true(file_map("some", &map, &mapped, &status));
        assert_int_equal(mapped, size);
        assert_true(size > 0 ? memcmp(map, bytes, size) == 0 : !map);
        file_unmap(map, mapped);
        if (size <= limit) {
            assert_true(file_read("some", limit, &text, &length, &status));
            assert_int_equal(length, size);
            assert_memory_equal(text, bytes, size);
            assert_int_equal(text[size], 0);
        } else {
            assert_false(file_read("some", limit, &text, &length, &status));
            assert_int_equal(status.code, STATUS_INVALID);
            assert_null(text);
        }
        free(text);
        free(bytes);
    }
}

/* A pipe has no size: it is read until its end, but not mapped. */
static void what_has_no_size_is_read_to_its_end(void **state)
{
    enum { BYTES = 40000 }; /* what a pipe holds is more */
    char bytes[BYTES], path[64], *text = NULL;
    struct random random = random_start("pipe");
    struct status status = STATUS_NONE;
    int ends[2];
    size_t length = 0;
    void *map = NULL;
    (void)state;
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (char)random_bits(&random);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, BYTES), BYTES);
    close(ends[1]);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    assert_true(file_read(path, BYTES, &text, &length, &status));
    assert_int_equal(length, BYTES);
    assert_memory_equal(text, bytes, BYTES);
    assert_false(file_map(path, &map, &length, &status));
    assert_non_null(strstr(status.text, "not a regular file"));
    assert_int_equal(status.code, STATUS_INVALID);
    assert_false(file_read(".", BYTES, &text, &length, &status));
    assert_int_equal(status.code, STATUS_INVALID);
    assert_false(file_map("nowhere", &map, &length, &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    free(text);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_kept_unless_told_otherwise),
        cmocka_unit_test(permissions_and_links_stay),
        cmocka_unit_test(failures_name_the_file_and_leave_nothing),
        cmocka_unit_test(a_try_leaves_nothing),
        cmocka_unit_test(all_is_read_or_nothing),
        cmocka_unit_test(what_has_no_size_is_read_to_its_end),
    };
    return cmocka_run_group_tests_name("file", tests, make_folder, remove_folder);
}
