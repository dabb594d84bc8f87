/* test_buffer.c - growth, maximum, consuming, JSON and UTF-8 text; all without memory, too. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "fake_sys.h"
#include "sys.h"

static void test_append_and_consume(void) {
    buffer_t b;
    buffer_init(&b, 10);
    CHECK_INT(b.cap, 0);
    CHECK_TEXT(buffer_bytes(&b), b.len, "");
    CHECK(buffer_append(&b, "abcdef", 6));
    CHECK(!buffer_append(&b, "12345", 5)); /* all or nothing */
    CHECK_TEXT(buffer_bytes(&b), b.len, "abcdef");
    buffer_consume(&b, 4);
    CHECK(buffer_puts(&b, "12345678"));
    CHECK_TEXT(buffer_bytes(&b), b.len, "ef12345678");
    CHECK(!buffer_append(&b, "x", 1));
    CHECK(!buffer_reserve(&b, SIZE_MAX));
    buffer_truncate(&b, 2);
    CHECK_TEXT(buffer_bytes(&b), b.len, "ef");
    CHECK(b.cap <= 10);
    buffer_free(&b);
    CHECK(buffer_append(&b, "again", 5));
    buffer_free(&b);
}

/* An emptied buffer keeps little, a small one keeps its memory. */
static void test_memory_kept(void) {
    static char block[100000];
    buffer_t b;
    buffer_init(&b, sizeof block);
    memset(block, 'x', sizeof block);
    CHECK(buffer_append(&b, block, sizeof block));
    buffer_consume(&b, 1);
    CHECK(b.cap >= sizeof block);
    buffer_consume(&b, sizeof block - 1);
    CHECK(b.cap <= BUFFER_KEEP);
    CHECK_INT(fake_sys_live_allocations(), 0);
    CHECK(buffer_append(&b, block, BUFFER_KEEP));
    buffer_consume(&b, BUFFER_KEEP);
    CHECK_INT(b.cap, BUFFER_KEEP);
    buffer_free(&b);
}

/* Against a plain array, with numbers from a fixed seed. */
static void test_model(void) {
    static char model[8192];
    size_t len = 0;
    check_random_t random = {1};
    buffer_t b;
    buffer_init(&b, 6000);
    int differences = 0;
    for (int step = 0; step < 20000; step++) {
        size_t n = check_random(&random, 900);
        if (check_random(&random, 2)) {
            char bytes[900];
            for (size_t i = 0; i < n; i++) bytes[i] = (char)check_random(&random, 256);
            bool fits = len + n <= 6000;
            differences += buffer_append(&b, bytes, n) != fits;
            if (fits) memcpy(model + len, bytes, n), len += n;
        } else {
            if (n > len) n = len;
            buffer_consume(&b, n);
            memmove(model, model + n, len - n);
            len -= n;
        }
        differences += b.len != len || memcmp(buffer_bytes(&b), model, len) != 0;
    }
    CHECK_INT(differences, 0);
    buffer_free(&b);
}

static void test_printf(void) {
    static char expected[2001];
    buffer_t b;
    memset(expected, 'y', 2000);
    buffer_init(&b, 2100);
    CHECK(buffer_printf(&b, "%s-%d", "a", 42));
    CHECK_TEXT(buffer_bytes(&b), b.len, "a-42");
    CHECK(buffer_printf(&b, "%s", expected));
    CHECK_INT(b.len, 2004);
    CHECK_TEXT(buffer_bytes(&b) + 4, b.len - 4, expected);
    CHECK(!buffer_printf(&b, "%s", expected));
    CHECK_INT(b.len, 2004);
    buffer_free(&b);
}

static void test_json_string(void) {
    static const char text[] = "a\"b\\c\n\r\t\b\x01/\x7f\xC3\xA9";
    buffer_t b;
    buffer_init(&b, 100);
    CHECK(buffer_json_string(&b, text, sizeof text - 1));
    CHECK_TEXT(buffer_bytes(&b), b.len, "\"a\\\"b\\\\c\\n\\r\\t\\u0008\\u0001/\x7f\xC3\xA9\"");
    buffer_truncate(&b, 0);
    CHECK(buffer_json_string(&b, "\0", 1));
    CHECK_TEXT(buffer_bytes(&b), b.len, "\"\\u0000\"");
    buffer_free(&b);
    for (size_t max = 0; max < 9; max++) { /* nothing is left of a string that does not fit */
        buffer_init(&b, max);
        CHECK_INT(buffer_json_string(&b, "ab\nc", 4), max >= 7);
        CHECK_INT(b.len, max >= 7 ? 7 : 0);
        buffer_free(&b);
    }
}

static void test_text(void) {
    static const struct {
        const char *text;
        size_t len;
        const char *expected;
    } cases[] = {
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"a\0b", 3, "a\xEF\xBF\xBD" "b"},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"\xFFx\xC3", 3, "\xEF\xBF\xBDx\xEF\xBF\xBD"},
        {"\xE2\x82", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buffer_t b;
        buffer_init(&b, 64);
        CHECK(buffer_text(&b, cases[i].text, cases[i].len));
        CHECK_TEXT(buffer_bytes(&b), b.len, cases[i].expected);
        buffer_free(&b);
        buffer_init(&b, 2);
        if (strlen(cases[i].expected) > 2) {
            CHECK(!buffer_text(&b, cases[i].text, cases[i].len));
            CHECK_INT(b.len, 0);
        }
        buffer_free(&b);
    }
}

static void test_no_memory(void) {
    buffer_t b;
    buffer_init(&b, 100000);
    fake_sys_no_memory(true);
    CHECK(!buffer_append(&b, "a", 1));
    CHECK(!buffer_printf(&b, "%d", 1));
    CHECK(!buffer_printf(&b, "%1000d", 1));
    CHECK(!buffer_json_string(&b, "a", 1));
    CHECK(!buffer_text(&b, "a", 1));
    CHECK(buffer_strdup("a", 1) == NULL);
    CHECK(buffer_append(&b, "", 0));
    fake_sys_no_memory(false);
    CHECK(buffer_puts(&b, "kept"));
    fake_sys_no_memory(true);
    CHECK(!buffer_reserve(&b, 5000));
    fake_sys_no_memory(false);
    CHECK_TEXT(buffer_bytes(&b), b.len, "kept");
    buffer_free(&b);
}

static void test_strdup(void) {
    char *copy = buffer_strdup("abcdef", 3);
    CHECK_STR(copy, "abc");
    sys_free(copy);
}

int main(void) {
    fake_sys_begin();
    test_append_and_consume();
    test_memory_kept();
    test_model();
    test_printf();
    test_json_string();
    test_text();
    test_no_memory();
    test_strdup();
    fake_sys_end();
    return check_result();
}
