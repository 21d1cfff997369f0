/* fuzz: lockstep_engine_ranks */
/* Any bytes from a socket: refused, or understood in full, so that the same bytes come out when
 * what was understood is written again. */
#include "engine/ranks/channel.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RANKS = 8 };

/* Understands the body and writes it again; false: it was refused. */
static bool rewrite(enum frame_kind kind, const uint8_t *body, size_t size, struct text *out)
{
    struct hello hello;
    struct welcome welcome;
    struct setup setup;
    struct arenas arenas;
    struct ready ready;
    struct order order;
    struct update update;
    struct extent extent;
    struct question question;
    struct failure failure;
    uint32_t number;
    const void *data;
    switch (kind) {
    case FRAME_HELLO:
        return hello_read(body, size, &hello) && (hello_write(out, &hello), true);
    case FRAME_WELCOME:
        return welcome_read(body, size, &welcome) && (welcome_write(out, &welcome), true);
    case FRAME_EXITED:
    case FRAME_HALTED:
        return number_read(body, size, &number) && (number_write(out, number), true);
    case FRAME_SETUP:
        if (!setup_read(body, size, &setup))
            return false;
        setup_write(out, &setup);
        setup_free(&setup);
        return true;
    case FRAME_MEMORY:
        return arenas_read(body, size, &arenas) && (arenas_write(out, &arenas), true);
    case FRAME_READY:
        return ready_read(body, size, &ready) && (ready_write(out, &ready), true);
    case FRAME_RUN:
        return order_read(body, size, &order) && (order_write(out, &order), true);
    case FRAME_UPDATE:
    case FRAME_ARRIVED:
        return update_read(body, size, RANKS, &update) && (update_write(out, &update), true);
    case FRAME_READ:
    case FRAME_WRITE:
        if (!extent_read(body, size, &extent, &data))
            return false;
        extent_write(out, &extent);
        text_add_part(out, data, size - out->length);
        return true;
    case FRAME_ASK:
        return question_read(body, size, &question) && (question_write(out, &question), true);
    case FRAME_FAILED:
        return failure_read(body, size, &failure) && (failure_write(out, &failure), true);
    default:
        return false;
    }
}

static void check_body(enum frame_kind kind, const uint8_t *body, size_t size)
{
    struct text out = {0};
    if (rewrite(kind, body, size, &out) &&
        (out.length != size || (size && memcmp(out.data, body, size) != 0)))
        abort();
    text_free(&out);
}

/* The same bytes as a stream of frames. */
static void check_stream(const uint8_t *data, size_t size)
{
    int sockets[2];
    struct frame frame;
    size_t taken = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) != 0)
        return;
    ssize_t sent = size ? write(sockets[0], data, size) : 0;
    close(sockets[0]);
    struct channel channel = {.fd = sockets[1], .most = PROTOCOL_MOST_BODY};
    enum channel_result result;
    while ((result = channel_next(&channel, false, &frame)) == CHANNEL_FRAME) {
        check_body(frame.kind, (const uint8_t *)frame.body, frame.length);
        taken += PROTOCOL_HEADER + frame.length;
    }
    if (sent >= 0 && (result == CHANNEL_NOTHING || taken > (size_t)sent))
        abort();
    channel_close(&channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0)
        check_body((enum frame_kind)(data[0] % FRAME_KIND_COUNT), data + 1, size - 1);
    check_stream(data, size);
    return 0;
}
