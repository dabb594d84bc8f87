/*
 * profile.h - what is particular to a protocol, as one table of data.
 *
 * A profile says what a worker may see and which method names mean something to the
 * router.  The router holds the code; nothing here runs.
 */
#ifndef STDIO_BUS_PROFILE_H
#define STDIO_BUS_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "json_scan.h"

typedef struct profile {
    const char *name;
    /* Workers see JSON-RPC 2.0 and nothing else: routing fields are taken out, unknown
     * top-level fields are refused.  Otherwise the client's line, ids apart. */
    bool clean;
    bool host_ids;   /* the host client's ids reach the worker unchanged */
    bool put_back;   /* routing fields of a request return on its answer */
    /* Where a message names its session; what has none there may have a top-level sessionId. */
    scan_field_t session_field;
    /* params._meta.progressToken and progress notifications carry an id of the bus. */
    bool progress_tokens;
    /* Notifications and the result of a subscription carry its request's id in _meta; and the
     * worker may end one with the cancel notification. */
    bool subscriptions;
    /* A request with params.requestState goes to the worker whose result.requestState it is. */
    bool request_states;
    /* The notification that withdraws a request (params.requestId); NULL: there is none. */
    const char *cancel_method;
    /* The notification, from either side, that asks for an early answer to a request
     * (params.requestId), which is answered all the same; NULL: there is none. */
    const char *request_cancel_method;
    /* Requests whose result.sessionId names a session that belongs to whoever asked; ends
     * with NULL. */
    const char *session_makers[4];
    /* A request in a session, and the notification (params.sessionId) that makes the worker
     * answer it early; NULL: there is none. */
    const char *prompt_method;
    const char *prompt_cancel_method;
    /* A request that the bus answers "method not found" itself; NULL: none. */
    const char *refused_method;
    /* The default handshake; NULL: none.  handshake_params is JSON text. */
    const char *handshake_method;
    const char *handshake_params;
    const char *handshake_notification;
} profile_t;

/* Whether workers see the names of sessions: not where the field is taken out. */
static inline bool profile_shows_sessions(const profile_t *profile) {
    return !profile->clean || profile->session_field != FIELD_SESSION_ID;
}

/* NULL when there is no such profile. */
const profile_t *profile_find(const char *name, size_t len);

/* The names, comma-separated, for error messages. */
const char *profile_names(void);

#endif
