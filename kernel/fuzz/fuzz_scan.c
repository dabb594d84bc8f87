/* fuzz_scan.c - what the scanner says does not depend on what follows the text, and an
 * accepted message that is edited as the router edits it is accepted again.  The input is
 * the text. */
#include "fuzz.h"
#include "json_read.h"
#include "json_scan.h"
#include "message.h"

static const scan_field_t ROUTING[] = {FIELD_POOL, FIELD_SESSION_ID, FIELD_AGENT_ID, FIELD_EXT};
#define ROUTING_COUNT (sizeof ROUTING / sizeof *ROUTING)

static const char FOLLOWING[] = "0\"}]e1,\\u0000\xE2";
static const char ID[] = "12345", MEMBERS[] = "\"pool\":\"p\",", SUFFIX[] = "#1";

static void check_alone(const char *text, size_t len, scan_status_t status, const scan_t *scan) {
    scan_t again;
    char *longer = malloc(len + sizeof FOLLOWING);
    HOLDS(longer != NULL);
    memcpy(longer, text, len);
    memcpy(longer + len, FOLLOWING, sizeof FOLLOWING);
    HOLDS(json_scan(longer, len, &again) == status);
    HOLDS(again.error_at == scan->error_at);
    HOLDS(memcmp(&again.unknown, &scan->unknown, sizeof scan->unknown) == 0);
    HOLDS(memcmp(again.field, scan->field, sizeof scan->field) == 0);
    free(longer);
}

static bool same_span(json_span_t a, json_span_t b) {
    return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

static bool is_routing(scan_field_t field) {
    for (size_t i = 0; i < ROUTING_COUNT; i++)
        if (ROUTING[i] == field) return true;
    return false;
}

/* The edited text, which must be accepted; the caller frees out->text. */
static void scan_edited(const message_t *message, scan_t *out) {
    piece_t pieces[MESSAGE_MAX_PIECES];
    size_t count = message_pieces(message, pieces), len = 0;
    HOLDS(count <= MESSAGE_MAX_PIECES);
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    char *text = malloc(len ? len : 1), *to = text;
    HOLDS(text != NULL);
    for (size_t i = 0; i < count; i++) {
        memcpy(to, pieces[i].text, pieces[i].len);
        to += pieces[i].len;
    }
    HOLDS(json_scan(text, len, out) == SCAN_OK);
}

/* To a strict worker: without routing fields, with an id of the bus. */
static void check_clean(const scan_t *scan, size_t len) {
    message_t message;
    scan_t clean;
    message_init(&message, scan, len);
    message_remove(&message, ROUTING, ROUTING_COUNT);
    if (scan_has(scan, FIELD_ID)) message_replace(&message, FIELD_ID, ID, sizeof ID - 1);
    scan_edited(&message, &clean);
    for (scan_field_t field = 0; field < SCAN_FIELD_COUNT; field++) {
        HOLDS(scan_has(&clean, field) == (scan_has(scan, field) && !is_routing(field)));
        if (!scan_has(&clean, field)) continue;
        json_span_t expected = field == FIELD_ID ? (json_span_t){ID, sizeof ID - 1} : message_value(scan, field);
        HOLDS(same_span(message_value(&clean, field), expected));
    }
    free((char *)clean.text);
}

/* Back to the client: its routing fields in place of the worker's. */
static void check_put_back(const scan_t *scan, size_t len) {
    message_t message;
    scan_t restored;
    message_init(&message, scan, len);
    message_replace(&message, FIELD_ID, ID, sizeof ID - 1);
    message_insert(&message, MEMBERS, sizeof MEMBERS - 1);
    message_remove(&message, ROUTING, ROUTING_COUNT);
    scan_edited(&message, &restored);
    HOLDS(same_span(message_value(&restored, FIELD_POOL), (json_span_t){"\"p\"", 3}));
    HOLDS(same_span(message_value(&restored, FIELD_ID), (json_span_t){ID, sizeof ID - 1}));
    free((char *)restored.text);
}

/* A session's name on its worker, and back. */
static void check_suffix(const scan_t *scan, size_t len) {
    message_t message;
    scan_t longer, shorter;
    json_span_t name = message_value(scan, FIELD_SESSION_ID);
    message_init(&message, scan, len);
    message_change_ending(&message, FIELD_SESSION_ID, 0, SUFFIX, sizeof SUFFIX - 1);
    scan_edited(&message, &longer);
    HOLDS(message_value(&longer, FIELD_SESSION_ID).len == name.len + sizeof SUFFIX - 1);
    message_init(&message, &longer, len + sizeof SUFFIX - 1);
    message_change_ending(&message, FIELD_SESSION_ID, sizeof SUFFIX - 1, NULL, 0);
    scan_edited(&message, &shorter);
    HOLDS(memcmp(shorter.text, scan->text, len) == 0);
    free((char *)longer.text);
    free((char *)shorter.text);
}

/* Two ways to the same value. */
static void check_read(const scan_t *scan, size_t len) {
    json_span_t key, value, got;
    size_t at = 0;
    json_span_t object = {scan->text, len};
    HOLDS(json_get(object, "id", &got) == scan_has(scan, FIELD_ID));
    if (scan_has(scan, FIELD_ID)) HOLDS(same_span(got, message_value(scan, FIELD_ID)));
    while (json_next(object, &at, &key, &value)) {
        HOLDS(key.len >= 2 && value.len > 0 && value.text + value.len <= scan->text + len);
        char *decoded = malloc(key.len);
        HOLDS(decoded && json_string_equals(key, decoded, json_string_decode(key, decoded)));
        free(decoded);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    scan_t scan;
    char *text = fuzz_copy(data, size);
    scan_status_t status = json_scan(text, size, &scan);
    check_alone(text, size, status, &scan);
    if (status == SCAN_OK) {
        check_read(&scan, size);
        check_clean(&scan, size);
        if (scan_has(&scan, FIELD_ID)) check_put_back(&scan, size);
        if (scan_has(&scan, FIELD_SESSION_ID) && *message_value(&scan, FIELD_SESSION_ID).text == '"')
            check_suffix(&scan, size);
    } else {
        HOLDS(scan.error && scan.error_at <= size);
    }
    free(text);
    return 0;
}
