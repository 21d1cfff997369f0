/* Traces: the sampling rule, what is recorded of a tensor, round trips, foreign and broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/trace/trace.h"
#include "tests/unit/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/lockstep_trace_XXXXXX";

static void assert_near(double found, double wanted, double margin)
{
    if (!(fabs(found - wanted) <= margin))
        fail_msg("%.17g is not within %g of %.17g", found, margin, wanted);
}

static char *inside(const char *name)
{
    return memory_format("%s/%s", directory, name);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* The examples of the facts, and the corners of the rule. */
static void follows_the_sampling_rule(void **state)
{
    (void)state;
    static const struct {
        struct shape shape;
        int64_t step, count;
    } examples[] = {
        {{2, {4096, 256}}, 1023, 1024},
        {{2, {2048, 256}}, 511, 1024},
        {{2, {1024, 256}}, 255, 1024},
        {{2, {512, 256}}, 128, 1024},
        {{2, {384, 256}}, 96, 1024},
        {{2, {256, 256}}, 64, 1024},
        {{1, {2048}}, 2, 1024},
        {{1, {256}}, 1, 256},
        {{1, {1}}, 1, 1},
        {{3, {768, 1, 4}}, 3, 1024},
        {{1, {1025}}, 1, 1024},
        {{2, {0, 4}}, 1, 0},
        {{2, {2, 2048}}, 3, 1024}, /* 4 is a multiple of 2 */
    };
    for (int i = 0; i < ARRAY_LENGTH(examples); i++) {
        assert_int_equal(trace_sampling_step(examples[i].shape), examples[i].step);
        assert_int_equal(trace_sample_count(examples[i].shape), examples[i].count);
    }
}

static struct tensor random_tensor(struct shape shape, enum dtype dtype, int64_t extra_stride)
{
    int64_t stride = shape_columns(shape) + extra_stride;
    struct tensor tensor = {memory_zeroed((size_t)(shape.dims[0] * stride), dtype_size(dtype)),
                            dtype, shape, stride};
    for (int64_t i = 0; i < shape_elements(shape); i++)
        tensor_store(&tensor, i, 100 + rand() / (double)RAND_MAX);
    return tensor;
}

/* Two passes over the tensor, unlike the writer. */
static void check_statistics(const struct trace_tensor *found, const struct tensor *tensor)
{
    double sum = 0, squares = 0, minimum = INFINITY, maximum = -INFINITY;
    int64_t finite = 0, count = shape_elements(tensor->shape), nans = 0, infinities = 0;
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(tensor, i);
        nans += isnan(number) != 0;
        infinities += isinf(number) != 0;
        if (!isfinite(number))
            continue;
        finite++;
        sum += number;
        minimum = fmin(minimum, number);
        maximum = fmax(maximum, number);
    }
    for (int64_t i = 0; i < count; i++)
        if (isfinite(tensor_load(tensor, i)))
            squares += pow(tensor_load(tensor, i) - sum / (double)finite, 2);
    assert_int_equal(found->nan_count, nans);
    assert_int_equal(found->infinity_count, infinities);
    assert_near(found->mean, sum / (double)finite, 1e-9);
    assert_near(found->deviation, sqrt(squares / (double)(finite - 1)), 1e-9);
    assert_near(found->minimum, minimum, 0);
    assert_near(found->maximum, maximum, 0);
}

static void check_samples(const struct trace_tensor *found, const struct tensor *tensor, bool full)
{
    int64_t step = full ? 1 : trace_sampling_step(tensor->shape);
    assert_int_equal(found->sampling_step, full ? 0 : step);
    assert_int_equal(found->samples.shape.rank, 1);
    assert_int_equal(found->samples.shape.dims[0],
                     full ? shape_elements(tensor->shape) : trace_sample_count(tensor->shape));
    assert_int_equal(found->samples.dtype, tensor->dtype);
    for (int64_t i = 0; i < found->samples.shape.dims[0]; i++) {
        double recorded = tensor_load(&found->samples, i), given = tensor_load(tensor, i * step);
        if (recorded != given && !(isnan(recorded) && isnan(given)))
            fail_msg("%s: sample %lld is %g, not %g", found->name, (long long)i, recorded, given);
    }
}

static void round_trip(bool full)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_F64};
    enum { COUNT = 40 };
    struct tensor tensors[COUNT];
    struct status status = STATUS_NONE;
    struct trace_description what = {.run = "test",
                                     .config_text = "a: \"b\"\n",
                                     .device = "cpu",
                                     .config_hash = UINT64_MAX,
                                     .seed = UINT64_MAX,
                                     .full_tensors = full};
    struct trace_writer *writer = trace_create(directory, &what, &status);
    if (!writer)
        fail_msg("%s", status.text);
    for (int i = 0; i < COUNT; i++) {
        struct shape shape = shape_of2(5 + rand() % 300, 1 + rand() % 40);
        tensors[i] = random_tensor(shape, dtypes[rand() % 5], rand() % 3);
        if (dtype_is_float(tensors[i].dtype)) {
            tensor_store(&tensors[i], 0, NAN);
            tensor_store(&tensors[i], 1, -INFINITY);
        }
        char name[64];
        snprintf(name, sizeof name, "fw decoder.%d, mb=%d/%d: output", i, i % 7, COUNT);
        if (i == 5) /* replaced by the next line: only the last value of a name counts */
            assert_true(trace_add(writer, name, &tensors[0], &status));
        assert_true(trace_add(writer, name, &tensors[i], &status));
    }
    assert_true(trace_finish_step(writer, "train_1", &status));
    assert_true(trace_finish_step(writer, "train_2", &status)); /* empty: no file */
    assert_true(trace_add(writer, "loss", &tensors[1], &status));
    assert_false(trace_finish_step(writer, "../train", &status));
    assert_true(trace_finish_step(writer, "train_10", &status));
    assert_true(trace_finish(writer, &status));

    struct trace *trace = trace_open(directory, &status);
    if (!trace)
        fail_msg("%s", status.text);
    assert_int_equal(trace->step_count, 2);
    assert_false(trace->unfinished);
    assert_non_null(strstr(trace->manifest, "\"config_hash\": \"ffffffffffffffff\""));
    assert_null(trace_find_step(trace, "train_2"));
    const struct trace_step *step = trace_find_step(trace, "train_1");
    assert_int_equal(step->count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "fw decoder.%d, mb=%d/%d: output", i, i % 7, COUNT);
        struct trace_tensor found;
        assert_true(trace_find(step, name, &found));
        assert_int_equal(trace_position(step, name), i); /* in the order of the run */
        assert_ptr_equal(found.name, trace_name(step, i));
        assert_string_equal(found.name, name);
        assert_true(shape_equal(found.shape, tensors[i].shape));
        assert_int_equal(found.dtype, tensors[i].dtype);
        check_samples(&found, &tensors[i], full);
        check_statistics(&found, &tensors[i]);
    }
    assert_int_equal(trace_position(step, "fw decoder"), -1);
    trace_close(trace);
    for (int i = 0; i < COUNT; i++)
        free(tensors[i].data);
}

/* Twice each, so that an older trace of other steps is replaced. */
static void round_trips(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        round_trip(i % 2);
}

/* Cuts along random dimensions of some of the tensor's pieces; `count` parts of it. */
static int cut_randomly(const struct tensor *tensor, struct mosaic_part parts[8])
{
    int rows = 1 << rand() % 3, columns = tensor->shape.rank > 1 ? 1 << rand() % 2 : 1;
    int blocks = 1 + rand() % 2, count = 0;
    for (int i = 0; i < rows * columns; i++) {
        struct shard shard = shard_whole(tensor->shape);
        assert_true(shard_cut(&shard, 0, blocks, rows, i / columns));
        assert_true(shard_cut(&shard, 1, 1, columns, i % columns));
        struct shape own = shard_local_shape(&shard);
        int64_t stride = shape_columns(own) + rand() % 3;
        void *data = memory_zeroed((size_t)(own.dims[0] * stride), dtype_size(tensor->dtype));
        parts[count] = (struct mosaic_part){{data, tensor->dtype, own, stride}, shard};
        shard_copy_out(&shard, tensor, &parts[count++].tensor);
    }
    return count;
}

static void make_rare(struct tensor *tensor)
{
    static const double rare[] = {NAN, INFINITY, -INFINITY, 0};
    int64_t count = shape_elements(tensor->shape);
    for (int i = rand() % 4; dtype_is_float(tensor->dtype) && i > 0; i--)
        tensor_store(tensor, rand() % count, rare[rand() % 4]);
}

static void assert_same_file(const char *one, const char *other)
{
    char *command = memory_format("cmp '%s' '%s'", one, other);
    assert_int_equal(system(command), 0);
    free(command);
}

/* A tensor that is read from its parts leaves the bytes of the whole one: samples and statistics,
 * of every type, with numbers that are not finite, however it was cut. */
static void parts_have_the_bytes_of_the_whole(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    struct status status = STATUS_NONE;
    char *folders[] = {inside("cut"), inside("whole")};
    char *files[] = {inside("cut/train_1.safetensors"), inside("whole/train_1.safetensors")};
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct trace_description what = {.full_tensors = round % 4 == 0};
        struct trace_writer *cut = trace_create(folders[0], &what, &status);
        struct trace_writer *whole = trace_create(folders[1], &what, &status);
        assert_true(cut && whole);
        /* of more than one block, and of sizes that are no whole number of lanes */
        struct shape shape = shape_of2(8 * (1 + rand() % 100), 2 * (1 + rand() % 100));
        struct tensor tensor = random_tensor(shape, dtypes[rand() % 5], rand() % 3);
        struct mosaic_part parts[8];
        struct mosaic mosaic;
        make_rare(&tensor);
        int count = cut_randomly(&tensor, parts);
        assert_true(mosaic_make(&mosaic, shape, parts, count));
        const struct trace_item items[] = {
            {"fw w", &mosaic, false}, {"fw x", &mosaic, false}, {"fw y", &mosaic, true}};
        assert_true(trace_add_parts(cut, items, 3, &status));
        assert_true(trace_add(whole, "fw w", &tensor, &status));
        assert_true(trace_add(whole, "fw x", &tensor, &status));
        assert_true(trace_add_samples(whole, "fw y", &tensor, &status));
        assert_true(trace_finish_step(cut, "train_1", &status) && trace_finish(cut, &status));
        assert_true(trace_finish_step(whole, "train_1", &status) && trace_finish(whole, &status));
        assert_same_file(files[0], files[1]);
        struct trace *trace = trace_open(folders[0], &status);
        struct trace_tensor found;
        assert_true(trace && trace_find(&trace->steps[0], "fw x", &found));
        check_samples(&found, &tensor, what.full_tensors);
        check_statistics(&found, &tensor);
        assert_true(trace_find(&trace->steps[0], "fw y", &found));
        check_samples(&found, &tensor, what.full_tensors);
        assert_true(what.full_tensors || (found.nan_count == -1 && isnan(found.maximum)));
        trace_close(trace);
        mosaic_free(&mosaic);
        for (int i = 0; i < count; i++)
            free(parts[i].tensor.data);
        free(tensor.data);
    }
    for (int i = 0; i < 2; i++) {
        free(folders[i]);
        free(files[i]);
    }
}

/* What the ten lines of docs/trace-format.md write, and what others may leave out. */
static void reads_foreign_traces(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    float data[6] = {1, 2, 3, 4, 5, 6};
    struct tensor tensors[3] = {tensor_of(data, DTYPE_F32, shape_of2(2, 3)),
                                tensor_of(data, DTYPE_F32, shape_of1(3)),
                                tensor_of(data, DTYPE_F32, shape_of1(6))};
    const char *const names[] = {"whole", "sampled", "first"};
    const char *const metadata[] = {
        "framework",
        "torch", /* no tensor of that name: nobody minds */
        "sampled",
        "{\"shape\": [2, 3], \"sampling_step\": 2, \"dtype\": \"bf16\", \"mean\": null}",
        "first",
        ("{\"order\": 0, \"maximum\": 6, \"shape\": null, \"dtype\": null, \"sampling_step\": "
         "null, "
         "\"nan_count\": null, \"times\": null}")};
    char *folder = inside("foreign");
    assert_int_equal(mkdir(folder, 0777), 0);
    static const char *const steps[] = {"train_10", "train_2", "init"};
    for (int i = 0; i < 3; i++) {
        char *path = memory_format("%s/%s.safetensors", folder, steps[i]);
        assert_true(safetensors_write(path, names, tensors, 3, metadata, 3, &status));
        free(path);
    }
    struct trace *trace = trace_open(folder, &status);
    if (!trace)
        fail_msg("%s", status.text);
    assert_int_equal(trace->step_count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(trace->steps[i].name, steps[2 - i]);
    struct trace_tensor found[3];
    for (int i = 0; i < 3; i++) {
        trace_at(&trace->steps[0], i, &found[i]);
        assert_int_equal(trace_position(&trace->steps[0], found[i].name), i);
    }
    assert_string_equal(found[0].name, "first");
    assert_string_equal(found[1].name, "whole");
    assert_string_equal(found[2].name, "sampled");
    assert_near(found[0].maximum, 6, 0);
    assert_int_equal(found[0].dtype, DTYPE_F32); /* null is a missing key */
    assert_true(shape_equal(found[0].shape, shape_of1(6)));
    assert_true(found[0].sampling_step == 0 && found[0].nan_count == -1 && found[0].times == 1);
    assert_int_equal(found[1].sampling_step, 0);
    assert_int_equal(found[1].samples.shape.dims[0], 6);
    assert_true(isnan(found[1].mean) && found[1].nan_count == -1);
    assert_int_equal(found[2].dtype, DTYPE_BF16);
    assert_true(shape_equal(found[2].shape, shape_of2(2, 3)));
    assert_int_equal(found[2].sampling_step, 2);
    trace_close(trace);

    /* A directory of somebody's tensors, not ours: never overwritten. */
    struct trace_description what = {0};
    assert_null(trace_create(folder, &what, &status));
    assert_non_null(strstr(status.text, "no manifest.json of a trace"));
    char *notes = memory_format("%s/notes.txt", folder),
         *init = memory_format("%s/init.safetensors", folder);
    write_text(notes, "mine");
    assert_null(trace_create(folder, &what, &status));
    assert_non_null(strstr(status.text, "notes.txt"));
    assert_int_equal(access(init, F_OK), 0);
    free(notes);
    free(init);
    free(folder);
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *message;
    } bad[] = {
        {"{", "init.safetensors: metadata of tensor \"a\": "},
        {"[]", "not a JSON object"},
        {"{\"shape\": [3]}", "another number of elements"},
        {"{\"shape\": [-2]}", "a size of \"shape\" is out of range"},
        {"{\"shape\": [4294967296, 4294967296]}", "a size of \"shape\" is out of range"},
        {"{\"shape\": [1, 1, 1, 1, 2]}", "not a list of at most 4"},
        {"{\"shape\": 2}", "not a list of at most 4"},
        {"{\"dtype\": \"f8\"}", "unknown \"dtype\""},
        {"{\"shape\": [4], \"sampling_step\": 4}", "more samples than"},
        {"{\"sampling_step\": -1}", "not an integer in range"},
        {"{\"order\": 1.5}", "not an integer in range"},
        {"{\"mean\": \"1\"}", "a statistic is not a number"},
    };
    char *folder = inside("broken"), *path = inside("broken/init.safetensors");
    char *manifest = inside("broken/manifest.json");
    float data[2] = {1, 2};
    struct tensor tensor = tensor_of(data, DTYPE_F32, shape_of1(2));
    const char *name = "a";
    mkdir(folder, 0777);
    for (int i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct status status = STATUS_NONE;
        const char *const metadata[] = {"a", bad[i].metadata};
        assert_true(safetensors_write(path, &name, &tensor, 1, metadata, 1, &status));
        assert_null(trace_open(folder, &status));
        if (!strstr(status.text, bad[i].message))
            fail_msg("%s\n  says: %s\n  not: %s", bad[i].metadata, status.text, bad[i].message);
    }
    static const char *const manifests[][2] = {
        {"{\"format\": \"x\"}", "\"format\" is not \"lockstep-trace\""},
        {"{\"format\": \"lockstep-trace\", \"version\": 2}", "version 2 of the trace format"},
        {"{\"format\": \"lockstep-trace\", \"version\": 1}", "\"steps\" is not a list"},
        {"{\"format\": \"lockstep-trace\", \"version\": 1, \"steps\": []}", "without any step"},
        {"{\"format\": \"lockstep-trace\", \"version\": 1, \"steps\": [1]}", "that is no name"},
        {"{\"format\": \"lockstep-trace\", \"version\": 1, \"steps\": [\"../x\"]}",
         "a step is called"},
        {"{\"format\": \"lockstep-trace\", \"version\": 1, \"steps\": [\"gone\"]}",
         "gone.safetensors: No such"},
        {"{\"format\"", "manifest.json:1:"},
    };
    for (int i = 0; i < ARRAY_LENGTH(manifests); i++) {
        struct status status = STATUS_NONE;
        write_text(manifest, manifests[i][0]);
        assert_null(trace_open(folder, &status));
        if (!strstr(status.text, manifests[i][1]))
            fail_msg("%s\n  says: %s\n  not: %s", manifests[i][0], status.text, manifests[i][1]);
    }
    struct status status = STATUS_NONE;
    assert_null(trace_open("/proc/nonexistent", &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    assert_null(trace_open(manifest, &status));
    assert_non_null(strstr(status.text, "manifest.json: not a folder"));
    assert_null(trace_open("/proc/self/task", &status));
    assert_non_null(strstr(status.text, "not a trace: neither manifest.json nor"));
    free(folder);
    free(path);
    free(manifest);
}

/* More than one thread takes at a time, in the reverse order of the run, with names that are
 * escaped in the file; the first of two wrong ones is complained about. */
static void opens_many_tensors(void **state)
{
    enum { COUNT = 50000 };
    struct status status = STATUS_NONE;
    float number = 1;
    char *folder = inside("many"), *path = inside("many/init.safetensors");
    char **words = memory_zeroed(3 * COUNT, sizeof(*words)), **metadata = words + COUNT;
    struct tensor *tensors = memory_zeroed(COUNT, sizeof(*tensors));
    int wrong = COUNT / 2 + rand() % (COUNT / 4);
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        words[i] = memory_format(i % 1000 == 7 ? "a \"%d\"" : "fw %d", i);
        metadata[2 * i] = words[i];
        metadata[2 * i + 1] = memory_format("{\"mean\":%d,\"order\":%d}", i, COUNT - 1 - i);
        tensors[i] = tensor_of(&number, DTYPE_F32, shape_of1(1));
    }
    mkdir(folder, 0777);
    assert_true(safetensors_write(path, (const char *const *)words, tensors, COUNT,
                                  (const char *const *)metadata, COUNT, &status));
    struct trace *trace = trace_open(folder, &status);
    assert_non_null(trace);
    for (int i = 0; i < COUNT; i++) {
        struct trace_tensor found;
        assert_true(trace_find(&trace->steps[0], words[i], &found));
        assert_int_equal(trace_position(&trace->steps[0], words[i]), COUNT - 1 - i);
        assert_string_equal(trace_name(&trace->steps[0], COUNT - 1 - i), words[i]);
        assert_near(found.mean, i, 0);
    }
    trace_close(trace);
    metadata[2 * wrong + 1][1] = metadata[2 * COUNT - 1][1] = '!';
    assert_true(safetensors_write(path, (const char *const *)words, tensors, COUNT,
                                  (const char *const *)metadata, COUNT, &status));
    assert_null(trace_open(folder, &status));
    char *named = memory_format("metadata of tensor \"%s\"", words[wrong]);
    assert_non_null(strstr(status.text, named));
    for (int i = 0; i < COUNT; i++) {
        free(metadata[2 * i + 1]);
        free(words[i]);
    }
    free(named);
    free(words);
    free(tensors);
    free(folder);
    free(path);
}

/* A run that dies between two steps leaves a trace of the steps that it finished. */
static void an_abandoned_trace_can_be_read(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    char *folder = inside("new/deep/trace");
    float data[2] = {1, NAN};
    struct tensor tensor = tensor_of(data, DTYPE_F32, shape_of1(2));
    struct trace_writer *writer = trace_create(folder, &(struct trace_description){0}, &status);
    assert_non_null(writer);
    assert_true(trace_add(writer, "a", &tensor, &status));
    assert_true(trace_finish_step(writer, "init", &status));
    assert_true(trace_add(writer, "b", &tensor, &status));
    trace_abandon(writer);
    struct trace *trace = trace_open(folder, &status);
    assert_non_null(trace);
    assert_int_equal(trace->step_count, 1);
    assert_true(trace->unfinished);
    struct trace_tensor found;
    assert_true(trace_find(&trace->steps[0], "a", &found));
    assert_true(isnan(found.deviation)); /* of one finite number */
    assert_near(found.mean, 1, 0);
    trace_close(trace);
    free(folder);
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char *command = memory_format("rm -r '%s'", directory);
    int result = system(command);
    free(command);
    return result;
}

int main(void)
{
    struct random random = random_start("trace");
    srand((unsigned)random_bits(&random));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_sampling_rule),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(parts_have_the_bytes_of_the_whole),
        cmocka_unit_test(reads_foreign_traces),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(an_abandoned_trace_can_be_read),
        cmocka_unit_test(opens_many_tensors),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
