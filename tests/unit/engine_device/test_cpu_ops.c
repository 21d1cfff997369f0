/* Every operation of the CPU device against the float64 reference, on random cases in each type. */
#include "helper_op_table.h"

int main(int count, char **words)
{
    enum { CASES = 40 };
    static const struct device_options options = {.threads = 2};
    return op_table_run("cpu", &device_cpu, &options, CASES, count > 1 ? words[1] : NULL);
}
