/*
 * router_control.c - what clients ask of the bus itself: the methods of stdio_bus/, and
 * withdrawing a request.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router_inbound.h"
#include "stdio_bus.h"
#include "sys.h"

#define HELLO_VERSION "1.0" /* of the stdio_bus/ methods */
#define STATUS_MAX (4u * 1024 * 1024)

/* Prompts that a client may give up and a worker not have answered yet, where no cap bounds them. */
#define ABANDONED_MAX 4096

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
    if (call->message) {
        router_end_waiting(router, call);
        router_dispatch_due(router);
        return;
    }
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
    bool remembered = goes_on && call->prompt && target->in_flight - target->calls < ABANDONED_MAX;
    if (remembered || (goes_on && (pool->config->max_in_flight || call->host_id))) {
        router_leave_session(router, call);
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

bool router_cancel_early(inbound_t *in, json_span_t id) {
    pending_t *call = pending_of_client(&in->router->pendings, in->client, id.text, id.len);
    if (!call || !call->sent) return router_cancel(in, id); /* late, or no worker has it */
    char text[ID_TEXT_SIZE];
    message_t message;
    piece_t pieces[MESSAGE_MAX_PIECES];
    message_init(&message, in->scan, in->len);
    message_replace(&message, FIELD_PARAMS_REQUEST_ID, text, router_id_text(call->id, text));
    message_remove(&message, ROUTING_FIELDS, ROUTING_FIELD_COUNT);
    size_t count = message_pieces(&message, pieces);
    if (!router_to_worker(in->router, call->target, pieces, count)) in->router->routing_errors++;
    return false;
}

static json_span_t param(const inbound_t *in, const char *name) {
    const json_span_t none = {"null", 4};
    json_span_t value, params = inbound_has(in, FIELD_PARAMS) ? inbound_value(in, FIELD_PARAMS) : none;
    return *params.text == '{' && json_get(params, name, &value) ? value : none;
}

/* What a host may order about pools and workers. */
static const struct order {
    const char *method;
    router_order_t order;
    bool of_pool;       /* params.pool */
    const char *number; /* a further parameter; NULL: none */
} ORDERS[] = {
    {"stdio_bus/scale", ROUTER_SCALE, true, "instances"},  {"stdio_bus/restart", ROUTER_RESTART, true, NULL},
    {"stdio_bus/attach", ROUTER_ATTACH, true, NULL},       {"stdio_bus/detach", ROUTER_DETACH, false, "worker"},
    {"stdio_bus/open", ROUTER_OPEN, true, NULL},           {"stdio_bus/close", ROUTER_CLOSE, false, "client"},
    {"stdio_bus/pause", ROUTER_PAUSE, false, "worker"},    {"stdio_bus/resume", ROUTER_RESUME, false, "worker"},
};

static bool obey(inbound_t *in, const struct order *order) {
    router_t *router = in->router;
    pool_t *pool = NULL;
    int64_t number = 0;
    json_span_t name = param(in, "pool");
    if (order->of_pool && !(pool = router_find_pool(router, name)))
        return router_refuse(in, RPC_UNKNOWN_POOL, NULL, "there is no pool %.*s: use the id of a configured pool",
                             router_clip(name), name.text);
    if (order->number && !json_integer(param(in, order->number), &number))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "%s needs params.%s, an integer", order->method,
                             order->number);
    int code = router->ops.manage(router->context, order->order, pool, number);
    if (!in->id.text) return false; /* about a worker that has gone, say: nothing to tell */
    error_detail_t detail = {.pool = pool, .retryable = true};
    char result[48] = "{}";
    switch (code) {
    case STDIO_BUS_ERR_ENOTFOUND:
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "there is no %s %" PRId64, order->number, number);
    case STDIO_BUS_ERR_EINVAL:
        return router_refuse(in, RPC_INVALID_REQUEST, &detail,
                             pool ? "a pool with a command has 1 to 1024 instances, an embedded one none"
                                  : "this worker is not attached");
    case STDIO_BUS_ERR_STATE:
        if (router->stopping) return router_refuse(in, RPC_STOPPING, &detail, "the bus is stopping");
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "%s",
                             order->order == ROUTER_OPEN ? "the host does not receive for further clients (on_batch)"
                                                         : "a line of this client is being read");
    case STDIO_BUS_ERR_EAGAIN:
        return router_refuse(in, RPC_OVERLOADED, NULL, "worker %" PRId64 " is not ready, or other requests are out to it", number);
    case STDIO_BUS_ERR_BUFFER: return router_refuse_memory(in);
    default: break;
    }
    if (order->order == ROUTER_ATTACH) snprintf(result, sizeof result, "{\"worker\":%d}", code);
    if (order->order == ROUTER_OPEN) snprintf(result, sizeof result, "{\"client\":%d}", code);
    router_answer_result(in, result);
    return false;
}

/* A line of a worker that is attached to the host. */
static void take_attached(inbound_t *in) {
    router_t *router = in->router;
    json_span_t line = param(in, "message");
    int64_t worker;
    if (!json_integer(param(in, "worker"), &worker) || *line.text != '{' ||
        !router->ops.from_attached(router->context, worker, line))
        router->routing_errors++; /* it has been detached: a race that is nobody's fault */
}

/* False: not a method for hosts alone, or not from one. */
static bool control_of_host(inbound_t *in) {
    if (in->client->id != STDIO_BUS_HOST_CLIENT) return false;
    if (!in->id.text && inbound_is_method(in, "stdio_bus/from_worker")) {
        take_attached(in);
        return true;
    }
    for (size_t i = 0; i < sizeof ORDERS / sizeof *ORDERS; i++) {
        if (!inbound_is_method(in, ORDERS[i].method)) continue;
        obey(in, &ORDERS[i]);
        return true;
    }
    return false;
}

bool router_control(inbound_t *in) {
    if (inbound_is_method(in, "stdio_bus/cancel")) {
        if (in->id.text || !inbound_has(in, FIELD_PARAMS_ID))
            return router_refuse(in, RPC_INVALID_REQUEST, NULL,
                                 "stdio_bus/cancel is a notification whose params.id is the id of a request");
        return router_cancel(in, inbound_value(in, FIELD_PARAMS_ID));
    }
    if (control_of_host(in) || !in->id.text) return false;
    if (inbound_is_method(in, "stdio_bus/ping")) {
        router_answer_result(in, "{}");
        return false;
    }
    if (inbound_is_method(in, "stdio_bus/hello")) {
        char result[128];
        snprintf(result, sizeof result,
                 "{\"negotiatedProtocolVersion\":\"" HELLO_VERSION "\",\"sessionId\":\"client-%" PRId32
                 "\",\"extensions\":{}}",
                 in->client->id);
        router_answer_result(in, result);
        return false;
    }
    if (inbound_is_method(in, "stdio_bus/stats")) {
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
