#include "engine/base/memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void memory_is_zeroed_and_never_null(void **state)
{
    (void)state;
    int *numbers = memory_zeroed(1000, sizeof(*numbers));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], 0);
    free(numbers);
    char *none = memory_zeroed(0, 16);
    assert_non_null(none);
    none = memory_resize(none, 0, 16);
    assert_non_null(none);
    free(none);
}

static void strings_are_copied(void **state)
{
    (void)state;
    assert_null(memory_string(NULL));
    char *whole = memory_string("lockstep");
    char *part = memory_string_part("lockstep", 4);
    char *beyond = memory_string_part("lock", 100); /* stops at the end, as strndup does */
    char *empty = memory_string_part("lock", 0);
    char *made = memory_format("%s-%d", "rank", 3);
    assert_string_equal(whole, "lockstep");
    assert_string_equal(part, "lock");
    assert_string_equal(beyond, "lock");
    assert_string_equal(empty, "");
    assert_string_equal(made, "rank-3");
    free(whole);
    free(part);
    free(beyond);
    free(empty);
    free(made);
}

static void arrays_grow_and_keep_their_items(void **state)
{
    (void)state;
    int *squares = NULL, count = 0, capacity = 0;
    for (int i = 0; i < 1000; i++)
        ARRAY_PUSH(squares, count, capacity, i * i);
    assert_int_equal(count, 1000);
    assert_true(capacity >= count);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(squares[i], i * i);
    free(squares);
}

static void sizes_from_data_are_refused_and_not_fatal(void **state)
{
    (void)state;
    assert_null(memory_try(SIZE_MAX / 2, 4)); /* the product overflows */
    void *small = memory_try(3, 5);
    assert_non_null(small);
    free(small);
}

/* An impossible size ends the program by SIGABRT, even where that signal is ignored. */
static int signal_of_impossible_resize(bool ignore_abort)
{
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, ignore_abort ? SIG_IGN : SIG_DFL);
        signal(SIGILL, SIG_DFL); /* cmocka's handlers would come back from it */
        signal(SIGTRAP, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        void *memory = memory_resize(NULL, SIZE_MAX / 2, 4);
        _exit(memory ? 2 : 3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return WTERMSIG(status);
}

static void impossible_sizes_end_the_program(void **state)
{
    (void)state;
    assert_int_equal(signal_of_impossible_resize(false), SIGABRT);
    assert_int_not_equal(signal_of_impossible_resize(true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_never_null),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(arrays_grow_and_keep_their_items),
        cmocka_unit_test(sizes_from_data_are_refused_and_not_fatal),
        cmocka_unit_test(impossible_sizes_end_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
