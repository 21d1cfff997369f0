#include "engine/ranks/launch_options.h"

#include <stdio.h>

static void add(struct rank_launch_words *words, const char *option, const char *value)
{
    if (!value)
        return;
    words->words[words->count++] = option;
    words->words[words->count++] = value;
}

void rank_launch_words(const struct rank_launch *launch, struct rank_launch_words *words)
{
    words->count = 0;
    if (launch->in_process)
        words->words[words->count++] = "--in-process";
    add(words, "--launcher", launch->launcher);
    add(words, "--hostfile", launch->hostfile);
    add(words, "--engine-address", launch->address);
    snprintf(words->timeout, sizeof(words->timeout), "%d", launch->timeout);
    add(words, "--rank-timeout", launch->timeout > 0 ? words->timeout : NULL);
    add(words, "--collectives",
        launch->collectives ? rank_collectives_name(launch->collectives) : NULL);
}
