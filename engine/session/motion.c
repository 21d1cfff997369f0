#include "engine/session/motion.h"

#include "engine/session/describe.h"
#include "engine/session/ranks_motion.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_group(const struct origin *a, const struct origin *b, enum group_level level)
{
    if (a->phase != b->phase || a->micro_batch != b->micro_batch ||
        a->micro_sequence != b->micro_sequence)
        return false;
    if (level == LEVEL_PHASE)
        return true;
    return same_text(a->layer, b->layer) && (level == LEVEL_LAYER || same_text(a->part, b->part));
}

static bool in_one_group(const struct program *program, int index, enum group_level level)
{
    return same_group(&program->instructions[index].origin,
                      &program->instructions[index + 1].origin, level);
}

int64_t motion_group_end(const struct debugger *debugger, int64_t position, enum group_level level)
{
    const struct program *program = debugger_program(debugger);
    int count = program->instruction_count;
    if (position >= debugger_end(debugger))
        return debugger_end(debugger);
    int index = (int)(position % count);
    while (index + 1 < count && in_one_group(program, index, level))
        index++;
    return position / count * count + index + 1;
}

int64_t motion_group_start(const struct debugger *debugger, int64_t position,
                           enum group_level level)
{
    const struct program *program = debugger_program(debugger);
    int count = program->instruction_count;
    if (position <= 0)
        return 0;
    position--;
    int index = (int)(position % count);
    while (index > 0 && in_one_group(program, index - 1, level))
        index--;
    return position / count * count + index;
}

void stops_clear(struct stops *stops)
{
    *stops = (struct stops){.value = -1, .diverged = -1, .not_finite = -1};
}

bool stops_any(const struct stops *stops)
{
    return stops->number_count > 0 || stops->until || stops->switched || stops->diverged >= 0 ||
           stops->not_finite >= 0 || stops->interrupted || stops->ended || stops->goal;
}

static void add_number(struct stops *stops, int number)
{
    if (stops->number_count < (int)(sizeof(stops->numbers) / sizeof(stops->numbers[0])))
        stops->numbers[stops->number_count++] = number;
}

void stops_after(struct debugger *debugger, const struct pair_event *event, struct stops *stops)
{
    struct pair *pair = debugger->target->pair;
    for (int i = 0; i < debugger->breakpoints.count; i++) {
        const struct breakpoint *breakpoint = &debugger->breakpoints.list[i];
        if (breakpoint_stops_after(breakpoint, pair, event, &stops->value))
            add_number(stops, breakpoint->number);
    }
    if (debugger->stop_on_divergence)
        stops->diverged = event->failed;
    if (debugger->stop_on_not_finite)
        stops->not_finite = event->not_finite;
}

void stops_before(struct debugger *debugger, struct stops *stops)
{
    int step, next;
    debugger_place(debugger, &step, &next);
    if (next >= debugger_program(debugger)->instruction_count)
        return;
    for (int i = 0; i < debugger->breakpoints.count; i++) {
        const struct breakpoint *breakpoint = &debugger->breakpoints.list[i];
        if (breakpoint_stops_before(breakpoint, debugger->target->pair, step, next))
            add_number(stops, breakpoint->number);
    }
}

static void check_until(struct debugger *debugger, const struct motion *motion,
                        const struct pair_event *event, struct stops *stops)
{
    int step, next;
    struct pair *pair = debugger->target->pair;
    debugger_place(debugger, &step, &next);
    if (!motion->until || motion->elsewhere)
        return;
    if (breakpoint_stops_after(motion->until, pair, event, &stops->value))
        stops->until = true;
    else if (next < pair->test->program->instruction_count &&
             breakpoint_stops_before(motion->until, pair, step, next))
        stops->until = true;
}

static void show_watch(struct debugger *debugger, struct breakpoint *breakpoint, int value)
{
    struct pair *pair = debugger->target->pair;
    void *buffer = NULL;
    struct tensor view;
    struct status ignored = STATUS_NONE;
    struct statistics now;
    if (!executor_view(pair->test->executor, value, &buffer, &view, &ignored))
        return;
    bool complete = statistics_compute(debugger_interrupt(debugger), &view, &now);
    free(buffer);
    if (!complete)
        return;
    if (breakpoint->has_last)
        describe_statistics(debugger, "old", &breakpoint->last);
    describe_statistics(debugger, "new", &now);
    if (breakpoint->has_last && breakpoint->last.hash == now.hash)
        say(debugger, "    the same bytes as before\n");
    breakpoint->last = now;
    breakpoint->has_last = true;
}

void stops_tell(struct debugger *debugger, const struct breakpoint *breakpoint, char *text,
                int size)
{
    breakpoint_text(breakpoint, text, size);
    text[0] = (char)(text[0] - 'a' + 'A');
    say(debugger, "%s\n", text);
    hit_commands_note(debugger, breakpoint);
}

/* Says what each breakpoint saw; counts the hits; removes the temporary ones. */
static void show_breakpoints(struct debugger *debugger, const struct stops *stops,
                             struct text *reason)
{
    char text[400];
    for (int i = 0; i < stops->number_count; i++) {
        struct breakpoint *breakpoint = breakpoints_find(&debugger->breakpoints, stops->numbers[i]);
        breakpoint->hits++;
        stops_tell(debugger, breakpoint, text, sizeof(text));
        if (reason->length == 0)
            text_add(reason, text);
        if (breakpoint->watch && stops->value >= 0)
            show_watch(debugger, breakpoint, stops->value);
        if (breakpoint->temporary)
            breakpoints_remove(&debugger->breakpoints, stops->numbers[i]);
    }
}

static void show_header(struct debugger *debugger, int step, int instruction)
{
    char place[512];
    const struct program *program = debugger_program(debugger);
    say(debugger, "%s\n",
        origin_text(&program->instructions[instruction].origin, step, place, sizeof(place)));
}

void motion_show_place(struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    int step, next;
    debugger_place(debugger, &step, &next);
    if (next >= run->program->instruction_count) {
        say(debugger, "=> end of the run\n");
        return;
    }
    show_header(debugger, step, next);
    describe_instruction(debugger, next, LISTED_NEXT);
}

/* The instruction that just ran, and the tensor that made the run stop there. */
static void show_written(struct debugger *debugger, const struct pair_event *event, int value)
{
    show_header(debugger, event->step, event->instruction);
    describe_instruction(debugger, event->instruction, LISTED_DONE);
    describe_value_line(debugger, value);
}

static void show_end_of_step(struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    if (run_next(run) < run->program->instruction_count || run->reported <= run->step)
        return;
    struct step_report whole; /* each rank knows its share of the loss */
    const struct team *team = debugger->target->team;
    const struct step_report *report =
        team && world_report(team->world, run->step, &whole) ? &whole : &run->reports[run->step];
    say(debugger, "step %d finished: loss %.6g, gradient norm %.4g%s\n", report->step, report->loss,
        report->gradient_norm, report->skipped ? ", update skipped (overflow)" : "");
}

static void show_end_of_run(struct debugger *debugger)
{
    const struct record *record = &debugger->record;
    char tensors[32], elements[32];
    int step, value;
    text_thousands(record->compared, tensors);
    text_thousands(record->elements, elements);
    if (record->compared == 0) {
        say(debugger, "Run finished; nothing was compared.\n");
    } else if (!record_first_failure(record, debugger_program(debugger), &step, &value)) {
        say(debugger, "Run finished: no divergence in %s tensors, %s elements.\n", tensors,
            elements);
    } else {
        char name[256];
        const struct program *program = debugger_program(debugger);
        say(debugger, "Run finished: %d of %s tensors diverged, first %s (step %d, %d).\n",
            record->failed, tensors, program_value_text(program, value, name, sizeof(name)),
            step + 1, program->values[value].producer);
        say(debugger, "next: goto %d:%d, blame, info divergences\n", step + 1,
            program->values[value].producer);
    }
}

static const char *first_reason(const struct stops *stops, bool must_wait)
{
    return stops->diverged >= 0     ? "divergence"
           : stops->not_finite >= 0 ? "NaN or infinity"
           : stops->interrupted     ? (must_wait ? "waits for other ranks" : "interrupted")
           : stops->ended           ? "the run has ended"
           : stops->until           ? "place reached"
                                    : "step done";
}

static void show_stop(struct debugger *debugger, const struct stops *stops,
                      const struct pair_event *event)
{
    struct text reason = {0};
    int value = stops->diverged >= 0     ? stops->diverged
                : stops->not_finite >= 0 ? stops->not_finite
                                         : stops->value;
    show_end_of_step(debugger);
    bool silent = hit_commands_are_silent(debugger, stops);
    size_t said = debugger->output.length;
    show_breakpoints(debugger, stops, &reason);
    if (stops->interrupted && !debugger->must_wait)
        say(debugger, "Interrupted.\n");
    if (value >= 0) {
        debugger->last_value = value;
        show_written(debugger, event, value);
    }
    if (stops->ended)
        show_end_of_run(debugger);
    else if (value >= 0 &&
             run_next(debugger->target->pair->test) < debugger_program(debugger)->instruction_count)
        describe_instruction(debugger, run_next(debugger->target->pair->test), LISTED_NEXT);
    else
        motion_show_place(debugger);
    display_all(debugger);
    if (stops->diverged >= 0 && target_is_alone(debugger->target))
        say(debugger, "next: rank N, print, list, backtrace, continue\n");
    else if (stops->diverged >= 0)
        say(debugger, "next: blame, diff, check, backtrace, graft, continue\n");
    else if (stops->not_finite >= 0)
        say(debugger, "next: backtrace, stats, check, reverse-step\n");
    if (reason.length == 0 || stops->diverged >= 0 || stops->not_finite >= 0) {
        text_clear(&reason);
        text_add(&reason, first_reason(stops, debugger->must_wait));
    }
    debugger->list_next = -1;
    if (silent)
        text_cut(&debugger->output, said);
    debugger_flush(debugger);
    debugger_set_state(debugger, stops->ended ? RUN_ENDED : RUN_STOPPED, reason.data);
    debugger_emit(debugger, EVENT_STOPPED, reason.data);
    text_free(&reason);
}

bool motion_run_one(struct debugger *debugger, struct pair_event *event, bool *interrupted,
                    struct status *status)
{
    struct pair *pair = debugger->target->pair;
    if (debugger->target->team)
        return ranks_run_one(debugger, event, interrupted, status);
    bool ok = pair_run_one(pair, event, status);
    *interrupted = !ok && status->code == STATUS_CANCELLED;
    if (ok)
        record_note(&debugger->record, pair, event);
    if (*interrupted)
        *status = STATUS_NONE;
    return ok || *interrupted;
}

static bool fail_run(struct debugger *debugger, struct status *status)
{
    debugger_set_state(debugger, RUN_FAILED, status->text);
    debugger_emit(debugger, EVENT_STOPPED, "an instruction failed");
    return false;
}

static void note_late(void *context, const struct pair *pair, int step, int value,
                      const struct pair_result *result)
{
    struct debugger *debugger = context;
    (void)pair;
    record_note_result(&debugger->record, step, value, result, 0);
}

/* Results may come late where no stop depends on them and nobody has changed or follows values. */
static void defer_results(struct debugger *debugger, const struct motion *motion)
{
    struct pair *pair = debugger->target->pair;
    pair->defer = !debugger->target->team && !debugger->stop_on_divergence &&
                  !debugger->stop_on_not_finite && debugger->breakpoints.count == 0 &&
                  !motion->until && pair->graft_count == 0 && debugger->record.follows.count == 0;
    if (pair->defer)
        pair_observe(pair, note_late, debugger);
}

static bool settle_results(struct debugger *debugger, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    bool ok = pair_settle(pair, status);
    if (pair->defer)
        pair_observe(pair, NULL, NULL);
    pair->defer = false;
    return ok;
}

bool motion_run(struct debugger *debugger, const struct motion *motion, struct status *status)
{
    struct pair_event event = {.failed = -1, .not_finite = -1};
    struct stops stops;
    int rank = debugger->rank; /* another one may be selected on the way: all stop for it */
    stops_clear(&stops);
    hit_commands_forget(debugger); /* of a stop that 'continue COUNT' passes over */
    debugger->last_value = -1;
    debugger->must_wait = false;
    debugger_set_state(debugger, RUN_RUNNING, "");
    debugger_emit(debugger, EVENT_RUNNING, NULL);
    debugger->target->pair->watch_not_finite = debugger->stop_on_not_finite;
    ranks_bind(debugger, motion->elsewhere ? motion->until : NULL);
    defer_results(debugger, motion);
    if (motion->fresh)
        stops_before(debugger, &stops);
    while (!stops_any(&stops)) {
        stops.interrupted = debugger_cancelled(debugger);
        stops.ended = pair_ended(debugger->target->pair);
        stops.goal = motion->goal >= 0 && debugger_position(debugger) >= motion->goal;
        if (stops_any(&stops))
            break;
        if (!debugger_publish_sometimes(debugger, status) ||
            !motion_run_one(debugger, &event, &stops.interrupted, status)) {
            settle_results(debugger, NULL);
            return fail_run(debugger, status);
        }
        if (stops.interrupted)
            break;
        stops_after(debugger, &event, &stops);
        stops_before(debugger, &stops);
        if (debugger->rank != rank) {
            stops.switched = true;
            stops.until = motion->elsewhere && ranks_until(debugger, &event, &stops.value);
        } else {
            check_until(debugger, motion, &event, &stops);
        }
    }
    if (!settle_results(debugger, status))
        return fail_run(debugger, status);
    stops.ended = pair_ended(debugger->target->pair);
    show_stop(debugger, &stops, &event);
    return true;
}

static void forget(struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    record_forget(&debugger->record, debugger->target->pair, run->step, run_next(run));
    for (int i = 0; i < debugger->breakpoints.count; i++)
        debugger->breakpoints.list[i].has_last = false;
    debugger->last_value = -1;
    debugger->list_next = -1;
}

void motion_after_failure(struct debugger *debugger, int64_t before, struct status *status)
{
    int count = debugger_program(debugger)->instruction_count;
    int64_t here = debugger_position(debugger);
    if (status->code != STATUS_CANCELLED)
        return;
    if (here == before) {
        interrupt_fail(status);
        return;
    }
    forget(debugger);
    motion_show_place(debugger);
    debugger_set_state(debugger, RUN_STOPPED, "interrupted");
    debugger_emit(debugger, EVENT_STOPPED, "interrupted");
    status_fail(status, STATUS_CANCELLED, "interrupted while the run was elsewhere: goto %d:%d",
                (int)(before / count) + 1, (int)(before % count));
}

/* The run is at the start of the step, or of an earlier one if an interrupt came. */
static bool go_back(struct debugger *debugger, int step, bool *arrived, struct status *status)
{
    bool ok = debugger->target->team ? ranks_go_to_step(debugger, step, status)
                                     : pair_go_to(debugger->target->pair, step, 0, status);
    if (ok)
        return true;
    *arrived = false;
    if (status->code != STATUS_CANCELLED)
        return fail_run(debugger, status);
    *status = STATUS_NONE;
    return true;
}

/* Forward. */
static bool run_to(struct debugger *debugger, int64_t position, bool *arrived,
                   struct status *status)
{
    struct pair_event event;
    while (*arrived && debugger_position(debugger) < position) {
        bool interrupted = false;
        if (!motion_run_one(debugger, &event, &interrupted, status))
            return fail_run(debugger, status);
        *arrived = !interrupted;
        if (!debugger_publish_sometimes(debugger, status))
            return fail_run(debugger, status);
    }
    return true;
}

/* Back to the beginning of `step`, and forward from there. */
static bool travel_from(struct debugger *debugger, int step, int64_t position, bool *arrived,
                        struct status *status)
{
    if (!go_back(debugger, step, arrived, status) || !run_to(debugger, position, arrived, status))
        return false;
    forget(debugger);
    return true;
}

/* Where a step ends and the next begins there is what the first computed. A way that was left may
 * have ended there without it. */
static bool travel(struct debugger *debugger, int64_t position, bool *arrived,
                   struct status *status)
{
    const struct run *run = debugger->target->pair->test;
    int count = debugger_program(debugger)->instruction_count;
    int64_t here = debugger_position(debugger);
    bool empty = here == position && run_next(run) == 0 && (here > 0 || run->executor->hollow);
    *arrived = true;
    debugger->must_wait = false;
    bool ok = position < here || empty
                  ? travel_from(debugger, position > 0 ? (int)((position - 1) / count) : 0,
                                position, arrived, status)
                  : run_to(debugger, position, arrived, status);
    if (ok && !*arrived && !debugger->must_wait)
        say(debugger, "Interrupted on the way.\n");
    return ok;
}

bool motion_go_to_step(struct debugger *debugger, int step, bool *arrived, struct status *status)
{
    int64_t position = (int64_t)step * debugger_program(debugger)->instruction_count;
    bool before = debugger->passing;
    debugger->passing = true;
    *arrived = true;
    bool ok = travel_from(debugger, step, position, arrived, status);
    debugger->passing = before;
    return ok;
}

bool motion_go_to(struct debugger *debugger, int64_t position, bool *arrived, struct status *status)
{
    bool before = debugger->passing;
    debugger->passing = true;
    bool ok = travel(debugger, position, arrived, status);
    debugger->passing = before;
    return ok;
}
