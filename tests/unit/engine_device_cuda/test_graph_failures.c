/* What is held back and then fails, or cannot be captured. */
#include "engine/base/memory.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Those that the emulated library has made. */
static int products(void)
{
    int (*count)(void);
    void *module = dlopen(LOCKSTEP_EMULATED_MODULE "/lockstep_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(module);
    *(void **)&count = dlsym(module, "emulator_products");
    dlclose(module);
    return count();
}

static void must(bool ok, const struct status *status)
{
    if (!ok)
        fail_msg("%s", status->text);
}

enum { SIDE = 16, PRODUCTS = 6 };

/* A row of fills with a product, by the library, in any place but the last. */
struct chain {
    struct device *device;
    struct op_call calls[PRODUCTS];
    void *memory[4]; /* inputs, output, and one that nothing uses */
    size_t bytes;
    int product;
};

static void open_chain(struct chain *chain, struct random *random)
{
    struct status status = STATUS_NONE;
    float numbers[SIDE * SIDE];
    *chain = (struct chain){.device = device_open("cuda", NULL, &status),
                            .bytes = sizeof(numbers),
                            .product = (int)random_integer(random, 0, PRODUCTS - 2)};
    must(chain->device != NULL, &status);
    for (int i = 0; i < SIDE * SIDE; i++)
        numbers[i] = (float)random_integer(random, -9, 9);
    for (int m = 0; m < ARRAY_LENGTH(chain->memory); m++)
        must(device_allocate(chain->device, MEMORY_INPUTS, chain->bytes, &chain->memory[m],
                             &status) &&
                 device_upload(chain->device, chain->memory[m], numbers, chain->bytes, &status),
             &status);
    for (int i = 0; i < PRODUCTS; i++) {
        struct op_call *call = &chain->calls[i];
        call->op = i == chain->product ? OP_MATMUL : OP_FILL;
        call->input_count = i == chain->product ? 2 : 0;
        call->output_count = 1;
        for (int k = 0; k < 2; k++)
            call->inputs[k] = tensor_of(chain->memory[k], DTYPE_F32, shape_of2(SIDE, SIDE));
        call->outputs[0] = tensor_of(chain->memory[2], DTYPE_F32, shape_of2(SIDE, SIDE));
        assert_int_equal(device_workspace(chain->device, call), 0);
    }
}

static void close_chain(struct chain *chain)
{
    for (int m = 0; m < ARRAY_LENGTH(chain->memory); m++)
        device_release(chain->device, MEMORY_INPUTS, chain->memory[m], chain->bytes);
    device_close(chain->device);
}

static void run_chain(struct chain *chain, int count)
{
    struct status status = STATUS_NONE;
    for (int i = 0; i < count; i++)
        must(device_run(chain->device, &chain->calls[i], &status), &status);
}

/* What fails only when it is no longer held back is told by the next call that can tell, once and
 * with its name, even if a release has run it. */
static void test_told_later(void **state)
{
    enum { UPLOAD, OTHER, LAST, RELEASE_AND_WAIT, RELEASE_AND_RUN, LOOKS };
    struct random random = random_start("told later");
    (void)state;
    if (!module_is_emulated())
        skip();
    for (int look = 0; look < LOOKS; look++) {
        struct status status = STATUS_NONE;
        struct chain chain;
        float number = 0;
        bool ok;
        open_chain(&chain, &random);
        run_chain(&chain, PRODUCTS);
        must(device_synchronize(chain.device, &status), &status);
        run_chain(&chain, PRODUCTS - 1); /* held back */
        struct op_call other = chain.calls[PRODUCTS - 1];
        other.parameters.value = 3;
        setenv("LOCKSTEP_EMULATED_REFUSAL", "failure", 1);
        if (look == RELEASE_AND_WAIT || look == RELEASE_AND_RUN) {
            device_release(chain.device, MEMORY_INPUTS, chain.memory[3], chain.bytes);
            chain.memory[3] = NULL;
            unsetenv("LOCKSTEP_EMULATED_REFUSAL");
        }
        if (look == UPLOAD)
            ok = device_upload(chain.device, chain.memory[0], &number, sizeof(number), &status);
        else if (look == RELEASE_AND_WAIT)
            ok = device_synchronize(chain.device, &status);
        else
            ok = device_run(chain.device, look == LAST ? &chain.calls[PRODUCTS - 1] : &other,
                            &status);
        unsetenv("LOCKSTEP_EMULATED_REFUSAL");
        assert_false(ok);
        assert_ptr_equal(strstr(status.text, "matmul, asked for earlier: matmul: cuBLAS"),
                         status.text);
        assert_false(device_lost(chain.device));
        status = STATUS_NONE;
        must(device_run(chain.device, &other, &status) && device_synchronize(chain.device, &status),
             &status);
        close_chain(&chain);
    }
}

/* A product's algorithm that was forgotten between two rounds is not looked for while capturing,
 * where the library refuses to: it makes the product all the same, then and later. */
static void test_forgotten_algorithm(void **state)
{
    enum { ROUNDS = 5, OTHERS = 1200 }; /* more than are remembered */
    struct random random = random_start("forgotten algorithm");
    struct status status = STATUS_NONE;
    struct chain chain;
    (void)state;
    if (!module_is_emulated())
        skip();
    open_chain(&chain, &random);
    for (int round = 0; round < ROUNDS; round++) {
        int before = products();
        run_chain(&chain, PRODUCTS);
        must(device_synchronize(chain.device, &status), &status);
        assert_int_equal(products() - before, 1);
        struct op_call other = chain.calls[chain.product];
        for (int i = 1; round == 0 && i <= OTHERS; i++) {
            other.inputs[0].shape = other.outputs[0].shape = shape_of2(SIDE + i, SIDE);
            device_workspace(chain.device, &other);
        }
    }
    close_chain(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_told_later),
                                       cmocka_unit_test(test_forgotten_algorithm)};
    if (!module_table())
        return module_missing();
    setenv("LOCKSTEP_CUDA_GRAPHS", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
