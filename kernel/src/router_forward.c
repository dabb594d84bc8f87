/*
 * router_forward.c - a request or notification on its way to a worker: its entry, what the
 * worker will see of it, and the place it goes to or waits in.
 */
#include <string.h>

#include "router_inbound.h"
#include "stdio_bus.h"
#include "sys.h"

/* Of the host's ids that workers see, those given up included. */
#define HOST_IDS_MAX 65536

/* Whether a worker that decodes and encodes the id writes the same bytes: anything else
 * than an integer or a plain string may come back in another spelling. */
static bool keeps_spelling(json_span_t id) {
    int64_t number;
    if (!json_is_string(id))
        return json_integer(id, &number) && number < WIRE_IDS_FROM && number > -WIRE_IDS_FROM && (number || id.len == 1);
    for (size_t i = 1; i + 1 < id.len; i++)
        if (id.text[i] < ' ' || id.text[i] > '~' || memchr("\\/<>&", id.text[i], 5)) return false;
    return true;
}

/* Whether the worker sees the host's own id: not while an answer to an earlier use of it may
 * come, nor where so many are remembered for that; nor if it could be one of the bus. */
static bool passes_host_id(const inbound_t *in) {
    const pendings_t *pendings = &in->router->pendings;
    return in->pool->config->profile->host_ids && in->client->id == STDIO_BUS_HOST_CLIENT && keeps_spelling(in->id) &&
           pendings->host_ids < HOST_IDS_MAX && !pending_abandoned(pendings, NULL, in->id.text, in->id.len);
}

/* The routing fields as the client wrote them, for the answer.  NULL: refused. */
static char *copy_routing_fields(inbound_t *in, size_t *len) {
    size_t size = 0;
    *len = 0;
    for (size_t i = 0; i < ROUTING_FIELD_COUNT; i++) {
        const scan_value_t *value = &in->scan->field[ROUTING_FIELDS[i]];
        size += value->end - value->key + 1;
    }
    if (size > PUT_BACK_MAX) {
        router_refuse(in, RPC_INVALID_REQUEST, NULL,
                      "\"pool\", \"sessionId\", \"agentId\" and \"_ext\" must be at most %d bytes together", PUT_BACK_MAX);
        return NULL;
    }
    char *copy = sys_malloc(size);
    if (!copy) {
        router_refuse_memory(in);
        return NULL;
    }
    for (size_t i = 0; i < ROUTING_FIELD_COUNT; i++) {
        const scan_value_t *value = &in->scan->field[ROUTING_FIELDS[i]];
        if (!value->end) continue;
        memcpy(copy + *len, in->scan->text + value->key, value->end - value->key);
        *len += value->end - value->key;
        copy[(*len)++] = ',';
    }
    return copy;
}

/* A subscription that the client names by the id of its request: the worker knows it by
 * another.  One that is not open would be taken for somebody else's. */
static bool take_subscription(inbound_t *in) {
    if (!in->pool->config->profile->subscriptions || !inbound_has(in, FIELD_META_SUBSCRIPTION_ID)) return true;
    json_span_t id = inbound_value(in, FIELD_META_SUBSCRIPTION_ID);
    in->subscription = pending_of_client(&in->router->pendings, in->client, id.text, id.len);
    if (in->subscription && in->subscription->pool == in->pool) return true;
    return router_refuse(in, RPC_INVALID_REQUEST, NULL, "\"subscriptionId\" must be the id of a request in flight");
}

static bool take_token(inbound_t *in, pending_texts_t *texts) {
    if (!in->pool->config->profile->progress_tokens || !inbound_has(in, FIELD_META_PROGRESS_TOKEN)) return true;
    json_span_t token = inbound_value(in, FIELD_META_PROGRESS_TOKEN);
    if (token.len > ID_MAX || !(json_is_string(token) || json_is_number(token)))
        return router_refuse(in, RPC_INVALID_REQUEST, NULL,
                             "\"progressToken\" must be a string or a number of at most %d bytes", ID_MAX);
    texts->token = token.text;
    texts->token_len = token.len;
    return true;
}

static bool makes_session(const inbound_t *in) {
    const char *const *method = in->pool->config->profile->session_makers;
    while (*method && !inbound_is_method(in, *method)) method++;
    return *method != NULL;
}

/* The entry for a request or a notification.  NULL: refused. */
static pending_t *enter(inbound_t *in) {
    router_t *router = in->router;
    const profile_t *profile = in->pool->config->profile;
    pending_texts_t texts = {.session = in->session_id, .session_len = in->session.len};
    pending_t *p;
    if (!take_subscription(in)) return NULL;
    if (in->id.text) {
        char *put_back = NULL;
        if (pending_of_client(&router->pendings, in->client, in->id.text, in->id.len)) {
            router_refuse(in, RPC_INVALID_REQUEST, NULL,
                          "id %.*s is in flight already: ids must be unique until answered", router_clip(in->id),
                          in->id.text);
            return NULL;
        }
        if (!take_token(in, &texts)) return NULL;
        texts.id = in->id.text;
        texts.id_len = in->id.len;
        if (profile->put_back && !(put_back = copy_routing_fields(in, &texts.put_back_len))) return NULL;
        texts.put_back = put_back;
        p = pending_new(&router->pendings, PENDING_CALL, in->client, &texts);
        sys_free(put_back);
    } else {
        p = pending_new(&router->pendings, PENDING_NOTE, in->client, &texts);
    }
    if (!p) {
        router_refuse_memory(in);
        return NULL;
    }
    p->pool = in->pool;
    if (in->id.text && passes_host_id(in)) pending_pass_host_id(&router->pendings, p);
    p->makes_session = in->id.text && makes_session(in);
    p->prompt = in->id.text && inbound_has(in, profile->session_field) && inbound_is_method(in, profile->prompt_method);
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
    size_t id_len = router_id_text(router_wire_id(p), out->id_text);
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
        return router_refuse(in, RPC_OVERLOADED, &detail,
                             "pool \"%s\" is busy and its queue is full with %zu messages: retry later",
                             pool->config->id, pool->queued);
    }
    char *to = p->message = sys_malloc(len);
    if (!to) return router_refuse_memory(in);
    for (size_t i = 0; i < line.count; i++) {
        memcpy(to, line.pieces[i].text, line.pieces[i].len);
        to += line.pieces[i].len;
    }
    p->message_len = len;
    pool->queued++;
    pool->queued_bytes += len;
    p->target = bound;
    list_append(bound ? &bound->queue : &pool->queue, &p->place);
    list_append(&in->client->waiting, &p->waiting);
    return true;
}

static bool is_handshake(const inbound_t *in) {
    return inbound_is_method(in, in->pool->config->handshake.method);
}

static bool count_session(inbound_t *in, pending_t *p, session_t *session) {
    if (!session) {
        error_detail_t detail = {.pool = in->pool, .retryable = true};
        return router_refuse(in, RPC_OVERLOADED, &detail, "too many sessions are busy: retry later");
    }
    bool call = p->kind == PENDING_CALL;
    sessions_count(&in->router->sessions, session, call);
    if (call) p->session = session;
    return true;
}

/* Whether the message, a notification, is for a prompt that the worker has in hand: then
 * it must not wait behind what that prompt keeps waiting. */
static bool cancels_prompt(const inbound_t *in, const session_t *session) {
    if (in->id.text || !inbound_is_method(in, in->pool->config->profile->prompt_cancel_method)) return false;
    const list_t *sent = &session->target->sent;
    for (list_t *link = list_first(sent); link; link = list_next(sent, link)) {
        const pending_t *call = list_entry(link, pending_t, place);
        if (call->prompt && call->session == session) return true;
    }
    return false;
}

/* Whether a message for the session must wait its turn.  A request does behind whatever waits for the
 * worker; a notification only behind what its own client has sent before: a request in hand may need it,
 * and what others want waits for that request. */
static bool must_wait(const inbound_t *in, const pending_t *p, const session_t *session) {
    const target_t *target = session->target;
    if (p->kind == PENDING_CALL)
        return !target_has_room(target) || list_first(&target->queue) ||
               (list_first(&in->pool->queue) && !target->retiring); /* which takes nothing from there */
    if (!target->ready) return true;
    const list_t *waiting = &in->client->waiting;
    for (list_t *link = list_first(waiting); link; link = list_next(waiting, link))
        if (list_entry(link, pending_t, waiting)->pool == in->pool) return !cancels_prompt(in, session);
    return false;
}

/* To the session's worker, or to the least loaded one, or into a queue; in the order
 * in which the client sent.  False: refused. */
static bool place(inbound_t *in, pending_t *p) {
    router_t *router = in->router;
    session_t *session = in->session.len ? sessions_find(&router->sessions, &in->session, in->pool) : NULL;
    target_t *target;
    if (session) {
        target = session->target;
        if (!count_session(in, p, session)) return false;
        if (must_wait(in, p, session)) return enqueue(in, p, target);
    } else {
        target = list_first(&in->pool->queue) ? NULL : pool_choose(in->pool);
        if (!target) {
            if (!enqueue(in, p, NULL)) return false;
            /* The more wait, the larger is a ready worker's share. */
            if (in->pool->starting) router_dispatch_pool(router, in->pool);
            return true;
        }
        if (in->session.len) {
            session = sessions_bind(&router->sessions, in->client, target, in->session_id, in->session.len);
            if (!count_session(in, p, session)) return false;
        }
    }
    composed_t line;
    compose(in, p, session, &line);
    if (router_send_pending(router, p, target, line.pieces, line.count)) return true;
    error_detail_t detail = {.pool = in->pool, .worker_id = target->worker_id, .retryable = true};
    return router_refuse(in, RPC_OVERLOADED, &detail, ROUTER_INPUT_FULL);
}

/* Whether the message, a notification, may be for a request that a worker has in hand: a stop waits for
 * that one. */
static bool is_for_request_in_hand(const inbound_t *in) {
    if (in->id.text || !in->session.len) return false;
    const session_t *session = sessions_find(&in->router->sessions, &in->session, in->pool);
    return session && session->in_flight;
}

bool router_forward(inbound_t *in) {
    router_t *router = in->router;
    pool_t *pool = in->pool;
    error_detail_t detail = {.pool = pool, .retryable = true};
    if (router->stopping && !is_for_request_in_hand(in))
        return router_refuse(in, RPC_STOPPING, &detail, "the bus is stopping");
    if (pool->failed) {
        detail.stderr_tail = pool->failure_stderr ? pool->failure_stderr : "";
        return router_refuse(in, RPC_POOL_UNAVAILABLE, &detail, "pool \"%s\" is unavailable: %s", pool->config->id,
                             pool->failure ? pool->failure : "its workers failed");
    }
    bool handshake = in->id.text && is_handshake(in);
    if (handshake && pool->handshake_result) {
        router_answer_result(in, pool->handshake_result);
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
