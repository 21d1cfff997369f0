/* A model small enough for tests: 32 channels, 64 words, batches of 64 tokens. */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

/* Elements of an array of overrides ("--set"). */
#define TINY_MODEL                                                                                 \
    "base_model.embeddings.vocab_size=64", "base_model.hidden_size=32",                            \
        "base_model.decoder.block.mixer.heads=2", "base_model.decoder.block.mixer.head_groups=2",  \
        "base_model.decoder.block.mixer.head_size=16",                                             \
        "base_model.decoder.block.mlp.intermediate_size=48", "data.micro_batch_size=64",           \
        "data.type=random"

#endif
