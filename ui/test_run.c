#include "ui/test_run.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "ui/ui.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct test_run {
    pid_t pid; /* 0: nothing runs */
    int fd;
    struct text input;
    struct test_result *results;
    int count, capacity;
    int asked, done; /* tests of the process that runs */
    int64_t started_ms;
    char left[32];
};

struct test_run *test_run_create(void)
{
    struct test_run *run = memory_zeroed(1, sizeof(*run));
    run->fd = -1;
    return run;
}

/* All but its name. */
static void forget(struct test_result *result)
{
    free(result->outcome);
    free(result->duration);
    free(result->worst);
    free(result->memory);
    free(result->remark);
}

static void reap(struct test_run *run)
{
    if (run->pid > 0)
        waitpid(run->pid, NULL, 0);
    if (run->fd >= 0)
        close(run->fd);
    run->pid = 0;
    run->fd = -1;
    text_clear(&run->input);
    for (int i = 0; i < run->count; i++)
        if (strcmp(run->results[i].outcome, TEST_RUN_TO_COME) == 0) {
            free(run->results[i].outcome);
            run->results[i].outcome = memory_string("stopped");
        }
}

void test_run_stop(struct test_run *run)
{
    if (run->pid > 0)
        kill(-run->pid, SIGKILL); /* it and its workers: nothing of theirs is worth keeping */
    reap(run);
}

void test_run_free(struct test_run *run)
{
    if (!run)
        return;
    test_run_stop(run);
    for (int i = 0; i < run->count; i++) {
        free(run->results[i].id);
        forget(&run->results[i]);
    }
    free(run->results);
    text_free(&run->input);
    free(run);
}

bool test_run_is_running(const struct test_run *run)
{
    return run->pid > 0;
}

int test_run_fd(const struct test_run *run)
{
    return run->fd;
}

/* ---- results ---- */

static struct test_result *find_result(const struct test_run *run, const char *id)
{
    for (int i = 0; i < run->count; i++)
        if (strcmp(run->results[i].id, id) == 0)
            return &run->results[i];
    return NULL;
}

const struct test_result *test_run_result(const struct test_run *run, const char *id)
{
    return find_result(run, id);
}

static void set_result(struct test_run *run, const char *id, struct test_result result)
{
    struct test_result *old = find_result(run, id);
    if (!old) {
        struct test_result made = {.id = memory_string(id)};
        ARRAY_PUSH(run->results, run->count, run->capacity, made);
        old = &run->results[run->count - 1];
    }
    forget(old);
    result.id = old->id;
    *old = result;
}

/* Cuts what stands between `before` and `after` out of the text, with both; "" if it does not. */
static char *cut(char *text, const char *before, const char *after)
{
    char *begin = strstr(text, before);
    char *from = begin ? begin + strlen(before) : NULL, *end = from ? strstr(from, after) : NULL;
    if (!end)
        return memory_string("");
    char *part = memory_string_part(from, (size_t)(end - from));
    end += strlen(after);
    memmove(begin, end, strlen(end) + 1);
    return part;
}

static void trim_end(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ')
        text[--length] = '\0';
}

/* Where "(28 tensors, 6,291,460 elements, worst 12.4 of limit, peak 31 MiB)" begins, of which any
 * part may be missing, at the end of the text; its end if there is none. */
static char *measures_of(char *text)
{
    size_t length = strlen(text);
    char *bracket = strrchr(text, '(');
    bool known = bracket && text[length - 1] == ')' &&
                 (strstr(bracket, " tensors, ") || strstr(bracket, " of limit") ||
                  strncmp(bracket, "(peak ", 6) == 0);
    return known ? bracket : text + length;
}

/* What `lockstep test -v` writes behind an outcome: "1.20s   worst 0.31 of limit  NAME  (28
 * tensors, 6,291,460 elements, peak 31 MiB)  (dependency)", or "1.20s   REASON  (28 tensors,
 * 6,291,460 elements, worst 12.4 of limit, peak 31 MiB)". */
static struct test_result parse_remark(const char *outcome, const char *text)
{
    static const char dependency[] = "(dependency)";
    struct test_result result = {.outcome = memory_string(outcome)};
    char *rest = memory_string(text);
    size_t duration = strcspn(rest, " ");
    trim_end(rest);
    size_t length = strlen(rest), end = sizeof(dependency) - 1;
    if (length >= end && strcmp(rest + length - end, dependency) == 0)
        rest[length - end] = '\0';
    trim_end(rest);
    bool passed = strcmp(outcome, "PASSED") == 0;
    char *measures = memory_string(measures_of(rest));
    *measures_of(rest) = '\0';
    result.memory = cut(measures, "peak ", ")");
    result.worst = cut(passed ? rest : measures, "worst ", " of limit");
    free(measures);
    result.duration = memory_string_part(rest, duration);
    char *reason = rest + duration + strspn(rest + duration, " ");
    trim_end(reason);
    if (strcmp(reason, "bit-equal") == 0) {
        free(result.worst);
        result.worst = memory_string("0");
    }
    result.remark = memory_string(reason);
    free(rest);
    return result;
}

/* "llama/basic/ce4   PASSED   7.90s   worst 0.00 of limit ...   [ 33%]". Other lines are told, but
 * mean nothing here. */
static void read_line(struct test_run *run, const char *line)
{
    char id[200], outcome[32];
    int used = 0, percent = 0;
    if (sscanf(line, "%199s %31[A-Z] %n", id, outcome, &used) < 2 || !strchr(id, '/'))
        return;
    static const char *const words[] = {"PASSED", "FAILED", "SKIPPED", "ERROR"};
    bool known = false;
    for (int i = 0; i < ARRAY_LENGTH(words); i++)
        known = known || strcmp(outcome, words[i]) == 0;
    const char *end = strrchr(line, '[');
    if (!known || !end || used == 0 || end < line + used || sscanf(end, "[%d%%]", &percent) != 1)
        return;
    char *remark = memory_string_part(line + used, (size_t)(end - line) - (size_t)used);
    set_result(run, id, parse_remark(outcome, remark));
    free(remark);
    run->done++;
    /* Tests that others depend on were not asked for, but are run. The share is rounded down. */
    int count = percent > 0 ? run->done * 100 / percent : 0;
    run->asked = count > run->asked || percent == 100 ? count : run->asked;
}

bool test_run_take(struct test_run *run, void (*line)(void *context, const char *text),
                   void *context)
{
    char bytes[4096];
    ssize_t got = 0;
    bool changed = false;
    while (run->fd >= 0 && (got = read(run->fd, bytes, sizeof(bytes))) > 0)
        text_add_part(&run->input, bytes, (size_t)got);
    bool ended = run->fd >= 0 && (got == 0 || (errno != EAGAIN && errno != EINTR));
    char *start = run->input.data;
    for (char *end; start && (end = strchr(start, '\n')); start = end + 1) {
        *end = '\0';
        read_line(run, start);
        if (line)
            line(context, start);
        changed = true;
    }
    if (start && start != run->input.data) {
        char *rest = memory_string(start);
        text_clear(&run->input);
        text_add(&run->input, rest);
        free(rest);
    }
    if (ended)
        reap(run);
    return changed || ended;
}

int test_run_done(const struct test_run *run)
{
    return run->done;
}

int test_run_count(const struct test_run *run)
{
    return run->asked;
}

const char *test_run_left(struct test_run *run, int64_t now_ms)
{
    snprintf(run->left, sizeof(run->left), "-");
    if (run->done > 0 && now_ms > run->started_ms && run->asked >= run->done)
        snprintf(
            run->left, sizeof(run->left), "%llds",
            (long long)((now_ms - run->started_ms) * (run->asked - run->done) / run->done / 1000));
    return run->left;
}

/* ---- starting ---- */

struct words {
    char **words;
    int count, capacity;
};

static void add_word(struct words *words, const char *word)
{
    ARRAY_PUSH(words->words, words->count, words->capacity, memory_string(word));
}

static struct words command_of(const struct ui_options *options, const char *const *ids, int count)
{
    struct rank_launch_words launch;
    struct words words = {0};
    add_word(&words, options->program_path);
    add_word(&words, "test");
    for (int i = 0; i < options->search.directory_count; i++) {
        add_word(&words, "--config-dir");
        add_word(&words, options->search.directories[i]);
    }
    for (int i = 0; i < options->search.override_count; i++) {
        add_word(&words, "--set");
        add_word(&words, options->search.overrides[i]);
    }
    add_word(&words, "--device");
    add_word(&words, options->device ? options->device : "auto");
    if (options->threads > 0) {
        char *threads = memory_format("%d", options->threads);
        add_word(&words, "--threads");
        add_word(&words, threads);
        free(threads);
    }
    rank_launch_words(&options->launch, &launch);
    for (int i = 0; i < launch.count; i++)
        add_word(&words, launch.words[i]);
    add_word(&words, "-v");
    add_word(&words, "--color");
    add_word(&words, "never");
    for (int i = 0; i < count; i++)
        add_word(&words, ids[i]);
    ARRAY_PUSH(words.words, words.count, words.capacity, NULL);
    return words;
}

/* In a process group of its own, so that Ctrl-C in the terminal is ours alone, and with the signals
 * that this thread may have blocked. */
static bool spawn(struct test_run *run, char *const *words, int output, struct status *status)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, 1);
    posix_spawn_file_actions_adddup2(&files, output, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawnp(&run->pid, words[0], &files, &attributes, words, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error == 0)
        return true;
    run->pid = 0;
    return status_fail(status, STATUS_IO, "%s: %s", words[0], strerror(error));
}

bool test_run_start(struct test_run *run, const struct ui_options *options, const char *const *ids,
                    int count, int64_t now_ms, struct status *status)
{
    int ends[2];
    if (run->pid > 0)
        return status_fail(status, STATUS_INVALID, "tests are running; Ctrl-C stops them");
    if (!options->program_path)
        return status_fail(status, STATUS_UNSUPPORTED, "tests cannot be run from here");
    if (pipe(ends) != 0)
        return status_fail(status, STATUS_IO, "pipe: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    struct words words = command_of(options, ids, count);
    bool ok = spawn(run, words.words, ends[1], status);
    for (int i = 0; i < words.count; i++)
        free(words.words[i]);
    free(words.words);
    close(ends[1]);
    if (!ok) {
        close(ends[0]);
        return false;
    }
    run->fd = ends[0];
    run->asked = count;
    run->done = 0;
    run->started_ms = now_ms;
    for (int i = 0; i < count; i++)
        set_result(run, ids[i], parse_remark(TEST_RUN_TO_COME, ""));
    return true;
}
