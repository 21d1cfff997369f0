/* What a session of simulated ranks is started with. */
#include "bench/simulate.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool write_file(const char *folder, const char *name, const char *text,
                       struct status *status)
{
    char *path = memory_format("%s/%s", folder, name);
    bool ok = file_write(path, text, strlen(text), FILE_REPLACE, status);
    free(path);
    return ok;
}

static bool make_folder(const char *folder, const char *name, struct status *status)
{
    char *path = memory_format("%s/%s", folder, name);
    bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
    if (!ok)
        status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
    free(path);
    return ok;
}

static const char small_model[] = "extends: llama\n"
                                  "base_model:\n"
                                  "  hidden_size: 16\n"
                                  "  embeddings: {vocab_size: 32}\n"
                                  "  decoder:\n"
                                  "    block:\n"
                                  "      mixer: {heads: 2, head_groups: 2, head_size: 8}\n"
                                  "      mlp: {intermediate_size: 16}\n";

static const char many_variant[] =
    "order: 9000\n"
    "name: many\n"
    "group: distributed\n"
    "ranks: %d\n"
    "compares_with: simple\n"
    "tolerances: layer_mismatch\n"
    "overrides:\n"
    "  data: {micro_batch_size: 8, maximum_document_length: 8}\n"
    "  distributed: {tensor_parallel: 2, sequence_tensor_parallel: true, pipeline_parallel: 2}\n"
    "  multi_stage: {layers_per_stage: 2}\n"
    "  schedule: {breadth_first_micro_batches: 2}\n";

bool simulation_write_folder(const struct simulation *simulation, const char *folder,
                             const char *self, struct status *status)
{
    char *variant = memory_format(many_variant, simulation->ranks);
    char *launcher =
        memory_format("#!/bin/sh\nexec '%s' simulate %d %d %d %d\n", self, simulation->ranks,
                      simulation->lines, simulation->missing_rank, simulation->missing_instruction);
    char *mpirun = memory_format("%s/mpirun", folder);
    bool ok = make_folder(folder, "models", status) && make_folder(folder, "variants", status) &&
              write_file(folder, "models/small.yaml", small_model, status) &&
              write_file(folder, "variants/many.yaml", variant, status) &&
              write_file(folder, "mpirun", launcher, status);
    if (ok && chmod(mpirun, 0755) != 0)
        ok = status_fail(status, STATUS_IO, "%s: %s", mpirun, strerror(errno));
    free(mpirun);
    free(launcher);
    free(variant);
    return ok;
}
