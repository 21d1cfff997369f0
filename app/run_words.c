#include "app/run_words.h"

#include "engine/base/memory.h"

bool run_words_take(const struct usage *usage, const struct word_list *positional,
                    struct session_file *file, struct status *status)
{
    const struct {
        const char *name, *value;
    } needy[] = {{"--fault", file->fault},
                 {"--against", file->against},
                 {"--init-from", file->init_from},
                 {"--data", file->data}};
    if (positional->count > 1)
        return status_fail(status, STATUS_INVALID,
                           "one run at a time, MODEL/VARIANT: \"%s\" is one word too many",
                           positional->words[1]);
    file->run = positional->count ? positional->words[0] : NULL;
    for (int i = 0; !file->run && i < ARRAY_LENGTH(needy); i++)
        if (needy[i].value)
            return status_fail(status, STATUS_INVALID, "%s needs a run: %s MODEL/VARIANT",
                               needy[i].name, usage->name);
    return true;
}
