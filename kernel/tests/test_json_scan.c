/* test_json_scan.c - verdicts, places of faults and fields; every text ends at a page
 * that cannot be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "guarded.h"
#include "json_scan.h"
#include "message.h"

static scan_t scan; /* of the text scanned last */

static scan_status_t run(const char *text) {
    return json_scan(guarded(text, strlen(text)), strlen(text), &scan);
}

static void check_field(int line, scan_field_t field, const char *expected) {
    json_span_t value = message_value(&scan, field);
    check_text(__FILE__, line, "the field", value.text, scan_has(&scan, field) ? value.len : 0, expected);
}
#define CHECK_FIELD(field, expected) check_field(__LINE__, field, expected)

static void test_faults(void) {
    static const struct {
        const char *text;
        scan_status_t status;
        size_t at;
        const char *error;
    } cases[] = {
        {"", SCAN_NOT_JSON, 0, "the text ends too early"},
        {" \t\r\n", SCAN_NOT_JSON, 4, "the text ends too early"},
        {"{", SCAN_NOT_JSON, 1, "the text ends too early"},
        {"{}", SCAN_OK, 0, NULL},
        {" {} ", SCAN_OK, 0, NULL},
        {"{}x", SCAN_NOT_JSON, 2, "something follows the JSON value"},
        {"{}{}", SCAN_NOT_JSON, 2, "something follows the JSON value"},
        {"{a:1}", SCAN_NOT_JSON, 1, "expected a key in double quotes"},
        {"{,}", SCAN_NOT_JSON, 1, "expected a key in double quotes"},
        {"{\"a\":1,}", SCAN_NOT_JSON, 7, "expected a key in double quotes"},
        {"{\"a\"}", SCAN_NOT_JSON, 4, "expected a colon"},
        {"{\"a\" 1}", SCAN_NOT_JSON, 5, "expected a colon"},
        {"{\"a\":}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":1 2}", SCAN_NOT_JSON, 7, "expected a comma or the end of the value"},
        {"{\"a\":[1}", SCAN_NOT_JSON, 7, "expected a comma or the end of the value"},
        {"{\"a\":[1,]}", SCAN_NOT_JSON, 8, "unexpected character"},
        {"{\"a\":{\"b\":1]}", SCAN_NOT_JSON, 11, "expected a comma or the end of the value"},
        {"{\"a\":tru}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":True}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":nulll}", SCAN_NOT_JSON, 9, "expected a comma or the end of the value"},
        {"{\"a\":NaN}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":01}", SCAN_NOT_JSON, 6, "expected a comma or the end of the value"},
        {"{\"a\":-}", SCAN_NOT_JSON, 6, "a number is malformed"},
        {"{\"a\":1.}", SCAN_NOT_JSON, 7, "a number is malformed"},
        {"{\"a\":.5}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":1e}", SCAN_NOT_JSON, 7, "a number is malformed"},
        {"{\"a\":1e+}", SCAN_NOT_JSON, 8, "a number is malformed"},
        {"{\"a\":+1}", SCAN_NOT_JSON, 5, "unexpected character"},
        {"{\"a\":[0,-0,0.5,-1.25e+10,1E-3,10]}", SCAN_OK, 0, NULL},
        {"{\"a\":\"x}", SCAN_NOT_JSON, 8, "the text ends inside a string"},
        {"{\"a\":\"x\\", SCAN_NOT_JSON, 7, "the text ends inside a string"},
        {"{\"a\":\"\\q\"}", SCAN_NOT_JSON, 6, "unknown escape in a string"},
        {"{\"a\":\"\\u12g4\"}", SCAN_NOT_JSON, 6, "\\u needs four hexadecimal digits"},
        {"{\"a\":\"\\u12", SCAN_NOT_JSON, 6, "\\u needs four hexadecimal digits"},
        {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"}", SCAN_OK, 0, NULL},
        {"{\"a\":\"\n\"}", SCAN_NOT_JSON, 6, "a control character inside a string"},
        {"{\"a\":\"\x7f\"}", SCAN_OK, 0, NULL},
        {"{\"a\":\"\xFF\"}", SCAN_NOT_JSON, 6, "a string is not valid UTF-8"},
        {"{\"a\":\"\xC0\x80\"}", SCAN_NOT_JSON, 6, "a string is not valid UTF-8"},
        {"{\"a\":\"\xED\xA0\x80\"}", SCAN_NOT_JSON, 6, "a string is not valid UTF-8"},
        {"{\"a\":\"x\xE2\x82", SCAN_NOT_JSON, 7, "a string is not valid UTF-8"},
        {"{\"\xE2\x80\xA8\":\"\xE2\x80\xA9\"}", SCAN_OK, 0, NULL},
        {"\xEF\xBB\xBF{}", SCAN_NOT_JSON, 0, "unexpected character"},
        {"[]", SCAN_NOT_OBJECT, 0, "a message must be one JSON object"},
        {"  [{\"id\":1}]", SCAN_NOT_OBJECT, 2, "a message must be one JSON object"},
        {"12", SCAN_NOT_OBJECT, 0, "a message must be one JSON object"},
        {"\"x\"", SCAN_NOT_OBJECT, 0, "a message must be one JSON object"},
        {"null", SCAN_NOT_OBJECT, 0, "a message must be one JSON object"},
        {"[1", SCAN_NOT_JSON, 2, "the text ends too early"},
        {"{\"id\":1,\"id\":2}", SCAN_DUPLICATE, 8, "an envelope field stands twice"},
        {"{\"id\":1,\"\\u0069d\":2}", SCAN_DUPLICATE, 8, "an envelope field stands twice"},
        {"{\"a\":1,\"a\":2}", SCAN_OK, 0, NULL},
        {"{\"params\":{\"_meta\":{\"progressToken\":1,\"progressToken\":2}}}", SCAN_DUPLICATE, 38,
         "an envelope field stands twice"},
        {"{\"params\":{\"x\":{\"id\":1,\"id\":2}}}", SCAN_OK, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scan_status_t status = run(cases[i].text);
        if (!CHECK_INT(status, cases[i].status)) fprintf(stderr, "  of: %s\n", cases[i].text);
        CHECK_INT(scan.error_at, cases[i].status == SCAN_OK ? scan.error_at : cases[i].at);
        if (cases[i].status != SCAN_OK) CHECK_STR(scan.error, cases[i].error);
    }
}

static void test_fields(void) {
    CHECK_INT(run("{\"jsonrpc\":\"2.0\" , \"id\" : -1.5e3,\"method\":\"m\",\"params\":{\"id\":7,\"requestId\":\"r\","
                  "\"progressToken\":8,\"sessionId\":\"s\",\"_meta\":{\"progressToken\":\"t\",\"id\":9}},\"pool\":\"p\",\"sessionId\":null,"
                  "\"agentId\":[1,2],\"_ext\":{\"id\":1}}"),
              SCAN_OK);
    CHECK_FIELD(FIELD_JSONRPC, "\"2.0\"");
    CHECK_FIELD(FIELD_ID, "-1.5e3");
    CHECK_FIELD(FIELD_METHOD, "\"m\"");
    CHECK_FIELD(FIELD_PARAMS_ID, "7");
    CHECK_FIELD(FIELD_PARAMS_REQUEST_ID, "\"r\"");
    CHECK_FIELD(FIELD_PARAMS_PROGRESS_TOKEN, "8");
    CHECK_FIELD(FIELD_PARAMS_SESSION_ID, "\"s\"");
    CHECK_FIELD(FIELD_PARAMS_META, "{\"progressToken\":\"t\",\"id\":9}");
    CHECK_FIELD(FIELD_META_PROGRESS_TOKEN, "\"t\"");
    CHECK_FIELD(FIELD_POOL, "\"p\"");
    CHECK_FIELD(FIELD_SESSION_ID, "null");
    CHECK_FIELD(FIELD_AGENT_ID, "[1,2]");
    CHECK_FIELD(FIELD_EXT, "{\"id\":1}");
    CHECK(!scan_has(&scan, FIELD_RESULT) && !scan_has(&scan, FIELD_ERROR));
    CHECK_INT(scan.unknown.end, 0);
    CHECK_INT(scan.text[scan.field[FIELD_POOL].key], '"');

    CHECK_INT(run("{\"\\u0069d\":5,\"m\\u0065thod\":\"x\",\"\\u0049d\":6}"), SCAN_OK);
    CHECK_FIELD(FIELD_ID, "5");
    CHECK_FIELD(FIELD_METHOD, "\"x\"");
    CHECK_TEXT(scan.text + scan.unknown.key, scan.unknown.end - scan.unknown.key, "\"\\u0049d\"");

    CHECK_INT(run("{\"result\":{\"id\":1,\"_meta\":{\"progressToken\":2}},\"error\":[{\"id\":3}]}"), SCAN_OK);
    CHECK(!scan_has(&scan, FIELD_ID) && !scan_has(&scan, FIELD_META_PROGRESS_TOKEN));
    CHECK(!scan_has(&scan, FIELD_PARAMS_ID));

    CHECK_INT(run("{\"result\":{\"a\":{\"sessionId\":1},\"sessionId\":\"s\"},\"error\":{\"sessionId\":2}}"), SCAN_OK);
    CHECK_FIELD(FIELD_RESULT_SESSION_ID, "\"s\"");
    CHECK(!scan_has(&scan, FIELD_SESSION_ID) && !scan_has(&scan, FIELD_PARAMS_SESSION_ID));

    CHECK_INT(run("{\"result\":{\"requestState\":\"r\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":1}},"
                  "\"params\":{\"requestState\":\"p\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":2}}}"),
              SCAN_OK);
    CHECK_FIELD(FIELD_RESULT_REQUEST_STATE, "\"r\"");
    CHECK_FIELD(FIELD_RESULT_SUBSCRIPTION_ID, "1");
    CHECK_FIELD(FIELD_PARAMS_REQUEST_STATE, "\"p\"");
    CHECK_FIELD(FIELD_META_SUBSCRIPTION_ID, "2");

    CHECK_INT(run("{\"params\":[{\"id\":1}],\"x\":{\"params\":{\"id\":1}},\"y\":1}"), SCAN_OK);
    CHECK(!scan_has(&scan, FIELD_PARAMS_ID));
    CHECK_TEXT(scan.text + scan.unknown.key, scan.unknown.end - scan.unknown.key, "\"x\"");

    /* A field behind objects nested deeper than any field. */
    CHECK_INT(run("{\"params\":{\"_meta\":{\"a\":{\"b\":[{\"c\":{}}]},\"progressToken\":4},\"id\":5},\"id\":6}"), SCAN_OK);
    CHECK_FIELD(FIELD_META_PROGRESS_TOKEN, "4");
    CHECK_FIELD(FIELD_PARAMS_ID, "5");
    CHECK_FIELD(FIELD_ID, "6");
}

/* "Fields before the fault are filled in (a value that the fault cuts off is absent)." */
static void test_fields_before_a_fault(void) {
    CHECK_INT(run("{\"id\":12,\"method\":\"m\",}"), SCAN_NOT_JSON);
    CHECK_FIELD(FIELD_ID, "12");
    CHECK_FIELD(FIELD_METHOD, "\"m\"");
    static const char *const cut[] = {"{\"id\":12", "{\"id\":1.5e3", "{\"id\":\"1", "{\"id\":tru", "{\"id\":[1", "{\"id\":{"};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        CHECK_INT(run(cut[i]), SCAN_NOT_JSON);
        if (!CHECK(!scan_has(&scan, FIELD_ID))) fprintf(stderr, "  of: %s\n", cut[i]);
    }
    CHECK_INT(run("{\"id\":12 "), SCAN_NOT_JSON);
    CHECK_FIELD(FIELD_ID, "12");
}

static scan_status_t run_nested(size_t depth, const char *open, const char *close, const char *end) {
    size_t size = depth * (strlen(open) + strlen(close)) + strlen(end) + 16;
    char *text = malloc(size), *to = text;
    to += sprintf(to, "{\"v\":");
    for (size_t i = 1; i < depth; i++) to += sprintf(to, "%s", open);
    to += sprintf(to, "%s", end);
    for (size_t i = 1; i < depth; i++) to += sprintf(to, "%s", close);
    to += sprintf(to, "}");
    scan_status_t status = run(text);
    free(text);
    return status;
}

static void test_depth(void) {
    CHECK_INT(run_nested(512, "[", "]", "1"), SCAN_OK);
    CHECK_INT(run_nested(513, "[", "]", "1"), SCAN_TOO_DEEP);
    CHECK_INT(scan.error_at, 5 + 511);
    CHECK_INT(run_nested(512, "{\"a\":", "}", "1"), SCAN_OK);
    CHECK_INT(run_nested(513, "{\"a\":", "}", "1"), SCAN_TOO_DEEP);
    CHECK_INT(scan.error_at, 5 * 512);
    /* What is an object and what an array is known at every depth. */
    for (size_t pairs = 1; pairs <= 255; pairs++) {
        CHECK_INT(run_nested(1 + pairs, "[{\"a\":", "}]", "1"), SCAN_OK);
        CHECK_INT(run_nested(1 + pairs, "[{\"a\":", "}]", "1]"), SCAN_NOT_JSON);
        CHECK_INT(run_nested(1 + pairs, "{\"a\":[", "]}", "1}"), SCAN_NOT_JSON);
    }
}

static const char FULL[] =
    " {\"jsonrpc\":\"2.0\",\"id\":\"\\u00e9-1\",\"method\":\"tools/call\",\"params\":{\"a\":[1,-2.5e+7,true,false,null,"
    "{}],\"text\":\"\xE2\x80\xA8 \xF0\x9F\x98\x80 \\uD83D\\uDE00 and some more plain text\",\"_meta\":"
    "{\"progressToken\":123}}}";

static void test_prefixes(void) {
    for (size_t len = 0; len < sizeof FULL - 1; len++) {
        scan_status_t status = json_scan(guarded(FULL, len), len, &scan);
        if (!CHECK_INT(status, SCAN_NOT_JSON)) fprintf(stderr, "  of %zu bytes\n", len);
        CHECK(scan.error_at <= len);
    }
    CHECK_INT(run(FULL), SCAN_OK);
}

/* Eight bytes at a time must see what one at a time sees: every byte at every place. */
static void test_every_byte_in_a_string(void) {
    int differences = 0;
    for (size_t len = 1; len <= 17; len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned byte = 0; byte < 256; byte++)
                for (unsigned fill = 0x20; fill < 0x80; fill += 0x5F) {
                    char text[32] = "{\"a\":\"";
                    memset(text + 6, (int)fill, len);
                    text[6 + at] = (char)byte;
                    memcpy(text + 6 + len, "\"}", 3);
                    bool good = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
                    scan_status_t status = json_scan(guarded(text, len + 8), len + 8, &scan);
                    differences += (status == SCAN_OK) != good;
                }
    CHECK_INT(differences, 0);
}

/* Changed bytes: any verdict will do, but no harm, and offsets inside the text. */
static void test_mutations(void) {
    check_random_t random = {7};
    int outside = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof FULL];
        memcpy(text, FULL, sizeof text);
        for (unsigned i = 0, n = 1 + check_random(&random, 3); i < n; i++)
            text[check_random(&random, sizeof FULL - 1)] = "{}[]\",:\\u0e-+. \x80\xFF\n"[check_random(&random, 19)];
        size_t len = sizeof FULL - 1;
        json_scan(guarded(text, len), len, &scan);
        outside += scan.error_at > len;
        for (int f = 0; f < SCAN_FIELD_COUNT; f++)
            outside += scan.field[f].end > len || (scan.field[f].end && scan.field[f].start >= scan.field[f].end);
    }
    CHECK_INT(outside, 0);
}

int main(void) {
    test_faults();
    test_fields();
    test_fields_before_a_fault();
    test_depth();
    test_prefixes();
    test_every_byte_in_a_string();
    test_mutations();
    return check_result();
}
