/* Command lines without a run: commands, abbreviations, arguments, slices, completion. Commands
 * that look for files or load models are left out. */
/* fuzz: lockstep_engine_session */
#include "engine/session/commands.h"
#include "engine/session/slices.h"

#include "engine/base/memory.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void ignore_event(void *context, enum event_kind kind, const char *text)
{
    (void)context, (void)kind, (void)text;
}

static bool never(void *context)
{
    (void)context;
    return false;
}

static void drop_snapshot(void *context, struct snapshot *snapshot)
{
    (void)context;
    const struct snapshot *given = snapshot;
    snapshot_release(&given);
}

static void drop_words(void *context, struct words *words)
{
    (void)context;
    words_release(words);
}

static bool touches_files(const char *line)
{
    char word[COMMAND_WORD_SIZE];
    const char *arguments;
    struct status status = STATUS_NONE;
    while (*line == ' ' || (*line >= '\t' && *line <= '\r'))
        line++;
    const struct command *command =
        command_split(line, word, &arguments, &status) ? command_find(word, &status) : NULL;
    return command && (!strcmp(command->name, "file") || !strcmp(command->name, "source") ||
                       !strcmp(command->name, "save"));
}

static void complete(const char *line)
{
    char **matches = NULL;
    size_t length = strlen(line), start = length;
    while (start > 0 && line[start - 1] != ' ')
        start--;
    int count = words_complete(NULL, NULL, line, start, length, &matches);
    for (int i = 0; i < count; i++)
        free(matches[i]);
    free(matches);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_options options = {.device = "cpu", .threads = 1};
    struct debugger_sink sink = {
        .emit = ignore_event, .cancelled = never, .publish = drop_snapshot, .loaded = drop_words};
    struct debugger *debugger = debugger_create(&options, &sink);
    char *text = memory_string_part((const char *)data, size), *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        struct status status = STATUS_NONE;
        struct slices slices;
        struct shape shape = {.rank = 3, .dims = {4, 5, 6}};
        if (slices_parse(line, shape, &slices, &status) && slices_elements(&slices) > 120)
            abort();
        if (touches_files(line))
            continue;
        complete(line);
        status = STATUS_NONE;
        if (!debugger_execute(debugger, line, &status) && !status.text[0])
            abort(); /* failed without a reason */
    }
    free(text);
    debugger_free(debugger);
    return 0;
}
