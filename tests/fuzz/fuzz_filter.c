/* Filters of lists: any text is either taken or refused with a message, the filter that was in
 * force stays when it is refused, and what was taken can be asked and reads back as the same. */
/* fuzz: lockstep_ui */
#include "ui/filter.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* What passes, as one bit for each of a few results. */
static unsigned passes(const struct filter *filter)
{
    static char name[] = "gradient decoder.1.mlp.layer_2.weight mb=2/4", odd[] = "\xff\x1b[m~&&";
    struct picture_instruction instruction = {.layer = name, .part = odd, .micro_batch = 1};
    struct picture_value values[] = {{.name = name, .producer = 0}, {.name = odd, .producer = -1}};
    struct program_picture program = {
        .instructions = &instruction, .instruction_count = 1, .values = values, .value_count = 2};
    unsigned bits = 0;
    for (int i = 0; i < 8; i++) {
        struct picture_result result = {.value = i % 2,
                                        .status = i % 4 > 1 ? MARK_NAN : MARK_WITHIN,
                                        .worst = i > 5 ? NAN : (float)i,
                                        .error = 1e-3f,
                                        .measured = i % 3 == 0};
        bits |= (unsigned)filter_passes(filter, &program, &result, i) << i;
    }
    return bits;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = memory_string_part((const char *)data, size);
    struct filter filter = {0};
    struct status status = STATUS_NONE;
    require(passes(&filter) == 0xff); /* no filter */
    require(filter_set(&filter, "mlp && mb == 1", &status));
    unsigned before = passes(&filter);
    bool taken = filter_set(&filter, text, &status);
    if (!taken) {
        require(status.code != STATUS_OK && status.text[0]);
        require(strcmp(filter.text, "mlp && mb == 1") == 0 && passes(&filter) == before);
    } else if (text[0]) {
        struct filter again = {0};
        require(strcmp(filter.text, text) == 0);
        require(filter_set(&again, filter.text, &status) && passes(&again) == passes(&filter));
        filter_free(&again);
    } else {
        require(!filter.text && passes(&filter) == 0xff);
    }
    filter_free(&filter);
    free(text);
    return 0;
}
