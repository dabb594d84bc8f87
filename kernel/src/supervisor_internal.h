/*
 * supervisor_internal.h - what the life of workers (supervisor.c) and pools at run time
 * (supervisor_pools.c) share.
 */
#ifndef STDIO_BUS_SUPERVISOR_INTERNAL_H
#define STDIO_BUS_SUPERVISOR_INTERNAL_H

#include "supervisor.h"

typedef enum worker_event {
    EVENT_SPAWN,
    EVENT_READY,
    EVENT_FAULT,
    EVENT_CLOSED,
    EVENT_EXITED,
    EVENT_TIMER,
    EVENT_STOP,
    EVENT_COUNT
} worker_event_t;

static inline supervisor_t *supervisor_of(const worker_t *worker) {
    return worker->supervisor;
}

/* Does what the table says for the worker's state and this event. */
void supervisor_happen(worker_t *worker, worker_event_t event);

/* Starts the worker's timer; what it means depends on the state. */
void supervisor_start_timer(worker_t *worker, uint64_t delay_ms);

/* A further worker of the pool, not started.  NULL: no memory. */
worker_t *supervisor_add_worker(supervisor_t *supervisor, pool_t *pool);
void supervisor_free_worker(worker_t *worker);

/* The worker has failed for good: should its pool have nobody else, what waits there and what
 * comes ends with an error. */
void supervisor_count_out(worker_t *worker, const char *reason, const char *stderr_tail);
/* The worker is ready, in place of the one that it replaces. */
void supervisor_succeed(worker_t *worker);

/* The worker is out of service: the next flush after its end frees it. */
void supervisor_mark_leaving(worker_t *worker);
/* Ends retired workers that have nothing left to do, and frees those that have ended. */
void supervisor_bury_leaving(supervisor_t *supervisor);

#endif
