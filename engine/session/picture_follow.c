#include "engine/base/memory.h"
#include "engine/session/pictures.h"
#include "engine/session/record.h"

static void fill_follow(const struct program *program, const struct follow *follow,
                        struct picture_follow *picture)
{
    int first =
        follow->row_count > PICTURE_FOLLOW_ROWS ? follow->row_count - PICTURE_FOLLOW_ROWS : 0;
    picture->number = follow->number;
    picture->name = memory_string(follow->name);
    picture->more = follow->dropped + first;
    picture->row_count = follow->row_count - first;
    picture->rows = memory_zeroed((size_t)picture->row_count, sizeof(*picture->rows));
    for (int i = 0; i < picture->row_count; i++) {
        const struct follow_row *row = &follow->rows[first + i];
        struct picture_follow_row *to = &picture->rows[i];
        to->step = row->step;
        to->instruction = program->values[row->value].producer;
        follow_batch(program, row->value, to->batch, sizeof(to->batch));
        to->test = row->test;
        to->reference = row->reference;
        to->failed = row->failed;
    }
}

void picture_add_follows(struct tensor_picture *picture, const struct record *record,
                         const struct program *program)
{
    const struct follows *follows = &record->follows;
    picture->follow_count = follows->count;
    picture->follows = memory_zeroed((size_t)follows->count, sizeof(*picture->follows));
    for (int i = 0; i < follows->count; i++)
        fill_follow(program, &follows->list[i], &picture->follows[i]);
}
