/* Collectives over NCCL, on the emulated GPU and a stand-in for the library (tests/nccl_double), in
 * processes: every collective over every group of random meshes against combine.h, messages, and
 * everything that can go wrong. */
/* link: lockstep_engine_device */
#include "engine/base/module.h"
#include "engine/comm/combine.h"
#include "engine/comm/comm.h"
#include "engine/device/device.h"

#include "tests/unit/engine_comm/helper_processes.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_RANKS = 4, MOST_ELEMENTS = 60000 };
static const double PATIENCE = 60; /* seconds: for what is to succeed */

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I32};

/* ---- in the processes ---- */

struct process {
    struct comm_engine *engine;
    struct device *device;
    const struct comm_device_module *module;
    void *nccl;
    int rank, size;
    void *in, *out; /* of the device */
    /* while open */
    struct mesh mesh;
    struct comm *messenger, *comm;
    /* of check_group */
    uint64_t seed;
    int round;
    char *inputs[MOST_RANKS]; /* of all ranks, as this process knows them */
};

static void start(struct process *process)
{
    struct status status = STATUS_NONE;
    char path[600], folder[512];
    *process = (struct process){.rank = processes_rank(), .seed = processes_seed()};
    process->engine = comm_engine_start("mpi", &status);
    if (!process->engine)
        printf("%s\n", status.text);
    CHECK(process->engine);
    process->size = comm_engine_size(process->engine);
    snprintf(path, sizeof(path), "%s/tests/cuda_emulator/module",
             processes_folder(folder, sizeof(folder)));
    setenv("LOCKSTEP_MODULE_PATH", path, 1);
    snprintf(path, sizeof(path), "%d", process->size);
    setenv("LOCKSTEP_EMULATED_GPUS", path, 1);
    struct device_options options = {.index = process->rank + process->size, .counts_round = true};
    process->device = device_open("cuda", &options, &status);
    if (!process->device)
        printf("%s\n", status.text);
    CHECK(process->device);
    snprintf(path, sizeof(path), "0000:00:%02x.0", process->rank);
    CHECK(strcmp(device_place(process->device), path) == 0);
    process->module = module_symbol("cuda", "comm_nccl", &status);
    CHECK(process->module && process->module->kinds == OP_COUNT);
    CHECK(
        device_allocate(process->device, MEMORY_WORKSPACE, MOST_ELEMENTS * 8, &process->in, NULL));
    CHECK(
        device_allocate(process->device, MEMORY_WORKSPACE, MOST_ELEMENTS * 8, &process->out, NULL));
    for (int rank = 0; rank < process->size; rank++)
        process->inputs[rank] = calloc(MOST_ELEMENTS, 8);
}

static bool load(struct process *process, struct status *status)
{
    return process->module->start(&process->nccl, device_handle(process->device), process->rank,
                                  false, status);
}

static bool open_mesh(struct process *process, const struct mesh *mesh,
                      const struct comm_hooks *hooks, double limit, struct status *status)
{
    void *context = NULL;
    process->mesh = *mesh;
    process->messenger = comm_open(process->engine, mesh, NULL, status);
    CHECK(process->messenger);
    struct comm_over over = {.messenger = process->messenger,
                             .greeter = process->messenger,
                             .mesh = &process->mesh,
                             .hooks = hooks,
                             .limit = limit};
    process->comm = NULL;
    if (!process->module->open(process->nccl, &over, &context, status)) {
        comm_close(process->messenger);
        return false;
    }
    process->comm = comm_wrap(&process->module->ops, context);
    return true;
}

static void open_well(struct process *process, const struct mesh *mesh)
{
    struct status status = STATUS_NONE;
    if (!open_mesh(process, mesh, NULL, PATIENCE, &status))
        printf("rank %d: %s\n", process->rank, status.text);
    CHECK(process->comm);
}

static void close_mesh(struct process *process)
{
    comm_close(process->comm);
    comm_close(process->messenger);
}

static bool run(struct process *process, enum op op, enum comm_group group, int64_t in, int64_t out,
                enum dtype dtype, bool average, int peer, struct status *status)
{
    struct op_call call = {.op = op,
                           .parameters = {.group = (int)group, .average = average, .peer = peer}};
    if (op != OP_RECEIVE)
        call.inputs[call.input_count++] = tensor_of(process->in, dtype, shape_of1(in));
    if (op != OP_SEND)
        call.outputs[call.output_count++] = tensor_of(process->out, dtype, shape_of1(out));
    return comm_run(process->comm, &call, status) && device_synchronize(process->device, status);
}

static void run_well(struct process *process, enum op op, enum comm_group group, int64_t in,
                     int64_t out, enum dtype dtype, bool average, int peer)
{
    struct status status = STATUS_NONE;
    if (!run(process, op, group, in, out, dtype, average, peer, &status))
        printf("rank %d: %s\n", process->rank, status.text);
    CHECK(status.code == STATUS_OK);
}

static void put(struct process *process, const void *data, size_t bytes)
{
    CHECK(device_upload(process->device, process->in, data, bytes, NULL));
}

static void get(struct process *process, void *data, size_t bytes)
{
    CHECK(device_download(process->device, data, process->out, bytes, NULL));
}

/* What all ranks put in: whole numbers, whose sums are exact in every type and order, or others. */
static void fill(struct process *process, enum dtype dtype, size_t count, bool whole)
{
    for (int rank = 0; rank < mesh_size(&process->mesh); rank++) {
        struct random random = {process->seed + (uint64_t)process->round * 1000003u +
                                (uint64_t)rank * 7919u};
        for (size_t i = 0; i < count; i++)
            dtype_store(dtype, process->inputs[rank], i,
                        whole || dtype == DTYPE_I32 ? (double)random_integer(&random, -16, 16)
                                                    : random_normal(&random) * 3);
    }
}

/* Against combine.h, which sums in another order and rounds once. */
static void check_sums(struct process *process, const int *members, int count, enum dtype dtype,
                       size_t first, size_t elements, bool average, bool exact)
{
    size_t size = dtype_size(dtype);
    char *sums = calloc(elements, size), *got = calloc(elements, size);
    const void *parts[MOST_RANKS];
    for (int k = 0; k < count; k++)
        parts[k] = process->inputs[members[k]] + first * size;
    combine_sum(dtype, sums, parts, count, elements, average);
    get(process, got, elements * size);
    CHECK(!exact || memcmp(sums, got, elements * size) == 0);
    for (size_t i = 0; i < elements; i++) {
        double scale = 0, expected = dtype_load(dtype, sums, i);
        for (int k = 0; k < count; k++)
            scale += fabs(dtype_load(dtype, parts[k], i));
        double limit = (count + 1) * dtype_epsilon(dtype) * scale;
        CHECK(fabs(dtype_load(dtype, got, i) - expected) <= limit);
    }
    free(sums);
    free(got);
}

static void check_group(struct process *process, struct random *random, enum comm_group group)
{
    int members[MOST_RANKS], count = mesh_members(&process->mesh, process->rank, group, members),
                             own = 0;
    while (own < count && members[own] != process->rank)
        own++;
    CHECK(comm_size(process->comm, group) == count);
    CHECK(count == 0 || comm_rank(process->comm, group) == own);
    /* drawn alike by all ranks */
    enum dtype dtype = dtypes[random_integer(random, 0, 4)];
    int64_t part = random_integer(random, 1, MOST_ELEMENTS / MOST_RANKS), whole = part * count;
    bool exact = random_integer(random, 0, 1), average = random_integer(random, 0, 1);
    int root = (int)random_integer(random, 0, MOST_RANKS);
    average = average && dtype != DTYPE_I32;
    exact = exact && !average;
    process->round++;
    if (count == 0)
        return;
    size_t size = dtype_size(dtype), bytes = (size_t)part * size;
    char *got = calloc((size_t)count, bytes);
    fill(process, dtype, (size_t)whole, exact);

    put(process, process->inputs[process->rank], bytes);
    run_well(process, OP_ALL_GATHER, group, part, whole, dtype, false, 0);
    get(process, got, bytes * (size_t)count);
    for (int k = 0; k < count; k++)
        CHECK(memcmp(got + (size_t)k * bytes, process->inputs[members[k]], bytes) == 0);
    root = members[root % count];
    run_well(process, OP_BROADCAST, group, part, part, dtype, false, root);
    get(process, got, bytes);
    CHECK(memcmp(got, process->inputs[root], bytes) == 0);
    put(process, process->inputs[process->rank], bytes * (size_t)count);
    run_well(process, OP_REDUCE_SCATTER, group, whole, part, dtype, average, 0);
    check_sums(process, members, count, dtype, (size_t)(own * part), (size_t)part, average, exact);
    void *apart = process->out;
    if (random_integer(&(struct random){process->seed + (uint64_t)process->round}, 0, 1))
        process->out = process->in;
    run_well(process, OP_ALL_REDUCE, group, whole, whole, dtype, average, 0);
    check_sums(process, members, count, dtype, 0, (size_t)whole, average, exact);
    process->out = apart;
    free(got);
}

/* Everyone sends to the next rank before it receives: sends wait for nobody, and what was sent may
 * be written over at once. Messages of an earlier generation are never received. */
static void check_messages(struct process *process)
{
    enum { LARGE = MOST_ELEMENTS };
    int size = process->size, rank = process->rank, next = (rank + 1) % size;
    int before = (rank + size - 1) % size;
    struct status status = STATUS_NONE;
    float *large = calloc(LARGE, sizeof(*large)), mark = -1;
    comm_begin_anew(process->comm, 7);
    put(process, &mark, sizeof(mark));
    run_well(process, OP_SEND, COMM_WORLD, 1, 0, DTYPE_F32, false, next);
    comm_begin_anew(process->comm, 8);
    for (int i = 0; i < LARGE; i++)
        large[i] = (float)(rank * 1000 + i % 997);
    put(process, large, LARGE * sizeof(*large));
    run_well(process, OP_SEND, COMM_WORLD, LARGE, 0, DTYPE_F32, false, next);
    memset(large, 0, LARGE * sizeof(*large));
    put(process, large, LARGE * sizeof(*large));
    for (int i = 0; i < 3; i++) {
        mark = (float)(rank * 10 + i);
        put(process, &mark, sizeof(mark));
        run_well(process, OP_SEND, COMM_WORLD, 1, 0, DTYPE_F32, false, next);
    }
    run_well(process, OP_RECEIVE, COMM_WORLD, 0, LARGE, DTYPE_F32, false, before);
    get(process, large, LARGE * sizeof(*large));
    for (int i = 0; i < LARGE; i++)
        CHECK((int)large[i] == before * 1000 + i % 997);
    for (int i = 0; i < 2; i++) {
        run_well(process, OP_RECEIVE, COMM_WORLD, 0, 1, DTYPE_F32, false, before);
        get(process, &mark, sizeof(mark));
        CHECK((int)mark == before * 10 + i);
    }
    CHECK(!run(process, OP_RECEIVE, COMM_WORLD, 0, 3, DTYPE_F32, false, before, &status));
    CHECK(strstr(status.text, "sent 1 x f32 instead of 3 x f32"));
    CHECK(!run(process, OP_SEND, COMM_WORLD, 3, 0, DTYPE_F32, false, size, NULL));
    CHECK(!run(process, OP_SEND, COMM_WORLD, 3, 0, DTYPE_F32, false, rank, NULL));
    while (comm_carry_on(process->comm)) /* the others still fetch from here */
        usleep(1000);
    free(large);
}

static int looks;

static bool soon(void *context)
{
    (void)context;
    return ++looks > 100;
}

/* A receive that is given up leaves nothing behind: the message that comes then is received by the
 * next one. */
static void check_cancel(struct process *process)
{
    struct comm_hooks hooks = {.cancelled = soon};
    struct status status = STATUS_NONE;
    float mark = 77;
    CHECK(
        open_mesh(process, &(struct mesh){.pipelines = process->size}, &hooks, PATIENCE, &status));
    comm_begin_anew(process->comm, 9);
    if (process->rank == 1)
        CHECK(!run(process, OP_RECEIVE, COMM_WORLD, 0, 1, DTYPE_F32, false, 0, &status) &&
              status.code == STATUS_CANCELLED);
    run_well(process, OP_ALL_REDUCE, COMM_WORLD, 1, 1, DTYPE_F32, false, 0);
    put(process, &mark, sizeof(mark));
    if (process->rank == 0)
        run_well(process, OP_SEND, COMM_WORLD, 1, 0, DTYPE_F32, false, 1);
    looks = -1000000000;
    if (process->rank == 1) {
        run_well(process, OP_RECEIVE, COMM_WORLD, 0, 1, DTYPE_F32, false, 0);
        get(process, &mark, sizeof(mark));
        CHECK((int)mark == 77);
    }
    while (comm_carry_on(process->comm))
        usleep(1000);
    run_well(process, OP_ALL_REDUCE, COMM_WORLD, 1, 1, DTYPE_F32, false, 0);
    close_mesh(process);
}

/* Communicators are kept for the next run of the same mesh; a rank that took no part in a run
 * between agrees with the others to make new ones. */
static void check_keeping(struct process *process)
{
    struct mesh all = {.tensors = process->size}, some = {.datas = 2};
    struct status status = STATUS_NONE;
    open_well(process, &all);
    close_mesh(process);
    setenv("LOCKSTEP_NCCL_DOUBLE", "no-id", 1); /* no new ones can be made */
    open_well(process, &all);
    run_well(process, OP_ALL_REDUCE, COMM_TENSOR, 10, 10, DTYPE_F32, false, 0);
    close_mesh(process);
    if (process->size > 2) {
        unsetenv("LOCKSTEP_NCCL_DOUBLE");
        if (process->rank < 2) {
            open_well(process, &some);
            run_well(process, OP_ALL_REDUCE, COMM_DATA, 10, 10, DTYPE_F32, false, 0);
            close_mesh(process);
        }
        setenv("LOCKSTEP_NCCL_DOUBLE", "no-id", 1);
    } else {
        all = some;
    }
    CHECK(!open_mesh(process, &all, NULL, PATIENCE, &status));
    CHECK(strstr(status.text, "ncclGetUniqueId of rank 0: unhandled system error"));
    unsetenv("LOCKSTEP_NCCL_DOUBLE");
    open_well(process, &all);
    run_well(process, OP_ALL_REDUCE, COMM_WORLD, 10, 10, DTYPE_F32, false, 0);
    close_mesh(process);
}

static void work_all(struct process *process)
{
    struct random random = {processes_seed()};
    struct status status = STATUS_NONE;
    CHECK(load(process, &status));
    CHECK(strcmp(process->module->version(process->nccl), "NCCL 2.28.9") == 0);
    for (int repeat = 0; repeat < 5; repeat++) {
        struct mesh mesh = random_mesh(&random, process->size);
        open_well(process, &mesh);
        CHECK(strcmp(comm_name(process->comm), "nccl") == 0);
        for (int group = 0; group < COMM_GROUP_COUNT; group++)
            check_group(process, &random, (enum comm_group)group);
        if (repeat == 0)
            check_messages(process);
        close_mesh(process);
    }
    check_cancel(process);
    check_keeping(process);
    process->module->finish(process->nccl);
}

/* ---- what goes wrong ---- */

/* Seconds: for what is to go wrong by taking too long, but must not before. */
#define SHORT 8

/* Each with two ranks. The text of where it is noticed, for rank 0 and rank 1. */
static const struct failure {
    const char *name, *environment;
    enum { AT_START, AT_OPEN, AT_RUN, NOWHERE } where;
    const char *texts[2];
    double limit;
} failures[] = {
    {"missing",
     "LOCKSTEP_NCCL_LIBRARY=/nowhere/libnccl.so.2",
     AT_START,
     {"NCCL does not load: /nowhere/libnccl.so.2", "NCCL does not load"},
     1},
    {"lacks", "LACKS", AT_START, {"libnccl.so.2 has no ncclCommSplit", "has no ncclCommSplit"}, 1},
    {"version",
     "LOCKSTEP_NCCL_DOUBLE=version=21705",
     AT_START,
     {"version code 21705; 2.18 or later is needed", "2.18 or later"},
     1},
    {"no-id",
     "LOCKSTEP_NCCL_DOUBLE=no-id",
     AT_OPEN,
     {"rank 0 of 2: NCCL 2.28.9: ncclGetUniqueId of rank 0: unhandled system error (run with "
      "NCCL_DEBUG=INFO for details) (2): no interface to listen on",
      "rank 1 of 2: NCCL 2.28.9: ncclGetUniqueId of rank 0"},
     1},
    {"duplicates",
     "LOCKSTEP_NCCL_DOUBLE=duplicates",
     AT_OPEN,
     {"Duplicate GPU detected", "ncclCommInitRankConfig: invalid usage"},
     1},
    {"join-hang",
     "LOCKSTEP_NCCL_DOUBLE=join-hang",
     AT_OPEN,
     {"ncclCommInitRankConfig has not come to its end within 0.5 s", "within 0.5 s"},
     0.5},
    {"slow", "LOCKSTEP_NCCL_DOUBLE=slow=700", NOWHERE, {"", ""}, 60},
    {"fail",
     "LOCKSTEP_NCCL_DOUBLE=fail=2@1",
     AT_RUN,
     {"rank 0, 0 of 2 in its tensor group: NCCL 2.28.9: all_reduce(tensor, 1000 x f32) has not "
      "come to its end within 8 s",
      "rank 1, 1 of 2 in its tensor group: NCCL 2.28.9: all_reduce(tensor, 1000 x f32): unhandled "
      "system error (run with NCCL_DEBUG=INFO for details) (2): Call to ibv_create_qp failed"},
     SHORT},
    {"remote",
     "LOCKSTEP_NCCL_DOUBLE=remote=3",
     AT_RUN,
     {"all_reduce(tensor, 1000 x f32): remote process exited or there was a network error (6): "
      "connection closed",
      "remote process exited"},
     60},
    {"hang",
     "LOCKSTEP_NCCL_DOUBLE=hang=1@0",
     AT_RUN,
     {"has not come to its end within 8 s", "has not come to its end within 8 s"},
     SHORT},
};

static const struct failure *find_failure(const char *name)
{
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
        if (strcmp(failures[i].name, name) == 0)
            return &failures[i];
    return NULL;
}

static void check_text(const struct process *process, const struct failure *failure,
                       const struct status *status)
{
    if (!strstr(status->text, failure->texts[process->rank]))
        printf("rank %d: \"%s\"\n", process->rank, status->text);
    CHECK(status->code != STATUS_OK && strstr(status->text, failure->texts[process->rank]));
}

static void work_failure(struct process *process, const struct failure *failure)
{
    struct mesh mesh = {.tensors = process->size};
    struct status status = STATUS_NONE, after = STATUS_NONE;
    if (!load(process, &status)) {
        CHECK(failure->where == AT_START && status.code == STATUS_UNSUPPORTED);
        check_text(process, failure, &status);
        return;
    }
    if (!open_mesh(process, &mesh, NULL, failure->limit, &status)) {
        CHECK(failure->where == AT_OPEN);
        check_text(process, failure, &status);
        process->module->finish(process->nccl);
        return;
    }
    run_well(process, OP_SEND, COMM_WORLD, 10, 0, DTYPE_F32, false, 1 - process->rank);
    for (int i = 0; i < 3 && status.code == STATUS_OK; i++)
        run(process, OP_ALL_REDUCE, COMM_TENSOR, 1000, 1000, DTYPE_F32, false, 0, &status);
    if (failure->where == NOWHERE) {
        CHECK(status.code == STATUS_OK);
    } else {
        CHECK(failure->where == AT_RUN);
        check_text(process, failure, &status);
        CHECK(!comm_carry_on(process->comm)); /* the message is given up with all else */
        /* the GPU is free again, and nothing else is tried */
        CHECK(device_synchronize(process->device, NULL));
        CHECK(!run(process, OP_ALL_REDUCE, COMM_WORLD, 1, 1, DTYPE_F32, false, 0, &after));
        CHECK(strstr(after.text, "were given up earlier"));
    }
    close_mesh(process);
    process->module->finish(process->nccl);
}

/* Rank 0's message never leaves, and rank 1 that came for it says so. */
static void work_message(struct process *process)
{
    struct mesh mesh = {.pipelines = process->size};
    struct status status = STATUS_NONE;
    CHECK(load(process, &status) && open_mesh(process, &mesh, NULL, SHORT, &status));
    if (process->rank == 0) {
        run_well(process, OP_SEND, COMM_WORLD, 10, 0, DTYPE_F32, false, 1);
        while (comm_carry_on(process->comm))
            usleep(1000);
        CHECK(!run(process, OP_ALL_REDUCE, COMM_WORLD, 1, 1, DTYPE_F32, false, 0, &status));
        if (!strstr(status.text, "send(to rank 1, 10 x f32) has not left within 8 s"))
            printf("%s\n", status.text);
        CHECK(strstr(status.text, "send(to rank 1, 10 x f32) has not left within 8 s"));
    } else {
        CHECK(!run(process, OP_RECEIVE, COMM_WORLD, 0, 10, DTYPE_F32, false, 0, &status));
        CHECK(strstr(status.text, "rank 1: NCCL 2.28.9: receive(from rank 0, 10 x f32) has not "
                                  "come to its end within 8 s"));
    }
    close_mesh(process);
    process->module->finish(process->nccl);
}

static void work(const char *mode)
{
    struct process process;
    start(&process);
    if (strcmp(mode, "all") == 0)
        work_all(&process);
    else if (strcmp(mode, "message") == 0)
        work_message(&process);
    else
        work_failure(&process, find_failure(mode));
    for (int rank = 0; rank < process.size; rank++)
        free(process.inputs[rank]);
    device_release(process.device, MEMORY_WORKSPACE, process.in, MOST_ELEMENTS * 8);
    device_release(process.device, MEMORY_WORKSPACE, process.out, MOST_ELEMENTS * 8);
    device_close(process.device);
    processes_done();
}

/* ---- in the test ---- */

static bool find_double(const char *name, char *path, int size)
{
    char folder[512], module[700];
    processes_folder(folder, sizeof(folder));
    snprintf(path, (size_t)size, "%s/tests/nccl_double/%s", folder, name);
    snprintf(module, sizeof(module), "%s/tests/cuda_emulator/module/lockstep_cuda.so", folder);
    if (access(module, R_OK) == 0 && access(path, R_OK) == 0)
        return processes_possible();
    print_message("no emulated device: NCCL is not tested\n");
    return false;
}

static void test_ranks(void **state)
{
    int ranks = *(const int *)*state;
    struct random random = random_start("NCCL");
    char path[700], environment[900];
    if (!find_double("libnccl.so.2", path, sizeof(path)))
        skip();
    snprintf(environment, sizeof(environment), "LOCKSTEP_NCCL_LIBRARY=%s", path);
    assert_int_equal(processes_run(ranks, "all", environment, random.state), ranks);
}

static void test_failures(void **state)
{
    (void)state;
    char path[700], environment[1700];
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        const struct failure *failure = &failures[i];
        bool lacks = strcmp(failure->environment, "LACKS") == 0;
        if (!find_double(lacks ? "libnccl_old.so.2" : "libnccl.so.2", path, sizeof(path)))
            skip();
        snprintf(environment, sizeof(environment), "LOCKSTEP_NCCL_LIBRARY=%s %s", path,
                 lacks ? "" : failure->environment);
        print_message("%s\n", failure->name);
        assert_int_equal(processes_run(2, failure->name, environment, 1), 2);
    }
    snprintf(environment, sizeof(environment),
             "LOCKSTEP_NCCL_LIBRARY=%s LOCKSTEP_NCCL_DOUBLE=hang=1@0", path);
    assert_int_equal(processes_run(2, "message", environment, 1), 2);
}

int main(int argc, char **argv)
{
    static const int ranks[] = {2, 3, 4};
    if (argc > 2 && strcmp(argv[1], "work") == 0)
        work(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[0]),
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[1]),
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[2]),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
