#include "bench/simulate_actor.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LINE_BYTES = 160 };

char *simulation_line(int rank, int64_t line, char *buffer, int size)
{
    int64_t time = clock_nanoseconds();
    snprintf(buffer, (size_t)size, "rank %d line %lld of nothing but words at %lld.%09lld", rank,
             (long long)line, (long long)(time / 1000000000), (long long)(time % 1000000000));
    return buffer;
}

/* ---- what a rank says ---- */

struct board_rank *actor_page(const struct actor *actor)
{
    return &actor->board.page->ranks[actor->rank];
}

void actor_say(struct actor *actor, enum frame_kind kind, const struct text *body)
{
    if (!channel_send(&actor->control, kind, body, NULL, 0, SIMULATE_SEND_SECONDS, NULL))
        actor->stage->over = true;
}

void actor_publish(void *context, int group)
{
    struct actor *actor = context;
    struct update update;
    update_of_page(actor_page(actor), actor->rank, group, actor->meetings, &update);
    struct text body = {0};
    update_write(&body, &update);
    actor_say(actor, FRAME_UPDATE, &body);
    text_free(&body);
}

static void set_state(struct actor *actor, enum board_state state)
{
    if (atomic_load(&actor_page(actor)->state) != (uint32_t)state)
        board_set_state(&actor->board, actor->rank, state);
}

static void print_lines(struct actor *actor)
{
    char line[LINE_BYTES];
    int lines = actor->stage->what.lines, count = actor->program->instruction_count;
    int64_t from = (int64_t)lines * (actor->next - 1) / count;
    for (int64_t until = (int64_t)lines * actor->next / count; from < until; from++) {
        int64_t number = actor->printed++;
        simulation_line(actor->rank, number, line, sizeof(line) - 1);
        size_t length = strlen(line);
        line[length++] = '\n';
        for (size_t sent = 0; sent < length;) {
            ssize_t bytes =
                send(actor->output[number & 1], line + sent, length - sent, MSG_NOSIGNAL);
            if (bytes < 0 && errno != EINTR) {
                actor->stage->over = true;
                return;
            }
            sent += bytes > 0 ? (size_t)bytes : 0;
        }
    }
}

/* ---- running ---- */

static int *crowd_of(const struct actor *actor, enum comm_group group)
{
    return &actor->stage->crowds[(int)group * actor->stage->what.ranks +
                                 mesh_first(&actor->setup.mesh, actor->rank, group)];
}

static void finish_instruction(struct actor *actor)
{
    actor->next++;
    actor->waits = false;
    board_set_position(&actor->board, actor->rank, actor->epoch, actor->next);
    print_lines(actor);
}

/* The last one has come: all have what they came for. */
static void finish_meeting(struct actor *actor, enum comm_group group)
{
    struct stage *stage = actor->stage;
    int *members = memory_zeroed((size_t)stage->what.ranks, sizeof(*members));
    int count = mesh_members(&actor->setup.mesh, actor->rank, group, members);
    *crowd_of(actor, group) = 0;
    for (int m = 0; m < count; m++) {
        struct actor *member = &stage->actors[members[m]];
        set_state(member, BOARD_MOVING);
        board_record_leave(&member->board, member->rank, member->record);
        set_state(member, BOARD_RUNNING);
        finish_instruction(member);
    }
    for (int m = 0; m < count; m++)
        if (members[m] != actor->rank)
            actor_advance(&stage->actors[members[m]]);
    free(members);
}

static void receive(struct actor *actor, int from)
{
    struct actor *sender = &actor->stage->actors[from];
    actor->waits = !sender->sent || sender->sent[actor->rank] == 0;
    if (actor->waits) {
        atomic_store(&actor_page(actor)->waiting_since, (uint64_t)clock_nanoseconds());
        atomic_store(&actor_page(actor)->waiting_group, -1);
        set_state(actor, BOARD_WAITING);
        return;
    }
    sender->sent[actor->rank]--;
    board_record_leave(&actor->board, actor->rank, actor->record);
    finish_instruction(actor);
}

static void send_to(struct actor *actor, int peer)
{
    struct actor *to = &actor->stage->actors[peer];
    actor->sent[peer]++;
    board_record_leave(&actor->board, actor->rank, actor->record);
    finish_instruction(actor);
    if (to->waits && to->program->instructions[to->next].op == OP_RECEIVE)
        actor_advance(to);
}

/* Does the collective that it stands before, or waits in it. */
static void take_part(struct actor *actor)
{
    struct op_call call;
    program_call(actor->program, actor->next, &call);
    struct comm_descriptor what = comm_describe(&call);
    actor->record = board_record_enter(&actor->board, actor->rank, &what,
                                       (int)atomic_load(&actor_page(actor)->step), actor->next);
    if (what.op == OP_SEND) {
        send_to(actor, what.peer);
    } else if (what.op == OP_RECEIVE) {
        receive(actor, what.peer);
    } else {
        int count = mesh_members(&actor->setup.mesh, actor->rank, what.group, NULL);
        board_come(&actor->board, actor->rank, &what, ++actor->meetings[what.group]);
        actor->waits = true;
        if (++*crowd_of(actor, what.group) == count)
            finish_meeting(actor, what.group);
    }
}

void actor_begin_generation(struct actor *actor, uint32_t generation)
{
    struct stage *stage = actor->stage;
    if (generation != stage->generation)
        memset(stage->crowds, 0, (size_t)stage->what.ranks * COMM_GROUP_COUNT * sizeof(int));
    stage->generation = generation;
    if (generation == actor->generation)
        return;
    actor->generation = generation;
    memset(actor->meetings, 0, sizeof(actor->meetings));
    memset(actor->sent, 0, (size_t)stage->what.ranks * sizeof(*actor->sent));
}

static void begin_epoch(struct actor *actor, uint32_t epoch)
{
    uint32_t generation = atomic_load(&actor_page(actor)->generation);
    actor_begin_generation(actor, generation);
    actor->epoch = epoch;
    actor->next = 0;
    actor->waits = false;
    actor->present = true;
    atomic_store(&actor_page(actor)->busy, 0);
    board_set_position(&actor->board, actor->rank, epoch, 0);
}

static bool is_missing(const struct actor *actor)
{
    const struct simulation *what = &actor->stage->what;
    return actor->rank == what->missing_rank && actor->next == what->missing_instruction;
}

static void say_missing(struct actor *actor)
{
    char line[64];
    int length = snprintf(line, sizeof(line), "rank %d hangs\n", actor->rank);
    if (!actor->told && send(actor->output[1], line, (size_t)length, MSG_NOSIGNAL) != length)
        actor->stage->over = true;
    actor->told = true;
}

/* Whether a rank that waits goes on, as its message is there; or gives up. */
static bool wakes_up(struct actor *actor)
{
    const struct instruction *standing = &actor->program->instructions[actor->next];
    if (board_is_cancelled(&actor->board, actor->rank))
        actor->waits = actor->present = false; /* until its next epoch */
    else if (standing->op == OP_RECEIVE)
        receive(actor, standing->parameters.peer);
    return !actor->waits;
}

/* Whether the instruction that it stands before brings it together with others. */
static bool meets(const struct actor *actor)
{
    const struct instruction *standing = &actor->program->instructions[actor->next];
    if (!op_is_collective(standing->op))
        return false;
    return standing->op == OP_SEND || standing->op == OP_RECEIVE ||
           mesh_members(&actor->setup.mesh, actor->rank,
                        (enum comm_group)standing->parameters.group, NULL) > 1;
}

static bool may_run(const struct actor *actor)
{
    uint64_t command = atomic_load(&actor_page(actor)->command);
    return board_epoch(command) != actor->epoch ||
           (actor->present && actor->next < board_number(command) &&
            actor->next < actor->program->instruction_count);
}

/* Runs what it may; true when it then waits for the engine's word alone. */
static bool run_allowed(struct actor *actor)
{
    while (!actor->stage->over) {
        uint32_t epoch = board_epoch(atomic_load(&actor_page(actor)->command));
        if (epoch != actor->epoch) {
            begin_epoch(actor, epoch);
        } else if (actor->waits) {
            if (!wakes_up(actor))
                return false;
        } else if (!may_run(actor)) {
            return true;
        } else {
            set_state(actor, BOARD_RUNNING);
            if (is_missing(actor)) {
                say_missing(actor);
                return false;
            }
            if (meets(actor))
                take_part(actor);
            else
                finish_instruction(actor);
        }
    }
    return true;
}

void actor_advance(struct actor *actor)
{
    while (actor->program && !actor->stage->over) {
        bool idle = run_allowed(actor);
        if (is_missing(actor) && !idle)
            return; /* it says no more, as one that hangs */
        /* said before the last look: the engine writes its word, then looks at the state */
        if (idle)
            set_state(actor, BOARD_IDLE);
        uint32_t order = board_order(&actor->board, actor->rank);
        if (idle && may_run(actor))
            continue;
        board_obey(&actor->board, actor->rank, order);
        return;
    }
}
