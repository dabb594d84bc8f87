/*
 * router_common.c - see router_internal.h: lines out, errors, ends of calls, and the
 * queues of what waits for a worker.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router_internal.h"
#include "sys.h"

/* An error carries at most this much of the stderr lines kept: thousands of requests
 * can end by one exit. */
#define STDERR_IN_ERROR 2048
#define SCRATCH_MAX (64u * 1024)

void router_init(router_t *router, const router_ops_t *ops, void *context, const config_limits_t *limits) {
    *router = (router_t){
        .ops = *ops,
        .context = context,
        .max_line = (size_t)limits->max_input_buffer,
        .max_queue_bytes = config_queue_size(limits),
    };
    list_init(&router->clients);
    list_init(&router->due);
    index_secret_t secret;
    sys_random(&secret, sizeof secret);
    sessions_init(&router->sessions, (size_t)limits->max_sessions, &secret);
    router->pendings.secret = secret;
    buffer_init(&router->scratch, SCRATCH_MAX);
}

void router_free(router_t *router) {
    sessions_free(&router->sessions);
    pendings_free(&router->pendings);
    buffer_free(&router->scratch);
}

void router_to_client(router_t *router, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count) {
    router->messages_out++;
    for (size_t i = 0; i < count; i++) router->bytes_out += pieces[i].len;
    router->ops.to_client(router->context, client, worker_id, pieces, count);
}

bool router_to_worker(router_t *router, target_t *target, const piece_t *pieces, size_t count) {
    if (!router->ops.to_worker(router->context, target, pieces, count)) return false;
    for (size_t i = 0; i < count; i++) target->accepted += pieces[i].len;
    target->accepted++; /* the newline */
    return true;
}

static bool append_details(buffer_t *b, const error_detail_t *d) {
    bool ok = true;
    if (d->loss) {
        ok = d->loss->exit_code >= 0 ? buffer_printf(b, ",\"exit_code\":%d", d->loss->exit_code)
                                     : buffer_puts(b, ",\"exit_code\":null");
        ok = ok && (d->loss->signal ? buffer_printf(b, ",\"signal\":%d", d->loss->signal)
                                    : buffer_puts(b, ",\"signal\":null"));
    }
    const char *text = d->loss ? d->loss->stderr_tail : d->stderr_tail;
    if (!text) return ok;
    size_t len = strlen(text);
    if (len > STDERR_IN_ERROR) {
        text += len - STDERR_IN_ERROR;
        while (((unsigned char)*text & 0xC0) == 0x80) text++; /* no half a character */
        len = strlen(text);
    }
    return ok && buffer_puts(b, ",\"stderr\":") && buffer_json_string(b, text, len);
}

void router_send_error(router_t *router, client_t *client, const char *id, size_t id_len, rpc_error_t error,
                       const error_detail_t *detail, const char *message) {
    static const error_detail_t nothing = {0};
    const error_detail_t *d = detail ? detail : &nothing;
    buffer_t *b = &router->scratch;
    buffer_consume(b, b->len);
    bool ok = buffer_printf(b, "\"error\":{\"code\":%d,\"message\":", rpc_error_code(error)) &&
              buffer_json_string(b, message, strlen(message)) &&
              buffer_puts(b, ",\"data\":{\"source\":\"stdio_bus\",\"pool\":") &&
              (d->pool ? buffer_json_string(b, d->pool->config->id, strlen(d->pool->config->id))
                       : buffer_puts(b, "null")) &&
              (d->worker_id ? buffer_printf(b, ",\"worker\":%" PRId32, d->worker_id) : buffer_puts(b, ",\"worker\":null")) &&
              buffer_printf(b, ",\"reason\":\"%s\",\"retryable\":%s", rpc_error_reason(error),
                            d->retryable ? "true" : "false") &&
              append_details(b, d) && buffer_puts(b, "}}}");
    char bare[96]; /* without memory the caller still gets its answer */
    if (!ok) {
        snprintf(bare, sizeof bare, "\"error\":{\"code\":%d,\"message\":\"%s\"}}", rpc_error_code(error),
                 rpc_error_reason(error));
    }
    const char *body = ok ? buffer_bytes(b) : bare;
    piece_t pieces[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":", 22},
        {id ? id : "null", id ? id_len : 4},
        {",", 1},
        {body, ok ? b->len : strlen(bare)},
    };
    router_to_client(router, client, d->worker_id, pieces, 4);
}

size_t router_id_text(uint64_t id, char out[ID_TEXT_SIZE]) {
    char digits[ID_TEXT_SIZE];
    size_t len = 0;
    do digits[len++] = (char)('0' + id % 10);
    while (id /= 10);
    for (size_t i = 0; i < len; i++) out[i] = digits[len - 1 - i];
    return len;
}

bool router_session_name(const session_t *session, buffer_t *out) {
    char name[SESSION_NAME_MAX];
    return buffer_json_string(out, name, session_name(session, name));
}

/* From one character of a JSON string to the next. */
static size_t step(const char *text) {
    if (*text != '\\') return 1;
    return text[1] == 'u' ? 6 : 2;
}

/* How many bytes stand for the last `count` characters of a JSON string, plain ASCII written with
 * escapes. */
static size_t spelled_len(json_span_t string, size_t count) {
    size_t end = string.len - 1, all = 0, at = 1;
    for (; at < end; at += step(string.text + at)) all++;
    at = 1;
    for (size_t before = all - count; before > 0; before--) at += step(string.text + at);
    return end - at;
}

void router_swap_ending(message_t *message, scan_field_t field, const char *from, size_t from_len, const char *to,
                        size_t to_len) {
    json_span_t name = message_value(message->scan, field);
    bool plain = name.len >= from_len + 2 && memcmp(name.text + name.len - 1 - from_len, from, from_len) == 0;
    message_change_ending(message, field, plain ? from_len : spelled_len(name, from_len), to, to_len);
}

void router_name_session(message_t *message, const profile_t *profile, const session_t *session) {
    if (!session || !session_has_two_names(session) || !profile_shows_sessions(profile)) return;
    if (!scan_has(message->scan, profile->session_field)) return;
    const char *own = session->id + session_stem_len(session);
    router_swap_ending(message, profile->session_field, own, session->own_len, session->suffix, session->suffix_len);
}

size_t router_state_id(json_span_t state, char out[STATE_ID_SIZE]) {
    out[0] = '\0';
    return 1 + (size_t)snprintf(out + 1, STATE_ID_SIZE - 1, "state:%016" PRIx64, json_string_hash(state));
}

bool router_is_control(json_span_t method) {
    static const char prefix[] = "stdio_bus/";
    return json_string_begins(method, prefix, sizeof prefix - 1);
}

/* Out of the queue it waits in, if it does.  Returns its message, for the caller to
 * free. */
static char *leave_queue(pending_t *p) {
    char *message = p->message;
    if (!message) return NULL;
    p->pool->queued--;
    p->pool->queued_bytes -= p->message_len;
    list_remove(&p->place);
    list_remove(&p->waiting);
    p->message = NULL;
    return message;
}

void router_leave_session(router_t *router, pending_t *call) {
    session_t *session = call->session;
    call->session = NULL;
    if (!session) return;
    sessions_count(&router->sessions, session, -1);
    if (!session->in_flight && session->target->retiring) sessions_unbind(&router->sessions, session);
}

void router_end_call(router_t *router, pending_t *call) {
    sys_free(leave_queue(call));
    router_leave_session(router, call);
    if (call->sent) target_count(call->target, -1);
    pending_release(&router->pendings, call);
}

void router_end_note(router_t *router, pending_t *note) {
    sys_free(leave_queue(note));
    pending_release(&router->pendings, note);
}

void router_fail_call(router_t *router, pending_t *call, rpc_error_t error, const error_detail_t *detail,
                      const char *message) {
    if (call->client)
        router_send_error(router, call->client, pending_id_text(call), call->id_len, error, detail, message);
    router_end_call(router, call);
}

static void answer_handshake(router_t *router, pending_t *call) {
    const char *result = call->pool->handshake_result;
    piece_t pieces[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":", 22},
        {pending_id_text(call), call->id_len},
        {",\"result\":", 10},
        {result, strlen(result)},
        {"}", 1},
    };
    router_to_client(router, call->client, 0, pieces, 5);
    router_end_call(router, call);
}

bool router_send_pending(router_t *router, pending_t *p, target_t *target, const piece_t *pieces, size_t count) {
    p->target = target;
    p->position = target->accepted;
    if (p->kind == PENDING_CALL && !tie_take(&router->sessions.ties, p->client, target, &p->tie)) return false;
    if (!router_to_worker(router, target, pieces, count)) {
        tie_drop(p->tie);
        p->tie = NULL;
        return false;
    }
    if (p->kind == PENDING_NOTE) {
        router_end_note(router, p);
        return true;
    }
    p->sent = true;
    if (p->makes_session) target->makers++;
    tie_count_call(p->tie, target, +1);
    list_append(&target->sent, &p->place);
    target_count(target, +1);
    return true;
}

static void insert_by_sequence(list_t *queue, pending_t *p) {
    list_t *after = queue->prev;
    while (after != queue && list_entry(after, pending_t, place)->sequence > p->sequence) after = after->prev;
    list_append(after->next, &p->place); /* that is: in front of what follows */
}

/* Back to where it has waited, or to the worker that its session is bound to by now. */
static void wait_again(pending_t *p, char *message, target_t *bound) {
    pool_t *pool = p->pool;
    p->message = message;
    p->target = bound;
    pool->queued++;
    pool->queued_bytes += p->message_len;
    insert_by_sequence(bound ? &bound->queue : &pool->queue, p);
    if (p->client) list_append(&p->client->waiting, &p->waiting);
}

/* Sends a waiting message, or fails it; it goes on waiting if the worker's input is full.  It was
 * composed without the session's name on the worker, which may have changed since. */
static void send_waiting(router_t *router, pending_t *p, target_t *target, session_t *session) {
    scan_t scan = {.text = p->message};
    message_t message;
    piece_t pieces[MESSAGE_MAX_PIECES];
    message_init(&message, &scan, p->message_len);
    if (session && session_has_two_names(session)) {
        json_scan(p->message, p->message_len, &scan);
        router_name_session(&message, p->pool->config->profile, session);
    }
    size_t count = message_pieces(&message, pieces);
    char *text = leave_queue(p);
    target_t *bound = session ? target : p->target;
    error_detail_t detail = {.pool = p->pool, .worker_id = target->worker_id, .retryable = true};
    if (!router_send_pending(router, p, target, pieces, count)) {
        if (target->full) {
            wait_again(p, text, bound);
            return;
        }
        if (p->kind == PENDING_CALL) {
            router_fail_call(router, p, RPC_OVERLOADED, &detail, ROUTER_INPUT_FULL);
        } else {
            router->routing_errors++;
            router_end_note(router, p);
        }
    }
    sys_free(text);
}

/* The session of a waiting message, NULL without one; bound here if it was not when the
 * message came.  False: no room for it, or no memory. */
static bool bind_waiting(router_t *router, pending_t *p, target_t *target, session_t **session) {
    *session = p->session;
    if (!p->session_len || p->session || !p->client) return true;
    const char *id = pending_session_id(p);
    session_key_t key = sessions_key(&router->sessions, p->client, id, p->session_len);
    *session = sessions_find(&router->sessions, &key, p->pool);
    if (!*session && target->retiring) return true; /* its session has been unbound, and is to stay that */
    if (!*session) *session = sessions_bind(&router->sessions, p->client, target, id, p->session_len);
    if (!*session) return false;
    sessions_count(&router->sessions, *session, p->kind == PENDING_CALL);
    if (p->kind == PENDING_CALL) p->session = *session;
    p->target = (*session)->target;
    return true;
}

static void mark_due(router_t *router, target_t *target) {
    if (!target->due.next) list_append(&router->due, &target->due);
}

static void dispatch(router_t *router, target_t *target) {
    pool_t *pool = target->pool;
    while (target->ready && !target->full) {
        list_t *own = list_first(&target->queue), *any = target->retiring ? NULL : list_first(&pool->queue);
        pending_t *mine = own ? list_entry(own, pending_t, place) : NULL;
        pending_t *next = any ? list_entry(any, pending_t, place) : NULL;
        if (mine && (!next || mine->sequence < next->sequence)) next = mine;
        if (!next) return;
        if (next->handshake && pool->handshake_result) {
            answer_handshake(router, next);
            continue;
        }
        if (next->kind == PENDING_CALL && !target_has_room(target)) return;
        if (next != mine && !target_has_share(target)) return; /* nor what has come after it: order */
        session_t *session;
        if (!bind_waiting(router, next, target, &session)) {
            error_detail_t detail = {.pool = pool, .retryable = true};
            if (next->kind == PENDING_CALL)
                router_fail_call(router, next, RPC_OVERLOADED, &detail, "too many sessions are busy: retry later");
            else router_end_note(router, next);
            continue;
        }
        if (next->target && next->target != target) {
            /* Its session was bound to another worker meanwhile: wait there. */
            target_t *bound = next->target;
            list_remove(&next->place);
            insert_by_sequence(&bound->queue, next);
            mark_due(router, bound);
            continue;
        }
        send_waiting(router, next, target, session);
    }
}

/* One worker's turn can give others something to do: they take theirs afterwards. */
void router_dispatch_due(router_t *router) {
    list_t *link;
    if (router->dispatching) return;
    router->dispatching = true;
    while ((link = list_first(&router->due))) {
        list_remove(link);
        dispatch(router, list_entry(link, target_t, due));
    }
    router->dispatching = false;
}

void router_dispatch_target(router_t *router, target_t *target) {
    mark_due(router, target);
    router_dispatch_due(router);
}

static void mark_all_due(router_t *router, const pool_t *pool) {
    for (size_t i = 0; i < pool->ready.count; i++)
        mark_due(router, list_entry(pool->ready.places[i].node, target_t, node));
}

void router_dispatch_pool(router_t *router, pool_t *pool) {
    mark_all_due(router, pool);
    router_dispatch_due(router);
}

void router_end_waiting(router_t *router, pending_t *p) {
    pool_t *pool = p->pool;
    target_t *bound = p->target;
    bool first = list_first(bound ? &bound->queue : &pool->queue) == &p->place;
    if (p->kind == PENDING_CALL) router_end_call(router, p);
    else router_end_note(router, p);
    if (!first) return; /* nobody has waited for it */
    if (bound) mark_due(router, bound);
    else mark_all_due(router, pool);
}
