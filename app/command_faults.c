/* lockstep faults: the faults that have names. */
#include "app/app.h"
#include "app/arguments.h"

#include "engine/program/faults.h"

int app_faults(int argc, char **argv, const struct app_options *app)
{
    static const struct usage usage = {"lockstep faults", "[options]",
                                       "Lists the faults that lockstep run, test and debug put "
                                       "into a run with --fault NAME, what\n"
                                       "each stands for, and a run to try it on."};
    struct status status = STATUS_NONE;
    int count = 0;
    (void)app;
    enum arguments_result parsed = arguments_parse(argc, argv, &usage, NULL, 0, NULL, &status);
    if (parsed != ARGUMENTS_OK)
        return parsed == ARGUMENTS_HELP ? EXIT_DONE : app_complain(EXIT_USAGE, "%s", status.text);
    const struct fault_ready *faults = faults_ready(&count);
    for (int i = 0; i < count; i++) {
        printf("%s\n    %s\n    = %s\n    try: lockstep debug %s --fault %s\n", faults[i].name,
               faults[i].imitates, faults[i].spec, faults[i].run, faults[i].name);
        if (faults[i].needs && faults[i].needs[0])
            printf("    needs %s\n", faults[i].needs);
    }
    return EXIT_DONE;
}
