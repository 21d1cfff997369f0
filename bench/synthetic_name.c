#include "bench/synthetic_name.h"

#include "engine/base/memory.h"

char *synthetic_name(int64_t index)
{
    static const char *const layers[] = {"mixer.query", "mixer.key", "mixer.dense", "mlp.layer_1",
                                         "mlp.layer_2", "norm_1",    "norm_2",      "output"};
    const char *layer = layers[index % 8];
    int64_t decoder = index / 8 % 128, batch = index / 1024;
    if (batch % 2)
        return memory_format("bw decoder.%d.%s mb=%d/1024", (int)decoder, layer, (int)batch);
    return memory_format("fw decoder.%d.%s mb=%d/1024", (int)decoder, layer, (int)batch);
}
