#include "app/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int share_of_cores(const struct worker_context *context)
{
    int asked = context->environment->threads;
    int cores = asked > 0 ? asked : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return cores > context->workers ? cores / context->workers : 1;
}

static void serve(const struct worker_context *context, int number, int socket)
{
    struct environment environment = *context->environment;
    environment.threads = share_of_cores(context);
    environment.gpu = number;
    signal(SIGINT, SIG_IGN); /* the parent decides what Ctrl-C means */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    worker_serve(socket, &environment, context->list);
}

bool worker_start(void *context, int number, struct worker_process *worker, struct status *status)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return status_fail(status, STATUS_IO, "no socket for a worker: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(sockets[0]);
        close(sockets[1]);
        return status_fail(status, STATUS_IO, "no worker process: %s", strerror(errno));
    }
    if (pid == 0) {
        close(sockets[0]);
        serve(context, number, sockets[1]);
        _exit(0);
    }
    close(sockets[1]);
    *worker = (struct worker_process){pid, sockets[0]};
    return true;
}
