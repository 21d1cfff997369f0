#include "engine/comm/comm.h"

#include "engine/base/memory.h"
#include "engine/base/module.h"
#include "engine/comm/combine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct comm {
    const struct comm_ops *ops;
    void *context;
};

struct comm_engine {
    const struct comm_module *module;
    void *context;
};

struct comm_descriptor comm_describe(const struct op_call *call)
{
    bool from_output = call->op == OP_BROADCAST || call->op == OP_RECEIVE;
    bool has_peer = from_output || call->op == OP_SEND;
    const struct tensor *tensor = from_output ? &call->outputs[0] : &call->inputs[0];
    return (struct comm_descriptor){
        .op = call->op,
        .group = (enum comm_group)call->parameters.group,
        .dtype = tensor->dtype,
        .average = call->parameters.average,
        .peer = has_peer ? call->parameters.peer : -1,
        .elements = shape_elements(tensor->shape),
    };
}

bool comm_descriptor_equal(const struct comm_descriptor *a, const struct comm_descriptor *b)
{
    return a->op == b->op && a->group == b->group && a->dtype == b->dtype &&
           a->average == b->average && a->peer == b->peer && a->elements == b->elements &&
           a->place == b->place;
}

const char *comm_descriptor_text(const struct comm_descriptor *descriptor, char *buffer, int size)
{
    const struct comm_descriptor *d = descriptor;
    char with[48];
    if (d->op == OP_SEND || d->op == OP_RECEIVE)
        snprintf(with, sizeof(with), "%s rank %d", d->op == OP_SEND ? "to" : "from", d->peer);
    else
        snprintf(with, sizeof(with), "%s%s", comm_group_name(d->group),
                 d->average ? ", average" : "");
    snprintf(buffer, (size_t)size, "%s(%s, %" PRId64 " x %s)", op_name(d->op), with, d->elements,
             dtype_name(d->dtype));
    return buffer;
}

bool comm_call_fits(const struct op_call *call, const struct comm_descriptor *what, int count,
                    struct status *status)
{
    int64_t in = what->elements, out = shape_elements(call->outputs[0].shape);
    bool sums = what->op == OP_ALL_REDUCE || what->op == OP_REDUCE_SCATTER;
    int64_t expected = what->op == OP_ALL_GATHER       ? in * count
                       : what->op == OP_REDUCE_SCATTER ? in / count
                                                       : in;
    if (what->op == OP_REDUCE_SCATTER && in % count)
        return status_fail(status, STATUS_INVALID, "%s does not divide among %d ranks",
                           op_name(what->op), count);
    if (out != expected)
        return status_fail(status, STATUS_INVALID,
                           "%s over %d ranks gives %" PRId64 " elements, not %" PRId64,
                           op_name(what->op), count, expected, out);
    return !sums || combine_supports(what->dtype) ||
           status_fail(status, STATUS_UNSUPPORTED, "%s of %s", op_name(what->op),
                       dtype_name(what->dtype));
}

struct comm_engine *comm_engine_start(const char *name, struct status *status)
{
    char symbol[64];
    snprintf(symbol, sizeof(symbol), "comm_%s", name);
    const struct comm_module *module = module_symbol(name, symbol, status);
    void *context = NULL;
    bool fits = module && (module->kinds == OP_COUNT ||
                           status_fail(status, STATUS_UNSUPPORTED,
                                       "lockstep_%s.so is of another build", name));
    if (!fits || !module->start(&context, status)) {
        status_context(status, "collectives by %s", name);
        return NULL;
    }
    struct comm_engine *engine = memory_zeroed(1, sizeof(*engine));
    *engine = (struct comm_engine){module, context};
    return engine;
}

void comm_engine_finish(struct comm_engine *engine)
{
    if (!engine)
        return;
    engine->module->finish(engine->context);
    free(engine);
}

int comm_engine_rank(const struct comm_engine *engine)
{
    return engine->module->rank(engine->context);
}

int comm_engine_size(const struct comm_engine *engine)
{
    return engine->module->size(engine->context);
}

struct comm *comm_wrap(const struct comm_ops *ops, void *context)
{
    struct comm *comm = memory_zeroed(1, sizeof(*comm));
    *comm = (struct comm){ops, context};
    return comm;
}

struct comm *comm_open(struct comm_engine *engine, const struct mesh *mesh,
                       const struct comm_hooks *hooks, struct status *status)
{
    void *context = NULL;
    if (!engine->module->open(engine->context, mesh, hooks, &context, status))
        return NULL;
    return comm_wrap(&engine->module->ops, context);
}

static void self_close(void *context)
{
    (void)context;
}

static int self_size(void *context, enum comm_group group)
{
    (void)context, (void)group;
    return 1;
}

static int self_rank(void *context, enum comm_group group)
{
    (void)context, (void)group;
    return 0;
}

/* With one rank the sum, the average, the gathered and the scattered tensor are the tensor. */
static bool self_run(void *context, const struct op_call *call, struct status *status)
{
    (void)context;
    if (call->op == OP_SEND || call->op == OP_RECEIVE)
        return status_fail(status, STATUS_INTERNAL, "%s without a second rank", op_name(call->op));
    const struct tensor *in = &call->inputs[0], *out = &call->outputs[0];
    if (in->data != out->data)
        memcpy(out->data, in->data, (size_t)shape_elements(in->shape) * dtype_size(in->dtype));
    return true;
}

static const struct comm_ops self_ops = {
    .name = "self", .close = self_close, .size = self_size, .rank = self_rank, .run = self_run};

struct comm *comm_self(void)
{
    return comm_wrap(&self_ops, NULL);
}

void comm_close(struct comm *comm)
{
    if (!comm)
        return;
    comm->ops->close(comm->context);
    free(comm);
}

const char *comm_name(const struct comm *comm)
{
    return comm->ops->name;
}

int comm_size(const struct comm *comm, enum comm_group group)
{
    return comm->ops->size(comm->context, group);
}

int comm_rank(const struct comm *comm, enum comm_group group)
{
    return comm->ops->rank(comm->context, group);
}

bool comm_run(struct comm *comm, const struct op_call *call, struct status *status)
{
    return comm->ops->run(comm->context, call, status);
}

bool comm_tell(struct comm *comm, int rank, const struct comm_note *note, struct status *status)
{
    return comm->ops->tell(comm->context, rank, note, status);
}

bool comm_hear(struct comm *comm, int *rank, struct comm_note *note)
{
    return comm->ops->hear(comm->context, rank, note);
}

void comm_begin_anew(struct comm *comm, int generation)
{
    if (comm->ops->begin_anew)
        comm->ops->begin_anew(comm->context, generation);
}

bool comm_carry_on(struct comm *comm)
{
    return comm->ops->carry_on && comm->ops->carry_on(comm->context);
}
