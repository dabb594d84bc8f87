/*
 * session.h - the bindings of sessions to workers: (client, pool, session id) -> target.
 *
 * Two clients may give their sessions the same name.  On a worker that sees names, the
 * second one's gets a suffix there, so that neither reaches the other's conversation.
 *
 * Two workers that name sessions may give theirs the same name.  For a client that has both,
 * the second one's gets a suffix, so that it reaches either.
 */
#ifndef STDIO_BUS_SESSION_H
#define STDIO_BUS_SESSION_H

#include "client.h"
#include "index.h"
#include "list.h"
#include "pool.h"
#include "tie.h"

#define SESSION_ID_MAX 1024
#define SESSION_SUFFIX_MAX 16

/* What every message needs stands together, at the end: of 100,000 sessions hardly one is in
 * the cache. */
typedef struct session {
    list_t of_client;
    list_t on_target;
    tie_t *tie; /* of the client to the target */
    char suffix[SESSION_SUFFIX_MAX];
    list_t idle; /* in client->idle while nothing is in flight */
    client_t *client;
    target_t *target;
    pool_t *pool; /* the target's: to be told without fetching that */
    uint32_t in_flight;
    uint16_t len;
    /* Its name on the worker is the id without its last `own_len` bytes, which are the
     * client's alone, and with the suffix behind it.  Both are plain ASCII. */
    uint8_t own_len;
    uint8_t suffix_len;
    char id[]; /* decoded, not terminated */
} session_t;

/* What the id and the name on the worker have in common is the beginning, of this length. */
static inline size_t session_stem_len(const session_t *session) {
    return session->len - session->own_len;
}

#define SESSION_NAME_MAX (SESSION_ID_MAX + SESSION_SUFFIX_MAX)

/* Its name on the worker; the length of it. */
size_t session_name(const session_t *session, char out[SESSION_NAME_MAX]);

/* Whether the worker knows it by another name than the client. */
static inline bool session_has_two_names(const session_t *session) {
    return session->own_len || session->suffix_len;
}

typedef struct sessions {
    index_secret_t secret;
    index_t by_client; /* (client, id) */
    index_t by_target; /* (worker id, id and suffix), where workers see names */
    uint64_t named;    /* suffixes made up so far */
    ties_t ties;       /* of sessions, and of whatever else the user ties */
    heap_t holders;    /* client_t.holder: first who has most, of those with an idle one */
    uint64_t uses;     /* a clock for who has not used any for long */
    size_t count;
    size_t max;
} sessions_t;

void sessions_init(sessions_t *sessions, size_t max, const index_secret_t *secret);
void sessions_free(sessions_t *sessions);

/* What a client's session is looked for by.  Of many sessions hardly one is in the cache, and what
 * is not takes as long as all else: to make the key, to fetch and to find are the steps of one
 * search, with work between them for which nothing has to be waited. */
typedef struct session_key {
    const client_t *client;
    const char *id; /* borrowed */
    size_t len;
    uint32_t hash;
} session_key_t;

session_key_t sessions_key(const sessions_t *sessions, const client_t *client, const char *id, size_t len);
void sessions_fetch(const sessions_t *sessions, const session_key_t *key); /* may be left out */
/* The client's session of this key, in `pool`, or in any pool (the one bound last)
 * when `pool` is NULL. */
session_t *sessions_find(const sessions_t *sessions, const session_key_t *key, const pool_t *pool);
/* The session that the worker, which sees names, knows by this one, suffix included. */
session_t *sessions_find_on(const sessions_t *sessions, const target_t *target, const char *name, size_t len);

/* Binds a new session; beyond the maximum the least recently used idle one is forgotten of the client
 * that has most, which this client is if nobody has more.  NULL: its own are busy, or all, or no
 * memory. */
session_t *sessions_bind(sessions_t *sessions, client_t *client, target_t *target, const char *id, size_t len);
/* The same for one that the worker has made and named, and nobody else has on it. */
session_t *sessions_learn(sessions_t *sessions, client_t *client, target_t *target, const char *name, size_t len);
/* Gives the session another name on its worker, so that the present one is free.  False:
 * there is none. */
bool sessions_rename(sessions_t *sessions, session_t *session);
void sessions_unbind(sessions_t *sessions, session_t *session);

/* Counts a request in (+1) or out (-1), 0: a use without a request. */
void sessions_count(sessions_t *sessions, session_t *session, int change);

#endif
