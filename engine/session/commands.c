#include "engine/session/commands.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES                                                                                     \
    "A PLACE is a layer (decoder.1, decoder.1.mlp.layer_2), a tensor (gradient X, %870), a "       \
    "phase\n"                                                                                      \
    "(forward, backward, reduce, update; with a layer and mb=K to narrow it down), an\n"           \
    "instruction (871, or STEP:INSTRUCTION), or /a regular expression/ on the listing.\n"

const struct command command_table[] = {
    {"run", "r", "running", "", "start from the beginning and go", "", COMPLETE_NONE, true, false,
     command_run_program},
    {"start", "restart starti", "running", "", "stop before the first instruction", "",
     COMPLETE_NONE, true, false, command_start},
    {"continue", "c", "running", "[COUNT]", "go on until something stops the run",
     "With COUNT, pass over COUNT-1 stops.\n", COMPLETE_NONE, true, true, command_continue},
    {"step", "s", "running", "[COUNT]", "to the next part of a layer", "", COMPLETE_NONE, true,
     true, command_step},
    {"stepi", "si nexti ni", "running", "[COUNT]", "one instruction", "", COMPLETE_NONE, true, true,
     command_stepi},
    {"next", "n", "running", "[COUNT]", "to the next layer", "", COMPLETE_NONE, true, true,
     command_next},
    {"finish", "fin", "running", "", "to the end of this phase of this micro-batch", "",
     COMPLETE_NONE, true, true, command_finish},
    {"until", "u advance", "running", "PLACE [if CONDITION]", "run until a place is reached",
     PLACES "For a tensor: until it was written.\n", COMPLETE_PLACE, true, false, command_until},
    {"kill", "k", "running", "", "end the run: back before its first instruction",
     "Typed while a run goes on, it stops it first.\n", COMPLETE_NONE, true, false, command_kill},

    {"reverse-step", "rs", "going back", "[COUNT]", "back to the part of a layer before", "",
     COMPLETE_NONE, true, true, command_reverse_step},
    {"reverse-stepi", "rsi", "going back", "[COUNT]", "back by one instruction", "", COMPLETE_NONE,
     true, true, command_reverse_stepi},
    {"reverse-next", "rn", "going back", "[COUNT]", "back to the layer before", "", COMPLETE_NONE,
     true, true, command_reverse_next},
    {"reverse-continue", "rc", "going back", "", "back to what would have stopped the run last", "",
     COMPLETE_NONE, true, true, command_reverse_continue},
    {"goto", "", "going back", "STEP:INSTRUCTION | PLACE", "to a place, forward or back",
     "Runs again from the start of the step, bit for bit the same; breakpoints do not stop it.\n"
     "For a tensor: to the instruction after the one that writes it. 'goto end': to the end.\n",
     COMPLETE_PLACE, true, false, command_goto},

    {"break", "b br", "stops", "PLACE [if CONDITION]", "stop before a place",
     PLACES
     "On a tensor, or with a condition on metrics, it stops just after the tensor was written.\n"
     "Conditions: 'help conditions'.\n",
     COMPLETE_PLACE, true, false, command_break},
    {"tbreak", "tb", "stops", "PLACE [if CONDITION]", "a breakpoint that is removed when hit", "",
     COMPLETE_PLACE, true, false, command_tbreak},
    {"watch", "wa", "stops", "TENSOR [if CONDITION]",
     "stop whenever a tensor is written; old and new values", "", COMPLETE_TENSOR, true, false,
     command_watch},
    {"stop", "", "stops", "on divergence|nan | off",
     "stop when a tensor fails its limits or is NaN", "'stop' alone says what is on.\n",
     COMPLETE_STOP, false, false, command_stop},
    {"condition", "cond", "stops", "NUMBER [CONDITION]", "another condition for a breakpoint",
     "Without a condition it stops always. Conditions: 'help conditions'.\n", COMPLETE_NONE, true,
     false, command_condition},
    {"commands", "", "stops", "[NUMBER | FIRST-LAST]...",
     "what to do when a breakpoint stops the run: lines up to 'end'",
     "Without a number: the newest breakpoint's. The lines that follow are commands, done in turn "
     "at\n"
     "each stop there; one that moves the run is the last that is done. If the first is 'silent',\n"
     "nothing else is said about the stop. 'end' at once: no commands any more.\n",
     COMPLETE_NONE, false, false, command_commands},
    {"delete", "d", "stops", "[NUMBER | FIRST-LAST]...",
     "remove breakpoints (all without a number)", "", COMPLETE_NONE, false, false, command_delete},
    {"enable", "en", "stops", "[NUMBER | FIRST-LAST]...", "let breakpoints stop again", "",
     COMPLETE_NONE, false, false, command_enable},
    {"disable", "dis", "stops", "[NUMBER | FIRST-LAST]...", "keep breakpoints, but do not stop", "",
     COMPLETE_NONE, false, false, command_disable},
    {"save", "", "stops", "breakpoints FILE", "write breakpoints to a file that 'source' reads",
     "With conditions, commands, whether they are disabled, and what 'stop on' is set to. A file\n"
     "that exists is replaced.\n",
     COMPLETE_SAVE, false, false, command_save},

    {"list", "l", "looking", "[PLACE | FIRST,LAST | -]", "the program around the counter",
     "Marks: * breakpoint, o disabled one; = within limits, x diverged, - not compared; => next.\n"
     "'list' again goes on, 'list -' shows what is before.\n",
     COMPLETE_PLACE, true, true, command_list},
    {"info", "i", "looking", "TOPIC [WORD]",
     "breakpoints, tensors, program, memory, run, ranks, divergences, display",
     "'info tensors WORD' lists the tensors whose name contains WORD, 'info breakpoints N' one of "
     "them.\n",
     COMPLETE_TOPIC, false, false, command_info},
    {"print", "p", "looking", "[/ref|/diff] TENSOR[SLICES]", "elements of a tensor",
     "SLICES as in numpy: [0:2,0:4], [-1], [::2, 5]. /ref: of the reference, /diff: difference.\n",
     COMPLETE_TENSOR, true, false, command_print},
    {"x", "", "looking", "[/COUNT] TENSOR[SLICES]", "the first COUNT elements of a tensor",
     "One without /COUNT; in the order of memory, rows one after the other.\n", COMPLETE_TENSOR,
     true, false, command_examine},
    {"display", "", "looking", "[[/ref|/diff] TENSOR[SLICES]]",
     "print a tensor at every stop from now on",
     "Alone: now. 'info display' lists what is displayed, 'undisplay' ends it.\n", COMPLETE_TENSOR,
     true, false, command_display},
    {"undisplay", "", "looking", "[NUMBER]", "display a tensor no more (none without a number)", "",
     COMPLETE_NONE, false, false, command_undisplay},
    {"stats", "", "looking", "[TENSOR]", "mean, deviation, extremes, NaN of both sides", "",
     COMPLETE_TENSOR, true, false, command_stats},
    {"hist", "", "looking", "[TENSOR]", "histogram of both sides", "", COMPLETE_TENSOR, true, false,
     command_hist},
    {"diff", "", "looking", "[TENSOR]", "against the reference: metrics, limits, worst elements",
     "", COMPLETE_TENSOR, true, false, command_diff},
    {"report", "", "looking", "[FILE]", "one HTML page about the divergences, for a bug report",
     "Without FILE: lockstep-RUN.html. A file that exists is kept; 'report! FILE' replaces it.\n"
     "Goes back to the step of the first divergence for its elements, and returns.\n",
     COMPLETE_FILE, true, false, command_report},

    {"follow", "", "looking", "[TENSOR[I,J]]",
     "one element at every step and micro-batch: test, reference, difference",
     "Noted from now on as the run goes; without an element: all that is followed so far.\n",
     COMPLETE_TENSOR, true, false, command_follow},
    {"unfollow", "", "looking", "[NUMBER...]", "follow elements no more (none without a number)",
     "", COMPLETE_NONE, true, false, command_unfollow},
    {"rank", "", "looking", "[N | next | previous | all]",
     "select a rank: what steps and what is shown",
     "Steps and places are those of the selected rank; the others follow. With 'all' tensors are\n"
     "shown whole, put together from the ranks' parts; with N as that rank has them. Without an\n"
     "argument: which is selected. 'info ranks' shows where all of them are; with 'set\n"
     "scheduler-locking on' the selected one moves alone.\n",
     COMPLETE_NONE, true, false, command_rank},
    {"output", "o", "looking", "[rank N] [stdout|stderr] [COUNT|all] [/EXPRESSION/]",
     "what the ranks print, the newest lines",
     "N may be several: 0-3,7. Lines of standard error begin with !, others with |.\n",
     COMPLETE_NONE, false, false, command_output},

    {"backtrace", "bt where", "causes", "[COUNT] [TENSOR]",
     "the instructions behind a tensor, with the error along them",
     "With COUNT so many of them, else 16 at most.\n", COMPLETE_TENSOR, true, false,
     command_backtrace},
    {"check", "", "causes", "[INSTRUCTION]",
     "run an instruction again in float64: is the error its own?",
     "Without a number: the instruction that ran last.\n", COMPLETE_NONE, true, false,
     command_check},
    {"blame", "", "causes", "[TENSOR]", "walk back to the instruction that introduced the error",
     "", COMPLETE_TENSOR, true, false, command_blame},
    {"graft", "", "causes", "[TENSOR]",
     "put the reference's tensor into the test, and go on with it",
     "As if the test had computed it right: what follows is computed again from it. Without a\n"
     "name: the tensor that diverged.\n",
     COMPLETE_TENSOR, true, false, command_graft},

    {"file", "", "session", "RUN [against REFERENCE] [init FILE] [data FILE] [fault SPEC]",
     "load a run",
     "RUN is MODEL/VARIANT or the name of a test. REFERENCE is a VARIANT, a run, a trace's\n"
     "folder, or none: the run alone. Without it: the variant's own, or the run itself (without\n"
     "the fault).\n"
     "init FILE: initial parameters (safetensors, or a recipe in JSON).\n"
     "data FILE: tokens, labels and documents of each step (safetensors).\n",
     COMPLETE_RUN, false, false, command_file},
    {"set", "", "session", "NAME VALUE", "change a setting",
     "'set config KEY=VALUE' changes the configuration of the next 'file', 'set config' takes all\n"
     "such changes back. With 'set\n"
     "scheduler-locking on' only the selected rank moves; where it needs another one it says so.\n",
     COMPLETE_SETTING, false, false, command_set},
    {"show", "", "session", "[NAME]", "settings", "", COMPLETE_SETTING, false, false, command_show},
    {"source", "", "session", "FILE", "run the commands of a file",
     "Ends at the first that fails.\n", COMPLETE_FILE, false, false, command_source},
    {"echo", "", "session", "TEXT", "print a text", "", COMPLETE_NONE, false, false, command_echo},
    {"shell", "", "session", "[COMMAND]", "a command of the shell, or a shell; '!COMMAND' too",
     "By $SHELL, or /bin/sh. On the screens it has the terminal meanwhile.\n", COMPLETE_FILE, false,
     false, command_shell},
    {"help", "h", "session", "[COMMAND | FAMILY | all]", "this list, or more on a command",
     "Families are the headings of the list: 'help stops'. 'apropos WORD' searches all of it.\n",
     COMPLETE_COMMAND, false, false, command_help},
    {"apropos", "", "session", "WORD", "commands whose help contains a word", "", COMPLETE_NONE,
     false, false, command_apropos},
    {"quit", "q exit", "session", "[CODE]", "leave",
     "With CODE (0 to 255) as the exit code of lockstep.\n"
     "Typed while a run goes on, it stops it first. On a terminal it asks before a run that has\n"
     "begun is left: 'set confirm off' ends that.\n",
     COMPLETE_NONE, false, false, command_quit},
};
const int command_count = ARRAY_LENGTH(command_table);

bool command_split(const char *line, char word[COMMAND_WORD_SIZE], const char **arguments,
                   struct status *status)
{
    size_t length = 0;
    while (isspace((unsigned char)*line))
        line++;
    if (*line == '!') {
        strcpy(word, "shell");
        *arguments = line + 1 + strspn(line + 1, " \t");
        return true;
    }
    while (isalpha((unsigned char)line[length]) || line[length] == '-')
        length++;
    if (length == 0 || length >= COMMAND_WORD_SIZE)
        return status_fail(status, STATUS_INVALID, "'%.40s' is no command: type help", line);
    memcpy(word, line, length);
    word[length] = '\0';
    const char *rest = line + length;
    if (*rest && !isspace((unsigned char)*rest) && *rest != '/' && *rest != '!')
        return status_fail(status, STATUS_INVALID, "'%.40s' is no command: type help", line);
    while (isspace((unsigned char)*rest))
        rest++;
    *arguments = rest;
    return true;
}

static bool is_alias(const struct command *command, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = command->aliases; *at;) {
        size_t end = strcspn(at, " ");
        if (end == length && strncmp(at, word, length) == 0)
            return true;
        at += end + (at[end] == ' ');
    }
    return false;
}

const char *habit_instead(const struct habit *habits, int count, const char *word)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, habits[i].word) == 0)
            return habits[i].instead;
    return NULL;
}

/* Commands of gdb that mean nothing here, and what comes nearest. */
static const char *instead_of_command(const char *word)
{
    static const struct habit habits[] = {
        {"ptype", "info tensors WORD"},
        {"whatis", "info tensors WORD"},
        {"frame", "list, or backtrace"},
        {"up", "backtrace"},
        {"down", "backtrace"},
        {"thread", "rank N"},
        {"threads", "info ranks"},
        {"jump", "goto PLACE"},
        {"ignore", "continue COUNT"},
        {"catch", "stop on nan, stop on divergence"},
        {"checkpoint", "goto STEP:INSTRUCTION needs none"},
        {"rbreak", "break /EXPRESSION/"},
        {"reverse-finish", "reverse-next, or goto PLACE"},
        {"layout", "lockstep debug --tui"},
        {"clear", "delete [NUMBER...]"},
        {"detach", "kill, or quit"},
        {"end", "it ends a list of 'commands', and none is being typed"},
        {"silent", "it is the first of a breakpoint's 'commands'"},
        {"call", "print TENSOR[SLICES]"},
        {"return", "goto PLACE"},
    };
    return habit_instead(habits, ARRAY_LENGTH(habits), word);
}

static const struct command *fail_unknown(const char *word, struct status *status)
{
    const char *names[64];
    for (int i = 0; i < command_count; i++)
        names[i] = command_table[i].name;
    const char *closest = names_closest(word, names, command_count);
    const char *instead = instead_of_command(word);
    if (instead)
        status_fail(status, STATUS_INVALID, "there is no '%s' here: %s", word, instead);
    else if (closest)
        status_fail(status, STATUS_INVALID, "unknown command '%s' (did you mean '%s'?)", word,
                    closest);
    else
        status_fail(status, STATUS_INVALID, "unknown command '%s': type help", word);
    return NULL;
}

static const struct command *fail_ambiguous(const char *word, struct status *status)
{
    struct text list = {0};
    for (int i = 0; i < command_count; i++)
        if (strncmp(command_table[i].name, word, strlen(word)) == 0)
            text_format(&list, "%s%s", list.length ? ", " : "", command_table[i].name);
    status_fail(status, STATUS_INVALID, "'%s' could be: %s", word, list.data);
    text_free(&list);
    return NULL;
}

const struct command *command_find(const char *word, struct status *status)
{
    const struct command *found = NULL;
    int count = 0;
    for (int i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        if (strcmp(command->name, word) == 0 || is_alias(command, word))
            return command;
        if (strncmp(command->name, word, strlen(word)) == 0) {
            found = command;
            count++;
        }
    }
    if (count == 1)
        return found;
    return count ? fail_ambiguous(word, status) : fail_unknown(word, status);
}

bool argument_count(const char *text, int otherwise, int *count, struct status *status)
{
    if (!*text) {
        *count = otherwise;
        return true;
    }
    char *end;
    long number = strtol(text, &end, 10);
    if (*end || number < 1 || number > 1000000000)
        return status_fail(status, STATUS_INVALID, "'%s' is no count (a number from 1)", text);
    *count = (int)number;
    return true;
}

void argument_word(const char **text, char *word, int size)
{
    while (isspace((unsigned char)**text))
        (*text)++;
    int length = 0;
    const char *quoted = **text == '"' ? strchr(*text + 1, '"') : NULL;
    if (quoted)
        (*text)++;
    while (**text && (quoted ? *text < quoted : !isspace((unsigned char)**text))) {
        if (length + 1 < size)
            word[length++] = **text;
        (*text)++;
    }
    if (quoted)
        (*text)++;
    word[length] = '\0';
    while (isspace((unsigned char)**text))
        (*text)++;
}

char *argument_path(const char *arguments)
{
    const char *home = getenv("HOME");
    if (arguments[0] != '~' || arguments[1] != '/' || !home)
        return memory_string(arguments);
    size_t length = strlen(home);
    length -= length > 0 && home[length - 1] == '/'; /* who lives at the root */
    return memory_format("%.*s%s", (int)length, home, arguments + 1);
}

int argument_choice(const char *word, const char *const *list, int count, const char *what,
                    struct status *status)
{
    int found = -1, matches = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i], word) == 0)
            return i;
        if (*word && strncmp(list[i], word, strlen(word)) == 0) {
            found = i;
            matches++;
        }
    }
    if (matches == 1)
        return found;
    struct text text = {0};
    for (int i = 0; i < count; i++)
        text_format(&text, "%s%s", i ? ", " : "", list[i]);
    const char *closest = *word && !matches ? names_closest(word, list, count) : NULL;
    if (closest)
        status_fail(status, STATUS_INVALID, "%s: no '%s' (did you mean '%s'?)", what, word,
                    closest);
    else
        status_fail(status, STATUS_INVALID, "%s takes one of: %s", what, text.data);
    text_free(&text);
    return -1;
}

char *argument_tensor(const char *arguments, const char **slices)
{
    const char *bracket = strchr(arguments, '[');
    size_t length = bracket ? (size_t)(bracket - arguments) : strlen(arguments);
    *slices = bracket ? bracket : "";
    while (length > 0 && isspace((unsigned char)arguments[length - 1]))
        length--;
    return memory_string_part(arguments, length);
}
