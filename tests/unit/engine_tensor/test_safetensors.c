/* The safetensors reader and writer: round trips, files of another writer, and every way in which
 * a file can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/tensor/safetensors.h"
#include "engine/tensor/safetensors_internal.h"
#include "tests/unit/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file image: length, header, then `data_size` bytes 0, 1, 2, ... Owned by the caller. */
static char *image_of(const char *header, size_t data_size, size_t *size)
{
    size_t length = strlen(header);
    *size = 8 + length + data_size;
    char *image = memory_zeroed(*size, 1);
    for (int i = 0; i < 8; i++)
        image[i] = (char)(length >> (8 * i));
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < data_size; i++)
        image[8 + length + i] = (char)i;
    return image;
}

#define ENTRY(name, dtype, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

struct bad_header {
    const char *header;
    size_t data_size;
    const char *message;
};

static const struct bad_header bad_headers[] = {
    {"", 0, "the header ends where '{' should follow"},
    {"[]", 0, "'{' expected at the start"},
    {"{", 0, "the header ends where"},
    {"{}x", 0, "text after the end of the header, at byte 2"},
    {"{} ", 3, "the last 3 bytes of the file belong to no tensor"},
    {"{" ENTRY("a", "F32", "[2]", 0, 8) "}", 7, "\"a\": the data end at byte 8, but the file has"},
    {"{" ENTRY("a", "F32", "[2]", 0, 4) "}", 4, "\"a\": shape [2] of F32 is 8 bytes, but the data"},
    {"{" ENTRY("a", "F32", "[2]", 8, 0) "}", 8, "\"a\": the data end (0) before they begin (8)"},
    {"{" ENTRY("a", "F32", "[-2]", 0, 8) "}", 8, "\"a\": negative number in the shape"},
    {"{" ENTRY("a", "F32", "[2.0]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "F32", "[2e0]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "F32", "[02]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "F32", "[\"2\"]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "F32", "[9223372036854775808]", 0, 8) "}", 8, "does not fit in 63 bits"},
    {"{" ENTRY("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "more bytes than 63 bits"},
    {"{" ENTRY("a", "F32", "[0,4294967296,4294967296]", 0, 0) "}", 0, "more bytes than 63 bits"},
    {"{" ENTRY("a", "F32", "[1,1,1,1,2]", 0, 8) "}", 8, "\"a\": more than 4 dimensions"},
    {"{" ENTRY("a", "F32", "[[2]]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "F32", "[2,]", 0, 8) "}", 8, "\"a\": integer expected in the shape"},
    {"{" ENTRY("a", "f32", "[2]", 0, 8) "}", 8, "\"a\": dtype \"f32\" is not supported"},
    {"{" ENTRY("a", "U64", "[1]", 0, 8) "}", 8, "\"a\": dtype \"U64\" is not supported"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "\"a\": data_offsets is missing"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"a\": dtype is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "\"a\": shape is missing"},
    {"{\"a\":{\"shape\":[2],\"shape\":[2]}}", 8, "\"a\": shape is given twice"},
    {"{\"a\":{\"extra\":[2]}}", 8, "\"a\": unknown key \"extra\""},
    {"{\"a\":{\"data_offsets\":[0]}}", 8, "\"a\": ',' expected between the two data offsets"},
    {"{\"a\":{\"data_offsets\":[0,1,2]}}", 8, "\"a\": more than two data offsets"},
    {"{\"a\":{}}", 0, "\"a\": the description is empty"},
    {"{\"a\":3}", 0, "\"a\": '{' expected before the description"},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0,
     "\"a\": '{' expected before the description"},
    {"{\"a", 0, "the header ends inside a string"},
    {"{\"a\\x\":1}", 0, "malformed string"},
    {"{\"a\\u0000b\":1}", 0, "malformed string"},
    {"{\"a\\ud800\":1}", 0, "malformed string"},
    {"{\"\xc0\x80\":1}", 0, "malformed string"},
    {"{\"a\nb\":1}", 0, "malformed string"},
    {"{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 2, 6) "}", 6,
     "tensors \"a\" and \"b\" overlap"},
    {"{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("a", "U8", "[4]", 0, 4) "}", 4,
     "\"a\" is given twice"},
    {"{" ENTRY("b", "U8", "[4]", 0, 4) "," ENTRY("a", "U8", "[4]", 0, 4) "}", 4, "overlap"},
    {"{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 5, 9) "}", 9,
     "\"b\": 1 bytes before it belong to no tensor"},
    {"{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("a", "U8", "[4]", 4, 8) "}", 8,
     "tensor \"a\" is given twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "key \"k\" of __metadata__ is given twice"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "'\"' expected before a value of __metadata__"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice"},
    {"{\"a\\u001b[2J\":3}", 0, "\"a?[2J\""}, /* no control characters reach the terminal */
};

static void names_what_is_wrong(void **state)
{
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(bad_headers); i++) {
        struct status status = STATUS_NONE;
        size_t size;
        char *image = image_of(bad_headers[i].header, bad_headers[i].data_size, &size);
        struct safetensors *file = safetensors_parse(image, size, "some.file", &status);
        if (file || !strstr(status.text, bad_headers[i].message) ||
            strncmp(status.text, "some.file: ", 11) != 0)
            fail_msg("header %s\n  says: %s\n  not: %s", bad_headers[i].header, status.text,
                     bad_headers[i].message);
        free(image);
    }
}

/* Every prefix of a good file is refused: nothing is read past the end (with sanitizers on). */
static void assert_metadata(const struct safetensors *file, const char *key, const char *wanted)
{
    char *value = safetensors_metadata(file, safetensors_find_metadata(file, key));
    assert_non_null(value);
    assert_string_equal(value, wanted);
    free(value);
}

static void refuses_truncated_files(void **state)
{
    (void)state;
    size_t size;
    char *image =
        image_of("{\"__metadata__\":{\"k\":\"v\\u00e9\"}," ENTRY(
                     "a", "F32", "[2,1]", 0, 8) "," ENTRY("b\xc3\xa9", "U8", "[1]", 8, 9) "}  ",
                 9, &size);
    struct status status = STATUS_NONE;
    for (size_t part = 0; part < size; part++) {
        char *exact = memory_zeroed(part, 1);
        memcpy(exact, image, part);
        assert_null(safetensors_parse(exact, part, "part", &status));
        assert_int_equal(status.code, STATUS_INVALID);
        free(exact);
    }
    struct safetensors *file = safetensors_parse(image, size, "whole", &status);
    assert_non_null(file);
    assert_metadata(file, "k", "v\xc3\xa9");
    safetensors_close(file);
    memset(image, 0xff, 8);
    assert_null(safetensors_parse(image, size, "huge", &status));
    assert_non_null(strstr(status.text, "a header of 18446744073709551615 bytes"));
    free(image);
}

static void keeps_scalars_and_empty_tensors_and_aligns_data(void **state)
{
    (void)state;
    size_t size;
    struct status status = STATUS_NONE;
    char *image =
        image_of("{" ENTRY("odd", "F32", "[]", 1, 5) "," ENTRY("byte", "U8", "[1]", 0, 1) "," ENTRY(
                     "none", "F64", "[0,7]", 5, 5) "," ENTRY("last", "I16", "[1]", 5, 7) "}",
                 7, &size);
    struct safetensors *file = safetensors_parse(image, size, "odd", &status);
    assert_non_null(file);
    assert_string_equal(file->entries[0].name, "byte");
    assert_string_equal(file->entries[1].name, "odd");
    assert_string_equal(file->entries[2].name, "none");
    const struct tensor *odd = &safetensors_find(file, "odd")->tensor;
    assert_int_equal(odd->shape.rank, 1);
    assert_int_equal((uintptr_t)odd->data % 4, 0);
    assert_memory_equal(odd->data, "\1\2\3\4", 4);
    assert_int_equal((int)tensor_load(&safetensors_find(file, "last")->tensor, 0), 0x0605);
    assert_int_equal(shape_elements(safetensors_find(file, "none")->tensor.shape), 0);
    assert_null(safetensors_find(file, "non"));
    assert_int_equal(safetensors_find_metadata(file, "k"), -1);
    assert_null(safetensors_metadata(file, -1));
    safetensors_close(file);
    free(image);
}

/* safetensors.numpy.save({"b.weight": float16 [[1,2],[3,4]], 'a "q" é': float32 [1.5,-2],
 * "scalar": int64 7, "empty": float32 zeros((0,3))}, metadata={"run": "x"}), version 0.8.0 */
static void reads_a_file_of_the_python_library(void **state)
{
    (void)state;
    const char header[] =
        "{\"__metadata__\":{\"run\":\"x\"},\"scalar\":{\"dtype\":\"I64\",\"shape\":[],"
        "\"data_offsets\":[0,8]},\"a \\\"q\\\" \xc3\xa9\":{\"dtype\":\"F32\",\"shape\":[2],"
        "\"data_offsets\":[8,16]},\"empty\":{\"dtype\":\"F32\",\"shape\":[0,3],"
        "\"data_offsets\":[16,16]},\"b.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],"
        "\"data_offsets\":[16,24]}}     ";
    const char data[] = "\x07\0\0\0\0\0\0\0\0\0\xc0?\0\0\0\xc0\0<\0@\0B\0D";
    size_t size;
    struct status status = STATUS_NONE;
    char *image = image_of(header, 24, &size);
    memcpy(image + size - 24, data, 24);
    struct safetensors *file = safetensors_parse(image, size, "python", &status);
    assert_non_null(file);
    assert_int_equal(file->count, 4);
    assert_float_equal(tensor_load(&safetensors_find(file, "scalar")->tensor, 0), 7, 0);
    assert_float_equal(tensor_load(&safetensors_find(file, "a \"q\" \xc3\xa9")->tensor, 1), -2, 0);
    assert_float_equal(tensor_load(&safetensors_find(file, "b.weight")->tensor, 2), 3, 0);
    assert_metadata(file, "run", "x");
    safetensors_close(file);
    free(image);
}

struct random_content {
    int count;
    char **names;
    struct tensor *tensors;
};

static struct random_content random_content(int count)
{
    static const char *const hard[] = {"q\"uote", "back\\slash", "tab\t",           "\xe2\x82\xac",
                                       "\x01",    "a/b",         "\xf0\x9f\x98\x80"};
    struct random_content content = {count, memory_zeroed((size_t)count, sizeof(char *)),
                                     memory_zeroed((size_t)count, sizeof(struct tensor))};
    for (int i = 0; i < count; i++) {
        struct shape shape = {.rank = 1 + rand() % 4};
        for (int d = 0; d < shape.rank; d++)
            shape.dims[d] = rand() % 7;
        enum dtype dtype = (enum dtype)(rand() % DTYPE_COUNT);
        size_t bytes = (size_t)shape_elements(shape) * dtype_size(dtype);
        unsigned char *data = memory_zeroed(bytes, 1);
        for (size_t byte = 0; byte < bytes; byte++)
            data[byte] = (unsigned char)rand();
        content.names[i] = memory_format("%s %d", hard[rand() % ARRAY_LENGTH(hard)], i);
        content.tensors[i] = tensor_of(data, dtype, shape);
    }
    return content;
}

static void free_content(struct random_content *content)
{
    for (int i = 0; i < content->count; i++) {
        free(content->names[i]);
        free(content->tensors[i].data);
    }
    free(content->names);
    free(content->tensors);
}

static void round_trip_keeps_everything(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/lockstep_safetensors_%ld", (long)getpid());
    static const char *const metadata[] = {"key", "{\"a\":\"b\\\"\"}", "", "\x1f", "e", ""};
    for (int round = 0; round < 20; round++) {
        struct random_content content = random_content(rand() % 200);
        struct status status = STATUS_NONE;
        const char *const *names = (const char *const *)content.names;
        assert_true(safetensors_write(path, names, content.tensors, content.count, metadata,
                                      round % 4, &status));
        struct safetensors *file = safetensors_open(path, &status);
        if (!file)
            fail_msg("%s", status.text);
        assert_int_equal(file->count, content.count);
        assert_int_equal(file->metadata_count, round % 4);
        for (int i = 0; i < content.count; i++) {
            const struct safetensors_entry *entry = safetensors_find(file, content.names[i]);
            assert_non_null(entry);
            assert_string_equal(entry->name, content.names[i]);
            assert_int_equal(entry->tensor.dtype, content.tensors[i].dtype);
            assert_true(shape_equal(entry->tensor.shape, content.tensors[i].shape));
            size_t size = dtype_size(entry->tensor.dtype);
            assert_int_equal((uintptr_t)entry->tensor.data % size, 0);
            assert_memory_equal(entry->tensor.data, content.tensors[i].data,
                                (size_t)shape_elements(entry->tensor.shape) * size);
        }
        for (int i = 0; i < round % 4; i++)
            assert_metadata(file, metadata[2 * i], metadata[2 * i + 1]);
        safetensors_close(file);
        free_content(&content);
    }
    unlink(path);
}

/* Order in the header and order of the data are unrelated; lookups work for many names. */
static void sorts_many_tensors_by_offset(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct text header = {0};
    int *place = memory_zeroed(COUNT, sizeof *place);
    for (int i = 0; i < COUNT; i++)
        place[i] = i;
    for (int i = COUNT - 1; i > 0; i--) {
        int other = rand() % (i + 1), kept = place[i];
        place[i] = place[other];
        place[other] = kept;
    }
    for (int i = 0; i < COUNT; i++)
        text_format(&header,
                    "%s"
                    "\"layer.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],"
                    "\"data_offsets\":[%d,%d]}",
                    i ? "," : "{", place[i], place[i], place[i] + 1);
    text_add(&header, "}");
    size_t size;
    struct status status = STATUS_NONE;
    char *image = image_of(header.data, COUNT, &size);
    struct safetensors *file = safetensors_parse(image, size, "many", &status);
    assert_non_null(file);
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d.weight", i);
        const struct safetensors_entry *entry = safetensors_find(file, name);
        assert_ptr_equal(entry, &file->entries[i]);
        assert_int_equal((int)tensor_load(&entry->tensor, 0), i & 0xff);
    }
    safetensors_close(file);
    free(image);
    free(place);
    text_free(&header);
}

static void refuses_to_write_what_cannot_be_read(void **state)
{
    (void)state;
    float data[4] = {1, 2, 3, 4};
    struct tensor tensors[2] = {tensor_of(data, DTYPE_F32, shape_of1(4)),
                                tensor_of(data, DTYPE_F32, shape_of2(2, 1))};
    char path[64];
    snprintf(path, sizeof path, "/tmp/lockstep_safetensors_kept_%ld", (long)getpid());
    struct status status = STATUS_NONE;
    const char *const good[] = {"a", "b"}, *const twice[] = {"a", "a"},
                      *const bad[] = {"\xff", "b"};
    const char *const reserved[] = {"__metadata__", "b"};
    assert_true(safetensors_write(path, good, tensors, 2, NULL, 0, &status));
    assert_false(safetensors_write(path, twice, tensors, 2, NULL, 0, &status));
    assert_non_null(strstr(status.text, "\"a\" is given twice"));
    assert_false(safetensors_write(path, bad, tensors, 2, NULL, 0, &status));
    assert_non_null(strstr(status.text, "tensor 0 is not UTF-8"));
    assert_false(safetensors_write(path, reserved, tensors, 2, NULL, 0, &status));
    tensors[1].row_stride = 2;
    assert_false(safetensors_write(path, good, tensors, 2, NULL, 0, &status));
    assert_non_null(strstr(status.text, "\"b\" is not contiguous"));
    assert_false(safetensors_write("/proc/nonexistent/x", good, tensors, 1, NULL, 0, &status));
    assert_int_equal(status.code, STATUS_IO);
    struct safetensors *file = safetensors_open(path, &status); /* the first write is still there */
    assert_non_null(file);
    assert_int_equal(file->count, 2);
    safetensors_close(file);
    unlink(path);
    assert_null(safetensors_open(path, &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    assert_null(safetensors_open("/tmp", &status));
    assert_non_null(strstr(status.text, "not a regular file"));
}

/* Strings that are left where they are end where copies of them end, and are refused with them. */
static void skips_what_it_copies(void **state)
{
    static const char *const parts[] = {"\\\"", "a",       "plain, ", "0123456789",
                                        "\\\\", "\\u00e9", "\"",      "\xc3\xa9",
                                        "\\",   "\x01",    "\\ud800", "\xff"};
    struct random random = random_start("skipped strings");
    int good = 0;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[400], out[401];
        size_t length = 0, most = (size_t)random_integer(&random, 0, 300);
        /* mostly what JSON inside of a string is; what is rare comes anywhere */
        while (length < most) {
            bool usual = random_integer(&random, 0, 40) > 0;
            const char *part = parts[random_integer(&random, 0, usual ? 3 : 11)];
            memcpy(text + length, part, strlen(part));
            length += strlen(part);
        }
        if (random_integer(&random, 0, 3))
            text[length++] = '"';
        char *exact = memory_string_part("", 0);
        exact = memory_resize(exact, length + 1, 1); /* nothing may be read behind it */
        memcpy(exact, text, length);
        const char *copied = exact, *skipped = exact, *end = exact + length;
        bool well_formed = header_string_copy(&copied, end, out) != NULL;
        assert_true(header_string_skip(&skipped, end) == well_formed);
        assert_true(!well_formed || skipped == copied);
        good += well_formed;
        free(exact);
    }
    assert_true(good > 1000 && good < 19000);
}

int main(void)
{
    struct random random = random_start("safetensors");
    srand((unsigned)random_bits(&random));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skips_what_it_copies),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(refuses_truncated_files),
        cmocka_unit_test(keeps_scalars_and_empty_tensors_and_aligns_data),
        cmocka_unit_test(reads_a_file_of_the_python_library),
        cmocka_unit_test(round_trip_keeps_everything),
        cmocka_unit_test(sorts_many_tensors_by_offset),
        cmocka_unit_test(refuses_to_write_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
