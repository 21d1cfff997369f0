/* What a rank does with others: its meetings and messages, recorded; and how one on another machine
 * keeps its control page. */
#include "engine/ranks/rank_internal.h"

#include "engine/base/clock.h"

static struct board_rank *own_page(struct rank_process *rank)
{
    return &rank->board.page->ranks[rank->hello.rank];
}

/* ---- hooks of the communicator ---- */

static bool meet(void *context, const struct comm_descriptor *what, const int *members, int count,
                 struct status *status)
{
    struct rank_process *rank = context;
    struct comm_descriptor here = *what;
    here.place = program_place(rank->program, rank->executor->next);
    return board_meet(&rank->board, rank->hello.rank, &here, ++rank->meetings[what->group], members,
                      count, status);
}

/* Only while nothing has moved: what moves comes to its end, as all who take part are there. */
static bool cancelled(void *context)
{
    struct rank_process *rank = context;
    rank_listen(rank, 0);
    board_obey(&rank->board, rank->hello.rank, board_order(&rank->board, rank->hello.rank));
    return atomic_load(&own_page(rank)->state) == BOARD_WAITING &&
           board_is_cancelled(&rank->board, rank->hello.rank);
}

struct comm_hooks rank_hooks(struct rank_process *rank)
{
    return (struct comm_hooks){.meet = meet, .cancelled = cancelled, .context = rank};
}

bool rank_carry_on(void *context)
{
    struct rank_process *rank = context;
    return rank->comm && comm_carry_on(rank->comm);
}

bool rank_meanwhile(void *context)
{
    struct rank_process *rank = context;
    bool busy = rank_carry_on(rank);
    if (rank->board.link)
        return busy; /* the board listens by itself */
    rank_listen(rank, 0);
    return busy || rank_listens(rank);
}

/* ---- records ---- */

static void recorded_close(void *context)
{
    (void)context;
}

static int recorded_size(void *context, enum comm_group group)
{
    return comm_size(((struct rank_process *)context)->comm, group);
}

static int recorded_rank(void *context, enum comm_group group)
{
    return comm_rank(((struct rank_process *)context)->comm, group);
}

static bool recorded_run(void *context, const struct op_call *call, struct status *status)
{
    struct rank_process *rank = context;
    struct board_rank *own = own_page(rank);
    const struct comm_descriptor what = comm_describe(call);
    int step = (int)atomic_load(&own->step);
    uint64_t record =
        board_record_enter(&rank->board, rank->hello.rank, &what, step, rank->executor->next);
    if (what.op == OP_RECEIVE) {
        atomic_store(&own->waiting_since, (uint64_t)clock_nanoseconds());
        atomic_store(&own->waiting_group, -1);
        board_set_state(&rank->board, rank->hello.rank, BOARD_WAITING);
    }
    rank->inside = true;
    bool ok = comm_run(rank->comm, call, status);
    rank->inside = false;
    if (!ok)
        return false; /* the state says whether anything had moved */
    board_record_leave(&rank->board, rank->hello.rank, record);
    board_set_state(&rank->board, rank->hello.rank, BOARD_RUNNING);
    return true;
}

struct comm *rank_recorded_comm(struct rank_process *rank)
{
    static const struct comm_ops ops = {.name = "recorded",
                                        .close = recorded_close,
                                        .size = recorded_size,
                                        .rank = recorded_rank,
                                        .run = recorded_run};
    return comm_wrap(&ops, rank);
}

/* ---- a page that is kept by messages ---- */

static void publish(void *context, int group)
{
    struct rank_process *rank = context;
    struct update update;
    update_of_page(own_page(rank), rank->hello.rank, group, rank->meetings, &update);
    struct text body = {0};
    update_write(&body, &update);
    rank_send(rank, FRAME_UPDATE, &body);
    text_free(&body);
}

bool rank_listens(const struct rank_process *rank)
{
    return rank->board.link || (rank->executor && !rank->setup.shares_memory);
}

static void listen(void *context, int milliseconds)
{
    struct rank_process *rank = context;
    struct frame frame;
    enum channel_result result = CHANNEL_NOTHING;
    if (!channel_wait(&rank->control, milliseconds))
        return;
    while ((result = channel_next(&rank->control, false, &frame)) == CHANNEL_FRAME)
        rank_handle(rank, &frame);
    if (result != CHANNEL_NOTHING)
        rank_leave();
}

void rank_listen(struct rank_process *rank, int milliseconds)
{
    if (rank_listens(rank))
        listen(rank, milliseconds);
}

struct board_link rank_link(struct rank_process *rank)
{
    return (struct board_link){.publish = publish, .listen = listen, .context = rank};
}
