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

bool listener_open_local(struct listener *listener, const char *folder, struct status *status)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *listener = (struct listener){.fd = -1};
    int needed = snprintf(address.sun_path, sizeof(address.sun_path), "%s/ranks", folder);
    if (needed >= (int)sizeof(address.sun_path))
        return status_fail(status, STATUS_IO, "no socket for ranks: %s: its name is too long",
                           folder);
    snprintf(listener->address, sizeof(listener->address), "unix:%s", address.sun_path);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener->fd, BACKLOG) != 0)
        return fail(listener, status, address.sun_path);
    snprintf(listener->path, sizeof(listener->path), "%s", address.sun_path);
    return true;
}

/* The addresses of a host and port; free with freeaddrinfo. An IPv6 address may be in brackets. */
static struct addrinfo *resolve(const char *host, const char *port, bool listens,
                                struct status *status)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = listens ? AI_PASSIVE : 0};
    struct addrinfo *found = NULL;
    char bare[LISTENER_ADDRESS];
    size_t length = strlen(host);
    bool brackets = length >= 2 && host[0] == '[' && host[length - 1] == ']';
    snprintf(bare, sizeof(bare), "%.*s", (int)(length - (brackets ? 2 : 0)), host + brackets);
    int code = getaddrinfo(bare, port, &hints, &found);
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
    for (struct addrinfo *one = found; one && listener->fd < 0; one = one->ai_next) {
        listener->fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (listener->fd < 0 || (bind(listener->fd, one->ai_addr, one->ai_addrlen) == 0 &&
                                 listen(listener->fd, BACKLOG) == 0))
            continue;
        int error = errno;
        close(listener->fd);
        listener->fd = -1;
        errno = error;
    }
    freeaddrinfo(found);
    if (listener->fd < 0)
        return status_fail(status, STATUS_IO,
                           "ranks cannot connect to %s, as this host cannot listen there: %s", host,
                           strerror(errno));
    bool brackets = strchr(host, ':') && host[0] != '[';
    snprintf(listener->address, sizeof(listener->address), "tcp:%s%.200s%s:%d", brackets ? "[" : "",
             host, brackets ? "]" : "", port_of(listener->fd));
    return true;
}

/* ---- which of this host's addresses ---- */

/* The address from which packets to `host` would go out. False if there is none, or if `host` is
 * that address: it is this host. */
static bool route_to(const char *host, char *buffer, size_t size)
{
    struct sockaddr_storage own;
    char theirs[NI_MAXHOST] = "";
    bool found = false;
    struct addrinfo *addresses = resolve(host, "9", false, NULL); /* any port: nothing is sent */
    for (struct addrinfo *one = addresses; one && !found; one = one->ai_next) {
        int fd = socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        socklen_t length = sizeof(own);
        found = fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) == 0 &&
                getsockname(fd, (struct sockaddr *)&own, &length) == 0 &&
                getnameinfo((struct sockaddr *)&own, length, buffer, (socklen_t)size, NULL, 0,
                            NI_NUMERICHOST) == 0 &&
                getnameinfo(one->ai_addr, one->ai_addrlen, theirs, sizeof(theirs), NULL, 0,
                            NI_NUMERICHOST) == 0 &&
                strcmp(buffer, theirs) != 0;
        if (fd >= 0)
            close(fd);
    }
    if (addresses)
        freeaddrinfo(addresses);
    return found;
}

/* Hosts are the first words of lines, "user@node1 slots=4"; # begins a comment. */
static bool route_to_any(FILE *hosts, char *buffer, size_t size)
{
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (!found && getline(&line, &capacity, hosts) > 0) {
        char *word = line + strspn(line, " \t"), *at = NULL;
        word[strcspn(word, " \t\r\n#")] = '\0';
        if ((at = strchr(word, '@')))
            word = at + 1;
        found = *word && route_to(word, buffer, size);
    }
    free(line);
    return found;
}

const char *listener_towards(const char *hostfile, char *buffer, size_t size)
{
    FILE *hosts = hostfile ? fopen(hostfile, "re") : NULL;
    bool found = hosts && route_to_any(hosts, buffer, size);
    if (hosts)
        fclose(hosts);
    if (!found && gethostname(buffer, size) != 0)
        snprintf(buffer, size, "localhost");
    buffer[size - 1] = '\0';
    return buffer;
}

/* Small messages leave at once; and a host that cannot be reached any more is noticed on both
 * sides, also where nobody sends anything: a guardian there ends its rank. */
static void tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 10}, {IPPROTO_TCP, TCP_KEEPINTVL, 5},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof(options[i].value));
}

int listener_accept(struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0 && !listener->path[0]) {
        tune(fd);
    }
    return fd;
}

void listener_close(struct listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->path[0])
        unlink(listener->path);
    listener->fd = -1;
    listener->path[0] = '\0';
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
    int fd = -1;
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
        tune(fd);
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
