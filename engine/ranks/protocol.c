#include "engine/ranks/protocol.h"

#include "engine/base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x4b434f4c, MOST_TEXT = 1 << 16 };

/* ---- writing ---- */

static void put(struct text *body, uint64_t number, int bytes)
{
    char buffer[8];
    for (int i = 0; i < bytes; i++)
        buffer[i] = (char)(number >> (8 * i) & 0xff);
    text_add_part(body, buffer, (size_t)bytes);
}

static void put_int(struct text *body, int number)
{
    put(body, (uint32_t)number, 4);
}

static void put_text(struct text *body, const char *string)
{
    size_t length = string ? strlen(string) : 0;
    put(body, length, 4);
    text_add_part(body, string ? string : "", length);
}

static void put_words(struct text *body, char *const *words, int count)
{
    put_int(body, count);
    for (int i = 0; i < count; i++)
        put_text(body, words[i]);
}

static void put_descriptor(struct text *body, const struct comm_descriptor *what)
{
    put_int(body, (int)what->op);
    put_int(body, (int)what->group);
    put_int(body, (int)what->dtype);
    put_int(body, what->average);
    put_int(body, what->peer);
    put(body, (uint64_t)what->elements, 8);
    put(body, what->place, 4);
}

void frame_header(unsigned char header[PROTOCOL_HEADER], enum frame_kind kind, size_t length)
{
    for (int i = 0; i < 4; i++) {
        header[i] = (unsigned char)(length >> (8 * i) & 0xff);
        header[4 + i] = (unsigned char)((unsigned)kind >> (8 * i) & 0xff);
    }
}

void hello_write(struct text *body, const struct hello *hello)
{
    put(body, MAGIC, 4);
    put_int(body, PROTOCOL_VERSION);
    put_text(body, hello->token);
    put_int(body, (int)hello->role);
    put_int(body, hello->rank);
    put_int(body, hello->launched);
    put(body, (uint64_t)hello->pid, 8);
    put_text(body, hello->host);
}

void welcome_write(struct text *body, const struct welcome *welcome)
{
    put_int(body, welcome->size);
    put_int(body, welcome->shared);
}

void setup_write(struct text *body, const struct setup *setup)
{
    put(body, setup->epoch, 4);
    put(body, setup->generation, 4);
    put_int(body, setup->world);
    put_text(body, setup->name);
    put_text(body, setup->folder);
    put_text(body, setup->fault);
    put_text(body, setup->device);
    put_words(body, setup->directories, setup->directory_count);
    put_words(body, setup->overrides, setup->override_count);
    put_int(body, setup->plan);
    put_int(body, setup->threads);
    put_int(body, setup->collectives);
    put_int(body, setup->limit);
    put_int(body, setup->shares_memory);
    put(body, setup->config_hash, 8);
    put_int(body, setup->mesh.tensors);
    put_int(body, setup->mesh.sequence_datas);
    put_int(body, setup->mesh.datas);
    put_int(body, setup->mesh.pipelines);
    put(body, setup->mesh.tied, 8);
}

void arenas_write(struct text *body, const struct arenas *arenas)
{
    put_int(body, arenas->count);
    for (int i = 0; i < PROTOCOL_ARENAS; i++)
        put(body, arenas->bytes[i], 8);
}

void ready_write(struct text *body, const struct ready *ready)
{
    put(body, ready->program_hash, 8);
    put(body, ready->epoch, 4);
    put(body, ready->instructions, 4);
    arenas_write(body, &ready->arenas);
    put_text(body, ready->carrier);
}

void order_write(struct text *body, const struct order *order)
{
    put(body, order->command, 8);
    put(body, order->generation, 4);
    put(body, order->cancelled, 4);
    put(body, order->step, 4);
    put(body, order->number, 4);
}

void update_of_page(const struct board_rank *page, int rank, int group, const uint64_t *meetings,
                    struct update *update)
{
    uint64_t recorded = atomic_load(&page->recorded);
    *update = (struct update){
        .rank = rank,
        .group = group,
        .position = atomic_load(&page->position),
        .waiting_since = atomic_load(&page->waiting_since),
        .busy = atomic_load(&page->busy),
        .state = atomic_load(&page->state),
        .waiting_group = atomic_load(&page->waiting_group),
        .seen = atomic_load(&page->seen),
    };
    if (recorded > 0)
        update->record = page->records[(recorded - 1) % BOARD_RECORDS];
    if (group >= 0) {
        update->meeting_sequence = meetings[group];
        update->meeting = page->meetings[group][update->meeting_sequence & 1].what;
    }
}

void update_write(struct text *body, const struct update *update)
{
    const struct comm_record *record = &update->record;
    put_int(body, update->rank);
    put_int(body, update->group);
    put_int(body, update->waiting_group);
    put(body, update->position, 8);
    put(body, update->meeting_sequence, 8);
    put(body, update->waiting_since, 8);
    put(body, update->busy, 8);
    put(body, update->state, 4);
    put(body, update->seen, 4);
    put_descriptor(body, &update->meeting);
    put(body, record->sequence, 8);
    put_descriptor(body, &record->what);
    put_int(body, record->step);
    put_int(body, record->instruction);
    put(body, (uint64_t)record->entered, 8);
    put(body, (uint64_t)record->left, 8);
}

void extent_write(struct text *body, const struct extent *extent)
{
    put(body, extent->arena, 4);
    put(body, extent->offset, 8);
    put(body, extent->bytes, 8);
}

void question_write(struct text *body, const struct question *question)
{
    put_int(body, question->value);
    put(body, (uint64_t)question->sampling.step, 8);
    put(body, (uint64_t)question->sampling.count, 8);
}

void hash_write(struct text *body, uint64_t hash)
{
    put(body, hash, 8);
}

static_assert(sizeof(struct device_statistics) == STATISTICS_BYTES, "numbers of eight bytes each");

void statistics_write(struct text *body, const struct device_statistics *statistics)
{
    uint64_t numbers[STATISTICS_BYTES / 8];
    memcpy(numbers, statistics, sizeof(numbers));
    for (int i = 0; i < ARRAY_LENGTH(numbers); i++)
        put(body, numbers[i], 8);
}

void number_write(struct text *body, uint32_t number)
{
    put(body, number, 4);
}

void failure_write(struct text *body, const struct failure *failure)
{
    put(body, failure->epoch, 4);
    put_int(body, failure->broken);
    put_text(body, failure->reason);
}

/* ---- reading ---- */

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
    if (get(&reader, 4) != MAGIC || get(&reader, 4) != PROTOCOL_VERSION)
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
