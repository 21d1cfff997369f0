/* The lines of `lockstep test -v`, as the screens read them, and how they start it. A script that
 * says such lines takes its place. */
#include "ui/test_run.h"

#include "engine/base/memory.h"
#include "ui/ui.h"

#include <poll.h>
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

/* A program that prints `lines`, and keeps its own words in the file "words", one on a line. */
struct pretended {
    char folder[40];
    char *path, *words;
};

static struct pretended pretend(const char *lines)
{
    struct pretended program = {.folder = "/tmp/lockstep-test-run-XXXXXX"};
    assert_non_null(mkdtemp(program.folder));
    program.path = memory_format("%s/program", program.folder);
    program.words = memory_format("%s/words", program.folder);
    FILE *file = fopen(program.path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\nprintf '%%s\\n' \"$@\" >%s\ncat <<'END'\n%s\nEND\n", program.words,
            lines);
    fclose(file);
    assert_int_equal(chmod(program.path, 0700), 0);
    return program;
}

static void pretended_free(struct pretended *program)
{
    unlink(program->path);
    unlink(program->words);
    assert_int_equal(rmdir(program->folder), 0);
    free(program->path);
    free(program->words);
}

static struct test_run *run_to_end(const struct pretended *program, struct ui_options options)
{
    static const char *const ids[] = {"tiny/basic/bf4"};
    struct status status = STATUS_NONE;
    struct test_run *run = test_run_create();
    options.program_path = program->path;
    if (!test_run_start(run, &options, ids, 1, 0, &status))
        fail_msg("%s", status.text);
    assert_string_equal(test_run_result(run, ids[0])->outcome, "to come");
    while (test_run_is_running(run)) {
        struct pollfd fd = {.fd = test_run_fd(run), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 60000), 1);
        test_run_take(run, NULL, NULL);
    }
    return run;
}

static void check(const struct test_run *run, const char *id, const struct test_result *expected)
{
    const struct test_result *result = test_run_result(run, id);
    assert_non_null(result);
    assert_string_equal(result->outcome, expected->outcome);
    assert_string_equal(result->duration, expected->duration);
    assert_string_equal(result->worst, expected->worst);
    assert_string_equal(result->memory, expected->memory);
    assert_string_equal(result->remark, expected->remark);
}

static void test_lines(void **state)
{
    (void)state;
    static const char lines[] =
        "tiny/basic/bf4     FAILED    1.20s   first divergence: train_1, bw decoder.1  (28 "
        "tensors, "
        "6,291,460 elements, worst 12.4 of limit, peak 31 MiB)   [ 14%]\n"
        "tiny/basic/df4     PASSED    0.20s   loss 4.15900 to 4.14  (peak 7.5 MiB)  (dependency)   "
        "[ 28%]\n"
        "tiny/basic/bf2_df2 PASSED   11.20s   worst 0.31 of limit  gradient "
        "decoder.0.norm_1.weight "
        " (28 tensors, 6,291,460 elements, peak 31 MiB)  (dependency)   [ 42%]\n"
        "tiny/basic/ce4     PASSED    0.30s   bit-equal  (3 tensors, 96 elements)     [ 57%]\n"
        "tiny/basic/ms4     FAILED    0.30s   first divergence: train_1, fw x  (3 tensors, 9 "
        "elements, worst inf of limit)  (dependency)     [ 71%]\n"
        "tiny/basic/worse   FAILED    0.00s   the worst of files (none) is (peak)     [ 85%]\n"
        "tiny/basic/fp16    SKIPPED   0.00s   its reference failed     [100%]";
    static const struct {
        const char *id;
        const char *parts[5];
    } expected[] = {
        {"tiny/basic/bf4",
         {"FAILED", "1.20s", "12.4", "31 MiB", "first divergence: train_1, bw decoder.1"}},
        {"tiny/basic/df4", {"PASSED", "0.20s", "", "7.5 MiB", "loss 4.15900 to 4.14"}},
        {"tiny/basic/bf2_df2",
         {"PASSED", "11.20s", "0.31", "31 MiB", "gradient decoder.0.norm_1.weight"}},
        {"tiny/basic/ce4", {"PASSED", "0.30s", "0", "", "bit-equal"}},
        {"tiny/basic/ms4", {"FAILED", "0.30s", "inf", "", "first divergence: train_1, fw x"}},
        {"tiny/basic/worse", {"FAILED", "0.00s", "", "", "the worst of files (none) is (peak)"}},
        {"tiny/basic/fp16", {"SKIPPED", "0.00s", "", "", "its reference failed"}},
    };
    struct pretended program = pretend(lines);
    struct test_run *run = run_to_end(&program, (struct ui_options){0});
    for (int i = 0; i < ARRAY_LENGTH(expected); i++) {
        struct test_result result;
        char **parts[] = {&result.outcome, &result.duration, &result.worst, &result.memory,
                          &result.remark};
        for (int p = 0; p < ARRAY_LENGTH(parts); p++)
            *parts[p] = (char *)(uintptr_t)expected[i].parts[p];
        check(run, expected[i].id, &result);
    }
    assert_int_equal(test_run_done(run), 7);
    test_run_free(run);
    pretended_free(&program);
}

/* All that the screens were started with goes on to the tests. */
static void test_words(void **state)
{
    (void)state;
    static const char *const overrides[] = {"data.seed=7"};
    struct pretended program = pretend("");
    struct ui_options options = {.search = {.overrides = overrides, .override_count = 1},
                                 .device = "cpu",
                                 .threads = 3,
                                 .launch = {.in_process = true,
                                            .launcher = "srun -N 2",
                                            .hostfile = "hosts",
                                            .address = "10.0.0.1",
                                            .timeout = 77,
                                            .collectives = COLLECTIVES_MPI}};
    struct test_run *run = run_to_end(&program, options);
    char words[1000] = "";
    FILE *file = fopen(program.words, "r");
    assert_non_null(file);
    assert_true(fread(words, 1, sizeof(words) - 1, file) > 0);
    fclose(file);
    assert_string_equal(words,
                        "test\n--set\ndata.seed=7\n--device\ncpu\n--threads\n3\n"
                        "--in-process\n--launcher\nsrun -N 2\n--hostfile\nhosts\n"
                        "--engine-address\n10.0.0.1\n--rank-timeout\n77\n--collectives\nmpi\n"
                        "-v\n--color\nnever\ntiny/basic/bf4\n");
    test_run_free(run);
    pretended_free(&program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
