#include "app/arguments.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void word_list_free(struct word_list *list)
{
    free(list->words);
    *list = (struct word_list){0};
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* "-vvv": the letter of a counted option, several times. Returns how many, 0 if it is not that. */
static int repeated(const struct argument *argument, const char *word)
{
    const char *other = argument->other;
    if (argument->kind != ARGUMENT_COUNT || !other || word[0] != '-')
        return 0;
    size_t letters = strspn(word + 1, other + 1);
    return word[1 + letters] == '\0' ? (int)letters : 0;
}

/* "-n4": a number right behind the letter. */
static bool has_number(const struct argument *argument, const char *word)
{
    const char *other = argument->other;
    return argument->kind == ARGUMENT_INTEGER && other && strlen(other) == 2 &&
           strncmp(word, other, 2) == 0 && word[2] >= '0' && word[2] <= '9';
}

/* Whether `word` names the argument; `value` is what follows "=" in it, or NULL. */
static bool names(const struct argument *argument, const char *word, const char **value)
{
    size_t length = strlen(argument->name);
    *value = NULL;
    if ((argument->other && strcmp(word, argument->other) == 0) || repeated(argument, word) > 0)
        return true;
    if (has_number(argument, word)) {
        *value = word + 2;
        return true;
    }
    if (strncmp(word, argument->name, length) != 0)
        return false;
    if (word[length] == '=')
        *value = word + length + 1;
    return word[length] == '\0' || word[length] == '=';
}

static const struct argument *find(const struct argument *arguments, int count, const char *word,
                                   const char **value)
{
    for (int i = 0; i < count; i++)
        if (names(&arguments[i], word, value))
            return &arguments[i];
    return NULL;
}

static bool takes_value(const struct argument *argument)
{
    return argument->kind != ARGUMENT_FLAG && argument->kind != ARGUMENT_COUNT;
}

static bool set_integer(const struct argument *argument, const char *value, struct status *status)
{
    char *end = NULL;
    errno = 0;
    if (!value)
        return status_fail(status, STATUS_INVALID, "%s takes a number", argument->name);
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < 0 || number > INT_MAX)
        return status_fail(status, STATUS_INVALID, "%s takes a number%s, not \"%s\"",
                           argument->name, errno || number > INT_MAX ? " up to 2147483647" : "",
                           value);
    *(int *)argument->target = (int)number;
    return true;
}

static bool set(const struct argument *argument, const char *value, struct status *status)
{
    struct word_list *list = argument->target;
    switch (argument->kind) {
    case ARGUMENT_FLAG:
        *(bool *)argument->target = true;
        return true;
    case ARGUMENT_COUNT:
        (*(int *)argument->target)++;
        return true;
    case ARGUMENT_INTEGER:
        return set_integer(argument, value, status);
    case ARGUMENT_TEXT:
        if (!*value) /* an unset variable of the shell's */
            return status_fail(status, STATUS_INVALID, "%s needs %s, not an empty word",
                               argument->name, argument->value);
        *(const char **)argument->target = value;
        return true;
    case ARGUMENT_TEXTS:
    case ARGUMENT_WORDS:
        ARRAY_PUSH(list->words, list->count, list->capacity, value);
        return true;
    }
    return false;
}

/* Sets the argument at argv[*at]; moves *at to its last word. */
static bool take(const struct argument *argument, const char *value, int argc, char **argv, int *at,
                 struct status *status)
{
    if (!takes_value(argument)) {
        if (value)
            return status_fail(status, STATUS_INVALID, "%s takes no value", argument->name);
        int times = repeated(argument, argv[*at]);
        do {
            set(argument, NULL, status);
        } while (--times > 0);
        return true;
    }
    if (value)
        return set(argument, value, status);
    bool more = *at + 1 < argc && (argument->kind != ARGUMENT_WORDS || !is_option(argv[*at + 1]));
    if (!more)
        return status_fail(status, STATUS_INVALID, "%s needs %s", argv[*at], argument->value);
    do {
        if (!set(argument, argv[++*at], status))
            return false;
    } while (argument->kind == ARGUMENT_WORDS && *at + 1 < argc && !is_option(argv[*at + 1]));
    return true;
}

static bool unknown(const char *word, const struct usage *usage, const struct argument *arguments,
                    int count, struct status *status)
{
    struct word_list candidates = {0};
    for (int i = 0; i < count; i++)
        ARRAY_PUSH(candidates.words, candidates.count, candidates.capacity, arguments[i].name);
    const char *closest = names_closest(word, candidates.words, candidates.count);
    status_fail(status, STATUS_INVALID, "no option %s%s%s%s (see %s --help)", word,
                closest ? "; did you mean " : "", closest ? closest : "", closest ? "?" : "",
                usage->name);
    word_list_free(&candidates);
    return false;
}

void arguments_print(FILE *stream, const struct argument *arguments, int count)
{
    struct text text = {0};
    for (int i = 0; i < count; i++) {
        const struct argument *argument = &arguments[i];
        text_clear(&text);
        bool is_short = argument->other && argument->other[1] != '-'; /* no room for two long */
        text_format(&text, "  %s%s%s", is_short ? argument->other : "", is_short ? ", " : "",
                    argument->name);
        if (argument->value)
            text_format(&text, " %s%s", argument->value,
                        argument->kind == ARGUMENT_WORDS ? "..." : "");
        text_pad(&text, 30);
        fprintf(stream, "%s%s\n", text.data, argument->help);
    }
    text_free(&text);
}

static void print_help(const struct usage *usage, const struct argument *arguments, int count)
{
    printf("Usage: %s %s\n\n%s\n", usage->name, usage->synopsis, usage->text);
    if (count > 0) {
        printf("\nOptions:\n");
        arguments_print(stdout, arguments, count);
    }
    printf("\nOptions of every command: lockstep --help\n");
}

enum arguments_result arguments_parse(int argc, char **argv, const struct usage *usage,
                                      const struct argument *arguments, int count,
                                      struct word_list *positional, struct status *status)
{
    bool options_end = false;
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at], *value;
        if (!options_end && strcmp(word, "--") == 0) {
            options_end = true;
            continue;
        }
        if (!options_end && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(usage, arguments, count);
            return ARGUMENTS_HELP;
        }
        if (!options_end && is_option(word)) {
            const struct argument *argument = find(arguments, count, word, &value);
            if (!argument ? !unknown(word, usage, arguments, count, status)
                          : !take(argument, value, argc, argv, &at, status))
                return ARGUMENTS_WRONG;
            continue;
        }
        if (!positional) {
            status_fail(status, STATUS_INVALID, "\"%s\" is one word too many (usage: %s %s)", word,
                        usage->name, usage->synopsis);
            return ARGUMENTS_WRONG;
        }
        ARRAY_PUSH(positional->words, positional->count, positional->capacity, word);
    }
    return ARGUMENTS_OK;
}

bool arguments_advise(int argc, char **argv, const struct advice *advices, int count,
                      struct status *status)
{
    for (int at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
        size_t length = strcspn(argv[at], "=");
        for (int i = 0; i < count; i++)
            if (strlen(advices[i].option) == length &&
                strncmp(advices[i].option, argv[at], length) == 0)
                return status_fail(status, STATUS_INVALID, "no option %s: %s", advices[i].option,
                                   advices[i].instead);
    }
    return true;
}

bool arguments_take(int *argc, char **argv, const struct argument *arguments, int count,
                    struct status *status)
{
    int kept = 1, at;
    for (at = 1; at < *argc && strcmp(argv[at], "--") != 0; at++) {
        const char *value;
        const struct argument *argument = find(arguments, count, argv[at], &value);
        if (!argument)
            argv[kept++] = argv[at];
        else if (!take(argument, value, *argc, argv, &at, status))
            return false;
    }
    for (; at < *argc; at++)
        argv[kept++] = argv[at];
    argv[kept] = NULL;
    *argc = kept;
    return true;
}
