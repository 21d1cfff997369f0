/* Opening, memory, waiting and failing of the CUDA device. What a machine lacks, a kernel that
 * dies and the use of the library are only played by the emulation. */
#include "engine/base/memory.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct device *open_device(void)
{
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    if (!device)
        fail_msg("%s", status.text);
    return device;
}

/* A symbol of the emulation, inside the module. */
static void *emulated(const char *symbol)
{
    void *module = dlopen(LOCKSTEP_EMULATED_MODULE "/lockstep_cuda.so", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(module);
    void *address = dlsym(module, symbol);
    assert_non_null(address);
    dlclose(module); /* the program's own handle stays */
    return address;
}

static void needs_emulation(void)
{
    if (!module_is_emulated())
        skip();
}

/* What a user is told, and can do about it; the CPU is always offered. */
static void test_missing_parts(void **state)
{
    static const struct {
        const char *plays, *processes;
        enum status_code code;
        const char *says;
    } cases[] = {
        {"no-driver", "", STATUS_UNSUPPORTED, "no NVIDIA driver"},
        {"old-driver", "", STATUS_UNSUPPORTED, "for CUDA 11.4, this program needs one for CUDA 13"},
        {"no-gpu", "", STATUS_UNSUPPORTED, "finds no GPU (is CUDA_VISIBLE_DEVICES set?)"},
        {"old-gpu", "", STATUS_UNSUPPORTED, "compute capability 7.0"},
        {"exclusive", "41:python3:3221225472,42:/usr/bin/train --fast:-1", STATUS_UNSUPPORTED,
         "GPU 0 (emulated GPU) is in use by python3 (process 41, 3.0 GiB), train (process 42, "
         "memory unknown), and its compute mode lets one process in (\"exclusive process\"); wait"},
        {"exclusive", "", STATUS_UNSUPPORTED, "is in use by other programs, and its compute mode"},
        {"prohibited", "", STATUS_UNSUPPORTED, "its compute mode is \"prohibited\""},
        {"full", "1:a:1024,2:b:2048,3:c:1,4:d:1,5:e:1,6:f:1", STATUS_MEMORY,
         "has no memory left: a (process 1, 1.0 KiB), b (process 2, 2.0 KiB), c (process 3, 1 B), "
         "d (process 4, 1 B) and 2 more use it"},
        {"mig-empty", "", STATUS_UNSUPPORTED, "is in MIG mode, and CUDA sees no part of it"},
    };
    (void)state;
    needs_emulation();
    for (int i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct status status = STATUS_NONE;
        setenv("LOCKSTEP_EMULATED_GPU", cases[i].plays, 1);
        setenv("LOCKSTEP_EMULATED_PROCESSES", cases[i].processes, 1);
        struct device *device = device_open("cuda", NULL, &status);
        unsetenv("LOCKSTEP_EMULATED_GPU");
        unsetenv("LOCKSTEP_EMULATED_PROCESSES");
        assert_null(device);
        assert_int_equal(status.code, cases[i].code);
        if (!strstr(status.text, cases[i].says) || !strstr(status.text, "--device cpu"))
            fail_msg("\"%s\" does not say \"%s\"", status.text, cases[i].says);
    }
}

/* Who else uses the GPU, also where it is a part of one, which NVML knows by another name. */
static void test_other_processes(void **state)
{
    static const char *const plays[] = {"whole", "mig"};
    (void)state;
    needs_emulation();
    for (int i = 0; i < 2; i++) {
        struct device_process processes[2] = {{0}};
        int64_t used, total;
        char *list = memory_format("7:/opt/a:1000,9:b:-1,10:c:24,%d:me:5", (int)getpid());
        setenv("LOCKSTEP_EMULATED_GPU", plays[i], 1);
        setenv("LOCKSTEP_EMULATED_PROCESSES", list, 1);
        struct device *device = open_device();
        int others = device_processes(device, processes, 2); /* 4 in a container: itself, too */
        assert_true(others == 3 || others == 4);
        assert_true(device_totals(device, &used, &total));
        device_close(device);
        unsetenv("LOCKSTEP_EMULATED_GPU");
        unsetenv("LOCKSTEP_EMULATED_PROCESSES");
        free(list);
        assert_int_equal(used, 1029);
        assert_int_equal(total, 16LL << 30);
        assert_int_equal(processes[0].pid, 7);
        assert_int_equal(processes[0].bytes, 1000);
        assert_string_equal(processes[0].name, "a");
        assert_int_equal(processes[1].pid, 9);
        assert_int_equal(processes[1].bytes, -1);
    }
}

static void test_no_such_gpu(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    assert_null(device_open("cuda", &(struct device_options){.index = 99}, &status));
    assert_non_null(strstr(status.text, "no GPU 99"));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct device *device = open_device();
    struct status status = STATUS_NONE;
    void *memory = NULL, *small;
    assert_false(device_allocate(device, MEMORY_ACTIVATIONS, (size_t)1 << 50, &memory, &status));
    assert_int_equal(status.code, STATUS_MEMORY);
    assert_non_null(strstr(status.text, "no memory for activations"));
    assert_non_null(strstr(status.text, "free of"));
    assert_null(memory);
    /* The failure does not stick. */
    status = STATUS_NONE;
    assert_true(device_allocate(device, MEMORY_ACTIVATIONS, 1000, &small, &status));
    assert_true(device_synchronize(device, &status));
    device_release(device, MEMORY_ACTIVATIONS, small, 1000);
    int64_t used, total;
    assert_true(device_totals(device, &used, &total));
    assert_true(used >= 0 && used <= total && total > 0);
    device_close(device);
}

static void test_limit(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = {{"1000", 1000},
                 {"3K", 3 << 10},
                 {"1.5MiB", 3 << 19},
                 {"2GB", (int64_t)2 << 30},
                 {"lots", -1},
                 {"5X", -1},
                 {"0", -1},
                 {"-3M", -1},
                 {"1T", 1LL << 40},
                 {"4MiBs", -1},
                 {"", 0}};
    (void)state;
    for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
        struct status status = STATUS_NONE;
        int64_t bytes = -1;
        setenv("LOCKSTEP_GPU_MEMORY_LIMIT", cases[i].text, 1);
        bool good = device_memory_limit(&bytes, &status);
        if (good != (cases[i].bytes >= 0) || (good && bytes != cases[i].bytes))
            fail_msg("%s gave %lld", cases[i].text, (long long)bytes);
    }
    struct status status = STATUS_NONE;
    void *memory = NULL;
    setenv("LOCKSTEP_GPU_MEMORY_LIMIT", "1M", 1);
    struct device *device = open_device();
    unsetenv("LOCKSTEP_GPU_MEMORY_LIMIT");
    assert_false(device_allocate(device, MEMORY_ACTIVATIONS, 2 << 20, &memory, &status));
    assert_non_null(strstr(status.text, "limit of the cuda device 1.0 MiB"));
    device_close(device);
}

static void *on_device(struct device *device, const void *host, size_t bytes)
{
    struct status status = STATUS_NONE;
    void *memory;
    if (!device_allocate(device, MEMORY_INPUTS, bytes, &memory, &status) ||
        !device_upload(device, memory, host, bytes, &status))
        fail_msg("%s", status.text);
    return memory;
}

/* Labels that are none: the call is queued, waiting tells what was wrong, and then all is well. */
static void test_index_out_of_range(void **state)
{
    (void)state;
    enum { ROWS = 3, COLUMNS = 5 };
    float logits[ROWS * COLUMNS] = {0}, loss = 0;
    int32_t labels[ROWS] = {1, 77, 2};
    double count = ROWS;
    struct device *device = open_device();
    struct status status = STATUS_NONE;
    struct op_call call = {
        .op = OP_CROSS_ENTROPY, .input_count = 3, .output_count = 2, .parameters.factor = 1};
    call.inputs[0] =
        tensor_of(on_device(device, logits, sizeof(logits)), DTYPE_F32, shape_of2(ROWS, COLUMNS));
    call.inputs[1] =
        tensor_of(on_device(device, labels, sizeof(labels)), DTYPE_I32, shape_of1(ROWS));
    call.inputs[2] = tensor_of(on_device(device, &count, sizeof(count)), DTYPE_F64, shape_of1(1));
    call.outputs[0] = tensor_of(on_device(device, &loss, sizeof(loss)), DTYPE_F32, shape_of1(1));
    call.outputs[1] =
        tensor_of(on_device(device, logits, sizeof(labels)), DTYPE_F32, shape_of1(ROWS));
    size_t bytes = device_workspace(device, &call);
    call.workspace = on_device(device, logits, bytes);
    assert_true(device_run(device, &call, &status));
    assert_false(device_synchronize(device, &status));
    assert_int_equal(status.code, STATUS_INVALID);
    assert_string_equal(status.text,
                        "cross_entropy: index 77 of row 1 is not within -2147483648 to 4");
    status = STATUS_NONE;
    assert_true(device_synchronize(device, &status));
    labels[1] = 4;
    assert_true(device_upload(device, call.inputs[1].data, labels, sizeof(labels), &status));
    assert_true(device_run(device, &call, &status));
    assert_true(device_download(device, &loss, call.outputs[0].data, sizeof(loss), &status));
    assert_true(fabsf(loss - logf(COLUMNS)) < 1e-6f);
    for (int i = 0; i < 3; i++)
        device_release(device, MEMORY_INPUTS, call.inputs[i].data, 0);
    for (int i = 0; i < 2; i++)
        device_release(device, MEMORY_INPUTS, call.outputs[i].data, 0);
    device_release(device, MEMORY_INPUTS, call.workspace, 0);
    device_close(device);
}

/* With LOCKSTEP_CUDA_BLOCKING the call itself fails. */
static void test_blocking(void **state)
{
    (void)state;
    setenv("LOCKSTEP_CUDA_BLOCKING", "1", 1);
    struct device *device = open_device();
    unsetenv("LOCKSTEP_CUDA_BLOCKING");
    struct status status = STATUS_NONE;
    int32_t rows[2] = {0, 9};
    float numbers[2] = {1, 2};
    struct op_call call = {.op = OP_GATHER_ROWS, .input_count = 2, .output_count = 1};
    call.inputs[0] =
        tensor_of(on_device(device, numbers, sizeof(numbers)), DTYPE_F32, shape_of2(2, 1));
    call.inputs[1] = tensor_of(on_device(device, rows, sizeof(rows)), DTYPE_I32, shape_of1(2));
    call.outputs[0] =
        tensor_of(on_device(device, numbers, sizeof(numbers)), DTYPE_F32, shape_of2(2, 1));
    assert_false(device_run(device, &call, &status));
    assert_string_equal(status.text, "gather_rows: index 9 of row 1 is not within 0 to 1");
    for (int i = 0; i < 2; i++)
        device_release(device, MEMORY_INPUTS, call.inputs[i].data, 0);
    device_release(device, MEMORY_INPUTS, call.outputs[0].data, 0);
    device_close(device);
}

static struct op_call fill_call(struct device *device, float *host)
{
    struct op_call call = {.op = OP_FILL, .output_count = 1};
    call.outputs[0] = tensor_of(on_device(device, host, sizeof(*host)), DTYPE_F32, shape_of1(1));
    return call;
}

/* GPUs for screens have less shared memory for a block: what does not fit there is refused before
 * it is launched. */
static void test_small_blocks(void **state)
{
    enum { SIZE = 256 };
    (void)state;
    needs_emulation();
    for (int size = SIZE / 4; size <= SIZE; size *= 4) {
        struct status status = STATUS_NONE;
        float numbers[2 * SIZE] = {0};
        int32_t start = 0;
        struct op_call call = {.op = OP_ATTENTION, .input_count = 3, .output_count = 2};
        call.parameters = (struct op_parameters){
            .heads = 1, .head_groups = 1, .head_size = size, .scale = 1, .causal = true};
        setenv("LOCKSTEP_EMULATED_GPU", "small-blocks", 1);
        struct device *device = open_device();
        unsetenv("LOCKSTEP_EMULATED_GPU");
        for (int i = 0; i < 4; i++)
            *(i < 2 ? &call.inputs[i] : &call.outputs[i - 2]) =
                tensor_of(on_device(device, numbers, sizeof(numbers)), DTYPE_F32,
                          shape_of2(1, i == 3   ? 1
                                       : i == 1 ? 2 * size
                                                : size));
        call.inputs[2] =
            tensor_of(on_device(device, &start, sizeof(start)), DTYPE_I32, shape_of1(1));
        assert_int_equal(device_run(device, &call, &status), size < SIZE);
        if (size == SIZE) {
            assert_int_equal(status.code, STATUS_UNSUPPORTED);
            assert_non_null(strstr(status.text, "attention_kernel<256, float> asks for 10"));
            assert_non_null(strstr(status.text, "GPU 0 (emulated GPU) has 99 KiB"));
        }
        for (int i = 0; i < 5; i++)
            device_release(device, MEMORY_INPUTS,
                           i < 3 ? call.inputs[i].data : call.outputs[i - 3].data, 0);
        device_close(device);
    }
}

/* A kernel that dies is noticed late: the text names what may have been it. */
static void test_sticky_error(void **state)
{
    (void)state;
    needs_emulation();
    void (*set_sticky)(int error), (*clear)(void);
    *(void **)&set_sticky = emulated("emulator_set_sticky");
    *(void **)&clear = emulated("emulator_clear");
    struct device *device = open_device();
    struct status status = STATUS_NONE;
    float number = 0;
    struct op_call call = fill_call(device, &number);
    assert_true(device_run(device, &call, &status));
    call.op = OP_COPY;
    call.input_count = 1;
    call.inputs[0] = call.outputs[0];
    assert_true(device_run(device, &call, &status));
    set_sticky(719);
    assert_false(device_synchronize(device, &status));
    clear();
    assert_int_equal(status.code, STATUS_INTERNAL);
    assert_non_null(strstr(status.text, "one of the last 2 operations (fill, copy"));
    assert_non_null(strstr(status.text, "cudaErrorLaunchFailure"));
    device_release(device, MEMORY_INPUTS, call.outputs[0].data, sizeof(number));
    device_close(device);
}

/* A kernel that dies takes the device with it, which works again once it was closed and opened; if
 * each is waited for, the first text names it. On a GPU the kernel writes where nothing is, the
 * emulation lets the second launch fail. */
static void check_lost(bool blocking)
{
    struct status status = STATUS_NONE;
    float number = 0;
    setenv("LOCKSTEP_EMULATED_FAILURE", "2", 1);
    struct device *device =
        device_open("cuda", &(struct device_options){.blocking = blocking}, &status);
    struct op_call call = fill_call(device, &number), wrong = call;
    if (!module_is_emulated())
        wrong.outputs[0].data = (void *)(uintptr_t)64;
    assert_true(device_run(device, &call, &status));
    assert_int_equal(device_run(device, &wrong, &status), !blocking);
    assert_int_equal(device_lost(device), blocking);
    assert_false(device_synchronize(device, &status));
    assert_true(device_lost(device));
    assert_int_equal(device_lost_by_last(device), blocking);
    assert_non_null(strstr(status.text, "cudaErrorIllegalAddress"));
    if (!blocking)
        assert_non_null(strstr(status.text, "one of the last 2 operations (fill, fill"));
    void *memory = NULL;
    assert_false(device_allocate(device, MEMORY_INPUTS, 8, &memory, &status));
    assert_false(device_run(device, &call, &status)); /* nor is what comes now to be blamed */
    assert_false(device_lost_by_last(device));
    device_release(device, MEMORY_INPUTS, call.outputs[0].data, sizeof(number));
    device_close(device);
    unsetenv("LOCKSTEP_EMULATED_FAILURE");
}

static void test_lost(void **state)
{
    (void)state;
    for (int blocking = 0; blocking < 2; blocking++) {
        struct status status = STATUS_NONE;
        float number = 0;
        check_lost(blocking);
        struct device *device = open_device();
        assert_false(device_lost(device));
        struct op_call call = fill_call(device, &number);
        call.parameters.value = 3;
        assert_true(device_run(device, &call, &status));
        assert_true(
            device_download(device, &number, call.outputs[0].data, sizeof(number), &status));
        assert_true(number == 3);
        device_release(device, MEMORY_INPUTS, call.outputs[0].data, sizeof(number));
        device_close(device);
    }
}

/* Products without mixed types, of aligned memory, must be the library's and not our slow ones.
 * That they are right is tested with the other operations. */
static void test_library_is_used(void **state)
{
    static const enum dtype types[3] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    (void)state;
    needs_emulation();
    int (*products)(void);
    *(void **)&products = emulated("emulator_products");
    struct device *device = open_device();
    float zeros[64 * 64] = {0};
    for (int i = 0; i < 3 * 2 * 2 * 2 * 2; i++) {
        struct status status = STATUS_NONE;
        enum dtype type = types[i % 3], out = i / 3 % 2 ? DTYPE_F32 : type;
        bool ta = i / 6 % 2, tb = i / 12 % 2, bias = i / 24 % 2;
        struct op_call call = {.op = OP_MATMUL, .input_count = bias ? 3 : 2, .output_count = 1};
        struct shape shapes[4] = {ta ? shape_of2(48, 16) : shape_of2(16, 48),
                                  tb ? shape_of2(32, 48) : shape_of2(48, 32), shape_of1(32),
                                  shape_of2(16, 32)};
        call.parameters.transpose_a = ta;
        call.parameters.transpose_b = tb;
        for (int k = 0; k < 3; k++)
            call.inputs[k] =
                tensor_of(on_device(device, zeros, sizeof(zeros)), k == 2 ? out : type, shapes[k]);
        call.outputs[0] = tensor_of(on_device(device, zeros, sizeof(zeros)), out, shapes[3]);
        size_t bytes = device_workspace(device, &call);
        call.workspace = bytes ? on_device(device, zeros, bytes) : NULL;
        int before = products();
        if (!device_run(device, &call, &status) || !device_synchronize(device, &status))
            fail_msg("%s", status.text);
        assert_int_equal(products(), before + 1);
        for (int k = 0; k < 3; k++)
            device_release(device, MEMORY_INPUTS, call.inputs[k].data, sizeof(zeros));
        device_release(device, MEMORY_INPUTS, call.outputs[0].data, sizeof(zeros));
        device_release(device, MEMORY_INPUTS, call.workspace, bytes);
    }
    device_close(device);
}

/* The library may refuse what it had found a way for: then our own kernel makes the product. */
static void test_library_refuses(void **state)
{
    enum { ROWS = 20, DEPTH = 48, COLUMNS = 36 };
    float a[ROWS * DEPTH], b[DEPTH * COLUMNS], out[ROWS * COLUMNS];
    struct random random = random_start("library refuses");
    struct status status = STATUS_NONE;
    (void)state;
    needs_emulation();
    int (*products)(void);
    *(void **)&products = emulated("emulator_products");
    struct device *device = open_device();
    for (int i = 0; i < ROWS * DEPTH; i++)
        a[i] = (float)random_integer(&random, -9, 9);
    for (int i = 0; i < DEPTH * COLUMNS; i++)
        b[i] = (float)random_integer(&random, -9, 9);
    struct op_call call = {.op = OP_MATMUL, .input_count = 2, .output_count = 1};
    call.inputs[0] = tensor_of(on_device(device, a, sizeof(a)), DTYPE_F32, shape_of2(ROWS, DEPTH));
    call.inputs[1] =
        tensor_of(on_device(device, b, sizeof(b)), DTYPE_F32, shape_of2(DEPTH, COLUMNS));
    call.outputs[0] =
        tensor_of(on_device(device, out, sizeof(out)), DTYPE_F32, shape_of2(ROWS, COLUMNS));
    size_t bytes = device_workspace(device, &call);
    call.workspace = bytes ? on_device(device, a, bytes) : NULL;
    int before = products();
    setenv("LOCKSTEP_EMULATED_REFUSAL", "1", 1);
    bool ok = device_run(device, &call, &status);
    unsetenv("LOCKSTEP_EMULATED_REFUSAL");
    if (!ok || !device_download(device, out, call.outputs[0].data, sizeof(out), &status))
        fail_msg("%s", status.text);
    assert_int_equal(products(), before);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        float sum = 0; /* exact: small integers */
        for (int k = 0; k < DEPTH; k++)
            sum += a[i / COLUMNS * DEPTH + k] * b[k * COLUMNS + i % COLUMNS];
        assert_true(out[i] == sum);
    }
    device_release(device, MEMORY_INPUTS, call.inputs[0].data, sizeof(a));
    device_release(device, MEMORY_INPUTS, call.inputs[1].data, sizeof(b));
    device_release(device, MEMORY_INPUTS, call.outputs[0].data, sizeof(out));
    device_release(device, MEMORY_INPUTS, call.workspace, bytes);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_parts),   cmocka_unit_test(test_other_processes),
        cmocka_unit_test(test_no_such_gpu),     cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_limit),           cmocka_unit_test(test_index_out_of_range),
        cmocka_unit_test(test_blocking),        cmocka_unit_test(test_small_blocks),
        cmocka_unit_test(test_sticky_error),    cmocka_unit_test(test_library_is_used),
        cmocka_unit_test(test_library_refuses), cmocka_unit_test(test_lost),
    };
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
