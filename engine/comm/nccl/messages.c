/* Messages between two ranks. A sender never waits: it keeps a copy and tells the receiver that it
 * is there. When the receiver comes for it, it says so, and only then both begin to move data: no
 * kernel waits on a GPU for a rank that has not come, and giving up before that leaves nothing
 * behind. */
#include "engine/comm/nccl/nccl_internal.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct nccl_note) <= sizeof(struct comm_note), "a note is too small");

static bool tell(struct nccl_mesh *mesh, int rank, const struct nccl_note *note,
                 struct status *status)
{
    struct comm_note bytes = {{0}};
    memcpy(bytes.bytes, note, sizeof(*note));
    return comm_tell(mesh->over.messenger, rank, &bytes, status);
}

/* ---- memory of copies ---- */

static void *take_memory(struct nccl_mesh *mesh, size_t bytes, struct status *status)
{
    void *memory = NULL;
    for (struct nccl_spare **place = &mesh->spare; *place; place = &(*place)->next)
        if ((*place)->bytes == bytes) {
            struct nccl_spare *spare = *place;
            *place = spare->next;
            memory = spare->memory;
            free(spare);
            return memory;
        }
    cudaError_t error = cudaMalloc(&memory, bytes ? bytes : 1);
    if (error)
        cuda_fail(mesh->context->device, (int)error, "the copy of a message", status);
    return error ? NULL : memory;
}

static void keep_memory(struct nccl_mesh *mesh, void *memory, size_t bytes)
{
    struct nccl_spare *spare = memory_zeroed(1, sizeof(*spare));
    *spare = (struct nccl_spare){mesh->spare, memory, bytes};
    mesh->spare = spare;
}

static void drop(struct nccl_mesh *mesh, struct nccl_posted **place)
{
    struct nccl_posted *posted = *place;
    *place = posted->next;
    keep_memory(mesh, posted->copy, posted->bytes);
    free(posted);
}

void nccl_give_up(struct nccl_mesh *mesh)
{
    nccl_set_abort(mesh->context);
    while (mesh->posted)
        drop(mesh, &mesh->posted);
}

/* ---- sending ---- */

static struct nccl_pair *find_pair(struct nccl_mesh *mesh, int peer, bool sends)
{
    for (struct nccl_pair *pair = mesh->context->set.pairs; pair; pair = pair->next)
        if (pair->peer == peer && pair->sends == sends)
            return pair;
    return NULL;
}

static struct nccl_pair *add_pair(struct nccl_mesh *mesh, int peer, bool sends)
{
    struct nccl_pair *pair = memory_zeroed(1, sizeof(*pair));
    pair->peer = peer;
    pair->sends = sends;
    pair->next = mesh->context->set.pairs;
    mesh->context->set.pairs = pair;
    return pair;
}

static struct nccl_pair *sending_pair(struct nccl_mesh *mesh, int peer, struct status *status)
{
    const struct nccl_library *library = &mesh->context->library;
    struct nccl_pair *pair = find_pair(mesh, peer, true);
    ncclUniqueId id;
    cudaStream_t stream;
    if (pair)
        return pair;
    ncclResult_t result = library->GetUniqueId(&id);
    if (result != ncclSuccess) {
        nccl_fail(library, NULL, result, "ncclGetUniqueId", status);
        return NULL;
    }
    cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error) {
        cuda_fail(mesh->context->device, (int)error, "a stream for messages", status);
        return NULL;
    }
    pair = add_pair(mesh, peer, true);
    pair->id = id;
    pair->stream = stream;
    return pair;
}

/* The copy is complete when this returns: it leaves on another stream. */
static bool copy_message(struct nccl_mesh *mesh, struct nccl_posted *posted, const void *from,
                         struct status *status)
{
    struct backoff backoff = {0};
    cudaStream_t stream = mesh->context->device->stream;
    cudaError_t error =
        cudaMemcpyAsync(posted->copy, from, posted->bytes, cudaMemcpyDeviceToDevice, stream);
    while (!error && (error = cudaStreamQuery(stream)) == cudaErrorNotReady) {
        backoff_pause(&backoff);
        error = cudaSuccess;
    }
    return !error || cuda_fail(mesh->context->device, (int)error, "the copy of a message", status);
}

static bool post(struct nccl_mesh *mesh, const struct op_call *call,
                 const struct comm_descriptor *what, struct status *status)
{
    struct nccl_posted *posted = memory_zeroed(1, sizeof(*posted)), **end = &mesh->posted;
    posted->what = *what;
    posted->bytes = (size_t)what->elements * dtype_size(what->dtype);
    posted->generation = mesh->generation;
    posted->pair = sending_pair(mesh, what->peer, status);
    posted->copy = posted->pair ? take_memory(mesh, posted->bytes, status) : NULL;
    while (*end)
        end = &(*end)->next;
    if (!posted->copy) {
        free(posted);
        return false;
    }
    posted->number = ++mesh->sent[what->peer];
    *end = posted;
    struct nccl_note note = {.kind = NOTE_POSTED,
                             .generation = posted->generation,
                             .number = posted->number,
                             .dtype = what->dtype,
                             .elements = what->elements,
                             .id = posted->pair->id};
    if (copy_message(mesh, posted, call->inputs[0].data, status) &&
        tell(mesh, what->peer, &note, status))
        return true;
    drop(mesh, end);
    return false;
}

static ncclResult_t begin_sending(struct nccl_mesh *mesh, const struct nccl_posted *posted)
{
    const struct nccl_library *library = &mesh->context->library;
    struct nccl_pair *pair = posted->pair;
    ncclResult_t result = library->GroupStart();
    if (result == ncclSuccess)
        result = library->Send(posted->copy, posted->bytes, ncclUint8, 1, pair->comm, pair->stream);
    ncclResult_t end = library->GroupEnd();
    return result == ncclSuccess || result == ncclInProgress ? end : result;
}

/* Carries on with a message that is awaited. True: it is still on its way; else it has left, or
 * something failed. */
static bool advance(struct nccl_mesh *mesh, struct nccl_posted *posted, struct status *status)
{
    struct nccl_pair *pair = posted->pair;
    double now = clock_seconds();
    char doing[128];
    comm_descriptor_text(&posted->what, doing, sizeof(doing));
    if (posted->deadline == 0)
        posted->deadline = now + mesh->over.limit;
    if (now > posted->deadline) {
        status_fail(status, STATUS_IO, "%s: %s has not left within %g s",
                    mesh->context->library.version, doing, mesh->over.limit);
        return false;
    }
    if (posted->state == POSTED_JOINING) {
        if (!pair->joined && nccl_goes_on(mesh, pair->comm, NULL, doing, status))
            return true;
        if (status->code != STATUS_OK)
            return false;
        pair->joined = true;
        ncclResult_t result = begin_sending(mesh, posted);
        if (result != ncclSuccess && result != ncclInProgress)
            return nccl_fail(&mesh->context->library, pair->comm, result, doing, status);
        posted->state = POSTED_MOVING;
    }
    return nccl_goes_on(mesh, pair->comm, pair->stream, doing, status);
}

/* ---- notes ---- */

static struct nccl_posted **find_posted(struct nccl_mesh *mesh, int to,
                                        const struct nccl_note *note)
{
    struct nccl_posted **place = &mesh->posted;
    while (*place && ((*place)->pair->peer != to || (*place)->number != note->number ||
                      (*place)->generation != note->generation))
        place = &(*place)->next;
    return place;
}

static void keep_note(struct nccl_mesh *mesh, int from, const struct nccl_note *note)
{
    struct nccl_heard *heard = memory_zeroed(1, sizeof(*heard)), **end = &mesh->heard;
    heard->from = from;
    heard->note = *note;
    while (*end)
        end = &(*end)->next;
    *end = heard;
}

static void begin_joining(struct nccl_mesh *mesh, struct nccl_posted *posted)
{
    struct nccl_pair *pair = posted->pair;
    ncclResult_t result = pair->comm ? ncclSuccess : nccl_pair_join(mesh, pair);
    posted->state = POSTED_JOINING;
    if (result != ncclSuccess && result != ncclInProgress)
        nccl_fail(&mesh->context->library, pair->comm, result, "ncclCommInitRankConfig",
                  &mesh->failure);
}

static void take_note(struct nccl_mesh *mesh, int from, const struct nccl_note *note)
{
    struct nccl_posted **place = find_posted(mesh, from, note);
    if (note->kind == NOTE_POSTED)
        keep_note(mesh, from, note);
    else if (*place && note->kind == NOTE_FETCH && (*place)->state == POSTED_TOLD)
        begin_joining(mesh, *place);
    else if (*place && note->kind == NOTE_REFUSED)
        drop(mesh, place);
}

/* Whether an older message of the same pair is on its way: one at a time. */
static bool has_older(const struct nccl_mesh *mesh, const struct nccl_posted *posted)
{
    for (const struct nccl_posted *other = mesh->posted; other != posted; other = other->next)
        if (other->pair == posted->pair && other->state != POSTED_TOLD)
            return true;
    return false;
}

bool nccl_messages_carry_on(struct nccl_mesh *mesh)
{
    struct comm_note bytes;
    int from;
    while (comm_hear(mesh->over.messenger, &from, &bytes)) {
        struct nccl_note note;
        memcpy(&note, bytes.bytes, sizeof(note));
        take_note(mesh, from, &note);
    }
    for (struct nccl_posted **place = &mesh->posted; *place && mesh->failure.code == STATUS_OK;) {
        struct nccl_posted *posted = *place;
        if (posted->state == POSTED_TOLD || has_older(mesh, posted) ||
            advance(mesh, posted, &mesh->failure))
            place = &posted->next;
        else if (mesh->failure.code == STATUS_OK)
            drop(mesh, place);
    }
    if (mesh->failure.code != STATUS_OK && !mesh->context->set.broken)
        nccl_give_up(mesh);
    return mesh->posted != NULL;
}

/* ---- receiving ---- */

static struct nccl_heard **find_heard(struct nccl_mesh *mesh, int from)
{
    struct nccl_heard **place = &mesh->heard;
    while (*place && ((*place)->from != from || (*place)->note.generation != mesh->generation))
        place = &(*place)->next;
    return place;
}

/* Carries on with what others await from this rank, or two that wait for each other would do so for
 * ever. */
static bool keep_sending(struct nccl_mesh *mesh, struct status *status)
{
    nccl_messages_carry_on(mesh);
    return mesh->failure.code == STATUS_OK ||
           status_fail(status, mesh->failure.code, "%s", mesh->failure.text);
}

/* Nothing is under way while it waits, so that giving up leaves nothing behind. */
static bool await_message(struct nccl_mesh *mesh, int from, struct nccl_note *note,
                          struct status *status)
{
    const struct comm_hooks *hooks = mesh->over.hooks;
    struct backoff backoff = {0};
    while (keep_sending(mesh, status)) {
        struct nccl_heard **place = find_heard(mesh, from), *heard = *place;
        if (heard) {
            *note = heard->note;
            *place = heard->next;
            free(heard);
            return true;
        }
        if (hooks && hooks->cancelled(hooks->context))
            return status_fail(status, STATUS_CANCELLED, "given up before anything came");
        backoff_pause(&backoff);
    }
    return false;
}

static bool fetch(struct nccl_mesh *mesh, const struct op_call *call,
                  const struct comm_descriptor *what, const struct nccl_note *posted,
                  struct status *status)
{
    const struct nccl_library *library = &mesh->context->library;
    struct nccl_pair *pair = find_pair(mesh, what->peer, false);
    struct nccl_note note = {
        .kind = NOTE_FETCH, .generation = posted->generation, .number = posted->number};
    char doing[128];
    comm_descriptor_text(what, doing, sizeof(doing));
    if (!pair) {
        pair = add_pair(mesh, what->peer, false);
        pair->id = posted->id;
    }
    if (!tell(mesh, what->peer, &note, status))
        return false;
    if (!pair->joined) {
        ncclResult_t result = nccl_pair_join(mesh, pair);
        if (!nccl_settle(mesh, pair->comm, result, doing, keep_sending, status))
            return false;
        pair->joined = true;
    }
    ncclResult_t result = library->GroupStart();
    if (result == ncclSuccess)
        result =
            library->Recv(call->outputs[0].data, (size_t)what->elements * dtype_size(what->dtype),
                          ncclUint8, 0, pair->comm, mesh->context->device->stream);
    ncclResult_t end = library->GroupEnd();
    result = result == ncclSuccess || result == ncclInProgress ? end : result;
    return nccl_finish(mesh, pair->comm, result, doing, keep_sending, status);
}

static bool receive(struct nccl_mesh *mesh, const struct op_call *call,
                    const struct comm_descriptor *what, struct status *status)
{
    struct nccl_note posted = {0};
    if (!await_message(mesh, what->peer, &posted, status))
        return false;
    if (posted.dtype != what->dtype || posted.elements != what->elements) {
        struct nccl_note note = {
            .kind = NOTE_REFUSED, .generation = posted.generation, .number = posted.number};
        tell(mesh, what->peer, &note, NULL);
        return status_fail(status, STATUS_INVALID, "rank %d sent %lld x %s instead of %lld x %s",
                           what->peer, (long long)posted.elements, dtype_name(posted.dtype),
                           (long long)what->elements, dtype_name(what->dtype));
    }
    if (fetch(mesh, call, what, &posted, status))
        return true;
    status_context(status, "rank %d", mesh->own);
    if (!mesh->context->set.broken)
        nccl_give_up(mesh);
    return false;
}

bool nccl_message(struct nccl_mesh *mesh, const struct op_call *call,
                  const struct comm_descriptor *what, struct status *status)
{
    const struct comm_hooks *hooks = mesh->over.hooks;
    bool tells = hooks && hooks->passed, sends = what->op == OP_SEND;
    if (what->peer < 0 || what->peer >= mesh->groups[COMM_WORLD].count || what->peer == mesh->own)
        return status_fail(status, STATUS_INVALID, "there is no rank %d to exchange messages with",
                           what->peer);
    if (sends && tells)
        hooks->passed(hooks->context, what);
    bool ok = sends ? post(mesh, call, what, status) : receive(mesh, call, what, status);
    if (ok && !sends && tells)
        hooks->passed(hooks->context, what);
    return ok;
}

/* ---- the end ---- */

void nccl_messages_forget(struct nccl_mesh *mesh)
{
    for (struct nccl_posted **place = &mesh->posted; *place;)
        if ((*place)->state == POSTED_TOLD && (*place)->generation != mesh->generation)
            drop(mesh, place);
        else
            place = &(*place)->next;
    for (struct nccl_heard **place = &mesh->heard; *place;) {
        struct nccl_heard *heard = *place;
        if (heard->note.generation == mesh->generation) {
            place = &heard->next;
            continue;
        }
        *place = heard->next;
        free(heard);
    }
    memset(mesh->sent, 0, (size_t)mesh->groups[COMM_WORLD].count * sizeof(*mesh->sent));
}

/* Whether a message is leaving: its receiver has come, so it will soon have left. */
static bool is_leaving(const struct nccl_mesh *mesh)
{
    for (const struct nccl_posted *posted = mesh->posted; posted; posted = posted->next)
        if (posted->state != POSTED_TOLD)
            return true;
    return false;
}

void nccl_messages_close(struct nccl_mesh *mesh)
{
    struct backoff backoff = {0};
    while (is_leaving(mesh)) {
        nccl_messages_carry_on(mesh); /* each has a limit */
        backoff_pause(&backoff);
    }
    while (mesh->heard) {
        struct nccl_heard *heard = mesh->heard;
        mesh->heard = heard->next;
        free(heard);
    }
    while (mesh->posted)
        drop(mesh, &mesh->posted);
    while (mesh->spare) {
        struct nccl_spare *spare = mesh->spare;
        mesh->spare = spare->next;
        cudaFree(spare->memory);
        free(spare);
    }
}
