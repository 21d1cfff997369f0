/* The communicators of a mesh: made together by all its ranks, kept from run to run, given up at
 * once. */
#include "engine/comm/nccl/nccl_internal.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ABORT_SECONDS = 10 };

static ncclConfig_t config_of(const char *name)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
#if NCCL_VERSION_CODE >= 22700
    config.commName = name;
#else
    (void)name;
#endif
    return config;
}

static bool gather(struct nccl_mesh *mesh, void *own, void *all, size_t bytes,
                   struct status *status)
{
    int64_t count = mesh->groups[COMM_WORLD].count;
    struct op_call call = {.op = OP_ALL_GATHER, .input_count = 1, .output_count = 1};
    call.inputs[0] = tensor_of(own, DTYPE_U8, shape_of1((int64_t)bytes));
    call.outputs[0] = tensor_of(all, DTYPE_U8, shape_of1((int64_t)bytes * count));
    call.parameters.group = COMM_WORLD;
    return comm_run(mesh->over.greeter, &call, status);
}

/* Whether all ranks have kept the same communicators. One that took no part in a run may have those
 * of an earlier time, which the others have given up. */
static bool all_have_kept(struct nccl_mesh *mesh, bool *kept, struct status *status)
{
    const struct nccl_set *set = &mesh->context->set;
    int count = mesh->groups[COMM_WORLD].count;
    uint64_t own =
        set->broken || memcmp(&set->mesh, mesh->over.mesh, sizeof(set->mesh)) != 0 ? 0 : set->name;
    uint64_t *all = memory_zeroed((size_t)count, sizeof(*all));
    bool ok = gather(mesh, &own, all, sizeof(own), status);
    *kept = own != 0;
    for (int rank = 0; ok && rank < count; rank++)
        *kept = *kept && all[rank] == own;
    free(all);
    return ok;
}

/* ---- making ---- */

struct ticket {
    ncclUniqueId id;
    int result; /* of rank 0, which made it */
};

static bool draw_ticket(struct nccl_mesh *mesh, struct ticket *ticket, struct status *status)
{
    const struct nccl_library *library = &mesh->context->library;
    int count = mesh->groups[COMM_WORLD].count;
    struct ticket *all = memory_zeroed((size_t)count, sizeof(*all));
    memset(ticket, 0, sizeof(*ticket));
    if (mesh->own == 0)
        ticket->result = (int)library->GetUniqueId(&ticket->id);
    bool ok = gather(mesh, ticket, all, sizeof(*ticket), status);
    *ticket = all[0];
    free(all);
    if (ok && ticket->result)
        return nccl_fail(library, NULL, (ncclResult_t)ticket->result, "ncclGetUniqueId of rank 0",
                         status);
    return ok;
}

static bool make_world(struct nccl_mesh *mesh, const struct ticket *ticket, struct status *status)
{
    struct nccl_set *set = &mesh->context->set;
    ncclConfig_t config = config_of(comm_group_name(COMM_WORLD));
    ncclResult_t result = mesh->context->library.CommInitRankConfig(
        &set->comms[COMM_WORLD], mesh->groups[COMM_WORLD].count, ticket->id, mesh->own, &config);
    return nccl_settle(mesh, set->comms[COMM_WORLD], result, "ncclCommInitRankConfig", NULL,
                       status);
}

/* Whether the new communicator's handle is not there yet: it may come after the parent says that it
 * is done. */
static bool await_handle(struct nccl_mesh *mesh, const ncclComm_t *comm, struct status *status)
{
    struct backoff backoff = {0};
    double deadline = clock_seconds() + mesh->over.limit;
    while (!*(ncclComm_t const volatile *)comm) {
        if (clock_seconds() > deadline)
            return status_fail(status, STATUS_IO, "%s: ncclCommSplit gave nothing within %g s",
                               mesh->context->library.version, mesh->over.limit);
        backoff_pause(&backoff);
    }
    return true;
}

/* A split needs no new meeting of the members by NCCL: they have one communicator already. All
 * ranks of the world take part, also those that are in no such group. */
static bool split_group(struct nccl_mesh *mesh, enum comm_group group, struct status *status)
{
    struct nccl_set *set = &mesh->context->set;
    const struct nccl_group *own = &mesh->groups[group];
    ncclComm_t world = set->comms[COMM_WORLD];
    ncclConfig_t config = config_of(comm_group_name(group));
    bool member = own->count > 1;
    ncclResult_t result =
        mesh->context->library.CommSplit(world, member ? own->members[0] : NCCL_SPLIT_NOCOLOR,
                                         member ? own->rank : 0, &set->comms[group], &config);
    if (!nccl_settle(mesh, world, result, "ncclCommSplit", NULL, status))
        return status_context(status, "group %s", comm_group_name(group));
    return !member ||
           (await_handle(mesh, &set->comms[group], status) &&
            nccl_settle(mesh, set->comms[group], ncclSuccess, "ncclCommSplit", NULL, status));
}

/* Whether any rank has more than one member in this group. */
static bool is_needed(const struct nccl_mesh *mesh, enum comm_group group)
{
    for (int rank = 0; rank < mesh->groups[COMM_WORLD].count; rank++)
        if (mesh_members(mesh->over.mesh, rank, group, NULL) > 1)
            return true;
    return false;
}

static bool make_all(struct nccl_mesh *mesh, struct status *status)
{
    struct nccl_set *set = &mesh->context->set;
    struct ticket ticket;
    if (!draw_ticket(mesh, &ticket, status) || !make_world(mesh, &ticket, status))
        return false;
    for (int g = COMM_WORLD + 1; g < COMM_GROUP_COUNT; g++) {
        enum comm_group group = (enum comm_group)g;
        if (mesh->groups[g].count == mesh->groups[COMM_WORLD].count)
            set->comms[g] = set->comms[COMM_WORLD];
        else if (is_needed(mesh, group) && !split_group(mesh, group, status))
            return false;
    }
    memcpy(&set->name, &ticket.id, sizeof(set->name));
    for (size_t i = sizeof(set->name); i < sizeof(ticket.id); i++)
        set->name = set->name * 1099511628211u ^ (unsigned char)ticket.id.internal[i];
    set->name |= 1; /* 0 is none */
    set->mesh = *mesh->over.mesh;
    return true;
}

bool nccl_set_open(struct nccl_mesh *mesh, struct status *status)
{
    bool kept;
    if (!all_have_kept(mesh, &kept, status))
        return false;
    if (kept)
        return true;
    nccl_set_abort(mesh->context);
    mesh->context->set = (struct nccl_set){0};
    if (make_all(mesh, status))
        return true;
    nccl_set_abort(mesh->context);
    return false;
}

ncclResult_t nccl_pair_join(struct nccl_mesh *mesh, struct nccl_pair *pair)
{
    ncclConfig_t config = config_of("message");
    return mesh->context->library.CommInitRankConfig(&pair->comm, 2, pair->id, pair->sends ? 0 : 1,
                                                     &config);
}

/* ---- giving up ---- */

/* What a thread of its own aborts. Freed by whoever is last: the thread, or who has waited. */
struct abort_job {
    ncclResult_t (*abort)(ncclComm_t);
    ncclComm_t *comms; /* [count] */
    int count, device;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished, left_alone;
};

static void free_job(struct abort_job *job)
{
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->done);
    free(job->comms);
    free(job);
}

static void *abort_all(void *memory)
{
    struct abort_job *job = memory;
    cudaSetDevice(job->device); /* it is each thread's own */
    for (int i = 0; i < job->count; i++)
        job->abort(job->comms[i]);
    pthread_mutex_lock(&job->lock);
    job->finished = true;
    bool last = job->left_alone;
    pthread_cond_signal(&job->done);
    pthread_mutex_unlock(&job->lock);
    if (last)
        free_job(job);
    return NULL;
}

/* Each once: groups that are the world share its communicator. The children come first. */
static void collect(const struct nccl_set *set, struct abort_job *job)
{
    size_t most = COMM_GROUP_COUNT;
    for (const struct nccl_pair *pair = set->pairs; pair; pair = pair->next)
        most++;
    job->comms = memory_zeroed(most, sizeof(*job->comms));
    for (const struct nccl_pair *pair = set->pairs; pair; pair = pair->next)
        if (pair->comm)
            job->comms[job->count++] = pair->comm;
    for (int g = COMM_GROUP_COUNT - 1; g >= 0; g--)
        if (set->comms[g] && (g == COMM_WORLD || set->comms[g] != set->comms[COMM_WORLD]))
            job->comms[job->count++] = set->comms[g];
}

/* An abort may wait for a GPU that does not answer: it is waited for, but not for ever. */
static void run_job(struct abort_job *job)
{
    struct timespec until;
    pthread_t thread;
    if (pthread_create(&thread, NULL, abort_all, job) != 0) {
        free_job(job);
        return;
    }
    pthread_detach(thread);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABORT_SECONDS;
    pthread_mutex_lock(&job->lock);
    while (!job->finished && pthread_cond_timedwait(&job->done, &job->lock, &until) == 0)
        continue;
    bool finished = job->finished;
    job->left_alone = !finished;
    pthread_mutex_unlock(&job->lock);
    if (finished)
        free_job(job);
}

void nccl_set_abort(struct nccl_context *context)
{
    struct nccl_set *set = &context->set;
    struct abort_job *job = memory_zeroed(1, sizeof(*job));
    job->abort = context->library.CommAbort;
    job->device = context->device->index;
    pthread_mutex_init(&job->lock, NULL);
    pthread_cond_init(&job->done, NULL);
    collect(set, job);
    if (job->count > 0)
        run_job(job);
    else
        free_job(job);
    while (set->pairs) {
        struct nccl_pair *pair = set->pairs;
        set->pairs = pair->next;
        if (pair->stream)
            cudaStreamDestroy(pair->stream);
        free(pair);
    }
    memset(set->comms, 0, sizeof(set->comms));
    set->name = 0;
    set->broken = true;
}
