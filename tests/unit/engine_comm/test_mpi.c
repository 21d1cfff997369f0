/* The MPI module, on 2, 3, 4 and 8 processes: every collective over every group of random meshes,
 * bit for bit against sums written down here. The test starts itself again under mpirun; each
 * process makes the inputs of all of them from the common seed. */
#include "engine/comm/comm.h"

#include "tests/unit/engine_comm/helper_processes.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_RANKS = 8, MOST_ELEMENTS = 200000 };

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I32};

/* ---- in the processes ---- */

/* What rank `rank` puts into round `round`: the same wherever it is made. */
static void fill(void *data, enum dtype dtype, size_t count, uint64_t seed, int round, int rank)
{
    struct random random = {seed + (uint64_t)round * 1000003u + (uint64_t)rank * 7919u};
    for (size_t i = 0; i < count; i++)
        dtype_store(dtype, data, i,
                    dtype == DTYPE_I32 ? (double)random_integer(&random, -900, 900)
                                       : random_normal(&random) * 3);
}

/* The sum over the members in their order: f32 for 16 bits and f32, f64 for the others. */
static double expected_sum(void *const *inputs, const int *members, int count, enum dtype dtype,
                           size_t index, bool average)
{
    if (dtype == DTYPE_F64 || dtype == DTYPE_I32) {
        double sum = 0;
        for (int k = 0; k < count; k++)
            sum += dtype_load(dtype, inputs[members[k]], index);
        return average ? sum / count : sum;
    }
    float sum = 0;
    for (int k = 0; k < count; k++)
        sum += (float)dtype_load(dtype, inputs[members[k]], index);
    return (double)(average ? sum / (float)count : sum);
}

struct round {
    struct comm *comm;
    const struct mesh *mesh;
    void *inputs[MOST_RANKS], *out;
    uint64_t seed;
    int number, rank;
};

static bool same_element(enum dtype dtype, const void *out, size_t index, double number)
{
    char stored[8];
    dtype_store(dtype, stored, 0, number);
    return memcmp(stored, (const char *)out + index * dtype_size(dtype), dtype_size(dtype)) == 0;
}

static void run_collective(struct round *round, enum op op, enum comm_group group, struct shape in,
                           struct shape out, enum dtype dtype, bool average, int peer)
{
    struct op_call call = {.op = op,
                           .input_count = 1,
                           .output_count = 1,
                           .parameters = {.group = (int)group, .average = average, .peer = peer}};
    call.inputs[0] = tensor_of(round->inputs[round->rank], dtype, in);
    call.outputs[0] = tensor_of(round->out, dtype, out);
    struct status status = STATUS_NONE;
    if (!comm_run(round->comm, &call, &status))
        printf("rank %d: %s\n", round->rank, status.text);
    CHECK(status.code == STATUS_OK);
}

static void check_group(struct round *round, struct random *random, enum comm_group group)
{
    int members[MOST_RANKS], count = mesh_members(round->mesh, round->rank, group, members),
                             own = 0;
    while (own < count && members[own] != round->rank)
        own++;
    CHECK(comm_size(round->comm, group) == count);
    CHECK(count == 0 || comm_rank(round->comm, group) == own);
    /* drawn alike by all ranks; rows in all are a multiple of any group's size */
    enum dtype dtype = dtypes[random_integer(random, 0, 4)];
    int64_t rows = random_integer(random, 1, 6), columns = random_integer(random, 1, 40);
    if (random_integer(random, 0, 4) == 0)
        columns = random_integer(random, 100, MOST_ELEMENTS / 6 / MOST_RANKS);
    bool average = random_integer(random, 0, 1) && dtype != DTYPE_I32;
    int root = (int)random_integer(random, 0, MOST_RANKS);
    if (count == 0)
        return;
    struct shape part = shape_of2(rows, columns), whole = shape_of2(rows * count, columns);
    size_t elements = (size_t)(rows * columns), all = elements * (size_t)count;
    for (int rank = 0; rank < mesh_size(round->mesh); rank++)
        fill(round->inputs[rank], dtype, all, round->seed, round->number, rank);

    run_collective(round, OP_ALL_GATHER, group, part, whole, dtype, false, 0);
    for (size_t i = 0; i < all; i++)
        CHECK(same_element(dtype, round->out, i,
                           dtype_load(dtype, round->inputs[members[i / elements]], i % elements)));
    run_collective(round, OP_REDUCE_SCATTER, group, whole, part, dtype, average, 0);
    for (size_t i = 0; i < elements; i++)
        CHECK(same_element(dtype, round->out, i,
                           expected_sum(round->inputs, members, count, dtype,
                                        (size_t)own * elements + i, average)));
    root = members[root % count];
    run_collective(round, OP_BROADCAST, group, part, part, dtype, false, root);
    CHECK(memcmp(round->out, round->inputs[root], elements * dtype_size(dtype)) == 0);
    /* in place: last, as it writes over this rank's input */
    double *sums = malloc(all * sizeof(*sums));
    for (size_t i = 0; i < all; i++)
        sums[i] = expected_sum(round->inputs, members, count, dtype, i, average);
    void *apart = round->out;
    if (random_integer(&(struct random){round->seed + (uint64_t)round->number}, 0, 1))
        round->out = round->inputs[round->rank];
    run_collective(round, OP_ALL_REDUCE, group, whole, whole, dtype, average, 0);
    for (size_t i = 0; i < all; i++)
        CHECK(same_element(dtype, round->out, i, sums[i]));
    round->out = apart;
    free(sums);
}

static bool message(struct comm *comm, enum op op, int peer, void *data, enum dtype dtype,
                    int64_t count, struct status *status)
{
    struct op_call call = {.op = op, .parameters = {.peer = peer}};
    struct tensor tensor = tensor_of(data, dtype, shape_of1(count));
    if (op == OP_SEND)
        call.inputs[call.input_count++] = tensor;
    else
        call.outputs[call.output_count++] = tensor;
    return comm_run(comm, &call, status);
}

/* Everyone sends to the next rank before it receives: sends are buffered, so nobody hangs, and what
 * was sent may be written over at once. Messages of an earlier generation are never received. */
static void check_messages(struct round *round, int size)
{
    struct status status = STATUS_NONE;
    int next = (round->rank + 1) % size, before = (round->rank + size - 1) % size;
    float *large = round->out, *got = round->inputs[0], seen[3] = {0}, mark = 0;
    enum { LARGE = MOST_ELEMENTS / 2 };
    comm_begin_anew(round->comm, 7);
    mark = -1;
    CHECK(message(round->comm, OP_SEND, next, &mark, DTYPE_F32, 1, &status));
    comm_begin_anew(round->comm, 8);
    for (int i = 0; i < LARGE; i++)
        large[i] = (float)(round->rank * 1000 + i % 997);
    CHECK(message(round->comm, OP_SEND, next, large, DTYPE_F32, LARGE, &status));
    memset(large, 0, LARGE * sizeof(*large));
    for (int i = 0; i < 3; i++) {
        mark = (float)(round->rank * 10 + i);
        CHECK(message(round->comm, OP_SEND, next, &mark, DTYPE_F32, 1, &status));
    }
    CHECK(message(round->comm, OP_RECEIVE, before, got, DTYPE_F32, LARGE, &status));
    for (int i = 0; i < LARGE; i++)
        CHECK(memcmp(&got[i], &(float){(float)(before * 1000 + i % 997)}, 4) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(message(round->comm, OP_RECEIVE, before, &seen[i], DTYPE_F32, 1, &status));
        CHECK((int)seen[i] == before * 10 + i);
    }
    CHECK(!message(round->comm, OP_RECEIVE, before, seen, DTYPE_F32, 3, &status));
    CHECK(strstr(status.text, "sent 1 x f32 instead of 3 x f32"));
    status = STATUS_NONE;
    CHECK(!message(round->comm, OP_SEND, size, seen, DTYPE_F32, 3, &status));
    CHECK(!message(round->comm, OP_SEND, round->rank, seen, DTYPE_F32, 3, &status));
}

static int looks;

static bool soon(void *context)
{
    (void)context;
    return ++looks > 100;
}

static bool met(void *context, const struct comm_descriptor *descriptor, const int *members,
                int count, struct status *status)
{
    (void)members, (void)status;
    *(int *)context = descriptor->op == OP_ALL_REDUCE && descriptor->elements == 6 ? count : -1;
    return true;
}

/* Rank 0 never comes: the others are there, look whether they are to give up, and do. */
static void check_cancel(struct round *round, struct comm_engine *engine)
{
    int there = 0;
    struct comm_hooks hooks = {.meet = met, .cancelled = soon, .context = &there};
    struct status status = STATUS_NONE;
    struct comm *comm = comm_open(engine, round->mesh, &hooks, &status);
    CHECK(comm);
    if (round->rank > 0) {
        struct op_call call = {.op = OP_ALL_REDUCE, .input_count = 1, .output_count = 1};
        call.inputs[0] = tensor_of(round->inputs[0], DTYPE_F32, shape_of2(2, 3));
        call.outputs[0] = tensor_of(round->out, DTYPE_F32, shape_of2(2, 3));
        CHECK(!comm_run(comm, &call, &status));
        CHECK(status.code == STATUS_CANCELLED);
        CHECK(there == mesh_size(round->mesh));
        status = STATUS_NONE;
        CHECK(!message(comm, OP_RECEIVE, 0, round->out, DTYPE_F32, 1, &status));
        CHECK(status.code == STATUS_CANCELLED);
    }
    comm_close(comm);
}

static void work(void)
{
    struct status status = STATUS_NONE;
    struct comm_engine *engine = comm_engine_start("mpi", &status);
    if (!engine)
        printf("%s\n", status.text);
    CHECK(engine);
    struct random random = {processes_seed()};
    struct round round = {.seed = random.state, .rank = comm_engine_rank(engine)};
    int size = comm_engine_size(engine);
    CHECK(round.rank == processes_rank() && size <= MOST_RANKS);
    for (int rank = 0; rank < size; rank++)
        round.inputs[rank] = calloc(MOST_ELEMENTS, 8);
    round.out = calloc(MOST_ELEMENTS, 8);
    struct mesh mesh = {0};
    for (int repeat = 0; repeat < 6; repeat++) {
        mesh = repeat == 0 && size == 8
                   ? (struct mesh){.tensors = 2, .datas = 2, .pipelines = 2, .tied = 3}
                   : random_mesh(&random, size);
        round.mesh = &mesh;
        round.comm = comm_open(engine, &mesh, NULL, &status);
        CHECK(round.comm && strcmp(comm_name(round.comm), "mpi") == 0);
        for (int group = 0; group < COMM_GROUP_COUNT; group++, round.number++)
            check_group(&round, &random, (enum comm_group)group);
        if (repeat == 0)
            check_messages(&round, size);
        comm_close(round.comm);
    }
    check_cancel(&round, engine);
    processes_done();
}

/* ---- in the test ---- */

static void test_ranks(void **state)
{
    int ranks = *(const int *)*state;
    struct random random = random_start("collectives");
    if (!processes_possible())
        skip();
    assert_int_equal(processes_run(ranks, "", "", random.state), ranks);
}

int main(int argc, char **argv)
{
    static const int ranks[] = {2, 3, 4, 8};
    if (argc > 1 && strcmp(argv[1], "work") == 0)
        work();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[0]),
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[1]),
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[2]),
        cmocka_unit_test_prestate(test_ranks, (void *)&ranks[3]),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
