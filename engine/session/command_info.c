/* info: tables about the program and the run. */
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/pictures.h"
#include "engine/session/ranks.h"
#include "engine/session/ranks_motion.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TENSORS = 200, MAX_DIVERGENCES = 50, MAX_RANKS = 32 };

static void say_commands(struct debugger *debugger, const char *commands)
{
    for (const char *line = commands ? commands : ""; *line; line += strcspn(line, "\n") + 1)
        say(debugger, "        %.*s\n", (int)strcspn(line, "\n"), line);
}

static void say_breakpoint(struct debugger *debugger, const struct breakpoint *breakpoint)
{
    char text[400];
    int rank = breakpoint->lost ? ranks_with_place(debugger, breakpoint->place.text) : -1;
    char where[64] = ", not in this program";
    if (rank >= 0)
        snprintf(where, sizeof(where), ", of rank %d", rank);
    say(debugger, "%c %s: hit %d time%s%s\n",
        breakpoint->lost && rank < 0 ? '?'
        : breakpoint->enabled        ? '*'
                                     : 'o',
        breakpoint_text(breakpoint, text, sizeof(text)), breakpoint->hits,
        breakpoint->hits == 1 ? "" : "s",
        breakpoint->lost      ? where
        : breakpoint->enabled ? ""
                              : ", disabled");
    say_commands(debugger, breakpoint->commands);
}

/* Of all of them, or of one. */
static void info_breakpoints(struct debugger *debugger, const char *number)
{
    const struct breakpoints *all = &debugger->breakpoints;
    int shown = 0;
    for (int i = 0; i < all->count; i++) {
        char mine[16];
        snprintf(mine, sizeof(mine), "%d", all->list[i].number);
        if (*number && strcmp(mine, number) != 0)
            continue;
        say_breakpoint(debugger, &all->list[i]);
        shown++;
    }
    if (shown == 0 && *number)
        say(debugger, "No breakpoint has the number '%s'.\n", number);
    else if (shown == 0)
        say(debugger, "No breakpoints.\n");
    if (*number)
        return;
    if (debugger->stop_on_divergence || debugger->stop_on_not_finite)
        say(debugger, "stop on%s%s\n", debugger->stop_on_divergence ? " divergence" : "",
            debugger->stop_on_not_finite ? " nan" : "");
}

/* Names are shown in program order; a running total's earlier versions are left out. */
static void info_tensors(struct debugger *debugger, const char *pattern)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int shown = 0, matching = 0;
    struct text result = {0};
    for (int i = 0; i < program->by_name.count; i++) {
        const struct value *value = &program->values[program->by_name.values[i]];
        if (strcmp(value->name, program->by_name.names[i]) != 0 || !strstr(value->name, pattern) ||
            (!*pattern && !value->log_point))
            continue;
        if (matching++ >= MAX_TENSORS)
            continue;
        char shape[80], writer[32] = "input";
        if (value->producer >= 0)
            snprintf(writer, sizeof(writer), "%d", value->producer);
        text_clear(&result);
        describe_result(pair, value->id, &result);
        say(debugger, "%c %6s  %-52s %-4s %-14s %s\n", describe_mark(pair, value->id), writer,
            value->name, dtype_name(value->dtype), shape_text(value->shape, shape), result.data);
        shown++;
    }
    text_free(&result);
    if (matching > shown)
        say(debugger, "... %d more: 'info tensors WORD' narrows it down\n", matching - shown);
    else if (!matching)
        say(debugger, "No tensor's name contains '%s'.\n", pattern);
    else if (!*pattern)
        say(debugger, "%d log points; 'info tensors WORD' looks among all names\n", matching);
}

static void say_layers(struct debugger *debugger, const struct program *program)
{
    const char *last = NULL;
    struct names seen = {0};
    say(debugger, "layers:");
    for (int i = 0; i < program->instruction_count; i++) {
        const char *layer = program->instructions[i].origin.layer;
        if (layer && *layer && (!last || strcmp(layer, last) != 0) && names_set(&seen, layer, i))
            say(debugger, " %s", layer);
        last = layer;
    }
    say(debugger, "\n");
    names_free(&seen);
}

static void info_program(struct debugger *debugger)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int phases[PHASE_COUNT] = {0}, faults = 0, named = 0;
    int64_t weights = 0;
    for (int i = 0; i < program->instruction_count; i++) {
        phases[program->instructions[i].origin.phase]++;
        faults += program->instructions[i].fault != NULL;
    }
    for (int v = 0; v < program->value_count; v++)
        named += program->values[v].name[0] != '\0';
    for (int p = 0; p < program->parameter_count; p++)
        weights += shape_elements(program->values[program->parameters[p].value].shape);
    char number[32];
    say(debugger,
        "%s: %d instructions in each of %d steps, %d values (%d named), hash %016" PRIx64 "\n",
        debugger->target->name, program->instruction_count, pair->test->steps, program->value_count,
        named, program_hash(program));
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        if (phases[phase])
            say(debugger, "    %-10s %6d instructions\n", phase_name(phase), phases[phase]);
    say(debugger, "parameters: %d tensors, %s elements\n", program->parameter_count,
        text_thousands(weights, number));
    say(debugger, "micro-batches: %d\n", pair->test->micro_batches);
    say_layers(debugger, program);
    if (debugger->target->fault)
        say(debugger, "fault: %s (%d instructions changed)\n", debugger->target->fault, faults);
    if (pair->reference)
        say(debugger, "reference: %s, %d instructions\n", debugger->target->reference_name,
            pair->reference->program->instruction_count);
}

static void say_bytes(struct debugger *debugger, const char *label, int64_t bytes)
{
    char text[32];
    say(debugger, "    %-14s %10s\n", label, text_bytes((uint64_t)bytes, text));
}

/* Of a GPU: what all programs together have of it, and who the others are. */
static void say_whole_device(struct debugger *debugger)
{
    struct device_process processes[PICTURE_PROCESSES];
    int64_t used, total;
    char bytes[32];
    if (device_host_memory(debugger->device) || !device_totals(debugger->device, &used, &total))
        return;
    say_bytes(debugger, "all programs", used);
    say_bytes(debugger, "it has", total);
    int count = device_processes(debugger->device, processes, PICTURE_PROCESSES);
    for (int i = 0; i < count && i < PICTURE_PROCESSES; i++)
        say(debugger, "    process %lld %s: %s\n", (long long)processes[i].pid,
            processes[i].name[0] ? processes[i].name : "of another program",
            processes[i].bytes < 0 ? "memory unknown"
                                   : text_bytes((uint64_t)processes[i].bytes, bytes));
    if (count > PICTURE_PROCESSES)
        say(debugger, "    and %d processes more\n", count - PICTURE_PROCESSES);
}

static void info_memory(struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    const struct memory_plan *plan = run->executor->plan;
    int next = run_next(run), at = next < plan->instruction_count ? next : next - 1;
    int64_t now[MEMORY_CLASS_COUNT], peak[MEMORY_CLASS_COUNT];
    memory_plan_classes(plan, run->program, at, now);
    memory_plan_classes(plan, run->program, plan->peak, peak);
    say(debugger, "planned (%s):\n",
        plan->mode == PLAN_KEEP ? "every value of a step is kept" : "memory is used again");
    say_bytes(debugger, "persistent", plan->persistent_bytes);
    say_bytes(debugger, "step", plan->step_bytes);
    say_bytes(debugger, "workspace", plan->workspace_bytes);
    say(debugger, "live at %d, and at the peak (%d):\n", at, plan->peak);
    for (int c = 0; c < MEMORY_CLASS_COUNT; c++) {
        char a[32], b[32];
        if (peak[c] || now[c])
            say(debugger, "    %-14s %10s %10s\n", memory_class_name(c),
                text_bytes((uint64_t)now[c], a), text_bytes((uint64_t)peak[c], b));
    }
    struct device_memory device;
    device_memory(debugger->device, &device);
    say(debugger, "device %s, both runs:\n", device_name(debugger->device));
    say_bytes(debugger, "live", device.live_total);
    say_bytes(debugger, "peak", device.peak_total);
    say_whole_device(debugger);
}

static void info_run(struct debugger *debugger)
{
    const struct target *target = debugger->target;
    const struct pair *pair = target->pair;
    char tensors[32], elements[32];
    say(debugger, "run: %s%s%s on %s\n", target->name, target->fault ? " with fault " : "",
        target->fault ? target->fault : "", device_name(debugger->device));
    say(debugger, "reference: %s%s\n", target->reference_name, target->trace ? " (trace)" : "");
    if (target->team && debugger->pool)
        say(debugger, "collectives: %s\n", rank_pool_carrier(debugger->pool));
    if (target->tolerances)
        say(debugger, "tolerances: %s x %g\n", target->tolerances->name,
            target->variant->compare_factor * target->test->compare_factor);
    int step, next;
    debugger_place(debugger, &step, &next);
    say(debugger, "at: step %d of %d, instruction %d of %d\n", step + 1, pair->test->steps, next,
        pair->test->program->instruction_count);
    for (int i = 0; i < pair->test->reported; i++) {
        const struct step_report *report = &pair->test->reports[i];
        say(debugger, "step %d: loss %.6g, gradient norm %.4g, learning rate %.4g, %.3f s\n",
            report->step, report->loss, report->gradient_norm, report->learning_rate,
            report->seconds);
    }
    say(debugger, "compared: %s tensors, %s elements; %d diverged\n",
        text_thousands(debugger->record.compared, tensors),
        text_thousands(debugger->record.elements, elements), debugger->record.failed);
    for (int i = 0; i < pair->graft_count; i++) {
        char name[256];
        say(debugger, "graft: step %d, %s\n", pair->grafts[i].step + 1,
            program_value_text(pair->test->program, pair->grafts[i].value, name, sizeof(name)));
    }
}

static void info_ranks(struct debugger *debugger)
{
    struct ranks_picture *picture = picture_of_ranks(debugger);
    struct text table = {0};
    ranks_picture_table(picture, MAX_RANKS, &table); /* more of them are merged */
    say(debugger, "%s", table.data);
    text_free(&table);
    ranks_picture_free(picture);
}

static void say_divergence(struct debugger *debugger, int step, int value)
{
    const struct record_entry *entry = record_at(&debugger->record, step, value);
    const struct program *program = debugger_program(debugger);
    char name[256];
    say(debugger, "x step %d %6d  %-52s %.1f times its limit, relative error %.1e\n", step + 1,
        program->values[value].producer, program_value_text(program, value, name, sizeof(name)),
        (double)entry->worst, (double)entry->error);
}

static void info_divergences(struct debugger *debugger)
{
    const struct record *record = &debugger->record;
    const struct program *program = debugger_program(debugger);
    int shown = 0;
    char tensors[32];
    say(debugger, "%d of %s compared tensors diverged\n", record->failed,
        text_thousands(record->compared, tensors));
    for (int s = 0; s < record->steps; s++)
        for (int i = 0; i < program->instruction_count; i++)
            for (int k = 0; k < program->instructions[i].output_count; k++) {
                int value = program->instructions[i].outputs[k];
                if (record_at(record, s, value)->failed && shown++ < MAX_DIVERGENCES)
                    say_divergence(debugger, s, value);
            }
    if (shown > MAX_DIVERGENCES)
        say(debugger, "... %d more\n", shown - MAX_DIVERGENCES);
    if (shown > 0)
        say(debugger, "next: blame (of the first), diff TENSOR\n");
}

/* What is said of a topic: all, or what has to do with the word behind it. */
struct info_topic {
    const char *name;
    const char *letter; /* means it, though others begin so; NULL: none */
    bool needs_run;
    void (*say)(struct debugger *debugger);
    void (*say_of)(struct debugger *debugger, const char *word); /* instead of `say` */
};

static const struct info_topic topics[INFO_TOPICS] = {
    {"breakpoints", NULL, false, NULL, info_breakpoints},
    {"tensors", NULL, true, NULL, info_tensors},
    {"program", NULL, true, info_program, NULL},
    {"memory", NULL, true, info_memory, NULL},
    {"run", NULL, true, info_run, NULL},
    {"ranks", NULL, true, info_ranks, NULL},
    {"divergences", "d", true, info_divergences, NULL},
    {"display", NULL, false, info_display, NULL},
};

void info_topic_names(const char *names[INFO_TOPICS])
{
    for (int i = 0; i < INFO_TOPICS; i++)
        names[i] = topics[i].name;
}

/* Topics of gdb, and words of other commands, that come to mind here. */
static const char *instead_of_topic(const char *word)
{
    static const struct habit habits[] = {
        {"args", "info run"},
        {"checkpoints", "'goto STEP:INSTRUCTION' needs none"},
        {"config", "show config"},
        {"files", "info run"},
        {"frame", "backtrace"},
        {"layers", "info program"},
        {"line", "list"},
        {"locals", "info tensors WORD"},
        {"registers", "info tensors"},
        {"settings", "show"},
        {"source", "info run"},
        {"symbol", "info tensors WORD"},
        {"threads", "info ranks"},
        {"variables", "info tensors WORD"},
        {"watchpoints", "info breakpoints"},
    };
    return habit_instead(habits, ARRAY_LENGTH(habits), word);
}

static const struct info_topic *find_topic(const char *word, struct status *status)
{
    const char *names[INFO_TOPICS];
    const char *instead = instead_of_topic(word);
    if (instead) {
        status_fail(status, STATUS_INVALID, "there is no 'info %s' here: %s", word, instead);
        return NULL;
    }
    for (int i = 0; i < INFO_TOPICS; i++)
        if (topics[i].letter && strcmp(word, topics[i].letter) == 0)
            return &topics[i];
    info_topic_names(names);
    int topic = argument_choice(word, names, INFO_TOPICS, "info", status);
    return topic < 0 ? NULL : &topics[topic];
}

bool command_info(struct debugger *debugger, const char *arguments, struct status *status)
{
    char word[32];
    argument_word(&arguments, word, sizeof(word));
    const struct info_topic *topic = find_topic(word, status);
    if (!topic)
        return false;
    if (topic->needs_run && !debugger->target)
        return status_fail(status, STATUS_INVALID,
                           "'info %s' needs a run: load one with 'file MODEL/VARIANT'",
                           topic->name);
    if (topic->say_of)
        topic->say_of(debugger, arguments);
    else
        topic->say(debugger);
    return true;
}
