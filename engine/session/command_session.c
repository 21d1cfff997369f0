/* Loading, settings, scripts, the shell, help. */
#include "engine/session/commands.h"

#include "engine/base/memory.h"
#include "engine/session/conditions.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"
#include "engine/session/trace_gaps.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE_DEPTH = 8 };

/* What saved points may take, unless the user says so: none if the device does not tell. */
static int64_t half_of_room(struct device *device)
{
    int64_t room;
    return device_room(device, &room) ? room / 2 : 0;
}

static bool open_device(struct debugger *debugger, struct status *status)
{
    struct device_options options = {.threads = debugger->threads, .blocking = debugger->blocking};
    if (debugger->device)
        return true;
    debugger->device = device_open(debugger->device_name, &options, status);
    if (debugger->device && device_passed_over(debugger->device))
        say(debugger, "Running on the CPU: %s\n", device_passed_over(debugger->device));
    return debugger->device != NULL;
}

/* Words of "RUN [against REFERENCE] [init FILE] [data FILE] [fault SPEC...]". */
struct file_arguments {
    char run[256], against[1024], init[1024], data[1024];
    const char *fault;
};

/* The words that have a word of their own behind them. */
static bool parse_pair(const char *word, const char **arguments, struct file_arguments *parsed,
                       struct status *status)
{
    const struct {
        const char *word, *what;
        char *value;
    } pairs[] = {{"against", "the reference", parsed->against},
                 {"init", "the file of parameters", parsed->init},
                 {"data", "the file of tokens", parsed->data}};
    for (int i = 0; i < ARRAY_LENGTH(pairs); i++) {
        if (strcmp(word, pairs[i].word) != 0)
            continue;
        argument_word(arguments, pairs[i].value, sizeof(parsed->against));
        return pairs[i].value[0] ||
               status_fail(status, STATUS_INVALID, "file: %s is missing after '%s'", pairs[i].what,
                           word);
    }
    return status_fail(status, STATUS_INVALID,
                       "file: '%s' is none of 'against', 'init', 'data' and 'fault'", word);
}

static bool parse_file(const char *arguments, struct file_arguments *parsed, struct status *status)
{
    char word[16] = "";
    *parsed = (struct file_arguments){.fault = NULL};
    argument_word(&arguments, parsed->run, sizeof(parsed->run));
    if (!parsed->run[0])
        return status_fail(status, STATUS_INVALID,
                           "file MODEL/VARIANT [against REFERENCE] [init FILE] [data FILE] "
                           "[fault SPEC]");
    while (*arguments && !parsed->fault) {
        argument_word(&arguments, word, sizeof(word));
        if (strcmp(word, "fault") == 0)
            parsed->fault = arguments;
        else if (!parse_pair(word, &arguments, parsed, status))
            return false;
    }
    if (parsed->fault && !*parsed->fault)
        return status_fail(status, STATUS_INVALID, "file: the fault is missing");
    return true;
}

static void say_loaded(struct debugger *debugger)
{
    const struct target *target = debugger->target;
    const struct run *run = target->pair->test;
    char instructions[32];
    text_thousands((int64_t)run->program->instruction_count * run->steps, instructions);
    say(debugger, "%s%s%s: ", target->name, target->fault ? " with fault " : "",
        target->fault ? target->fault : "");
    if (target->team)
        say(debugger, "%d ranks, rank 0 with ", target->team->world->size);
    say(debugger, "%s instructions in %d steps, ", instructions, run->steps);
    if (target->trace)
        say(debugger, "reference: trace %s%s.", target->reference_name,
            target->trace->unfinished ? ", whose run did not come to its end" : "");
    else if (target_is_alone(target))
        say(debugger, "without a reference.");
    else if (strcmp(target->test->name, target->reference->name) == 0)
        say(debugger, "reference: the same run%s, in lockstep.",
            target->fault ? " without the fault" : "");
    else
        say(debugger, "reference %s in lockstep.", target->reference_name);
    say(debugger, " Type help.\n");
}

/* Parameters that differ before the first step: all that follows will differ, too. */
static void say_initial(struct debugger *debugger)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int failed = 0, first = -1;
    for (int p = program->parameter_count - 1; p >= 0; p--)
        if (pair->initial[p].verdict.failures) {
            failed++;
            first = p;
        }
    if (failed == 0)
        return;
    bool shape = pair->initial[first].verdict.failures & FAILURE_SHAPE;
    const char *name = program->values[program->parameters[first].value].name;
    say(debugger, "%d of %d initial parameters are not those of the reference, first %s%s.\n",
        failed, program->parameter_count, name, shape ? ": shapes differ" : "");
    say(debugger, "next: diff %s\n", name);
}

static bool asks_to_stop(const void *debugger)
{
    return debugger_cancelled(debugger);
}

static void unload(struct debugger *debugger)
{
    ranks_free(debugger);
    target_free(debugger->target);
    debugger->target = NULL;
}

/* With the first `overrides` of them. */
static bool load(struct debugger *debugger, const char *arguments, int overrides,
                 struct status *status)
{
    struct file_arguments parsed;
    if (!parse_file(arguments, &parsed, status) || !open_device(debugger, status))
        return false;
    struct config_search search = debugger_search(debugger);
    search.override_count = overrides;
    struct target_request request = {.search = &search,
                                     .run = parsed.run,
                                     .against = parsed.against[0] ? parsed.against : NULL,
                                     .fault = parsed.fault,
                                     .init_from = parsed.init[0] ? parsed.init : NULL,
                                     .data_from = parsed.data[0] ? parsed.data : NULL,
                                     .device = debugger->device,
                                     .comm = debugger->comm,
                                     .threads = debugger->threads,
                                     .keep_limit = debugger->keep_limit < 0
                                                       ? half_of_room(debugger->device)
                                                       : debugger->keep_limit,
                                     .interrupt = {asks_to_stop, debugger},
                                     .processes = ranks_processes,
                                     .processes_context = debugger};
    struct target *target = target_load(&request, status);
    if (!target)
        return false; /* what was loaded before stays, but for a run in the same processes */
    unload(debugger);
    debugger->target = target;
    ranks_start(debugger);
    debugger->target_overrides = overrides;
    debugger->last_value = debugger->list_next = -1;
    record_start(&debugger->record, target->pair);
    breakpoints_rebind(&debugger->breakpoints, target->pair->test->program,
                       debugger_steps(debugger));
    debugger->sink.loaded(debugger->sink.context, words_of_program(target->pair->test->program));
    char *copy = memory_string(arguments); /* may be `file` itself */
    free(debugger->file);
    debugger->file = copy;
    return true;
}

bool command_file(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!load(debugger, arguments, debugger->override_count, status)) {
        if (!debugger->target && debugger->state != RUN_NONE)
            debugger_set_state(debugger, RUN_NONE, "");
        return false;
    }
    say_loaded(debugger);
    say_trace_gaps(debugger);
    say_initial(debugger);
    debugger_set_state(debugger, RUN_STOPPED, "loaded");
    return true;
}

bool load_again(struct debugger *debugger, struct status *status)
{
    int rank = debugger->rank;
    bool all_ranks = debugger->all_ranks;
    if (!load(debugger, debugger->file, debugger->target_overrides, status)) {
        if (!debugger->target)
            debugger_set_state(debugger, RUN_NONE, "");
        return false;
    }
    ranks_select(debugger, rank);
    debugger->all_ranks = all_ranks;
    debugger_set_state(debugger, RUN_STOPPED, "loaded");
    return true;
}

bool load_on_new_device(struct debugger *debugger, bool blocking, struct status *status)
{
    int rank = debugger->rank;
    bool all_ranks = debugger->all_ranks, loaded = debugger->target != NULL;
    unload(debugger);
    device_close(debugger->device);
    debugger->device = NULL;
    debugger->blocking = blocking;
    debugger->rank = rank;
    debugger->all_ranks = all_ranks;
    if (!loaded)
        return open_device(debugger, status);
    return load_again(debugger, status);
}

const char *const setting_names[] = {"list", "digits", "elements",          "worst",
                                     "bins", "config", "scheduler-locking", "confirm"};
const int setting_count = ARRAY_LENGTH(setting_names);
enum { SETTING_CONFIG = 5, SETTING_LOCKING, SETTING_CONFIRM };

struct setting {
    int *number;
    int low, high;
    const char *meaning;
};

static struct setting setting_at(struct debugger *debugger, int index)
{
    struct display *display = &debugger->display;
    const struct setting settings[] = {
        {&display->list_size, 1, 1000, "lines of list"},
        {&display->digits, 1, 17, "digits of printed elements"},
        {&display->elements, 1, 1000000, "elements that print shows at most"},
        {&display->worst, 0, 1000, "worst elements that diff shows"},
        {&display->bins, 1, 200, "bins of hist"},
    };
    return settings[index];
}

/* One that turns out to be wrong would fail every 'file' from then on. */
static bool forget_config(struct debugger *debugger)
{
    for (int i = 0; i < debugger->override_count; i++)
        free(debugger->overrides[i]);
    debugger->override_count = 0;
    say(debugger, "The next 'file' uses no changes ('set config KEY.PATH=VALUE' makes one).\n");
    return true;
}

static bool set_config(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!*arguments)
        return forget_config(debugger);
    const char *equals = strchr(arguments, '=');
    if (!equals || equals == arguments)
        return status_fail(status, STATUS_INVALID, "set config KEY.PATH=VALUE, or set config");
    ARRAY_PUSH(debugger->overrides, debugger->override_count, debugger->override_capacity,
               memory_string(arguments));
    say(debugger, "The next 'file' uses it.\n");
    return true;
}

static bool set_switch(struct debugger *debugger, int index, const char *arguments,
                       struct status *status)
{
    static const char *const words[] = {"off", "on"};
    char what[64];
    snprintf(what, sizeof(what), "set %s", setting_names[index]);
    int choice = argument_choice(arguments, words, 2, what, status);
    if (choice >= 0 && index == SETTING_LOCKING)
        debugger->locked = choice == 1;
    else if (choice >= 0)
        debugger->unasked = choice == 0;
    if (choice >= 0)
        debugger_publish(debugger); /* the front end asks */
    return choice >= 0;
}

bool command_set(struct debugger *debugger, const char *arguments, struct status *status)
{
    char word[32];
    argument_word(&arguments, word, sizeof(word));
    int index = argument_choice(word, setting_names, setting_count, "set", status);
    if (index < 0)
        return false;
    if (index == SETTING_CONFIG)
        return set_config(debugger, arguments, status);
    if (index == SETTING_LOCKING || index == SETTING_CONFIRM)
        return set_switch(debugger, index, arguments, status);
    struct setting setting = setting_at(debugger, index);
    char *end;
    long number = strtol(arguments, &end, 10);
    if (!*arguments || *end || number < setting.low || number > setting.high)
        return status_fail(status, STATUS_INVALID, "set %s: a number from %d to %d (%s)",
                           setting_names[index], setting.low, setting.high, setting.meaning);
    *setting.number = (int)number;
    return true;
}

static void show_one(struct debugger *debugger, int index)
{
    if (index == SETTING_CONFIRM) {
        say(debugger, "%-17s %s   ask before a run that has begun is left\n", setting_names[index],
            debugger->unasked ? "off" : "on ");
        return;
    }
    if (index == SETTING_LOCKING) {
        say(debugger, "%-17s %s   only the selected rank moves\n", setting_names[index],
            debugger->locked ? "on " : "off");
        return;
    }
    if (index < SETTING_CONFIG) {
        struct setting setting = setting_at(debugger, index);
        say(debugger, "%-10s %6d   %s\n", setting_names[index], *setting.number, setting.meaning);
        return;
    }
    for (int i = 0; i < debugger->override_count; i++)
        say(debugger, "%-10s %s\n", setting_names[index], debugger->overrides[i]);
}

bool command_show(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!*arguments) {
        for (int i = 0; i < setting_count; i++)
            show_one(debugger, i);
        return true;
    }
    int index = argument_choice(arguments, setting_names, setting_count, "show", status);
    if (index >= 0)
        show_one(debugger, index);
    return index >= 0;
}

static bool source_lines(struct debugger *debugger, FILE *file, const char *path,
                         struct status *status)
{
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    for (int number = 1; ok && !debugger->quit && getline(&line, &capacity, file) >= 0; number++) {
        line[strcspn(line, "\r\n")] = '\0';
        if (!line[strspn(line, " \t")])
            continue; /* an empty line repeats only at the prompt */
        if (debugger_cancelled(debugger)) {
            ok = status_fail(status, STATUS_CANCELLED, "%s:%d: interrupted", path, number);
            break;
        }
        ok = debugger_execute(debugger, line, status);
        if (!ok)
            status_context(status, "%s:%d", path, number);
    }
    free(line);
    if (ok && !debugger->quit && !hit_commands_check_end(debugger, status))
        ok = status_context(status, "%s", path);
    if (!ok)
        hit_commands_abandon(debugger);
    if (ok && ferror(file)) /* a folder can be opened, but not read */
        ok = status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    return ok;
}

bool command_source(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!*arguments)
        return status_fail(status, STATUS_INVALID, "source FILE");
    if (debugger->source_depth >= MAX_SOURCE_DEPTH)
        return status_fail(status, STATUS_INVALID, "%s: files that source each other too deep",
                           arguments);
    char *path = argument_path(arguments);
    FILE *file = fopen(path, "r");
    free(path);
    if (!file)
        return status_fail(status, STATUS_IO, "%s: %s", arguments, strerror(errno));
    debugger->source_depth++;
    bool ok = source_lines(debugger, file, arguments, status);
    debugger->source_depth--;
    fclose(file);
    return ok;
}

bool command_echo(struct debugger *debugger, const char *arguments, struct status *status)
{
    (void)status;
    say(debugger, "%s\n", arguments);
    return true;
}

bool command_quit(struct debugger *debugger, const char *arguments, struct status *status)
{
    char *end;
    long code = strtol(arguments, &end, 10);
    if (*arguments && (*end || code < 0 || code > 255))
        return status_fail(status, STATUS_INVALID,
                           "'quit' takes an exit code from 0 to 255, not '%s'", arguments);
    debugger->quit = true;
    if (*arguments) {
        debugger->exit_given = true;
        debugger->exit_code = (int)code;
        debugger_publish(debugger); /* the front end ends the program */
    }
    return true;
}

bool command_shell(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!debugger->sink.shell)
        return status_fail(status, STATUS_UNSUPPORTED, "there is no shell to be had here");
    debugger_flush(debugger); /* what was said before stands before what the shell prints */
    return debugger->sink.shell(debugger->sink.context, arguments, status);
}

static void help_conditions(struct debugger *debugger)
{
    say(debugger,
        "A condition is made of numbers, the names below, + - * / < <= > >= == != and or "
        "not ( ).\n'break gradient X if rel_rms > 1e-3 and step == 2', 'watch X if nan'\n");
    for (int i = 0; i < VARIABLE_COUNT; i++)
        say(debugger, "    %-12s %s\n", variable_name(i), variable_meaning(i));
}

static void help_line(struct debugger *debugger, const struct command *command)
{
    int alias = (int)strcspn(command->aliases, " ");
    say(debugger, "    %-18s %-8.*s %s\n", command->name, alias, command->aliases, command->brief);
}

/* All commands, or those of one family. */
static void help_families(struct debugger *debugger, const char *only)
{
    const char *family = "";
    for (int i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        if (only && strcmp(only, command->family) != 0)
            continue;
        if (strcmp(family, command->family) != 0)
            say(debugger, "%s\n", command->family);
        family = command->family;
        help_line(debugger, command);
    }
}

static void help_all(struct debugger *debugger)
{
    help_families(debugger, NULL);
    say(debugger, "'help COMMAND' tells more; 'help conditions' about conditions. Unique "
                  "beginnings are enough;\nan empty line does the last running or listing command "
                  "again.\n");
}

static bool is_family(const char *word)
{
    for (int i = 0; i < command_count; i++)
        if (strcmp(command_table[i].family, word) == 0)
            return true;
    return false;
}

bool command_apropos(struct debugger *debugger, const char *arguments, struct status *status)
{
    int found = 0;
    if (!*arguments)
        return status_fail(status, STATUS_INVALID, "apropos WORD");
    for (int i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        if (!strcasestr(command->name, arguments) && !strcasestr(command->aliases, arguments) &&
            !strcasestr(command->usage, arguments) && !strcasestr(command->brief, arguments) &&
            !strcasestr(command->details, arguments))
            continue;
        help_line(debugger, command);
        found++;
    }
    return found > 0 ||
           status_fail(status, STATUS_NOT_FOUND, "no command's help contains '%s'", arguments);
}

bool command_help(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!*arguments || strcmp(arguments, "all") == 0) {
        help_all(debugger);
        return true;
    }
    if (is_family(arguments)) {
        help_families(debugger, arguments);
        return true;
    }
    if (strcmp(arguments, "conditions") == 0) {
        help_conditions(debugger);
        return true;
    }
    const struct command *command = command_find(arguments, status);
    if (!command)
        return false;
    say(debugger, "%s %s\n    %s\n", command->name, command->usage, command->brief);
    if (*command->aliases)
        say(debugger, "    also: %s\n", command->aliases);
    if (*command->details)
        say(debugger, "%s", command->details);
    return true;
}
