/* The tests: models, groups, tests. Enter opens a test's run in the debugger, r runs tests in a
 * process of its own. */
#include "ui/state.h"
#include "ui/test_filter.h"
#include "ui/test_run.h"

#include "engine/base/memory.h"
#include "engine/suite/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row: a model (group and test -1), one of its groups (test -1), or a test. */
struct test_row {
    int model, group, test;
};

struct tests_view {
    struct test_list *tests; /* NULL: `problem` says why */
    char *problem;
    struct test_choice *choices; /* [tests] as `lockstep test` without options chooses */
    bool *marked;                /* [tests] by the user */
    bool *unfolded;              /* [models] */
    bool *folded;                /* [models * GROUP_COUNT] groups of unfolded models */
    bool show_skipped;
    bool announced; /* a first frame was drawn without the tests, which take a moment to read */
    char *filter;
    struct list list;
    struct test_row *rows;
    int row_count, row_capacity;
    int models, kept; /* that are shown, folded or not */
};

static bool shows(const struct ui *ui, const struct tests_view *view, int test)
{
    bool skipped = view->choices[test].choice != CHOICE_RUN;
    if (skipped && !view->show_skipped)
        return false;
    if (!view->filter)
        return true;
    const struct test_result *result = test_run_result(ui->tests, view->tests->tests[test].id);
    return test_filter_passes(view->filter, view->tests, test, result ? result->outcome : NULL);
}

static bool is_folded(const struct tests_view *view, const struct test_row *row)
{
    if (view->filter)
        return false;
    return row->group < 0 ? !view->unfolded[row->model]
                          : view->folded[row->model * GROUP_COUNT + row->group];
}

static void fold(struct tests_view *view, const struct test_row *row, bool folded)
{
    if (row->group < 0)
        view->unfolded[row->model] = !folded;
    else
        view->folded[row->model * GROUP_COUNT + row->group] = folded;
}

static void add_row(struct tests_view *view, int model, int group, int test)
{
    struct test_row row = {model, group, test};
    ARRAY_PUSH(view->rows, view->row_count, view->row_capacity, row);
}

/* Tests of a group stand together. */
static void add_model(const struct ui *ui, struct tests_view *view, int model)
{
    int group = -1;
    bool any = false;
    for (int t = 0; t < view->tests->test_count; t++) {
        const struct test_case *test = &view->tests->tests[t];
        if (test->model != model || !shows(ui, view, t))
            continue;
        view->kept++;
        view->models += !any;
        if (!any)
            add_row(view, model, -1, -1);
        any = true;
        if (is_folded(view, &(struct test_row){model, -1, -1}))
            continue;
        if ((int)test->group != group)
            add_row(view, model, (int)test->group, -1);
        group = (int)test->group;
        if (!is_folded(view, &(struct test_row){model, group, -1}))
            add_row(view, model, group, t);
    }
}

static void build_rows(const struct ui *ui, struct tests_view *view)
{
    view->row_count = view->models = view->kept = 0;
    for (int m = 0; view->tests && m < view->tests->model_count; m++)
        add_model(ui, view, m);
    list_resize(&view->list, view->row_count);
}

static void load(struct ui *ui, struct tests_view *view)
{
    struct status status = STATUS_NONE;
    const struct selection everything = {0};
    view->tests = test_list_create(&ui->options->search, NULL, 0, &status);
    if (view->tests) {
        view->choices = memory_zeroed((size_t)view->tests->test_count, sizeof(*view->choices));
        view->marked = memory_zeroed((size_t)view->tests->test_count, sizeof(*view->marked));
        size_t models = (size_t)view->tests->model_count;
        view->unfolded = memory_zeroed(models, sizeof(*view->unfolded));
        view->folded = memory_zeroed(models * GROUP_COUNT, sizeof(*view->folded));
    }
    if (!view->tests || !selection_apply(&everything, view->tests, view->choices, &status))
        view->problem = memory_string(status.text);
    build_rows(ui, view);
}

static void *create(struct ui *ui)
{
    (void)ui;
    return memory_zeroed(1, sizeof(struct tests_view));
}

static void destroy(void *state)
{
    struct tests_view *view = state;
    test_list_free(view->tests);
    free(view->problem);
    free(view->choices);
    free(view->marked);
    free(view->unfolded);
    free(view->folded);
    free(view->filter);
    free(view->rows);
    free(view);
}

static const struct test_row *selected_row(const struct tests_view *view)
{
    return view->list.selected < view->row_count ? &view->rows[view->list.selected] : NULL;
}

/* ---- drawing ---- */

static enum theme_role outcome_role(const char *word)
{
    static const struct {
        const char *word;
        enum theme_role role;
    } roles[] = {{"PASSED", THEME_PASSED},
                 {"FAILED", THEME_FAILED},
                 {"ERROR", THEME_FAILED},
                 {"SKIPPED", THEME_SKIPPED},
                 {TEST_RUN_TO_COME, THEME_RUNNING}};
    for (int i = 0; i < ARRAY_LENGTH(roles); i++)
        if (strcmp(roles[i].word, word) == 0)
            return roles[i].role;
    return THEME_NORMAL;
}

static int sign_of(const struct test_row *row)
{
    return row->group < 0 ? 1 : 3;
}

/* Of the tests of a model or of one of its groups. */
static void draw_sum(struct ui *ui, const struct tests_view *view, const struct test_row *row,
                     struct pen *pen)
{
    int tests = 0, passed = 0, failed = 0;
    for (int t = 0; t < view->tests->test_count; t++) {
        const struct test_case *test = &view->tests->tests[t];
        if (test->model != row->model || (row->group >= 0 && (int)test->group != row->group) ||
            !shows(ui, view, t))
            continue;
        const struct test_result *result = test_run_result(ui->tests, test->id);
        tests++;
        passed += result && strcmp(result->outcome, "PASSED") == 0;
        failed += result && strcmp(result->outcome, "FAILED") == 0;
    }
    pen_skip(pen, sign_of(row));
    pen_mark(pen, THEME_NORMAL, is_folded(view, row) ? THEME_MARK_FOLDED : THEME_MARK_UNFOLDED);
    pen_skip(pen, 1);
    if (row->group < 0)
        pen_cell(pen, 24, THEME_NAME, view->tests->models[row->model].name);
    else
        pen_cell(pen, 22, THEME_NORMAL, test_group_name((enum test_group)row->group));
    pen_format(pen, THEME_DIM, "%3d test%s", tests, tests == 1 ? "" : "s");
    if (passed)
        pen_format(pen, THEME_PASSED, "  %d passed", passed);
    if (failed)
        pen_format(pen, THEME_FAILED, "  %d failed", failed);
}

enum { NAME_WIDTH = 20, ACTION_WIDTH = 12, WIDE = 96 };

/* Duration, how near to its limit the worst tensor came, memory; where there is little room, a
 * failure's reason is worth more than the last two. */
static void draw_outcome(const struct test_result *result, struct pen *pen, bool wide)
{
    bool failed = strcmp(result->outcome, "PASSED") != 0;
    pen_cell(pen, 9, outcome_role(result->outcome), result->outcome);
    pen_right(pen, 8, THEME_NUMBER, result->duration);
    if (wide || !failed) {
        pen_right(pen, 9, THEME_NUMBER, result->worst);
        pen_right(pen, 10, THEME_NUMBER, result->memory);
    }
    pen_skip(pen, 2);
    if (pen_room(pen) < 8)
        return;
    pen_put(pen, failed ? outcome_role(result->outcome) : THEME_DIM, result->remark);
}

static void draw_test(struct ui *ui, const struct tests_view *view, int test, struct pen *pen,
                      bool wide)
{
    const struct test_case *shown = &view->tests->tests[test];
    const struct test_result *result = test_run_result(ui->tests, shown->id);
    pen_put(pen, THEME_BREAKPOINT, view->marked[test] ? "     + " : "       ");
    pen_cell(pen, NAME_WIDTH, THEME_NORMAL, shown->name[0] ? shown->name : shown->id);
    pen_cell(pen, ACTION_WIDTH, THEME_DIM, test_action_name(test_action_of(view->tests, test)));
    if (result) {
        draw_outcome(result, pen, wide);
    } else if (view->choices[test].choice != CHOICE_RUN) {
        pen_put(pen, THEME_DIM, view->choices[test].reason);
    } else {
        pen_cell(pen, 9, THEME_PENDING, "-");
        if (shown->reference)
            pen_format(pen, THEME_DIM, "against %s", shown->reference);
        else
            pen_put(pen, THEME_DIM, test_kind_name(shown->kind));
    }
}

static void draw_heading(struct pen *pen)
{
    pen_cell(pen, 7 + NAME_WIDTH, THEME_DIM, "");
    pen_cell(pen, ACTION_WIDTH, THEME_DIM, "action");
    pen_cell(pen, 9, THEME_DIM, "outcome");
    pen_right(pen, 8, THEME_DIM, "time");
    pen_right(pen, 9, THEME_DIM, "of limit");
    pen_right(pen, 10, THEME_DIM, "memory");
}

/* What the selected test's line may have no room for: why it failed. */
static bool draw_remark(struct ui *ui, const struct tests_view *view, struct layout_rectangle box)
{
    const struct test_row *row = selected_row(view);
    if (!row || row->test < 0 || box.rows < 8)
        return false;
    const char *id = view->tests->tests[row->test].id;
    const struct test_result *result = test_run_result(ui->tests, id);
    if (!result || !result->remark[0])
        return false;
    struct pen pen = pen_at(box, box.rows - 1);
    pen_format(&pen, outcome_role(result->outcome), " %s: ", id);
    pen_cell(&pen, pen_room(&pen), THEME_NORMAL, result->remark);
    return true;
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct tests_view *view = context;
    struct pen pen = pen_at(box, 0);
    if (!view->tests && !view->announced && !ui->options->script) {
        view->announced = true;
        pen_put(&pen, THEME_DIM, " reading the tests ...");
        ui_dirty(ui);
        return;
    }
    if (!view->tests && !view->problem)
        load(ui, view);
    if (view->problem) {
        pen_format(&pen, THEME_ERROR, " %s", view->problem);
        return;
    }
    build_rows(ui, view);
    box.rows -= draw_remark(ui, view, box);
    draw_heading(&pen);
    list_show(&view->list, box.rows - 1);
    for (int i = 1; i < box.rows && view->list.top + i - 1 < view->row_count; i++) {
        const struct test_row *row = &view->rows[view->list.top + i - 1];
        bool selected = view->list.top + i - 1 == view->list.selected;
        pen_line(&pen, i, !selected ? -1 : focus ? THEME_SELECTION : THEME_CURRENT);
        if (row->test < 0)
            draw_sum(ui, view, row, &pen);
        else
            draw_test(ui, view, row->test, &pen, box.cols >= WIDE);
    }
    if (view->row_count == 0) {
        pen_line(&pen, 1, -1);
        pen_put(&pen, THEME_DIM,
                " no test passes the filter (/ and Enter removes it; S shows what is "
                "not run)");
    }
}

/* "3 of 12 done [###.......] 12s to go". */
static void add_progress(struct ui *ui, struct text *out)
{
    enum { BAR = 10 };
    int done = test_run_done(ui->tests), count = test_run_count(ui->tests);
    int filled = count > 0 ? BAR * done / count : 0;
    text_format(out, "  %d of %d done [", done, count);
    for (int i = 0; i < BAR; i++)
        text_add(out, i < filled ? "#" : ".");
    text_format(out, "] %s to go", test_run_left(ui->tests, ui_milliseconds(ui)));
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct tests_view *view = context;
    if (!view->tests)
        return;
    if (test_run_is_running(ui->tests))
        add_progress(ui, out);
    text_format(out, "  %d of %d models, %d of %d tests", view->models, view->tests->model_count,
                view->kept, view->tests->test_count);
    if (view->filter)
        text_format(out, "  /%s", view->filter);
}

/* ---- acting ---- */

static void open_row(struct ui *ui, struct tests_view *view)
{
    const struct test_row *row = selected_row(view);
    if (!row)
        return;
    if (row->test < 0) {
        fold(view, row, !is_folded(view, row));
        build_rows(ui, view);
        return;
    }
    const struct test_case *test = &view->tests->tests[row->test];
    if (!test->variant)
        ui_say(ui, THEME_WARNING, "%s is not about one run: only its result can be seen", test->id);
    else if (ui_is_busy(ui))
        ui_say(ui, THEME_WARNING, "busy with \"%s\"; Ctrl-C stops it", ui->posted[0].line);
    else
        ui_post(ui, "file %s/%s", test_model_name(view->tests, row->test), test->variant);
}

static bool is_chosen(struct ui *ui, const struct tests_view *view, int test, bool failed)
{
    const struct test_row *row = selected_row(view);
    const struct test_case *shown = &view->tests->tests[test];
    bool any = false;
    for (int t = 0; t < view->tests->test_count; t++)
        any = any || view->marked[t];
    if (failed) {
        const struct test_result *result = test_run_result(ui->tests, shown->id);
        return result && strcmp(result->outcome, "FAILED") == 0;
    }
    if (any)
        return view->marked[test];
    return row && row->model == shown->model && shows(ui, view, test) &&
           (row->group < 0 || row->group == (int)shown->group) &&
           (row->test < 0 || row->test == test);
}

/* The marked tests; without marks what is selected, a whole model perhaps; or what failed. */
static void run_tests(struct ui *ui, struct tests_view *view, bool failed)
{
    const char **ids = memory_zeroed((size_t)view->tests->test_count, sizeof(*ids));
    struct status status = STATUS_NONE;
    int count = 0;
    for (int t = 0; t < view->tests->test_count; t++)
        if (is_chosen(ui, view, t, failed))
            ids[count++] = view->tests->tests[t].id;
    if (count == 0)
        ui_say(ui, THEME_WARNING, failed ? "no test has failed" : "no test is selected");
    else if (!test_run_start(ui->tests, ui->options, ids, count, ui_milliseconds(ui), &status))
        ui_say(ui, THEME_ERROR, "%s", status.text);
    else
        ui_say(ui, THEME_NORMAL, "%d test%s started, with what %s on; %s", count,
               count == 1 ? " is" : "s are", count == 1 ? "it depends" : "they depend",
               "Ctrl-C stops");
    free(ids);
}

static void set_filter(const struct ui *ui, struct tests_view *view, const char *text)
{
    free(view->filter);
    view->filter = text[0] ? memory_string(text) : NULL;
    build_rows(ui, view);
    list_select(&view->list, 0);
}

/* What is selected, or what a test stands in. */
static void fold_around(struct tests_view *view, const struct test_row *row, bool folded)
{
    struct test_row head = {row->model, row->group, -1};
    if (row->group >= 0 && row->test < 0 && folded && is_folded(view, row))
        head.group = -1;
    fold(view, &head, folded);
    for (int i = 0; i < view->row_count && folded; i++)
        if (view->rows[i].model == head.model && view->rows[i].group == head.group &&
            view->rows[i].test < 0)
            list_select(&view->list, i);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct tests_view *view = context;
    const struct test_row *row = selected_row(view);
    const char *rest;
    if (!view->tests)
        return false;
    if (command_is(command, "move left", NULL) || command_is(command, "move right", NULL)) {
        if (row)
            fold_around(view, row, command_is(command, "move left", NULL));
        build_rows(ui, view);
    } else if (list_act(&view->list, command)) {
        return true;
    } else if (command_is(command, "open", NULL)) {
        open_row(ui, view);
    } else if (command_is(command, "filter", &rest)) {
        set_filter(ui, view, rest);
    } else if (command_is(command, "toggle skipped", NULL)) {
        view->show_skipped = !view->show_skipped;
    } else if (command_is(command, "toggle", NULL)) {
        if (row && row->test >= 0)
            view->marked[row->test] = !view->marked[row->test];
        list_move(&view->list, "down");
    } else if (key && command_is(command, "run", &rest)) {
        run_tests(ui, view, strcmp(rest, "failed") == 0);
    } else if (key && command_is(command, "interrupt", NULL) && test_run_is_running(ui->tests)) {
        test_run_stop(ui->tests);
        ui_say(ui, THEME_WARNING, "the tests are stopped");
    } else {
        return false;
    }
    return true;
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct tests_view *view = context;
    if (!list_click(&view->list, 1, click->row))
        return;
    const struct test_row *row = selected_row(view);
    if (click->twice || (row->test < 0 && click->col < sign_of(row) + LIST_SIGN))
        open_row(ui, view);
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct tests_view *view = context;
    if (!view->tests)
        return;
    sheet_fact(out, "filter", view->filter);
    struct sheet_table *table =
        sheet_add_table(out, "tests",
                        "test model action reference outcome duration of_limit memory remark "
                        "marked");
    for (int t = 0; t < view->tests->test_count; t++) {
        const struct test_case *test = &view->tests->tests[t];
        const struct test_result *result = test_run_result(ui->tests, test->id);
        if (!shows(ui, view, t))
            continue;
        table_text(table, test->id);
        table_text(table, view->tests->models[test->model].name);
        table_text(table, test_action_name(test_action_of(view->tests, t)));
        table_text(table, test->reference);
        table_text(table, result ? result->outcome : NULL);
        table_text(table, result ? result->duration : NULL);
        table_text(table, result ? result->worst : NULL);
        table_text(table, result ? result->memory : NULL);
        table_text(table, result ? result->remark : view->choices[t].reason);
        table_flag(table, view->marked[t]);
    }
}

static const struct view_hint hints[] = {{"open", "debug"},
                                         {"run", "run"},
                                         {"run failed", "failed again"},
                                         {"toggle", "mark"},
                                         {"toggle skipped", "skipped"},
                                         {NULL, NULL}};

const struct view_operations view_tests = {
    .view = LAYOUT_TESTS,
    .title = "Tests",
    .help =
        "Models and their tests. Enter opens a test's run and its reference in the debugger. "
        "r runs the selected test, group or model, or what Space marked, in a process of its own; "
        "R what failed again; Ctrl-C stops them; S also shows what is not run, and why. / keeps "
        "what has all of some words: parts of names, globs (llama/*bf*), model=A,B group=G "
        "action=A outcome=failed.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .save = save,
};
