/*
 * pool.h - pools and their workers as the router sees them: who is ready, who waits.
 *
 * Owns no process and no descriptor; worker.h embeds a target_t for each worker.
 */
#ifndef STDIO_BUS_POOL_H
#define STDIO_BUS_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "heap.h"
#include "list.h"

typedef struct pool {
    const config_pool_t *config;
    heap_t ready;        /* targets that take requests, the least loaded first */
    size_t starting;     /* targets that will be ready, or lost */
    size_t in_flight;    /* requests out to all targets */
    size_t processes;    /* workers that have a process of their own, or may have one */
    uint64_t uses;       /* a clock for round-robin among equals */
    list_t queue;        /* pending_t.place: requests for any worker, oldest first */
    size_t queued;       /* requests in this queue and in those of the targets */
    size_t queued_bytes; /* of their messages */
    char *handshake_result; /* of the first handshake, JSON text; NULL until then */
    bool rolling;           /* inside the call that starts successors of its workers */
    bool failed;            /* no worker is left that serves or may serve */
    char *failure;          /* why the last one failed for good, one sentence; may be NULL */
    char *failure_stderr;   /* may be NULL */
} pool_t;

/* The routing side of one worker.  What every message needs comes first: of 500 workers
 * hardly one is in the cache. */
typedef struct target {
    heap_node_t node; /* in pool->ready; key: requests in flight, order: last use */
    pool_t *pool;
    int32_t worker_id;
    bool starting;
    bool ready;
    bool retiring; /* serves the sessions that are busy on it, and nothing new */
    size_t in_flight;
    list_t sent;       /* pending_t.place: requests out to this worker */
    list_t queue;      /* pending_t.place: messages of sessions bound to it, waiting */
    list_t due;        /* in router_t.due: may have room for what waits */
    uint64_t accepted; /* bytes given to the worker's queue since its process started */
    uint64_t written;  /* of those, bytes its pipe has taken */
    list_t asks;       /* pending_t.place: the worker's own requests, out to clients */
    size_t ask_count;
    list_t sessions;   /* session_t.on_target */
    list_t ties;       /* tie_t.on_target: the clients that have something here, those with requests
                        * out in front; but for the host */
    size_t calls;      /* requests that are out, but for those given up */
    size_t host_calls; /* of those, the host's */
    size_t host_given_up; /* requests that are out under an id of the host, which has given them up */
    size_t host_asks;  /* of `asks`, those that wait for the host */
    size_t makers;     /* of `calls`, those that make sessions */
    bool full;         /* its process reads too little: others come first */
} target_t;

/* From a target on, the bytes of the worker around it that a message needs. */
#define TARGET_FETCH 464

void pool_init(pool_t *pool, const config_pool_t *config);
void pool_free(pool_t *pool); /* its queue must be empty */

void target_init(target_t *target, pool_t *pool, int32_t worker_id);

/* Its process has begun: a part of what waits is left for it, until it is ready or not. */
void target_set_starting(target_t *target);
/* Begins and ends the target's part in balancing.  Room in the heap must have been
 * reserved: heap_reserve(&pool->ready, workers). */
void target_set_ready(target_t *target, bool ready);
/* Ends its part in balancing while it stays ready for what is bound to it. */
void target_retire(target_t *target);
/* Whether its input takes no more for now. */
void target_set_full(target_t *target, bool full);
/* Counts a request in (+1) or out (-1). */
void target_count(target_t *target, int change);
/* Whether max_in_flight allows one more. */
bool target_has_room(const target_t *target);
/* Whether it may take one more of the messages that wait for any worker: while others are
 * starting, no more than would be its part if they were ready.  An idle one always may. */
bool target_has_share(const target_t *target);
/* The worker for a message that may go to any; NULL when none has room. */
target_t *pool_choose(pool_t *pool);

#endif
