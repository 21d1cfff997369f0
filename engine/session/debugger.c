#include "engine/session/debugger.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/device_loss.h"
#include "engine/session/ranks_motion.h"
#include "engine/session/snapshot.h"
#include "engine/session/tensor_survey.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct debugger *debugger_create(const struct session_options *options,
                                 const struct debugger_sink *sink)
{
    struct debugger *debugger = memory_zeroed(1, sizeof(*debugger));
    const struct config_search *search = &options->search;
    for (int i = 0; i < search->directory_count; i++)
        names_set(&debugger->directories, search->directories[i], i);
    for (int i = 0; i < search->override_count; i++)
        ARRAY_PUSH(debugger->overrides, debugger->override_count, debugger->override_capacity,
                   memory_string(search->overrides[i]));
    debugger->device_name = memory_string(options->device ? options->device : "auto");
    debugger->threads = options->threads;
    debugger->launch = options->launch;
    debugger->keep_limit = options->keep_limit;
    debugger->sink = *sink;
    debugger->display =
        (struct display){.list_size = 11, .digits = 5, .elements = 256, .worst = 5, .bins = 12};
    debugger->comm = comm_self();
    debugger->last_value = debugger->list_next = -1;
    return debugger;
}

void debugger_free(struct debugger *debugger)
{
    if (!debugger)
        return;
    ranks_free(debugger);
    target_free(debugger->target);
    rank_pool_free(debugger->pool);
    if (debugger->device)
        device_close(debugger->device);
    comm_close(debugger->comm);
    record_free(&debugger->record);
    breakpoints_clear(&debugger->breakpoints);
    free(debugger->typed.numbers);
    text_free(&debugger->typed.lines);
    hit_commands_forget(debugger);
    displays_free(&debugger->displays);
    names_free(&debugger->directories);
    for (int i = 0; i < debugger->override_count; i++)
        free(debugger->overrides[i]);
    free(debugger->overrides);
    free(debugger->device_name);
    tensor_survey_free(debugger->survey);
    free(debugger->stop_reason);
    free(debugger->repeat);
    free(debugger->file);
    text_free(&debugger->output);
    free(debugger);
}

void say(struct debugger *debugger, const char *format, ...)
{
    char buffer[512];
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int needed = vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    if (needed >= (int)sizeof(buffer)) {
        char *longer = memory_zeroed((size_t)needed + 1, 1);
        vsnprintf(longer, (size_t)needed + 1, format, again);
        text_add(&debugger->output, longer);
        free(longer);
    } else {
        text_add(&debugger->output, buffer);
    }
    va_end(again);
}

void debugger_emit(struct debugger *debugger, enum event_kind kind, const char *text)
{
    debugger->sink.emit(debugger->sink.context, kind, text);
}

void debugger_flush(struct debugger *debugger)
{
    if (debugger->output.length == 0)
        return;
    debugger_emit(debugger, EVENT_OUTPUT, debugger->output.data);
    text_clear(&debugger->output);
}

bool debugger_cancelled(const struct debugger *debugger)
{
    return debugger->sink.cancelled(debugger->sink.context);
}

const struct interrupt *debugger_interrupt(const struct debugger *debugger)
{
    return debugger->target->interrupt.asked ? &debugger->target->interrupt : NULL;
}

bool debugger_goes_on(const struct debugger *debugger, struct status *status)
{
    return !debugger_cancelled(debugger) || interrupt_fail(status);
}

void debugger_publish(struct debugger *debugger)
{
    debugger->published = clock_seconds();
    debugger->version++;
    debugger->sink.publish(debugger->sink.context, snapshot_create(debugger));
}

bool debugger_publish_sometimes(struct debugger *debugger, struct status *status)
{
    if (clock_seconds() - debugger->published <= 0.05)
        return true;
    bool ok = pair_settle(debugger->target->pair, status);
    debugger_publish(debugger);
    return ok;
}

void debugger_publish_waiting(struct debugger *debugger)
{
    if (clock_seconds() - debugger->published <= 0.25)
        return;
    debugger->waits = true;
    debugger_publish(debugger);
    debugger->waits = false;
}

void debugger_set_state(struct debugger *debugger, enum run_state state, const char *reason)
{
    char *copy = memory_string(reason ? reason : "");
    free(debugger->stop_reason);
    debugger->stop_reason = copy;
    debugger->state = state;
    debugger->moved = debugger->moved || state == RUN_RUNNING;
    debugger_publish(debugger);
}

struct config_search debugger_search(const struct debugger *debugger)
{
    return (struct config_search){
        .directories = (const char *const *)debugger->directories.names,
        .directory_count = debugger->directories.count,
        .overrides = (const char *const *)debugger->overrides,
        .override_count = debugger->override_count,
    };
}

int64_t debugger_position(const struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    return (int64_t)run->step * run->program->instruction_count + run_next(run);
}

int64_t debugger_end(const struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    return (int64_t)run->steps * run->program->instruction_count;
}

void debugger_place(const struct debugger *debugger, int *step, int *instruction)
{
    const struct run *run = debugger->target->pair->test;
    *step = run->step;
    *instruction = run_next(run);
    if (*instruction == run->program->instruction_count && run->step + 1 < run->steps) {
        *step = run->step + 1;
        *instruction = 0;
    }
}

/* Remembers the line if an empty one shall do it again: the user's, not what it set off. */
static void remember(struct debugger *debugger, const struct command *command, const char *line)
{
    if (line == debugger->repeat || debugger->doing)
        return;
    free(debugger->repeat);
    debugger->repeat = command->repeats ? memory_string(line) : NULL;
}

static bool execute(struct debugger *debugger, const char *line, struct status *status)
{
    char word[COMMAND_WORD_SIZE];
    const char *arguments;
    if (!command_split(line, word, &arguments, status))
        return false;
    const struct command *command = command_find(word, status);
    if (!command)
        return false;
    if (command->needs_run && !debugger->target)
        return status_fail(status, STATUS_INVALID,
                           "'%s' needs a run: load one with 'file MODEL/VARIANT'", command->name);
    remember(debugger, command, line);
    char *trimmed = memory_string(arguments);
    for (size_t n = strlen(trimmed); n > 0 && isspace((unsigned char)trimmed[n - 1]); n--)
        trimmed[n - 1] = '\0';
    bool ok = command->run(debugger, trimmed, status);
    free(trimmed);
    return ok;
}

bool debugger_execute(struct debugger *debugger, const char *line, struct status *status)
{
    ranks_look(debugger);
    while (isspace((unsigned char)*line))
        line++;
    if (hit_commands_are_typed(debugger)) {
        hit_commands_take(debugger, line);
        return true;
    }
    if (*line == '#' || strcmp(line, SESSION_ABANDON) == 0 || (!*line && !debugger->repeat))
        return true;
    bool ok = execute(debugger, *line ? line : debugger->repeat, status);
    tensor_survey_free(debugger->survey);
    debugger->survey = NULL;
    if (device_lost(debugger->device))
        ok = device_loss_recover(debugger, status);
    debugger_flush(debugger);
    if (!debugger->doing && ok)
        ok = hit_commands_run(debugger, status);
    else if (!ok)
        hit_commands_forget(debugger);
    return ok;
}
