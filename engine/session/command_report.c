/* report: the comparison of the run as one HTML page. */
#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/report/page.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/motion.h"
#include "engine/session/pictures.h"
#include "engine/session/ranks_motion.h"
#include "engine/session/report.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what ran ---- */

/* The command that opens the same again. */
static char *command_of(const struct debugger *debugger)
{
    const struct target *target = debugger->target;
    struct rank_launch_words launch;
    struct status ignored = STATUS_NONE;
    int64_t limit;
    struct text command = {0};
    text_add(&command, "lockstep debug");
    page_shell_option(&command, "", target->name);
    page_shell_option(&command, "--against", target->reference_name);
    if (target->fault)
        page_shell_option(&command, "--fault", target->fault);
    for (int i = 0; i < debugger->directories.count; i++)
        page_shell_option(&command, "--config-dir", debugger->directories.names[i]);
    for (int i = 0; i < debugger->target_overrides; i++)
        page_shell_option(&command, "--set", debugger->overrides[i]);
    page_shell_option(&command, "--device", device_name(debugger->device));
    if (debugger->threads > 0)
        text_format(&command, " --threads %d", debugger->threads);
    if (device_memory_limit(&limit, &ignored) && limit > 0)
        text_format(&command, " --gpu-memory-limit %" PRId64, limit);
    rank_launch_words(&debugger->launch, &launch);
    for (int i = 0; target->team && i < launch.count; i++)
        page_shell_option(&command, "", launch.words[i]);
    text_add(&command, " -ex run");
    return text_take(&command);
}

static void add_facts(struct page *page, const struct debugger *debugger)
{
    const struct target *target = debugger->target;
    const struct pair *pair = target->pair;
    int step, next;
    page_fact(page, "configuration", "%016" PRIx64, target->test->hash);
    if (target->reference)
        page_fact(page, "reference's configuration", "%016" PRIx64, target->reference->hash);
    page_fact(page, "program", "%016" PRIx64 ", %d instructions in each of %d steps",
              program_hash(pair->test->program), pair->test->program->instruction_count,
              pair->test->steps);
    if (target->fault)
        page_fact(page, "fault", "%s", target->fault);
    if (target->tolerances)
        page_fact(page, "tolerances", "%s x %g", target->tolerances->name,
                  target->variant->compare_factor * target->test->compare_factor);
    page_fact(page, "device", "%s", device_name(debugger->device));
    page_fact(page, "seed", "%" PRIu64, (uint64_t)target->test->distributed.seed);
    if (target->team) {
        page_fact(page, "ranks", "%d, %s", target->team->world->size,
                  debugger->pool ? "each in a process" : "in one process");
        page_fact(page, "selected rank", "%d", debugger->rank);
    }
    debugger_place(debugger, &step, &next);
    page_fact(page, "stands at", "step %d of %d, instruction %d", step + 1, pair->test->steps,
              next);
    for (int i = 0; i < pair->graft_count; i++) {
        char name[256];
        page_note(
            page, "The reference's tensor was put into the run in step %d: %s",
            pair->grafts[i].step + 1,
            program_value_text(pair->test->program, pair->grafts[i].value, name, sizeof(name)));
    }
}

/* ---- what was compared ---- */

static enum page_status status_of(const struct record_entry *entry, const struct page_row *row)
{
    if (row->measured ? (row->verdict.failures & FAILURE_NOT_FINITE) != 0
                      : entry->failed && isnan(entry->error))
        return PAGE_NOT_FINITE;
    if (entry->failed)
        return PAGE_DIVERGED;
    bool same = row->measured ? metrics_same(&row->metrics) : entry->worst == 0;
    return same ? PAGE_SAME : PAGE_WITHIN;
}

void report_measure(struct page_row *row, const struct record *record,
                    const struct record_entry *entry, const struct pair_result *now)
{
    const struct record_failure *failure = record_failure_of(record, entry);
    row->measured = (now && now->compared) || failure;
    if (now && now->compared) {
        row->metrics = now->metrics;
        row->verdict = now->verdict;
        if (now->limits)
            row->limits = *now->limits;
    } else if (failure) {
        row->metrics = failure->metrics;
        row->verdict = failure->verdict;
        row->limits = failure->limits;
    }
    row->worst_rank = failure ? failure->worst_rank : 0;
    row->error = row->measured ? row->verdict.rms_relative : (double)entry->error;
    row->of_limit = row->measured ? row->verdict.worst : (double)entry->worst;
    row->status = status_of(entry, row);
}

const char *report_step(int step, char buffer[32])
{
    snprintf(buffer, 32, "%d", step + 1);
    return buffer;
}

static void add_row(struct page *page, const struct debugger *debugger, int step, int value)
{
    const struct program *program = debugger_program(debugger);
    const struct record_entry *entry = record_at(&debugger->record, step, value);
    char name[600], number[32];
    if (!entry->compared)
        return;
    program_value_text(program, value, name, sizeof(name));
    struct page_row row = {.step = page_step(page, report_step(step, number)),
                           .name = name,
                           .position = program->values[value].producer,
                           .sized = true,
                           .dtype = program->values[value].dtype,
                           .shape = program->values[value].shape};
    const struct pair *pair = debugger->target->pair;
    report_measure(&row, &debugger->record, entry,
                   pair->entered_step == step ? &pair->results[value] : NULL);
    page->elements += entry->elements;
    page->elements_whole += shape_elements(program->values[value].shape);
    page_add_row(page, &row);
}

/* `values` gets the value of each row. */
static void add_rows(struct page *page, const struct debugger *debugger, int **values)
{
    const struct program *program = debugger_program(debugger);
    int capacity = 0;
    for (int s = 0; s < debugger->record.steps; s++)
        for (int i = 0; i < program->instruction_count; i++)
            for (int k = 0; k < program->instructions[i].output_count; k++) {
                int value = program->instructions[i].outputs[k], count = page->row_count;
                add_row(page, debugger, s, value);
                if (page->row_count > count)
                    ARRAY_PUSH(*values, count, capacity, value);
            }
}

/* ---- tensors that are looked into ---- */

static bool look_into(struct page *page, struct debugger *debugger, int row, int value)
{
    struct pair *pair = debugger->target->pair;
    const struct program *program = debugger_program(debugger);
    struct pair_sides sides = {0};
    struct status status = STATUS_NONE;
    char text[600];
    bool good = pair_view(pair, value, &sides, &status) && sides.has_reference &&
                shape_equal(sides.test.shape, sides.reference.shape);
    if (good) {
        struct trace_tensor recorded = {0};
        if (pair->trace_step)
            trace_find(pair->trace_step, page->rows[row].name, &recorded);
        int64_t stride = recorded.sampling_step > 0 ? recorded.sampling_step : 1;
        int producer = program->values[value].producer;
        const char *made =
            producer >= 0 ? program_instruction_text(program, producer, text, sizeof(text)) : NULL;
        page_add_view(page, row, &sides.reference, &sides.test, sides.scale, stride, made);
    }
    pair_sides_free(&sides);
    return good;
}

/* The first divergence where it happened, perhaps in a step before; then back to where we were. */
static bool visit_first(struct page *page, struct debugger *debugger, int value,
                        struct status *status)
{
    const struct program *program = debugger_program(debugger);
    const struct page_row *row = &page->rows[page->first];
    int64_t here = debugger_position(debugger);
    int step = -1, first = -1;
    bool arrived = true;
    record_first_failure(&debugger->record, program, &step, &first);
    int64_t there =
        (int64_t)step * program->instruction_count + program->values[value].producer + 1;
    if (first != value || row->position < 0)
        return true;
    if (!motion_go_to(debugger, there, &arrived, status))
        return false;
    if (arrived)
        look_into(page, debugger, page->first, value);
    bool stopped = !arrived;
    if (!motion_go_to(debugger, here, &arrived, status))
        return false;
    return !stopped || status_fail(status, STATUS_CANCELLED, "interrupted: no report was written");
}

static bool add_views(struct page *page, struct debugger *debugger, const int *values,
                      struct status *status)
{
    const struct pair *pair = debugger->target->pair;
    char now[32];
    int rows[PAGE_VIEWS];
    int count = page_choose(page, rows);
    report_step(pair->entered_step, now);
    bool seen = false;
    for (int i = 0; i < count; i++) {
        bool at_hand = strcmp(page->steps[page->rows[rows[i]].step], now) == 0;
        bool looked = at_hand && (debugger->target->team ? report_ranks_look_into : look_into)(
                                     page, debugger, rows[i], values[rows[i]]);
        seen = seen || (looked && rows[i] == page->first);
    }
    if (seen || page->first < 0)
        return true;
    return debugger->target->team
               ? report_ranks_visit(page, debugger, page->first, values[page->first], status)
               : visit_first(page, debugger, values[page->first], status);
}

/* ---- steps and memory ---- */

static void add_reports(struct page *page, const struct pair *pair)
{
    page->report_count = pair->test->reported;
    page->reports = memory_zeroed((size_t)page->report_count, sizeof(*page->reports));
    for (int i = 0; i < page->report_count; i++) {
        struct page_report *to = &page->reports[i];
        for (int side = 0; side < 2; side++) {
            const struct run *run = side ? pair->reference : pair->test;
            bool known = run && i < run->reported;
            to->loss[side] = known ? run->reports[i].loss : NAN;
            to->gradient_norm[side] = known ? run->reports[i].gradient_norm : NAN;
            to->learning_rate[side] = known ? run->reports[i].learning_rate : NAN;
            to->loss_scale[side] = known ? run->reports[i].loss_scale : NAN;
        }
    }
}

static void add_memory(struct page *page, const struct pair *pair)
{
    struct memory_picture *picture = picture_of_memory(pair, -1);
    struct page_memory *memory = &page->memory;
    size_t count = (size_t)picture->point_count;
    memory->point_count = picture->point_count;
    memory->peak = picture->peak;
    memory->points = memory_zeroed(count, sizeof(*memory->points));
    memory->classes = memory_zeroed(count, sizeof(*memory->classes));
    memcpy(memory->points, picture->points, count * sizeof(*memory->points));
    memcpy(memory->classes, picture->classes, count * sizeof(*memory->classes));
    memcpy(memory->at_peak, picture->at_peak, sizeof(memory->at_peak));
    memory_picture_free(picture);
}

/* ---- the command ---- */

static char *title_of(const struct target *target)
{
    return memory_format("%s%s%s against %s", target->name, target->fault ? " with fault " : "",
                         target->fault ? target->fault : "", target->reference_name);
}

static struct page *make_page(struct debugger *debugger, struct status *status)
{
    const struct target *target = debugger->target;
    char *title = title_of(target);
    struct page *page = page_create(title, target->name, target->reference_name);
    int *values = NULL;
    page->command = command_of(debugger);
    add_facts(page, debugger);
    (target->team ? report_ranks_rows : add_rows)(page, debugger, &values);
    add_reports(page, target->pair);
    add_memory(page, target->pair);
    if (target->team)
        report_ranks_table(page, debugger);
    bool good = add_views(page, debugger, values, status);
    free(values);
    free(title);
    if (good)
        return page;
    page_free(page);
    return NULL;
}

static char *standard_name(const struct target *target)
{
    char *path = memory_format("lockstep-%s.html", target->name);
    for (char *c = path; *c; c++)
        if (*c == '/' || isspace((unsigned char)*c))
            *c = '-';
    return path;
}

bool command_report(struct debugger *debugger, const char *arguments, struct status *status)
{
    bool replace = arguments[0] == '!';
    arguments += replace ? 1 + strspn(arguments + 1, " \t") : 0;
    char *path = arguments[0] ? argument_path(arguments) : standard_name(debugger->target);
    struct text text = {0};
    bool good = replace || access(path, F_OK) != 0; /* told before the work, not after it */
    if (!good)
        status_fail(status, STATUS_EXISTS, "%s exists already: 'report! %s' replaces it", path,
                    path);
    struct page *page = good ? make_page(debugger, status) : NULL;
    good = page != NULL;
    if (good) {
        page_write(page, &text);
        good = file_write(path, text.data, text.length, replace ? FILE_REPLACE : FILE_KEEP, status);
    }
    if (good)
        say(debugger, "%s: %d of %d compared tensors diverged\n", path, page->failed,
            page->compared);
    page_free(page);
    text_free(&text);
    free(path);
    return good;
}
