/* Configurations of the tests: those of configs/, with sizes that take milliseconds. */
#ifndef TESTS_UNIT_CONFIGS_H
#define TESTS_UNIT_CONFIGS_H

#include "engine/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

/* Where configurations are searched; those built in where the source tree is not there, as on a
 * machine to which tests were carried. Nothing is owned. */
static inline struct config_search search_configs(const char *const *overrides, int count)
{
    static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};
    bool there = access(directories[0], R_OK) == 0;
    return (struct config_search){directories, there ? 1 : 0, overrides, count};
}

/* MODEL[/VARIANT] with `overrides` ("key.path=value"); fails the test if it does not load. Free
 * with config_free. */
static inline struct config *load_config(const char *name, const char *const *overrides, int count)
{
    struct config_search search = search_configs(overrides, count);
    struct status status = STATUS_NONE;
    struct config *config = config_load(&search, name, &status);
    if (!config)
        fail_msg("%s", status.text);
    return config;
}

/* The same with 64 tokens, 32 channels and 48 in the MLP. */
static inline struct config *load_tiny_config(const char *name)
{
    static const char *const overrides[] = {"data.micro_batch_size=64", "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48"};
    return load_config(name, overrides, 3);
}

#endif
