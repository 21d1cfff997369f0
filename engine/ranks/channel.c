#include "engine/ranks/channel.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_AHEAD = 1 << 16 };

static bool wait_writable(int fd, double seconds)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    int result;
    do
        result = poll(&poller, 1, (int)(seconds * 1000));
    while (result < 0 && errno == EINTR);
    return result > 0;
}

static void attach(struct msghdr *message, char *space, size_t room, const int *descriptors,
                   int count)
{
    memset(space, 0, room);
    message->msg_control = space;
    message->msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, (size_t)count * sizeof(int));
}

bool channel_send(struct channel *channel, enum frame_kind kind, const struct text *body,
                  const int *descriptors, int count, double seconds, struct status *status)
{
    unsigned char header[PROTOCOL_HEADER];
    size_t length = body ? body->length : 0, sent = 0;
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(CHANNEL_DESCRIPTORS * sizeof(int))];
    frame_header(header, kind, length);
    while (sent < sizeof(header) + length) {
        struct iovec parts[2];
        struct msghdr message = {.msg_iov = parts};
        if (sent < sizeof(header))
            parts[message.msg_iovlen++] = (struct iovec){header + sent, sizeof(header) - sent};
        size_t done = sent > sizeof(header) ? sent - sizeof(header) : 0;
        if (length > done)
            parts[message.msg_iovlen++] = (struct iovec){body->data + done, length - done};
        if (sent == 0 && count > 0)
            attach(&message, space, sizeof(space), descriptors, count);
        ssize_t bytes = sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (bytes >= 0)
            sent += (size_t)bytes;
        else if (errno == EAGAIN && !wait_writable(channel->fd, seconds))
            return status_fail(status, STATUS_CANCELLED, "it does not take what is sent to it");
        else if (errno != EAGAIN && errno != EINTR)
            return status_fail(status, STATUS_IO, "%s", strerror(errno));
    }
    return true;
}

static void keep_descriptors(struct channel *channel, struct msghdr *message)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
            if (channel->descriptor_count < CHANNEL_DESCRIPTORS)
                channel->descriptors[channel->descriptor_count++] = fd;
            else
                close(fd);
        }
    }
}

static void make_room(struct channel *channel, size_t bytes)
{
    if (channel->in_first > 0) {
        memmove(channel->in, channel->in + channel->in_first, channel->in_end - channel->in_first);
        channel->in_end -= channel->in_first;
        channel->in_first = 0;
    }
    if (channel->in_capacity - channel->in_end < bytes) {
        channel->in_capacity = channel->in_end + bytes;
        channel->in = memory_resize(channel->in, channel->in_capacity, 1);
    }
}

/* A frame that is wholly there, or what is wrong with the one that begins. */
static enum channel_result take_frame(struct channel *channel, struct frame *frame, size_t *needed)
{
    size_t there = channel->in_end - channel->in_first;
    *needed = READ_AHEAD;
    if (there < PROTOCOL_HEADER)
        return CHANNEL_NOTHING;
    const char *at = channel->in + channel->in_first;
    size_t most = channel->most ? channel->most : PROTOCOL_MOST_HELLO;
    if (!frame_parse((const unsigned char *)at, most, &frame->kind, &frame->length))
        return CHANNEL_WRONG;
    if (there < PROTOCOL_HEADER + frame->length) {
        size_t missing = PROTOCOL_HEADER + frame->length - there;
        *needed = missing > READ_AHEAD ? missing : READ_AHEAD;
        return CHANNEL_NOTHING;
    }
    frame->body = at + PROTOCOL_HEADER;
    channel->in_first += PROTOCOL_HEADER + frame->length;
    return CHANNEL_FRAME;
}

enum channel_result channel_next(struct channel *channel, bool blocking, struct frame *frame)
{
    for (;;) {
        size_t needed;
        if (channel->fd < 0)
            return CHANNEL_CLOSED;
        enum channel_result result = take_frame(channel, frame, &needed);
        if (result != CHANNEL_NOTHING)
            return result;
        make_room(channel, needed);
        _Alignas(struct cmsghdr) char space[CMSG_SPACE(CHANNEL_DESCRIPTORS * sizeof(int))];
        struct iovec part = {channel->in + channel->in_end, channel->in_capacity - channel->in_end};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = space,
                                 .msg_controllen = sizeof(space)};
        ssize_t bytes =
            recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | (blocking ? 0 : MSG_DONTWAIT));
        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return CHANNEL_NOTHING;
        if (bytes <= 0) /* a reset, after unread bytes of ours, is an end like any other */
            return CHANNEL_CLOSED;
        keep_descriptors(channel, &message);
        channel->in_end += (size_t)bytes;
    }
}

int channel_descriptor(struct channel *channel)
{
    if (channel->descriptor_count == 0)
        return -1;
    int first = channel->descriptors[0];
    channel->descriptor_count--;
    memmove(channel->descriptors, channel->descriptors + 1,
            (size_t)channel->descriptor_count * sizeof(int));
    return first;
}

bool channel_wait(const struct channel *channel, int milliseconds)
{
    struct pollfd poller = {.fd = channel->fd, .events = POLLIN};
    return channel->in_end - channel->in_first >= PROTOCOL_HEADER ||
           poll(&poller, 1, milliseconds) > 0;
}

void channel_close(struct channel *channel)
{
    while (channel->descriptor_count > 0)
        close(channel->descriptors[--channel->descriptor_count]);
    if (channel->fd >= 0)
        close(channel->fd);
    free(channel->in);
    *channel = (struct channel){.fd = -1};
}
