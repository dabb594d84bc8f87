/*
 * router_control.c - what clients ask of the bus itself: the methods of stdio_bus/, and
 * withdrawing a request.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router_inbound.h"
#include "sys.h"

#define HELLO_VERSION "1.0" /* of the stdio_bus/ methods */
#define STATUS_MAX (4u * 1024 * 1024)

/* Sends the worker a notification of the bus's own, with one member in its params. */
static void tell_worker(router_t *router, target_t *target, const char *method, const char *member, piece_t value) {
    piece_t pieces[] = {
        {"{\"jsonrpc\":\"2.0\",\"method\":\"", 27}, {method, strlen(method)},
        {"\",\"params\":{\"", 13},                   {member, strlen(member)},
        {"\":", 2},                                  value,
        {"}}", 2},
    };
    if (!router_to_worker(router, target, pieces, 7)) router->routing_errors++;
}

void router_withdraw(router_t *router, pending_t *call) {
    pool_t *pool = call->pool;
    const profile_t *profile = pool->config->profile;
    target_t *target = call->sent ? call->target : NULL;
    if (target && profile->cancel_method) {
        char id[ID_TEXT_SIZE];
        piece_t value = {id, router_id_text(call->id, id)};
        tell_worker(router, target, profile->cancel_method, "requestId", value);
    }
    if (target && call->prompt && call->session) {
        buffer_t *name = &router->scratch;
        buffer_consume(name, name->len);
        if (router_session_name(call->session, name))
            tell_worker(router, target, profile->prompt_cancel_method, "sessionId",
                        (piece_t){buffer_bytes(name), name->len});
        else router->routing_errors++;
    }
    /* A worker that goes on with it keeps its place until it is done: under max_in_flight,
     * and a prompt always, for it will answer; and an id of the host must not be mistaken for
     * another's when its answer comes. */
    bool goes_on = target && !profile->cancel_method;
    if (goes_on && (pool->config->max_in_flight || call->host_id || call->prompt)) {
        if (call->session) sessions_count(&router->sessions, call->session, -1);
        call->session = NULL;
        pending_abandon(&router->pendings, call);
        return;
    }
    router_end_call(router, call);
    if (target) router_dispatch_target(router, target);
}

bool router_cancel(inbound_t *in, json_span_t id) {
    router_t *router = in->router;
    pending_t *call = pending_of_client(&router->pendings, in->client, id.text, id.len);
    if (!call) {
        router->routing_errors++; /* answered already: a race that is nobody's fault */
        return false;
    }
    int32_t worker_id = call->sent ? call->target->worker_id : 0;
    error_detail_t detail = {.pool = call->pool, .worker_id = worker_id, .retryable = !call->sent};
    router_send_error(router, in->client, pending_id_text(call), call->id_len, RPC_CANCELLED, &detail,
                      "the request was cancelled by its client");
    router_withdraw(router, call);
    return false;
}

bool router_control(inbound_t *in) {
    if (json_string_equals(in->method, "stdio_bus/cancel", 16)) {
        if (in->id.text || !inbound_has(in, FIELD_PARAMS_ID))
            return router_refuse(in, RPC_INVALID_REQUEST, NULL,
                                 "stdio_bus/cancel is a notification whose params.id is the id of a request");
        return router_cancel(in, inbound_value(in, FIELD_PARAMS_ID));
    }
    if (!in->id.text) return false;
    if (json_string_equals(in->method, "stdio_bus/ping", 14)) {
        router_answer_result(in, "{}");
        return false;
    }
    if (json_string_equals(in->method, "stdio_bus/hello", 15)) {
        char result[128];
        snprintf(result, sizeof result,
                 "{\"negotiatedProtocolVersion\":\"" HELLO_VERSION "\",\"sessionId\":\"client-%" PRId32
                 "\",\"extensions\":{}}",
                 in->client->id);
        router_answer_result(in, result);
        return false;
    }
    if (json_string_equals(in->method, "stdio_bus/stats", 15)) {
        buffer_t status;
        buffer_init(&status, STATUS_MAX);
        bool ok = in->router->ops.status(in->router->context, &status) && buffer_append(&status, "", 1);
        if (ok) router_answer_result(in, status.data);
        buffer_free(&status);
        return ok ? false : router_refuse_memory(in);
    }
    return router_refuse(in, RPC_METHOD_NOT_FOUND, NULL, "the bus has no method %.*s",
                         router_clip(in->method), in->method.text);
}
