#include "engine/trace/trace_internal.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int64_t trace_sampling_step(struct shape shape)
{
    int64_t step = shape_elements(shape) / TRACE_SAMPLES;
    /* A step that is a multiple of a dimension would look at the same column again and again. */
    for (bool again = true; again && step > 1;) {
        again = false;
        for (int i = 0; i < shape.rank; i++)
            again = again || (shape.dims[i] > 1 && step % shape.dims[i] == 0);
        step -= again;
    }
    return step > 1 ? step : 1;
}

int64_t trace_sample_count(struct shape shape)
{
    int64_t step = trace_sampling_step(shape);
    int64_t count = (shape_elements(shape) + step - 1) / step;
    return count < TRACE_SAMPLES ? count : TRACE_SAMPLES;
}

/* One tensor of a step whose metadata say another order than the file has. */
struct place {
    const char *name;
    int order, entry;
};

/* By order; two tensors that claim the same place (partly foreign metadata) by name. */
static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* In the order of the run; where that is another one than in the file, with tables from one to the
 * other. `orders` is what the metadata say. */
static void order_tensors(struct trace_step *step, const int *orders)
{
    const struct safetensors_entry *entries = step->file->entries;
    bool sorted = true;
    for (int i = 1; i < step->count && sorted; i++)
        sorted = orders[i - 1] < orders[i] ||
                 (orders[i - 1] == orders[i] && strcmp(entries[i - 1].name, entries[i].name) <= 0);
    if (sorted)
        return;
    struct place *places = memory_zeroed((size_t)step->count, sizeof *places);
    for (int i = 0; i < step->count; i++)
        places[i] = (struct place){entries[i].name, orders[i], i};
    qsort(places, (size_t)step->count, sizeof *places, compare_places);
    step->entries = memory_zeroed((size_t)step->count, sizeof *step->entries);
    step->positions = memory_zeroed((size_t)step->count, sizeof *step->positions);
    for (int i = 0; i < step->count; i++) {
        step->entries[i] = places[i].entry;
        step->positions[places[i].entry] = i;
    }
    free(places);
}

/* Checks `count` entries from `first` on and notes their order. The first bad one, or INT_MAX. */
static int check_entries(const struct safetensors *file, int first, int count, int *orders)
{
    struct status ignored = STATUS_NONE;
    struct trace_tensor tensor;
    int bad = INT_MAX;
    for (int i = first; i < first + count && bad == INT_MAX; i++) {
        if (!trace_tensor_read(file, i, &tensor, &ignored))
            bad = i;
        orders[i] = tensor.order;
    }
    if (first < file->metadata_count) {
        int left = file->metadata_count - first;
        safetensors_forget_metadata(file, first, count < left ? count : left);
    }
    return bad;
}

/* Nothing is kept of the tensors but their order: they are read again when they are looked at. */
static bool check_tensors(struct trace_step *step, struct status *status)
{
    enum { BLOCK = 1 << 14 };
    struct safetensors *file = step->file;
    struct trace_tensor tensor;
    int *orders = memory_zeroed((size_t)file->count, sizeof *orders);
    int blocks = (file->count + BLOCK - 1) / BLOCK, bad = INT_MAX;
    step->count = file->count;
#pragma omp parallel for schedule(dynamic) reduction(min : bad) if (blocks > 1)
    for (int block = 0; block < blocks; block++) {
        int first = block * BLOCK, left = file->count - first;
        int found = check_entries(file, first, left < BLOCK ? left : BLOCK, orders);
        bad = found < bad ? found : bad;
    }
    if (bad == INT_MAX)
        order_tensors(step, orders);
    free(orders);
    return bad == INT_MAX || trace_tensor_read(file, bad, &tensor, status);
}

/* The name is written as JSON: whatever it holds, a terminal does not obey it. */
static bool fail_name(const struct trace *trace, const char *name, struct status *status)
{
    json_t *word = json_string(name);
    char *quoted = json_dumps(word, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    status_fail(status, STATUS_INVALID,
                "%s: a step is called %.100s; expected letters, digits, _ - and ., no . in front",
                trace->directory, quoted ? quoted : "something that is not UTF-8");
    free(quoted);
    json_decref(word);
    return false;
}

static bool open_step(struct trace *trace, const char *name, struct status *status)
{
    if (!trace_step_name_is_valid(name))
        return fail_name(trace, name, status);
    if (trace_find_step(trace, name))
        return status_fail(status, STATUS_INVALID, "%s/manifest.json: step \"%s\" is listed twice",
                           trace->directory, name);
    char *path = memory_format("%s/%s" TRACE_SUFFIX, trace->directory, name);
    struct trace_step step = {.name = memory_string(name), .file = safetensors_open(path, status)};
    free(path);
    trace->steps = memory_resize(trace->steps, (size_t)trace->step_count + 1, sizeof step);
    trace->steps[trace->step_count++] = step;
    return step.file && check_tensors(&trace->steps[trace->step_count - 1], status);
}

static bool open_listed_steps(struct trace *trace, const json_t *root, struct status *status)
{
    const json_t *steps = json_object_get(root, "steps"), *step;
    size_t position;
    if (!json_is_array(steps))
        return status_fail(status, STATUS_INVALID, "%s/manifest.json: \"steps\" is not a list",
                           trace->directory);
    json_array_foreach(steps, position, step)
    {
        if (!json_is_string(step))
            return status_fail(status, STATUS_INVALID,
                               "%s/manifest.json: \"steps\" holds something that is no name",
                               trace->directory);
        if (!open_step(trace, json_string_value(step), status))
            return false;
    }
    return true;
}

/* "init" first, then by name with numbers as numbers: train_2 before train_10. */
static int compare_steps(const void *left, const void *right)
{
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    bool first_a = strcmp(a, "init") == 0, first_b = strcmp(b, "init") == 0;
    if (first_a != first_b)
        return first_a ? -1 : 1;
    return strverscmp(a, b);
}

/* The names of all *.safetensors in the directory, in order. */
static bool list_steps(const char *directory, char ***names, int *count, struct status *status)
{
    int capacity = 0;
    DIR *folder = opendir(directory);
    if (!folder)
        return status_fail(status, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s",
                           directory, strerror(errno));
    for (struct dirent *file; (file = readdir(folder));) {
        size_t length = strlen(file->d_name), suffix = strlen(TRACE_SUFFIX);
        if (length <= suffix || strcmp(file->d_name + length - suffix, TRACE_SUFFIX) != 0)
            continue;
        char *name = memory_string_part(file->d_name, length - suffix);
        ARRAY_PUSH(*names, *count, capacity, name);
    }
    closedir(folder);
    if (*count)
        qsort(*names, (size_t)*count, sizeof **names, compare_steps);
    return true;
}

static bool open_found_steps(struct trace *trace, struct status *status)
{
    char **names = NULL;
    int count = 0;
    bool done = list_steps(trace->directory, &names, &count, status);
    for (int i = 0; i < count && done; i++)
        done = open_step(trace, names[i], status);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return done;
}

static bool fail_empty(const struct trace *trace, bool has_manifest, struct status *status)
{
    return status_fail(status, STATUS_INVALID,
                       has_manifest
                           ? "%s: a trace without any step"
                           : "%s: not a trace: neither manifest.json nor a .safetensors file",
                       trace->directory);
}

static bool check_directory(const char *directory, struct status *status)
{
    struct stat facts;
    return stat(directory, &facts) != 0 || S_ISDIR(facts.st_mode) ||
           status_fail(status, STATUS_INVALID, "%s: not a folder, as a trace is", directory);
}

static bool open_steps(struct trace *trace, struct status *status)
{
    json_t *root;
    if (!check_directory(trace->directory, status) ||
        !trace_manifest_read(trace->directory, &trace->manifest, &root, status))
        return false;
    trace->unfinished = json_is_false(json_object_get(root, "finished"));
    bool done = root ? open_listed_steps(trace, root, status) : open_found_steps(trace, status);
    bool has_manifest = root != NULL;
    json_decref(root);
    if (!trace->manifest)
        trace->manifest = memory_string("{}");
    return done && (trace->step_count || fail_empty(trace, has_manifest, status));
}

struct trace *trace_open(const char *directory, struct status *status)
{
    struct trace *trace = memory_zeroed(1, sizeof *trace);
    trace->directory = memory_string(directory);
    if (open_steps(trace, status))
        return trace;
    trace_close(trace);
    return NULL;
}

void trace_close(struct trace *trace)
{
    if (!trace)
        return;
    for (int i = 0; i < trace->step_count; i++) {
        safetensors_close(trace->steps[i].file);
        free(trace->steps[i].name);
        free(trace->steps[i].entries);
        free(trace->steps[i].positions);
    }
    free(trace->steps);
    free(trace->manifest);
    free(trace->directory);
    free(trace);
}

const struct trace_step *trace_find_step(const struct trace *trace, const char *name)
{
    for (int i = 0; i < trace->step_count; i++)
        if (strcmp(trace->steps[i].name, name) == 0)
            return &trace->steps[i];
    return NULL;
}

static int entry_at(const struct trace_step *step, int position)
{
    return step->entries ? step->entries[position] : position;
}

const char *trace_name(const struct trace_step *step, int position)
{
    return step->file->entries[entry_at(step, position)].name;
}

int trace_position(const struct trace_step *step, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(step->file, name);
    if (!entry)
        return -1;
    int i = (int)(entry - step->file->entries);
    return step->positions ? step->positions[i] : i;
}

void trace_at(const struct trace_step *step, int position, struct trace_tensor *tensor)
{
    struct status ignored = STATUS_NONE; /* trace_open has checked it */
    trace_tensor_read(step->file, entry_at(step, position), tensor, &ignored);
}

bool trace_find(const struct trace_step *step, const char *name, struct trace_tensor *tensor)
{
    int position = trace_position(step, name);
    if (position >= 0)
        trace_at(step, position, tensor);
    return position >= 0;
}
