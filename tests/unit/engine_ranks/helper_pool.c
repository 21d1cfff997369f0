#include "helper_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void count_output(void *context, int rank, int stream, const char *bytes, size_t length,
                         int64_t nanoseconds)
{
    struct pool_printed *printed = context;
    (void)stream, (void)nanoseconds;
    printed->bytes[rank] += (int64_t)length;
    snprintf(printed->last, sizeof(printed->last), "%.*s", (int)length, bytes);
}

static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};

/* For temporary files of the process that made it and its relatives alone. */
static struct {
    pid_t owner; /* 0: there is none yet */
    char folder[32];
} temporary;

static void remove_temporary(void)
{
    char command[64];
    snprintf(command, sizeof(command), "rm -rf '%s'", temporary.folder);
    if (getpid() == temporary.owner && system(command) != 0)
        print_message("%s is left\n", temporary.folder);
}

static void make_temporary(void)
{
    if (temporary.owner == getpid())
        return;
    strcpy(temporary.folder, "/tmp/lockstep-test-XXXXXX");
    assert_non_null(mkdtemp(temporary.folder));
    temporary.owner = getpid();
    setenv("TMPDIR", temporary.folder, 1);
    atexit(remove_temporary);
}

void pool_test_environment(void)
{
    char folder[512], options[512], family[64];
    snprintf(family, sizeof(family), "family-%d-%d", (int)getpid(), (int)time(NULL));
    setenv("LOCKSTEP_TEST_FAMILY", family, 1);
    make_temporary();
    snprintf(folder, sizeof(folder), "%s", LOCKSTEP_BINARY);
    *strrchr(folder, '/') = '\0';
    setenv("LOCKSTEP_MODULE_PATH", folder, 1);
    snprintf(options, sizeof(options), "%s:detect_leaks=0:handle_segv=0",
             getenv("ASAN_OPTIONS") ? getenv("ASAN_OPTIONS") : "");
    setenv("ASAN_OPTIONS", options, 1); /* MPI leaks; and signals are to be seen as they are */
}

void pool_test_need_mpirun(void)
{
    char module[600];
    snprintf(module, sizeof(module), "%s/lockstep_mpi.so", getenv("LOCKSTEP_MODULE_PATH"));
    if (system("command -v mpirun >/dev/null") == 0 && access(module, R_OK) == 0)
        return;
    print_message("no mpirun, or built without MPI: several rank processes are not tested\n");
    skip();
}

struct rank_pool *pool_test_start(struct pool_test *it, int size, int timeout)
{
    struct status status = STATUS_NONE;
    struct rank_pool_options options = {.size = size,
                                        .launch.timeout = timeout ? timeout : PATIENCE_SECONDS,
                                        .threads = 1,
                                        .launch.address = it->address,
                                        .on_output = count_output,
                                        .output_context = &it->printed};
    struct rank_pool *pool = rank_pool_create(&options, &status);
    if (!pool)
        fail_msg("%s", status.text);
    return pool;
}

void pool_test_load(struct pool_test *it, const char *name, int tokens)
{
    static char size[64];
    struct status status = STATUS_NONE;
    snprintf(size, sizeof(size), "data.micro_batch_size=%d", tokens);
    const char *overrides[] = {
        size,
        "base_model.hidden_size=32",
        "base_model.decoder.block.mixer.head_size=8",
        "base_model.decoder.block.mlp.intermediate_size=48",
        "data.maximum_document_length=24",
        "training.train_iters=3",
    };
    memcpy(it->overrides, overrides, sizeof(overrides));
    it->search = (struct config_search){directories, 1, it->overrides, ARRAY_LENGTH(overrides)};
    config_free(it->config);
    it->config = config_load(&it->search, name, &status);
    if (!it->config)
        fail_msg("%s", status.text);
}

void pool_test_begin(struct pool_test *it, int ranks, int timeout)
{
    struct status status = STATUS_NONE;
    *it = (struct pool_test){0};
    pool_test_need_mpirun();
    it->pool = pool_test_start(it, ranks, timeout);
    it->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    assert_non_null(it->device);
}

void pool_test_end(struct pool_test *it)
{
    rank_pool_free(it->pool);
    config_free(it->config);
    device_close(it->device);
}

struct world *pool_test_world(struct pool_test *it, const struct run_options *options)
{
    struct status status = STATUS_NONE;
    struct world *world =
        world_create_in_pool(it->pool, it->config, &it->search, it->device, options, &status);
    if (!world)
        fail_msg("%s", status.text);
    return world;
}

void allow_all(struct world *world)
{
    struct status status = STATUS_NONE;
    for (int rank = 0; rank < world->size; rank++)
        if (!world_allow(world, rank, world->ranks[rank].run->program->instruction_count, &status))
            fail_msg("%s", status.text);
}

bool all_at_end(const struct world *world)
{
    for (int rank = 0; rank < world->size; rank++)
        if (run_next(world->ranks[rank].run) < world->ranks[rank].run->program->instruction_count)
            return false;
    return true;
}

/* Takes events until one is not WORLD_DONE, or all ranks are at the end of their step. */
enum world_event_kind run_on(struct world *world, struct world_event *event)
{
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!all_at_end(world) && clock_seconds() < deadline) {
        if (!world_next(world, 0.2, event))
            continue;
        if (event->kind != WORLD_DONE)
            return event->kind;
    }
    if (!all_at_end(world))
        fail_msg("nothing happens any more");
    return WORLD_DONE;
}

void run_step_of(struct world *world)
{
    struct world_event event;
    allow_all(world);
    if (run_on(world, &event) != WORLD_DONE)
        fail_msg("rank %d: %s", event.rank, world->ranks[event.rank].reason);
}

/* Of all named values, which need not lie in memory that this process can read. */
uint64_t bits_of(const struct world *world)
{
    uint64_t bits = 1;
    struct status status = STATUS_NONE;
    for (int rank = 0; rank < world->size; rank++) {
        const struct run *run = world->ranks[rank].run;
        for (int v = 0; v < run->program->value_count; v++) {
            const struct value *value = &run->program->values[v];
            if (!value->name || !value->name[0])
                continue;
            void *bytes = memory_zeroed(value_bytes(value), 1);
            if (!executor_read(run->executor, v, bytes, &status))
                fail_msg("%s", status.text);
            bits = bits * 31 + hash_bytes(bytes, value_bytes(value));
            free(bytes);
        }
    }
    return bits;
}

int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static bool is_relative(const char *process)
{
    char path[300], buffer[65536];
    const char *family = getenv("LOCKSTEP_TEST_FAMILY");
    snprintf(path, sizeof(path), "/proc/%s/environ", process);
    bool other = strspn(process, "0123456789") == strlen(process) && atoi(process) != getpid();
    FILE *file = other ? fopen(path, "re") : NULL;
    size_t length = file ? fread(buffer, 1, sizeof(buffer), file) : 0;
    if (file)
        fclose(file);
    return memmem(buffer, length, family, strlen(family)) != NULL;
}

int signal_relatives(int number)
{
    DIR *folder = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (is_relative(entry->d_name)) {
            kill((pid_t)atoi(entry->d_name), number);
            count++;
        }
    closedir(folder);
    return count;
}

int count_relatives(void)
{
    return signal_relatives(0);
}

void wait_for_relatives(int count)
{
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (count_relatives() < count && clock_seconds() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(count_relatives(), count);
}

bool wait_for_no_relatives(void)
{
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (count_relatives() > 0 && clock_seconds() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return count_relatives() == 0;
}

/* The first entry of a folder that begins so; returns false if there is none. */
static bool find_entry(const char *path, const char *begins, char *found, size_t size)
{
    DIR *folder = opendir(path);
    bool any = false;
    for (struct dirent *entry; folder && !any && (entry = readdir(folder));) {
        any = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
              strncmp(entry->d_name, begins, strlen(begins)) == 0;
        if (any)
            snprintf(found, size, "%s/%s", path, entry->d_name);
    }
    if (folder)
        closedir(folder);
    return any;
}

bool find_left_over(pid_t engine, char *found, size_t size)
{
    char begins[64];
    snprintf(begins, sizeof(begins), "lockstep-job-%d-", (int)engine);
    return find_entry(getenv("TMPDIR"), begins, found, size) ||
           find_entry("/dev/shm", begins, found, size);
}

int pool_test_finish(int failed)
{
    char found[512] = "";
    bool left = !wait_for_no_relatives() || find_left_over(getpid(), found, sizeof(found)) ||
                find_entry(getenv("TMPDIR"), "", found, sizeof(found));
    if (left)
        print_error("something is left: %s\n", found[0] ? found : "processes");
    rmdir(getenv("TMPDIR"));
    return failed ? failed : left;
}
