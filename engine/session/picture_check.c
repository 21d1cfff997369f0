/* What views take for granted of a picture, whoever wrote it. */
#include "engine/session/picture_fields.h"

static bool is_index(int index, int count)
{
    return index >= -1 && index < count;
}

static bool all_indices(const int *indices, int used, int count)
{
    for (int i = 0; i < used; i++)
        if (indices[i] < 0 || indices[i] >= count)
            return false;
    return true;
}

static bool check_program(const struct program_picture *program)
{
    bool good = program->instruction_count >= 0 && program->value_count >= 0;
    for (int i = 0; good && i < program->instruction_count; i++) {
        const struct picture_instruction *in = &program->instructions[i];
        good = in->text && in->layer && in->part && in->source && in->op && in->phase >= 0 &&
               in->phase < PHASE_COUNT &&
               all_indices(in->inputs, in->input_count, program->value_count) &&
               all_indices(in->outputs, in->output_count, program->value_count);
    }
    for (int v = 0; good && v < program->value_count; v++)
        good = program->values[v].name &&
               is_index(program->values[v].producer, program->instruction_count);
    return good;
}

static bool check_state(const struct state_picture *state)
{
    bool good = is_index(state->next - 1, state->instruction_count);
    for (int i = 0; good && i < state->instruction_count; i++)
        good = state->instructions[i].status <= MARK_NAN;
    for (int r = 0; good && r < state->result_count; r++)
        good = state->results[r].status <= MARK_NAN && state->results[r].value >= 0;
    return good;
}

static bool check_tensor(const struct tensor_picture *tensor)
{
    bool named = tensor->name && (tensor->producer || !tensor->name[0]);
    bool map = !tensor->heat || (tensor->heat_rows > 0 && tensor->heat_columns > 0);
    for (int i = 0; i < tensor->follow_count; i++)
        named = named && tensor->follows[i].name;
    return named && map && tensor->rows >= 0 && tensor->columns >= 0 && tensor->bins >= 0;
}

static bool check_ranks(const struct ranks_picture *ranks)
{
    bool good = true;
    for (int i = 0; good && i < ranks->rank_count; i++)
        good = ranks->ranks[i].situation < SITUATION_COUNT;
    return good;
}

static bool check_page(const struct output_page *page)
{
    bool good = page->before >= 0 && page->before <= page->count;
    for (int i = 0; good && i < page->count; i++)
        good = page->lines[i].text && page->lines[i].stream < RANK_STREAM_COUNT;
    return good;
}

bool picture_check(const struct picture *picture, struct status *status)
{
    bool good = (!picture->program || check_program(picture->program)) &&
                (!picture->state || check_state(picture->state)) &&
                (!picture->tensor || check_tensor(picture->tensor)) &&
                (!picture->ranks || check_ranks(picture->ranks)) &&
                (!picture->output || check_page(picture->output));
    return good || status_fail(status, STATUS_INVALID, "a picture that contradicts itself");
}
