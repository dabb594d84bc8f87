/*
 * supervisor.h - the life of workers: start, handshake, crash, backoff, failure, stop;
 * one table of state x event in supervisor.c.
 */
#ifndef STDIO_BUS_SUPERVISOR_H
#define STDIO_BUS_SUPERVISOR_H

#include "config.h"
#include "loop.h"
#include "router.h"
#include "worker.h"

typedef struct supervisor_event {
    const char *kind;        /* "started", "restarting", "failed", "stopped" */
    const char *reason;      /* one sentence, or "" */
    const char *stderr_tail; /* or "" */
    pid_t pid;
    int exit_code; /* -1: none */
    int signal;    /* 0: none */
} supervisor_event_t;

typedef struct supervisor_ops {
    void (*event)(void *context, worker_t *worker, const supervisor_event_t *event);
    void (*log)(void *context, int level, const char *message);
} supervisor_ops_t;

typedef struct supervisor {
    worker_shared_t shared; /* the loop in it is the caller's */
    router_t *router;
    const config_t *config;
    supervisor_ops_t ops;
    void *context;
    worker_t **workers; /* owned; in order of their ids */
    size_t worker_count;
    size_t worker_capacity;
    int32_t last_worker_id;
    size_t leaving; /* workers that are to be freed */
    uint64_t restarts;
    bool stopping;     /* waits for answers until drain_timer or all are in */
    bool closing;      /* the workers have been asked to end */
    uint64_t kill_at;  /* by when all must be gone, in loop time */
    uint64_t grace_ms; /* between closing stdin and SIGTERM */
    loop_timer_t drain_timer;
} supervisor_t;

/* Makes the workers of all pools, none started.  False: no memory. */
bool supervisor_init(supervisor_t *supervisor, loop_t *loop, router_t *router, const config_t *config, pool_t *pools,
                     const supervisor_ops_t *ops, void *context);
/* Kills and reaps what is left; ends the requests of all workers. */
void supervisor_free(supervisor_t *supervisor);

void supervisor_start(supervisor_t *supervisor);
/* Waits for the answers under way, then ends the workers, all within `timeout_ms`.  Again: has
 * an effect when the end comes sooner by that. */
void supervisor_stop(supervisor_t *supervisor, uint64_t timeout_ms);
bool supervisor_stopped(const supervisor_t *supervisor);
/* Every pool has a ready worker, or none of its workers will ever be. */
bool supervisor_settled(const supervisor_t *supervisor);

/* Adds workers to the pool, or retires the youngest: what is under way on them ends first,
 * within drain_timeout_sec.  Those that failed for good make room, and a rolling restart goes
 * on.  `instances` >= 1.  0 or a STDIO_BUS_ERR_ code. */
int supervisor_scale(supervisor_t *supervisor, pool_t *pool, size_t instances);
/* Replaces every worker of the pool, one after the other; each is retired when its
 * successor is ready. */
int supervisor_restart(supervisor_t *supervisor, pool_t *pool);
/* A worker inside the host, over descriptors that are the supervisor's from now on (also
 * on failure).  Its id, or a STDIO_BUS_ERR_ code. */
int supervisor_embed(supervisor_t *supervisor, pool_t *pool, int to_worker, int from_worker);
/* A worker inside the host without descriptors: what it is sent goes to the host client as a
 * message, what it says comes through supervisor_line.  Its id, or a STDIO_BUS_ERR_ code. */
int supervisor_attach(supervisor_t *supervisor, pool_t *pool);
void supervisor_line(worker_t *worker, const char *text, size_t len);
/* Retires an embedded worker. */
void supervisor_unembed(worker_t *worker);

/* Writes what has been queued for workers; frees the retired ones that have ended; ends the drain when nothing is left to wait
 * for.  To be called once after each batch of work. */
void supervisor_flush(supervisor_t *supervisor);

/* From the router: how a worker's handshake ended (error NULL: well). */
void supervisor_handshake_done(worker_t *worker, const char *error);

worker_t *supervisor_find(const supervisor_t *supervisor, int32_t worker_id);

#endif
