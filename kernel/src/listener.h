/*
 * listener.h - lets external clients in over TCP or a Unix socket, and buries them.
 */
#ifndef STDIO_BUS_LISTENER_H
#define STDIO_BUS_LISTENER_H

#include "connection.h"
#include "loop.h"
#include "router.h"

#define LISTENER_TOKEN_MAX 1024

/* How long to let nobody in when the system gives no descriptor or no memory for it. */
#define LISTENER_RETRY_MS 100
/* Descriptors that clients leave free: for the bus and its host, and for each worker, which
 * takes six while it is started. */
#define LISTENER_SPARE 16
#define LISTENER_SPARE_PER_WORKER 6

typedef struct listener_ops {
    int32_t (*next_client_id)(void *context);
    void (*connected)(void *context, int32_t client_id, const char *peer);
    void (*disconnected)(void *context, int32_t client_id, const char *reason);
} listener_ops_t;

typedef struct listener {
    connection_shared_t shared;
    router_t *router;
    listener_ops_t ops;
    void *context;
    watch_t watch; /* of the listening socket; fd -1: none */
    int reserve;   /* a spare descriptor, given up to refuse a client when there is no other */
    loop_timer_t retry; /* running: nobody is let in until then */
    uint16_t port; /* of a TCP listener */
    char *path;    /* owned; of a Unix listener */
    socket_file_t file;
    char *token;   /* owned; NULL: none is asked for */
    size_t count;  /* connections */
    uint64_t connects, disconnects;
} listener_t;

/* `scratch` is a read buffer that the caller owns. */
void listener_init(listener_t *listener, loop_t *loop, router_t *router, const config_limits_t *limits, char *scratch,
                   size_t scratch_size, const listener_ops_t *ops, void *context);
void listener_free(listener_t *listener);
/* Closes every connection. */
void listener_end_all(listener_t *listener);

/* What the first message of every client must carry from now on.  False: no memory. */
bool listener_set_token(listener_t *listener, const char *token);

/* Whether TCP on this host is possible: an address, and without a token a loopback one.  False with one
 * sentence in `error`. */
bool listener_may_serve(const listener_t *listener, const char *host, char error[SOCKET_ERROR_SIZE]);

/* Begin to listen; false with one sentence in `error`. */
bool listener_open_tcp(listener_t *listener, const char *host, uint16_t port, char error[SOCKET_ERROR_SIZE]);
bool listener_open_unix(listener_t *listener, const char *path, char error[SOCKET_ERROR_SIZE]);
/* Lets nobody in any more; connections stay. */
void listener_close(listener_t *listener);

/* Writes what is queued, then ends the connections that are to be ended.  True when that
 * has given workers something to write. */
bool listener_flush(listener_t *listener);
/* Whether messages wait for clients to read them. */
bool listener_has_output(const listener_t *listener);

#endif
