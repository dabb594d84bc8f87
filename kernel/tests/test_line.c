/* test_line.c - lines from a stream, whatever its split: compared with a plain cutter that
 * has the whole stream at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fake_sys.h"
#include "line.h"

#define MAX 20
#define KEEP 4

typedef struct output {
    char text[4096];
    size_t len;
} output_t;

static void record(output_t *out, line_result_t kind, const char *text, size_t len, const char *tail, size_t tail_len) {
    out->len += (size_t)snprintf(out->text + out->len, sizeof out->text - out->len, "%d:%zu<", (int)kind, len);
    REQUIRE(out->len + len + tail_len + 8 < sizeof out->text);
    memcpy(out->text + out->len, text, len);
    out->len += len;
    out->text[out->len++] = '|';
    if (tail_len) memcpy(out->text + out->len, tail, tail_len);
    out->len += tail_len;
    out->text[out->len++] = '>';
}

static void collect(line_reader_t *reader, output_t *out, const char *data, size_t len) {
    /* A copy that ends with the chunk: reading beyond it, or later, is seen. */
    char *chunk = malloc(len ? len : 1);
    line_t line;
    line_result_t kind;
    memcpy(chunk, data, len);
    line_feed(reader, chunk, len);
    while ((kind = line_next(reader, &line)) != LINE_MORE) {
        record(out, kind, line.text, line.len, line.tail, line.tail_len);
        CHECK(reader->partial.cap <= MAX + 1);
    }
    CHECK(!reader->skipping || reader->partial.cap <= 2 * KEEP);
    free(chunk);
}

/* What must come out: the definition in line.h, in the plainest form. */
static void cut(output_t *out, const char *data, size_t len) {
    for (const char *newline; (newline = memchr(data, '\n', len)); ) {
        size_t n = (size_t)(newline - data), content = n && data[n - 1] == '\r' ? n - 1 : n;
        if (content > MAX) {
            size_t rest = n - KEEP, tail = rest < KEEP ? rest : KEEP;
            record(out, LINE_TOO_LONG, data, KEEP, data + n - tail, tail);
        } else if (content) {
            record(out, LINE_READY, data, content, NULL, 0);
        }
        data += n + 1;
        len -= n + 1;
    }
}

static void check_same(const output_t *a, const output_t *b) {
    if (!CHECK(a->len == b->len && memcmp(a->text, b->text, a->len) == 0))
        fprintf(stderr, "  %.*s\n  expected %.*s\n", (int)a->len, a->text, (int)b->len, b->text);
}

static void check_all_splits(const char *data, size_t len) {
    static output_t expected, actual;
    line_reader_t reader;
    expected.len = 0;
    cut(&expected, data, len);
    for (size_t first = 0; first <= len; first++)
        for (size_t second = first; second <= len; second++) {
            line_reader_init(&reader, MAX, KEEP);
            actual.len = 0;
            collect(&reader, &actual, data, first);
            collect(&reader, &actual, data + first, second - first);
            collect(&reader, &actual, data + second, len - second);
            line_reader_free(&reader);
            check_same(&actual, &expected);
        }
    for (size_t step = 1; step < 4; step++) {
        line_reader_init(&reader, MAX, KEEP);
        actual.len = 0;
        for (size_t at = 0; at < len; at += step) collect(&reader, &actual, data + at, len - at < step ? len - at : step);
        line_reader_free(&reader);
        check_same(&actual, &expected);
    }
}

static void test_splits(void) {
    static const char plain[] = "one\ntwo\r\n\n\r\n\r\r\nx\xE2\x80\xA8y\xC2\x85\v\f\0z\na\rb\n   \nlast\n";
    check_all_splits(plain, sizeof plain - 1);
    check_all_splits("\n\n\n", 3);
    check_all_splits("no newline", 10);
}

/* Around the maximum: MAX bytes fit, with "\r" too; one more does not. */
static void test_lengths(void) {
    for (size_t len = MAX - 2; len <= MAX + 2 * KEEP + 3; len++)
        for (int ending = 0; ending < 4; ending++) {
            char data[80];
            size_t n = (size_t)snprintf(data, sizeof data, "a\n");
            for (size_t i = 0; i < len; i++) data[n++] = (char)('A' + i % 26);
            n += (size_t)snprintf(data + n, sizeof data - n, "%s", ((const char *[]){"\n", "\r\n", "\r\r\n", "\nb\n"})[ending]);
            check_all_splits(data, n);
        }
}

static void test_random(void) {
    check_random_t random = {3};
    for (int round = 0; round < 60; round++) {
        char data[120];
        size_t len = 20 + check_random(&random, 100);
        for (size_t i = 0; i < len; i++) data[i] = "ab\r\nc"[check_random(&random, check_random(&random, 2) ? 5 : 2)];
        check_all_splits(data, len);
    }
}

static void test_in_place(void) {
    static const char data[] = "first\nsecond\nrest";
    line_reader_t reader;
    line_t line;
    line_reader_init(&reader, MAX, KEEP);
    line_feed(&reader, data, sizeof data - 1);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK(line.text == data);
    CHECK_INT(fake_sys_live_allocations(), 0);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK(line.text == data + 6);
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    CHECK_INT(line_finish(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "rest");
    CHECK_INT(line_finish(&reader, &line), LINE_MORE);
    line_reader_free(&reader);
}

static void test_finish(void) {
    line_reader_t reader;
    line_t line;
    line_reader_init(&reader, MAX, KEEP);
    CHECK_INT(line_finish(&reader, &line), LINE_MORE);
    line_feed(&reader, "0123456789012345678901234", 25);
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    CHECK_INT(line_finish(&reader, &line), LINE_TOO_LONG);
    CHECK_TEXT(line.text, line.len, "0123");
    CHECK_TEXT(line.tail, line.tail_len, "1234");
    CHECK_INT(line_finish(&reader, &line), LINE_MORE);
    line_feed(&reader, "\r", 1);
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    CHECK_INT(line_finish(&reader, &line), LINE_MORE);
    line_reader_free(&reader);
}

static void test_no_memory(void) {
    line_reader_t reader;
    line_t line;
    line_reader_init(&reader, MAX, KEEP);
    fake_sys_no_memory(true);
    line_feed(&reader, "whole\npart", 10); /* a whole line needs none */
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "whole");
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    fake_sys_no_memory(false);
    line_feed(&reader, " of it\nnext\n", 12);
    CHECK_INT(line_next(&reader, &line), LINE_NO_MEMORY);
    CHECK_INT(line.len, 0);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "next");
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    /* Over-long, without memory for its head and tail. */
    fake_sys_no_memory(true);
    line_feed(&reader, "0123456789012345678901234\nok\n", 29);
    CHECK_INT(line_next(&reader, &line), LINE_NO_MEMORY);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "ok");
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    fake_sys_no_memory(false);
    line_reader_free(&reader);
}

#define CHUNK (64u * 1024)
#define BIG (60u * 1024 * 1024)

static void test_big_line(void) {
    static char chunk[CHUNK];
    line_reader_t reader;
    line_t line;
    memset(chunk, 'x', sizeof chunk);
    line_reader_init(&reader, 64u * 1024 * 1024, 512);
    for (size_t sent = 0; sent < BIG; sent += CHUNK) {
        line_feed(&reader, chunk, CHUNK);
        CHECK_INT(line_next(&reader, &line), LINE_MORE);
    }
    line_feed(&reader, "\n", 1);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_INT(line.len, BIG);
    CHECK(line.text[0] == 'x' && line.text[BIG - 1] == 'x');
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    CHECK(reader.partial.cap <= BUFFER_KEEP); /* the memory is given back */
    line_reader_free(&reader);

    /* The same under a maximum of 1 MiB costs no memory once it is over. */
    line_reader_init(&reader, 1024 * 1024, 512);
    for (size_t sent = 0; sent < BIG; sent += CHUNK) {
        line_feed(&reader, chunk, CHUNK);
        CHECK_INT(line_next(&reader, &line), LINE_MORE);
        CHECK(reader.partial.cap <= (sent + CHUNK > 1024 * 1024 ? 2 * 512 : 1024 * 1024 + 1));
    }
    line_feed(&reader, "end\n", 4);
    CHECK_INT(line_next(&reader, &line), LINE_TOO_LONG);
    CHECK_INT(line.len, 512);
    CHECK_INT(line.tail_len, 512);
    CHECK_TEXT(line.tail + 508, 4, "xend");
    line_reader_free(&reader);
}

static void test_byte_at_a_time(void) {
    line_reader_t reader;
    line_t line;
    line_reader_init(&reader, 1024 * 1024, 512);
    int early = 0;
    for (size_t i = 0; i < 1024 * 1024; i++) {
        line_feed(&reader, "y", 1);
        early += line_next(&reader, &line) != LINE_MORE;
    }
    CHECK_INT(early, 0);
    line_feed(&reader, "\n", 1);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_INT(line.len, 1024 * 1024);
    line_reader_free(&reader);
}

static void test_many_lines(void) {
    static char data[10000 * 7];
    for (int i = 0; i < 10000; i++) memcpy(data + 7 * i, "{\"a\":}\n", 7);
    line_reader_t reader;
    line_t line;
    int lines = 0;
    line_reader_init(&reader, 1024, 512);
    line_feed(&reader, data, sizeof data);
    while (line_next(&reader, &line) == LINE_READY) lines += line.len == 6;
    CHECK_INT(lines, 10000);
    CHECK_INT(fake_sys_live_allocations(), 0);
    line_reader_free(&reader);
}

/* Between two lines of one chunk the maximum grows. */
static void test_extend(void) {
    static const char data[] = "hello\nthis is a line of 27 bytes\nthis is";
    line_reader_t reader;
    line_t line;
    line_reader_init(&reader, MAX, KEEP);
    line_feed(&reader, "hel", 3);
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    line_feed(&reader, data + 3, sizeof data - 4);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    line_reader_extend(&reader, 2 * MAX);
    CHECK_TEXT(line.text, line.len, "hello");
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "this is a line of 27 bytes");
    CHECK_INT(line_next(&reader, &line), LINE_MORE);
    line_feed(&reader, data + 13, 20);
    CHECK_INT(line_next(&reader, &line), LINE_READY);
    CHECK_TEXT(line.text, line.len, "this is a line of 27 bytes");
    line_reader_free(&reader);
}

int main(void) {
    fake_sys_begin();
    test_splits();
    test_lengths();
    test_random();
    test_in_place();
    test_finish();
    test_no_memory();
    test_big_line();
    test_byte_at_a_time();
    test_many_lines();
    test_extend();
    fake_sys_end();
    return check_result();
}
