/*
 * router_worker.c - see router.h: what comes from workers, and what becomes of their
 * requests when they are ready, lost or failed.  Lines that cannot be read whole are
 * router_damaged.c's.
 */
#include <stdio.h>
#include <string.h>

#include "router_internal.h"
#include "stdio_bus.h"
#include "sys.h"
#include "utf8.h"

#define ASKS_MAX 1024 /* requests of one worker that wait for clients */
#define ID_MAX 1024

static client_t *host_of(const router_t *router) {
    return list_entry(list_first(&router->clients), client_t, link);
}

/* Passes a line on, ids and tokens changed by the caller in `message`. */
static void deliver(router_t *router, client_t *client, const target_t *target, const message_t *message) {
    piece_t pieces[MESSAGE_MAX_PIECES];
    size_t count = message_pieces(message, pieces);
    router_to_client(router, client, target->worker_id, pieces, count);
}

pending_t *router_find_answered(const router_t *router, const target_t *target, json_span_t id) {
    bool host_ids = target->pool->config->profile->host_ids;
    pending_t *call = NULL;
    int64_t number;
    if (host_ids) call = pending_of_client(&router->pendings, host_of(router), id.text, id.len);
    if (call && (!call->host_id || call->target != target)) call = NULL;
    if (!call && host_ids) call = pending_abandoned(&router->pendings, target, id.text, id.len);
    int64_t from = host_ids ? WIRE_IDS_FROM : 0;
    if (!call && json_integer(id, &number) && number > from) {
        call = pending_of_id(&router->pendings, number - from);
        if (call && call->host_id) call = NULL;
    }
    bool fits = call && (call->kind == PENDING_CALL || call->kind == PENDING_HANDSHAKE) && call->sent &&
                call->target == target;
    return fits ? call : NULL;
}

static void end_handshake(router_t *router, pending_t *handshake, const scan_t *scan) {
    target_t *target = handshake->target;
    pool_t *pool = target->pool;
    pending_release(&router->pendings, handshake);
    bool refused = scan_has(scan, FIELD_ERROR) && *message_value(scan, FIELD_ERROR).text != 'n';
    if (refused || !scan_has(scan, FIELD_RESULT)) {
        json_span_t error = message_value(scan, FIELD_ERROR);
        char message[256];
        snprintf(message, sizeof message, "it answered the handshake with the error %.*s",
                 utf8_clip(error.text, error.len, 200), error.text);
        router->ops.handshake_done(router->context, target, message);
        return;
    }
    if (!pool->handshake_result) {
        json_span_t result = message_value(scan, FIELD_RESULT);
        pool->handshake_result = buffer_strdup(result.text, result.len);
    }
    const config_handshake_t *config = &pool->config->handshake;
    bool ok = pool->handshake_result != NULL;
    if (ok && config->notification_method) {
        const char *params = config->notification_params;
        buffer_t *b = &router->scratch;
        buffer_consume(b, b->len);
        ok = buffer_json_string(b, config->notification_method, strlen(config->notification_method));
        piece_t pieces[] = {
            {"{\"jsonrpc\":\"2.0\",\"method\":", 26},
            {buffer_bytes(b), b->len},
            {",\"params\":", params ? 10 : 0},
            {params, params ? strlen(params) : 0},
            {"}", 1},
        };
        ok = ok && router_to_worker(router, target, pieces, 5);
    }
    router->ops.handshake_done(router->context, target, ok ? NULL : "there is no memory for its handshake");
}

/* Whether a message of the worker names a session, where workers see sessions. */
static bool names_session(const target_t *target, const scan_t *scan) {
    const profile_t *profile = target->pool->config->profile;
    return profile_shows_sessions(profile) && scan_has(scan, profile->session_field);
}

static session_t *session_in(const router_t *router, const target_t *target, json_span_t value) {
    char name[SESSION_NAME_MAX + 2];
    if (*value.text != '"' || value.len > sizeof name) return NULL;
    return sessions_find_on(&router->sessions, target, name, json_string_decode(value, name));
}

/* That session; NULL: none, or nobody's. */
static session_t *named_session(const router_t *router, const target_t *target, const scan_t *scan) {
    if (!names_session(target, scan)) return NULL;
    return session_in(router, target, message_value(scan, target->pool->config->profile->session_field));
}

/* Gives a session back the name its client knows. */
static void restore_session(const session_t *session, message_t *message, scan_field_t field) {
    if (!session || !session_has_two_names(session)) return;
    const char *own = session->id + session_stem_len(session);
    router_swap_ending(message, field, session->suffix, session->suffix_len, own, session->own_len);
}

/* The worker's answer names a session: from now on it is that of the client who asked, and
 * whoever has claimed the name before goes by another on this worker.  A client that has one
 * of this name on another worker gets another name for it. */
static void learn_session(router_t *router, const pending_t *call, const scan_t *scan, message_t *answer) {
    json_span_t value = message_value(scan, FIELD_RESULT_SESSION_ID);
    if (!call->makes_session || !scan_has(scan, FIELD_RESULT_SESSION_ID) || *value.text != '"') return;
    session_t *known = session_in(router, call->target, value);
    if (known && known->client == call->client) {
        restore_session(known, answer, FIELD_RESULT_SESSION_ID);
        return;
    }
    char name[SESSION_ID_MAX + 2];
    session_t *learned = NULL;
    if (value.len > 2 && value.len <= sizeof name && (!known || sessions_rename(&router->sessions, known)))
        learned = sessions_learn(&router->sessions, call->client, call->target, name, json_string_decode(value, name));
    if (!learned) router->routing_errors++;
    restore_session(learned, answer, FIELD_RESULT_SESSION_ID);
}

static client_t *session_owner(const router_t *router, const target_t *target, const scan_t *scan) {
    const session_t *session = named_session(router, target, scan);
    return session ? session->client : NULL;
}

/* A request that goes on with this state must come back to this worker. */
static void learn_state(router_t *router, const pending_t *call, const scan_t *scan) {
    json_span_t state = message_value(scan, FIELD_RESULT_REQUEST_STATE);
    if (!call->pool->config->profile->request_states || !scan_has(scan, FIELD_RESULT_REQUEST_STATE) || *state.text != '"')
        return;
    char id[STATE_ID_SIZE];
    size_t len = router_state_id(state, id);
    session_key_t key = sessions_key(&router->sessions, call->client, id, len);
    session_t *known = sessions_find(&router->sessions, &key, call->pool);
    if (known && known->target == call->target) sessions_count(&router->sessions, known, 0);
    else if (!sessions_bind(&router->sessions, call->client, call->target, id, len)) router->routing_errors++;
}

static void take_answer(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    pending_t *call = router_find_answered(router, target, message_value(scan, FIELD_ID));
    if (!call || call->abandoned) router->routing_errors++; /* late, or answered twice */
    if (!call) return;
    if (call->kind == PENDING_HANDSHAKE) {
        end_handshake(router, call, scan);
        return;
    }
    if (!call->abandoned) {
        message_t message;
        message_init(&message, scan, len);
        if (!call->host_id) message_replace(&message, FIELD_ID, pending_id_text(call), call->id_len);
        /* What is learned can make the bus forget another session: names are borrowed afterwards. */
        learn_state(router, call, scan);
        learn_session(router, call, scan, &message);
        restore_session(named_session(router, target, scan), &message, target->pool->config->profile->session_field);
        if (call->pool->config->profile->subscriptions && scan_has(scan, FIELD_RESULT_SUBSCRIPTION_ID))
            message_replace(&message, FIELD_RESULT_SUBSCRIPTION_ID, pending_id_text(call), call->id_len);
        if (call->put_back_len) {
            message_insert(&message, pending_put_back(call), call->put_back_len);
            message_remove(&message, ROUTING_FIELDS, ROUTING_FIELD_COUNT); /* the worker's own */
        }
        deliver(router, call->client, target, &message);
    }
    router_end_call(router, call);
    router_dispatch_target(router, target);
}

/* The client to answer a request of the worker: the session's, or the only one with requests out to
 * it, those given up included; NULL when it cannot be told.  A session that is nobody's may be one
 * that a client is about to learn of, or that of a client that has left. */
static client_t *asked_client(const router_t *router, const target_t *target, const scan_t *scan) {
    client_t *owner = session_owner(router, target, scan);
    if (owner) return owner;
    if (names_session(target, scan) && !target->makers) return NULL;
    if (!target->in_flight) return NULL;
    if (target->host_calls + target->host_given_up == target->in_flight) return host_of(router);
    list_t *first = list_first(&target->ties); /* before those without requests out */
    const tie_t *tie = first ? list_entry(first, tie_t, on_target) : NULL;
    return tie && tie->calls == target->in_flight ? tie->client : NULL;
}

/* Whoever else is asked finds room, however many questions one client leaves unanswered: it has at
 * most half of what others have left. */
static bool has_too_many_asks(const target_t *target, const tie_t *tie) {
    return (tie ? tie->asks : target->host_asks) >= ASKS_MAX - target->ask_count;
}

void router_refuse_worker(router_t *router, target_t *target, json_span_t id, rpc_error_t error, const char *message) {
    char body[256];
    int len = snprintf(body, sizeof body, ",\"error\":{\"code\":%d,\"message\":\"%s\"}}", rpc_error_code(error), message);
    piece_t pieces[] = {{"{\"jsonrpc\":\"2.0\",\"id\":", 22}, {id.text, id.len}, {body, (size_t)len}};
    if (!router_to_worker(router, target, pieces, 3)) router->routing_errors++;
}

void router_refuse_ask(router_t *router, pending_t *ask, const char *message) {
    json_span_t id = {pending_id_text(ask), ask->id_len};
    router_refuse_worker(router, ask->target, id, RPC_METHOD_NOT_FOUND, message);
    pending_release(&router->pendings, ask);
}

static void take_request(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    json_span_t id = message_value(scan, FIELD_ID);
    client_t *client = asked_client(router, target, scan);
    if (!client || client->silent) {
        router_refuse_worker(router, target, id, RPC_METHOD_NOT_FOUND, "no client can be asked");
        return;
    }
    pending_texts_t texts = {.id = id.text, .id_len = id.len};
    if (target->pool->config->profile->progress_tokens && scan_has(scan, FIELD_META_PROGRESS_TOKEN)) {
        json_span_t token = message_value(scan, FIELD_META_PROGRESS_TOKEN);
        texts.token = token.text;
        texts.token_len = token.len;
    }
    tie_t *tie = NULL;
    bool tied = tie_take(&router->sessions.ties, client, target, &tie);
    pending_t *ask = tied && !has_too_many_asks(target, tie) && id.len <= ID_MAX && texts.token_len <= ID_MAX
                         ? pending_new(&router->pendings, PENDING_ASK, client, &texts)
                         : NULL;
    if (!ask) {
        tie_drop(tie);
        router_refuse_worker(router, target, id, RPC_OVERLOADED, "too many requests wait for their answer");
        return;
    }
    ask->pool = target->pool;
    ask->target = target;
    ask->tie = tie;
    list_append(&target->asks, &ask->place);
    tie_count_ask(ask->tie, target, +1);
    char id_text[ID_TEXT_SIZE];
    message_t message;
    message_init(&message, scan, len);
    size_t text_len = router_id_text(ask->id, id_text);
    message_replace(&message, FIELD_ID, id_text, text_len);
    if (ask->token_len) message_replace(&message, FIELD_META_PROGRESS_TOKEN, id_text, text_len);
    restore_session(named_session(router, target, scan), &message, target->pool->config->profile->session_field);
    deliver(router, client, target, &message);
}

/* The client's open request whose bus id stands in this field; NULL: late, or made up. */
static pending_t *open_call(const router_t *router, const target_t *target, const scan_t *scan, scan_field_t field) {
    int64_t id;
    pending_t *call = json_integer(message_value(scan, field), &id) ? pending_of_id(&router->pendings, id) : NULL;
    return call && call->kind == PENDING_CALL && call->target == target && call->sent && call->client ? call : NULL;
}

/* Progress goes to whoever gave the token, which is restored; late progress nowhere. */
static void take_progress(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    const pending_t *call = open_call(router, target, scan, FIELD_PARAMS_PROGRESS_TOKEN);
    if (!call || !call->token_len) {
        router->routing_errors++;
        return;
    }
    message_t message;
    message_init(&message, scan, len);
    message_replace(&message, FIELD_PARAMS_PROGRESS_TOKEN, pending_token(call), call->token_len);
    deliver(router, call->client, target, &message);
}

/* What comes on a subscription goes to whoever opened it, under the id it has there. */
static void take_subscribed(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    pending_t *call = open_call(router, target, scan, FIELD_META_SUBSCRIPTION_ID);
    if (!call) {
        router->routing_errors++;
        return;
    }
    message_t message;
    message_init(&message, scan, len);
    message_replace(&message, FIELD_META_SUBSCRIPTION_ID, pending_id_text(call), call->id_len);
    deliver(router, call->client, target, &message);
}

/* The worker ends a subscription: its request has no other answer than the one made here. */
static void end_subscription(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    pending_t *call = open_call(router, target, scan, FIELD_PARAMS_REQUEST_ID);
    if (!call) {
        router->routing_errors++;
        return;
    }
    message_t message;
    message_init(&message, scan, len);
    message_replace(&message, FIELD_PARAMS_REQUEST_ID, pending_id_text(call), call->id_len);
    if (scan_has(scan, FIELD_META_SUBSCRIPTION_ID))
        message_replace(&message, FIELD_META_SUBSCRIPTION_ID, pending_id_text(call), call->id_len);
    deliver(router, call->client, target, &message);
    error_detail_t detail = {.pool = target->pool, .worker_id = target->worker_id};
    router_fail_call(router, call, RPC_CANCELLED, &detail, "the request was cancelled by its worker");
    router_dispatch_target(router, target);
}

/* The worker withdraws a request of its own; or, unless that `ends` it, asks for an early answer. */
static void take_cancel(router_t *router, target_t *target, const scan_t *scan, size_t len, bool ends) {
    json_span_t id = message_value(scan, FIELD_PARAMS_REQUEST_ID);
    for (list_t *link = list_first(&target->asks); link; link = list_next(&target->asks, link)) {
        pending_t *ask = list_entry(link, pending_t, place);
        if (ask->id_len != id.len || memcmp(pending_id_text(ask), id.text, id.len) != 0) continue;
        char id_text[ID_TEXT_SIZE];
        message_t message;
        message_init(&message, scan, len);
        message_replace(&message, FIELD_PARAMS_REQUEST_ID, id_text, router_id_text(ask->id, id_text));
        deliver(router, ask->client, target, &message);
        if (!ends) return;
        pending_release(&router->pendings, ask);
        return;
    }
    router->routing_errors++;
}

/* To every client with a session or a request on this worker, and the host. */
static void broadcast(router_t *router, target_t *target, const message_t *message) {
    deliver(router, host_of(router), target, message);
    for (list_t *link = list_first(&target->ties); link; link = list_next(&target->ties, link))
        deliver(router, list_entry(link, tie_t, on_target)->client, target, message);
}

static bool is_cancel(const scan_t *scan, const char *method) {
    return method && scan_has(scan, FIELD_PARAMS_REQUEST_ID) &&
           json_string_equals(message_value(scan, FIELD_METHOD), method, strlen(method));
}

static void take_notification(router_t *router, target_t *target, const scan_t *scan, size_t len) {
    const profile_t *profile = target->pool->config->profile;
    if (profile->progress_tokens && scan_has(scan, FIELD_PARAMS_PROGRESS_TOKEN)) {
        take_progress(router, target, scan, len);
        return;
    }
    if (is_cancel(scan, profile->cancel_method)) {
        if (profile->subscriptions) end_subscription(router, target, scan, len);
        else take_cancel(router, target, scan, len, true);
        return;
    }
    if (is_cancel(scan, profile->request_cancel_method)) {
        take_cancel(router, target, scan, len, false);
        return;
    }
    if (profile->subscriptions && scan_has(scan, FIELD_META_SUBSCRIPTION_ID)) {
        take_subscribed(router, target, scan, len);
        return;
    }
    message_t message;
    message_init(&message, scan, len);
    const session_t *session = named_session(router, target, scan);
    restore_session(session, &message, profile->session_field);
    if (session) deliver(router, session->client, target, &message);
    else if (names_session(target, scan)) deliver(router, host_of(router), target, &message); /* forgotten, or the worker's own */
    else broadcast(router, target, &message);
}

bool router_worker_line(router_t *router, target_t *target, const char *text, size_t len) {
    scan_t scan;
    if (json_scan(text, len, &scan) != SCAN_OK) {
        router_worker_damaged(router, target, &scan, len);
        return false;
    }
    bool has_id = scan_has(&scan, FIELD_ID);
    if (scan_has(&scan, FIELD_METHOD)) {
        json_span_t method = message_value(&scan, FIELD_METHOD);
        if (*method.text != '"' || router_is_control(method)) return false;
        if (has_id) take_request(router, target, &scan, len);
        else take_notification(router, target, &scan, len);
        return true;
    }
    /* Some write both members, one of them null: that is an answer all the same. */
    if (!has_id || !(scan_has(&scan, FIELD_RESULT) || scan_has(&scan, FIELD_ERROR))) {
        scan.error = "it has neither a result nor an error";
        router_worker_damaged(router, target, &scan, len);
        return false;
    }
    take_answer(router, target, &scan, len);
    return true;
}

bool router_begin_handshake(router_t *router, target_t *target) {
    const config_handshake_t *config = &target->pool->config->handshake;
    if (!config->method) return false;
    target_set_starting(target);
    static const pending_texts_t no_texts = {0};
    pending_t *handshake = pending_new(&router->pendings, PENDING_HANDSHAKE, NULL, &no_texts);
    buffer_t *b = &router->scratch;
    buffer_consume(b, b->len);
    bool ok = handshake && buffer_json_string(b, config->method, strlen(config->method));
    if (ok) {
        handshake->pool = target->pool;
        handshake->target = target;
        handshake->sent = true;
        char id[ID_TEXT_SIZE];
        piece_t pieces[] = {
            {"{\"jsonrpc\":\"2.0\",\"id\":", 22},
            {id, router_id_text(router_wire_id(handshake), id)},
            {",\"method\":", 10},
            {buffer_bytes(b), b->len},
            {",\"params\":", config->params ? 10 : 0},
            {config->params, config->params ? strlen(config->params) : 0},
            {"}", 1},
        };
        list_append(&target->asks, &handshake->place);
        ok = router_to_worker(router, target, pieces, 7);
    }
    if (!ok) {
        if (handshake) pending_release(&router->pendings, handshake);
        router->ops.handshake_done(router->context, target, "there is no memory for its handshake");
    }
    return true;
}

void router_target_ready(router_t *router, target_t *target) {
    target->pool->failed = false;
    target_set_ready(target, true);
    router_dispatch_pool(router, target->pool);
}

void router_target_drained(router_t *router, target_t *target) {
    target_set_full(target, false);
    router_dispatch_target(router, target);
}

void router_retire(router_t *router, target_t *target) {
    list_t *next;
    target_retire(target);
    for (list_t *link = list_first(&target->sessions); link; link = next) {
        session_t *session = list_entry(link, session_t, on_target);
        next = list_next(&target->sessions, link);
        if (!session->in_flight) sessions_unbind(&router->sessions, session);
    }
}

bool router_is_idle(const target_t *target) {
    return !target->in_flight && !list_first(&target->queue);
}

/* Ends everything that waits in a queue. */
static void fail_queue(router_t *router, list_t *queue, rpc_error_t error, const error_detail_t *detail,
                       const char *message) {
    list_t *link;
    while ((link = list_first(queue))) {
        pending_t *waiting = list_entry(link, pending_t, place);
        if (waiting->kind == PENDING_CALL) {
            router_fail_call(router, waiting, error, detail, message);
        } else {
            router->routing_errors++;
            router_end_note(router, waiting);
        }
    }
}

void router_target_lost(router_t *router, target_t *target, const router_loss_t *loss) {
    list_t *link;
    target_set_ready(target, false);
    while ((link = list_first(&target->sent))) {
        pending_t *call = list_entry(link, pending_t, place);
        error_detail_t detail = {
            .pool = target->pool,
            .worker_id = target->worker_id,
            .retryable = call->position >= target->written,
            .loss = loss,
        };
        router_fail_call(router, call, loss->error, &detail, loss->message);
    }
    error_detail_t unsent = {.pool = target->pool, .worker_id = target->worker_id, .retryable = true, .loss = loss};
    fail_queue(router, &target->queue, loss->error, &unsent, loss->message);
    while ((link = list_first(&target->asks)))
        pending_release(&router->pendings, list_entry(link, pending_t, place));
    while ((link = list_first(&target->sessions)))
        sessions_unbind(&router->sessions, list_entry(link, session_t, on_target));
    target->accepted = target->written = 0;
    router_dispatch_pool(router, target->pool); /* what was left for it, should it have been starting */
}

void router_pool_failed(router_t *router, pool_t *pool, const char *reason, const char *stderr_tail) {
    sys_free(pool->failure);
    sys_free(pool->failure_stderr);
    pool->failed = true;
    pool->failure = buffer_strdup(reason, strlen(reason));
    pool->failure_stderr = buffer_strdup(stderr_tail, strlen(stderr_tail));
    char message[1024];
    snprintf(message, sizeof message, "pool \"%s\" is unavailable: %s", pool->config->id, reason);
    error_detail_t detail = {.pool = pool, .retryable = true, .stderr_tail = stderr_tail};
    fail_queue(router, &pool->queue, RPC_POOL_UNAVAILABLE, &detail, message);
}

bool router_has_work(const router_t *router) {
    bool work = router->pendings.calls > 0;
    for (size_t i = 0; i < router->pool_count; i++) work = work || router->pools[i].queued;
    return work;
}

void router_refuse_waiting(router_t *router) {
    for (size_t i = 0; i < router->pool_count; i++) {
        pool_t *pool = &router->pools[i];
        error_detail_t detail = {.pool = pool, .retryable = true};
        fail_queue(router, &pool->queue, RPC_STOPPING, &detail, "the bus is stopping");
    }
}
