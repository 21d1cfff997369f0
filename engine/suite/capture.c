#include "engine/suite/capture.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/base/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STREAMS = 2,
    REPLAY_LINES = 20,
    REPLAY_BYTES = 8192, /* of a stream: a rank that prints without end must not fill reports */
    HEADER_WIDTH = 80,
    LINE_BYTES = 4096 /* longer lines are shown in pieces */
};

static const char *const stream_names[STREAMS] = {"stdout", "stderr"};

struct captured {
    FILE *file;         /* NULL: none yet, or it cannot be written */
    int64_t bytes;      /* printed in all */
    struct text recent; /* the last of them, at most twice REPLAY_BYTES */
    struct text line;   /* shown directly: what has come of a line */
};

struct capture {
    struct capture_options options;
    char *made;           /* the folder of results that was made, or NULL */
    char *model, *folder; /* of the current test; NULL: there is none */
    char *variant;
    struct captured *streams; /* [ranks][STREAMS] */
    char *problem;            /* "PATH: why" of the first file that could not be written */
};

struct capture *capture_create(const struct capture_options *options)
{
    struct capture *capture = memory_zeroed(1, sizeof(*capture));
    capture->options = *options;
    capture->streams = memory_zeroed((size_t)options->ranks * STREAMS, sizeof(*capture->streams));
    return capture;
}

static struct captured *stream_of(const struct capture *capture, int rank, int stream)
{
    return &capture->streams[rank * STREAMS + stream];
}

/* ---- files ---- */

static bool make_folders(const char *path)
{
    char *copy = memory_string(path);
    bool ok = true;
    for (char *slash = copy + 1; ok && (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
        *slash = '/';
    }
    ok = ok && (mkdir(copy, 0777) == 0 || errno == EEXIST);
    free(copy);
    return ok;
}

/* By errno. */
static void note_problem(struct capture *capture, const char *path)
{
    if (!capture->problem)
        capture->problem = memory_format("%s: %s", path, strerror(errno));
}

/* The folder of the current test, made when it is first needed; NULL when it cannot be made. */
static const char *test_folder(struct capture *capture)
{
    const char *results = capture->options.results ? capture->options.results : capture->made;
    const char *temporary = getenv("TMPDIR");
    if (capture->folder || capture->problem)
        return capture->folder;
    if (!results) {
        capture->made =
            memory_format("%s/lockstep-test-XXXXXX", temporary && *temporary ? temporary : "/tmp");
        if (!mkdtemp(capture->made)) {
            note_problem(capture, capture->made);
            free(capture->made);
            capture->made = NULL;
            return NULL;
        }
        results = capture->made;
    }
    char *folder = memory_format("%s/models/%s/%s", results, capture->model, capture->variant);
    if (make_folders(folder)) {
        capture->folder = folder;
    } else {
        note_problem(capture, folder);
        free(folder);
    }
    return capture->folder;
}

/* Of a file of the current test; NULL: there is no folder for it. */
static char *path_of(struct capture *capture, const char *what, int rank)
{
    const char *folder = test_folder(capture);
    if (!folder)
        return NULL;
    return rank >= 0 ? memory_format("%s/pytest_%s_%d", folder, what, rank)
                     : memory_format("%s/pytest_%s", folder, what);
}

static FILE *open_file(struct capture *capture, const char *what, int rank)
{
    char *path = path_of(capture, what, rank);
    FILE *file = path ? fopen(path, "we") : NULL;
    if (path && !file)
        note_problem(capture, path);
    free(path);
    return file;
}

void capture_note(struct capture *capture, const char *what, int rank, const char *text)
{
    struct status status = STATUS_NONE;
    bool wanted = capture->options.results && !capture->options.direct && capture->model;
    char *path = wanted ? path_of(capture, what, rank) : NULL;
    if (path && !file_write(path, text, strlen(text), FILE_REPLACE, &status) && !capture->problem)
        capture->problem = memory_string(status.text);
    free(path);
}

/* ---- a test ---- */

bool capture_begin(struct capture *capture, const char *model, const char *variant, int ranks,
                   struct status *status)
{
    capture_end(capture);
    capture->model = memory_string(model);
    capture->variant = memory_string(variant);
    free(capture->problem);
    capture->problem = NULL;
    for (int i = 0; i < capture->options.ranks * STREAMS; i++) {
        capture->streams[i].bytes = 0;
        text_clear(&capture->streams[i].recent);
    }
    if (!capture->options.results || capture->options.direct)
        return true;
    for (int rank = 0; rank < ranks && rank < capture->options.ranks; rank++)
        for (int stream = 0; stream < STREAMS; stream++)
            stream_of(capture, rank, stream)->file = open_file(capture, stream_names[stream], rank);
    return !capture->problem || status_fail(status, STATUS_IO, "%s", capture->problem);
}

static void show_line(struct captured *captured, int rank, int stream)
{
    FILE *to = stream ? stderr : stdout;
    fprintf(to, "[rank %d] %s\n", rank, captured->line.data);
    fflush(to);
    text_clear(&captured->line);
}

/* Whole lines only: those of several ranks must not be mixed. */
static void show(struct captured *captured, int rank, int stream, const char *bytes, size_t length)
{
    while (length > 0) {
        const char *end = memchr(bytes, '\n', length);
        size_t part = end ? (size_t)(end - bytes) : length;
        text_add_part(&captured->line, bytes, part);
        if (end || captured->line.length >= LINE_BYTES)
            show_line(captured, rank, stream);
        part += end ? 1 : 0;
        bytes += part;
        length -= part;
    }
}

/* What could not be written is told, once. */
static void close_file(struct capture *capture, int rank, int stream)
{
    struct captured *captured = stream_of(capture, rank, stream);
    FILE *file = captured->file;
    captured->file = NULL;
    bool good = file && !ferror(file);
    int error = errno;
    if (!file || (fclose(file) == 0 && good))
        return;
    char *path = path_of(capture, stream_names[stream], rank);
    errno = good ? errno : error;
    note_problem(capture, path ? path : stream_names[stream]);
    free(path);
}

const char *capture_problem(struct capture *capture)
{
    for (int i = 0; i < capture->options.ranks * STREAMS; i++)
        if (capture->streams[i].file && fflush(capture->streams[i].file) != 0)
            close_file(capture, i / STREAMS, i % STREAMS);
    return capture->options.results ? capture->problem : NULL;
}

static void keep_recent(struct text *recent, const char *bytes, size_t length)
{
    if (length > REPLAY_BYTES) {
        bytes += length - REPLAY_BYTES;
        length = REPLAY_BYTES;
    }
    text_add_part(recent, bytes, length);
    if (recent->length <= (size_t)2 * REPLAY_BYTES)
        return;
    struct text shorter = {0};
    text_add_part(&shorter, recent->data + recent->length - REPLAY_BYTES, REPLAY_BYTES);
    text_free(recent);
    *recent = shorter;
}

void capture_take(void *context, int rank, int stream, const char *bytes, size_t length,
                  int64_t nanoseconds)
{
    struct capture *capture = context;
    (void)nanoseconds;
    if (rank < 0 || rank >= capture->options.ranks || length == 0)
        return;
    struct captured *captured = stream_of(capture, rank, stream);
    captured->bytes += (int64_t)length;
    if (capture->options.direct) {
        show(captured, rank, stream, bytes, length);
        return;
    }
    if (!capture->model)
        return; /* between tests */
    keep_recent(&captured->recent, bytes, length);
    if (!captured->file && !capture->problem)
        captured->file = open_file(capture, stream_names[stream], rank);
    if (captured->file && fwrite(bytes, 1, length, captured->file) < length)
        close_file(capture, rank, stream);
}

int64_t capture_printed(const struct capture *capture, int rank, int stream)
{
    return rank < capture->options.ranks ? stream_of(capture, rank, stream)->bytes : 0;
}

/* ---- replay ---- */

static void add_header(struct text *text, const char *title)
{
    char bar[HEADER_WIDTH + 1];
    int room = HEADER_WIDTH - (int)strlen(title) - 2, left = room / 2;
    memset(bar, '-', HEADER_WIDTH);
    bar[HEADER_WIDTH] = '\0';
    text_format(text, "%.*s %s %.*s\n", left, bar, title, room - left, bar);
}

/* The last lines; escapes for terminals do not work any more. */
static void add_end(struct text *text, const struct text *recent)
{
    size_t end = recent->length, first;
    int lines = 0;
    while (end > 0 && recent->data[end - 1] == '\n')
        end--;
    for (first = end; first > 0 && end - first < REPLAY_BYTES; first--)
        if (recent->data[first - 1] == '\n' && ++lines == REPLAY_LINES)
            break;
    while (first < end) {
        const char *line_end = memchr(recent->data + first, '\n', end - first);
        size_t length = line_end ? (size_t)(line_end - recent->data) - first : end - first;
        unicode_add_printable(text, recent->data + first, length);
        text_add(text, "\n");
        first += length + 1;
    }
}

char *capture_replay(const struct capture *capture)
{
    struct text text = {0};
    char title[64];
    if (capture->options.direct)
        return NULL;
    for (int i = 0; i < capture->options.ranks * STREAMS; i++) {
        const struct text *recent = &capture->streams[i].recent;
        if (recent->length == 0)
            continue;
        snprintf(title, sizeof(title), "%s rank %d", stream_names[i % STREAMS], i / STREAMS);
        add_header(&text, title);
        add_end(&text, recent);
    }
    if (text.length > 0 && capture->folder)
        text_format(&text, "all of it: %s/pytest_{stdout,stderr}_RANK\n", capture->folder);
    if (text.length > 0 && capture->problem)
        text_format(&text, "not all of it could be written: %s\n", capture->problem);
    if (text.length > 0)
        return text_take(&text);
    text_free(&text);
    return NULL;
}

void capture_end(struct capture *capture)
{
    for (int i = 0; i < capture->options.ranks * STREAMS; i++) {
        if (capture->streams[i].line.length > 0)
            show_line(&capture->streams[i], i / STREAMS, i % STREAMS);
        close_file(capture, i / STREAMS, i % STREAMS);
    }
    free(capture->model);
    free(capture->variant);
    free(capture->folder);
    capture->model = capture->variant = capture->folder = NULL;
}

void capture_free(struct capture *capture)
{
    if (!capture)
        return;
    capture_end(capture);
    for (int i = 0; i < capture->options.ranks * STREAMS; i++) {
        text_free(&capture->streams[i].recent);
        text_free(&capture->streams[i].line);
    }
    free(capture->streams);
    free(capture->problem);
    free(capture->made);
    free(capture);
}
