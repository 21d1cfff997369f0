/* Looking into tensors. */
#include "engine/base/memory.h"
#include "engine/compare/team_desync.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/slices.h"
#include "engine/session/whole_tensor.h"
#include "engine/tensor/shard.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "[17,203]" of a flat index. */
static const char *index_text(struct shape shape, int64_t index, char *buffer, int size)
{
    int64_t place[TENSOR_MAX_RANK];
    for (int d = shape.rank - 1; d >= 0; d--) {
        place[d] = index % shape.dims[d];
        index /= shape.dims[d];
    }
    int length = snprintf(buffer, (size_t)size, "[");
    for (int d = 0; d < shape.rank && length < size; d++)
        length += snprintf(buffer + length, (size_t)(size - length), "%s%" PRId64, d ? "," : "",
                           place[d]);
    if (length < size)
        snprintf(buffer + length, (size_t)(size - length), "]");
    return buffer;
}

static double element(const struct pair_sides *sides, enum side side, int64_t index)
{
    if (side == SIDE_REFERENCE)
        return tensor_load(&sides->reference, index);
    double test = tensor_load(&sides->test, index);
    return side == SIDE_TEST ? test : test / sides->scale - tensor_load(&sides->reference, index);
}

static void print_number(struct debugger *debugger, double number, enum dtype dtype)
{
    if (dtype_is_float(dtype))
        say(debugger, " %*.*g", debugger->display.digits + 7, debugger->display.digits, number);
    else
        say(debugger, " %6.0f", number);
}

/* One row after the other; the dimensions before the last two give headings. How many were printed.
 */
static int64_t print_elements(struct debugger *debugger, const struct pair_sides *sides,
                              const struct slices *slices, enum side side, int64_t limit)
{
    const struct tensor *shown = side == SIDE_REFERENCE ? &sides->reference : &sides->test;
    int rank = slices->rank, last = rank - 1;
    int64_t place[TENSOR_MAX_RANK] = {0}, printed = 0, total = slices_elements(slices);
    char text[120];
    while (printed < total && printed < limit) {
        int64_t first = slices_index(slices, shown->shape, place);
        say(debugger, "%12s", index_text(shown->shape, first, text, sizeof(text)));
        for (place[last] = 0; place[last] < slices->dims[last].count && printed < limit;
             place[last]++, printed++)
            print_number(debugger, element(sides, side, slices_index(slices, shown->shape, place)),
                         shown->dtype);
        say(debugger, "%s\n", place[last] < slices->dims[last].count ? " ..." : "");
        place[last] = 0;
        for (int d = last - 1; d >= 0 && ++place[d] == slices->dims[d].count; d--)
            place[d] = 0;
    }
    return printed;
}

bool argument_side(const char **arguments, const char *command, enum side *side,
                   struct status *status)
{
    static const char *const words[] = {"/test", "/ref", "/diff"}; /* in the order of enum side */
    char word[16];
    *side = SIDE_TEST;
    if (**arguments != '/')
        return true;
    argument_word(arguments, word, sizeof(word));
    int choice = argument_choice(word, words, ARRAY_LENGTH(words), command, status);
    *side = choice < 0 ? SIDE_TEST : (enum side)choice;
    return choice >= 0;
}

static bool need_reference(const struct pair_sides *sides, struct status *status)
{
    return sides->has_reference ||
           status_fail(status, STATUS_NOT_FOUND, "no reference: %s", sides->reason);
}

/* Whether the tensor is put together from several ranks' parts. */
static bool is_shown_whole(const struct debugger *debugger, int value)
{
    return describe_whole(debugger, value) >= 0;
}

static void say_part(struct debugger *debugger, int value)
{
    const struct value *of = &debugger_program(debugger)->values[value];
    char text[160];
    if (is_shown_whole(debugger, value))
        say(debugger, "  from all ranks");
    else if (debugger->target->team && of->shard.cut_count > 0)
        say(debugger, "  rank %d: %s", debugger->rank, shard_text(&of->shard, text));
}

static void say_heading(struct debugger *debugger, int value, const struct tensor *shown,
                        const char *side)
{
    char name[256], shape[80];
    say(debugger, "%s  %s %s%s",
        program_value_text(debugger_program(debugger), value, name, sizeof(name)),
        dtype_name(shown->dtype), shape_text(shown->shape, shape), side);
    say_part(debugger, value);
    say(debugger, "\n");
}

/* The other values of the same tensor (micro-batches, running totals) that are at hand. */
static void list_siblings(const struct pair *pair, int value, struct text *text)
{
    enum { MAX_SIBLINGS = 8 };
    const struct program *program = pair->test->program;
    const struct value *of = &program->values[value];
    int count = 0;
    for (int v = 0; of->name[0] && v < program->value_count; v++) {
        const struct value *other = &program->values[v];
        if (v == value || !other->name[0] || other->what != of->what ||
            strcmp(other->path, of->path) != 0 || !executor_holds(pair->test->executor, v))
            continue;
        if (count++ < MAX_SIBLINGS)
            text_format(text, "\n    %s", other->name);
    }
    if (count > MAX_SIBLINGS)
        text_add(text, "\n    ...");
}

static bool view_whole(struct debugger *debugger, int value, struct pair_sides *sides,
                       struct status *status)
{
    struct team *team = debugger->target->team;
    int missing = 0;
    if (!team_view(team, team_tensor_of(team, debugger->rank, value), sides, &missing, status))
        return false;
    if (missing > 0)
        say(debugger, "(%d rank%s not computed %s part yet: nan)\n", missing,
            missing == 1 ? " has" : "s have", missing == 1 ? "its" : "their");
    if (sides->sampling_step > 0)
        say(debugger, "(the trace has samples: every element %" PRId64 " of the whole tensor)\n",
            sides->sampling_step);
    return true;
}

/* Of several copies only one is shown as the whole: who departs from it must not be hidden. */
static void say_unlike(struct debugger *debugger, int value)
{
    const struct team *team = debugger->target->team;
    int tensor = team && debugger->all_ranks ? team_tensor_of(team, debugger->rank, value) : -1;
    if (tensor < 0)
        return;
    const struct team_tensor *of = &team->tensors[tensor];
    int *against = memory_zeroed((size_t)team->world->size, sizeof(*against)), found = -1;
    memset(against, -1, (size_t)team->world->size * sizeof(*against));
    for (int rank = 0; rank < team->world->size; rank++)
        if (of->values[rank] >= 0 && of->same_as[rank] == rank)
            team_unlike(team, tensor, rank, against);
    for (int rank = team->world->size - 1; rank >= 0; rank--)
        found = against[rank] >= 0 ? rank : found;
    if (found >= 0)
        say(debugger, "(ranks %d and %d hold the same of it, and differ: 'rank N' shows each)\n",
            found < against[found] ? found : against[found],
            found < against[found] ? against[found] : found);
    free(against);
}

/* As pair_view; what cannot be seen says where it can be, and what can be seen instead. */
static bool view(struct debugger *debugger, int value, struct pair_sides *sides,
                 struct status *status)
{
    struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    if (executor_holds(pair->test->executor, value))
        say_unlike(debugger, value);
    if (executor_holds(pair->test->executor, value) && !is_shown_whole(debugger, value))
        return pair_view(pair, value, sides, status);
    if (executor_holds(pair->test->executor, value))
        return view_whole(debugger, value, sides, status);
    const struct value *of = &program->values[value];
    char name[256], now[256];
    if (pair->test->executor->hollow)
        return status_fail(
            status, STATUS_NOT_FOUND,
            "the way back was left before its states were restored: 'goto %d:0' does",
            pair->test->step + 1);
    program_value_text(program, value, name, sizeof(name));
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state == value && executor_holds(pair->test->executor, v))
            return status_fail(status, STATUS_NOT_FOUND, "%s was updated: see %s", name,
                               program_value_text(program, v, now, sizeof(now)));
    struct text siblings = {0};
    list_siblings(pair, value, &siblings);
    const char *head = siblings.length ? "\nat hand:" : "";
    if (of->producer >= run_next(pair->test))
        status_fail(status, STATUS_NOT_FOUND,
                    "%s was not written yet in this step: 'until %s' goes there%s%s", name, name,
                    head, siblings.length ? siblings.data : "");
    else
        status_fail(status, STATUS_NOT_FOUND,
                    "the memory of %s was given on: 'goto %s' goes where it is there%s%s", name,
                    name, head, siblings.length ? siblings.data : "");
    text_free(&siblings);
    return false;
}

/* For `command`, the first `limit` elements of what `arguments` choose; *left: how many more there
 * are. */
static bool print_first(struct debugger *debugger, const char *command, const char *arguments,
                        int64_t limit, int64_t *left, struct status *status)
{
    static const char *const labels[] = {"", "  of the reference", "  test - reference"};
    enum side side;
    if (!argument_side(&arguments, command, &side, status))
        return false;
    const char *text;
    char *name = argument_tensor(arguments, &text);
    int value = describe_pick_value(debugger, name, status);
    free(name);
    struct pair_sides sides;
    if (value < 0 || !view(debugger, value, &sides, status))
        return false;
    struct slices slices;
    const struct tensor *shown = side == SIDE_REFERENCE ? &sides.reference : &sides.test;
    bool ok = (side == SIDE_TEST || need_reference(&sides, status)) &&
              slices_parse(text, shown->shape, &slices, status);
    if (ok) {
        say_heading(debugger, value, shown, labels[side]);
        *left = slices_elements(&slices) - print_elements(debugger, &sides, &slices, side, limit);
    }
    pair_sides_free(&sides);
    return ok;
}

bool command_print(struct debugger *debugger, const char *arguments, struct status *status)
{
    int64_t most = debugger->display.elements, left = 0;
    if (!print_first(debugger, "print", arguments, most, &left, status))
        return false;
    if (left > 0)
        say(debugger, "... %" PRId64 " of %" PRId64 " elements shown ('set elements N')\n", most,
            most + left);
    return true;
}

bool command_examine(struct debugger *debugger, const char *arguments, struct status *status)
{
    int count = 1;
    int64_t left;
    if (*arguments == '/') {
        char word[16];
        argument_word(&arguments, word, sizeof(word));
        for (size_t end = strlen(word); end > 1 && strchr("fgwd", word[end - 1]);)
            word[--end] = '\0'; /* gdb's formats: the dtype is known here */
        if (!argument_count(word + 1, 1, &count, status))
            return status_fail(status, STATUS_INVALID,
                               "x/COUNT TENSOR[SLICES], as in x/20, not x%s", word);
    }
    return print_first(debugger, "x", arguments, count, &left, status);
}

/* What is counted: elements that nobody has computed yet are not. */
static bool view_computed(struct debugger *debugger, int value, struct pair_sides *sides,
                          struct pair_sides *computed, struct status *status)
{
    if (!view(debugger, value, sides, status))
        return false;
    struct whole_tensor whole = whole_tensor_of(debugger, value, sides);
    bool ok = whole_tensor_computed(&whole, debugger_interrupt(debugger), sides, computed, status);
    if (!ok)
        pair_sides_free(sides);
    return ok;
}

bool command_stats(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair_sides sides, computed;
    int value = describe_pick_value(debugger, arguments, status);
    if (value < 0 || !view_computed(debugger, value, &sides, &computed, status))
        return false;
    struct statistics statistics;
    describe_value_line(debugger, value);
    if (statistics_compute(debugger_interrupt(debugger), &computed.test, &statistics))
        describe_statistics(debugger, "test", &statistics);
    if (!computed.has_reference)
        say(debugger, "    reference  - (%s)\n", computed.reason);
    else if (statistics_compute(debugger_interrupt(debugger), &computed.reference, &statistics))
        describe_statistics(debugger, "reference", &statistics);
    pair_sides_free(&computed);
    pair_sides_free(&sides);
    return debugger_goes_on(debugger, status);
}

static const char *bar(int64_t count, int64_t largest, char *buffer)
{
    enum { WIDTH = 30 };
    int length = largest ? (int)((double)count / (double)largest * WIDTH + 0.5) : 0;
    if (count > 0 && length == 0)
        length = 1;
    memset(buffer, '#', (size_t)length);
    buffer[length] = '\0';
    return buffer;
}

static void say_bins(struct debugger *debugger, double low, double high, int bins,
                     const int64_t *test, const int64_t *reference)
{
    int64_t largest = 0;
    for (int b = 0; b < bins; b++) {
        largest = test[b] > largest ? test[b] : largest;
        largest = reference && reference[b] > largest ? reference[b] : largest;
    }
    say(debugger, "    %12s %12s  %9s %-31s%9s\n", "from", "to", "test", "",
        reference ? "reference" : "");
    for (int b = 0; b < bins; b++) {
        char left[64], right[64];
        double width = (high - low) / bins;
        say(debugger, "    %12.4g %12.4g  %9" PRId64 " %-31s", low + b * width,
            low + (b + 1) * width, test[b], bar(test[b], largest, left));
        if (reference)
            say(debugger, "%9" PRId64 " %s", reference[b], bar(reference[b], largest, right));
        say(debugger, "\n");
    }
}

static void print_histogram(struct debugger *debugger, const struct pair_sides *sides, double low,
                            double high)
{
    int bins = low < high ? debugger->display.bins : 1;
    int64_t *test = memory_zeroed((size_t)bins, sizeof(*test));
    int64_t *reference = memory_zeroed((size_t)bins, sizeof(*reference));
    const struct interrupt *interrupt = debugger_interrupt(debugger);
    bool complete = histogram_compute(interrupt, &sides->test, low, high, bins, test);
    if (sides->has_reference)
        complete &= histogram_compute(interrupt, &sides->reference, low, high, bins, reference);
    if (complete)
        say_bins(debugger, low, high, bins, test, sides->has_reference ? reference : NULL);
    free(test);
    free(reference);
}

bool command_hist(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair_sides sides, computed;
    int value = describe_pick_value(debugger, arguments, status);
    if (value < 0 || !view_computed(debugger, value, &sides, &computed, status))
        return false;
    struct statistics statistics;
    const struct interrupt *interrupt = debugger_interrupt(debugger);
    statistics_compute(interrupt, &computed.test, &statistics);
    double low = statistics.minimum, high = statistics.maximum;
    say_heading(debugger, value, &sides.test, "");
    if (computed.has_reference) {
        statistics_compute(interrupt, &computed.reference, &statistics);
        low = fmin(low, statistics.minimum); /* fmin passes over NaN */
        high = fmax(high, statistics.maximum);
    }
    if (interrupt_asked(interrupt))
        say(debugger, "    not counted\n");
    else if (isnan(low))
        say(debugger, "    no finite elements\n");
    else
        print_histogram(debugger, &computed, low, high);
    pair_sides_free(&computed);
    pair_sides_free(&sides);
    return debugger_goes_on(debugger, status);
}

/* " (rank 1 [17,75])": who holds an element of the whole tensor, and where. */
static void say_holder(struct debugger *debugger, int value, int64_t index)
{
    const struct team *team = debugger->target->team;
    int tensor = describe_whole(debugger, value);
    char text[120];
    int64_t local;
    if (tensor < 0)
        return;
    int rank = team_locate(team, tensor, index, &local);
    if (rank < 0)
        return;
    const struct program *program = team->world->ranks[rank].run->program;
    struct shape shape = program->values[team->tensors[tensor].values[rank]].shape;
    say(debugger, "  (rank %d %s)", rank, index_text(shape, local, text, sizeof(text)));
}

static void say_worst(struct debugger *debugger, int value, const struct pair_sides *sides)
{
    int capacity = debugger->display.worst;
    struct worst_element *worst = memory_zeroed((size_t)capacity + 1, sizeof(*worst));
    struct whole_tensor whole = whole_tensor_of(debugger, value, sides);
    int count = metrics_worst_of(debugger_interrupt(debugger), &sides->reference, &sides->test,
                                 sides->scale, sides->absent > 0 ? whole_tensor_has : NULL, &whole,
                                 worst, capacity);
    char text[120];
    if (count > 0)
        say(debugger, "    %-14s %14s %14s %12s\n", "worst at", "reference", "test", "difference");
    for (int i = 0; i < count; i++) {
        say(debugger, "    %-14s %14.6e %14.6e %12.2e",
            index_text(sides->reference.shape, worst[i].index, text, sizeof(text)),
            worst[i].reference, worst[i].test, worst[i].test - worst[i].reference);
        say_holder(debugger, value, worst[i].index * whole.step);
        say(debugger, "\n");
    }
    free(worst);
}

static void say_metrics(struct debugger *debugger, int value, const struct pair_sides *sides)
{
    const struct pair *pair = debugger->target->pair;
    const struct pair_result *result = &pair->results[value];
    struct metrics metrics;
    if (!metrics_compute_unless(debugger_interrupt(debugger), &sides->reference, &sides->test,
                                sides->scale, pair->options.threads, &metrics))
        return;
    const struct limits *limits = result->limits;
    char step[32];
    if (!limits)
        limits = tolerances_find(pair->options.tolerances, run_step_name(pair->test->step, step),
                                 pair->test->program->values[value].name);
    struct verdict verdict = metrics_judge(&metrics, limits);
    struct text text = {0};
    metrics_describe(&metrics, &verdict, limits, &text);
    for (char *line = text.data, *end; line && *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            break;
        say(debugger, "    %.*s\n", (int)(end - line), line);
    }
    text_free(&text);
    char guess[256];
    if (verdict.failures && metrics_guess(&metrics, guess, sizeof(guess)))
        say(debugger, "    looks like: %s\n", guess);
}

bool command_diff(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair_sides sides, computed;
    struct pair *pair = debugger->target->pair;
    int value = describe_pick_value(debugger, arguments, status);
    if (value < 0 || !view_computed(debugger, value, &sides, &computed, status))
        return false;
    bool ok = need_reference(&sides, status);
    if (ok && !shape_equal(sides.test.shape, sides.reference.shape))
        ok = status_fail(status, STATUS_INVALID, "the shapes of the two sides differ");
    if (ok) {
        describe_value_line(debugger, value);
        say_metrics(debugger, value, &computed);
        say_worst(debugger, value, &sides);
    }
    ok = ok && debugger_goes_on(debugger, status);
    if (ok && pair->results[value].compared && pair->results[value].verdict.failures)
        say(debugger, "next: blame, backtrace, hist, print/diff\n");
    pair_sides_free(&computed);
    pair_sides_free(&sides);
    return ok;
}
