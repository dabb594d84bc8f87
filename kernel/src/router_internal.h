/*
 * router_internal.h - what the two directions of the router share (router_common.c).
 */
#ifndef STDIO_BUS_ROUTER_INTERNAL_H
#define STDIO_BUS_ROUTER_INTERNAL_H

#include "router.h"

/* Fields for the bus that JSON-RPC does not know. */
static const scan_field_t ROUTING_FIELDS[] = {FIELD_POOL, FIELD_SESSION_ID, FIELD_AGENT_ID, FIELD_EXT};
#define ROUTING_FIELD_COUNT (sizeof ROUTING_FIELDS / sizeof *ROUTING_FIELDS)

/* What an error that the bus makes says besides its sentence. */
typedef struct error_detail {
    const pool_t *pool;      /* NULL: none */
    int32_t worker_id;       /* 0: none */
    bool retryable;          /* the request cannot have reached a worker */
    const router_loss_t *loss; /* adds exit_code, signal and stderr; NULL: none */
    const char *stderr_tail; /* adds stderr; NULL: none */
} error_detail_t;

void router_to_client(router_t *router, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count);
/* Counts the bytes in target->accepted. */
bool router_to_worker(router_t *router, target_t *target, const piece_t *pieces, size_t count);

/* The name of a session on its worker: appended as a JSON string; put into a message that
 * has the client's (the session may be NULL, and the name the same). */
bool router_session_name(const session_t *session, buffer_t *out);
/* Swaps the ending of the field's value, a name of a session that ends so, however it is spelled:
 * both endings are plain ASCII. */
void router_swap_ending(message_t *message, scan_field_t field, const char *from, size_t from_len, const char *to,
                        size_t to_len);
void router_name_session(message_t *message, const profile_t *profile, const session_t *session);

/* The id of a request state (a JSON string) among its client's sessions: of fixed length,
 * for states may be long, and a NUL in front sets it apart from real names. */
#define STATE_ID_SIZE 32
size_t router_state_id(json_span_t state, char out[STATE_ID_SIZE]);

/* Answers the request whose id (JSON text) is given; NULL for null. */
void router_send_error(router_t *router, client_t *client, const char *id, size_t id_len, rpc_error_t error,
                       const error_detail_t *detail, const char *message);

/* Take a call, a waiting notification, out of all accounts. */
void router_end_call(router_t *router, pending_t *call);
/* The call is no longer one of its session's. */
void router_leave_session(router_t *router, pending_t *call);
/* Ends a call or a notification that waits.  Those that may go on now are due: router_dispatch_due. */
void router_end_waiting(router_t *router, pending_t *p);
void router_dispatch_due(router_t *router);
void router_end_note(router_t *router, pending_t *note);
/* Answers the call with an error of the bus and ends it. */
void router_fail_call(router_t *router, pending_t *call, rpc_error_t error, const error_detail_t *detail,
                      const char *message);

/* Sends this worker what waits for it and what waits for any, as far as it has room. */
void router_dispatch_target(router_t *router, target_t *target);
/* The same for all ready workers of the pool, the least loaded first. */
void router_dispatch_pool(router_t *router, pool_t *pool);

/* Sends a call, or a notification (which is done with then).  False when the worker's
 * queue has no room: the entry is as before. */
bool router_send_pending(router_t *router, pending_t *pending, target_t *target, const piece_t *pieces, size_t count);
#define ROUTER_INPUT_FULL "the worker does not read its input and its queue is full: retry later"

/* Answers a worker's request with an error, in place of the client. */
void router_refuse_ask(router_t *router, pending_t *ask, const char *message);

/* The request of a client, or the bus's own, that an answer belongs to; NULL when it is late or
 * made up. */
pending_t *router_find_answered(const router_t *router, const target_t *target, json_span_t id);
/* Answers a worker's request in the bus's name. */
void router_refuse_worker(router_t *router, target_t *target, json_span_t id, rpc_error_t error, const char *message);

/* What can be told of an over-long line, from its head or its tail: its id as JSON text, and
 * whether it has a method. */
bool router_find_id(const line_t *line, json_span_t *id);
bool router_has_method(const line_t *line);
/* A worker's line that is no JSON-RPC message (scan->error says why): ends the request that it
 * answers, if that can be told. */
void router_worker_damaged(router_t *router, target_t *target, const scan_t *scan, size_t len);

/* Whether the method (a JSON string) is in the bus's own name space, stdio_bus/. */
bool router_is_control(json_span_t method);

/* The decimal form of a bus id. */
/* Where workers see ids of the host, the bus's own are these and more, up to 2^53 (what every JSON
 * library keeps): no id of the host that passes is one of them, also when it is answered late. */
#define WIRE_IDS_FROM ((int64_t)1 << 52)
static inline uint64_t router_wire_id(const pending_t *p) {
    return p->id + (p->pool->config->profile->host_ids ? (uint64_t)WIRE_IDS_FROM : 0);
}
#define ID_TEXT_SIZE 24
size_t router_id_text(uint64_t id, char out[ID_TEXT_SIZE]);

#endif
