/* The parts of a rank process. Internal to rank*.c. */
#ifndef ENGINE_RANKS_RANK_INTERNAL_H
#define ENGINE_RANKS_RANK_INTERNAL_H

#include "engine/program/executor.h"
#include "engine/ranks/channel.h"
#include "engine/ranks/rank_memory.h"

enum { RANK_SEND_SECONDS = 60 };

struct rank_process {
    struct channel control;
    struct hello hello;
    struct welcome welcome;
    struct board board;
    struct board_link link;     /* on another machine than the engine */
    struct comm_engine *engine; /* NULL: a pool of one rank */
    /* of the present run */
    struct setup setup;
    struct config *config;
    struct device *device; /* what computes; kept from run to run while it is the same */
    char *device_name;
    int device_threads, device_index;
    const struct comm_device_module *nccl_module; /* of that device, from the first use on */
    void *nccl;
    struct rank_memory memory;
    struct device *memory_device;
    struct program *program;
    struct comm *messenger; /* of the run's mesh, by MPI; NULL: one rank */
    struct comm *comm;      /* what carries its collectives: the messenger, or something over it */
    char carrier[160];      /* in words */
    struct comm *recorded;  /* the same, with records and states: what the executor calls */
    struct comm_hooks hooks;
    struct executor *executor;
    uint64_t meetings[COMM_GROUP_COUNT]; /* how often each group has met */
    uint32_t epoch, generation;
    uint64_t busy;
    bool halted; /* failed, or gave up: runs no more in this epoch */
    bool told;   /* an idle rank has said so */
    bool inside; /* a collective */
};

/* Makes everything for a run, and says that it is ready; or says why not. */
void rank_set_up(struct rank_process *rank, const struct frame *frame);
/* Frees it all but the device. */
void rank_tear_down(struct rank_process *rank);

/* Opens the device of the run, the one of this number among those of the machine. */
bool rank_open_device(struct rank_process *rank, int index, struct status *status);

/* Sets messenger, comm and carrier (and, on GPUs, the device), together with all ranks of the run;
 * and closes what it has opened. */
bool rank_open_collectives(struct rank_process *rank, struct status *status);
void rank_close_collectives(struct rank_process *rank);
/* Before the device is closed. */
void rank_forget_nccl(struct rank_process *rank);
/* A communicator of tensors on `device`, whose data `inner` carries through the host's memory; both
 * are borrowed. */
struct comm *rank_staged_comm(struct comm *inner, struct device *device);

/* A communicator that records what goes through it in the control page. */
struct comm *rank_recorded_comm(struct rank_process *rank);
/* Meetings and waiting of the mesh's communicator. */
struct comm_hooks rank_hooks(struct rank_process *rank);
/* Carries on with what this rank has sent; whether some of it has not left. The context is the
 * struct rank_process. */
bool rank_carry_on(void *context);
/* The same for one that waits in a meeting, where it also does what the engine asks for: whether it
 * wants to be called again soon. */
bool rank_meanwhile(void *context);

/* On another machine: the page is kept by messages. */
struct board_link rank_link(struct rank_process *rank);

/* Answers FRAME_ASK (rank_answer.c). */
void rank_answer(struct rank_process *rank, const struct frame *frame);
/* Does what a frame asks for. Ends the process on FRAME_QUIT. */
void rank_handle(struct rank_process *rank, const struct frame *frame);
/* Whether frames must be taken while this rank has something to do: it is on another machine, or
 * its memory is read and written by frames. */
bool rank_listens(const struct rank_process *rank);
/* Takes the frames that come within so many milliseconds, if it is one of those. */
void rank_listen(struct rank_process *rank, int milliseconds);
void rank_send(struct rank_process *rank, enum frame_kind kind, const struct text *body);
void rank_send_failure(struct rank_process *rank, bool broken, const char *reason);
/* Ends the process, as the engine is gone. */
void rank_leave(void) __attribute__((noreturn));

#endif
