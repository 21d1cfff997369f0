/* Folders of jobs: engines that begin at the same moment leave each other's alone, and what a
 * killed one left is removed by the next. */
#include "engine/ranks/job_folder.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ENGINES = 6, TIMES = 300 };

static void make_base(char *base)
{
    strcpy(base, "/tmp/lockstep-test-XXXXXX");
    assert_non_null(mkdtemp(base));
}

static int count_entries(const char *base)
{
    DIR *folder = opendir(base);
    int count = 0;
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* An engine that makes folders and removes them; the exit status of its process. */
static int work(const char *base)
{
    for (int i = 0; i < TIMES; i++) {
        struct job_folder folder;
        struct status status = STATUS_NONE;
        if (!job_folder_make(&folder, base, &status)) {
            fprintf(stderr, "%s\n", status.text);
            return 1;
        }
        bool there = access(folder.path, F_OK) == 0;
        job_folder_remove(&folder);
        if (!there)
            return 2;
    }
    return 0;
}

static void test_at_once(void **state)
{
    char base[64];
    (void)state;
    make_base(base);
    for (int i = 0; i < ENGINES; i++)
        if (fork() == 0)
            _exit(work(base));
    for (int i = 0; i < ENGINES; i++) {
        int ending = -1;
        assert_true(wait(&ending) > 0);
        assert_int_equal(ending, 0);
    }
    assert_int_equal(count_entries(base), 0);
    assert_int_equal(rmdir(base), 0);
}

static void test_left_behind(void **state)
{
    char base[64];
    int ending = -1;
    struct job_folder folder;
    (void)state;
    while (wait(NULL) > 0) /* of a test that has failed */
        continue;
    make_base(base);
    if (fork() == 0) {
        job_folder_make(&folder, base, NULL);
        raise(SIGKILL);
    }
    assert_true(wait(&ending) > 0 && WIFSIGNALED(ending));
    assert_int_equal(count_entries(base), 1);
    assert_true(job_folder_make(&folder, base, NULL));
    assert_int_equal(count_entries(base), 1);
    job_folder_remove(&folder);
    assert_int_equal(count_entries(base), 0);
    assert_int_equal(rmdir(base), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
