#include "engine/tensor/op.h"
#include "engine/tensor/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void shapes_are_counted_and_compared(void **state)
{
    (void)state;
    struct shape cube = shape_of3(2, 3, 5);
    assert_int_equal(shape_elements(cube), 30);
    assert_int_equal(shape_columns(cube), 15);
    assert_int_equal(shape_columns(shape_of1(7)), 1);
    assert_int_equal(shape_elements(shape_of2(1 << 20, 1 << 20)), (int64_t)1 << 40);
    assert_int_equal(shape_elements(shape_of2(0, 9)), 0);
    assert_int_equal(shape_elements((struct shape){0}), 1);
    assert_true(shape_equal(cube, shape_of3(2, 3, 5)));
    assert_false(shape_equal(cube, shape_of3(2, 3, 6)));
    assert_false(shape_equal(shape_of1(2), shape_of2(2, 1)));
    /* Dimensions beyond the rank do not count. */
    assert_true(shape_equal((struct shape){1, {2, 9}}, (struct shape){1, {2, 8}}));
}

static void shapes_are_written(void **state)
{
    (void)state;
    char buffer[80];
    assert_string_equal(shape_text(shape_of2(1024, 256), buffer), "[1024,256]");
    assert_string_equal(shape_text(shape_of1(1), buffer), "[1]");
    assert_string_equal(shape_text((struct shape){0}, buffer), "[]");
    assert_string_equal(shape_text((struct shape){4, {1, 20, 300, 4000}}, buffer),
                        "[1,20,300,4000]");
}

/* A shape read from a damaged file has any numbers; its text must stay in the buffer. */
static void impossible_shapes_are_cut(void **state)
{
    (void)state;
    struct {
        char buffer[80], after[8];
    } memory;
    memcpy(memory.after, "guarded", 8);
    struct shape shape = {4, {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN}};
    shape_text(shape, memory.buffer);
    assert_string_equal(memory.after, "guarded");
    assert_true(strlen(memory.buffer) < sizeof(memory.buffer));
    assert_memory_equal(memory.buffer, "[-9223372036854775808,-9223372036854775808", 41);
    assert_string_equal(memory.buffer + strlen(memory.buffer) - 4, "...]");
}

static void views_honour_the_row_stride(void **state)
{
    (void)state;
    float numbers[4 * 10];
    for (int i = 0; i < 40; i++)
        numbers[i] = (float)i;
    struct tensor whole = tensor_of(numbers, DTYPE_F32, shape_of2(4, 10));
    assert_true(tensor_is_contiguous(&whole));
    struct tensor part = tensor_of(numbers + 3, DTYPE_F32, shape_of3(4, 2, 3));
    assert_true(tensor_is_contiguous(&part));
    part.row_stride = 10;
    assert_false(tensor_is_contiguous(&part));
    for (int row = 0; row < 4; row++)
        for (int column = 0; column < 6; column++)
            assert_true(tensor_load(&part, 6 * row + column) == 10 * row + 3 + column);
    tensor_store(&part, 6 * 2 + 5, -1);
    assert_true(tensor_load(&whole, 28) == -1);
    assert_true(tensor_load(&whole, 27) == 27 && tensor_load(&whole, 29) == 29);
    part.shape.dims[0] = 1; /* one row has no gaps */
    assert_true(tensor_is_contiguous(&part));
}

static void kinds_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < OP_COUNT; i++) {
        enum op found = OP_COUNT;
        assert_true(op_find(op_name((enum op)i), &found));
        assert_int_equal(found, i);
    }
    enum op untouched = OP_ROTARY;
    assert_false(op_find("convolution", &untouched));
    assert_false(op_find("", &untouched));
    assert_int_equal(untouched, OP_ROTARY);
    assert_false(op_is_collective(OP_ADAMW));
    assert_true(op_is_collective(OP_ALL_REDUCE));
    assert_true(op_is_collective(OP_RECEIVE));
}

/* Rows of the list of kinds, to check what is said elsewhere about their operands against. */
static const int operands[OP_COUNT][3] = {
#define OP_OPERANDS(suffix, name, minimum, maximum, outputs) {minimum, maximum, outputs},
    OP_LIST(OP_OPERANDS)
#undef OP_OPERANDS
};

static void memory_is_reused_of_operands_that_exist(void **state)
{
    (void)state;
    for (int i = 0; i < OP_COUNT; i++) {
        assert_in_range(operands[i][1], operands[i][0], OP_MAX_INPUTS);
        assert_in_range(operands[i][2], 0, OP_MAX_OUTPUTS);
        int inputs_taken = 0;
        for (int output = 0; output < operands[i][2]; output++) {
            int input = op_in_place((enum op)i, output);
            assert_true(input >= -1 && input < operands[i][0]);
            if (input >= 0) { /* two outputs never share one input */
                assert_false(inputs_taken & 1 << input);
                inputs_taken |= 1 << input;
            }
        }
    }
}

/* The "(in place)" marks of op.h. */
static void optimizer_state_is_updated_in_place(void **state)
{
    (void)state;
    static const int adamw[] = {0, 2, 3}; /* p, m, v of (p, g, m, v, factors) */
    for (int output = 0; output < 3; output++)
        assert_int_equal(op_in_place(OP_ADAMW, output), adamw[output]);
    assert_int_equal(op_in_place(OP_OPTIMIZER_FACTORS, 0), -1);
    assert_int_equal(op_in_place(OP_OPTIMIZER_FACTORS, 1), 2);
    assert_int_equal(op_in_place(OP_ACCUMULATE, 0), 0);
    assert_int_equal(op_in_place(OP_MATMUL, 0), -1);
    assert_int_equal(op_in_place(OP_ATTENTION, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_counted_and_compared),
        cmocka_unit_test(shapes_are_written),
        cmocka_unit_test(impossible_shapes_are_cut),
        cmocka_unit_test(views_honour_the_row_stride),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(memory_is_reused_of_operands_that_exist),
        cmocka_unit_test(optimizer_state_is_updated_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
