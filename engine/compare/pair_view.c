/* Where the two sides of a value are. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/tensor/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_training_step(const char *name)
{
    size_t word = strlen("train_");
    return strncmp(name, "train_", word) == 0 && name[word] &&
           name[word + strspn(name + word, "0123456789")] == '\0';
}

/* What the trace has of the time after this step: the next step, or what is recorded behind the
 * last one. NULL where steps are missing in between. */
static const struct trace_step *step_after(const struct pair *pair)
{
    const struct trace *trace = pair->options.trace;
    char name[32];
    const struct trace_step *next =
        trace_find_step(trace, run_step_name(pair->test->step + 1, name));
    if (next)
        return next;
    next = pair->trace_step + 1;
    return next < trace->steps + trace->step_count && !is_training_step(next->name) ? next : NULL;
}

/* Other software records what a step begins with, and after the last one what is left: what an
 * update makes of a parameter is what the next step of the trace has under the parameter's name. */
static bool find_updated(const struct pair *pair, const struct value *of,
                         struct trace_tensor *recorded)
{
    if (of->what != WHAT_STATE || of->state < 0 ||
        pair->test->program->values[of->state].what != WHAT_PARAM)
        return false;
    const struct trace_step *after = step_after(pair);
    if (!after || !trace_find(after, pair->test->program->values[of->state].name, recorded))
        return false;
    recorded->name = of->name;
    return true;
}

/* The recorded tensor, or the one whose rows the value is. */
static bool find_recorded(const struct pair *pair, const struct value *of,
                          struct trace_tensor *recorded, struct shard *place)
{
    *place = of->shard;
    if (!pair->trace_step)
        return false;
    if (trace_find(pair->trace_step, of->name, recorded) || find_updated(pair, of, recorded))
        return true;
    char *name = pair_whole_name(of);
    bool found = name && trace_find(pair->trace_step, name, recorded);
    free(name);
    return found && pair_is_rows_of(pair->test->program, of, recorded->shape, place);
}

static bool view_trace(struct pair *pair, int value, struct pair_sides *sides,
                       struct status *status)
{
    const struct value *of = &pair->test->program->values[value];
    struct shard place;
    struct trace_tensor recorded;
    char here[80], there[80];
    if (!find_recorded(pair, of, &recorded, &place))
        return status_fail(status, STATUS_NOT_FOUND, "%s is not in the trace", of->name);
    bool part = place.cut_count > 0;
    struct shape whole = part ? place.global : of->shape;
    if (!shape_equal(recorded.shape, whole))
        return status_fail(status, STATUS_INVALID, "%s is %s here, but %s in the trace", of->name,
                           shape_text(whole, here), shape_text(recorded.shape, there));
    sides->reference = recorded.samples;
    if (recorded.sampling_step > 0)
        return part ? pair_sample_part(of, &place, sides, &recorded, status)
                    : pair_sample_test(sides, &recorded, status);
    sides->reference = tensor_of(recorded.samples.data, recorded.samples.dtype, whole);
    return !part || pair_cut_reference(of, &place, sides, status);
}

static const char *reference_name(const struct pair *pair)
{
    return pair->reference           ? pair->reference->config->name
           : pair->options.recording ? pair->options.recording->config->name
                                     : "the trace";
}

int pair_recorded_step(const struct pair *pair, int other)
{
    return pair->reference_program->values[other].kind == VALUE_STATE ? -1 : pair->test->step;
}

/* The recorded tensor; a copy of it, if it lies on a device. */
static bool view_recorded(const struct pair *pair, int other, struct pair_sides *sides,
                          struct status *status)
{
    const struct recording *recording = pair->options.recording;
    const struct value *there = &pair->reference_program->values[other];
    struct tensor recorded;
    if (!recording_tensor(recording, pair_recorded_step(pair, other), other, &recorded))
        return status_fail(status, STATUS_NOT_FOUND, "%s was not recorded of %s", there->name,
                           reference_name(pair));
    sides->reference = recorded;
    if (!recording_on_device(recording, &recorded))
        return true;
    sides->reference_buffer = sides->reference.data = memory_try(value_bytes(there), 1);
    if (!sides->reference_buffer)
        return status_fail(status, STATUS_MEMORY, "no memory for the reference's %s", there->name);
    return device_download(recording->device, sides->reference_buffer, recorded.data,
                           value_bytes(there), status);
}

/* Where the reference's tensor is: held, recorded, or still in the memory of its run. */
static bool find_reference(struct pair *pair, int other, struct pair_sides *sides,
                           struct status *status)
{
    const struct value *there = &pair->reference_program->values[other];
    if (pair->held && pair->held[other].data) {
        sides->reference = tensor_of(pair->held[other].data, there->dtype, there->shape);
        return true;
    }
    if (pair->options.recording)
        return view_recorded(pair, other, sides, status);
    if (!executor_holds(pair->reference->executor, other))
        return status_fail(status, STATUS_NOT_FOUND,
                           "%s is not at hand in %s (not computed yet, or its memory was given on)",
                           there->name, reference_name(pair));
    return executor_view(pair->reference->executor, other, &sides->reference_buffer,
                         &sides->reference, status);
}

/* Under the value's own name; rows of a tensor are those that fit. */
static bool recorded_shape_differs(const struct pair *pair, const struct value *of)
{
    struct trace_tensor recorded;
    return pair->trace_step && of->name[0] &&
           (trace_find(pair->trace_step, of->name, &recorded) ||
            find_updated(pair, of, &recorded)) &&
           !shape_equal(recorded.shape, pair_whole_shape(of));
}

bool pair_shapes_differ(const struct pair *pair, int value)
{
    if (!pair->reference_program)
        return recorded_shape_differs(pair, &pair->test->program->values[value]);
    int other = pair->reference_value[value];
    return other >= 0 && pair->reference_row[value] < 0 &&
           !shape_equal(pair_whole_shape(&pair->test->program->values[value]),
                        pair->reference_program->values[other].shape);
}

struct tensor pair_rows_of(const struct tensor *whole, int64_t row, struct shape shape)
{
    struct tensor rows = *whole;
    rows.data = (char *)whole->data + (size_t)(row * whole->row_stride) * dtype_size(whole->dtype);
    rows.shape = shape;
    return rows;
}

/* Of all ranks: sides->test is the whole tensor. Of samples, it becomes those of its elements. */
static bool view_whole_trace(struct pair *pair, int value, struct pair_sides *sides,
                             struct status *status)
{
    const struct value *of = &pair->test->program->values[value];
    struct trace_tensor recorded;
    struct shard place;
    char here[80], there[80];
    if (!find_recorded(pair, of, &recorded, &place))
        return status_fail(status, STATUS_NOT_FOUND, "%s is not in the trace", of->name);
    struct shape whole = pair_whole_shape(of);
    bool rows = strcmp(recorded.name, of->name) != 0; /* of a tensor that is whole there */
    place = shard_whole(recorded.shape);
    if (rows)
        shard_cut(&place, 0, 1, of->origin.micro_sequences, of->origin.micro_sequence);
    if (!shape_equal(shard_local_shape(&place), whole))
        return status_fail(status, STATUS_INVALID, "%s is %s here, but %s in the trace", of->name,
                           shape_text(whole, here), shape_text(recorded.shape, there));
    sides->reference = recorded.samples;
    if (recorded.sampling_step > 0)
        return rows ? pair_sample_part(of, &place, sides, &recorded, status)
                    : pair_sample_test(sides, &recorded, status);
    sides->reference = tensor_of(recorded.samples.data, recorded.samples.dtype, recorded.shape);
    if (rows)
        sides->reference =
            pair_rows_of(&sides->reference, of->origin.micro_sequence * whole.dims[0], whole);
    return true;
}

static bool fail_unnamed(const struct pair *pair, int value, struct status *status)
{
    return status_fail(status, STATUS_NOT_FOUND, "%%%d has no name by which %s could have it too",
                       value, reference_name(pair));
}

bool pair_view_whole_reference(struct pair *pair, int value, struct pair_sides *sides,
                               struct status *status)
{
    int other = pair->reference_value[value];
    const struct value *of = &pair->test->program->values[value];
    if (!pair->reference_program && pair->options.trace && of->name[0])
        return view_whole_trace(pair, value, sides, status);
    if (!pair->reference_program && !pair->options.trace)
        return status_fail(status, STATUS_NOT_FOUND, "the run stands alone");
    if (!of->name[0] && other < 0)
        return fail_unnamed(pair, value, status);
    if (other < 0)
        return status_fail(status, STATUS_NOT_FOUND, "%s has no counterpart in %s", of->name,
                           reference_name(pair));
    const struct value *there = &pair->reference_program->values[other];
    char a[80], b[80];
    if (pair_shapes_differ(pair, value))
        return status_fail(status, STATUS_INVALID, "%s is %s here, but %s in %s", of->name,
                           shape_text(pair_whole_shape(of), a), shape_text(there->shape, b),
                           reference_name(pair));
    if (!find_reference(pair, other, sides, status))
        return false;
    if (pair->reference_row[value] >= 0)
        sides->reference =
            pair_rows_of(&sides->reference, pair->reference_row[value], pair_whole_shape(of));
    return true;
}

/* This rank's part of it. */
static bool cut_part(const struct value *of, struct pair_sides *sides, struct status *status)
{
    return !pair_is_part(of) || pair_cut_reference(of, &of->shard, sides, status);
}

static bool view_reference(struct pair *pair, int value, struct pair_sides *sides,
                           struct status *status)
{
    return pair_view_whole_reference(pair, value, sides, status) &&
           cut_part(&pair->test->program->values[value], sides, status);
}

bool pair_view(struct pair *pair, int value, struct pair_sides *sides, struct status *status)
{
    *sides = (struct pair_sides){.scale = pair_scale_of(pair, value)};
    const struct value *of = &pair->test->program->values[value];
    char name[256];
    if (!executor_holds(pair->test->executor, value))
        return status_fail(status, STATUS_NOT_FOUND,
                           "%s is not at hand (not computed yet, or its memory was given on)",
                           program_value_text(pair->test->program, value, name, sizeof(name)));
    if (!executor_view(pair->test->executor, value, &sides->test_buffer, &sides->test, status))
        return false;
    struct status reason = STATUS_NONE;
    if (pair->reference_program)
        sides->has_reference = view_reference(pair, value, sides, &reason);
    else if (pair->options.trace)
        sides->has_reference = of->name[0] ? view_trace(pair, value, sides, &reason)
                                           : fail_unnamed(pair, value, &reason);
    if (!sides->has_reference)
        snprintf(sides->reason, sizeof(sides->reason), "%.199s",
                 reason.code != STATUS_OK ? reason.text : "the run stands alone");
    return true;
}

void pair_sides_free(struct pair_sides *sides)
{
    free(sides->test_buffer);
    free(sides->reference_buffer);
    sides->test_buffer = sides->reference_buffer = NULL;
}
