/* fuzz: lockstep_engine_config */
/* Bytes as a user's model file, through the whole way: parsing, aliases, inheritance from the
 * models built in, a variant, the checks, libcyaml. What is accepted must be usable, and what is
 * shown of it must load again as the same thing; what is refused must say where. */
#include "engine/config/loader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Nobody divides by these without a check of its own. */
static void check_divisors(const struct config *config)
{
    const struct attention_config *mixer = &config->base_model.block.mixer;
    const struct distributed_config *distributed = &config->distributed;
    require(mixer->heads > 0 && mixer->head_groups > 0 && mixer->head_size > 0);
    require(mixer->heads % mixer->head_groups == 0);
    require(distributed->tensor_parallel > 0 && distributed->pipeline_parallel > 0);
    require(config->data.micro_batch_size % config->schedule.micro_batch_splits == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct status status = STATUS_NONE;
    const char *variant = size % 2 ? "stp2_ce4" : "simple";
    struct config *config =
        config_load_text(NULL, "fuzz.yaml", (const char *)data, size, variant, &status);
    if (!config) {
        /* unsupported: nothing is wrong but that the variant's ranks cannot share the model */
        require(status.code == STATUS_INVALID || status.code == STATUS_UNSUPPORTED);
        require(strstr(status.text, ":") != NULL);
        return 0;
    }
    check_divisors(config);
    struct config *again = config_load_text(NULL, "again.yaml", config->resolved,
                                            strlen(config->resolved), variant, &status);
    require(again && again->hash == config->hash);
    config_free(again);
    config_free(config);
    return 0;
}
