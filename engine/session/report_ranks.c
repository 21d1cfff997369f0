#include "engine/session/report.h"

#include "engine/base/memory.h"
#include "engine/session/motion.h"
#include "engine/session/output.h"
#include "engine/session/ranks.h"
#include "engine/session/ranks_motion.h"
#include "engine/tensor/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAST_LINES = 20 };

/* ---- tensors ---- */

/* Programs of ranks differ: the order of tensors is that of the reference's program, and where that
 * has none of the name, the share of the rank's own program. */
struct ordered {
    double share;
    int tensor;
};

static double share_of(const struct team *team, int index)
{
    const struct team_tensor *tensor = &team->tensors[index];
    int rank = team_first_rank(tensor);
    const struct pair *pair = team->pairs[rank];
    const struct program *program = pair->reference_program;
    int value = program ? pair->reference_value[tensor->values[rank]] : -1;
    if (value < 0) {
        program = pair->test->program;
        value = tensor->values[rank];
    }
    return (double)program->values[value].producer / program->instruction_count;
}

static int compare_order(const void *a, const void *b)
{
    const struct ordered *one = a, *other = b;
    if (one->share != other->share)
        return one->share < other->share ? -1 : 1;
    return one->tensor - other->tensor;
}

static const struct record *record_of(const struct debugger *debugger, int rank)
{
    return rank == debugger->rank ? &debugger->record : &debugger->seats[rank].record;
}

static const struct record_entry *entry_of(const struct debugger *debugger, int step,
                                           const struct team_tensor *tensor, int rank)
{
    return record_at(record_of(debugger, rank), step, tensor->values[rank]);
}

static bool owns_part(const struct team_tensor *tensor, int rank)
{
    return tensor->values[rank] >= 0 && tensor->same_as[rank] == rank;
}

static void measure_whole(const struct debugger *debugger, int step, int index,
                          struct page_row *row)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[index];
    struct pair_result now = {.compared = team->step == step && tensor->compared,
                              .metrics = tensor->metrics,
                              .verdict = tensor->verdict,
                              .limits = tensor->limits};
    report_measure(row, &debugger->whole, record_at(&debugger->whole, step, index), &now);
}

/* Where the run stands some ranks have computed their part and others have not: the worst of what
 * is there. How many elements were compared in all of it; -1 if nothing is there. */
static int64_t measure_parts(const struct debugger *debugger, int step, int index,
                             struct page_row *row)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[index];
    const struct record_entry *worst = NULL;
    int64_t elements = 0;
    int rank = 0, known = 0;
    for (int other = 0; other < team->world->size; other++) {
        if (!owns_part(tensor, other) || !entry_of(debugger, step, tensor, other)->compared)
            continue;
        const struct record_entry *entry = entry_of(debugger, step, tensor, other);
        known++;
        elements += entry->elements;
        if (worst && (worst->failed > entry->failed || worst->worst >= entry->worst))
            continue;
        worst = entry;
        rank = other;
    }
    if (!worst)
        return -1;
    const struct pair *pair = team->pairs[rank];
    report_measure(row, record_of(debugger, rank), worst,
                   pair->entered_step == step ? &pair->results[tensor->values[rank]] : NULL);
    row->worst_rank = rank + 1;
    row->missing = tensor->parts - known;
    return elements;
}

/* Whether there is anything to say of it. */
static bool add_row(struct page *page, const struct debugger *debugger, int step, int index)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[index];
    const struct record_entry *entry = record_at(&debugger->whole, step, index);
    const struct value *value =
        team_value(team, team_first_rank(tensor), tensor->values[team_first_rank(tensor)]);
    char number[32];
    struct page_row row = {.name = (char *)(uintptr_t)tensor->name,
                           .position = value->producer,
                           .sized = true,
                           .dtype = value->dtype,
                           .shape = tensor->global,
                           .parts = tensor->parts};
    int64_t elements = entry->elements;
    if (entry->compared)
        measure_whole(debugger, step, index, &row);
    else
        elements = measure_parts(debugger, step, index, &row);
    if (elements < 0)
        return false;
    row.step = page_step(page, report_step(step, number));
    page->elements += elements;
    page->elements_whole += shape_elements(tensor->global);
    page_add_row(page, &row);
    return true;
}

void report_ranks_rows(struct page *page, const struct debugger *debugger, int **tensors)
{
    const struct team *team = debugger->target->team;
    struct ordered *order = memory_zeroed((size_t)team->tensor_count, sizeof(*order));
    int count = 0, capacity = 0;
    for (int i = 0; i < team->tensor_count; i++)
        order[i] = (struct ordered){share_of(team, i), i};
    qsort(order, (size_t)team->tensor_count, sizeof(*order), compare_order);
    for (int step = 0; step < debugger->whole.steps; step++)
        for (int i = 0; i < team->tensor_count; i++)
            if (add_row(page, debugger, step, order[i].tensor))
                ARRAY_PUSH(*tensors, count, capacity, order[i].tensor);
    free(order);
}

/* ---- looking into them ---- */

static char *producer_text(const struct team *team, const struct team_tensor *tensor, int rank)
{
    const struct program *program = team->pairs[rank]->test->program;
    int producer = team_value(team, rank, tensor->values[rank])->producer;
    char text[600];
    return producer < 0
               ? NULL
               : memory_format("rank %d: %s", rank,
                               program_instruction_text(program, producer, text, sizeof(text)));
}

static void add_view(struct page *page, int row, const struct pair_sides *sides, char *producer)
{
    page_add_view(page, row, &sides->reference, &sides->test, sides->scale, 1, producer);
    free(producer);
}

static bool is_whole(const struct pair_sides *sides, int missing)
{
    return missing == 0 && sides->has_reference &&
           shape_equal(sides->test.shape, sides->reference.shape);
}

static bool look_into_part(struct page *page, const struct team *team, int row,
                           const struct team_tensor *tensor)
{
    int rank = page->rows[row].worst_rank - 1;
    const struct value *value = team_value(team, rank, tensor->values[rank]);
    struct pair_sides sides = {0};
    struct status status = STATUS_NONE;
    bool good = pair_view(team->pairs[rank], value->id, &sides, &status) && is_whole(&sides, 0);
    if (good) {
        add_view(page, row, &sides, producer_text(team, tensor, rank));
        struct page_view *view = &page->views[page->view_count - 1];
        for (int i = 0; i < view->worst_count && value->shard.global.rank > 0; i++)
            view->worst[i].index = shard_global_flat(&value->shard, view->worst[i].index);
    }
    pair_sides_free(&sides);
    return good;
}

bool report_ranks_look_into(struct page *page, struct debugger *debugger, int row, int index)
{
    struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[index];
    int missing = 0, rank = tensor->worst_rank >= 0 ? tensor->worst_rank : team_first_rank(tensor);
    struct pair_sides sides = {0};
    struct status status = STATUS_NONE;
    if (page->rows[row].missing > 0)
        return look_into_part(page, team, row, tensor);
    bool good = team_view(team, index, &sides, &missing, &status) && is_whole(&sides, missing);
    if (good)
        add_view(page, row, &sides, producer_text(team, tensor, rank));
    pair_sides_free(&sides);
    return good;
}

/* ---- where it happened ---- */

/* Lets a rank come to where its part is computed, if it has not been there. */
static bool bring(struct debugger *debugger, const struct team_tensor *tensor, int step, int rank,
                  bool *arrived, struct status *status)
{
    const struct team *team = debugger->target->team;
    if (team->step == step && tensor->arrived[rank] &&
        executor_holds(team->pairs[rank]->test->executor, tensor->values[rank]))
        return true;
    ranks_select(debugger, rank);
    int64_t position = (int64_t)step * debugger_program(debugger)->instruction_count +
                       team_value(team, rank, tensor->values[rank])->producer + 1;
    return motion_go_to(debugger, position, arrived, status);
}

static bool go_there(struct debugger *debugger, int index, int step, bool *arrived,
                     struct status *status)
{
    const struct team *team = debugger->target->team;
    const struct team_tensor *tensor = &team->tensors[index];
    bool good = true;
    for (int rank = 0; good && *arrived && rank < team->world->size; rank++)
        if (owns_part(tensor, rank))
            good = bring(debugger, tensor, step, rank, arrived, status);
    return good;
}

bool report_ranks_visit(struct page *page, struct debugger *debugger, int row, int tensor,
                        struct status *status)
{
    int step = atoi(page->steps[page->rows[row].step]) - 1;
    int selected = debugger->rank, last_value = debugger->last_value;
    int64_t here = debugger_position(debugger);
    bool arrived = true, back = true;
    if (page->rows[row].position < 0 || ranks_lost(debugger) >= 0)
        return true;
    bool good = go_there(debugger, tensor, step, &arrived, status);
    if (good && arrived)
        report_ranks_look_into(page, debugger, row, tensor);
    ranks_select(debugger, selected);
    debugger->last_value = last_value;
    if (!good || !motion_go_to(debugger, here, &back, status))
        return false;
    return (arrived && back) ||
           status_fail(status, STATUS_CANCELLED, "interrupted: no report was written");
}

/* ---- the ranks ---- */

static char *name_of(const struct program *program, int value)
{
    char name[600];
    return memory_string(program_value_text(program, value, name, sizeof(name)));
}

/* What of the rank's own parts was compared. */
static void fill_rank(struct page_rank *rank, const struct record *record,
                      const struct program *program)
{
    int step, value, worst = -1;
    rank->compared = record->compared;
    rank->failed = record->failed;
    rank->worst = NAN;
    for (int i = 0; i < record->steps * record->values; i++) {
        const struct record_entry *entry = &record->entries[i];
        if (!entry->compared || isnan(entry->worst) ||
            (worst >= 0 && (double)entry->worst <= rank->worst))
            continue;
        worst = i % record->values;
        rank->worst = (double)entry->worst;
    }
    if (worst >= 0 && rank->worst > 0)
        rank->worst_name = name_of(program, worst);
    if (record_first_failure(record, program, &step, &value))
        rank->first_name = name_of(program, value);
}

void report_ranks_table(struct page *page, const struct debugger *debugger)
{
    const struct team *team = debugger->target->team;
    struct ranks_picture *picture = picture_of_ranks(debugger);
    page->rank_count = picture->rank_count;
    page->ranks = memory_zeroed((size_t)page->rank_count, sizeof(*page->ranks));
    for (int i = 0; i < page->rank_count; i++) {
        struct text state = {0}, output = {0};
        fill_rank(&page->ranks[i], record_of(debugger, i), team->pairs[i]->test->program);
        rank_picture_describe(&picture->ranks[i], &state);
        page->ranks[i].state = text_take(&state);
        page->ranks[i].memory = picture->ranks[i].memory_total;
        if (ranks_last_lines(debugger, i, LAST_LINES, "", &output))
            page->ranks[i].output = text_take(&output);
    }
    ranks_picture_free(picture);
}
