/* Listening and connecting: AF_UNIX in a folder of its own, or TCP. */
#include "engine/ranks/channel.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static bool fail(struct listener *listener, struct status *status, const char *what)
{
    status_fail(status, STATUS_IO, "no socket for ranks: %s: %s", what, strerror(errno));
    listener_close(listener);
    return false;
}

bool listener_open_local(struct listener *listener, struct status *status)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *base = getenv("TMPDIR");
    *listener = (struct listener){.fd = -1};
    if (!base || !*base || strlen(base) > 60) /* the name of a socket has 107 characters at most */
        base = "/tmp";
    snprintf(listener->folder, sizeof(listener->folder), "%s/lockstep-XXXXXX", base);
    if (!mkdtemp(listener->folder)) {
        char folder[sizeof(listener->folder)];
        memcpy(folder, listener->folder, sizeof(folder));
        listener->folder[0] = '\0';
        return fail(listener, status, folder);
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/ranks", listener->folder);
    snprintf(listener->address, sizeof(listener->address), "unix:%s", address.sun_path);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener->fd, BACKLOG) != 0)
        return fail(listener, status, address.sun_path);
    return true;
}

/* The first address of a host and port; free with freeaddrinfo. */
static struct addrinfo *resolve(const char *host, const char *port, bool listens,
                                struct status *status)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = listens ? AI_PASSIVE : 0};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        status_fail(status, STATUS_IO, "%s: %s", host, gai_strerror(code));
    return code == 0 ? found : NULL;
}

static int port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

bool listener_open_remote(struct listener *listener, const char *host, struct status *status)
{
    *listener = (struct listener){.fd = -1};
    struct addrinfo *found = resolve(host, "0", true, status);
    if (!found)
        return false;
    listener->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = listener->fd >= 0 && bind(listener->fd, found->ai_addr, found->ai_addrlen) == 0 &&
              listen(listener->fd, BACKLOG) == 0;
    freeaddrinfo(found);
    if (!ok)
        return fail(listener, status, host);
    snprintf(listener->address, sizeof(listener->address), "tcp:%.200s:%d", host,
             port_of(listener->fd));
    return true;
}

int listener_accept(struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC), yes = 1;
    if (fd >= 0 && !listener->folder[0]) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    }
    return fd;
}

void listener_close(struct listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->folder[0]) {
        char path[sizeof(listener->folder) + 16];
        snprintf(path, sizeof(path), "%s/ranks", listener->folder);
        unlink(path);
        rmdir(listener->folder);
    }
    listener->fd = -1;
    listener->folder[0] = '\0';
}

static int connect_local(const char *path, struct status *status)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_remote(const char *address, struct status *status)
{
    char host[256];
    snprintf(host, sizeof(host), "%s", address);
    char *colon = strrchr(host, ':');
    if (!colon) {
        status_fail(status, STATUS_INVALID, "\"%s\" is no HOST:PORT", address);
        return -1;
    }
    *colon = '\0';
    int fd = -1, yes = 1;
    struct addrinfo *found = resolve(host, colon + 1, false, status);
    for (struct addrinfo *one = found; one && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            status_fail(status, STATUS_IO, "%s: %s", address, strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    if (found)
        freeaddrinfo(found);
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    }
    return fd;
}

int channel_connect(const char *address, struct status *status)
{
    if (strncmp(address, "unix:", 5) == 0)
        return connect_local(address + 5, status);
    if (strncmp(address, "tcp:", 4) == 0)
        return connect_remote(address + 4, status);
    status_fail(status, STATUS_INVALID, "\"%s\" is no address of an engine", address);
    return -1;
}
