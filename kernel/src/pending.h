/*
 * pending.h - what is under way: requests of clients, requests of workers, handshakes
 * and waiting messages; found by the bus's id or by the client's.
 */
#ifndef STDIO_BUS_PENDING_H
#define STDIO_BUS_PENDING_H

#include "client.h"
#include "index.h"
#include "list.h"
#include "pool.h"
#include "session.h"

typedef enum pending_kind {
    PENDING_CALL,      /* a client's request to a worker */
    PENDING_NOTE,      /* a client's notification, waiting its turn; has no id */
    PENDING_HANDSHAKE, /* the bus's own request to a worker */
    PENDING_ASK        /* a worker's request to a client */
} pending_kind_t;

typedef struct pending {
    uint64_t id; /* the bus's id for it, on the wire; unique among all under way */
    pending_kind_t kind;
    bool host_id;   /* the worker sees the client's own id */
    bool sent;      /* out to the worker (or client, for an ask) */
    bool abandoned; /* the client has its answer; the worker's will be dropped */
    bool indexed;   /* in by_client_id */
    bool handshake; /* a client's own handshake request: answered by the bus */
    bool makes_session; /* its answer may name a new session of the client */
    bool prompt;        /* the profile's prompt: still answers when it is cancelled */
    client_t *client; /* NULL for a handshake of the bus, and once abandoned */
    pool_t *pool;
    target_t *target;   /* where it went or must go; NULL while any worker will do */
    tie_t *tie;         /* of the client to the target, of a call that is sent */
    session_t *session; /* NULL: none bound */
    list_t of_client;
    list_t waiting; /* in client->waiting */
    list_t place; /* in a queue, in target->sent or in target->asks */
    uint64_t sequence; /* order of arrival */
    uint64_t position; /* where its message begins in the target's stream */
    /* Texts as the sender wrote them, one behind the other: the id (a JSON value), the
     * progress token (a JSON value), the routing fields to put back, the session id
     * (decoded).  In `texts`, which is `small` when they fit. */
    uint32_t id_len, token_len, put_back_len, session_len;
    uint32_t hash; /* in by_client_id */
    char *texts;
    char *message; /* the line for the worker, while it waits */
    size_t message_len;
    struct pending *next_free;
    char small[48];
} pending_t;

typedef struct pendings {
    pending_t **chunks;
    size_t chunk_count;
    pending_t *free;
    size_t count; /* entries in use */
    index_secret_t secret; /* set by the user */
    index_t by_client_id;
    size_t calls; /* of kind PENDING_CALL, not abandoned */
    size_t host_ids; /* that workers see the host's own id of, abandoned or not */
    uint64_t sequence;
} pendings_t;

/* At most this many at once; ids stay below 2^52. */
#define PENDING_MAX (1u << 20)

typedef struct pending_texts {
    const char *id, *token, *put_back, *session;
    size_t id_len, token_len, put_back_len, session_len;
} pending_texts_t;

static inline const char *pending_id_text(const pending_t *p) { return p->texts; }
static inline const char *pending_token(const pending_t *p) { return p->texts + p->id_len; }
static inline const char *pending_put_back(const pending_t *p) { return pending_token(p) + p->token_len; }
static inline const char *pending_session_id(const pending_t *p) { return pending_put_back(p) + p->put_back_len; }

void pendings_free(pendings_t *pendings); /* all entries must have been released */

/* A new entry in no list, with the texts copied, findable by pending_of_client when it
 * is a call.  NULL: no memory, PENDING_MAX reached, or the client has as many as it leaves to all
 * others. */
pending_t *pending_new(pendings_t *pendings, pending_kind_t kind, client_t *client, const pending_texts_t *texts);
/* The worker sees the call under the host's own id. */
void pending_pass_host_id(pendings_t *pendings, pending_t *pending);
/* Takes it out of every list and index; the id is never used again. */
void pending_release(pendings_t *pendings, pending_t *pending);
/* The client has been answered; only the worker's late answer is still due.  A call that
 * the worker knows by the host's own id is found by pending_abandoned from then on. */
void pending_abandon(pendings_t *pendings, pending_t *pending);

pending_t *pending_of_id(const pendings_t *pendings, int64_t id);
/* A client's call by the id it gave, as JSON text. */
pending_t *pending_of_client(const pendings_t *pendings, const client_t *client, const char *id, size_t len);
/* An abandoned call at this worker (NULL: at any), by the host's own id. */
pending_t *pending_abandoned(const pendings_t *pendings, const target_t *target, const char *id, size_t len);

#endif
