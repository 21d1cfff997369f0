#include "engine/ranks/protocol.h"

#include "engine/base/memory.h"

#include <assert.h>
#include <string.h>

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
    put(body, PROTOCOL_MAGIC, 4);
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
    put_int(body, setup->worker);
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
