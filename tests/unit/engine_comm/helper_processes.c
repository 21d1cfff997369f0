#include "tests/unit/engine_comm/helper_processes.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

int processes_rank(void)
{
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    return text ? atoi(text) : -1;
}

uint64_t processes_seed(void)
{
    return strtoull(getenv("LOCKSTEP_TEST_SEED"), NULL, 10);
}

void processes_done(void)
{
    printf("rank %d ok\n", processes_rank());
    fflush(stdout);
    _exit(0); /* after a collective that was given up, MPI_Finalize would wait for ever */
}

const char *processes_folder(char *buffer, int size)
{
    snprintf(buffer, (size_t)size, "%s", LOCKSTEP_BINARY);
    *strrchr(buffer, '/') = '\0';
    return buffer;
}

bool processes_possible(void)
{
    char folder[512], module[600];
    snprintf(module, sizeof(module), "%s/lockstep_mpi.so",
             processes_folder(folder, sizeof(folder)));
    if (system("command -v mpirun >/dev/null") == 0 && access(module, R_OK) == 0)
        return true;
    print_message("no mpirun, or built without MPI: the module is not tested\n");
    return false;
}

int processes_run(int ranks, const char *mode, const char *environment, uint64_t seed)
{
    char command[2048], line[1024], folder[512];
    int found = 0;
    setenv("LOCKSTEP_MODULE_PATH", processes_folder(folder, sizeof(folder)), 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    snprintf(line, sizeof(line), "%s:detect_leaks=0",
             getenv("ASAN_OPTIONS") ? getenv("ASAN_OPTIONS") : "");
    setenv("ASAN_OPTIONS", line, 1); /* MPI itself leaks */
    snprintf(command, sizeof(command),
             "env LOCKSTEP_TEST_SEED=%llu %s timeout 120 mpirun --enable-recovery --bind-to none "
             "--oversubscribe --mca pml ob1 --mca btl self,vader -np %d /proc/%d/exe work %s 2>&1",
             (unsigned long long)seed, environment, ranks, (int)getpid(), mode);
    FILE *pipe = popen(command, "r");
    if (!pipe)
        return -1;
    while (fgets(line, sizeof(line), pipe)) {
        found += strstr(line, " ok\n") != NULL;
        if (!strstr(line, " ok\n"))
            print_message("%s", line);
    }
    pclose(pipe);
    return found;
}

struct mesh random_mesh(struct random *random, int size)
{
    struct mesh mesh = {.tensors = 1, .sequence_datas = 1, .datas = 1, .pipelines = 1};
    while (size > 1) {
        int factor = size % 2 ? size : 2;
        int where = (int)random_integer(random, 0, 3);
        size /= factor;
        mesh.tensors *= where == 0 ? factor : 1;
        mesh.datas *= where == 1 || where == 2 ? factor : 1;
        mesh.sequence_datas *= where == 2 ? factor : 1;
        mesh.pipelines *= where == 3 ? factor : 1;
    }
    mesh.tied = random_bits(random);
    return mesh;
}
