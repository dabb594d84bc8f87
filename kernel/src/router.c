/*
 * router.c - see router.h: what comes from clients, and which pool and session it is for.
 */
#include "router.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "router_inbound.h"
#include "stdio_bus.h"

static int refusal_code(rpc_error_t error) {
    switch (error) {
    case RPC_OVERLOADED: return STDIO_BUS_ERR_EFULL;
    case RPC_STOPPING: return STDIO_BUS_ERR_STATE;
    case RPC_UNKNOWN_POOL:
    case RPC_POOL_UNAVAILABLE: return STDIO_BUS_ERR_ROUTING;
    default: return STDIO_BUS_ERR_INVALID;
    }
}

bool router_refuse(inbound_t *in, rpc_error_t error, const error_detail_t *detail, const char *format, ...) {
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
    return router_refuse(in, syntax ? RPC_PARSE_ERROR : RPC_INVALID_REQUEST, NULL, "%s (at byte %zu)", in->scan->error,
                         in->scan->error_at);
}

/* Where this message names its session when it goes to a pool of this profile. */
static scan_field_t session_field(const inbound_t *in, const profile_t *profile) {
    return inbound_has(in, profile->session_field) ? profile->session_field : FIELD_SESSION_ID;
}

static void name_session(inbound_t *in, size_t len) {
    in->session = sessions_key(&in->router->sessions, in->client, in->session_id, len);
}

/* The session id in the field, decoded; false: what stands there is none. */
static bool decode_session(inbound_t *in, scan_field_t field) {
    if (in->session.len && in->session_field == field) return true;
    in->session.len = 0;
    if (!inbound_has(in, field)) return true;
    json_span_t value = inbound_value(in, field);
    if (!json_is_string(value) || value.len == 2 || value.len - 2 > SESSION_ID_MAX) return false;
    name_session(in, json_string_decode(value, in->session_id));
    in->session_field = field;
    return true;
}

static bool read_session(inbound_t *in, scan_field_t field) {
    if (decode_session(in, field)) return true;
    return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"%s\" must be a string of 1 to %d bytes",
                         field == FIELD_SESSION_ID ? "sessionId" : "params.sessionId", SESSION_ID_MAX);
}

pool_t *router_find_pool(const router_t *router, json_span_t name) {
    for (size_t i = 0; i < router->pool_count; i++) {
        const char *id = router->pools[i].config->id;
        if (json_string_equals(name, id, strlen(id))) return &router->pools[i];
    }
    return NULL;
}

static session_t *find_session(const inbound_t *in, const pool_t *pool) {
    return in->session.len ? sessions_find(&in->router->sessions, &in->session, pool) : NULL;
}

/* The pool where a message of the same session, named in the same field, waits for a worker
 * to be bound to. */
static pool_t *waiting_pool(const inbound_t *in, scan_field_t field) {
    const list_t *all = &in->client->waiting;
    for (list_t *link = in->session.len ? list_first(all) : NULL; link; link = list_next(all, link)) {
        const pending_t *p = list_entry(link, pending_t, waiting);
        if (p->session_len == in->session.len && session_field(in, p->pool->config->profile) == field &&
            memcmp(pending_session_id(p), in->session_id, in->session.len) == 0)
            return p->pool;
    }
    return NULL;
}

/* The pool of the session that the message names; NULL: of none. */
static pool_t *session_pool(inbound_t *in) {
    const session_t *session = find_session(in, NULL); /* by the top-level field */
    if (session) return session->target->pool;
    pool_t *waiting = waiting_pool(in, FIELD_SESSION_ID);
    if (waiting || !inbound_has(in, FIELD_PARAMS_SESSION_ID) || !decode_session(in, FIELD_PARAMS_SESSION_ID))
        return waiting;
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
    if (inbound_has(in, FIELD_POOL)) {
        json_span_t name = inbound_value(in, FIELD_POOL);
        in->pool = router_find_pool(router, name);
        if (!in->pool)
            return router_refuse(in, RPC_UNKNOWN_POOL, NULL, "there is no pool %.*s: use the id of a configured pool",
                                 router_clip(name), name.text);
    } else if (in->method.text) {
        in->pool = router_find_pool(router, in->method);
    }
    if (!in->pool && router->pool_count > 1) in->pool = session_pool(in);
    if (!in->pool) in->pool = in->client->default_pool;
    return true;
}

/* A request that goes on with a state has the session of that state, if it is known. */
static void find_state(inbound_t *in) {
    if (!in->pool->config->profile->request_states || !inbound_has(in, FIELD_PARAMS_REQUEST_STATE)) return;
    json_span_t state = inbound_value(in, FIELD_PARAMS_REQUEST_STATE);
    if (!json_is_string(state)) return;
    char id[STATE_ID_SIZE];
    size_t len = router_state_id(state, id);
    session_key_t key = sessions_key(&in->router->sessions, in->client, id, len);
    if (!sessions_find(&in->router->sessions, &key, in->pool)) return;
    memcpy(in->session_id, id, len);
    name_session(in, len);
}

/* What a worker behind a strict parser would answer with silence is refused here. */
static bool check_clean(inbound_t *in) {
    const scan_t *scan = in->scan;
    if (!inbound_has(in, FIELD_JSONRPC) || !json_string_equals(inbound_value(in, FIELD_JSONRPC), "2.0", 3))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"jsonrpc\" must be \"2.0\"");
    if (scan->unknown.end) {
        size_t len = scan->unknown.end - scan->unknown.key;
        return router_refuse(in, RPC_INVALID_REQUEST, NULL,
                             "unknown top-level field %.*s: JSON-RPC 2.0 has none of this name, move it into \"params\"",
                             utf8_clip(scan->text + scan->unknown.key, len, QUOTED_MAX), scan->text + scan->unknown.key);
    }
    if (inbound_has(in, FIELD_RESULT) || inbound_has(in, FIELD_ERROR))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "a message with a \"method\" has no \"result\" and no \"error\"");
    if (inbound_has(in, FIELD_PARAMS) && !memchr("{[", *inbound_value(in, FIELD_PARAMS).text, 2))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"params\" must be an object or an array");
    return true;
}

bool router_refuse_memory(inbound_t *in) {
    error_detail_t detail = {.pool = in->pool, .retryable = true};
    return router_refuse(in, RPC_OVERLOADED, &detail, "no memory for the message: retry later");
}

static bool is_handshake_notification(const inbound_t *in) {
    return inbound_is_method(in, in->pool->config->handshake.notification_method);
}

void router_answer_result(inbound_t *in, const char *result) {
    piece_t pieces[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":", 22}, {in->id.text, in->id.len}, {",\"result\":", 10}, {result, strlen(result)},
        {"}", 1},
    };
    router_to_client(in->router, in->client, 0, pieces, 5);
}

/* The request of a worker that the client knows by this number; NULL: late, or never asked. */
static pending_t *ask_of_client(const inbound_t *in, json_span_t id) {
    int64_t number;
    pending_t *ask = json_integer(id, &number) ? pending_of_id(&in->router->pendings, number) : NULL;
    return ask && ask->kind == PENDING_ASK && ask->client == in->client ? ask : NULL;
}

/* What a strict worker sees of an answer: nothing but what JSON-RPC knows. */
static size_t clean_answer(const inbound_t *in, const pending_t *ask, piece_t pieces[MESSAGE_MAX_PIECES]) {
    json_span_t error = inbound_has(in, FIELD_ERROR) ? inbound_value(in, FIELD_ERROR) : (json_span_t){"null", 4};
    bool failed = *error.text != 'n' || !inbound_has(in, FIELD_RESULT);
    json_span_t value = failed ? error : inbound_value(in, FIELD_RESULT);
    pieces[0] = (piece_t){"{\"jsonrpc\":\"2.0\",\"id\":", 22};
    pieces[1] = (piece_t){pending_id_text(ask), ask->id_len};
    pieces[2] = failed ? (piece_t){",\"error\":", 9} : (piece_t){",\"result\":", 10};
    pieces[3] = (piece_t){value.text, value.len};
    pieces[4] = (piece_t){"}", 1};
    return 5;
}

/* The answer to a request that a worker made. */
static bool answer_worker(inbound_t *in) {
    router_t *router = in->router;
    pending_t *ask = ask_of_client(in, in->id);
    if (!ask) {
        router->routing_errors++;
        return false;
    }
    message_t message;
    piece_t pieces[MESSAGE_MAX_PIECES];
    message_init(&message, in->scan, in->len);
    message_replace(&message, FIELD_ID, pending_id_text(ask), ask->id_len);
    bool clean = ask->pool->config->profile->clean;
    size_t count = clean ? clean_answer(in, ask, pieces) : message_pieces(&message, pieces);
    if (!router_to_worker(router, ask->target, pieces, count)) router->routing_errors++;
    pending_release(&router->pendings, ask);
    return false;
}

static bool take_id(inbound_t *in) {
    if (!inbound_has(in, FIELD_ID)) return true;
    json_span_t id = inbound_value(in, FIELD_ID);
    if (id.len > ID_MAX || !(json_is_string(id) || json_is_number(id) || *id.text == 'n'))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"id\" must be a string or a number of at most %d bytes",
                             ID_MAX);
    in->id = id;
    return true;
}

/* Progress with a request that a worker made goes to that worker, by the token it gave.  False:
 * the message is none. */
static bool take_progress(inbound_t *in) {
    if (in->id.text || !inbound_has(in, FIELD_PARAMS_PROGRESS_TOKEN)) return false;
    const pending_t *ask = ask_of_client(in, inbound_value(in, FIELD_PARAMS_PROGRESS_TOKEN));
    if (!ask || !ask->token_len) return false;
    if (ask->pool->config->profile->clean && !check_clean(in)) return true;
    message_t message;
    piece_t pieces[MESSAGE_MAX_PIECES];
    message_init(&message, in->scan, in->len);
    message_replace(&message, FIELD_PARAMS_PROGRESS_TOKEN, pending_token(ask), ask->token_len);
    message_remove(&message, ROUTING_FIELDS, ROUTING_FIELD_COUNT);
    size_t count = message_pieces(&message, pieces);
    if (!router_to_worker(in->router, ask->target, pieces, count)) in->router->routing_errors++;
    return true;
}

/* Routes a scanned line. */
static bool route(inbound_t *in) {
    if (!take_id(in)) return false;
    if (!inbound_has(in, FIELD_METHOD)) {
        if (in->id.text && (inbound_has(in, FIELD_RESULT) || inbound_has(in, FIELD_ERROR))) return answer_worker(in);
        return router_refuse(in, RPC_INVALID_REQUEST, NULL,
                             "not a JSON-RPC message: it needs a \"method\", or an \"id\" with \"result\" or \"error\"");
    }
    in->method = inbound_value(in, FIELD_METHOD);
    if (!json_is_string(in->method)) return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"method\" must be a string");
    if (router_is_control(in->method)) return router_control(in);
    if (take_progress(in)) return false;
    if (!read_session(in, FIELD_SESSION_ID) || !choose_pool(in)) return false;
    const profile_t *profile = in->pool->config->profile;
    if (!read_session(in, session_field(in, profile))) return false;
    if (in->session.len) sessions_fetch(&in->router->sessions, &in->session);
    find_state(in);
    if (profile->clean && !check_clean(in)) return false;
    if (!in->id.text && inbound_is_method(in, profile->cancel_method) && inbound_has(in, FIELD_PARAMS_REQUEST_ID))
        return router_cancel(in, inbound_value(in, FIELD_PARAMS_REQUEST_ID));
    if (!in->id.text && inbound_is_method(in, profile->request_cancel_method) && inbound_has(in, FIELD_PARAMS_REQUEST_ID))
        return router_cancel_early(in, inbound_value(in, FIELD_PARAMS_REQUEST_ID));
    if (in->id.text && inbound_is_method(in, profile->refused_method))
        return router_refuse(in, RPC_METHOD_NOT_FOUND, NULL, "pool \"%s\" does not serve %s", in->pool->config->id,
                             profile->refused_method);
    if (!in->id.text && is_handshake_notification(in)) return false; /* the bus has sent its own */
    return router_forward(in);
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
    if (router_find_id(line, &id) && id.len <= ID_MAX && (json_is_string(id) || json_is_number(id))) in.id = id;
    int64_t number;
    pending_t *ask = in.id.text && !router_has_method(line) && json_integer(in.id, &number)
                         ? pending_of_id(&router->pendings, number)
                         : NULL;
    if (ask && ask->kind == PENDING_ASK && ask->client == client) {
        router_refuse_ask(router, ask, "the client's answer is too long");
        return;
    }
    router_refuse(&in, RPC_INVALID_REQUEST, NULL, "a message must be at most %zu bytes (limits.max_input_buffer)",
                  router->max_line);
}

void router_add_client(router_t *router, client_t *client) {
    list_append(&router->clients, &client->link);
}

void router_empty_client(router_t *router, client_t *client) {
    list_t *link, *before;
    /* What waits goes first, or its turn would come when what is out is withdrawn; the newest before
     * the oldest, so that those behind it in its queue need not be called for each. */
    for (link = client->pending.prev; link != &client->pending; link = before) {
        before = link->prev;
        pending_t *p = list_entry(link, pending_t, of_client);
        if (p->message) router_end_waiting(router, p);
    }
    while ((link = list_first(&client->pending))) {
        pending_t *p = list_entry(link, pending_t, of_client);
        if (p->kind == PENDING_ASK) router_refuse_ask(router, p, "the client that should have answered has left");
        else router_withdraw(router, p);
    }
    router_dispatch_due(router);
    while ((link = list_first(&client->sessions)))
        sessions_unbind(&router->sessions, list_entry(link, session_t, of_client));
}

void router_remove_client(router_t *router, client_t *client) {
    router_empty_client(router, client);
    list_remove(&client->link);
}
