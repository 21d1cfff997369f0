/* What there is to read on a screen that has little room for it, on made-up runs. */
#include "helper_made_up.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VALUES = 3 };
static const char *const names[VALUES] = {
    "gradient decoder.1.a_layer_with_a_long_name.and_a_part_of_it.weight mb=0/4",
    "gradient decoder.1.a_layer_with_a_long_name.and_a_part_of_it.weight mb=1/4", "fw short"};

/* A run whose tensors are large: a quick picture of one has no statistics. */
struct large_run {
    struct made_up made; /* first: what `fill` gets is this */
    int quick, thorough; /* pictures of tensors so far */
    bool never;          /* thorough ones are partial, too */
};

static void fill_program(struct picture *picture)
{
    picture->program = memory_zeroed(1, sizeof(*picture->program));
    picture->program->value_count = VALUES;
    picture->program->values = memory_zeroed(VALUES, sizeof(*picture->program->values));
    for (int v = 0; v < VALUES; v++)
        picture->program->values[v] =
            (struct picture_value){.name = memory_string(names[v]), .producer = -1};
}

static void fill_state(struct picture *picture)
{
    struct state_picture *state = picture->state = memory_zeroed(1, sizeof(*state));
    state->run = memory_string("run");
    state->reference = memory_string("reference");
    state->steps = 1;
    state->has_reference = true;
    state->focus = state->first_value = state->first_step = -1;
    state->result_count = VALUES;
    state->results = memory_zeroed(VALUES, sizeof(*state->results));
    for (int v = 0; v < VALUES; v++)
        state->results[v] = (struct picture_result){
            .value = v, .status = MARK_DIVERGED, .worst = 2, .error = 1, .measured = true};
}

static void fill_tensor(struct large_run *run, struct picture *picture)
{
    const struct picture_request *request = &picture->request;
    struct tensor_picture *tensor = picture->tensor = memory_zeroed(1, sizeof(*tensor));
    run->quick += request->quick;
    run->thorough += !request->quick;
    tensor->value = request->value < 0 ? 0 : request->value;
    tensor->name = memory_string(names[tensor->value]);
    tensor->producer = memory_string("");
    tensor->shape = tensor->whole = (struct shape){.rank = 2, .dims = {1000, 1000}};
    tensor->stride = tensor->planes = 1;
    tensor->scale = 1;
    tensor->compared = true;
    tensor->all_rows = tensor->all_columns = 1000;
    tensor->metrics.different = tensor->metrics.count = 1000000;
    tensor->metrics.max_index = 123456;
    tensor->limits.rms_relative = tensor->limits.max_relative = INFINITY;
    tensor->rows = tensor->columns = 1;
    tensor->row = request->row;
    tensor->test = memory_zeroed(1, sizeof(double));
    tensor->reference = memory_zeroed(1, sizeof(double));
    tensor->partial = request->quick || run->never;
    tensor->test_statistics.zeros = tensor->partial ? -1 : 4321;
    tensor->reference_statistics.zeros = tensor->test_statistics.zeros;
}

static void fill(struct made_up *made, struct picture *picture)
{
    if (picture->request.kind == PICTURE_PROGRAM)
        fill_program(picture);
    else if (picture->request.kind == PICTURE_STATE)
        fill_state(picture);
    else if (picture->request.kind == PICTURE_TENSOR)
        fill_tensor((struct large_run *)made, picture);
}

static char *screen_of(struct large_run *run, const char *keys, int cols)
{
    run->made.fill = fill;
    return made_up_screen(&run->made, keys, 24, cols);
}

static void done(struct large_run *run, char *screen)
{
    free(run->made.posted);
    run->made.posted = NULL;
    free(screen);
}

/* A large tensor is there at once, and whole a moment later, after each move. */
static void test_large_tensor(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *screen = screen_of(&run, ":tensor fw short\nz", 80);
    assert_has(screen, "Tensor  fw short");
    assert_has(screen, "zeros 4,321");
    assert_has_not(screen, "not measured yet");
    assert_true(run.quick > 0 && run.thorough > 0);
    done(&run, screen);
    struct large_run moved = {0};
    screen = screen_of(&moved, ":tensor fw short\nz\nj j j", 80);
    assert_has(screen, "zeros 4,321");
    assert_int_equal(moved.quick, run.quick + 3);
    assert_int_equal(moved.thorough, run.thorough + 3);
    done(&moved, screen);
    struct large_run never = {.never = true};
    screen = screen_of(&never, ":tensor fw short\nz\n:tensor worst", 80);
    assert_has(screen, "not all of it was looked at");
    assert_has(screen, "test      not measured yet");
    assert_has(screen, "not all elements were looked at yet");
    done(&never, screen);
}

/* What a saved file leaves out it says. */
static void test_saved_in_part(void **state)
{
    (void)state;
    char path[] = "/tmp/lockstep-saved-XXXXXX";
    int fd = mkstemp(path);
    char *keys = memory_format(":tensor fw short\n4\n:save! --format json %s", path);
    assert_true(fd >= 0);
    for (int never = 0; never < 2; never++) {
        struct large_run run = {.never = never};
        char text[4096] = "";
        done(&run, screen_of(&run, keys, 80));
        FILE *file = fopen(path, "r");
        assert_true(file && fread(text, 1, sizeof(text) - 1, file) > 0);
        fclose(file);
        assert_has(text, "fw short");
        (never ? assert_has : assert_has_not)(text, "\"partial\"");
    }
    close(fd);
    unlink(path);
    free(keys);
}

/* Where the largest difference is has room on 80 columns, and on half of them. */
static void test_verdict(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *screen = screen_of(&run, ":tensor fw short\nz", 80);
    assert_has(screen, "max/scale 0.0e+00 (no limit) at [123,456]");
    assert_has(screen, "all 1,000,000 different");
    done(&run, screen);
    screen = screen_of(&run, ":tensor fw short\nz", 50);
    assert_has(screen, "worst [123,456]  NaN 0 inf 0");
    done(&run, screen);
}

/* Names that only their ends tell apart are told apart. */
static void test_names(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *screen = screen_of(&run, "3", 80);
    assert_has(screen, "gradient decoder.1.a_…t_of_it.weight mb=0/4 ");
    assert_has(screen, "gradient decoder.1.a_…t_of_it.weight mb=1/4 ");
    assert_has(screen, " fw short  ");
    done(&run, screen);
}

/* A message that is wider than the screen goes on in the next line; its second line is the log's.
 */
static void test_messages(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *screen = screen_of(&run, ":view nothing", 80);
    assert_has(screen, "\nno view \"nothing\": there are tests,");
    assert_has(screen, "ranks,\nmetrics, log, help");
    done(&run, screen);
    screen = screen_of(&run, "3\n:filter rel_rms > && x", 80);
    assert_has(screen, "a number or a name is missing at column 10:\n");
    assert_has_not(screen, "^J");
    done(&run, screen);
    static const struct {
        const char *command, *said;
    } wrong[] = {{":resize sideways", "not \"sideways\""},
                 {":find nothing", "not \"nothing\""},
                 {":mouse sometimes", "not \"sometimes\""},
                 {":show-step 7", "from 1 to 0, not \"7\""},
                 {":focus nothing", "no view \"nothing\""},
                 {":tensor nothing", "no tensor \"nothing\""},
                 {":ranks nothing", "no ranks \"nothing\""},
                 {":move sideways", "\"move sideways\" does nothing in this view"},
                 {"2\nspace\n?\nspace", "space does nothing here"}};
    screen = screen_of(&run, ":tensor\n:ranks\n:tensor", 80); /* alone they open their views */
    assert_has(screen, "max/scale");
    assert_has_not(screen, "none of:");
    done(&run, screen);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        screen = screen_of(&run, wrong[i].command, 80);
        assert_has(screen, wrong[i].said);
        done(&run, screen);
    }
}

/* Help begins with the view that it is asked in, and tells each command once. */
static void test_help(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *screen = made_up_screen((run.made.fill = fill, &run.made), "4\n?\nz", 130, 100);
    const char *tensor = strstr(screen, " Tensor "), *keys = strstr(screen, "KEYS OF ALL VIEWS");
    const char *program = strstr(screen, " Program ");
    assert_true(tensor && keys && program && tensor < keys && keys < program);
    assert_has(screen, "j, down ");
    assert_int_equal(count_of(screen, " move down"), 1);
    assert_int_equal(count_of(screen, " tensor next-slice"), 1);
    done(&run, screen);
    screen = made_up_screen(&run.made, "4\n?\n2\n?\nz", 130, 100);
    assert_true(strstr(screen, " Program ") < strstr(screen, "KEYS OF ALL VIEWS"));
    done(&run, screen);
    static const char *const views[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        screen = screen_of(&run, views[i], 30); /* its key is there, however few fit */
        assert_has(screen, " ? help");
        done(&run, screen);
    }
}

/* The log is read to the right as far as there is something, and new lines from their beginning. */
static void test_log(void **state)
{
    (void)state;
    struct large_run run = {0};
    char *many = memory_zeroed(200, 1), *keys;
    memset(many, 'x', 150);
    keys = memory_format(":echo %s end\n8\nspace l l l l l l l l l l l l", many);
    char *screen = screen_of(&run, keys, 80);
    assert_has(screen, "from column 141");
    assert_has(screen, " end");
    done(&run, screen);
    free(keys);
    keys = memory_format(":echo %s end\n8\nspace l l l\n:echo again", many);
    screen = screen_of(&run, keys, 80);
    assert_has_not(screen, "from column");
    assert_has(screen, "(lockstep) echo again");
    done(&run, screen);
    free(keys);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_tensor), cmocka_unit_test(test_saved_in_part),
        cmocka_unit_test(test_verdict),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_messages),     cmocka_unit_test(test_help),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
