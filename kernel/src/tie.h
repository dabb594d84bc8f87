/*
 * tie.h - which clients have something on a worker, sessions or requests, however much of it.
 *
 * What a worker says to nobody in particular is for them; to look through all that they have
 * would take one client's worth of time from all others.  The host client, to whom everything
 * goes, needs no tie.
 */
#ifndef STDIO_BUS_TIE_H
#define STDIO_BUS_TIE_H

#include "client.h"
#include "index.h"
#include "list.h"
#include "pool.h"

typedef struct ties {
    index_secret_t secret; /* set by the user: clients come and go until they have the numbers they want */
    index_t index;         /* (client, worker id) */
} ties_t;

typedef struct tie {
    ties_t *ties; /* it is in */
    client_t *client;
    target_t *target;
    size_t count;     /* of what the client has there */
    size_t calls;     /* of that, requests that are out */
    size_t asks;      /* and questions of the worker that wait for the client */
    uint32_t hash;    /* in ties->index */
    list_t on_target; /* in target->ties */
} tie_t;

void ties_free(ties_t *ties);

/* Counts one thing more of the client on the worker.  False: no memory.  *tie is NULL for the
 * host client. */
bool tie_take(ties_t *ties, client_t *client, target_t *target, tie_t **tie);
void tie_drop(tie_t *tie); /* one less; fine with NULL */
/* Counts a request of the client out to the worker (+1) or back (-1), or a question of the worker's to
 * the client; `tie` is NULL for the host client. */
void tie_count_call(tie_t *tie, target_t *target, int change);
void tie_count_ask(tie_t *tie, target_t *target, int change);

#endif
