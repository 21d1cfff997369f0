#include "engine/session/words.h"

#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/session/commands.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct words *words_of_program(const struct program *program)
{
    struct words *words = memory_zeroed(1, sizeof(*words));
    atomic_init(&words->holders, 1);
    for (int i = 0; i < program->instruction_count; i++) {
        const struct origin *origin = &program->instructions[i].origin;
        char path[256];
        names_set(&words->layers, origin_path(origin, path, sizeof(path)), i);
        if (origin->layer)
            names_set(&words->layers, origin->layer, i);
        if (origin->part)
            names_set(&words->layers, origin->part, i);
    }
    for (int i = 0; i < program->by_name.count; i++)
        names_set(&words->tensors, program->by_name.names[i], i);
    return words;
}

struct words *words_hold(struct words *words)
{
    if (words)
        atomic_fetch_add(&words->holders, 1);
    return words;
}

void words_release(struct words *words)
{
    if (!words || atomic_fetch_sub(&words->holders, 1) != 1)
        return;
    names_free(&words->layers);
    names_free(&words->tensors);
    free(words);
}

/* What is completed: the argument from its start to the cursor, and the word in it. */
struct completing {
    struct names found;
    const char *argument; /* text up to the cursor, from the start of the argument */
    size_t before;        /* bytes of it in front of the word */
};

/* A candidate fits when the whole argument so far is its beginning; what replaces the word is the
 * candidate from there on. */
static void offer(struct completing *completing, const char *candidate)
{
    size_t length = strlen(completing->argument);
    if (*candidate && strncmp(candidate, completing->argument, length) == 0)
        names_set(&completing->found, candidate + completing->before, 0);
}

/* A candidate for the last word alone. */
static void offer_word(struct completing *completing, const char *candidate)
{
    const char *word = completing->argument + completing->before;
    if (*candidate && strncmp(candidate, word, strlen(word)) == 0)
        names_set(&completing->found, candidate, 0);
}

static void offer_list(struct completing *completing, const char *const *list, int count)
{
    for (int i = 0; i < count; i++)
        offer(completing, list[i]);
}

static void offer_commands(struct completing *completing)
{
    for (int i = 0; i < command_count; i++)
        offer(completing, command_table[i].name);
}

static void offer_tensors(struct completing *completing, const struct words *words)
{
    for (int i = 0; words && i < words->tensors.count; i++)
        offer(completing, words->tensors.names[i]);
}

static void offer_places(struct completing *completing, const struct words *words)
{
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        offer(completing, phase_name(phase));
    for (int i = 0; words && i < words->layers.count; i++)
        offer_word(completing, words->layers.names[i]);
    offer_tensors(completing, words);
    const char *condition = strstr(completing->argument, " if ");
    for (int i = 0; condition && i < VARIABLE_COUNT; i++)
        offer_word(completing, variable_name(i));
}

static void offer_runs(struct completing *completing, const struct config_search *search)
{
    char **models = NULL, **variants = NULL;
    struct status ignored = STATUS_NONE;
    int model_count = config_list_models(search, &models, &ignored);
    int variant_count = config_list_variants(search, &variants, &ignored);
    const char *word = completing->argument + completing->before;
    const char *slash = strchr(word, '/');
    for (int m = 0; m < model_count; m++) {
        bool chosen = slash && strncmp(word, models[m], (size_t)(slash - word)) == 0;
        if (!slash)
            offer_word(completing, models[m]);
        for (int v = 0; chosen && v < variant_count; v++) {
            char *name = memory_format("%s/%s", models[m], variants[v]);
            offer_word(completing, name);
            free(name);
        }
    }
    if (model_count > 0)
        config_names_free(models, model_count);
    if (variant_count > 0)
        config_names_free(variants, variant_count);
    offer_word(completing, "against");
    offer_word(completing, "fault");
    int fault_count;
    const struct fault_ready *faults = faults_ready(&fault_count);
    bool fault = strstr(completing->argument, " fault ") != NULL;
    for (int i = 0; fault && i < fault_count; i++)
        offer_word(completing, faults[i].name);
}

/* What was typed with "~/" stays so. */
static void offer_files(struct completing *completing)
{
    glob_t found = {0};
    char *path = argument_path(completing->argument);
    char *pattern = memory_format("%s*", path);
    bool tilde = strcmp(path, completing->argument) != 0;
    size_t home = tilde ? strlen(path) - strlen(completing->argument) + 1 : 0;
    if (glob(pattern, GLOB_MARK, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) {
            char *name = memory_format("%s%s", tilde ? "~" : "", found.gl_pathv[i] + home);
            offer(completing, name);
            free(name);
        }
    globfree(&found);
    free(pattern);
    free(path);
}

/* What can be saved, then a file. */
static void offer_save(struct completing *completing)
{
    size_t word = strcspn(completing->argument, " \t");
    size_t file = word + strspn(completing->argument + word, " \t");
    if (file == word) {
        offer_list(completing, save_names, SAVE_NAMES);
        return;
    }
    completing->argument += file;
    completing->before -= file < completing->before ? file : completing->before;
    offer_files(completing);
}

static void offer_arguments(struct completing *completing, const struct command *command,
                            const struct words *words, const struct config_search *search)
{
    static const char *const stops[] = {"on divergence", "on nan", "off"};
    const char *topics[INFO_TOPICS];
    switch (command->completion) {
    case COMPLETE_NONE:
        break;
    case COMPLETE_PLACE:
        offer_places(completing, words);
        break;
    case COMPLETE_TENSOR:
        offer_tensors(completing, words);
        break;
    case COMPLETE_TOPIC:
        info_topic_names(topics);
        offer_list(completing, topics, INFO_TOPICS);
        break;
    case COMPLETE_SETTING:
        offer_list(completing, setting_names, setting_count);
        break;
    case COMPLETE_STOP:
        offer_list(completing, stops, ARRAY_LENGTH(stops));
        break;
    case COMPLETE_COMMAND:
        offer_commands(completing);
        break;
    case COMPLETE_RUN:
        offer_runs(completing, search);
        break;
    case COMPLETE_FILE:
        offer_files(completing);
        break;
    case COMPLETE_SAVE:
        offer_save(completing);
        break;
    }
}

/* Where the arguments start: behind the command's word, blanks, and "/ref". */
static size_t arguments_start(const char *line, size_t word_end)
{
    size_t at = word_end;
    if (line[at] == '/')
        at += strcspn(line + at, " \t");
    while (isspace((unsigned char)line[at]))
        at++;
    if (line[at] == '/' && strcspn(line + at, " ") < 6 && line[at + strcspn(line + at, " ")]) {
        at += strcspn(line + at, " ");
        while (isspace((unsigned char)line[at]))
            at++;
    }
    return at;
}

int words_complete(const struct words *words, const struct config_search *search, const char *line,
                   size_t start, size_t end, char ***matches)
{
    struct completing completing = {.before = 0};
    char *text = memory_string_part(line, end);
    size_t length = strlen(text), first = 0;
    start = start > length ? length : start;
    while (isspace((unsigned char)text[first]))
        first++;
    size_t word_end = first;
    while (isalpha((unsigned char)text[word_end]) || text[word_end] == '-')
        word_end++;
    if (start <= first) {
        completing.argument = text + start;
        offer_commands(&completing);
    } else {
        char word[COMMAND_WORD_SIZE];
        const char *arguments;
        struct status ignored = STATUS_NONE;
        const struct command *command =
            command_split(text, word, &arguments, &ignored) ? command_find(word, &ignored) : NULL;
        size_t from = arguments_start(text, word_end);
        from = from > start ? start : from;
        completing.argument = text + from;
        completing.before = start - from;
        if (command)
            offer_arguments(&completing, command, words, search);
    }
    int count = completing.found.count;
    if (count > 0) {
        *matches = memory_zeroed((size_t)count, sizeof(char *));
        for (int i = 0; i < count; i++)
            (*matches)[i] = memory_string(completing.found.names[i]);
    }
    names_free(&completing.found);
    free(text);
    return count;
}
