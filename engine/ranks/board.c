#include "engine/ranks/board.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOKS_BEFORE_SLEEP = 200, /* about a microsecond or two */
    SLEEP_MILLISECONDS = 500, /* then it looks again, should a wake-up have been lost */
};

static size_t page_bytes(int size)
{
    return sizeof(struct board_page) + (size_t)size * sizeof(struct board_rank);
}

static bool map(struct board *board, struct status *status)
{
    board->page = mmap(NULL, board->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, board->fd, 0);
    if (board->page != MAP_FAILED)
        return true;
    board->page = NULL;
    status_fail(status, STATUS_MEMORY, "no memory for the control page: %s", strerror(errno));
    board_close(board);
    return false;
}

bool board_create(struct board *board, int size, struct status *status)
{
    *board = (struct board){.size = size, .bytes = page_bytes(size), .wake = -1};
    board->fd = memfd_create("lockstep board", MFD_CLOEXEC);
    if (board->fd < 0 || ftruncate(board->fd, (off_t)board->bytes) != 0 ||
        (board->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        status_fail(status, STATUS_IO, "no control page: %s", strerror(errno));
        board_close(board);
        return false;
    }
    if (!map(board, status))
        return false;
    board->page->magic = BOARD_MAGIC;
    board->page->size = (uint32_t)size;
    return true;
}

bool board_map(struct board *board, int fd, int wake, int size, struct status *status)
{
    *board = (struct board){.size = size, .bytes = page_bytes(size), .fd = fd, .wake = wake};
    off_t there = lseek(fd, 0, SEEK_END);
    if (there != (off_t)board->bytes) {
        board_close(board);
        return status_fail(status, STATUS_INTERNAL, "a control page of %lld bytes, not %zu",
                           (long long)there, page_bytes(size));
    }
    if (!map(board, status))
        return false;
    if (board->page->magic == BOARD_MAGIC && board->page->size == (uint32_t)size)
        return true;
    board_close(board);
    return status_fail(status, STATUS_INTERNAL, "the control page is of another program");
}

void board_close(struct board *board)
{
    if (board->page)
        munmap(board->page, board->bytes);
    if (board->fd >= 0)
        close(board->fd);
    if (board->wake >= 0)
        close(board->wake);
    *board = (struct board){.fd = -1, .wake = -1};
}

/* ---- waking ---- */

static long futex(_Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout)
{
    return syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

void board_ring(struct board *board, int rank)
{
    atomic_fetch_add(&board->page->ranks[rank].bell, 1);
    futex(&board->page->ranks[rank].bell, FUTEX_WAKE, INT_MAX, NULL);
}

/* A bit that is set already was not taken yet: what was written before is seen with it. */
void board_add_news(struct board *board, int rank)
{
    _Atomic uint64_t *word = &board->page->news[rank / 64];
    uint64_t bit = (uint64_t)1 << rank % 64;
    if (!(atomic_load(word) & bit))
        atomic_fetch_or(word, bit);
}

uint64_t board_take_news(struct board *board, int word)
{
    _Atomic uint64_t *news = &board->page->news[word];
    return atomic_load(news) ? atomic_exchange(news, 0) : 0;
}

/* The engine clears `engine_sleeps` itself when it looks; whoever finds it set wakes it once. */
static void tell_engine(struct board *board, int rank, int group)
{
    uint64_t one = 1;
    if (board->link) {
        board->link->publish(board->link->context, group);
        return;
    }
    board_add_news(board, rank);
    if (atomic_load(&board->page->engine_sleeps) &&
        atomic_exchange(&board->page->engine_sleeps, 0) &&
        write(board->wake, &one, sizeof(one)) < 0)
        return; /* full: it is awake */
}

uint32_t board_order(const struct board *board, int rank)
{
    return atomic_load(&board->page->ranks[rank].order);
}

void board_obey(struct board *board, int rank, uint32_t order)
{
    if (atomic_exchange(&board->page->ranks[rank].seen, order) != order)
        tell_engine(board, rank, -1);
}

bool board_has_seen(const struct board *board, int rank)
{
    const struct board_rank *own = &board->page->ranks[rank];
    return atomic_load(&own->seen) == atomic_load(&own->order);
}

void board_set_state(struct board *board, int rank, enum board_state state)
{
    atomic_store(&board->page->ranks[rank].state, (uint32_t)state);
    tell_engine(board, rank, -1);
}

void board_set_position(struct board *board, int rank, uint32_t epoch, int next)
{
    atomic_store(&board->page->ranks[rank].position, board_pair(epoch, (uint32_t)next));
    tell_engine(board, rank, -1);
}

bool board_is_cancelled(struct board *board, int rank)
{
    const struct board_rank *own = &board->page->ranks[rank];
    return atomic_load(&own->cancelled) == board_epoch(atomic_load(&own->position));
}

/* ---- meetings ---- */

/* Whether all members have come to meeting `number` for the same. */
static bool all_there(const struct board *board, const struct comm_descriptor *what,
                      uint64_t number, const int *members, int count)
{
    for (int m = 0; m < count; m++) {
        const struct board_meeting *meeting =
            &board->page->ranks[members[m]].meetings[what->group][number & 1];
        if (atomic_load(&meeting->sequence) != number ||
            !comm_descriptor_equal(&meeting->what, what))
            return false;
    }
    return true;
}

static void sleep_on(struct board *board, _Atomic uint32_t *bell, uint32_t heard)
{
    bool busy = board->meanwhile && board->meanwhile(board->meanwhile_context);
    int milliseconds = busy ? 1 : SLEEP_MILLISECONDS;
    struct timespec timeout = {.tv_nsec = milliseconds * 1000000L};
    if (board->link)
        board->link->listen(board->link->context, milliseconds);
    else
        futex(bell, FUTEX_WAIT, heard, &timeout);
}

void board_come(struct board *board, int rank, const struct comm_descriptor *what, uint64_t number)
{
    struct board_rank *own = &board->page->ranks[rank];
    struct board_meeting *meeting = &own->meetings[what->group][number & 1];
    meeting->what = *what;
    atomic_store(&own->waiting_since, (uint64_t)clock_nanoseconds());
    atomic_store(&own->waiting_group, (int32_t)what->group);
    atomic_store(&meeting->sequence, number);
    atomic_store(&own->state, BOARD_WAITING);
    tell_engine(board, rank, (int)what->group);
}

bool board_meet(struct board *board, int rank, const struct comm_descriptor *what, uint64_t number,
                const int *members, int count, struct status *status)
{
    struct board_rank *own = &board->page->ranks[rank];
    board_come(board, rank, what, number);
    for (int m = 0; m < count && !board->link; m++)
        if (members[m] != rank)
            board_ring(board, members[m]);
    for (int looks = 0;; looks++) {
        uint32_t heard = atomic_load(&own->bell);
        board_obey(board, rank, board_order(board, rank));
        if (all_there(board, what, number, members, count)) {
            atomic_store(&own->state, BOARD_MOVING);
            tell_engine(board, rank, -1);
            return true;
        }
        if (board_is_cancelled(board, rank))
            return status_fail(status, STATUS_CANCELLED, "given up before all had come");
        if (looks >= LOOKS_BEFORE_SLEEP)
            sleep_on(board, &own->bell, heard);
    }
}

bool board_is_stuck(const struct board *board, int rank, const struct mesh *mesh)
{
    const struct board_rank *own = &board->page->ranks[rank];
    int group = atomic_load(&own->waiting_group);
    if (atomic_load(&own->state) != BOARD_WAITING)
        return false;
    if (group < 0)
        return true;
    int *members = memory_zeroed((size_t)mesh_size(mesh), sizeof(int));
    int count = mesh_members(mesh, rank, (enum comm_group)group, members);
    uint64_t even = atomic_load(&own->meetings[group][0].sequence);
    uint64_t odd = atomic_load(&own->meetings[group][1].sequence);
    uint64_t number = even > odd ? even : odd;
    bool there = all_there(board, &own->meetings[group][number & 1].what, number, members, count);
    free(members);
    return !there;
}

void board_begin_anew(struct board *board, uint32_t generation)
{
    for (int rank = 0; rank < board->size; rank++) {
        struct board_rank *own = &board->page->ranks[rank];
        for (int group = 0; group < COMM_GROUP_COUNT; group++)
            for (int i = 0; i < 2; i++)
                atomic_store(&own->meetings[group][i].sequence, 0);
        atomic_store(&own->cancelled, 0);
        atomic_store(&own->generation, generation);
    }
}

/* ---- flight recorder ---- */

uint64_t board_record_enter(struct board *board, int rank, const struct comm_descriptor *what,
                            int step, int instruction)
{
    struct board_rank *own = &board->page->ranks[rank];
    uint64_t number = atomic_load(&own->recorded) + 1;
    own->records[(number - 1) % BOARD_RECORDS] = (struct comm_record){
        number, *what, step, instruction, clock_nanoseconds(), 0,
    };
    atomic_store(&own->recorded, number);
    return number;
}

void board_record_leave(struct board *board, int rank, uint64_t record)
{
    struct board_rank *own = &board->page->ranks[rank];
    own->records[(record - 1) % BOARD_RECORDS].left = clock_nanoseconds();
}

int board_records(const struct board *board, int rank, struct comm_record *records, int most)
{
    const struct board_rank *own = &board->page->ranks[rank];
    uint64_t last = atomic_load(&own->recorded);
    uint64_t count = last < BOARD_RECORDS ? last : BOARD_RECORDS;
    count = count < (uint64_t)most ? count : (uint64_t)most;
    int written = 0;
    for (uint64_t number = last - count + 1; count > 0 && number <= last; number++) {
        struct comm_record record = own->records[(number - 1) % BOARD_RECORDS];
        if (record.sequence == number) /* else the rank has written over it meanwhile */
            records[written++] = record;
    }
    return written;
}
