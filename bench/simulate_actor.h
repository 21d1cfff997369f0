/* One of the simulated ranks (bench/simulate.h): what it does with the program that it was given.
 */
#ifndef BENCH_SIMULATE_ACTOR_H
#define BENCH_SIMULATE_ACTOR_H

#include "bench/simulate.h"

#include "engine/comm/comm.h"
#include "engine/ranks/channel.h"
#include "engine/ranks/launch.h"
#include "engine/train/schedule.h"

enum { SIMULATE_SEND_SECONDS = 60 };

struct actor {
    struct stage *stage;
    int rank;
    struct channel guardian, control;
    int output[2];
    struct board board; /* the common page, or one of its own */
    struct board_link link;
    struct setup setup;
    struct program *program;
    uint32_t epoch, generation;
    int next;
    uint64_t meetings[COMM_GROUP_COUNT], record;
    bool waits; /* has come to the collective that it stands before */
    int *sent;  /* [ranks]: messages to them that they have not received yet */
    int64_t printed;
    bool told;    /* that it hangs */
    bool present; /* it has a program, and runs what it is allowed to */
};

struct stage {
    struct simulation what;
    struct actor *actors;
    int *crowds; /* [COMM_GROUP_COUNT * ranks], by kind and lowest rank of a group: how many have
                    come to its next meeting */
    uint32_t generation;
    struct config *config;
    struct device *device;
    struct board board; /* of this machine */
    int epoll;
    bool shared, over, failed;
    struct status status;
};

/* Its part of the control page. */
struct board_rank *actor_page(const struct actor *actor);
/* Sends a frame to the engine; the play is over if that fails. */
void actor_say(struct actor *actor, enum frame_kind kind, const struct text *body);
/* For board_link: tells the engine what its own page says, as a rank on another machine does
 * (engine/ranks/rank_comm.c). `context` is the actor. */
void actor_publish(void *context, int group);
/* Forgets the meetings and messages of the generation before. All ranks do before any goes on. */
void actor_begin_generation(struct actor *actor, uint32_t generation);
/* Runs all that the engine's word and the others allow, and what that allows others. */
void actor_advance(struct actor *actor);

#endif
