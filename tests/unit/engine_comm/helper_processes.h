/* Tests whose work is done by processes of MPI: the test starts itself again under mpirun, as
 * "work MODE", and each process says "rank N ok" if all was well. */
#ifndef TESTS_UNIT_ENGINE_COMM_HELPER_PROCESSES_H
#define TESTS_UNIT_ENGINE_COMM_HELPER_PROCESSES_H

#include "engine/comm/mesh.h"
#include "tests/unit/random.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* In the processes, in plain `if`s, as cmocka's asserts need its runner. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("rank %d: line %d: %s\n", processes_rank(), __LINE__, #condition);              \
            fflush(stdout);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* The number of this process; -1: it is none. */
int processes_rank(void);
/* The seed of the test that started it. */
uint64_t processes_seed(void);
/* Says that all was well, and ends the process without leaving MPI. */
void processes_done(void) __attribute__((noreturn));

/* Any division of so many processes. */
struct mesh random_mesh(struct random *random, int size);

/* In the test. Whether there is mpirun, and the module; says so if not. */
bool processes_possible(void);
/* The folder with this build's executable, and its modules. */
const char *processes_folder(char *buffer, int size);
/* Starts `ranks` processes with `mode` as their second word and `environment` ("NAME=VALUE
 * NAME=VALUE", may be ""). Returns how many said that all was well; prints what else they say. */
int processes_run(int ranks, const char *mode, const char *environment, uint64_t seed);

#endif
