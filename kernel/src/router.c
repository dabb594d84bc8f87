/*
 * router.c - see router.h: what comes from clients.
 */
#include "router.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "router_internal.h"
#include "stdio_bus.h"
#include "sys.h"
#include "utf8.h"

#define ID_MAX 1024    /* bytes of an id or a token, as JSON text */
#define HELLO_VERSION "1.0" /* of the stdio_bus/ methods */
#define STATUS_MAX (4u * 1024 * 1024)
#define QUOTED_MAX 200 /* bytes of the client's own text in an error message */

/* One line from a client, while it is being decided on. */
typedef struct inbound {
    router_t *router;
    client_t *client;
    const scan_t *scan;
    size_t len;
    bool answer;        /* refusals are answered; otherwise returned */
    int code;           /* the result: a refusal that is returned */
    json_span_t id;     /* text NULL: none, or not known */
    json_span_t method; /* a JSON string */
    pool_t *pool;
    char session_id[SESSION_ID_MAX + 2];
    size_t session_len; /* 0: no session */
    session_t *session; /* bound already */
    const pending_t *subscription; /* that the message refers to */
} inbound_t;

static bool has(const inbound_t *in, scan_field_t field) {
    return scan_has(in->scan, field);
}

static json_span_t value_of(const inbound_t *in, scan_field_t field) {
    return message_value(in->scan, field);
}

static bool is_string(json_span_t value) {
    return *value.text == '"';
}

static bool is_number(json_span_t value) {
    return *value.text == '-' || (*value.text >= '0' && *value.text <= '9');
}

static int clip(json_span_t text) {
    return utf8_clip(text.text, text.len, QUOTED_MAX);
}

static int refusal_code(rpc_error_t error) {
    switch (error) {
    case RPC_OVERLOADED: return STDIO_BUS_ERR_EFULL;
    case RPC_STOPPING: return STDIO_BUS_ERR_STATE;
    case RPC_UNKNOWN_POOL:
    case RPC_POOL_UNAVAILABLE: return STDIO_BUS_ERR_ROUTING;
    default: return STDIO_BUS_ERR_INVALID;
    }
}

/* Ends the decision: every step below returns false once the line is done with, and
 * true to go on.  A refusal is answered, or left in in->code. */
static bool refuse(inbound_t *in, rpc_error_t error, const error_detail_t *detail, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool refuse(inbound_t *in, rpc_error_t error, const error_detail_t *detail, const char *format, ...) {
    char message[1024]; /* what is put in has its limits: nothing is cut */
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    bool malformed = error == RPC_PARSE_ERROR || error == RPC_INVALID_REQUEST;
    if (!in->answer) in->code = refusal_code(error);
    else if (in->id.text || malformed)
        router_send_error(in->router, in->client, in->id.text, in->id.len, error, detail, message);
    else in->router->routing_errors++; /* a notification has no answer */
    return false;
}

static bool refuse_scan(inbound_t *in, scan_status_t status) {
    bool syntax = status == SCAN_NOT_JSON;
    return refuse(in, syntax ? RPC_PARSE_ERROR : RPC_INVALID_REQUEST, NULL, "%s (at byte %zu)", in->scan->error,
                  in->scan->error_at);
}

/* Where this message names its session when it goes to a pool of this profile. */
static scan_field_t session_field(const inbound_t *in, const profile_t *profile) {
    return has(in, profile->session_field) ? profile->session_field : FIELD_SESSION_ID;
}

/* The session id in the field, decoded; false: what stands there is none. */
static bool decode_session(inbound_t *in, scan_field_t field) {
    in->session_len = 0;
    if (!has(in, field)) return true;
    json_span_t value = value_of(in, field);
    if (!is_string(value) || value.len == 2 || value.len - 2 > SESSION_ID_MAX) return false;
    in->session_len = json_string_decode(value, in->session_id);
    return true;
}

static bool read_session(inbound_t *in, scan_field_t field) {
    if (decode_session(in, field)) return true;
    return refuse(in, RPC_INVALID_REQUEST, NULL, "\"%s\" must be a string of 1 to %d bytes",
                  field == FIELD_SESSION_ID ? "sessionId" : "params.sessionId", SESSION_ID_MAX);
}

static pool_t *find_pool(const router_t *router, json_span_t name) {
    for (size_t i = 0; i < router->pool_count; i++) {
        const char *id = router->pools[i].config->id;
        if (json_string_equals(name, id, strlen(id))) return &router->pools[i];
    }
    return NULL;
}

static session_t *find_session(const inbound_t *in, const pool_t *pool) {
    if (!in->session_len) return NULL;
    return sessions_find(&in->router->sessions, in->client, pool, in->session_id, in->session_len);
}

/* The pool where a message of the same session, named in the same field, waits for a worker
 * to be bound to. */
static pool_t *waiting_pool(const inbound_t *in, scan_field_t field) {
    const list_t *all = &in->client->pending;
    for (list_t *link = in->session_len ? list_first(all) : NULL; link; link = list_next(all, link)) {
        const pending_t *p = list_entry(link, pending_t, of_client);
        if (p->message && p->session_len == in->session_len && session_field(in, p->pool->config->profile) == field &&
            memcmp(pending_session_id(p), in->session_id, in->session_len) == 0)
            return p->pool;
    }
    return NULL;
}

/* The pool of the session that the message names; NULL: of none. */
static pool_t *session_pool(inbound_t *in) {
    const session_t *session = find_session(in, NULL); /* by the top-level field */
    if (session) return session->target->pool;
    pool_t *waiting = waiting_pool(in, FIELD_SESSION_ID);
    if (waiting || !has(in, FIELD_PARAMS_SESSION_ID) || !decode_session(in, FIELD_PARAMS_SESSION_ID)) return waiting;
    for (size_t i = 0; i < in->router->pool_count; i++) {
        pool_t *pool = &in->router->pools[i];
        if (pool->config->profile->session_field == FIELD_PARAMS_SESSION_ID && find_session(in, pool)) return pool;
    }
    return waiting_pool(in, FIELD_PARAMS_SESSION_ID);
}

/* Top-level pool, else a method that is a pool id, else the session's pool, else the
 * client's default. */
static bool choose_pool(inbound_t *in) {
    router_t *router = in->router;
    if (has(in, FIELD_POOL)) {
        json_span_t name = value_of(in, FIELD_POOL);
        in->pool = find_pool(router, name);
        if (!in->pool)
            return refuse(in, RPC_UNKNOWN_POOL, NULL, "there is no pool %.*s: use the id of a configured pool",
                          clip(name), name.text);
    } else if (in->method.text) {
        in->pool = find_pool(router, in->method);
    }
    if (!in->pool) in->pool = session_pool(in);
    if (!in->pool) in->pool = in->client->default_pool;
    return true;
}

/* A request that goes on with a state has the session of that state, if it is known. */
static void find_state(inbound_t *in) {
    if (!in->pool->config->profile->request_states || !has(in, FIELD_PARAMS_REQUEST_STATE)) return;
    json_span_t state = value_of(in, FIELD_PARAMS_REQUEST_STATE);
    if (!is_string(state)) return;
    char key[STATE_KEY_SIZE];
    size_t len = router_state_key(state, key);
    session_t *issued = sessions_find(&in->router->sessions, in->client, in->pool, key, len);
    if (!issued) return;
    memcpy(in->session_id, key, len);
    in->session_len = len;
    in->session = issued;
}

/* What a worker behind a strict parser would answer with silence is refused here. */
static bool check_clean(inbound_t *in) {
    const scan_t *scan = in->scan;
    if (!has(in, FIELD_JSONRPC) || !json_string_equals(value_of(in, FIELD_JSONRPC), "2.0", 3))
        return refuse(in, RPC_INVALID_REQUEST, NULL, "\"jsonrpc\" must be \"2.0\"");
    if (scan->unknown.end) {
        size_t len = scan->unknown.end - scan->unknown.key;
        return refuse(in, RPC_INVALID_REQUEST, NULL,
                      "unknown top-level field %.*s: JSON-RPC 2.0 has none of this name, move it into \"params\"",
                      utf8_clip(scan->text + scan->unknown.key, len, QUOTED_MAX), scan->text + scan->unknown.key);
    }
    if (has(in, FIELD_PARAMS) && !memchr("{[", *value_of(in, FIELD_PARAMS).text, 2))
        return refuse(in, RPC_INVALID_REQUEST, NULL, "\"params\" must be an object or an array");
    return true;
}

/* Whether a worker that decodes and encodes the id writes the same bytes: anything else
 * than an integer or a plain string may come back in another spelling. */
static bool keeps_spelling(json_span_t id) {
    int64_t number;
    if (!is_string(id)) return json_integer(id, &number);
    for (size_t i = 1; i + 1 < id.len; i++)
        if (id.text[i] < ' ' || id.text[i] > '~' || id.text[i] == '\\' || id.text[i] == '/') return false;
    return true;
}

/* Whether the worker sees the host's own id: not while an answer to an earlier use of it
 * may come, nor while the bus has given the same number to another client's request. */
static bool passes_host_id(const inbound_t *in) {
    if (!in->pool->config->profile->host_ids || in->client->id != STDIO_BUS_HOST_CLIENT || !keeps_spelling(in->id))
        return false;
    if (pending_abandoned(&in->router->pendings, NULL, in->id.text, in->id.len)) return false; /* still due */
    int64_t number;
    const pending_t *other = json_integer(in->id, &number) ? pending_of_id(&in->router->pendings, number) : NULL;
    return !other || other->host_id || !(other->kind == PENDING_CALL || other->kind == PENDING_HANDSHAKE);
}

static pending_t *new_call(inbound_t *in, const pending_texts_t *texts) {
    router_t *router = in->router;
    bool host_ids = in->pool->config->profile->host_ids;
    for (;;) {
        pending_t *call = pending_new(&router->pendings, PENDING_CALL, in->client, texts);
        if (!call || !host_ids) return call;
        char text[ID_TEXT_SIZE];
        size_t len = router_id_text(call->id, text);
        list_t *host = list_first(&router->clients);
        if (!pending_of_client(&router->pendings, list_entry(host, client_t, link), text, len) ||
            (len == texts->id_len && memcmp(text, texts->id, len) == 0))
            return call;
        pending_release(&router->pendings, call); /* the next one has another id */
    }
}

/* The routing fields as the client wrote them, for the answer.  NULL: no memory. */
static char *copy_routing_fields(const inbound_t *in, size_t *len) {
    size_t size = 0;
    *len = 0;
    for (size_t i = 0; i < ROUTING_FIELD_COUNT; i++) {
        const scan_value_t *value = &in->scan->field[ROUTING_FIELDS[i]];
        size += value->end - value->key + 1;
    }
    char *copy = sys_malloc(size);
    if (!copy) return NULL;
    for (size_t i = 0; i < ROUTING_FIELD_COUNT; i++) {
        const scan_value_t *value = &in->scan->field[ROUTING_FIELDS[i]];
        if (!value->end) continue;
        memcpy(copy + *len, in->scan->text + value->key, value->end - value->key);
        *len += value->end - value->key;
        copy[(*len)++] = ',';
    }
    return copy;
}

static bool refuse_memory(inbound_t *in) {
    error_detail_t detail = {.pool = in->pool, .retryable = true};
    return refuse(in, RPC_OVERLOADED, &detail, "no memory for the message: retry later");
}

/* A subscription that the client names by the id of its request: the worker knows it by
 * another.  One that is not open would be taken for somebody else's. */
static bool take_subscription(inbound_t *in) {
    if (!in->pool->config->profile->subscriptions || !has(in, FIELD_META_SUBSCRIPTION_ID)) return true;
    json_span_t id = value_of(in, FIELD_META_SUBSCRIPTION_ID);
    in->subscription = pending_of_client(&in->router->pendings, in->client, id.text, id.len);
    if (in->subscription && in->subscription->pool == in->pool) return true;
    return refuse(in, RPC_INVALID_REQUEST, NULL, "\"subscriptionId\" must be the id of a request in flight");
}

static bool take_token(inbound_t *in, pending_texts_t *texts) {
    if (!in->pool->config->profile->progress_tokens || !has(in, FIELD_META_PROGRESS_TOKEN)) return true;
    json_span_t token = value_of(in, FIELD_META_PROGRESS_TOKEN);
    if (token.len > ID_MAX || !(is_string(token) || is_number(token)))
        return refuse(in, RPC_INVALID_REQUEST, NULL, "\"progressToken\" must be a string or a number of at most %d bytes",
                      ID_MAX);
    texts->token = token.text;
    texts->token_len = token.len;
    return true;
}

static bool is_method(const inbound_t *in, const char *name) {
    return name && json_string_equals(in->method, name, strlen(name));
}

static bool makes_session(const inbound_t *in) {
    const char *const *method = in->pool->config->profile->session_makers;
    while (*method && !is_method(in, *method)) method++;
    return *method != NULL;
}

/* The entry for a request or a notification.  NULL: refused. */
static pending_t *enter(inbound_t *in) {
    router_t *router = in->router;
    const profile_t *profile = in->pool->config->profile;
    pending_texts_t texts = {.session = in->session_id, .session_len = in->session_len};
    pending_t *p;
    if (!take_subscription(in)) return NULL;
    if (in->id.text) {
        char *put_back = NULL;
        if (pending_of_client(&router->pendings, in->client, in->id.text, in->id.len)) {
            refuse(in, RPC_INVALID_REQUEST, NULL, "id %.*s is in flight already: ids must be unique until answered",
                   clip(in->id), in->id.text);
            return NULL;
        }
        if (!take_token(in, &texts)) return NULL;
        texts.id = in->id.text;
        texts.id_len = in->id.len;
        if (profile->put_back && !(put_back = copy_routing_fields(in, &texts.put_back_len))) {
            refuse_memory(in);
            return NULL;
        }
        texts.put_back = put_back;
        p = new_call(in, &texts);
        sys_free(put_back);
    } else {
        p = pending_new(&router->pendings, PENDING_NOTE, in->client, &texts);
    }
    if (!p) {
        refuse_memory(in);
        return NULL;
    }
    p->pool = in->pool;
    p->host_id = in->id.text && passes_host_id(in);
    p->makes_session = in->id.text && makes_session(in);
    p->prompt = in->id.text && has(in, profile->session_field) && is_method(in, profile->prompt_method);
    return p;
}

/* What the worker will see; the session's name on it is put in when that is known. */
typedef struct composed {
    char id_text[ID_TEXT_SIZE], subscription_text[ID_TEXT_SIZE];
    piece_t pieces[MESSAGE_MAX_PIECES];
    size_t count;
} composed_t;

static void compose(const inbound_t *in, const pending_t *p, const session_t *session, composed_t *out) {
    const profile_t *profile = in->pool->config->profile;
    message_t message;
    message_init(&message, in->scan, in->len);
    size_t id_len = router_id_text(p->id, out->id_text);
    router_name_session(&message, profile, session);
    if (profile->clean) message_remove(&message, ROUTING_FIELDS, ROUTING_FIELD_COUNT);
    if (p->kind == PENDING_CALL && !p->host_id) message_replace(&message, FIELD_ID, out->id_text, id_len);
    if (p->token_len) message_replace(&message, FIELD_META_PROGRESS_TOKEN, out->id_text, id_len);
    if (in->subscription)
        message_replace(&message, FIELD_META_SUBSCRIPTION_ID, out->subscription_text,
                        router_id_text(in->subscription->id, out->subscription_text));
    out->count = message_pieces(&message, out->pieces);
}

/* Keeps a message until a worker is free. */
static bool enqueue(inbound_t *in, pending_t *p, target_t *bound) {
    composed_t line;
    compose(in, p, NULL, &line);
    pool_t *pool = in->pool;
    size_t len = 0;
    for (size_t i = 0; i < line.count; i++) len += line.pieces[i].len;
    if (pool->queued >= (size_t)pool->config->max_queue || len > in->router->max_queue_bytes - pool->queued_bytes) {
        error_detail_t detail = {.pool = pool, .retryable = true};
        return refuse(in, RPC_OVERLOADED, &detail, "pool \"%s\" is busy and its queue is full with %zu messages: retry later",
                      pool->config->id, pool->queued);
    }
    char *to = p->message = sys_malloc(len);
    if (!to) return refuse_memory(in);
    for (size_t i = 0; i < line.count; i++) {
        memcpy(to, line.pieces[i].text, line.pieces[i].len);
        to += line.pieces[i].len;
    }
    p->message_len = len;
    pool->queued++;
    pool->queued_bytes += len;
    p->target = bound;
    list_append(bound ? &bound->queue : &pool->queue, &p->place);
    return true;
}

static bool is_handshake(const inbound_t *in) {
    return is_method(in, in->pool->config->handshake.method);
}

static bool is_handshake_notification(const inbound_t *in) {
    return is_method(in, in->pool->config->handshake.notification_method);
}

static void answer_result(inbound_t *in, const char *result) {
    piece_t pieces[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":", 22}, {in->id.text, in->id.len}, {",\"result\":", 10}, {result, strlen(result)},
        {"}", 1},
    };
    router_to_client(in->router, in->client, 0, pieces, 5);
}

static bool count_session(inbound_t *in, pending_t *p, session_t *session) {
    if (!session) {
        error_detail_t detail = {.pool = in->pool, .retryable = true};
        return refuse(in, RPC_OVERLOADED, &detail, "too many sessions are busy: retry later");
    }
    bool call = p->kind == PENDING_CALL;
    sessions_count(&in->router->sessions, session, call);
    if (call) p->session = session;
    return true;
}

/* Whether the message, a notification, is for a prompt that the worker has in hand: then
 * it must not wait behind what that prompt keeps waiting. */
static bool cancels_prompt(const inbound_t *in) {
    if (in->id.text || !is_method(in, in->pool->config->profile->prompt_cancel_method)) return false;
    const list_t *sent = &in->session->target->sent;
    for (list_t *link = list_first(sent); link; link = list_next(sent, link)) {
        const pending_t *call = list_entry(link, pending_t, place);
        if (call->prompt && call->session == in->session) return true;
    }
    return false;
}

/* To the session's worker, or to the least loaded one, or into a queue; in the order
 * in which the client sent.  False: refused. */
static bool place(inbound_t *in, pending_t *p) {
    router_t *router = in->router;
    target_t *target;
    if (in->session) {
        target = in->session->target;
        if (!count_session(in, p, in->session)) return false;
        bool room = p->kind == PENDING_CALL ? target_has_room(target) : target->ready;
        bool waits = !room || list_first(&target->queue) || list_first(&in->pool->queue);
        if (waits && !cancels_prompt(in)) return enqueue(in, p, target);
    } else {
        target = list_first(&in->pool->queue) ? NULL : pool_choose(in->pool);
        if (!target) {
            if (!enqueue(in, p, NULL)) return false;
            /* The more wait, the larger is a ready worker's share. */
            if (in->pool->starting) router_dispatch_pool(router, in->pool);
            return true;
        }
        if (in->session_len) {
            in->session = sessions_bind(&router->sessions, in->client, target, in->session_id, in->session_len);
            if (!count_session(in, p, in->session)) return false;
        }
    }
    composed_t line;
    compose(in, p, in->session, &line);
    if (router_send_pending(router, p, target, line.pieces, line.count)) return true;
    error_detail_t detail = {.pool = in->pool, .worker_id = target->worker_id, .retryable = true};
    return refuse(in, RPC_OVERLOADED, &detail, ROUTER_INPUT_FULL);
}

/* A request or notification for a pool. */
static bool forward(inbound_t *in) {
    router_t *router = in->router;
    pool_t *pool = in->pool;
    error_detail_t detail = {.pool = pool, .retryable = true};
    if (router->stopping) return refuse(in, RPC_STOPPING, &detail, "the bus is stopping");
    if (pool->failed) {
        detail.stderr_tail = pool->failure_stderr ? pool->failure_stderr : "";
        return refuse(in, RPC_POOL_UNAVAILABLE, &detail, "pool \"%s\" is unavailable: %s", pool->config->id,
                      pool->failure ? pool->failure : "its workers failed");
    }
    bool handshake = in->id.text && is_handshake(in);
    if (handshake && pool->handshake_result) {
        answer_result(in, pool->handshake_result);
        return false;
    }
    pending_t *p = enter(in);
    if (!p) return false;
    p->handshake = handshake;
    if (place(in, p)) return true;
    if (p->kind == PENDING_CALL) router_end_call(router, p);
    else router_end_note(router, p);
    return false;
}

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

/* Ends a call that its client does not wait for any more; the worker is told where its
 * profile has a word for that. */
static void withdraw(router_t *router, pending_t *call) {
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

/* The client withdraws a request by its id; the bus makes the answer. */
static bool cancel(inbound_t *in, json_span_t id) {
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
    withdraw(router, call);
    return false;
}

/* Methods in the bus's own name space. */
static bool control(inbound_t *in) {
    if (json_string_equals(in->method, "stdio_bus/cancel", 16)) {
        if (in->id.text || !has(in, FIELD_PARAMS_ID))
            return refuse(in, RPC_INVALID_REQUEST, NULL,
                          "stdio_bus/cancel is a notification whose params.id is the id of a request");
        return cancel(in, value_of(in, FIELD_PARAMS_ID));
    }
    if (!in->id.text) return false;
    if (json_string_equals(in->method, "stdio_bus/ping", 14)) {
        answer_result(in, "{}");
        return false;
    }
    if (json_string_equals(in->method, "stdio_bus/hello", 15)) {
        char result[128];
        snprintf(result, sizeof result,
                 "{\"negotiatedProtocolVersion\":\"" HELLO_VERSION "\",\"sessionId\":\"client-%" PRId32
                 "\",\"extensions\":{}}",
                 in->client->id);
        answer_result(in, result);
        return false;
    }
    if (json_string_equals(in->method, "stdio_bus/stats", 15)) {
        buffer_t status;
        buffer_init(&status, STATUS_MAX);
        bool ok = in->router->ops.status(in->router->context, &status) && buffer_append(&status, "", 1);
        if (ok) answer_result(in, status.data);
        buffer_free(&status);
        return ok ? false : refuse_memory(in);
    }
    return refuse(in, RPC_METHOD_NOT_FOUND, NULL, "the bus has no method %.*s",
                  clip(in->method), in->method.text);
}

/* The answer to a request that a worker made. */
static bool answer_worker(inbound_t *in) {
    router_t *router = in->router;
    int64_t id;
    pending_t *ask = json_integer(in->id, &id) ? pending_of_id(&router->pendings, id) : NULL;
    if (!ask || ask->kind != PENDING_ASK || ask->client != in->client) {
        router->routing_errors++; /* late, or never asked */
        return false;
    }
    message_t message;
    piece_t pieces[MESSAGE_MAX_PIECES];
    message_init(&message, in->scan, in->len);
    message_replace(&message, FIELD_ID, pending_id_text(ask), ask->id_len);
    if (ask->pool->config->profile->clean) message_remove(&message, ROUTING_FIELDS, ROUTING_FIELD_COUNT);
    size_t count = message_pieces(&message, pieces);
    if (!router_to_worker(router, ask->target, pieces, count)) router->routing_errors++;
    ask->target->ask_count--;
    pending_release(&router->pendings, ask);
    return false;
}

static bool take_id(inbound_t *in) {
    if (!has(in, FIELD_ID)) return true;
    json_span_t id = value_of(in, FIELD_ID);
    if (id.len > ID_MAX || !(is_string(id) || is_number(id) || *id.text == 'n'))
        return refuse(in, RPC_INVALID_REQUEST, NULL, "\"id\" must be a string or a number of at most %d bytes", ID_MAX);
    in->id = id;
    return true;
}

/* Routes a scanned line. */
static bool route(inbound_t *in) {
    if (!take_id(in)) return false;
    if (!has(in, FIELD_METHOD)) {
        if (in->id.text && (has(in, FIELD_RESULT) || has(in, FIELD_ERROR))) return answer_worker(in);
        return refuse(in, RPC_INVALID_REQUEST, NULL,
                      "not a JSON-RPC message: it needs a \"method\", or an \"id\" with \"result\" or \"error\"");
    }
    in->method = value_of(in, FIELD_METHOD);
    if (!is_string(in->method)) return refuse(in, RPC_INVALID_REQUEST, NULL, "\"method\" must be a string");
    if (router_is_control(in->method)) return control(in);
    if (!read_session(in, FIELD_SESSION_ID) || !choose_pool(in)) return false;
    const profile_t *profile = in->pool->config->profile;
    if (!read_session(in, session_field(in, profile))) return false;
    in->session = find_session(in, in->pool);
    find_state(in);
    if (profile->clean && !check_clean(in)) return false;
    if (!in->id.text && is_method(in, profile->cancel_method) && has(in, FIELD_PARAMS_REQUEST_ID))
        return cancel(in, value_of(in, FIELD_PARAMS_REQUEST_ID));
    if (in->id.text && is_method(in, profile->refused_method))
        return refuse(in, RPC_METHOD_NOT_FOUND, NULL, "pool \"%s\" does not serve %s", in->pool->config->id,
                      profile->refused_method);
    if (!in->id.text && is_handshake_notification(in)) return false; /* the bus has sent its own */
    return forward(in);
}

int router_client_line(router_t *router, client_t *client, const char *text, size_t len, bool answer) {
    scan_t scan;
    inbound_t in = {.router = router, .client = client, .scan = &scan, .len = len, .answer = answer};
    scan_status_t status = json_scan(text, len, &scan);
    if (status == SCAN_OK) {
        route(&in);
    } else {
        /* An id that stands before the fault tells the client which message it was. */
        if (take_id(&in)) refuse_scan(&in, status);
    }
    if (in.code == STDIO_BUS_OK) {
        router->messages_in++;
        router->bytes_in += len;
    }
    return in.code;
}

void router_client_too_long(router_t *router, client_t *client, const line_t *line) {
    scan_t scan = {0};
    inbound_t in = {.router = router, .client = client, .scan = &scan, .answer = true};
    json_span_t id;
    if (router_find_id(line, &id) && id.len <= ID_MAX && (is_string(id) || is_number(id))) in.id = id;
    if (line->len) json_scan(line->text, line->len, &scan);
    int64_t number;
    pending_t *ask = in.id.text && !scan_has(&scan, FIELD_METHOD) && json_integer(in.id, &number)
                         ? pending_of_id(&router->pendings, number)
                         : NULL;
    if (ask && ask->kind == PENDING_ASK && ask->client == client) {
        router_refuse_ask(router, ask, "the client's answer is too long");
        return;
    }
    refuse(&in, RPC_INVALID_REQUEST, NULL, "a message must be at most %zu bytes (limits.max_input_buffer)",
           router->max_line);
}

void router_add_client(router_t *router, client_t *client) {
    list_append(&router->clients, &client->link);
}

void router_remove_client(router_t *router, client_t *client) {
    list_t *link;
    while ((link = list_first(&client->pending))) {
        pending_t *p = list_entry(link, pending_t, of_client);
        if (p->kind == PENDING_NOTE) {
            router_end_note(router, p);
        } else if (p->kind == PENDING_ASK) {
            router_refuse_ask(router, p, "the client that should have answered has left");
        } else {
            withdraw(router, p);
        }
    }
    while ((link = list_first(&client->sessions)))
        sessions_unbind(&router->sessions, list_entry(link, session_t, of_client));
    list_remove(&client->link);
}
