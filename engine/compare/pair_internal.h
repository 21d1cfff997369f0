/* Between the files of the pair. */
#ifndef ENGINE_COMPARE_PAIR_INTERNAL_H
#define ENGINE_COMPARE_PAIR_INTERNAL_H

#include "engine/compare/pair.h"

struct held_value {
    void *data; /* host copy, NULL = none */
};

/* The test is in another step than the results are of: the reference leaves its step, too, and the
 * results of the last one are dropped. */
bool pair_enter_step(struct pair *pair, struct status *status);
/* Whether work on one of the pair's runs ends when the pair's interrupt asks. Around such work
 * only: whoever else uses the run is not to be interrupted. */
void pair_listen(const struct pair *pair, struct run *run, bool listens);
/* Such work, which the pair's interrupt ends. */
bool pair_try(const struct pair *pair, struct run *run,
              bool (*work)(struct run *run, struct status *status), struct status *status);
/* Whether the value is one that is compared, if the reference has it. */
bool pair_is_compared(const struct pair *pair, int value);
/* The reference's next instruction. */
bool pair_reference_run_one(struct pair *pair, struct status *status);
/* Runs the reference on until it has computed `other` in the test's step. */
bool pair_bring_reference(struct pair *pair, int other, struct status *status);
/* The reference computes what the test's next instruction will be compared with. In another order
 * of micro-batches that may be most of a step: an interrupt must not wait for it. */
bool pair_catch_up(struct pair *pair, struct status *status);
/* Frees what was held for the outputs of an instruction, now that all of them are compared. A
 * micro-sequence is a part of what is held: the other parts are still to come. */
void pair_release_held(struct pair *pair, const struct instruction *done);
/* Frees all that is held. */
void pair_drop_held(struct pair *pair);
/* After a way back: writes the states, if they are not, and enters the step. */
bool pair_arrive(struct pair *pair, struct status *status);
/* Forgets the comparisons of what instruction `instruction` of the step and later ones write. */
void pair_forget_results(struct pair *pair, int instruction);
/* Whether the value has a counterpart of another shape. */
bool pair_shapes_differ(const struct pair *pair, int value);
/* The verdict on such a value. */
void pair_judge_shapes(struct pair_result *result);
/* Ranks: the shape of the whole tensor; whether the value is a part of it; the reference's whole
 * tensor, and the slice of it (in sides) that belongs to the value. */
struct shape pair_whole_shape(const struct value *value);
bool pair_is_part(const struct value *value);
/* Micro-sequences: whether the value is rows of the tensor of shape `whole` that the reference has
 * under pair_whole_name. Its place there goes to *place: these rows, and the rank's part of them.
 */
bool pair_is_rows_of(const struct program *program, const struct value *value, struct shape whole,
                     struct shard *place);
/* "fw X" of "fw X ms=1/4"; NULL if the name is not one of a micro-sequence. The caller frees it. */
char *pair_whole_name(const struct value *value);
/* Whether one side has as a whole what the other has in micro-sequences. Where these are not rows,
 * parts are not compared, and not missing: a loss is a sum over tokens, and the program adds its
 * parts up to a value of the whole's name. There must be programs on both sides. */
bool pair_is_split(const struct pair *pair, const struct value *value);
bool pair_view_whole_reference(struct pair *pair, int value, struct pair_sides *sides,
                               struct status *status);
bool pair_cut_reference(const struct value *of, const struct shard *place, struct pair_sides *sides,
                        struct status *status);
/* `shape` rows of `whole`, from `row` on. */
struct tensor pair_rows_of(const struct tensor *whole, int64_t row, struct shape shape);
/* The step of the recording that has the reference's value for the test's current one. */
int pair_recorded_step(const struct pair *pair, int other);
/* Compares two whole tensors in the memory of a device that can do that; `queued` tells whether.
 * The result is there, and told, at once or, if the pair defers, after pair_settle(). */
bool pair_compare_on_device(struct pair *pair, int value, bool *queued, struct status *status);
/* Tells the observer of a value that was compared, if it was. */
void pair_tell(struct pair *pair, int value);
/* Frees what comparisons on the device use. */
void pair_queue_free(struct pair *pair);
/* Both sides become the recorded samples that lie at `place`; there may be none: STATUS_NOT_FOUND.
 */
bool pair_sample_part(const struct value *of, const struct shard *place, struct pair_sides *sides,
                      const struct trace_tensor *recorded, struct status *status);
/* The factor by which a value of the test is scaled: see pair_sides. */
double pair_scale_of(const struct pair *pair, int value);
/* Fills reference_value, reference_row and test_value. */
void pair_match_names(struct pair *pair);
/* Replaces sides->test (whole) by its samples at the places of `recorded`. */
bool pair_sample_test(struct pair_sides *sides, const struct trace_tensor *recorded,
                      struct status *status);
/* Writes the reference's tensor, converted and scaled, over the test's value. Interrupted (NULL:
 * never), nothing is written. */
bool pair_put_reference(struct pair *pair, int value, const struct interrupt *interrupt,
                        struct status *status);
/* Notes the first named output that holds NaN or infinity. */
bool pair_find_not_finite(struct pair *pair, const struct instruction *done,
                          const struct interrupt *interrupt, struct pair_event *event,
                          struct status *status);
/* Loss scales and the number of updates, of the step that the pair enters. */
void pair_read_scales(struct pair *pair);
/* Limits for parameters after their update. Adam divides the gradient by its own size, so noise in
 * a small gradient turns the update by as much as the learning rate: limits are in units of the sum
 * of the rates so far. In 16 bit healthy runs come to 0.6 of it; a parameter that is not updated at
 * all must not pass. Moments are sums of gradients, whatever the rate is: at a small one they have
 * the limits of the model tests' rate. */
struct limits pair_state_limits(const struct pair *pair, bool moment);
/* Compares the initial parameters (step "init"). */
bool pair_compare_parameters(struct pair *pair, struct status *status);

#endif
