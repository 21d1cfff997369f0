/* Whole tensors of several ranks while some of them have not computed their parts yet: what is
 * there is shown and compared, and what is not there accuses nobody. */
#include "helper_debugger.h"

#include "engine/compare/team.h"
#include "tests/unit/random.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void open_ranks(struct bench *bench, const char *file)
{
    bench_open(bench);
    bench->debugger->launch.in_process = true;
    bench_do(bench, file);
}

static void must_not_contain(const char *text, const char *word)
{
    if (strstr(text, word))
        fail_msg("'%s' is in:\n%s", word, text);
}

/* The rank that stops is before the other one, which has not come to the same instruction. */
static void test_difference_of_what_is_there(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "until fw decoder.0.output");
    bench_do(&bench, "rank all");
    const char *said = bench_do(&bench, "diff fw decoder.0.output");
    must_contain(said, "(1 rank has not computed its part yet: nan)");
    must_contain(said, "of 1,024 elements");
    must_contain(said, "(rank 0 [");
    must_not_contain(said, "(rank 1 [");
    must_not_contain(said, "not finite");
    must_not_contain(said, "looks like");
    must_contain(bench_do(&bench, "print fw decoder.0.output[32,0]"), "nan");
    bench_do(&bench, "next");
    said = bench_do(&bench, "diff fw decoder.0.output");
    must_not_contain(said, "has not computed");
    must_contain(said, "of 2,048 elements");
    bench_close(&bench);
}

/* How many elements of the test the rows of a histogram have in all. */
static int64_t counted(const char *said)
{
    const char *line = strstr(said, "from   ");
    int64_t sum = 0, count;
    double low, high;
    assert_non_null(line);
    while ((line = strchr(line, '\n')) &&
           sscanf(++line, "%lf %lf %" SCNd64, &low, &high, &count) == 3)
        sum += count;
    return sum;
}

/* The same of the reference, which is the last column but its bar. */
static int64_t counted_of_reference(const char *said)
{
    const char *line = strstr(said, "from   ");
    int64_t sum = 0, count;
    assert_non_null(line);
    while ((line = strchr(line, '\n')) && sscanf(++line, "%*f %*f %*d%*[ #]%" SCNd64, &count) == 1)
        sum += count;
    return sum;
}

/* The mean of a side, as `stats` says it. */
static double mean_of(const char *said, const char *side)
{
    double mean = NAN;
    const char *line = strstr(said, side);
    assert_non_null(line);
    assert_int_equal(sscanf(strstr(line, "mean "), "mean %lf", &mean), 1);
    return mean;
}

/* Statistics and histograms are of what is computed, of both sides. */
static void test_statistics_of_what_is_there(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2");
    bench_do(&bench, "until fw decoder.0.output");
    double mean = mean_of(bench_do(&bench, "stats fw decoder.0.output"), "test");
    bench_do(&bench, "rank all");
    const char *said = bench_do(&bench, "stats fw decoder.0.output");
    must_contain(said, "(1 rank has not computed its part yet: nan)");
    must_contain(said, "NaN 0");
    must_not_contain(said, "NaN 1");
    assert_true(mean_of(said, "    test") == mean);
    assert_true(fabs(mean_of(said, "    reference") - mean) < 1e-4 * fabs(mean));
    said = bench_do(&bench, "hist fw decoder.0.output");
    must_contain(said, "(1 rank has not computed its part yet: nan)");
    assert_int_equal(counted(said), 1024);
    assert_int_equal(counted_of_reference(said), 1024);
    bench_do(&bench, "next");
    said = bench_do(&bench, "hist fw decoder.0.output");
    must_not_contain(said, "has not computed");
    assert_int_equal(counted(said), 2048);
    assert_int_equal(counted_of_reference(said), 2048);
    must_contain(bench_do(&bench, "stats fw decoder.0.output"), "NaN 0");
    bench_close(&bench);
}

/* A NaN that a rank did compute (infinity over infinity) is shown as one, also where another part
 * is not there yet. */
static void test_real_nan_beside_what_is_not_there(void **state)
{
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/stp2 fault "
                       "scale:op=reduce_scatter,layer=embeddings,phase=forward,factor=1e39");
    bench_do(&bench, "stop off");
    bench_do(&bench, "until fw decoder.0.norm_1.output");
    bench_do(&bench, "rank all");
    const char *said = bench_do(&bench, "diff fw decoder.0.norm_1.output");
    must_contain(said, "not computed its part yet");
    must_contain(said, "not finite: 1024 NaN");
    must_contain(bench_do(&bench, "stats fw decoder.0.norm_1.output"), "NaN 1024 ");
    said = bench_do(&bench, "diff fw decoder.0.norm_1.output");
    must_contain(said, "(rank 0 [0,0])");
    must_not_contain(said, "(rank 1 [");
    bench_close(&bench);
}

/* With all ranks selected one copy is shown; that another rank has other bits is said. */
static void test_copies_that_differ(void **state)
{
    static const char differs[] = "(ranks 0 and 1 hold the same of it, and differ";
    (void)state;
    struct bench bench;
    open_ranks(&bench, "file llama/tp2 against none fault update-on-fewer-ranks");
    bench_do(&bench, "goto end");
    bench_do(&bench, "rank all");
    const char *name = "state decoder.0.norm_1.weight.updated";
    char line[128];
    snprintf(line, sizeof(line), "print %s[0:2]", name);
    must_contain(bench_do(&bench, line), differs);
    must_not_contain(bench_do(&bench, "print state decoder.1.norm_1.weight.updated[0:2]"), differs);
    bench_do(&bench, "rank 1");
    must_not_contain(bench_do(&bench, line), differs);
    bench_close(&bench);
}

/* How many parts of a tensor no rank has at hand; in *later, how many only ranks have that are not
 * the first of those that hold the same. */
static int count_missing(const struct team *team, const struct team_tensor *tensor, int *later)
{
    int missing = 0;
    for (int rank = 0; rank < team->world->size; rank++) {
        int holder = -1;
        if (tensor->values[rank] < 0 || tensor->same_as[rank] != rank)
            continue;
        for (int r = team->world->size - 1; r >= 0; r--)
            if (tensor->same_as[r] == rank &&
                executor_holds(team->pairs[r]->test->executor, tensor->values[r]))
                holder = r;
        missing += holder < 0;
        *later += holder > rank;
    }
    return missing;
}

/* Sender and receiver in a pipeline hold the same; their memory is given on at different times. */
static void test_parts_that_any_replica_has(void **state)
{
    (void)state;
    struct random random = random_start("parts of replicas");
    struct bench bench;
    char line[64];
    int later = 0;
    open_ranks(&bench, "file llama/stp2_pp2s1_bf4");
    snprintf(line, sizeof(line), "rank %d", (int)random_integer(&random, 0, 3));
    bench_do(&bench, line);
    while (bench.debugger->target->pair->test->step == 0) {
        bench_do(&bench, "stepi");
        struct team *team = bench.debugger->target->team;
        for (int t = 0; t < team->tensor_count; t++) {
            struct status status = STATUS_NONE;
            struct pair_sides sides;
            int missing, expected = count_missing(team, &team->tensors[t], &later);
            if (team->tensors[t].parts < 2)
                continue;
            assert_true(team_view(team, t, &sides, &missing, &status));
            if (missing != expected)
                fail_msg("%s: %d missing, not %d", team->tensors[t].name, missing, expected);
            pair_sides_free(&sides);
        }
    }
    assert_true(later > 0);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_difference_of_what_is_there),
        cmocka_unit_test(test_statistics_of_what_is_there),
        cmocka_unit_test(test_real_nan_beside_what_is_not_there),
        cmocka_unit_test(test_copies_that_differ),
        cmocka_unit_test(test_parts_that_any_replica_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
