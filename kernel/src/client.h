/*
 * client.h - whoever sends messages into the bus, as the router sees it: a space of
 * ids, tokens and sessions, and what it has under way.
 */
#ifndef STDIO_BUS_CLIENT_H
#define STDIO_BUS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "heap.h"
#include "line.h"
#include "list.h"
#include "pool.h"

typedef struct client {
    list_t link; /* in the router's list */
    bool external; /* embedded in a connection_t; otherwise it is the host's */
    int32_t id;
    pool_t *default_pool; /* for messages that name none */
    list_t pending;       /* pending_t.of_client: in both directions */
    size_t pending_count;
    list_t waiting;       /* pending_t.waiting: those that wait for a worker */
    list_t sessions;      /* session_t.of_client */
    list_t idle;          /* session_t.idle: those with nothing in flight, the least recently used first */
    size_t session_count;
    uint64_t session_use; /* when it last used one, by the clock of sessions_t */
    heap_node_t holder;   /* in sessions_t.holders, while it has a session */
    line_reader_t lines;  /* its stream */
    bool silent;          /* says no more: cannot be asked anything */
    bool feeding;         /* lines are being taken from it: what comes meanwhile waits in `later` */
    buffer_t later;
} client_t;

/* Bytes kept of either end of an over-long line, to find its id in. */
#define CLIENT_LINE_KEEP 512

void client_init(client_t *client, int32_t id, pool_t *default_pool, size_t max_line);
void client_free(client_t *client); /* nothing may be pending or bound */

#endif
