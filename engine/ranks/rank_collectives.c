/* What carries the collectives of a run. The ranks choose together, as all must choose alike: each
 * tells the others where it is and what it can do, and all draw the same conclusion. */
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/module.h"
#include "engine/ranks/rank_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a rank tells the others. */
struct introduction {
    char host[65];
    char place[40];   /* of its device */
    char reason[200]; /* why it cannot do what was asked for last; "": it can */
};

struct choice {
    struct rank_process *rank;
    struct comm *greeter; /* while nobody meets on the control page */
    double deadline;
    struct introduction own, *all; /* [world] */
    char sharing[80];              /* who shares a device, in words; "": nobody */
};

static bool is_late(void *context)
{
    return clock_seconds() > ((const struct choice *)context)->deadline;
}

static bool exchange(struct choice *choice, struct status *status)
{
    int world = choice->rank->setup.world;
    struct op_call call = {.op = OP_ALL_GATHER, .input_count = 1, .output_count = 1};
    int64_t bytes = (int64_t)sizeof(choice->own);
    call.inputs[0] = tensor_of(&choice->own, DTYPE_U8, shape_of1(bytes));
    call.outputs[0] = tensor_of(choice->all, DTYPE_U8, shape_of1(bytes * world));
    call.parameters.group = COMM_WORLD;
    return comm_run(choice->greeter, &call, status) ||
           status_context(status, "the ranks agree on what carries their collectives");
}

/* Tells the others what came of something that each of them has tried. False: one of them has
 * failed, and why. */
static bool all_can(struct choice *choice, const struct status *tried, struct status *status)
{
    snprintf(choice->own.reason, sizeof(choice->own.reason), "%.199s",
             tried->code == STATUS_OK ? "" : tried->text);
    if (!exchange(choice, status))
        return false;
    for (int rank = 0; rank < choice->rank->setup.world; rank++)
        if (choice->all[rank].reason[0])
            return status_fail(status, STATUS_UNSUPPORTED, "rank %d: %s", rank,
                               choice->all[rank].reason);
    return true;
}

/* The ranks of a run on a machine take one GPU after the other, behind those of the workers before
 * it, as if each of these had a run like this one. */
static int gpu_of(const struct choice *choice)
{
    const struct rank_process *own = choice->rank;
    int here = 0, before = 0;
    for (int rank = 0; rank < own->setup.world; rank++) {
        bool same = strcmp(choice->all[rank].host, choice->own.host) == 0;
        here += same;
        before += same && rank < own->hello.rank;
    }
    return own->setup.worker * here + before;
}

static void find_sharing(struct choice *choice)
{
    for (int b = 1; b < choice->rank->setup.world; b++)
        for (int a = 0; a < b; a++) {
            const struct introduction *one = &choice->all[a], *other = &choice->all[b];
            if (strcmp(one->host, other->host) != 0 || strcmp(one->place, other->place) != 0)
                continue;
            snprintf(choice->sharing, sizeof(choice->sharing), "ranks %d and %d share GPU %s", a, b,
                     one->place);
            return;
        }
}

static bool may_share(void)
{
    const char *value = getenv("LOCKSTEP_NCCL_SHARED_GPU");
    return value && *value && strcmp(value, "0") != 0;
}

static bool start_nccl(struct choice *choice, struct status *status)
{
    struct rank_process *rank = choice->rank;
    if (choice->sharing[0] && !may_share())
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s, and NCCL wants one for each rank: --collectives auto or mpi goes "
                           "through host memory; LOCKSTEP_NCCL_SHARED_GPU=1 has NCCL try (slow, "
                           "for tests)",
                           choice->sharing);
    if (rank->nccl)
        return true;
    const struct comm_device_module *module = module_symbol("cuda", "comm_nccl", status);
    if (!module)
        return false;
    if (module->kinds != OP_COUNT)
        return status_fail(status, STATUS_UNSUPPORTED, "lockstep_cuda.so is of another build");
    if (!module->start(&rank->nccl, device_handle(rank->device), rank->hello.rank,
                       choice->sharing[0] != '\0', status))
        return false;
    rank->nccl_module = module;
    return true;
}

static bool open_nccl(struct choice *choice, struct status *status)
{
    struct rank_process *rank = choice->rank;
    struct comm_over over = {.messenger = rank->messenger,
                             .greeter = choice->greeter,
                             .mesh = &rank->setup.mesh,
                             .hooks = &rank->hooks,
                             .limit = rank->setup.limit * 1e-3};
    void *context = NULL;
    if (!rank->nccl_module->open(rank->nccl, &over, &context, status))
        return false;
    rank->comm = comm_wrap(&rank->nccl_module->ops, context);
    snprintf(rank->carrier, sizeof(rank->carrier), "%s%s%s", rank->nccl_module->version(rank->nccl),
             choice->sharing[0] ? ", though " : "", choice->sharing);
    return true;
}

/* All ranks, or none. */
static bool try_nccl(struct choice *choice, struct status *status)
{
    struct status own = STATUS_NONE;
    start_nccl(choice, &own);
    if (!all_can(choice, &own, status))
        return false;
    open_nccl(choice, &own);
    if (all_can(choice, &own, status))
        return true;
    comm_close(choice->rank->comm);
    choice->rank->comm = NULL;
    return false;
}

static void take_host_memory(struct choice *choice, const char *reason)
{
    struct rank_process *rank = choice->rank;
    rank->comm = rank_staged_comm(rank->messenger, rank->device);
    snprintf(rank->carrier, sizeof(rank->carrier), "MPI through host memory%s%.100s%s",
             *reason ? " (" : "", reason, *reason ? ")" : "");
}

static bool choose(struct choice *choice, struct status *status)
{
    struct rank_process *rank = choice->rank;
    struct status own = STATUS_NONE, reason = STATUS_NONE;
    snprintf(choice->own.host, sizeof(choice->own.host), "%s", rank->hello.host);
    if (!exchange(choice, status))
        return false;
    if (rank_open_device(rank, gpu_of(choice), &own))
        snprintf(choice->own.place, sizeof(choice->own.place), "%s", device_place(rank->device));
    if (!all_can(choice, &own, status))
        return false;
    find_sharing(choice);
    if (rank->setup.collectives == COLLECTIVES_MPI) {
        take_host_memory(choice, "");
        return true;
    }
    if (rank->setup.collectives == COLLECTIVES_AUTO && choice->sharing[0]) {
        take_host_memory(choice, choice->sharing);
        return true;
    }
    if (try_nccl(choice, &reason))
        return true;
    if (rank->setup.collectives == COLLECTIVES_NCCL || reason.code != STATUS_UNSUPPORTED)
        return status_fail(status, reason.code, "collectives by NCCL: %s", reason.text);
    take_host_memory(choice, reason.text);
    return true;
}

static bool is_on_gpu(const struct rank_process *rank)
{
    return strcmp(rank->setup.device, "cuda") == 0;
}

bool rank_open_collectives(struct rank_process *rank, struct status *status)
{
    struct choice choice = {.rank = rank,
                            .deadline = clock_seconds() + 1.5 * rank->setup.limit * 1e-3};
    struct comm_hooks greeting = {.cancelled = is_late, .context = &choice};
    if (rank->setup.world == 1) {
        rank->comm = comm_self();
        rank->carrier[0] = '\0';
        return true;
    }
    rank->messenger = comm_open(rank->engine, &rank->setup.mesh, &rank->hooks, status);
    if (!rank->messenger)
        return false;
    if (!is_on_gpu(rank) && rank->setup.collectives == COLLECTIVES_NCCL)
        return status_fail(status, STATUS_INVALID,
                           "NCCL carries data between GPUs, and the ranks are on the %s device",
                           rank->setup.device);
    if (!is_on_gpu(rank)) {
        rank->comm = rank->messenger;
        snprintf(rank->carrier, sizeof(rank->carrier), "MPI");
        return true;
    }
    choice.greeter = comm_open(rank->engine, &rank->setup.mesh, &greeting, status);
    if (!choice.greeter)
        return false;
    choice.all = memory_zeroed((size_t)rank->setup.world, sizeof(*choice.all));
    bool ok = choose(&choice, status);
    comm_close(choice.greeter);
    free(choice.all);
    return ok;
}

void rank_close_collectives(struct rank_process *rank)
{
    if (rank->comm != rank->messenger)
        comm_close(rank->comm);
    comm_close(rank->messenger);
    rank->comm = rank->messenger = NULL;
}

void rank_forget_nccl(struct rank_process *rank)
{
    if (rank->nccl)
        rank->nccl_module->finish(rank->nccl);
    rank->nccl = NULL;
}
