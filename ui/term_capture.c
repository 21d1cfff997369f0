#include "ui/term_capture.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CAPTURE_LIMIT = 16 << 20, CAPTURE_KEPT = 1 << 20, CAPTURE_BYTES = 1 << 16 };

struct kept_piece {
    struct term_piece piece;
    off_t offset; /* in the memory file */
    size_t length;
};

struct term_capture {
    int saved[2]; /* the descriptors before; -1: not captured */
    int pipes[2]; /* read ends, -1: none */
    int store;    /* memory file of all that was read, in order */
    int arrived;  /* event: there is something to take */
    int stop;     /* event: the thread shall end */
    pthread_t thread;
    bool has_thread, released;
    /* What reads announces itself, and does not begin when released: a handler must not wait for a
     * lock that the thread that it interrupts may hold. */
    atomic_int reading;
    atomic_bool closing;
    pthread_mutex_t mutex; /* guards what follows, and reading */
    struct kept_piece *pieces;
    int count, capacity, taken;
    off_t size; /* of the store */
    char bytes[CAPTURE_BYTES];
};

void term_write(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* nobody is left to tell */
        bytes += written;
        length -= (size_t)written;
    }
}

/* ---- reading: the thread, and whoever takes; under the lock ---- */

/* Begins the store anew with its end. */
static void cut(struct term_capture *capture)
{
    off_t from = capture->size - CAPTURE_KEPT, to = 0;
    ssize_t length;
    while ((length = pread(capture->store, capture->bytes, CAPTURE_BYTES, from + to)) > 0 &&
           pwrite(capture->store, capture->bytes, (size_t)length, to) == length)
        to += length;
    int kept = 0;
    for (int i = capture->taken; i < capture->count; i++) {
        struct kept_piece *piece = &capture->pieces[i];
        if (piece->offset < from)
            continue; /* nobody came for it in time */
        piece->offset -= from;
        capture->pieces[kept++] = *piece;
    }
    capture->taken = 0;
    capture->count = kept;
    capture->size = to;
    if (ftruncate(capture->store, to) != 0)
        return; /* the next bytes are written over what is left there */
}

static void keep(struct term_capture *capture, int stream, size_t length)
{
    struct kept_piece piece = {.piece.descriptor = stream ? STDERR_FILENO : STDOUT_FILENO,
                               .piece.nanoseconds = clock_nanoseconds(),
                               .offset = capture->size,
                               .length = length};
    if (pwrite(capture->store, capture->bytes, length, capture->size) != (ssize_t)length)
        return; /* no memory left for it */
    capture->size += (off_t)length;
    ARRAY_PUSH(capture->pieces, capture->count, capture->capacity, piece);
    if (capture->size > CAPTURE_LIMIT)
        cut(capture);
}

/* Once around: what a pipe holds at a time is no more than one read takes. */
static bool read_pipes(struct term_capture *capture)
{
    bool any = false;
    for (int stream = 0; stream < 2; stream++) {
        ssize_t length = capture->pipes[stream] < 0
                             ? 0
                             : read(capture->pipes[stream], capture->bytes, CAPTURE_BYTES);
        if (length > 0)
            keep(capture, stream, (size_t)length);
        any = any || length > 0;
    }
    return any;
}

/* Under the lock. Whether anything came. */
static bool read_all(struct term_capture *capture)
{
    bool any = false;
    atomic_store(&capture->reading, 1);
    if (!atomic_load(&capture->closing))
        any = read_pipes(capture);
    atomic_store(&capture->reading, 0);
    return any;
}

static void *read_always(void *context)
{
    struct term_capture *capture = context;
    struct pollfd fds[] = {{.fd = capture->stop, .events = POLLIN},
                           {.fd = capture->pipes[0], .events = POLLIN},
                           {.fd = capture->pipes[1], .events = POLLIN}};
    while (!fds[0].revents && !atomic_load(&capture->closing)) {
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            break;
        pthread_mutex_lock(&capture->mutex);
        if (read_all(capture))
            eventfd_write(capture->arrived, 1);
        pthread_mutex_unlock(&capture->mutex);
        for (int i = 1; i < 3; i++)
            if (fds[i].revents & ~POLLIN && !(fds[i].revents & POLLIN))
                fds[i].fd = -1; /* nobody can write to it any more */
    }
    return NULL;
}

/* ---- taking ---- */

int term_capture_fd(const struct term_capture *capture)
{
    return capture ? capture->arrived : -1;
}

bool term_capture_take(struct term_capture *capture, struct term_piece *piece, struct text *out)
{
    eventfd_t ignored;
    if (!capture)
        return false;
    fflush(stdout); /* unfinished lines too */
    pthread_mutex_lock(&capture->mutex);
    if (capture->taken == capture->count) {
        capture->taken = capture->count = 0;
        read_all(capture);
        if (capture->count == 0)
            eventfd_read(capture->arrived, &ignored);
    }
    bool any = capture->taken < capture->count;
    if (any) {
        const struct kept_piece *kept = &capture->pieces[capture->taken++];
        char *bytes = memory_zeroed(kept->length, 1);
        ssize_t length = pread(capture->store, bytes, kept->length, kept->offset);
        *piece = kept->piece;
        text_add_part(out, bytes, length > 0 ? (size_t)length : 0);
        free(bytes);
    }
    pthread_mutex_unlock(&capture->mutex);
    return any;
}

/* ---- begin and end ---- */

static bool lead(struct term_capture *capture, int stream)
{
    int ends[2];
    if (!isatty(stream + 1))
        return true; /* the user sends it elsewhere */
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    capture->pipes[stream] = ends[0];
    capture->saved[stream] = fcntl(stream + 1, F_DUPFD_CLOEXEC, 3);
    bool good = fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 && capture->saved[stream] >= 0 &&
                dup2(ends[1], stream + 1) >= 0;
    close(ends[1]);
    return good;
}

/* A signal is for the other threads: this one would hold up what its handler waits for. */
static bool start_thread(struct term_capture *capture)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    capture->has_thread = pthread_create(&capture->thread, NULL, read_always, capture) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return capture->has_thread;
}

struct term_capture *term_capture_begin(struct status *status)
{
    /* Standard output keeps it beyond the end: it cannot be given another's. */
    static char output_buffer[BUFSIZ];
    struct term_capture *capture = memory_zeroed(1, sizeof(*capture));
    pthread_mutex_init(&capture->mutex, NULL);
    for (int i = 0; i < 2; i++)
        capture->saved[i] = capture->pipes[i] = -1;
    capture->store = memfd_create("lockstep-output", MFD_CLOEXEC);
    capture->arrived = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    capture->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fflush(stdout);
    fflush(stderr);
    /* A pipe would be buffered as a whole, and its end lost in a crash. (With a buffer of our own:
     * for NULL, glibc leaves the old one in its old mode until it is full.) */
    setvbuf(stdout, output_buffer, _IOLBF, sizeof(output_buffer));
    if (capture->store >= 0 && capture->arrived >= 0 && capture->stop >= 0 && lead(capture, 0) &&
        lead(capture, 1) && start_thread(capture))
        return capture;
    status_fail(status, STATUS_IO, "cannot redirect output: %s", strerror(errno));
    term_capture_end(capture, STDERR_FILENO, 0);
    return NULL;
}

/* Until the thread has put down what it has in hand; not for ever, if it is what fell. */
static void wait_for_reading(struct term_capture *capture)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < 100 && atomic_load(&capture->reading); i++)
        nanosleep(&moment, NULL);
}

static void print_store(struct term_capture *capture, int fd, off_t most)
{
    char bytes[4096];
    off_t size = lseek(capture->store, 0, SEEK_END);
    off_t at = size > most ? size - most : 0;
    ssize_t length;
    if (at > 0 && most > 0)
        term_write(fd, "...\n", 4);
    while (at < size && (length = pread(capture->store, bytes, sizeof(bytes), at)) > 0) {
        term_write(fd, bytes, (size_t)length);
        at += length;
    }
}

void term_capture_release(struct term_capture *capture, int fd, off_t most)
{
    char bytes[4096];
    ssize_t length;
    if (capture->released)
        return;
    capture->released = true;
    for (int i = 0; i < 2; i++)
        if (capture->saved[i] >= 0)
            dup2(capture->saved[i], i + 1);
    atomic_store(&capture->closing, true);
    wait_for_reading(capture);
    if (capture->store >= 0)
        print_store(capture, fd, most);
    for (int i = 0; i < 2 && most > 0; i++)
        while (capture->pipes[i] >= 0 &&
               (length = read(capture->pipes[i], bytes, sizeof(bytes))) > 0)
            term_write(fd, bytes, (size_t)length);
}

static void close_one(int fd)
{
    if (fd >= 0)
        close(fd);
}

void term_capture_end(struct term_capture *capture, int fd, off_t most)
{
    if (!capture)
        return;
    fflush(stdout);
    fflush(stderr);
    if (capture->has_thread) {
        eventfd_write(capture->stop, 1);
        pthread_join(capture->thread, NULL);
    }
    term_capture_release(capture, fd, most);
    for (int i = 0; i < 2; i++) {
        close_one(capture->saved[i]);
        close_one(capture->pipes[i]);
    }
    close_one(capture->store);
    close_one(capture->arrived);
    close_one(capture->stop);
    pthread_mutex_destroy(&capture->mutex);
    free(capture->pieces);
    free(capture);
}
