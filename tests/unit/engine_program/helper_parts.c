#include "helper_parts.h"

#include "engine/base/memory.h"
#include "engine/tensor/shard.h"

#include <math.h>
#include <stdlib.h>

int64_t parts_whole_index(const struct shard *shard, int64_t index)
{
    return shard->global.rank ? shard_global_flat(shard, index) : index;
}

double parts_own_slot(const struct layout *slots, const struct seat *seat, int64_t count,
                      double slot)
{
    struct shard tokens = shard_whole(shape_of1(count / KIND_EXPERTS));
    for (int i = 0; i < slots->cut_count; i++)
        if (slots->cuts[i].parts == KIND_EXPERTS)
            shard_cut(&tokens, 0, 1, seat_size(seat, slots->cuts[i].group),
                      seat_index(seat, slots->cuts[i].group));
        else
            return NAN;
    int64_t token = (int64_t)slot / KIND_EXPERTS, choice = (int64_t)slot % KIND_EXPERTS;
    int64_t own = tokens.cut_count ? shard_local_index(&tokens, 0, token) : token;
    return own < 0 ? NAN : (double)(own * KIND_EXPERTS + choice);
}

/* One summand of `number`: the last rank has what is missing. Those that have the same summand must
 * have the same number, so it follows from the element and from which summand it is. */
static double summand(const struct layout *layout, const struct seat *seat, int64_t element,
                      double number)
{
    int which = 0, count = 1;
    for (int group = 0; group < COMM_GROUP_COUNT; group++)
        if (layout->partial >> group & 1) {
            which += count * seat_index(seat, (enum comm_group)group);
            count *= seat_size(seat, (enum comm_group)group);
        }
    /* summands i of 0 .. count - 2 are (i + 1) times something */
    double one = (double)(element * 37 % 101 - 50) / 100, sum = one * (count - 1) * count / 2;
    return which == count - 1 ? number - sum : one * (which + 1);
}

void *parts_make(const struct sample *sample, int input, const struct layout *layout,
                 const struct seat *seat, const struct op_call *call)
{
    const struct tensor *whole = &sample->inputs[input];
    const struct tensor *first = &sample->inputs[0];
    struct shape shape = call->inputs[input].shape;
    double share = (double)call->inputs[0].shape.dims[0] / (double)first->shape.dims[0];
    struct tensor part =
        tensor_of(memory_zeroed((size_t)shape_elements(shape), dtype_size(whole->dtype)),
                  whole->dtype, shape);
    struct shard shard = layout_shard(layout, seat, shape);
    for (int64_t i = 0; i < shape_elements(shape); i++) {
        int64_t element = parts_whole_index(&shard, i);
        double number = tensor_load(whole, element);
        if (sample->inputs_mean[input] == MEANS_SLOTS)
            number = parts_own_slot(layout, seat, shape_elements(whole->shape), number);
        if (sample->inputs_mean[input] == MEANS_ENDS)
            number *= share;
        if (isnan(number)) {
            free(part.data);
            return NULL;
        }
        tensor_store(&part, i, layout->partial ? summand(layout, seat, element, number) : number);
    }
    return part.data;
}
