/*
 * router_inbound.h - one line from a client, while it is being decided on: what router.c
 * reads from it, router_forward.c sends on and router_control.c answers.
 */
#ifndef STDIO_BUS_ROUTER_INBOUND_H
#define STDIO_BUS_ROUTER_INBOUND_H

#include <string.h>

#include "router_internal.h"
#include "utf8.h"

#define ID_MAX 1024    /* bytes of an id or a token, as JSON text */
#define PUT_BACK_MAX 4096 /* bytes of the routing fields that are kept for an answer */
#define QUOTED_MAX 200 /* bytes of the client's own text in an error message */

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
    scan_field_t session_field; /* that it was read from */
    session_key_t session;      /* len 0: none is named */
    const pending_t *subscription; /* that the message refers to */
} inbound_t;

static inline bool inbound_has(const inbound_t *in, scan_field_t field) {
    return scan_has(in->scan, field);
}

static inline json_span_t inbound_value(const inbound_t *in, scan_field_t field) {
    return message_value(in->scan, field);
}

static inline bool inbound_is_method(const inbound_t *in, const char *name) {
    return name && json_string_equals(in->method, name, strlen(name));
}

/* How much of the text fits into an error message. */
static inline int router_clip(json_span_t text) {
    return utf8_clip(text.text, text.len, QUOTED_MAX);
}

/* Ends the decision: every step below returns false once the line is done with, and
 * true to go on.  A refusal is answered, or left in in->code. */
bool router_refuse(inbound_t *in, rpc_error_t error, const error_detail_t *detail, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool router_refuse_memory(inbound_t *in);
void router_answer_result(inbound_t *in, const char *result);

/* The pool of this name, a JSON value; NULL: there is none. */
pool_t *router_find_pool(const router_t *router, json_span_t name);

/* A request or notification for in->pool. */
bool router_forward(inbound_t *in);

/* Methods in the bus's own name space. */
bool router_control(inbound_t *in);
/* The client withdraws a request by its id; the bus makes the answer. */
bool router_cancel(inbound_t *in, json_span_t id);
/* The client asks for an early answer to a request by its id; the worker makes it. */
bool router_cancel_early(inbound_t *in, json_span_t id);
/* Ends a call that its client does not wait for any more; the worker is told where its
 * profile has a word for that. */
void router_withdraw(router_t *router, pending_t *call);

#endif
