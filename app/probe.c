#include "app/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the process that is given up: the status, as it is, through the pipe. */
static void try_device(const char *name, const struct device_options *options, int pipe)
{
    struct status status = STATUS_NONE;
    struct device *device = device_open(name, options, &status);
    ssize_t written = write(pipe, &status, sizeof(status));
    device_close(device);
    _exit(written != sizeof(status));
}

static bool read_all(int descriptor, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = read(descriptor, bytes + done, size - done);
        if (count == 0 || (count < 0 && errno != EINTR))
            return false;
        done += count > 0 ? (size_t)count : 0;
    }
    return true;
}

bool probe_device(const char *name, const struct device_options *options, struct status *status)
{
    int ends[2], how;
    struct status answer = STATUS_NONE;
    if (pipe(ends) != 0)
        return status_fail(status, STATUS_IO, "no pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        status_fail(status, STATUS_IO, "no process to try the device: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    if (pid == 0) {
        close(ends[0]);
        try_device(name, options, ends[1]);
    }
    close(ends[1]);
    bool told = read_all(ends[0], (char *)&answer, sizeof(answer));
    close(ends[0]);
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (!told)
        return status_fail(status, STATUS_INTERNAL, "the %s device died when it was opened", name);
    *status = answer;
    return answer.code == STATUS_OK;
}
