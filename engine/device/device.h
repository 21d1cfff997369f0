/* A device: memory with accounting, and a table of operations. Known to the program and above;
 * knows nothing of models. One thread (the engine's) uses a device at a time. No toolkit header
 * is needed to use it. */
#ifndef ENGINE_DEVICE_DEVICE_H
#define ENGINE_DEVICE_DEVICE_H

#include "engine/base/status.h"
#include "engine/tensor/op.h"

struct device;

/* What memory is for: the rows of every memory report. */
enum memory_class {
    MEMORY_PARAMETERS = 0,
    MEMORY_GRADIENTS,
    MEMORY_OPTIMIZER,
    MEMORY_ACTIVATIONS,
    MEMORY_INPUTS,
    MEMORY_WORKSPACE,
    MEMORY_COLLECTIVES,
    MEMORY_CLASS_COUNT,
};

const char *memory_class_name(enum memory_class memory_class); /* "parameters", ... static */

struct device_options {
    int threads;          /* CPU threads for kernels; 0 = all cores */
    int64_t memory_limit; /* bytes that allocate() may hand out; 0 = no limit */
    int index;            /* which GPU */
    bool counts_round;    /* index counts round the GPUs that there are: for ranks of a machine */
    bool blocking;        /* wait after each operation, so that one that dies is named exactly */
};

/* A program that has memory of a GPU. */
struct device_process {
    int64_t pid;   /* as the driver knows it: of the host, also where this is a container */
    int64_t bytes; /* -1: the driver does not tell */
    char name[96]; /* of its program; "" if it cannot be seen */
};

/* What one pass over two equally shaped tensors gives, test / scale against reference; the same as
 * engine/compare finds on the host (compare.h says what each is). Pairs of which a side is not
 * finite are counted, and left out of the sums. */
struct device_sums {
    double differences, references, tests, products; /* sums of squares and of products */
    double largest, largest_reference, largest_test; /* the largest difference, its two values */
    int64_t largest_index;                           /* the first such; -1: no finite pair */
    int64_t finite, nan_reference, nan_test, infinity_reference, infinity_test;
    int64_t different; /* in the coarser dtype */
    uint64_t distance; /* the largest, in units of its last place */
};

/* What one pass over a tensor gives; all but the counts is of the finite elements. */
struct device_statistics {
    int64_t finite, nans, infinities;
    double mean, squares;    /* the sum of squares of the differences from the mean */
    double minimum, maximum; /* infinite if none is finite */
};

/* The table that a device implements. Slots marked (optional) may be NULL. */
struct device_ops {
    const char *name; /* "cpu", "reference", "cuda" */
    bool (*open)(void **context, const struct device_options *options, struct status *status);
    void (*close)(void *context);
    /* Whether run() can do this call (kind and dtypes of the operands). */
    bool (*supports)(void *context, const struct op_call *call);
    /* Bytes of workspace that run() needs for this call (data pointers are not looked at). */
    size_t (*workspace)(void *context, const struct op_call *call); /* (optional): none */
    /* Runs the call, or queues it: memory is only valid after synchronize(). */
    bool (*run)(void *context, const struct op_call *call, struct status *status);
    bool (*allocate)(void *context, size_t bytes, void **memory, struct status *status);
    void (*release)(void *context, void *memory, size_t bytes);
    bool (*upload)(void *context, void *to, const void *host, size_t bytes, struct status *status);
    bool (*download)(void *context, void *host, const void *from, size_t bytes,
                     struct status *status);
    bool (*synchronize)(void *context, struct status *status); /* (optional) */
    /* Memory of the whole device, in bytes. (optional) */
    bool (*totals)(void *context, int64_t *used, int64_t *total);
    /* Other processes that use it, up to `most`; gives how many there are. (optional) */
    int (*processes)(void *context, struct device_process *processes, int most);
    /* Whether an operation died so that nothing works any more, and all memory is gone, until the
     * device is closed and opened again; if so, whether it is known to be the last one that was
     * run. (optional) */
    bool (*lost)(void *context, bool *last);
    /* Which device of the machine this is: the same text in every process that has it, while the
     * device is open. (optional) */
    const char *(*place)(void *context);
    /* Where memory is not the host's. Compares two tensors of the device without fetching them:
     * queued, `sums` is device memory. False with STATUS_UNSUPPORTED for types or a scale that it
     * does not take. (optional) */
    bool (*compare)(void *context, const struct tensor *reference, const struct tensor *test,
                    double scale, struct device_sums *sums, struct status *status);
    /* Elements 0, step, 2*step, ... (`count` of them, by flat index), and what a pass over all of
     * the tensor gives (f32, bf16, f16; NULL: not wanted): queued, into device memory. (optional)
     */
    bool (*sample)(void *context, const struct tensor *from, int64_t step, int64_t count,
                   void *samples, struct device_statistics *statistics, struct status *status);
    bool host_memory; /* the host may read and write device memory directly */
};

/* The built-in tables. */
extern const struct device_ops device_cpu;       /* kernels under device/cpu/ */
extern const struct device_ops device_reference; /* float64, plain C, under device/reference/ */

/* Opens the device called `name` ("cpu", "reference", "cuda", or "auto": cuda if there is one,
 * else cpu). NULL on failure. The caller closes it after everything allocated was released. */
struct device *device_open(const char *name, const struct device_options *options,
                           struct status *status);
void device_close(struct device *device);
/* A device of whoever has a table of his own: `context` takes the place of what ops->open would
 * give, and is closed with it. */
struct device *device_wrap(const struct device_ops *ops, void *context);

/* The limit on a GPU's memory that the environment sets where the options set none, for the
 * processes that a run starts as well: LOCKSTEP_GPU_MEMORY_LIMIT, in bytes or as 500M, 8G. 0 =
 * none; false if it is no size. */
bool device_memory_limit(int64_t *bytes, struct status *status);

const char *device_name(const struct device *device);
/* Why "auto" gave the CPU on a machine that seems to have a GPU, as a text for users; else NULL. Of
 * the device. */
const char *device_passed_over(const struct device *device);
/* Where it is in the machine, "" if it does not say: valid until it is closed. */
const char *device_place(const struct device *device);
/* The context of its table: for what else comes with the device's module (comm_device_module). */
void *device_handle(const struct device *device);
bool device_host_memory(const struct device *device);
bool device_supports(struct device *device, const struct op_call *call);
size_t device_workspace(struct device *device, const struct op_call *call);
bool device_run(struct device *device, const struct op_call *call, struct status *status);
bool device_synchronize(struct device *device, struct status *status);

/* 64-byte aligned memory (not zeroed); counted under its class until released. */
bool device_allocate(struct device *device, enum memory_class memory_class, size_t bytes,
                     void **memory, struct status *status);
void device_release(struct device *device, enum memory_class memory_class, void *memory,
                    size_t bytes);

/* Memory that somebody keeps and can do without. When an allocation is refused it is given back,
 * and the allocation tried again: so it is not counted as in use. */
struct device_reserve {
    /* Takes what is needed out of the memory, and closes the reserve; false if it cannot. */
    bool (*give_back)(void *context);
    void *context;
    void *memory; /* set by device_reserve_open; 64-byte aligned */
    int64_t bytes;
    struct device_reserve *next; /* the device's */
};
/* Takes reserve->bytes, if the device has so much that nobody uses. Borrowed until it is closed,
 * which must be before the device is. */
bool device_reserve_open(struct device *device, struct device_reserve *reserve,
                         struct status *status);
void device_reserve_close(struct device *device, struct device_reserve *reserve);
/* All that can be done without is given back: for other processes on the device. */
void device_reclaim(struct device *device);

bool device_upload(struct device *device, void *to, const void *host, size_t bytes,
                   struct status *status);
bool device_download(struct device *device, void *host, const void *from, size_t bytes,
                     struct status *status);

/* The two optional operations above; false with STATUS_UNSUPPORTED where there is none. */
bool device_compare(struct device *device, const struct tensor *reference,
                    const struct tensor *test, double scale, struct device_sums *sums,
                    struct status *status);
bool device_sample(struct device *device, const struct tensor *from, int64_t step, int64_t count,
                   void *samples, struct device_statistics *statistics, struct status *status);
/* Memory in use (by all programs) and in all of the whole device; false if it does not tell. */
bool device_totals(struct device *device, int64_t *used, int64_t *total);

/* Other processes that use the device, the first `most` of them; gives how many there are, 0 where
 * it cannot be known. */
int device_processes(struct device *device, struct device_process *processes, int most);
/* Whether the device is lost: close it (after what was allocated is released), and open it again.
 * NULL is not. */
bool device_lost(struct device *device);
/* Whether it is, and the operation that was run last is known to have died. */
bool device_lost_by_last(struct device *device);
/* Bytes that allocations may take in all: the limit, or what the device has beside what others use.
 * False if it has no limit and does not tell. */
bool device_room(struct device *device, int64_t *bytes);

/* Bytes in use and at the peak, by class and in all. */
struct device_memory {
    int64_t live[MEMORY_CLASS_COUNT], live_total;
    int64_t peak[MEMORY_CLASS_COUNT], peak_total; /* peak of each class, peak of the sum */
    int64_t reserve;                              /* beside that: see device_reserve */
};
void device_memory(const struct device *device, struct device_memory *memory);
void device_memory_reset_peak(struct device *device);

/* Runs `call` in float64 on host copies of its inputs and gives host tensors of the outputs
 * (float outputs as f64, integer outputs as they are). `inputs` of the call must be readable by
 * the host, contiguous or strided; `outputs` of the call give dtypes and shapes only. The data of
 * results[0..output_count-1] is owned by the caller: free() each. */
bool reference_run(const struct op_call *call, struct tensor results[OP_MAX_OUTPUTS],
                   struct status *status);

#endif
