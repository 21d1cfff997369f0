#include "helper_module.h"

#include "engine/base/memory.h"
#include "engine/device/module.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

bool module_is_emulated(void)
{
    const char *device = getenv("LOCKSTEP_TEST_DEVICE");
    return !device || strcmp(device, "cuda") != 0;
}

void module_choose(void)
{
    if (module_is_emulated())
        setenv("LOCKSTEP_MODULE_PATH", LOCKSTEP_EMULATED_MODULE, 1);
}

const struct device_ops *module_table(void)
{
    struct status status = STATUS_NONE;
    module_choose();
    const struct device_ops *ops = device_module_load("cuda", &status);
    if (!ops)
        printf("no CUDA device to test: %s\n", status.text);
    return ops;
}

int module_missing(void)
{
    return module_is_emulated() && access(LOCKSTEP_EMULATED_MODULE "/lockstep_cuda.so", F_OK) != 0
               ? 0
               : 1;
}

size_t module_count(const char *counter)
{
    size_t (*count)(void) = NULL;
    void *module = dlopen(LOCKSTEP_EMULATED_MODULE "/lockstep_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    if (!module)
        return 0;
    *(void **)&count = dlsym(module, counter);
    size_t number = count ? count() : 0;
    dlclose(module);
    return number;
}

static size_t bytes_of(const struct tensor *tensor)
{
    return (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

static bool put_operands(struct device *device, const struct op_call *call, struct op_call *there,
                         struct status *status)
{
    bool ok = true;
    *there = *call;
    for (int k = 0; ok && k < call->input_count; k++)
        ok = device_allocate(device, MEMORY_INPUTS, bytes_of(&call->inputs[k]),
                             &there->inputs[k].data, status) &&
             device_upload(device, there->inputs[k].data, call->inputs[k].data,
                           bytes_of(&call->inputs[k]), status);
    for (int k = 0; ok && k < call->output_count; k++)
        ok = device_allocate(device, MEMORY_INPUTS, bytes_of(&call->outputs[k]),
                             &there->outputs[k].data, status);
    return ok;
}

void module_run(struct device *device, const struct op_call *call,
                struct tensor results[OP_MAX_OUTPUTS])
{
    struct status status = STATUS_NONE;
    struct op_call there;
    bool ok = put_operands(device, call, &there, &status);
    size_t workspace = ok ? device_workspace(device, &there) : 0;
    ok = ok && device_allocate(device, MEMORY_WORKSPACE, workspace, &there.workspace, &status) &&
         device_run(device, &there, &status);
    for (int k = 0; ok && k < call->output_count; k++) {
        results[k] = call->outputs[k];
        results[k].data = memory_zeroed(bytes_of(&results[k]), 1);
        ok = device_download(device, results[k].data, there.outputs[k].data, bytes_of(&results[k]),
                             &status);
    }
    if (!ok)
        fail_msg("%s", status.text);
    for (int k = 0; k < call->input_count; k++)
        device_release(device, MEMORY_INPUTS, there.inputs[k].data, bytes_of(&call->inputs[k]));
    for (int k = 0; k < call->output_count; k++)
        device_release(device, MEMORY_INPUTS, there.outputs[k].data, bytes_of(&call->outputs[k]));
    device_release(device, MEMORY_WORKSPACE, there.workspace, workspace);
}
