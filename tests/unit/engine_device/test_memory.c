/* The registry of devices and their accounting of memory. */
#include "engine/device/cpu/arenas.h"
#include "engine/device/device.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct device *open_cpu(int64_t limit)
{
    struct status status = STATUS_NONE;
    struct device *device =
        device_open("cpu", &(struct device_options){.threads = 1, .memory_limit = limit}, &status);
    if (!device)
        fail_msg("%s", status.text);
    return device;
}

static void test_registry(void **state)
{
    (void)state;
    static const char *const names[] = {"cpu", "reference"};
    struct status status = STATUS_NONE;
    for (int i = 0; i < 2; i++) {
        struct device *device = device_open(names[i], NULL, &status);
        assert_non_null(device);
        assert_string_equal(device_name(device), names[i]);
        assert_true(device_host_memory(device));
        device_close(device);
    }
    assert_null(device_open("tpu", NULL, &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    assert_non_null(strstr(status.text, "tpu"));
    device_close(NULL);
    struct device *best = device_open("auto", NULL, &status);
    assert_non_null(best);
    device_close(best);
}

static void test_classes_and_peaks(void **state)
{
    (void)state;
    struct device *device = open_cpu(0);
    struct status status = STATUS_NONE;
    struct device_memory memory;
    void *weights, *activations, *large;
    assert_true(device_allocate(device, MEMORY_PARAMETERS, 1000, &weights, &status));
    assert_true(device_allocate(device, MEMORY_ACTIVATIONS, 500, &activations, &status));
    assert_true(device_allocate(device, MEMORY_ACTIVATIONS, 5 << 20, &large, &status));
    assert_int_equal((uintptr_t)weights % 64 + (uintptr_t)activations % 64 + (uintptr_t)large % 64,
                     0);
    memset(large, 1, 5 << 20);
    device_release(device, MEMORY_ACTIVATIONS, large, 5 << 20);
    device_memory(device, &memory);
    assert_int_equal(memory.live[MEMORY_PARAMETERS], 1000);
    assert_int_equal(memory.live[MEMORY_ACTIVATIONS], 500);
    assert_int_equal(memory.live_total, 1500);
    assert_int_equal(memory.peak[MEMORY_ACTIVATIONS], 500 + (5 << 20));
    assert_int_equal(memory.peak_total, 1500 + (5 << 20));
    device_memory_reset_peak(device);
    device_release(device, MEMORY_ACTIVATIONS, activations, 500);
    device_memory(device, &memory);
    assert_int_equal(memory.peak_total, 1500);
    assert_int_equal(memory.peak[MEMORY_ACTIVATIONS], 500);
    assert_int_equal(memory.live_total, 1000);
    device_release(device, MEMORY_PARAMETERS, weights, 1000);
    device_close(device);
}

static void test_limit(void **state)
{
    (void)state;
    struct device *device = open_cpu(3 << 20);
    struct status status = STATUS_NONE;
    struct device_memory memory;
    void *first, *second = NULL;
    assert_true(device_allocate(device, MEMORY_GRADIENTS, 2 << 20, &first, &status));
    assert_false(device_allocate(device, MEMORY_WORKSPACE, (1 << 20) + 1, &second, &status));
    assert_int_equal(status.code, STATUS_MEMORY);
    assert_non_null(strstr(status.text, "workspace"));
    assert_non_null(strstr(status.text, "2.0 MiB in use"));
    assert_non_null(strstr(status.text, "limit"));
    assert_null(second);
    device_memory(device, &memory);
    assert_int_equal(memory.live_total, 2 << 20);
    status = STATUS_NONE;
    assert_false(device_allocate(device, MEMORY_WORKSPACE, SIZE_MAX, &second, &status));
    assert_int_equal(status.code, STATUS_MEMORY);
    status = STATUS_NONE;
    assert_true(device_allocate(device, MEMORY_WORKSPACE, 1 << 20, &second, &status));
    device_release(device, MEMORY_WORKSPACE, second, 1 << 20);
    device_release(device, MEMORY_GRADIENTS, first, 2 << 20);
    device_close(device);
}

static void test_copies(void **state)
{
    (void)state;
    struct device *device = open_cpu(0);
    struct status status = STATUS_NONE;
    char text[] = "up and down", back[sizeof(text)] = "";
    void *memory;
    assert_true(device_allocate(device, MEMORY_INPUTS, sizeof(text), &memory, &status));
    assert_true(device_upload(device, memory, text, sizeof(text), &status));
    assert_true(device_synchronize(device, &status));
    assert_true(device_download(device, back, memory, sizeof(text), &status));
    assert_string_equal(back, text);
    device_release(device, MEMORY_INPUTS, memory, sizeof(text));
    device_close(device);
}

/* Blocks are used again, never two at a time, and what is held stays within what was in use. */
static void test_kept_blocks(void **state)
{
    (void)state;
    enum { BLOCKS = 4, MEGABYTE = 1 << 20 };
    struct random random = random_start("kept blocks");
    struct arenas *arenas = arenas_open();
    unsigned char *blocks[BLOCKS] = {0};
    size_t bytes[BLOCKS] = {0}, used = 0, most = 0;
    for (int i = 0; i < 300; i++) {
        int one = (int)random_integer(&random, 0, BLOCKS - 1);
        if (blocks[one]) {
            for (size_t at = 0; at < bytes[one]; at += bytes[one] - 1)
                assert_int_equal(blocks[one][at], one);
            arenas_release(arenas, blocks[one], bytes[one]);
            blocks[one] = NULL;
            used -= bytes[one];
        } else {
            bytes[one] = (size_t)random_integer(&random, 2, 24 * MEGABYTE);
            blocks[one] = arenas_allocate(arenas, bytes[one]);
            assert_non_null(blocks[one]);
            assert_int_equal((uintptr_t)blocks[one] % 64, 0);
            blocks[one][0] = blocks[one][bytes[one] - 1] = (unsigned char)one;
            used += bytes[one];
        }
        most = used > most ? used : most;
        assert_true(2 * arenas_held(arenas) <= 5 * most);
    }
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i])
            arenas_release(arenas, blocks[i], bytes[i]);
    assert_null(arenas_allocate(arenas, SIZE_MAX));
    void *first = arenas_allocate(arenas, 30 * MEGABYTE);
    arenas_release(arenas, first, 30 * MEGABYTE);
    assert_ptr_equal(arenas_allocate(arenas, 31 * MEGABYTE), first);
    arenas_release(arenas, first, 31 * MEGABYTE);
    arenas_close(arenas);
}

/* Runs of many sizes, one after the other, find the blocks of the largest of them, each a block of
 * its own kind as long as what is largest comes first; two at a time do not. */
static void test_smaller_runs(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{208 << 20, 26 << 20}, {65 << 20, 26 << 20},
                                      {36 << 20, 25 << 20},  {182 << 20, 26 << 20},
                                      {209 << 20, 14 << 20}, {150 << 20, 27 << 20}};
    void *first[2], *next[2], *beside[2];
    struct arenas *arenas = arenas_open();
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < 2; k++) {
            next[k] = arenas_allocate(arenas, sizes[i][k]);
            first[k] = i == 0 ? next[k] : first[k];
            assert_ptr_equal(next[k], first[k]);
        }
        for (int k = 0; k < 2; k++)
            arenas_release(arenas, next[k], sizes[i][k]);
    }
    size_t held = arenas_held(arenas);
    assert_true(held <= (size_t)(209 + 27) << 20);
    for (int k = 0; k < 2; k++) {
        next[k] = arenas_allocate(arenas, sizes[0][k]);
        beside[k] = arenas_allocate(arenas, sizes[1][k]);
        assert_true(next[k] != beside[k]);
    }
    assert_int_equal(arenas_held(arenas), held + sizes[1][0] + sizes[1][1]);
    for (int k = 0; k < 2; k++) {
        arenas_release(arenas, next[k], sizes[0][k]);
        arenas_release(arenas, beside[k], sizes[1][k]);
    }
    arenas_close(arenas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),    cmocka_unit_test(test_classes_and_peaks),
        cmocka_unit_test(test_limit),       cmocka_unit_test(test_copies),
        cmocka_unit_test(test_kept_blocks), cmocka_unit_test(test_smaller_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
