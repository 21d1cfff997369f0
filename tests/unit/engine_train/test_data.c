/* Data: packing, labels, masks, epochs, and the file formats with all that can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/train/data.h"
#include "tests/unit/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/lockstep_data_XXXXXX";

static struct random *random_of(void **state)
{
    return *state;
}

static struct config config_of(enum data_type type, const char *path)
{
    struct config config = {.data = {.type = type,
                                     .path = path,
                                     .seed = 784569,
                                     .micro_batch_size = 4096,
                                     .maximum_document_length = 512,
                                     .shuffle = true},
                            .base_model = {.vocab_size = 384, .prediction_heads = 1}};
    return config;
}

static char *write_file(const char *name, const void *bytes, size_t size)
{
    char *path = memory_format("%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static struct data *open_data(const struct config *config)
{
    struct status status = STATUS_NONE;
    struct data *data = data_open(config, &status);
    if (!data)
        fail_msg("%s", status.text);
    return data;
}

static struct micro_batch read_data(struct data *data, int step, int index, int count)
{
    struct micro_batch batch = {0};
    struct status status = STATUS_NONE;
    if (!data_read(data, step, index, count, &batch, &status))
        fail_msg("%s", status.text);
    return batch;
}

/* Labels, positions and counts follow from ids, document starts and the ids behind the end. */
static void check_batch(const struct micro_batch *batch, const int32_t *following, bool spans)
{
    int64_t pieces = 0;
    for (int64_t t = 0; t < batch->tokens; t++) {
        int64_t start = batch->document_start[t];
        assert_true(start == t || start == batch->document_start[t - 1]);
        assert_int_equal(batch->position[t], t - start);
        pieces += start == t;
    }
    assert_int_equal(batch->documents, pieces);
    for (int head = 0; head < batch->heads; head++) {
        int64_t labelled = 0;
        for (int64_t t = 0; t < batch->tokens; t++) {
            int64_t target = t + head + 1;
            int32_t label = batch->labels[head][t];
            bool inside = target < batch->tokens;
            int32_t next = inside ? batch->ids[target] : following[target - batch->tokens];
            labelled += label != -100;
            if (label != -100)
                assert_int_equal(label, next);
            else if (!spans && inside)
                assert_true(batch->document_start[target] > t);
            if (inside && batch->document_start[target] > t)
                assert_int_equal(label, -100);
        }
        assert_int_equal(micro_batch_label_count(batch, head), labelled);
    }
}

/* Every way of cutting a step covers the same tokens, and samples follow each other without a
 * gap, over the end of an epoch as well. */
static void every_cut_gives_the_same_tokens(void **state)
{
    enum { STEPS = 40, TOKENS = 4096 }; /* twice the text */
    for (int round = 0; round < 4; round++) {
        struct config whole = config_of(DATA_TEXT, ""), parts = whole;
        int count = 1 << random_integer(random_of(state), 1, 6);
        whole.data.loss_masking_spans = parts.data.loss_masking_spans = round % 2;
        whole.base_model.prediction_heads = parts.base_model.prediction_heads = 1 + round;
        parts.data.micro_batch_size = TOKENS / count;
        struct data *one = open_data(&whole), *many = open_data(&parts);
        struct micro_batch next = read_data(one, 0, 0, 1);
        for (int step = 0; step < STEPS; step++) {
            struct micro_batch batch = next;
            next = read_data(one, step + 1, 0, 1);
            check_batch(&batch, next.ids, round % 2);
            for (int i = 0; i < count; i++) {
                struct micro_batch part = read_data(many, step, i, count);
                int64_t first = i * part.tokens;
                assert_memory_equal(part.ids, batch.ids + first, (size_t)part.tokens * 4);
                for (int head = 0; head < part.heads; head++)
                    assert_memory_equal(part.labels[head], batch.labels[head] + first,
                                        (size_t)part.tokens * 4);
                micro_batch_free(&part);
            }
            micro_batch_free(&batch);
        }
        micro_batch_free(&next);
        data_close(one);
        data_close(many);
    }
}

static void text_becomes_bytes_between_border_tokens(void **state)
{
    (void)state;
    static const char text[] = "\n \nab\ncd\r\n\r\n\nx\n\t\n\xff z";
    static const int32_t wide[] = {336, 'a', 'b', '\n', 'c', 'd', 336, 336, 'x',
                                   336, 336, 255, ' ',  'z', 336, 336, 'a'};
    static const int32_t starts[] = {0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 10, 10, 10, 10, 10, 15, 15};
    char *path = write_file("small.txt", text, sizeof text - 1);
    struct config config = config_of(DATA_TEXT, path);
    config.data.shuffle = false;
    config.data.micro_batch_size = ARRAY_LENGTH(wide);
    struct data *data = open_data(&config);
    struct micro_batch batch = read_data(data, 0, 0, 1);
    assert_memory_equal(batch.ids, wide, sizeof wide);
    assert_memory_equal(batch.document_start, starts, sizeof starts);
    assert_int_equal(batch.documents, 4);
    assert_int_equal(micro_batch_label_count(&batch, 0), 17 - 3);
    micro_batch_free(&batch);
    data_close(data);
    config.base_model.vocab_size = 100;
    config.data.maximum_document_length = 4;
    data = open_data(&config);
    batch = read_data(data, 0, 0, 1);
    assert_int_equal(batch.ids[0], 99);
    assert_int_equal(batch.ids[5], 'd' % 100);
    assert_int_equal(batch.document_start[5], 4); /* cut after four tokens */
    assert_int_equal(batch.document_start[7], 7);
    micro_batch_free(&batch);
    data_close(data);
    free(path);
}

/* Documents of one letter each: an epoch has each of them once, the next in another order. */
static void epochs_are_permutations(void **state)
{
    (void)state;
    struct text text = {0};
    for (int i = 0; i < 26; i++)
        text_format(&text, "%c\n\n", 'a' + i);
    char *path = write_file("letters.txt", text.data, text.length);
    struct config config = config_of(DATA_TEXT, path);
    config.data.micro_batch_size = 26 * 3;
    struct data *data = open_data(&config);
    char orders[5][27] = {0};
    for (int epoch = 0; epoch < 5; epoch++) {
        struct micro_batch batch = read_data(data, epoch, 0, 1);
        int seen[26] = {0};
        for (int i = 0; i < 26; i++) {
            orders[epoch][i] = (char)batch.ids[3 * i + 1];
            assert_int_equal(seen[orders[epoch][i] - 'a']++, 0);
        }
        for (int before = 0; before < epoch; before++)
            assert_string_not_equal(orders[before], orders[epoch]);
        micro_batch_free(&batch);
    }
    struct micro_batch again = read_data(data, 0, 0, 1); /* going back is as good */
    assert_int_equal(again.ids[1], orders[0][0]);
    micro_batch_free(&again);
    data_close(data);
    config.data.seed += 571; /* the seed of epoch e is seed + 571 e */
    data = open_data(&config);
    again = read_data(data, 0, 0, 1);
    assert_int_equal(again.ids[1], orders[1][0]);
    micro_batch_free(&again);
    data_close(data);
    text_free(&text);
    free(path);
}

/* At most five spans in a document, disjoint, inside the text; about as many as drawn. */
static void masks_spans_of_the_text(void **state)
{
    enum { DOCUMENTS = 2000, LENGTH = 60 };
    struct text text = {0};
    for (int i = 0; i < DOCUMENTS; i++)
        text_format(&text, "%0*d\n\n", LENGTH, i);
    char *path = write_file("spans.txt", text.data, text.length);
    struct config config = config_of(DATA_TEXT, path);
    config.data.loss_masking_spans = true;
    config.data.seed = random_bits(random_of(state));
    config.data.micro_batch_size = DOCUMENTS * (LENGTH + 2);
    struct data *data = open_data(&config);
    struct micro_batch batch = read_data(data, 0, 0, 1);
    int histogram[6] = {0};
    int64_t masked = 0;
    for (int64_t first = 0; first < batch.tokens; first += LENGTH + 2) {
        int spans = 0;
        for (int64_t t = first; t < first + LENGTH; t++) {
            bool now = batch.labels[0][t] == -100;
            masked += now;
            spans += now && (t == first || batch.labels[0][t - 1] != -100);
        }
        assert_true(spans <= 5);
        assert_int_not_equal(batch.labels[0][first + LENGTH], -100); /* the border token */
        histogram[spans]++;
    }
    /* Uniform 0 to 5, though neighbouring spans can merge into one; the spans between two sorted
     * positions of 2n + 1 gaps cover n/(2n+1) of the text. Margins of six deviations. */
    assert_true(abs(histogram[0] - DOCUMENTS / 6) < 100);
    assert_true(histogram[5] > DOCUMENTS / 6 / 2);
    double expected = (1.0 / 3 + 2.0 / 5 + 3.0 / 7 + 4.0 / 9 + 5.0 / 11) / 6;
    assert_true(fabs((double)masked / (DOCUMENTS * LENGTH) - expected) < 0.03);
    micro_batch_free(&batch);
    data_close(data);
    text_free(&text);
    free(path);
}

static void random_data_cover_the_vocabulary(void **state)
{
    struct config config = config_of(DATA_RANDOM, NULL);
    config.data.seed = random_bits(random_of(state));
    config.base_model.vocab_size = 100;
    config.data.maximum_document_length = 50;
    config.data.micro_batch_size = 1 << 16;
    struct data *data = open_data(&config);
    struct micro_batch batch = read_data(data, 0, 0, 1), next = read_data(data, 0, 1, 2);
    int counts[100] = {0};
    check_batch(&batch, next.ids, false);
    for (int64_t t = 0; t < batch.tokens; t++) {
        counts[batch.ids[t]]++;
        assert_true(batch.position[t] < 50);
    }
    for (int token = 0; token < 100; token++) /* 655 expected, deviation 25 */
        assert_in_range(counts[token], 480, 830);
    assert_in_range(batch.documents, 65536 / 35, 65536 / 20);
    micro_batch_free(&batch);
    micro_batch_free(&next);
    data_close(data);
}

static void add_number(struct text *text, uint64_t number, int width)
{
    for (int i = 0; i < width; i++, number >>= 8)
        text_add_part(text, &(const char){(char)number}, 1);
}

struct pair {
    uint64_t version, code, sequences, entries;
    int32_t size;    /* of the second of two sequences */
    int64_t pointer; /* likewise */
    int64_t document;
    size_t cut; /* bytes left out at the end of the index */
};

static const struct pair good_pair = {1, 4, 2, 3, 3, 8, 2, 0};

/* Sequences [10, 11] and [12, 13, 14], as Megatron's builder writes them for `code` int32. */
static char *write_pair(const struct pair *pair)
{
    struct text index = {0}, tokens = {0};
    text_add_part(&index, "MMIDIDX\0", 9);
    add_number(&index, pair->version, 8);
    add_number(&index, pair->code, 1);
    add_number(&index, pair->sequences, 8);
    add_number(&index, pair->entries, 8);
    add_number(&index, 2, 4);
    add_number(&index, (uint64_t)pair->size, 4);
    add_number(&index, 0, 8);
    add_number(&index, (uint64_t)pair->pointer, 8);
    for (int64_t i = 0; i < 3; i++)
        add_number(&index, (uint64_t)(i == 1 ? 1 : i * pair->document / 2), 8);
    for (uint64_t token = 10; token < 15; token++)
        add_number(&tokens, token, 4);
    free(write_file("pair.idx", index.data, index.length - pair->cut));
    char *path = write_file("pair.bin", tokens.data, tokens.length);
    text_free(&index);
    text_free(&tokens);
    return path;
}

static void check_error(const struct config *config, const char *message)
{
    struct status status = STATUS_NONE;
    struct data *data = data_open(config, &status);
    if (data || !strstr(status.text, message))
        fail_msg("\n  says: %s\n  not: %s", status.text, message);
}

static void reads_megatron_pairs(void **state)
{
    (void)state;
    static const int32_t tokens[] = {10, 11, 12, 13, 14, 10}, starts[] = {0, 0, 2, 2, 2, 5};
    char *path = write_pair(&good_pair);
    struct config config = config_of(DATA_TOKENS, path);
    config.data.shuffle = false;
    config.data.micro_batch_size = 6;
    static const char *const names[] = {"pair.bin", "pair.idx", "pair"};
    for (int form = 0; form < 3; form++) {
        char *name = memory_format("%s/%s", directory, names[form]);
        config.data.path = name;
        struct data *data = open_data(&config);
        struct micro_batch batch = read_data(data, 0, 0, 1);
        assert_memory_equal(batch.ids, tokens, sizeof tokens);
        assert_memory_equal(batch.document_start, starts, sizeof starts);
        micro_batch_free(&batch);
        data_close(data);
        free(name);
    }
    config.data.path = path;
    config.base_model.vocab_size = 14;
    check_error(&config,
                "pair.bin: token 14 (number 2 of document 1) is outside of the vocabulary");
    free(path);
}

static void names_what_is_wrong_with_a_pair(void **state)
{
    (void)state;
    static const struct {
        struct pair pair;
        const char *message;
    } bad[] = {
        {{2, 4, 2, 3, 3, 8, 2, 0}, "pair.idx: version 2; only 1"},
        {{1, 6, 2, 3, 3, 8, 2, 0}, "pair.idx: tokens of type code 6"},
        {{1, 99, 2, 3, 3, 8, 2, 0}, "pair.idx: tokens of type code 99"},
        {{1, 4, 2, 3, 3, 8, 2, 1}, "truncated or damaged"},
        {{1, 4, 2, 3, 3, 8, 2, 60}, "pair.idx: truncated: 22 bytes; an index has 34 and more"},
        {{1, 4, 2, 2, 3, 8, 2, 0}, "truncated or damaged"},
        {{1, 4, 3, 3, 3, 8, 2, 0}, "truncated or damaged"},
        {{1, 4, UINT64_MAX / 12 + 1, 3, 3, 8, 2, 0}, "truncated or damaged"},
        {{1, 4, 2, UINT64_MAX / 8 + 2, 3, 8, 2, 0}, "truncated or damaged"},
        {{1, 4, 2, 3, 4, 8, 2, 0}, "sequence 1 (4 tokens at byte 8) lies outside of the 20 bytes"},
        {{1, 4, 2, 3, -1, 8, 2, 0}, "sequence 1 (-1 tokens at byte 8) lies outside"},
        {{1, 4, 2, 3, 3, -8, 2, 0}, "sequence 1 (3 tokens at byte -8)"},
        {{1, 4, 2, 3, 3, 9, 2, 0}, "sequence 1 (3 tokens at byte 9) lies outside"},
        {{1, 4, 2, 3, 3, 8, 4, 0}, "entry 2 of the document index"},
        {{1, 4, 2, 3, 3, 8, 0, 0}, "entry 2 of the document index"},
    };
    for (int i = 0; i < ARRAY_LENGTH(bad); i++) {
        char *path = write_pair(&bad[i].pair);
        struct config config = config_of(DATA_TOKENS, path);
        check_error(&config, bad[i].message);
        free(path);
    }
}

static char *write_npy(const char *name, int version, const char *header, const void *data,
                       size_t size)
{
    struct text text = {0};
    text_add_part(&text, "\x93NUMPY", 6);
    add_number(&text, (uint64_t)version, 1);
    add_number(&text, 0, 1);
    add_number(&text, strlen(header), version == 1 ? 2 : 4);
    text_add(&text, header);
    text_add_part(&text, data, size);
    char *path = write_file(name, text.data, text.length);
    text_free(&text);
    return path;
}

static void reads_npy_arrays(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        int width;
    } types[] = {{"|u1", 1}, {"<i2", 2}, {"<u2", 2}, {"<i4", 4},
                 {"<u4", 4}, {"<i8", 8}, {"<u8", 8}};
    for (int i = 0; i < ARRAY_LENGTH(types); i++) {
        struct text data = {0};
        for (uint64_t token = 200; token < 206; token++)
            add_number(&data, token, types[i].width);
        bool rows = i % 2;
        char *header =
            memory_format("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }   \n",
                          types[i].type, rows ? "2, 3" : "6,");
        char *path = write_npy("a.npy", 1 + i % 3, header, data.data, data.length);
        struct config config = config_of(DATA_TOKENS, path);
        config.data.shuffle = false;
        config.data.micro_batch_size = 6;
        struct data *opened = open_data(&config);
        struct micro_batch batch = read_data(opened, 3, 0, 1);
        for (int t = 0; t < 6; t++) {
            assert_int_equal(batch.ids[t], 200 + t);
            assert_int_equal(batch.document_start[t], rows ? t / 3 * 3 : 0);
        }
        micro_batch_free(&batch);
        data_close(opened);
        text_free(&data);
        free(header);
        free(path);
    }
}

#define NPY(type, order, shape)                                                                    \
    "{'descr': '" type "', 'fortran_order': " order ", 'shape': " shape "}"

static void names_what_is_wrong_with_an_array(void **state)
{
    (void)state;
    static const int16_t data[6] = {1, 2, 3, 4, 5, -6};
    static const struct {
        const char *header, *message;
    } bad[] = {
        {NPY("<f4", "False", "(3,)"), "elements of type '<f4'; little-endian integers"},
        {NPY(">i2", "False", "(6,)"), "elements of type '>i2'"},
        {NPY("|i2", "False", "(6,)"), "elements of type '|i2'"},
        {NPY("", "False", "(6,)"), "elements of type ''"},
        {NPY("<", "False", "(6,)"), "elements of type '<'"},
        {NPY("<i2", "True", "(2, 3)"), "stored by columns"},
        {NPY("<i2", "False", "(7,)"), "12 bytes of data are not 1 x 7 elements of 2 bytes"},
        {NPY("<i2", "False", "(5,)"), "12 bytes of data are not"},
        {NPY("<i2", "False", "(9223372036854775808, 2)"), "12 bytes of data are not"},
        {NPY("<i2", "False", "(99999999999999999999, 2)"), "does not describe an array"},
        {NPY("<i2", "False", "(1, 2, 3)"), "does not describe an array"},
        {NPY("<i2", "False", "()"), "does not describe an array"},
        {NPY("<i2", "False", "(-6,)"), "does not describe an array"},
        {NPY("<i2", "Maybe", "(6,)"), "does not describe an array"},
        {NPY("<i2", "False", "(6,)") "x", "does not describe an array"},
        {"{'descr': '<i2', 'shape': (6,)}", "does not describe an array"},
        {"{'descr': '<i2', 'descr': '<i2'}", "does not describe an array"},
        {"{'descr': [('a', '<i2')]}", "does not describe an array"},
        {"{", "does not describe an array"},
        {"", "does not describe an array"},
        {NPY("<i2", "False", "(6,)"), "token -6 (number 5 of document 0) is outside"},
        {NPY("|i1", "False", "(0,)"), "12 bytes of data are not"},
    };
    for (int i = 0; i < ARRAY_LENGTH(bad); i++) {
        char *path = write_npy("bad.npy", 1, bad[i].header, data, sizeof data);
        struct config config = config_of(DATA_TOKENS, path);
        check_error(&config, bad[i].message);
        check_error(&config, "bad.npy: ");
        free(path);
    }
    char *path = write_npy("version.npy", 4, "", data, 12);
    struct config config = config_of(DATA_TOKENS, path);
    check_error(&config, "version 4.0 of the .npy format");
    free(path);
    path = write_npy("large.npy", 1, NPY("<u8", "False", "(1,)"), &(uint64_t){UINT64_MAX}, 8);
    config = config_of(DATA_TOKENS, path);
    check_error(&config, "token 18446744073709551615 (number 0 of document 0) is outside");
    free(path);
}

static void refuses_useless_settings(void **state)
{
    (void)state;
    char *empty = write_file("empty.txt", " \n\n", 3);
    struct config config = config_of(DATA_TEXT, empty);
    check_error(&config, "empty.txt: no documents");
    config.data.path = "/nonexistent.txt";
    check_error(&config, "/nonexistent.txt: No such file");
    config = config_of(DATA_TOKENS, "/nonexistent.bin");
    check_error(&config, "/nonexistent.idx: No such file");
    config = config_of(DATA_TOKENS, "");
    check_error(&config, "need a path");
    config = config_of(DATA_TEXT, "");
    config.data.micro_batch_size = 0;
    check_error(&config, "micro_batch_size 0");
    config.data.micro_batch_size = 1;
    config.data.maximum_document_length = 0;
    check_error(&config, "maximum_document_length 0");
    struct micro_batch batch = {0};
    micro_batch_free(&batch);
    data_close(NULL);
    free(empty);
}

static int make_directory(void **state)
{
    struct random *random = memory_zeroed(1, sizeof *random);
    *random = random_start("data");
    *state = random;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char *command = memory_format("rm -r '%s'", directory);
    int result = system(command);
    free(command);
    free(*state);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_tokens),
        cmocka_unit_test(text_becomes_bytes_between_border_tokens),
        cmocka_unit_test(epochs_are_permutations),
        cmocka_unit_test(masks_spans_of_the_text),
        cmocka_unit_test(random_data_cover_the_vocabulary),
        cmocka_unit_test(reads_megatron_pairs),
        cmocka_unit_test(names_what_is_wrong_with_a_pair),
        cmocka_unit_test(reads_npy_arrays),
        cmocka_unit_test(names_what_is_wrong_with_an_array),
        cmocka_unit_test(refuses_useless_settings),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
