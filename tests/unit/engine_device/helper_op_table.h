/* Every kind of operation that a device computes, in each type, as tests of one program. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_HELPER_OP_TABLE_H
#define TESTS_UNIT_ENGINE_DEVICE_HELPER_OP_TABLE_H

#include "engine/device/device.h"

/* Runs `cases` random cases of each kind and type against the float64 reference; of those kinds
 * only whose names match `filter` (as cmocka's filters do), if it is not NULL. `ops` is opened for
 * each anew, with `options`. Gives what main() returns. */
int op_table_run(const char *group, const struct device_ops *ops,
                 const struct device_options *options, int cases, const char *filter);

#endif
