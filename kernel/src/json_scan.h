/*
 * json_scan.h - the validating scanner: one pass over one JSON object that checks it
 * in full (RFC 8259, UTF-8, nesting) and notes where the envelope fields stand.
 *
 * Allocates nothing, copies nothing, builds no tree.  What a field means is not
 * decided here.  Reading values out of validated text: json_read.h.
 */
#ifndef STDIO_BUS_JSON_SCAN_H
#define STDIO_BUS_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 512
#define JSON_MAX_LENGTH UINT32_MAX /* offsets are 32 bits */

/* name, scope (the object it is a member of; those of one stand together), spelling */
#define SCAN_FIELDS(X)                                                             \
    X(FIELD_JSONRPC, SCOPE_TOP, "jsonrpc")                                         \
    X(FIELD_ID, SCOPE_TOP, "id")                                                   \
    X(FIELD_METHOD, SCOPE_TOP, "method")                                           \
    X(FIELD_PARAMS, SCOPE_TOP, "params")                                           \
    X(FIELD_RESULT, SCOPE_TOP, "result")                                           \
    X(FIELD_ERROR, SCOPE_TOP, "error")                                             \
    X(FIELD_POOL, SCOPE_TOP, "pool")                                               \
    X(FIELD_SESSION_ID, SCOPE_TOP, "sessionId")                                    \
    X(FIELD_AGENT_ID, SCOPE_TOP, "agentId")                                        \
    X(FIELD_EXT, SCOPE_TOP, "_ext")                                                \
    X(FIELD_PARAMS_ID, SCOPE_PARAMS, "id")                                         \
    X(FIELD_PARAMS_REQUEST_ID, SCOPE_PARAMS, "requestId")                          \
    X(FIELD_PARAMS_SESSION_ID, SCOPE_PARAMS, "sessionId")                          \
    X(FIELD_PARAMS_PROGRESS_TOKEN, SCOPE_PARAMS, "progressToken")                  \
    X(FIELD_PARAMS_META, SCOPE_PARAMS, "_meta")                                    \
    X(FIELD_PARAMS_REQUEST_STATE, SCOPE_PARAMS, "requestState")                    \
    X(FIELD_META_PROGRESS_TOKEN, SCOPE_META, "progressToken")                      \
    X(FIELD_META_SUBSCRIPTION_ID, SCOPE_META, "io.modelcontextprotocol/subscriptionId") \
    X(FIELD_RESULT_SESSION_ID, SCOPE_RESULT, "sessionId")                          \
    X(FIELD_RESULT_REQUEST_STATE, SCOPE_RESULT, "requestState")                    \
    X(FIELD_RESULT_META, SCOPE_RESULT, "_meta")                                    \
    X(FIELD_RESULT_SUBSCRIPTION_ID, SCOPE_RESULT_META, "io.modelcontextprotocol/subscriptionId")

typedef enum scan_field {
#define X(name, scope, spelling) name,
    SCAN_FIELDS(X)
#undef X
    SCAN_FIELD_COUNT
} scan_field_t;

/* Offsets into the scanned text.  A field that is absent has end == 0. */
typedef struct scan_value {
    uint32_t key;   /* of the key's opening quote */
    uint32_t start; /* of the value's first byte */
    uint32_t end;   /* behind the value's last byte */
} scan_value_t;

typedef enum scan_status {
    SCAN_OK,
    SCAN_NOT_JSON,   /* a syntax error, bad UTF-8, or not exactly one value */
    SCAN_TOO_DEEP,   /* nesting beyond JSON_MAX_DEPTH */
    SCAN_NOT_OBJECT, /* valid, but no object: a batch, a number, ... */
    SCAN_DUPLICATE   /* an envelope field stands twice */
} scan_status_t;

typedef struct scan {
    const char *text; /* borrowed from the caller */
    size_t error_at;  /* offset of the fault, unless SCAN_OK */
    const char *error; /* what is wrong there, static */
    /* The first top-level key that SCAN_FIELDS does not list, [key, end) with its quotes;
     * end == 0 when there is none. */
    scan_value_t unknown;
    scan_value_t field[SCAN_FIELD_COUNT];
} scan_t;

/* Scans `len` bytes.  When the result is not SCAN_OK, fields before the fault are
 * filled in (a value that the fault cuts off is absent). */
scan_status_t json_scan(const char *text, size_t len, scan_t *out);

static inline bool scan_has(const scan_t *scan, scan_field_t field) {
    return scan->field[field].end != 0;
}

#endif
