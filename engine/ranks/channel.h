/* A connection of the engine with one of its processes: frames over a stream socket (AF_UNIX on
 * this machine, else TCP), and descriptors beside them. Closed on exec; never raises SIGPIPE. One
 * thread. Internal to engine/ranks. */
#ifndef ENGINE_RANKS_CHANNEL_H
#define ENGINE_RANKS_CHANNEL_H

#include "engine/ranks/protocol.h"

enum { CHANNEL_DESCRIPTORS = 8 };

struct channel {
    int fd;      /* -1: closed */
    size_t most; /* longest body that is accepted; 0: PROTOCOL_MOST_HELLO */
    char *in;    /* bytes that came and were not yet taken */
    size_t in_first, in_end, in_capacity;
    int descriptors[CHANNEL_DESCRIPTORS]; /* that came, in order */
    int descriptor_count;
};

/* A body lies in the channel until the next call. */
struct frame {
    enum frame_kind kind;
    const char *body;
    size_t length;
};

enum channel_result {
    CHANNEL_NOTHING = 0, /* no whole frame is there */
    CHANNEL_FRAME,
    CHANNEL_CLOSED, /* by the other side, between frames or within one */
    CHANNEL_WRONG,  /* what came is no frame of ours */
};

/* Sends a frame, waiting up to `seconds` for the other side to take it; with descriptors, which
 * stay the caller's. Fails with STATUS_IO, with STATUS_CANCELLED when that took too long. */
bool channel_send(struct channel *channel, enum frame_kind kind, const struct text *body,
                  const int *descriptors, int count, double seconds, struct status *status);
/* Takes the next frame. Does not wait; with `blocking`, waits for ever. */
enum channel_result channel_next(struct channel *channel, bool blocking, struct frame *frame);
/* Takes the oldest descriptor that came; -1: none did. */
int channel_descriptor(struct channel *channel);
/* Whether there is something to read within so many milliseconds. */
bool channel_wait(const struct channel *channel, int milliseconds);
void channel_close(struct channel *channel);

/* ---- making connections ---- */

enum { LISTENER_ADDRESS = 256 };

/* Where the engine listens. */
struct listener {
    int fd;
    /* what others connect to: "unix:/tmp/x/ranks", "tcp:node1:4711", "tcp:[fe80::1]:4711" */
    char address[LISTENER_ADDRESS];
    char path[108]; /* of an AF_UNIX socket, removed when it is closed; "": none */
};

/* Listens for processes of this machine, in a folder that only this user can enter; its path has 90
 * characters at most. */
bool listener_open_local(struct listener *listener, const char *folder, struct status *status);
/* Listens on a port of this host's address ("10.0.0.1", "node1", "::1", "[::1]"), and of no other
 * one. */
bool listener_open_remote(struct listener *listener, const char *host, struct status *status);
/* The address from which this host reaches the first other host of mpirun's hostfile (NULL: not
 * known): nothing is sent to find out. This host's name when there is none. Returns `buffer`. */
const char *listener_towards(const char *hostfile, char *buffer, size_t size);
/* Takes a connection; -1: there is none. */
int listener_accept(struct listener *listener);
/* Removes the socket's name: nobody can connect any more. */
void listener_close(struct listener *listener);

/* Connects to an address of a listener; -1 on failure. */
int channel_connect(const char *address, struct status *status);

#endif
