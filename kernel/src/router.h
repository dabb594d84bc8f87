/*
 * router.h - who gets which message: pools, sessions, ids, handshakes, and the one
 * answer that every request has.
 *
 * Takes lines and facts, returns lines through router_ops_t; owns no descriptor, no
 * clock and no loop.  Client-to-worker is in router.c, worker-to-client in
 * router_worker.c, what both share in router_common.c and router_damaged.c
 * (router_internal.h).
 */
#ifndef STDIO_BUS_ROUTER_H
#define STDIO_BUS_ROUTER_H

#include "buffer.h"
#include "client.h"
#include "error.h"
#include "message.h"
#include "pending.h"
#include "pool.h"
#include "session.h"

typedef enum router_order {
    ROUTER_SCALE,   /* pool, number of workers */
    ROUTER_RESTART, /* pool */
    ROUTER_ATTACH,  /* pool; the worker's id */
    ROUTER_OPEN,    /* pool; the id of a logical client whose default it is */
    ROUTER_CLOSE,   /* a logical client */
    ROUTER_DETACH,  /* the rest: a worker */
    ROUTER_PAUSE,
    ROUTER_RESUME
} router_order_t;

typedef struct router_ops {
    /* Queues one line (pieces, without newline) for the worker; false when its queue
     * has no room for it. */
    bool (*to_worker)(void *context, target_t *target, const piece_t *pieces, size_t count);
    /* Queues one line for the client; `worker_id` is the worker it comes from or speaks
     * of, 0 for the bus.  A client that cannot take it is the callee's to deal with. */
    void (*to_client)(void *context, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count);
    /* Appends the status of the bus, a JSON object; false without memory. */
    bool (*status)(void *context, buffer_t *out);
    /* The target's handshake has succeeded (error NULL) or failed (a sentence). */
    void (*handshake_done)(void *context, target_t *target, const char *error);
    /* An order of the host client about a pool, or the worker or client whose id `number` is.
     * A number, or a STDIO_BUS_ERR_ code. */
    int (*manage)(void *context, router_order_t order, pool_t *pool, int64_t number);
    /* A line of a worker that is attached to the host client; false: there is none of this id. */
    bool (*from_attached)(void *context, int64_t worker_id, json_span_t line);
} router_ops_t;

typedef struct router {
    router_ops_t ops;
    void *context;
    pool_t *pools; /* the caller's */
    size_t pool_count;
    size_t max_line;        /* limits.max_input_buffer, for its error message */
    size_t max_queue_bytes; /* of the messages that wait in one pool */
    list_t clients;         /* client_t.link */
    list_t due;             /* target_t.due */
    bool dispatching;
    sessions_t sessions;
    pendings_t pendings;
    buffer_t scratch;  /* error messages under construction */
    bool stopping;     /* set by the caller: new requests are refused, what is under way goes on */
    uint64_t messages_in, bytes_in, messages_out, bytes_out, routing_errors;
} router_t;

/* The caller then sets pools and pool_count; the pools outlive the router. */
void router_init(router_t *router, const router_ops_t *ops, void *context, const config_limits_t *limits);
void router_free(router_t *router); /* every client has been removed */

void router_add_client(router_t *router, client_t *client);
/* Ends everything that belongs to the client. */
void router_empty_client(router_t *router, client_t *client);
/* The same, and takes the client out; the caller then frees it. */
void router_remove_client(router_t *router, client_t *client);

/* One line from a client.  With `answer`, what is wrong is answered to the client and
 * the result is always OK; without, a refusal is returned as a STDIO_BUS_ERR_ code and
 * leaves no trace. */
int router_client_line(router_t *router, client_t *client, const char *text, size_t len, bool answer);
/* A line from a client that exceeds the limit (or memory): head and tail of it. */
void router_client_too_long(router_t *router, client_t *client, const line_t *line);

/* One line from a worker.  False: it is not a JSON-RPC message, but noise. */
bool router_worker_line(router_t *router, target_t *target, const char *text, size_t len);
/* A line from a worker that exceeds the limit.  False when the request it answers
 * cannot be told: the worker can no longer be trusted to answer. */
bool router_worker_too_long(router_t *router, target_t *target, const line_t *line);

/* Sends the pool's handshake to a new worker; true when there is one to wait for. */
bool router_begin_handshake(router_t *router, target_t *target);
/* The worker takes requests from now on. */
void router_target_ready(router_t *router, target_t *target);

/* All that was given to it has been written: it takes messages again. */
void router_target_drained(router_t *router, target_t *target);

/* The worker will be taken away: sessions that are idle on it are unbound at once, busy
 * ones as they become idle; nothing else is given to it. */
void router_retire(router_t *router, target_t *target);
/* Whether nothing is under way at the worker. */
bool router_is_idle(const target_t *target);

/* Why requests of a worker end. */
typedef struct router_loss {
    rpc_error_t error;       /* RPC_WORKER_EXITED, or RPC_STOPPING */
    const char *message;     /* one sentence */
    int exit_code;           /* -1: none */
    int signal;              /* 0: none */
    const char *stderr_tail; /* may be "" */
} router_loss_t;

/* The worker is gone: its requests get their error, its sessions are unbound. */
void router_target_lost(router_t *router, target_t *target, const router_loss_t *loss);
/* No worker of the pool will ever be ready again (until it is restarted). */
void router_pool_failed(router_t *router, pool_t *pool, const char *reason, const char *stderr_tail);

/* Whether answers are awaited or messages wait for a worker. */
bool router_has_work(const router_t *router);
/* Ends what still waits for a worker; for the end of the stop. */
void router_refuse_waiting(router_t *router);

#endif
