/* Frames: what is written is read again; anything shorter, longer or out of range is refused; and a
 * stream may be cut into pieces anywhere. */
#include "engine/base/memory.h"
#include "engine/ranks/channel.h"

#include "tests/unit/random.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char *random_text(struct random *random, int most)
{
    int length = (int)random_integer(random, 0, most);
    char *text = memory_zeroed((size_t)length + 1, 1);
    for (int i = 0; i < length; i++)
        text[i] = (char)random_integer(random, 1, 255);
    return text;
}

static char **random_words(struct random *random, int *count)
{
    *count = (int)random_integer(random, 0, 5);
    char **words = memory_zeroed((size_t)*count, sizeof(*words));
    for (int i = 0; i < *count; i++)
        words[i] = random_text(random, 40);
    return words;
}

static struct setup random_setup(struct random *random)
{
    int sequences = (int)random_integer(random, 1, 2);
    struct setup setup = {
        .epoch = (uint32_t)random_bits(random),
        .generation = (uint32_t)random_bits(random),
        .name = random_text(random, 30),
        .folder = random_text(random, 300),
        .fault = random_text(random, 60),
        .device = random_text(random, 10),
        .plan = (int)random_integer(random, 0, 1),
        .threads = (int)random_integer(random, 0, 64),
        .worker = (int)random_integer(random, 0, 1000),
        .shares_memory = random_bits(random) & 1,
        .config_hash = random_bits(random),
        .mesh = {.tensors = (int)random_integer(random, 1, 4),
                 .sequence_datas = sequences,
                 .datas = sequences * (int)random_integer(random, 1, 4),
                 .pipelines = (int)random_integer(random, 1, 4),
                 .tied = random_bits(random)},
    };
    setup.world = mesh_size(&setup.mesh);
    setup.directories = random_words(random, &setup.directory_count);
    setup.overrides = random_words(random, &setup.override_count);
    return setup;
}

static struct comm_descriptor random_descriptor(struct random *random)
{
    return (struct comm_descriptor){
        .op = (enum op)random_integer(random, 0, OP_COUNT - 1),
        .group = (enum comm_group)random_integer(random, 0, COMM_GROUP_COUNT - 1),
        .dtype = (enum dtype)random_integer(random, 0, DTYPE_COUNT - 1),
        .average = random_bits(random) & 1,
        .peer = (int)random_integer(random, -1, 7),
        .elements = (int64_t)(random_bits(random) >> 1),
        .place = (uint32_t)random_bits(random),
    };
}

static void test_setup(void **state)
{
    struct random random = random_start("setups");
    (void)state;
    for (int repeat = 0; repeat < 50; repeat++) {
        struct setup setup = random_setup(&random), back;
        struct text body = {0}, again = {0};
        setup_write(&body, &setup);
        assert_true(setup_read(body.data, body.length, &back));
        assert_string_equal(back.name, setup.name);
        assert_string_equal(back.fault, setup.fault);
        assert_int_equal(back.override_count, setup.override_count);
        for (int i = 0; i < setup.override_count; i++)
            assert_string_equal(back.overrides[i], setup.overrides[i]);
        assert_int_equal(back.worker, setup.worker);
        assert_int_equal(back.mesh.pipelines, setup.mesh.pipelines);
        assert_true(back.mesh.tied == setup.mesh.tied && back.config_hash == setup.config_hash);
        setup_write(&again, &back);
        assert_int_equal(again.length, body.length);
        assert_memory_equal(again.data, body.data, body.length);
        setup_free(&back);
        for (size_t length = 0; length < body.length; length++)
            assert_false(setup_read(body.data, length, &back));
        text_add_part(&body, "", 1);
        assert_false(setup_read(body.data, body.length, &back));
        setup.world++; /* not the ranks of its mesh */
        text_clear(&again);
        setup_write(&again, &setup);
        assert_false(setup_read(again.data, again.length, &back));
        setup_free(&setup);
        text_free(&body);
        text_free(&again);
    }
}

static void test_updates(void **state)
{
    struct random random = random_start("updates");
    (void)state;
    for (int repeat = 0; repeat < 200; repeat++) {
        struct update back,
            update = {
                .rank = (int)random_integer(&random, 0, 7),
                .group = (int)random_integer(&random, -1, COMM_GROUP_COUNT - 1),
                .position = random_bits(&random),
                .meeting_sequence = random_bits(&random),
                .waiting_since = random_bits(&random),
                .busy = random_bits(&random),
                .state = (uint32_t)random_integer(&random, 0, BOARD_FAILED),
                .meeting = random_descriptor(&random),
                .record = {random_bits(&random), random_descriptor(&random), 3, 871, 5, 7},
            };
        struct text body = {0};
        update_write(&body, &update);
        assert_true(update_read(body.data, body.length, 8, &back));
        assert_true(back.position == update.position && back.busy == update.busy &&
                    back.meeting_sequence == update.meeting_sequence);
        assert_true(comm_descriptor_equal(&back.meeting, &update.meeting));
        assert_true(comm_descriptor_equal(&back.record.what, &update.record.what));
        assert_int_equal(back.record.instruction, 871);
        assert_false(update_read(body.data, body.length, update.rank, &back)); /* no such rank */
        for (size_t length = 0; length < body.length; length++)
            assert_false(update_read(body.data, length, 8, &back));
        text_free(&body);
    }
}

/* Frames of random lengths, written in random pieces, some with a descriptor. */
static void test_stream(void **state)
{
    struct random random = random_start("stream");
    int sockets[2], null = open("/dev/null", O_RDONLY);
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    struct channel from = {.fd = sockets[0]}, to = {.fd = sockets[1], .most = PROTOCOL_MOST_BODY};
    struct frame frame;
    for (int repeat = 0; repeat < 200; repeat++) {
        struct text body = {0};
        int64_t length = random_integer(&random, 0, 3000);
        for (int64_t i = 0; i < length; i++)
            text_add_part(&body, &(char){(char)random_bits(&random)}, 1);
        if (repeat % 2) { /* whole, with a descriptor */
            assert_true(channel_send(&from, FRAME_DATA, &body, &null, repeat % 3 == 0, 1, NULL));
        } else {
            unsigned char header[PROTOCOL_HEADER];
            struct text bytes = {0};
            frame_header(header, FRAME_DATA, body.length);
            text_add_part(&bytes, (char *)header, sizeof(header));
            text_add_part(&bytes, body.data ? body.data : "", body.length);
            for (size_t sent = 0; sent < bytes.length;) {
                size_t piece = (size_t)random_integer(&random, 1, 900);
                piece = piece < bytes.length - sent ? piece : bytes.length - sent;
                assert_int_equal(channel_next(&to, false, &frame), CHANNEL_NOTHING);
                assert_int_equal(write(from.fd, bytes.data + sent, piece), piece);
                sent += piece;
            }
            text_free(&bytes);
        }
        assert_int_equal(channel_next(&to, true, &frame), CHANNEL_FRAME);
        assert_int_equal(frame.kind, FRAME_DATA);
        assert_int_equal(frame.length, body.length);
        if (body.length)
            assert_memory_equal(frame.body, body.data, body.length);
        int fd = channel_descriptor(&to);
        assert_int_equal(fd >= 0, repeat % 2 && repeat % 3 == 0);
        if (fd >= 0)
            close(fd);
        text_free(&body);
    }
    /* an end within a frame */
    assert_int_equal(write(from.fd, "\x05\0\0\0\x01\0\0\0ab", 10), 10);
    channel_close(&from);
    assert_int_equal(channel_next(&to, true, &frame), CHANNEL_CLOSED);
    channel_close(&to);
    close(null);
}

/* Before its token was seen, nobody makes the engine keep more than a little. */
static void test_strangers(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } wrong[] = {{"\xff\xff\xff\x7f\x01\0\0\0", 8}, /* long */
                 {"\x01\x04\0\0\x01\0\0\0", 8},     /* 1025 bytes */
                 {"\0\0\0\0\0\0\0\0", 8},           /* of no kind */
                 {"\0\0\0\0\x63\0\0\0", 8},
                 {"GET / HTTP/1.1\r\n", 16}};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(wrong); i++) {
        int sockets[2];
        struct frame frame;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
        struct channel channel = {.fd = sockets[0]};
        assert_int_equal(write(sockets[1], wrong[i].bytes, wrong[i].length), wrong[i].length);
        assert_int_equal(channel_next(&channel, false, &frame), CHANNEL_WRONG);
        channel_close(&channel);
        close(sockets[1]);
    }
    struct hello hello = {.role = ROLE_CONTROL, .rank = 1, .launched = 3, .pid = 7, .host = "here"},
                 back;
    struct text body = {0};
    memset(hello.token, 'a', PROTOCOL_TOKEN);
    hello_write(&body, &hello);
    assert_true(hello_read(body.data, body.length, &back));
    assert_string_equal(back.token, hello.token);
    assert_int_equal(back.launched, 3);
    assert_true(back.rank == 1 && back.pid == 7 && strcmp(back.host, "here") == 0);
    body.data[4]++; /* another version */
    assert_false(hello_read(body.data, body.length, &back));
    text_free(&body);
}

static void test_questions(void **state)
{
    (void)state;
    struct random random = random_start("questions");
    for (int round = 0; round < 200; round++) {
        struct question question = {.value = (int)random_integer(&random, 0, INT32_MAX)}, read;
        struct device_statistics statistics = {.finite = random_integer(&random, 0, INT64_MAX - 1),
                                               .nans = random_integer(&random, 0, 9),
                                               .infinities = random_integer(&random, 0, 9),
                                               .mean = random_normal(&random),
                                               .squares = random_normal(&random),
                                               .minimum = -INFINITY,
                                               .maximum = random_normal(&random)},
                                 got;
        struct text body = {0};
        uint64_t hash = random_bits(&random), same;
        question.sampling.step = random_integer(&random, 0, INT64_MAX / PROTOCOL_SAMPLES - 1);
        question.sampling.count = random_integer(&random, 0, PROTOCOL_SAMPLES);
        question_write(&body, &question);
        assert_true(question_read(body.data, body.length, &read));
        assert_int_equal(read.value, question.value);
        assert_int_equal(read.sampling.step, question.sampling.step);
        assert_int_equal(read.sampling.count, question.sampling.count);
        assert_false(question_read(body.data, body.length - 1, &read));
        text_clear(&body);
        question.sampling.count = PROTOCOL_SAMPLES + 1;
        question_write(&body, &question);
        assert_false(question_read(body.data, body.length, &read));
        text_clear(&body);
        hash_write(&body, hash);
        assert_true(hash_read(body.data, body.length, &same) && same == hash);
        assert_false(hash_read(body.data, body.length - 1, &same));
        text_clear(&body);
        statistics_write(&body, &statistics);
        assert_int_equal(body.length, STATISTICS_BYTES);
        assert_true(statistics_read(body.data, body.length, &got));
        assert_memory_equal(&got, &statistics, sizeof(got));
        assert_false(statistics_read(body.data, body.length - 1, &got));
        text_free(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions), cmocka_unit_test(test_setup),
        cmocka_unit_test(test_updates),   cmocka_unit_test(test_stream),
        cmocka_unit_test(test_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
