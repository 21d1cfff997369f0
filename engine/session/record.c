#include "engine/session/record.h"

#include "engine/base/memory.h"

#include <stdlib.h>

void record_start_of(struct record *record, int steps, int values)
{
    record_free(record);
    record->steps = steps;
    record->values = values;
    record->entries = memory_zeroed((size_t)steps * (size_t)values, sizeof(*record->entries));
}

void record_start(struct record *record, const struct pair *pair)
{
    record_start_of(record, pair->test->steps, pair->test->program->value_count);
}

void record_free(struct record *record)
{
    free(record->entries);
    follows_free(&record->follows);
    free(record->failures);
    *record = (struct record){0};
}

static struct record_entry *entry_at(const struct record *record, int step, int value)
{
    return &record->entries[(size_t)step * (size_t)record->values + (size_t)value];
}

const struct record_entry *record_at(const struct record *record, int step, int value)
{
    return entry_at(record, step, value);
}

const struct record_failure *record_failure_of(const struct record *record,
                                               const struct record_entry *entry)
{
    return entry->failure > 0 ? &record->failures[entry->failure - 1] : NULL;
}

/* The last failure takes the place of one that is gone. */
static void drop_failure(struct record *record, struct record_entry *entry)
{
    if (entry->failure == 0)
        return;
    struct record_failure *place = &record->failures[entry->failure - 1];
    *place = record->failures[--record->failure_count];
    entry_at(record, place->step, place->value)->failure = entry->failure;
    entry->failure = 0;
}

static void keep_failure(struct record *record, struct record_entry *entry, int step, int value,
                         const struct pair_result *result, int worst_rank)
{
    struct record_failure failure = {.step = step,
                                     .value = value,
                                     .metrics = result->metrics,
                                     .verdict = result->verdict,
                                     .worst_rank = worst_rank};
    if (record->failure_count >= RECORD_FAILURES_MOST)
        return;
    if (result->limits)
        failure.limits = *result->limits;
    ARRAY_PUSH(record->failures, record->failure_count, record->failure_capacity, failure);
    entry->failure = record->failure_count;
}

void record_note_result(struct record *record, int step, int value,
                        const struct pair_result *result, int worst_rank)
{
    struct record_entry *entry = entry_at(record, step, value);
    int64_t elements = result->metrics.count;
    double scale = result->metrics.rms_reference;
    double error = result->metrics.rms_difference;
    record->compared += !entry->compared;
    record->elements += elements - entry->elements;
    record->failed += (result->verdict.failures != 0) - (entry->compared && entry->failed);
    drop_failure(record, entry);
    *entry = (struct record_entry){.compared = true,
                                   .failed = result->verdict.failures != 0,
                                   .elements = elements,
                                   .worst = (float)result->verdict.worst,
                                   .error = (float)(scale > 0 ? error / scale : error)};
    if (entry->failed)
        keep_failure(record, entry, step, value, result, worst_rank);
}

static void note_results(struct record *record, const struct pair *pair,
                         const struct pair_event *event)
{
    for (int i = 0; i < event->compared_count; i++)
        record_note_result(record, event->step, event->compared[i],
                           &pair->results[event->compared[i]], 0);
}

void record_note(struct record *record, struct pair *pair, const struct pair_event *event)
{
    note_results(record, pair, event);
    follow_note(&record->follows, pair, event);
}

void record_judge_again(struct record *record, struct pair *pair, int value)
{
    struct pair_event event = {.step = pair->test->step, .compared = {value}};
    event.compared_count = pair->results[value].compared;
    note_results(record, pair, &event);
    follow_note_value(&record->follows, pair, value);
}

static void forget_entry(struct record *record, struct record_entry *entry)
{
    record->compared--;
    record->failed -= entry->failed;
    record->elements -= entry->elements;
    drop_failure(record, entry);
    *entry = (struct record_entry){0};
}

void record_forget_steps(struct record *record, int step)
{
    for (int s = step; s < record->steps; s++)
        for (int v = 0; v < record->values; v++)
            if (entry_at(record, s, v)->compared)
                forget_entry(record, entry_at(record, s, v));
}

void record_forget(struct record *record, const struct pair *pair, int step, int instruction)
{
    const struct program *program = pair->test->program;
    follow_forget(&record->follows, program, step, instruction);
    for (int s = step; s < record->steps; s++)
        for (int v = 0; v < record->values; v++) {
            struct record_entry *entry = entry_at(record, s, v);
            if (entry->compared && (s > step || program->values[v].producer >= instruction))
                forget_entry(record, entry);
        }
}

bool record_first_failure(const struct record *record, const struct program *program, int *step,
                          int *value)
{
    for (int s = 0; record->failed > 0 && s < record->steps; s++)
        for (int i = 0; i < program->instruction_count; i++)
            for (int k = 0; k < program->instructions[i].output_count; k++) {
                int output = program->instructions[i].outputs[k];
                if (!entry_at(record, s, output)->failed)
                    continue;
                *step = s;
                *value = output;
                return true;
            }
    return false;
}
