/* Every operation of the CUDA device against the float64 reference, on random cases in each type:
 * the cases that the CPU device must pass. LOCKSTEP_TEST_CASES sets how many for each. */
#include "helper_module.h"
#include "helper_op_table.h"

#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
enum { EMULATED_CASES = 3 }; /* a fiber for each thread of the GPU is slow there */
#else
enum { EMULATED_CASES = 12 };
#endif
enum { CASES = 100 };

int main(int count, char **words)
{
    static const struct device_options options = {0};
    const char *asked = getenv("LOCKSTEP_TEST_CASES");
    int cases = asked ? atoi(asked) : module_is_emulated() ? EMULATED_CASES : CASES;
    const struct device_ops *ops = module_table();
    if (!ops)
        return module_missing();
    return op_table_run("cuda", ops, &options, cases, count > 1 ? words[1] : NULL);
}
