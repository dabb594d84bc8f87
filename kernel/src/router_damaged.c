/*
 * router_damaged.c - lines that cannot be read whole, over-long ones and those that are no
 * JSON-RPC: what can still be told of them, and how the request they answer ends.
 */
#include <stdio.h>
#include <string.h>

#include "router_internal.h"

/* Of a line that is not whole at either end, the last member of this name (with its quotes) of
 * the outermost object: behind it nothing but further members may stand before the final brace. */
static bool member_in_tail(const char *tail, size_t len, const char *name, scan_field_t field, json_span_t *value) {
    size_t name_len = strlen(name);
    for (size_t at = len; at-- > 1;) {
        if (len - at <= name_len || memcmp(tail + at, name, name_len) != 0 || tail[at - 1] == '\\') continue;
        char object[CLIENT_LINE_KEEP + 2];
        size_t n = len - at;
        if (n > CLIENT_LINE_KEEP) return false;
        object[0] = '{';
        memcpy(object + 1, tail + at, n);
        scan_t scan;
        if (json_scan(object, n + 1, &scan) != SCAN_OK || !scan_has(&scan, field)) continue;
        const scan_value_t *found = &scan.field[field];
        *value = (json_span_t){tail + at + found->start - 1, found->end - found->start};
        return true;
    }
    return false;
}

/* A member of an over-long line, from its head or its tail. */
static bool find_member(const line_t *line, const char *name, scan_field_t field, json_span_t *value) {
    scan_t scan;
    if (line->len) json_scan(line->text, line->len, &scan);
    if (line->len && scan_has(&scan, field)) {
        *value = message_value(&scan, field);
        return true;
    }
    return line->tail_len && member_in_tail(line->tail, line->tail_len, name, field, value);
}

bool router_find_id(const line_t *line, json_span_t *id) {
    return find_member(line, "\"id\"", FIELD_ID, id);
}

bool router_has_method(const line_t *line) {
    json_span_t method;
    return find_member(line, "\"method\"", FIELD_METHOD, &method);
}

bool router_worker_too_long(router_t *router, target_t *target, const line_t *line) {
    json_span_t id;
    bool found = router_find_id(line, &id);
    if (router_has_method(line)) { /* no answer: no request ends with it */
        router->routing_errors++;
        if (found) router_refuse_worker(router, target, id, RPC_INVALID_REQUEST, "the request is too long");
        return true;
    }
    if (!found) return false;
    pending_t *call = router_find_answered(router, target, id);
    if (!call || call->abandoned) router->routing_errors++;
    if (!call) return true;
    if (call->kind == PENDING_HANDSHAKE) return false;
    char message[128];
    snprintf(message, sizeof message, "the worker's answer is longer than %zu bytes (limits.max_input_buffer)",
             router->max_line);
    error_detail_t detail = {.pool = target->pool, .worker_id = target->worker_id};
    router_fail_call(router, call, RPC_ANSWER_TOO_LONG, &detail, message);
    router_dispatch_target(router, target);
    return true;
}

/* Whether the text has begun a member of this name. */
static bool begins(const scan_t *scan, scan_field_t field) {
    return scan->field[field].key || scan_has(scan, field);
}

void router_worker_damaged(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    size_t tail = len < CLIENT_LINE_KEEP ? len : CLIENT_LINE_KEEP;
    const char *end = scan->text + len - tail;
    json_span_t id, method;
    bool answers = begins(scan, FIELD_RESULT) || begins(scan, FIELD_ERROR) || scan_has(scan, FIELD_JSONRPC);
    if (!answers || begins(scan, FIELD_METHOD)) return; /* a log may have ids of its own */
    if (scan_has(scan, FIELD_ID)) id = message_value(scan, FIELD_ID);
    else if (!member_in_tail(end, tail, "\"id\"", FIELD_ID, &id) ||
             member_in_tail(end, tail, "\"method\"", FIELD_METHOD, &method))
        return;
    pending_t *call = router_find_answered(router, target, id);
    if (!call) return;
    char message[256];
    if (call->kind == PENDING_HANDSHAKE) {
        pending_release(&router->pendings, call);
        snprintf(message, sizeof message, "its answer to the handshake is no JSON-RPC: %s", scan->error);
        router->ops.handshake_done(router->context, target, message);
        return;
    }
    snprintf(message, sizeof message, "the worker's answer is no JSON-RPC: %s (at byte %zu)", scan->error,
             scan->error_at);
    error_detail_t detail = {.pool = target->pool, .worker_id = target->worker_id};
    router_fail_call(router, call, RPC_ANSWER_INVALID, &detail, message);
    router_dispatch_target(router, target);
}
