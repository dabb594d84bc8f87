/* test_json_read.c - walking, decoding and comparing validated text. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "guarded.h"
#include "json_read.h"
#include "json_scan.h"

static json_span_t span(const char *text) {
    return (json_span_t){guarded(text, strlen(text)), strlen(text)};
}

/* All keys and values, with bars between them. */
static const char *walk(const char *text) {
    static char out[512];
    json_span_t container = span(text), key, value;
    size_t at = 0;
    char *to = out;
    *to = '\0';
    while (json_next(container, &at, &key, &value))
        to += sprintf(to, "%.*s=%.*s|", (int)key.len, key.text, (int)value.len, value.text);
    return out;
}

static void test_next(void) {
    CHECK_STR(walk("{}"), "");
    CHECK_STR(walk(" [ ] "), "");
    CHECK_STR(walk("{\"a\":1,\"b\":[2,{\"c\":\"}\"}],\"d\":{}}"), "\"a\"=1|\"b\"=[2,{\"c\":\"}\"}]|\"d\"={}|");
    CHECK_STR(walk(" { \"a\" : -1.5 ,\t\"b\\\"\" : \"x,\\\"y\\\\\" , \"\" : null } "),
              "\"a\"=-1.5|\"b\\\"\"=\"x,\\\"y\\\\\"|\"\"=null|");
    CHECK_STR(walk("[1, true,\n[],[[2]] , \"]\"]"), "=1|=true|=[]|=[[2]]|=\"]\"|");
}

static void test_get(void) {
    json_span_t value, object = span("{\"a\":{\"b\":1},\"\\u0062\":2,\"a\":3}");
    CHECK(json_get(object, "b", &value));
    CHECK_TEXT(value.text, value.len, "2");
    CHECK(json_get(object, "a", &value));
    CHECK_TEXT(value.text, value.len, "{\"b\":1}");
    CHECK(!json_get(object, "c", &value));
}

static void test_decode(void) {
    static const struct {
        const char *json, *expected;
        size_t len;
    } cases[] = {
        {"\"\"", "", 0},
        {"\"plain\"", "plain", 5},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xC3\xA9\xE2\x82\xAC", 6},
        {"\"\\uD83D\\uDE00\"", "\xF0\x9F\x98\x80", 4},
        {"\"\\udbff\\udfff\"", "\xF4\x8F\xBF\xBF", 4},
        {"\"\\uD83D\"", "\xEF\xBF\xBD", 3},
        {"\"\\uD83Dx\"", "\xEF\xBF\xBDx", 4},
        {"\"\\uDE00\\uD83D\"", "\xEF\xBF\xBD\xEF\xBF\xBD", 6},
        {"\"\\uD83D\\u0041\"", "\xEF\xBF\xBD" "A", 4},
        {"\"\\uD83D\\uD83D\\uDE00\"", "\xEF\xBF\xBD\xF0\x9F\x98\x80", 7},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\xE2\x80\xA8\"", "\xE2\x80\xA8", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_span_t string = span(cases[i].json);
        char out[64];
        CHECK_INT(json_string_decode(string, out), cases[i].len);
        CHECK(memcmp(out, cases[i].expected, cases[i].len) == 0);
        CHECK(cases[i].len <= string.len);
        CHECK(json_string_equals(string, cases[i].expected, cases[i].len));
        CHECK(!json_string_equals(string, "plaim", 5));
        for (size_t shorter = 0; shorter < cases[i].len; shorter++)
            CHECK(!json_string_equals(string, cases[i].expected, shorter));
    }
}

static void test_equals(void) {
    CHECK(json_string_equals(span("\"i\\u0064\""), "id", 2));
    CHECK(!json_string_equals(span("\"id \""), "id", 2));
    CHECK(!json_string_equals(span("\"\\u0069\""), "\\u0069", 6)); /* decoded, not as written */
    CHECK(!json_string_equals(span("id"), "id", 2));
    CHECK(!json_string_equals(span("12"), "", 0));
    CHECK(!json_string_equals(span("\""), "", 0));
}

static void test_hash(void) {
    CHECK(json_string_hash(span("\"\"")) == 0xCBF29CE484222325u); /* values of the FNV reference */
    CHECK(json_string_hash(span("\"foobar\"")) == 0x85944171F73967E8u);
    CHECK(json_string_hash(span("\"a\xC3\xA9/\"")) == json_string_hash(span("\"\\u0061\\u00e9\\/\"")));
    CHECK(json_string_hash(span("\"a\"")) != json_string_hash(span("\"b\"")));
}

static void test_integer(void) {
    static const struct {
        const char *json;
        bool fits;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-42", true, -42},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775807", true, -INT64_MAX},
        {"9223372036854775808", false, 0},
        {"18446744073709551617", false, 0},
        {"100000000000000000000000", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
        {"null", false, 0},
        {"-", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 0;
        if (!CHECK_INT(json_integer(span(cases[i].json), &value), cases[i].fits)) fprintf(stderr, "  of: %s\n", cases[i].json);
        if (cases[i].fits) CHECK_INT(value, cases[i].value);
    }
}

int main(void) {
    test_next();
    test_get();
    test_decode();
    test_equals();
    test_hash();
    test_integer();
    return check_result();
}
