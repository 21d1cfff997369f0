#include "engine/session/picture_fields.h"

#include "engine/base/memory.h"

#include <stdlib.h>

#define MEMBER_SIZE(type, member) sizeof(((type *)0)->member)
#define ELEMENT_SIZE(type, member) sizeof(*((type *)0)->member)

/* One member; a fixed array; the used part of one; a pointer to many. */
#define ONE(type, member, kind)                                                                    \
    {                                                                                              \
#member, FIELD_##kind, TIMES_ONE, offsetof(type, member), 0, 0, 1, NULL,                   \
            MEMBER_SIZE(type, member)                                                              \
    }
#define NESTED(type, member, list)                                                                 \
    {                                                                                              \
#member, FIELD_STRUCT, TIMES_ONE, offsetof(type, member), 0, 0, 1, list,                   \
            MEMBER_SIZE(type, member)                                                              \
    }
#define FIXED(type, member, kind, length)                                                          \
    {                                                                                              \
#member, FIELD_##kind, TIMES_FIXED, offsetof(type, member), 0, 0, length, NULL,            \
            MEMBER_SIZE(type, member) / (length)                                                   \
    }
#define BUFFER(type, member)                                                                       \
    {                                                                                              \
#member, FIELD_BUFFER, TIMES_FIXED, offsetof(type, member), 0, 0,                          \
            (int)MEMBER_SIZE(type, member), NULL, 1                                                \
    }
#define PART(type, member, kind, length, used, list)                                               \
    {                                                                                              \
#member, FIELD_##kind, TIMES_PART, offsetof(type, member), offsetof(type, used), 0,        \
            length, list, ELEMENT_SIZE(type, member)                                               \
    }
#define MANY(type, member, kind, counted, list)                                                    \
    {                                                                                              \
#member, FIELD_##kind, TIMES_POINTER, offsetof(type, member), offsetof(type, counted), 0,  \
            0, list, ELEMENT_SIZE(type, member)                                                    \
    }
#define GRID(type, member, kind, rows, columns)                                                    \
    {                                                                                              \
#member, FIELD_##kind, TIMES_POINTER, offsetof(type, member), offsetof(type, rows),        \
            offsetof(type, columns), 0, NULL, ELEMENT_SIZE(type, member)                           \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, FIELD_BOOL, TIMES_ONE, 0, 0, 0, 0, NULL, 0                                           \
    }

/* ---- parts of several ---- */

static const struct field shape_fields[] = {ONE(struct shape, rank, INT),
                                            FIXED(struct shape, dims, INT64, TENSOR_MAX_RANK), END};

static const struct field cut_fields[] = {
    ONE(struct shard_cut, dimension, INT), ONE(struct shard_cut, parts, INT),
    ONE(struct shard_cut, pieces, INT), ONE(struct shard_cut, index, INT), END};

static const struct field shard_fields[] = {
    NESTED(struct shard, global, shape_fields), ONE(struct shard, cut_count, INT),
    PART(struct shard, cuts, STRUCT, SHARD_MAX_CUTS, cut_count, cut_fields), END};

static const struct field metrics_fields[] = {ONE(struct metrics, count, INT64),
                                              ONE(struct metrics, rms_difference, DOUBLE),
                                              ONE(struct metrics, rms_reference, DOUBLE),
                                              ONE(struct metrics, rms_test, DOUBLE),
                                              ONE(struct metrics, max_difference, DOUBLE),
                                              ONE(struct metrics, max_index, INT64),
                                              ONE(struct metrics, max_reference, DOUBLE),
                                              ONE(struct metrics, max_test_value, DOUBLE),
                                              ONE(struct metrics, cosine, DOUBLE),
                                              ONE(struct metrics, nan_test, INT64),
                                              ONE(struct metrics, nan_reference, INT64),
                                              ONE(struct metrics, infinity_test, INT64),
                                              ONE(struct metrics, infinity_reference, INT64),
                                              ONE(struct metrics, different, INT64),
                                              ONE(struct metrics, max_ulp, UINT64),
                                              END};

static const struct field verdict_fields[] = {
    ONE(struct verdict, failures, INT), ONE(struct verdict, rms_relative, DOUBLE),
    ONE(struct verdict, max_relative, DOUBLE), ONE(struct verdict, worst, DOUBLE), END};

static const struct field limits_fields[] = {ONE(struct limits, rms_relative, DOUBLE),
                                             ONE(struct limits, rms_absolute, DOUBLE),
                                             ONE(struct limits, max_relative, DOUBLE),
                                             ONE(struct limits, max_absolute, DOUBLE),
                                             ONE(struct limits, rms_epsilon, DOUBLE),
                                             ONE(struct limits, scale, DOUBLE),
                                             ONE(struct limits, ignore, BOOL),
                                             ONE(struct limits, ignore_duplicates, BOOL),
                                             END};

static const struct field statistics_fields[] = {ONE(struct statistics, count, INT64),
                                                 ONE(struct statistics, zeros, INT64),
                                                 ONE(struct statistics, nan, INT64),
                                                 ONE(struct statistics, infinite, INT64),
                                                 ONE(struct statistics, mean, DOUBLE),
                                                 ONE(struct statistics, deviation, DOUBLE),
                                                 ONE(struct statistics, rms, DOUBLE),
                                                 ONE(struct statistics, minimum, DOUBLE),
                                                 ONE(struct statistics, maximum, DOUBLE),
                                                 ONE(struct statistics, hash, UINT64),
                                                 END};

/* ---- the program ---- */

static const struct field instruction_fields[] = {
    ONE(struct picture_instruction, text, TEXT),
    ONE(struct picture_instruction, layer, TEXT),
    ONE(struct picture_instruction, part, TEXT),
    ONE(struct picture_instruction, source, TEXT),
    ONE(struct picture_instruction, key, TEXT),
    ONE(struct picture_instruction, fault, TEXT),
    ONE(struct picture_instruction, op, WORD),
    ONE(struct picture_instruction, phase, INT),
    ONE(struct picture_instruction, stage, INT),
    ONE(struct picture_instruction, micro_batch, INT),
    ONE(struct picture_instruction, micro_batches, INT),
    ONE(struct picture_instruction, micro_sequence, INT),
    ONE(struct picture_instruction, micro_sequences, INT),
    ONE(struct picture_instruction, input_count, INT),
    PART(struct picture_instruction, inputs, INT, OP_MAX_INPUTS, input_count, NULL),
    ONE(struct picture_instruction, output_count, INT),
    PART(struct picture_instruction, outputs, INT, OP_MAX_OUTPUTS, output_count, NULL),
    END};

static const struct field value_fields[] = {ONE(struct picture_value, name, TEXT),
                                            ONE(struct picture_value, what, INT),
                                            ONE(struct picture_value, dtype, INT),
                                            NESTED(struct picture_value, shape, shape_fields),
                                            NESTED(struct picture_value, shard, shard_fields),
                                            ONE(struct picture_value, bytes, INT64),
                                            ONE(struct picture_value, producer, INT),
                                            ONE(struct picture_value, named, BOOL),
                                            ONE(struct picture_value, log_point, BOOL),
                                            END};

static const struct field program_fields[] = {
    ONE(struct program_picture, instruction_count, INT),
    MANY(struct program_picture, instructions, STRUCT, instruction_count, instruction_fields),
    ONE(struct program_picture, value_count, INT),
    MANY(struct program_picture, values, STRUCT, value_count, value_fields), END};

/* ---- where it stands ---- */

static const struct field mark_fields[] = {
    ONE(struct picture_mark, status, INT),  ONE(struct picture_mark, worst, FLOAT),
    ONE(struct picture_mark, error, FLOAT), ONE(struct picture_mark, breakpoint, CHAR),
    ONE(struct picture_mark, number, INT),  END};

static const struct field result_fields[] = {ONE(struct picture_result, value, INT),
                                             ONE(struct picture_result, status, INT),
                                             ONE(struct picture_result, worst, FLOAT),
                                             ONE(struct picture_result, error, FLOAT),
                                             ONE(struct picture_result, measured, BOOL),
                                             ONE(struct picture_result, sampled, BOOL),
                                             NESTED(struct picture_result, metrics, metrics_fields),
                                             NESTED(struct picture_result, verdict, verdict_fields),
                                             END};

static const struct field breakpoint_fields[] = {
    ONE(struct picture_breakpoint, number, INT),     ONE(struct picture_breakpoint, watch, BOOL),
    ONE(struct picture_breakpoint, temporary, BOOL), ONE(struct picture_breakpoint, enabled, BOOL),
    ONE(struct picture_breakpoint, lost, BOOL),      ONE(struct picture_breakpoint, text, TEXT),
    ONE(struct picture_breakpoint, commands, TEXT),  END};

static const struct field state_fields[] = {
    ONE(struct state_picture, run, TEXT),
    ONE(struct state_picture, reference, TEXT),
    ONE(struct state_picture, step, INT),
    ONE(struct state_picture, now, INT),
    ONE(struct state_picture, steps, INT),
    ONE(struct state_picture, next, INT),
    ONE(struct state_picture, instruction_count, INT),
    MANY(struct state_picture, instructions, STRUCT, instruction_count, mark_fields),
    ONE(struct state_picture, result_count, INT),
    MANY(struct state_picture, results, STRUCT, result_count, result_fields),
    ONE(struct state_picture, first_step, INT),
    ONE(struct state_picture, first_value, INT),
    ONE(struct state_picture, focus, INT),
    ONE(struct state_picture, has_reference, BOOL),
    ONE(struct state_picture, breakpoint_count, INT),
    MANY(struct state_picture, breakpoints, STRUCT, breakpoint_count, breakpoint_fields),
    END};

/* ---- a tensor ---- */

static const struct field worst_fields[] = {ONE(struct worst_element, index, INT64),
                                            ONE(struct worst_element, reference, DOUBLE),
                                            ONE(struct worst_element, test, DOUBLE), END};

static const struct field follow_row_fields[] = {ONE(struct picture_follow_row, step, INT),
                                                 ONE(struct picture_follow_row, instruction, INT),
                                                 BUFFER(struct picture_follow_row, batch),
                                                 ONE(struct picture_follow_row, test, DOUBLE),
                                                 ONE(struct picture_follow_row, reference, DOUBLE),
                                                 ONE(struct picture_follow_row, failed, BOOL),
                                                 END};

static const struct field follow_fields[] = {
    ONE(struct picture_follow, number, INT),
    ONE(struct picture_follow, name, TEXT),
    ONE(struct picture_follow, row_count, INT),
    MANY(struct picture_follow, rows, STRUCT, row_count, follow_row_fields),
    ONE(struct picture_follow, more, INT64),
    END};

static const struct field tensor_fields[] = {
    ONE(struct tensor_picture, value, INT),
    ONE(struct tensor_picture, step, INT),
    ONE(struct tensor_picture, name, TEXT),
    ONE(struct tensor_picture, problem, TEXT),
    ONE(struct tensor_picture, reference_problem, TEXT),
    ONE(struct tensor_picture, producer, TEXT),
    ONE(struct tensor_picture, dtype, INT),
    NESTED(struct tensor_picture, shape, shape_fields),
    NESTED(struct tensor_picture, whole, shape_fields),
    ONE(struct tensor_picture, stride, INT64),
    ONE(struct tensor_picture, scale, DOUBLE),
    ONE(struct tensor_picture, compared, BOOL),
    ONE(struct tensor_picture, partial, BOOL),
    ONE(struct tensor_picture, sampled, BOOL),
    ONE(struct tensor_picture, reference_file, TEXT),
    ONE(struct tensor_picture, reference_offset, INT64),
    ONE(struct tensor_picture, reference_dtype, INT),
    NESTED(struct tensor_picture, metrics, metrics_fields),
    NESTED(struct tensor_picture, verdict, verdict_fields),
    NESTED(struct tensor_picture, limits, limits_fields),
    ONE(struct tensor_picture, guess, TEXT),
    ONE(struct tensor_picture, planes, INT64),
    ONE(struct tensor_picture, plane, INT64),
    ONE(struct tensor_picture, all_rows, INT64),
    ONE(struct tensor_picture, all_columns, INT64),
    ONE(struct tensor_picture, row, INT64),
    ONE(struct tensor_picture, column, INT64),
    ONE(struct tensor_picture, rows, INT),
    ONE(struct tensor_picture, columns, INT),
    GRID(struct tensor_picture, test, DOUBLE, rows, columns),
    GRID(struct tensor_picture, reference, DOUBLE, rows, columns),
    NESTED(struct tensor_picture, test_statistics, statistics_fields),
    NESTED(struct tensor_picture, reference_statistics, statistics_fields),
    ONE(struct tensor_picture, bins, INT),
    ONE(struct tensor_picture, low, DOUBLE),
    ONE(struct tensor_picture, high, DOUBLE),
    ONE(struct tensor_picture, difference_high, DOUBLE),
    MANY(struct tensor_picture, test_bins, INT64, bins, NULL),
    MANY(struct tensor_picture, reference_bins, INT64, bins, NULL),
    MANY(struct tensor_picture, difference_bins, INT64, bins, NULL),
    ONE(struct tensor_picture, heat_side, INT),
    ONE(struct tensor_picture, heat_rows, INT),
    ONE(struct tensor_picture, heat_columns, INT),
    ONE(struct tensor_picture, heat_wrap, INT64),
    GRID(struct tensor_picture, heat, FLOAT, heat_rows, heat_columns),
    GRID(struct tensor_picture, heat_sign, CHAR, heat_rows, heat_columns),
    ONE(struct tensor_picture, heat_most, DOUBLE),
    ONE(struct tensor_picture, worst_count, INT),
    PART(struct tensor_picture, worst, STRUCT, PICTURE_WORST, worst_count, worst_fields),
    ONE(struct tensor_picture, follow_count, INT),
    MANY(struct tensor_picture, follows, STRUCT, follow_count, follow_fields),
    END};

/* ---- memory ---- */

/* The classes of one point, as one object of the array. */
static const struct field classes_fields[] = {
    {"bytes", FIELD_INT64, TIMES_FIXED, 0, 0, 0, MEMORY_CLASS_COUNT, NULL, sizeof(int64_t)}, END};

static const struct field owner_fields[] = {ONE(struct memory_owner, name, TEXT),
                                            ONE(struct memory_owner, value, INT),
                                            ONE(struct memory_owner, bytes, INT64),
                                            ONE(struct memory_owner, memory_class, INT),
                                            ONE(struct memory_owner, first, INT),
                                            ONE(struct memory_owner, last, INT),
                                            END};

static const struct field device_memory_fields[] = {
    FIXED(struct device_memory, live, INT64, MEMORY_CLASS_COUNT),
    ONE(struct device_memory, live_total, INT64),
    FIXED(struct device_memory, peak, INT64, MEMORY_CLASS_COUNT),
    ONE(struct device_memory, peak_total, INT64), END};

static const struct field process_fields[] = {ONE(struct device_process, pid, INT64),
                                              ONE(struct device_process, bytes, INT64),
                                              BUFFER(struct device_process, name), END};

static const struct field memory_fields[] = {
    ONE(struct memory_picture, instruction_count, INT),
    ONE(struct memory_picture, next, INT),
    ONE(struct memory_picture, peak, INT),
    ONE(struct memory_picture, point_count, INT),
    PART(struct memory_picture, points, INT, PICTURE_POINTS, point_count, NULL),
    PART(struct memory_picture, classes, STRUCT, PICTURE_POINTS, point_count, classes_fields),
    FIXED(struct memory_picture, now, INT64, MEMORY_CLASS_COUNT),
    FIXED(struct memory_picture, at_peak, INT64, MEMORY_CLASS_COUNT),
    ONE(struct memory_picture, forecast, INT64),
    ONE(struct memory_picture, reference_forecast, INT64),
    ONE(struct memory_picture, keep, BOOL),
    NESTED(struct memory_picture, device, device_memory_fields),
    BUFFER(struct memory_picture, device_name),
    ONE(struct memory_picture, device_used, INT64),
    ONE(struct memory_picture, device_total, INT64),
    ONE(struct memory_picture, process_count, INT),
    ONE(struct memory_picture, processes_listed, INT),
    PART(struct memory_picture, processes, STRUCT, PICTURE_PROCESSES, processes_listed,
         process_fields),
    ONE(struct memory_picture, owners_at, INT),
    ONE(struct memory_picture, owner_count, INT),
    MANY(struct memory_picture, owners, STRUCT, owner_count, owner_fields),
    ONE(struct memory_picture, owners_more, INT),
    END};

/* ---- the reports of the steps ---- */

static const struct field report_fields[] = {ONE(struct step_report, step, INT),
                                             ONE(struct step_report, loss, DOUBLE),
                                             ONE(struct step_report, gradient_norm, DOUBLE),
                                             ONE(struct step_report, learning_rate, DOUBLE),
                                             ONE(struct step_report, loss_scale, DOUBLE),
                                             ONE(struct step_report, skipped, BOOL),
                                             ONE(struct step_report, tokens, INT64),
                                             ONE(struct step_report, seconds, DOUBLE),
                                             END};

static const struct field metrics_picture_fields[] = {
    ONE(struct metrics_picture, steps, INT),
    ONE(struct metrics_picture, test_count, INT),
    MANY(struct metrics_picture, test, STRUCT, test_count, report_fields),
    ONE(struct metrics_picture, reference_count, INT),
    MANY(struct metrics_picture, reference, STRUCT, reference_count, report_fields),
    END};

/* ---- ranks and what they print ---- */

static const struct field range_fields[] = {ONE(struct rank_range, first, INT),
                                            ONE(struct rank_range, last, INT), END};

static const struct field wait_fields[] = {
    ONE(struct rank_wait, operation, WORD),
    ONE(struct rank_wait, group, WORD),
    ONE(struct rank_wait, elements, INT64),
    ONE(struct rank_wait, dtype, INT),
    ONE(struct rank_wait, seconds, DOUBLE),
    ONE(struct rank_wait, missing_count, INT),
    PART(struct rank_wait, missing, STRUCT, OUTPUT_RANGES, missing_count, range_fields),
    ONE(struct rank_wait, missing_more, INT),
    END};

static const struct field departure_fields[] = {
    ONE(struct rank_departure, tensor, TEXT),     ONE(struct rank_departure, step, INT),
    ONE(struct rank_departure, against, INT),     ONE(struct rank_departure, further, INT),
    ONE(struct rank_departure, different, INT64), ONE(struct rank_departure, elements, INT64),
    BUFFER(struct rank_departure, index),         ONE(struct rank_departure, own, DOUBLE),
    ONE(struct rank_departure, other, DOUBLE),    END};

static const struct field rank_fields[] = {
    ONE(struct rank_picture, situation, INT),
    ONE(struct rank_picture, step, INT),
    ONE(struct rank_picture, next, INT),
    ONE(struct rank_picture, instructions, INT),
    ONE(struct rank_picture, text, TEXT),
    ONE(struct rank_picture, place, TEXT),
    NESTED(struct rank_picture, wait, wait_fields),
    NESTED(struct rank_picture, departure, departure_fields),
    ONE(struct rank_picture, exit_status, INT),
    ONE(struct rank_picture, signal, INT),
    ONE(struct rank_picture, reason, TEXT),
    ONE(struct rank_picture, pid, INT64),
    ONE(struct rank_picture, host, TEXT),
    FIXED(struct rank_picture, memory, INT64, MEMORY_CLASS_COUNT),
    ONE(struct rank_picture, memory_total, INT64),
    FIXED(struct rank_picture, lines, INT64, RANK_STREAM_COUNT),
    END};

static const struct field ranks_fields[] = {
    ONE(struct ranks_picture, rank_count, INT),
    MANY(struct ranks_picture, ranks, STRUCT, rank_count, rank_fields), END};

static const struct field filter_fields[] = {
    ONE(struct output_filter, range_count, INT),
    PART(struct output_filter, ranges, STRUCT, OUTPUT_RANGES, range_count, range_fields),
    ONE(struct output_filter, streams, INT),
    BUFFER(struct output_filter, pattern),
    ONE(struct output_filter, expression, BOOL),
    END};

static const struct field query_fields[] = {NESTED(struct output_query, filter, filter_fields),
                                            ONE(struct output_query, anchor, INT64),
                                            ONE(struct output_query, before, INT),
                                            ONE(struct output_query, after, INT),
                                            ONE(struct output_query, scan, INT64),
                                            ONE(struct output_query, split, INT),
                                            BUFFER(struct output_query, search),
                                            ONE(struct output_query, search_direction, INT),
                                            END};

static const struct field line_fields[] = {
    ONE(struct output_line, sequence, INT64), ONE(struct output_line, rank, INT),
    ONE(struct output_line, stream, INT),     ONE(struct output_line, nanoseconds, INT64),
    ONE(struct output_line, text, TEXT),      ONE(struct output_line, partial, BOOL),
    ONE(struct output_line, cut, BOOL),       END};

static const struct field counts_fields[] = {
    ONE(struct rank_output_counts, ranks, INT),
    FIXED(struct rank_output_counts, lines, INT64, RANK_STREAM_COUNT),
    ONE(struct rank_output_counts, kept, INT64),
    ONE(struct rank_output_counts, dropped, INT64),
    ONE(struct rank_output_counts, bytes, INT64),
    ONE(struct rank_output_counts, memory, INT64),
    ONE(struct rank_output_counts, began, INT64),
    ONE(struct rank_output_counts, version, UINT64),
    END};

static const struct field page_fields[] = {
    ONE(struct output_page, count, INT),
    MANY(struct output_page, lines, STRUCT, count, line_fields),
    ONE(struct output_page, before, INT),
    ONE(struct output_page, unfinished, BOOL),
    ONE(struct output_page, anchor, INT64),
    NESTED(struct output_page, counts, counts_fields),
    END};

/* ---- all of them ---- */

const struct field request_fields[] = {ONE(struct picture_request, kind, INT),
                                       ONE(struct picture_request, step, INT),
                                       ONE(struct picture_request, value, INT),
                                       ONE(struct picture_request, plane, INT64),
                                       ONE(struct picture_request, row, INT64),
                                       ONE(struct picture_request, column, INT64),
                                       ONE(struct picture_request, rows, INT),
                                       ONE(struct picture_request, columns, INT),
                                       ONE(struct picture_request, heat_rows, INT),
                                       ONE(struct picture_request, heat_columns, INT),
                                       ONE(struct picture_request, heat_side, INT),
                                       ONE(struct picture_request, bins, INT),
                                       ONE(struct picture_request, quick, BOOL),
                                       ONE(struct picture_request, at, INT),
                                       NESTED(struct picture_request, output, query_fields),
                                       END};

const struct field snapshot_fields[] = {
    ONE(struct snapshot, version, UINT64),    ONE(struct snapshot, state, INT),
    ONE(struct snapshot, run, TEXT),          ONE(struct snapshot, reference, TEXT),
    ONE(struct snapshot, step, INT),          ONE(struct snapshot, steps, INT),
    ONE(struct snapshot, next, INT),          ONE(struct snapshot, instructions, INT),
    ONE(struct snapshot, place, TEXT),        ONE(struct snapshot, stop_reason, TEXT),
    ONE(struct snapshot, rank, INT),          ONE(struct snapshot, ranks, INT),
    ONE(struct snapshot, breakpoints, INT),   ONE(struct snapshot, typing, BOOL),
    ONE(struct snapshot, compared, INT),      ONE(struct snapshot, failed, INT),
    ONE(struct snapshot, memory_live, INT64), ONE(struct snapshot, memory_planned, INT64),
    ONE(struct snapshot, seconds, DOUBLE),    END};

static const struct field picture_fields[] = {NESTED(struct picture, request, request_fields),
                                              ONE(struct picture, identity, UINT64),
                                              ONE(struct picture, output_problem, TEXT), END};

/* The part of each kind is a pointer to one struct. */
static const struct part {
    const char *name;
    size_t offset, size;
    const struct field *fields;
} parts[PICTURE_KIND_COUNT] = {
    [PICTURE_PROGRAM] = {"program", offsetof(struct picture, program),
                         sizeof(struct program_picture), program_fields},
    [PICTURE_STATE] = {"state", offsetof(struct picture, state), sizeof(struct state_picture),
                       state_fields},
    [PICTURE_TENSOR] = {"tensor", offsetof(struct picture, tensor), sizeof(struct tensor_picture),
                        tensor_fields},
    [PICTURE_MEMORY] = {"memory", offsetof(struct picture, memory), sizeof(struct memory_picture),
                        memory_fields},
    [PICTURE_METRICS] = {"metrics", offsetof(struct picture, metrics),
                         sizeof(struct metrics_picture), metrics_picture_fields},
    [PICTURE_RANKS] = {"ranks", offsetof(struct picture, ranks), sizeof(struct ranks_picture),
                       ranks_fields},
    [PICTURE_OUTPUT] = {"output", offsetof(struct picture, output), sizeof(struct output_page),
                        page_fields},
};

static void **part_of(const struct picture *picture, const struct part *part)
{
    return (void **)((char *)(uintptr_t)picture + part->offset);
}

void picture_write(struct text *out, const struct picture *picture)
{
    const struct part *part = &parts[picture->request.kind];
    fields_write(out, picture_fields, picture);
    if (!*part_of(picture, part))
        return;
    out->data[--out->length] = '\0'; /* the brace that closes */
    text_format(out, ",\"%s\":", part->name);
    fields_write(out, part->fields, *part_of(picture, part));
    text_add(out, "}");
}

struct picture *picture_read(const json_t *json, struct status *status)
{
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    bool ok = fields_read(json, picture_fields, picture, status);
    if (ok && (unsigned)picture->request.kind >= PICTURE_KIND_COUNT)
        ok = status_fail(status, STATUS_INVALID, "a picture of no known kind");
    const struct part *part = ok ? &parts[picture->request.kind] : NULL;
    const json_t *inside = ok ? json_object_get(json, part->name) : NULL;
    if (inside) {
        *part_of(picture, part) = memory_zeroed(1, part->size);
        ok = fields_read(inside, part->fields, *part_of(picture, part), status);
    }
    if (ok && picture_check(picture, status))
        return picture;
    picture_free(picture);
    return NULL;
}
