/* Reading what others have sent: nothing of it is taken on trust. */
#include "engine/ranks/protocol.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 1 << 16, MOST_WORKERS = 1 << 16 };

struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static struct reader reader_of(const void *body, size_t length)
{
    return (struct reader){body, length, false};
}

/* Whether everything was there and nothing is left. */
static bool reader_ends(const struct reader *reader)
{
    return !reader->bad && reader->left == 0;
}

static const unsigned char *take(struct reader *reader, size_t bytes)
{
    const unsigned char *at = reader->at;
    if (reader->bad || bytes > reader->left) {
        reader->bad = true;
        return NULL;
    }
    reader->at += bytes;
    reader->left -= bytes;
    return at;
}

static uint64_t get(struct reader *reader, int bytes)
{
    const unsigned char *at = take(reader, (size_t)bytes);
    uint64_t number = 0;
    for (int i = 0; at && i < bytes; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

/* An integer of low..high. */
static int get_int(struct reader *reader, int low, int high)
{
    int number = (int)(uint32_t)get(reader, 4);
    if (number < low || number > high)
        reader->bad = true;
    return reader->bad ? low : number;
}

static char *get_text(struct reader *reader, size_t most)
{
    size_t length = (size_t)get(reader, 4);
    if (length > most)
        reader->bad = true;
    const unsigned char *at = take(reader, length);
    if (at && length && memchr(at, 0, length)) /* `at` may be NULL only for a bad reader */
        reader->bad = true;
    return reader->bad ? NULL : memory_string_part((const char *)at, length);
}

static void get_buffer(struct reader *reader, char *buffer, size_t size)
{
    char *string = get_text(reader, size - 1);
    snprintf(buffer, size, "%s", string ? string : "");
    free(string);
}

static char **get_words(struct reader *reader, int *count)
{
    int number = get_int(reader, 0, PROTOCOL_MOST_WORDS);
    char **words = memory_zeroed((size_t)number, sizeof(*words));
    *count = 0;
    for (int i = 0; i < number && !reader->bad; i++)
        if ((words[i] = get_text(reader, MOST_TEXT)))
            (*count)++;
    return words;
}

static void get_descriptor(struct reader *reader, struct comm_descriptor *what)
{
    what->op = (enum op)get_int(reader, 0, OP_COUNT - 1);
    what->group = (enum comm_group)get_int(reader, 0, COMM_GROUP_COUNT - 1);
    what->dtype = (enum dtype)get_int(reader, 0, DTYPE_COUNT - 1);
    what->average = get_int(reader, 0, 1);
    what->peer = get_int(reader, -1, MESH_MAX_RANKS - 1);
    what->elements = (int64_t)get(reader, 8);
    what->place = (uint32_t)get(reader, 4);
}

bool frame_parse(const unsigned char header[PROTOCOL_HEADER], size_t most, enum frame_kind *kind,
                 size_t *length)
{
    struct reader reader = reader_of(header, PROTOCOL_HEADER);
    *length = (size_t)get(&reader, 4);
    *kind = (enum frame_kind)get_int(&reader, FRAME_HELLO, FRAME_KIND_COUNT - 1);
    return !reader.bad && *length <= most;
}

bool hello_read(const void *body, size_t length, struct hello *hello)
{
    struct reader reader = reader_of(body, length);
    *hello = (struct hello){.rank = -1};
    if (get(&reader, 4) != PROTOCOL_MAGIC || get(&reader, 4) != PROTOCOL_VERSION)
        return false;
    get_buffer(&reader, hello->token, sizeof(hello->token));
    hello->role = (enum hello_role)get_int(&reader, 0, ROLE_COUNT - 1);
    hello->rank = get_int(&reader, 0, MESH_MAX_RANKS - 1);
    hello->launched = get_int(&reader, 0, INT32_MAX);
    hello->pid = (int64_t)get(&reader, 8);
    get_buffer(&reader, hello->host, sizeof(hello->host));
    return reader_ends(&reader) && hello->pid > 0 && hello->pid <= INT32_MAX;
}

bool welcome_read(const void *body, size_t length, struct welcome *welcome)
{
    struct reader reader = reader_of(body, length);
    welcome->size = get_int(&reader, 1, MESH_MAX_RANKS);
    welcome->shared = get_int(&reader, 0, 1);
    return reader_ends(&reader);
}

static void get_setup(struct reader *reader, struct setup *setup)
{
    setup->epoch = (uint32_t)get(reader, 4);
    setup->generation = (uint32_t)get(reader, 4);
    setup->world = get_int(reader, 1, MESH_MAX_RANKS);
    setup->name = get_text(reader, MOST_TEXT);
    setup->folder = get_text(reader, MOST_TEXT);
    setup->fault = get_text(reader, MOST_TEXT);
    setup->device = get_text(reader, 64);
    setup->directories = get_words(reader, &setup->directory_count);
    setup->overrides = get_words(reader, &setup->override_count);
    setup->plan = get_int(reader, 0, 1);
    setup->threads = get_int(reader, 0, 1024);
    setup->worker = get_int(reader, 0, MOST_WORKERS - 1);
    setup->collectives = get_int(reader, 0, COLLECTIVES_COUNT - 1);
    setup->limit = get_int(reader, 0, INT32_MAX);
    setup->shares_memory = get_int(reader, 0, 1);
    setup->config_hash = get(reader, 8);
    setup->mesh.tensors = get_int(reader, 1, MESH_MAX_RANKS);
    setup->mesh.sequence_datas = get_int(reader, 1, MESH_MAX_RANKS);
    setup->mesh.datas = get_int(reader, 1, MESH_MAX_RANKS);
    setup->mesh.pipelines = get_int(reader, 1, MESH_MAX_RANKS);
    setup->mesh.tied = get(reader, 8);
}

bool setup_read(const void *body, size_t length, struct setup *setup)
{
    struct reader reader = reader_of(body, length);
    *setup = (struct setup){0};
    get_setup(&reader, setup);
    const struct mesh *mesh = &setup->mesh;
    /* divided rather than multiplied: four large numbers would not fit */
    bool fits = !reader.bad && mesh->datas % mesh->sequence_datas == 0 &&
                setup->world / mesh->tensors / mesh->datas >= mesh->pipelines &&
                mesh_size(mesh) == setup->world;
    if (fits && reader_ends(&reader))
        return true;
    setup_free(setup);
    return false;
}

static void free_words(char **words, int count)
{
    for (int i = 0; i < count; i++)
        free(words[i]);
    free(words);
}

void setup_free(struct setup *setup)
{
    free(setup->name);
    free(setup->folder);
    free(setup->fault);
    free(setup->device);
    free_words(setup->directories, setup->directory_count);
    free_words(setup->overrides, setup->override_count);
    *setup = (struct setup){0};
}

static void get_arenas(struct reader *reader, struct arenas *arenas)
{
    arenas->count = get_int(reader, 0, PROTOCOL_ARENAS);
    for (int i = 0; i < PROTOCOL_ARENAS; i++)
        arenas->bytes[i] = get(reader, 8);
}

bool arenas_read(const void *body, size_t length, struct arenas *arenas)
{
    struct reader reader = reader_of(body, length);
    get_arenas(&reader, arenas);
    return reader_ends(&reader);
}

bool ready_read(const void *body, size_t length, struct ready *ready)
{
    struct reader reader = reader_of(body, length);
    ready->program_hash = get(&reader, 8);
    ready->epoch = (uint32_t)get(&reader, 4);
    ready->instructions = (uint32_t)get(&reader, 4);
    get_arenas(&reader, &ready->arenas);
    get_buffer(&reader, ready->carrier, sizeof(ready->carrier));
    return reader_ends(&reader);
}

bool order_read(const void *body, size_t length, struct order *order)
{
    struct reader reader = reader_of(body, length);
    order->command = get(&reader, 8);
    order->generation = (uint32_t)get(&reader, 4);
    order->cancelled = (uint32_t)get(&reader, 4);
    order->step = (uint32_t)get(&reader, 4);
    order->number = (uint32_t)get(&reader, 4);
    return reader_ends(&reader);
}

bool update_read(const void *body, size_t length, int size, struct update *update)
{
    struct reader reader = reader_of(body, length);
    struct comm_record *record = &update->record;
    update->rank = get_int(&reader, 0, size - 1);
    update->group = get_int(&reader, -1, COMM_GROUP_COUNT - 1);
    update->waiting_group = get_int(&reader, -1, COMM_GROUP_COUNT - 1);
    update->position = get(&reader, 8);
    update->meeting_sequence = get(&reader, 8);
    update->waiting_since = get(&reader, 8);
    update->busy = get(&reader, 8);
    update->state = (uint32_t)get_int(&reader, BOARD_STARTING, BOARD_FAILED);
    update->seen = (uint32_t)get(&reader, 4);
    get_descriptor(&reader, &update->meeting);
    record->sequence = get(&reader, 8);
    get_descriptor(&reader, &record->what);
    record->step = get_int(&reader, 0, INT32_MAX);
    record->instruction = get_int(&reader, 0, INT32_MAX);
    record->entered = (int64_t)get(&reader, 8);
    record->left = (int64_t)get(&reader, 8);
    return reader_ends(&reader);
}

bool extent_read(const void *body, size_t length, struct extent *extent, const void **data)
{
    struct reader reader = reader_of(body, length);
    extent->arena = (uint32_t)get_int(&reader, 0, PROTOCOL_ARENAS - 1);
    extent->offset = get(&reader, 8);
    extent->bytes = get(&reader, 8);
    *data = reader.at;
    return !reader.bad && extent->bytes <= PROTOCOL_CHUNK &&
           (reader.left == 0 || reader.left == extent->bytes);
}

bool question_read(const void *body, size_t length, struct question *question)
{
    struct reader reader = reader_of(body, length);
    question->value = get_int(&reader, 0, INT32_MAX);
    question->sampling.step = (int64_t)get(&reader, 8);
    question->sampling.count = (int64_t)get(&reader, 8);
    bool small = question->sampling.step >= 0 && question->sampling.count >= 0 &&
                 question->sampling.count <= PROTOCOL_SAMPLES &&
                 question->sampling.step <= INT64_MAX / PROTOCOL_SAMPLES;
    return reader_ends(&reader) && small;
}

bool hash_read(const void *body, size_t length, uint64_t *hash)
{
    struct reader reader = reader_of(body, length);
    *hash = get(&reader, 8);
    return reader_ends(&reader);
}

bool statistics_read(const void *body, size_t length, struct device_statistics *statistics)
{
    struct reader reader = reader_of(body, length);
    uint64_t numbers[STATISTICS_BYTES / 8];
    for (int i = 0; i < ARRAY_LENGTH(numbers); i++)
        numbers[i] = get(&reader, 8);
    memcpy(statistics, numbers, sizeof(numbers));
    return !reader.bad;
}

bool number_read(const void *body, size_t length, uint32_t *number)
{
    struct reader reader = reader_of(body, length);
    *number = (uint32_t)get(&reader, 4);
    return reader_ends(&reader);
}

bool failure_read(const void *body, size_t length, struct failure *failure)
{
    struct reader reader = reader_of(body, length);
    failure->epoch = (uint32_t)get(&reader, 4);
    failure->broken = get_int(&reader, 0, 1);
    get_buffer(&reader, failure->reason, sizeof(failure->reason));
    return reader_ends(&reader);
}
