/* NCCL, loaded at run time: the module works without it. */
#include "engine/comm/nccl/nccl_internal.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* ncclCommSplit, and configurations without blocking that abort in time, came with it. */
enum { OLDEST_VERSION = 21800 };

/* ISO C does not convert between data and function pointers; POSIX demands that dlsym's fit. */
static bool find_function(struct nccl_library *library, const char *name, void *function,
                          struct status *status)
{
    *(void **)function = dlsym(library->handle, name);
    return *(void **)function ||
           status_fail(status, STATUS_UNSUPPORTED, "libnccl.so.2 has no %s", name);
}

static bool find_functions(struct nccl_library *library, struct status *status)
{
#define FIND(name) find_function(library, "nccl" #name, &library->name, status) &&
    return NCCL_FUNCTIONS(FIND) true;
#undef FIND
}

static bool check_version(struct nccl_library *library, struct status *status)
{
    int code = 0;
    ncclResult_t result = library->GetVersion(&code);
    library->code = code;
    snprintf(library->version, sizeof(library->version), "NCCL %d.%d.%d", code / 10000,
             code / 100 % 100, code % 100);
    if (result != ncclSuccess)
        return nccl_fail(library, NULL, result, "ncclGetVersion", status);
    /* before 2.9 the code had another form, and was smaller */
    return code >= OLDEST_VERSION ||
           status_fail(status, STATUS_UNSUPPORTED,
                       "libnccl.so.2 is of version code %d; 2.18 or later is needed, which can "
                       "split communicators and give them up",
                       code);
}

bool nccl_library_load(struct nccl_library *library, struct status *status)
{
    const char *chosen = getenv("LOCKSTEP_NCCL_LIBRARY");
    const char *name = chosen && *chosen ? chosen : "libnccl.so.2";
    library->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library->handle)
        return status_fail(status, STATUS_UNSUPPORTED, "NCCL does not load: %s", dlerror());
    return find_functions(library, status) && check_version(library, status);
}

/* NCCL takes ranks with other host names for ranks on other machines, and does not look whether
 * they share a GPU; then the network is the only way between them. One channel each leaves room for
 * the others' kernels, which wait for each other. */
void nccl_allow_sharing(int rank)
{
    static const char *const settings[][2] = {
        {"NCCL_P2P_DISABLE", "1"},    {"NCCL_SHM_DISABLE", "1"},  {"NCCL_NET", "Socket"},
        {"NCCL_IB_DISABLE", "1"},     {"NCCL_MNNVL_ENABLE", "0"}, {"NCCL_NVLS_ENABLE", "0"},
        {"NCCL_SOCKET_IFNAME", "lo"}, {"NCCL_MAX_CTAS", "1"},     {"NCCL_ALGO", "Ring"},
        {"NCCL_PROTO", "Simple"},
    };
    char host[64];
    snprintf(host, sizeof(host), "lockstep-%d", rank);
    setenv("NCCL_HOSTID", host, 0);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        setenv(settings[i][0], settings[i][1], 0);
}

bool nccl_fail(const struct nccl_library *library, ncclComm_t comm, ncclResult_t result,
               const char *doing, struct status *status)
{
    const char *said = library->GetLastError(comm);
    return status_fail(status, STATUS_IO, "%s: %s: %s (%d)%s%s", library->version, doing,
                       library->GetErrorString(result), (int)result, said && *said ? ": " : "",
                       said ? said : "");
}
