/* The view of what the steps reported, on a made-up run. */
#include "helper_made_up.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct step_report *reports_of(const double *losses, int count)
{
    struct step_report *reports = memory_zeroed((size_t)count, sizeof(*reports));
    for (int i = 0; i < count; i++)
        reports[i] = (struct step_report){.step = i + 1,
                                          .loss = losses[i],
                                          .gradient_norm = 1,
                                          .learning_rate = 1,
                                          .loss_scale = 1,
                                          .seconds = 123};
    return reports;
}

/* A loss that is lost for a while: at the first step, and in between. */
static void fill(struct made_up *made, struct picture *picture)
{
    static const double test[] = {NAN, 1, INFINITY, 3, NAN, 2}, reference[] = {5, 1, 2, 3};
    (void)made;
    if (picture->request.kind == PICTURE_STATE)
        picture->state = memory_zeroed(1, sizeof(*picture->state));
    if (picture->request.kind != PICTURE_METRICS)
        return;
    picture->metrics = memory_zeroed(1, sizeof(*picture->metrics));
    *picture->metrics = (struct metrics_picture){.steps = 9,
                                                 .test = reports_of(test, 6),
                                                 .test_count = 6,
                                                 .reference = reports_of(reference, 4),
                                                 .reference_count = 4};
}

static void test_lines_go_on_behind_what_is_not_finite(void **state)
{
    (void)state;
    struct made_up made = {.fill = fill, .ascii = true};
    char *screen = made_up_screen(&made, ":view metrics\n:only", 40, 200);
    assert_has(screen, "!_!.!_  1..5");
    assert_has(screen, "#__.  1..5");
    assert_has(screen, "!_!_  0..0");
    assert_has_not(screen, "123"); /* a script's screens are the same each time */
    free(made.posted);
    free(screen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_go_on_behind_what_is_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
