/*
 * connection.h - one external client: bytes in, bytes out, and the limits it is held to.
 *
 * What its messages mean is the router's business; who may connect, the listener's.
 * Nothing here frees a connection: it is marked for its end, because the router may be
 * in the middle of something with it, and the listener buries it later.
 */
#ifndef STDIO_BUS_CONNECTION_H
#define STDIO_BUS_CONNECTION_H

#include "buffer.h"
#include "client.h"
#include "config.h"
#include "loop.h"
#include "message.h"
#include "socket.h"

/* Time for the first message where a token is asked for. */
#define CONNECTION_HELLO_MS 5000
/* And its bytes: a stranger has no claim to more memory. */
#define CONNECTION_HELLO_MAX 16384u

struct connection;

typedef struct connection_ops {
    /* One line, or an over-long one. */
    void (*line)(struct connection *connection, line_result_t result, const line_t *line);
} connection_ops_t;

/* What all connections of a bus share. */
typedef struct connection_shared {
    loop_t *loop;
    connection_ops_t ops;
    const config_limits_t *limits;
    char *scratch;  /* the bus's read buffer */
    size_t scratch_size;
    list_t dirty;   /* connection_t.dirty: have bytes to write */
    list_t leaving; /* connection_t.leaving */
    list_t ended;   /* connection_t.ended */
    uint64_t messages_lost; /* answers to clients that had gone or did not read */
} connection_shared_t;

typedef struct connection {
    client_t client;
    connection_shared_t *shared;
    void *listener;
    watch_t watch;
    buffer_t outbox;
    list_t dirty;
    list_t leaving; /* the peer will say no more, but may wait for answers: the listener ends it after them */
    list_t ended;
    loop_timer_t timer; /* until authorized: for hello; later: while the peer does not read */
    bool authorized;
    bool half_closes;   /* the system tells the end of its output from its end; the listener's */
    bool vetted;        /* its first line has been looked at, or need not be; the listener's */
    bool stalled;       /* the outbox is over the limit: nothing is read from the peer */
    const char *last_words; /* it ends for this reason once the outbox is written; or NULL */
    const char *reason; /* of its end; NULL while it lives */
    char peer[SOCKET_PEER_SIZE];
} connection_t;

/* Takes over `fd`.  False: the loop cannot watch it (the caller still has fd). */
bool connection_open(connection_t *connection, connection_shared_t *shared, int fd, int32_t client_id,
                     pool_t *default_pool, bool authorized);
/* Closes and frees what it holds; the router has forgotten the client before. */
void connection_free(connection_t *connection);

void connection_authorize(connection_t *connection);
/* Queues one line. */
void connection_queue(connection_t *connection, const piece_t *pieces, size_t count);
/* Writes what the socket takes. */
void connection_flush(connection_t *connection);
/* Marks it for its end; `reason` is static.  The first reason stays. */
void connection_end(connection_t *connection, const char *reason);
/* The same once what is queued has been written. */
void connection_end_after_flush(connection_t *connection, const char *reason);

#endif
