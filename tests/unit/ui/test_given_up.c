/* Ctrl-C while a quick picture of a large tensor is on its way: what it leaves out is not measured
 * afterwards. On a made-up run in a real pseudo-terminal. */
#include "helper_screen.h"

#include "engine/base/memory.h"
#include "engine/session/engine.h"
#include "engine/session/pictures.h"
#include "engine/session/snapshot.h"
#include "ui/ui.h"

#include <locale.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef LOCKSTEP_HAVE_VTERM

enum {
    SMALL = 24,
    LARGE = 90,
    ROWS = 10
}; /* of the screens; of the tensor: on the large one only */

/* Seen by the test and by the program on the terminal. */
struct shared {
    atomic_int executed;        /* commands */
    atomic_int quick, thorough; /* pictures of the tensor that were begun */
    atomic_int larger;          /* pictures of a window that only the larger screen has */
    atomic_int before_larger;   /* thorough ones that came before it */
    atomic_int go;              /* the first quick one may end */
};

static void begin(void *state, const struct session_options *options,
                  const struct debugger_sink *sink)
{
    (void)state;
    (void)options;
    struct snapshot facts = {
        .state = RUN_STOPPED, .run = memory_string("run"), .reference = memory_string("reference")};
    sink->publish(sink->context, snapshot_of(&facts));
}

static bool execute(void *state, const char *line, bool *quit, struct status *status)
{
    (void)line;
    (void)quit;
    (void)status;
    atomic_fetch_add(&((struct shared *)state)->executed, 1);
    return true;
}

static void fill_program(struct picture *picture)
{
    picture->program = memory_zeroed(1, sizeof(*picture->program));
    picture->program->value_count = 1;
    picture->program->values = memory_zeroed(1, sizeof(*picture->program->values));
    picture->program->values[0] =
        (struct picture_value){.name = memory_string("fw short"), .producer = -1};
}

static void fill_state(struct picture *picture)
{
    struct state_picture *state = picture->state = memory_zeroed(1, sizeof(*state));
    state->run = memory_string("run");
    state->reference = memory_string("reference");
    state->steps = 1;
    state->focus = state->first_value = state->first_step = -1;
}

static void fill_tensor(struct shared *shared, struct picture *picture)
{
    struct tensor_picture *tensor = picture->tensor = memory_zeroed(1, sizeof(*tensor));
    const struct picture_request *request = &picture->request;
    bool first = request->quick && atomic_fetch_add(&shared->quick, 1) == 0;
    if (request->rows > ROWS && atomic_fetch_add(&shared->larger, 1) == 0)
        atomic_store(&shared->before_larger, atomic_load(&shared->thorough));
    atomic_fetch_add(&shared->thorough, !request->quick);
    while (first && !atomic_load(&shared->go))
        sched_yield();
    tensor->name = memory_string("fw short");
    tensor->producer = memory_string("");
    tensor->shape = tensor->whole = (struct shape){.rank = 2, .dims = {1000, 1000}};
    tensor->stride = tensor->planes = 1;
    tensor->scale = 1;
    tensor->all_rows = tensor->all_columns = 1000;
    tensor->rows = tensor->columns = 1;
    tensor->row = picture->request.row;
    tensor->test = memory_zeroed(1, sizeof(double));
    tensor->partial = picture->request.quick;
    tensor->test_statistics.zeros = tensor->partial ? -1 : 4321;
}

static struct picture *take(void *state, const struct picture_request *request)
{
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    picture->identity = 1;
    if (request->kind == PICTURE_PROGRAM)
        fill_program(picture);
    else if (request->kind == PICTURE_STATE)
        fill_state(picture);
    else if (request->kind == PICTURE_TENSOR)
        fill_tensor(state, picture);
    return picture;
}

static void end(void *state)
{
    (void)state; /* the test's own */
}

static int program(void *context)
{
    struct session_engine engine = {
        .state = context, .start = begin, .execute = execute, .picture = take, .free = end};
    struct ui_options options = {.device = "cpu", .engine = &engine};
    struct status status = STATUS_NONE;
    setenv("XDG_STATE_HOME", "/nonexistent", 1);
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    setlocale(LC_ALL, "C.UTF-8");
    return ui_run(&options, &status) ? 0 : 1;
}

static bool has_come(struct screen *screen, const void *context)
{
    (void)screen;
    return atomic_load((const atomic_int *)context) > 0;
}

/* How many thorough pictures follow a quick one, with and without Ctrl-C while that is made. */
static int thorough_ones(bool interrupts)
{
    struct screen screen;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    screen_start(&screen, SMALL, 80, program, shared);
    screen_wait_text(&screen, "run ~ reference");
    screen_wait(&screen, has_come, &shared->executed, "the first command");
    screen_type(&screen, "4");
    screen_wait(&screen, has_come, &shared->quick, "the first picture");
    if (interrupts) {
        screen_type(&screen, "\003");
        screen_wait_text(&screen, "the rest of the tensor is not looked at");
    }
    atomic_store(&shared->go, 1);
    screen_wait_text(&screen, interrupts ? "not measured yet" : "zeros 4,321");
    screen_resize(&screen, LARGE, 80); /* asks for another one, and is no wish of the user's */
    screen_wait(&screen, has_come, &shared->larger, "a larger picture");
    int thorough = atomic_load(&shared->before_larger);
    screen_type(&screen, "j"); /* from now on the user wants to see all again */
    screen_wait_text(&screen, "zeros 4,321");
    screen_type(&screen, "q");
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    screen_end(&screen);
    munmap(shared, sizeof(*shared));
    return thorough;
}

static void test_given_up(void **state)
{
    (void)state;
    assert_true(thorough_ones(false) > 0);
    assert_int_equal(thorough_ones(true), 0);
}

#endif

int main(void)
{
#ifdef LOCKSTEP_HAVE_VTERM
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_given_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#else
    print_message("built without libvterm: nothing is tested\n");
    return 0;
#endif
}
