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

/* The worker is out of service: the next flush after its end frees it. */
void supervisor_mark_leaving(worker_t *worker);
/* Takes a worker out of service; what is under way on it ends first. */
void supervisor_retire(worker_t *worker);
/* Starts a successor for the next outdated worker, unless one is on its way. */
int supervisor_roll(supervisor_t *supervisor, pool_t *pool);
/* Ends retired workers that have nothing left to do, and frees those that have ended. */
void supervisor_bury_leaving(supervisor_t *supervisor);

#endif
