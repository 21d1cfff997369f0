/* `lockstep rank`: a rank of a run, in a process of its own. Started by the engine, through mpirun
 * or another launcher; of no use by hand (docs/distributed.md). */
#include "app/app.h"

#include "engine/ranks/rank.h"

int app_rank(int argc, char **argv, const struct app_options *options)
{
    struct status status = STATUS_NONE;
    (void)argv, (void)options;
    if (argc > 1)
        return app_complain(EXIT_USAGE, "rank takes no arguments: the engine starts it");
    return rank_serve(&status) ? EXIT_DONE : app_complain(EXIT_FAILED, "%s", status.text);
}
