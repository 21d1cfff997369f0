#include "engine/compare/tables.h"

#include "engine/base/memory.h"

#include <string.h>

const char *table_of_wholes(const char *table)
{
    static const char *const of_logs[] = {"layer_mismatch", "mismatch_duplicate_gradients",
                                          "pp_tied_weight"};
    for (int i = 0; table && i < ARRAY_LENGTH(of_logs); i++)
        if (strcmp(table, of_logs[i]) == 0)
            return "layer_match";
    return table;
}
