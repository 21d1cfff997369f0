/* All ranks in this process, on one device. A collective runs when every member stands before it:
 * their inputs are copied first, because outputs may lie in the memory of inputs, and then each
 * member takes its result when its turn comes. */
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/comm/combine.h"
#include "engine/ranks/world_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The inputs of one collective, in the order of its members. */
struct meeting {
    int count, left; /* members; those that have not taken their result */
    int *members;
    void **inputs;
};

struct message {
    struct message *next;
    int from;
    size_t bytes;
    void *data;
};

struct local_rank {
    struct local *local;
    int rank;
    struct comm *comm;
    struct message *inbox;   /* oldest first */
    struct meeting *meeting; /* that it may take its result from */
    bool told;               /* the mismatch in which it stands was reported */
};

struct local {
    struct world *world;
    struct device *device;
    struct local_rank *ranks;
    bool any_told;
};

static size_t tensor_bytes(const struct tensor *tensor)
{
    return (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

static void leave_meeting(struct local_rank *rank)
{
    struct meeting *meeting = rank->meeting;
    rank->meeting = NULL;
    if (!meeting || --meeting->left > 0)
        return;
    for (int i = 0; i < meeting->count; i++)
        free(meeting->inputs[i]);
    free(meeting->inputs);
    free(meeting->members);
    free(meeting);
}

/* Copies the input of every member, who all stand before the collective of `rank`. */
static bool begin_meeting(struct local *local, int rank, struct status *status)
{
    const struct program *program = local->world->ranks[rank].run->program;
    struct meeting *meeting = memory_zeroed(1, sizeof(*meeting));
    meeting->members = memory_zeroed((size_t)local->world->size, sizeof(int));
    meeting->count = meeting->left = mesh_members(
        &program->seat.mesh, rank,
        (enum comm_group)world_standing(local->world, rank)->parameters.group, meeting->members);
    meeting->inputs = memory_zeroed((size_t)meeting->count, sizeof(void *));
    bool ok = true;
    for (int i = 0; i < meeting->count; i++) {
        struct executor *executor = local->world->ranks[meeting->members[i]].run->executor;
        struct op_call call;
        executor_call(executor, executor->next, &call);
        size_t bytes = tensor_bytes(&call.inputs[0]);
        /* From now on it does not wait: another member may come to the next collective before
         * this one has taken its result. */
        local->ranks[meeting->members[i]].meeting = meeting;
        local->world->ranks[meeting->members[i]].state = RANK_RUNNING;
        world_note(local->world, meeting->members[i]);
        meeting->inputs[i] = memory_try(bytes, 1);
        ok = ok &&
             (meeting->inputs[i] ||
              status_fail(status, STATUS_MEMORY, "no memory for %zu bytes of %s", bytes,
                          op_name(call.op))) &&
             device_download(local->device, meeting->inputs[i], call.inputs[0].data, bytes, status);
    }
    for (int i = 0; !ok && i < meeting->count; i++)
        leave_meeting(&local->ranks[meeting->members[i]]);
    return ok;
}

/* What member `index` gets, into `out`. */
static void combine(const struct meeting *meeting, int index, const struct op_call *call, char *out)
{
    size_t in_bytes = tensor_bytes(&call->inputs[0]), out_bytes = tensor_bytes(&call->outputs[0]);
    size_t first = call->op == OP_REDUCE_SCATTER ? (size_t)index * out_bytes : 0;
    const void **parts = memory_zeroed((size_t)meeting->count, sizeof(*parts));
    for (int i = 0; i < meeting->count; i++) {
        parts[i] = (const char *)meeting->inputs[i] + first;
        if (call->op == OP_ALL_GATHER)
            memcpy(out + (size_t)i * in_bytes, parts[i], in_bytes);
        if (call->op == OP_BROADCAST && meeting->members[i] == call->parameters.peer)
            memcpy(out, parts[i], out_bytes);
    }
    if (call->op == OP_ALL_REDUCE || call->op == OP_REDUCE_SCATTER)
        combine_sum(call->outputs[0].dtype, out, parts, meeting->count,
                    (size_t)shape_elements(call->outputs[0].shape), call->parameters.average);
    free(parts);
}

static const struct mesh *mesh_of(const struct local_rank *rank)
{
    return &rank->local->world->ranks[rank->rank].run->program->seat.mesh;
}

static int comm_local_size(void *context, enum comm_group group)
{
    const struct local_rank *rank = context;
    if (group == COMM_WORLD)
        return rank->local->world->size;
    return mesh_members(mesh_of(rank), rank->rank, group, NULL);
}

/* The only member of a group meets nobody: it gets what it has. */
static bool take_own(struct local_rank *rank, const struct op_call *call, struct status *status)
{
    const struct comm_descriptor what = comm_describe(call);
    size_t bytes = tensor_bytes(&call->outputs[0]);
    if (comm_local_size(rank, what.group) == 0)
        return status_fail(status, STATUS_INTERNAL, "%s over a group that rank %d is not in",
                           op_name(call->op), rank->rank);
    if (!comm_call_fits(call, &what, 1, status))
        return false;
    char *own = memory_try(bytes, 1);
    bool ok = (own || status_fail(status, STATUS_MEMORY, "no memory for %zu bytes of %s", bytes,
                                  op_name(call->op))) &&
              device_download(rank->local->device, own, call->inputs[0].data, bytes, status) &&
              device_upload(rank->local->device, call->outputs[0].data, own, bytes, status);
    free(own);
    return ok;
}

static bool take_result(struct local_rank *rank, const struct op_call *call, struct status *status)
{
    const struct meeting *meeting = rank->meeting;
    size_t bytes = tensor_bytes(&call->outputs[0]);
    int index = 0;
    if (!meeting)
        return take_own(rank, call, status);
    if (!combine_supports(call->outputs[0].dtype))
        return status_fail(status, STATUS_UNSUPPORTED, "%s of %s", op_name(call->op),
                           dtype_name(call->outputs[0].dtype));
    char *out = memory_try(bytes, 1);
    if (!out)
        return status_fail(status, STATUS_MEMORY, "no memory for %zu bytes of %s", bytes,
                           op_name(call->op));
    while (meeting->members[index] != rank->rank)
        index++;
    combine(meeting, index, call, out);
    bool ok = device_upload(rank->local->device, call->outputs[0].data, out, bytes, status);
    free(out);
    leave_meeting(rank);
    return ok;
}

static bool send_message(struct local_rank *rank, const struct op_call *call, struct status *status)
{
    struct message **end = &rank->local->ranks[call->parameters.peer].inbox;
    struct message *message = memory_zeroed(1, sizeof(*message));
    message->from = rank->rank;
    message->bytes = tensor_bytes(&call->inputs[0]);
    message->data = memory_try(message->bytes, 1);
    if (!message->data || !device_download(rank->local->device, message->data, call->inputs[0].data,
                                           message->bytes, status)) {
        status_fail(status, STATUS_MEMORY, "no memory for a message of %zu bytes", message->bytes);
        free(message->data);
        free(message);
        return false;
    }
    while (*end)
        end = &(*end)->next;
    *end = message;
    return true;
}

static struct message **message_from(struct local_rank *rank, int from)
{
    struct message **message = &rank->inbox;
    while (*message && (*message)->from != from)
        message = &(*message)->next;
    return message;
}

static bool receive_message(struct local_rank *rank, const struct op_call *call,
                            struct status *status)
{
    struct message **place = message_from(rank, call->parameters.peer), *message = *place;
    size_t bytes = tensor_bytes(&call->outputs[0]);
    if (!message)
        return status_fail(status, STATUS_INTERNAL, "nothing was sent by rank %d",
                           call->parameters.peer);
    if (message->bytes != bytes)
        return status_fail(status, STATUS_INTERNAL, "rank %d sent %zu bytes, rank %d expects %zu",
                           call->parameters.peer, message->bytes, rank->rank, bytes);
    bool ok =
        device_upload(rank->local->device, call->outputs[0].data, message->data, bytes, status);
    *place = message->next;
    free(message->data);
    free(message);
    return ok;
}

static bool comm_local_run(void *context, const struct op_call *call, struct status *status)
{
    struct local_rank *rank = context;
    if (call->op == OP_SEND)
        return send_message(rank, call, status);
    if (call->op == OP_RECEIVE)
        return receive_message(rank, call, status);
    return take_result(rank, call, status);
}

static int comm_local_rank(void *context, enum comm_group group)
{
    const struct local_rank *rank = context;
    return seat_index(&(struct seat){*mesh_of(rank), rank->rank}, group);
}

static void comm_local_close(void *context)
{
    (void)context;
}

static const struct comm_ops comm_local = {.name = "in process",
                                           .close = comm_local_close,
                                           .size = comm_local_size,
                                           .rank = comm_local_rank,
                                           .run = comm_local_run};

/* The state that follows from where a rank stands and how far it may go. */
static void settle(struct world *world, int index)
{
    struct world_rank *rank = &world->ranks[index];
    if (rank->state == RANK_FAILED)
        return;
    bool may = !world_run_at_end(rank->run) && rank->run->executor->next < rank->allowed;
    const struct local *local = world->context;
    bool waits = !local->ranks[index].meeting && world_is_meeting(world, index);
    enum rank_state state = !may ? RANK_STOPPED : waits ? RANK_WAITING : RANK_RUNNING;
    if (state == RANK_WAITING && rank->state != RANK_WAITING)
        rank->waiting_since = clock_seconds();
    rank->state = state;
    world_note(world, index);
}

static bool local_allow(struct world *world, int index, int limit, struct status *status)
{
    struct world_rank *rank = &world->ranks[index];
    if (rank->state == RANK_FAILED)
        return status_fail(status, STATUS_INVALID, "rank %d failed: %s", index, rank->reason);
    if (world_run_at_end(rank->run) && !run_prepare(rank->run, status))
        return false;
    rank->allowed = limit;
    settle(world, index);
    return true;
}

static void local_hold(struct world *world, int index)
{
    struct world_rank *rank = &world->ranks[index];
    const struct local *local = world->context;
    bool come = rank->state == RANK_WAITING || local->ranks[index].meeting;
    rank->allowed = rank->run->executor->next + come;
    settle(world, index);
}

/* Whether the next instruction of a rank can run now. */
static bool is_ready(const struct world *world, int index)
{
    const struct local *local = world->context;
    if (world->ranks[index].state == RANK_RUNNING)
        return true;
    return world->ranks[index].state == RANK_WAITING &&
           (local->ranks[index].meeting ||
            (world_is_complete(world, index) && !world_disagrees(world, index)));
}

static bool local_is_quiet(const struct world *world)
{
    for (int rank = 0; rank < world->size; rank++)
        if (is_ready(world, rank))
            return false;
    return true;
}

static bool local_has_message(const struct world *world, int index)
{
    struct local *local = world->context;
    const struct instruction *standing = world_standing(world, index);
    return *message_from(&local->ranks[index], standing->parameters.peer) != NULL;
}

static bool is_behind(const struct run *a, const struct run *b)
{
    return a->step != b->step ? a->step < b->step : a->executor->next < b->executor->next;
}

static int choose(const struct world *world)
{
    int chosen = -1;
    for (int rank = 0; rank < world->size; rank++)
        if (is_ready(world, rank) &&
            (chosen < 0 || is_behind(world->ranks[rank].run, world->ranks[chosen].run)))
            chosen = rank;
    return chosen;
}

static bool run_rank(struct world *world, int index, struct status *status)
{
    struct local *local = world->context;
    bool first = world->ranks[index].state == RANK_WAITING && !local->ranks[index].meeting &&
                 world_standing(world, index)->op != OP_RECEIVE;
    return (!first || begin_meeting(local, index, status)) &&
           run_one(world->ranks[index].run, status);
}

/* Ranks that stand in different collectives of one group never meet: each says so once. */
static int find_mismatch(struct world *world)
{
    struct local *local = world->context;
    if (!world_has_disagreement(world) && !local->any_told)
        return -1;
    local->any_told = false;
    for (int rank = 0; rank < world->size; rank++) {
        bool differs = world->ranks[rank].state == RANK_WAITING && !local->ranks[rank].meeting &&
                       world_disagrees(world, rank);
        bool news = differs && !local->ranks[rank].told;
        local->ranks[rank].told = differs;
        local->any_told |= differs;
        if (news)
            return rank;
    }
    return -1;
}

static bool local_next(struct world *world, double seconds, struct world_event *event)
{
    (void)seconds; /* nothing happens by itself here */
    int mismatch = find_mismatch(world), index = mismatch >= 0 ? mismatch : choose(world);
    if (index < 0)
        return false;
    struct world_rank *rank = &world->ranks[index];
    *event = (struct world_event){WORLD_DONE, index, rank->run->step, rank->run->executor->next};
    if (mismatch >= 0) {
        event->kind = WORLD_MISMATCH;
        return true;
    }
    struct status status = STATUS_NONE;
    if (!run_rank(world, index, &status)) {
        event->kind = WORLD_FAILED;
        rank->state = RANK_FAILED;
        snprintf(rank->reason, sizeof(rank->reason), "%s", status.text);
        world_note(world, index);
    }
    settle(world, index);
    return true;
}

static void forget_messages(struct local_rank *rank)
{
    leave_meeting(rank);
    while (rank->inbox) {
        struct message *message = rank->inbox;
        rank->inbox = message->next;
        free(message->data);
        free(message);
    }
}

/* Runs all ranks to the end of their step. */
static bool finish_step(struct world *world, struct status *status)
{
    struct world_event event;
    for (int rank = 0; rank < world->size; rank++)
        if (!local_allow(world, rank, world->ranks[rank].run->program->instruction_count, status))
            return false;
    while (local_next(world, 0, &event))
        if (event.kind == WORLD_FAILED)
            return status_fail(status, STATUS_INTERNAL, "rank %d failed: %s", event.rank,
                               world->ranks[event.rank].reason);
    for (int rank = 0; rank < world->size; rank++)
        if (!world_run_at_end(world->ranks[rank].run)) {
            char text[600];
            return status_fail(status, STATUS_INTERNAL, "%s",
                               world_waiting_text(world, rank, text, sizeof(text)));
        }
    return true;
}

static bool local_go_to_step(struct world *world, int step, struct status *status)
{
    struct local *local = world->context;
    int from = world_common_point(world, step);
    for (int rank = 0; rank < world->size; rank++) {
        forget_messages(&local->ranks[rank]);
        world->ranks[rank].state = RANK_STOPPED;
        world->ranks[rank].allowed = 0;
        world_note(world, rank);
        if (!run_restore(world->ranks[rank].run, from, status))
            return false;
    }
    for (; from < step; from++)
        if (!finish_step(world, status))
            return false;
    for (int rank = 0; rank < world->size; rank++) {
        if (!run_prepare(world->ranks[rank].run, status))
            return false;
        world->ranks[rank].allowed = 0;
        settle(world, rank);
    }
    return true;
}

static void local_free(struct world *world)
{
    struct local *local = world->context;
    for (int rank = 0; rank < world->size; rank++) {
        forget_messages(&local->ranks[rank]);
        comm_close(local->ranks[rank].comm);
    }
    free(local->ranks);
    free(local);
}

static const struct world_ops world_local = {
    .name = "in process",
    .free = local_free,
    .allow = local_allow,
    .hold = local_hold,
    .next = local_next,
    .is_quiet = local_is_quiet,
    .go_to_step = local_go_to_step,
    .has_message = local_has_message,
};

struct world *world_create(const struct config *config, struct device *device,
                           const struct run_options *options, struct status *status)
{
    struct local *local = memory_zeroed(1, sizeof(*local));
    struct world *world = world_start(config, &world_local, local);
    *local = (struct local){
        .world = world,
        .device = device,
        .ranks = memory_zeroed((size_t)world->size, sizeof(struct local_rank)),
    };
    for (int rank = 0; rank < world->size; rank++) {
        struct run_options own = *options;
        own.rank = rank;
        local->ranks[rank] = (struct local_rank){.local = local, .rank = rank};
        local->ranks[rank].comm = comm_wrap(&comm_local, &local->ranks[rank]);
        world->ranks[rank].run = run_create(config, device, local->ranks[rank].comm, &own, status);
        world->ranks[rank].state = RANK_STOPPED;
        if (!world->ranks[rank].run) {
            world->size = rank + 1; /* what there is to free */
            world_free(world);
            status_context(status, "rank %d", rank);
            return NULL;
        }
    }
    return world;
}
