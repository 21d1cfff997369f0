/* Conditions of breakpoints: any text is either read or refused with a message, and what was read
 * has a value. */
/* fuzz: lockstep_engine_session */
#include "engine/session/conditions.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = memory_string_part((const char *)data, size);
    struct status status = STATUS_NONE;
    struct condition *condition = condition_parse(text, &status);
    double variables[VARIABLE_COUNT];
    for (int i = 0; i < VARIABLE_COUNT; i++)
        variables[i] = i % 3 == 0 ? NAN : i;
    if (condition) {
        double value = condition_value(condition, variables);
        bool holds = condition_holds(condition, variables);
        if (holds != (value != 0 && !isnan(value)))
            abort();
        (void)condition_uses_tensor(condition);
    } else if (status.code == STATUS_OK) {
        abort(); /* refused without a reason */
    }
    condition_free(condition);
    free(text);
    return 0;
}
