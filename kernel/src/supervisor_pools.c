/*
 * supervisor_pools.c - pools at run time: when one has failed, scale, rolling restart, workers
 * inside the host, and the burial of workers that have been retired.
 */
#include <string.h>

#include "stdio_bus.h"
#include "supervisor_internal.h"
#include "sys.h"

/* Nobody serves the pool or may serve it again.  A pool of workers inside the host has none
 * until the host brings one. */
static bool is_lost(const supervisor_t *supervisor, const pool_t *pool) {
    if (pool->config->embedded) return false;
    for (size_t i = 0; i < supervisor->worker_count; i++) {
        const worker_t *worker = supervisor->workers[i];
        if (worker->target.pool == pool && !worker->leaving && worker->state != WORKER_FAILED) return false;
    }
    return true;
}

/* To be called whenever a worker has failed for good or is out of service. */
static void check_pool(supervisor_t *supervisor, pool_t *pool) {
    if (pool->failed || !is_lost(supervisor, pool)) return;
    /* The router makes copies of its own in their place. */
    char *reason = pool->failure, *stderr_tail = pool->failure_stderr;
    pool->failure = pool->failure_stderr = NULL;
    router_pool_failed(supervisor->router, pool, reason ? reason : "its workers failed",
                       stderr_tail ? stderr_tail : "");
    sys_free(reason);
    sys_free(stderr_tail);
}

void supervisor_mark_leaving(worker_t *worker) {
    if (!worker->leaving) supervisor_of(worker)->leaving++;
    worker->leaving = true;
    check_pool(supervisor_of(worker), worker->target.pool);
}

/* Takes a worker out of service; what is under way on it ends first. */
static void retire(worker_t *worker) {
    const config_limits_t *limits = &supervisor_of(worker)->config->limits;
    supervisor_mark_leaving(worker);
    worker->outdated = false;
    if (worker->state != WORKER_READY) {
        supervisor_happen(worker, EVENT_STOP);
        return;
    }
    router_retire(supervisor_of(worker)->router, &worker->target);
    supervisor_start_timer(worker, (uint64_t)limits->drain_timeout_sec * 1000);
}

static bool in_service(const worker_t *worker, const pool_t *pool) {
    return worker->target.pool == pool && !worker->leaving && !worker->embedded;
}

/* The worker in service that is retired when this one is ready, or NULL. */
static worker_t *predecessor_of(const worker_t *worker) {
    worker_t *predecessor = worker->replaces ? supervisor_find(supervisor_of(worker), worker->replaces) : NULL;
    return predecessor && !predecessor->leaving ? predecessor : NULL;
}

/* ---- rolling restart ---------------------------------------------------------- */

/* The worker to be replaced next; NULL while a successor is on its way. */
static worker_t *next_outdated(const supervisor_t *supervisor, const pool_t *pool) {
    worker_t *outdated = NULL;
    for (size_t i = supervisor->worker_count; i-- > 0;) {
        worker_t *worker = supervisor->workers[i];
        if (!in_service(worker, pool)) continue;
        if (worker->replaces) return NULL;
        if (worker->outdated) outdated = worker;
    }
    return outdated;
}

/* Starts a successor for the next outdated worker, unless one is on its way.  One without a
 * handshake is ready at once and calls for the next in here: that is left to the loop, for
 * the stack may not hold a whole pool. */
static int roll(supervisor_t *supervisor, pool_t *pool) {
    worker_t *outdated, *successor;
    if (pool->rolling) return STDIO_BUS_OK;
    pool->rolling = true;
    while ((outdated = next_outdated(supervisor, pool)) && (successor = supervisor_add_worker(supervisor, pool))) {
        successor->replaces = outdated->target.worker_id;
        supervisor_happen(successor, EVENT_SPAWN);
    }
    pool->rolling = false;
    return outdated ? STDIO_BUS_ERR_BUFFER : STDIO_BUS_OK;
}

int supervisor_restart(supervisor_t *supervisor, pool_t *pool) {
    for (size_t i = 0; i < supervisor->worker_count; i++) {
        worker_t *worker = supervisor->workers[i];
        if (in_service(worker, pool)) worker->outdated = true; /* also a successor that is starting already */
    }
    return roll(supervisor, pool);
}

void supervisor_succeed(worker_t *worker) {
    worker_t *predecessor = predecessor_of(worker);
    worker->replaces = 0;
    if (predecessor) retire(predecessor);
    roll(supervisor_of(worker), worker->target.pool);
}

/* The successor cannot be started: those that were to be replaced stay. */
static void abandon_restart(worker_t *successor) {
    supervisor_t *supervisor = supervisor_of(successor);
    if (predecessor_of(successor)) supervisor_mark_leaving(successor);
    successor->replaces = 0;
    for (size_t i = 0; i < supervisor->worker_count; i++)
        if (supervisor->workers[i]->target.pool == successor->target.pool) supervisor->workers[i]->outdated = false;
}

void supervisor_count_out(worker_t *worker, const char *reason, const char *stderr_tail) {
    pool_t *pool = worker->target.pool;
    /* Kept also while others are left: they may leave without a reason of their own. */
    sys_free(pool->failure);
    sys_free(pool->failure_stderr);
    pool->failure = buffer_strdup(reason, strlen(reason));
    pool->failure_stderr = buffer_strdup(stderr_tail, strlen(stderr_tail));
    if (worker->replaces) abandon_restart(worker);
    check_pool(supervisor_of(worker), pool);
}

/* ---- scale -------------------------------------------------------------------- */

/* Whether it is one of the workers that the pool is to have: it serves or may serve, and is
 * not there in addition to the one that it will replace. */
static bool is_instance(const worker_t *worker, const pool_t *pool) {
    if (!in_service(worker, pool) || worker->state == WORKER_FAILED) return false;
    const worker_t *predecessor = predecessor_of(worker);
    return !predecessor || predecessor->state == WORKER_FAILED;
}

static size_t count_instances(const supervisor_t *supervisor, const pool_t *pool) {
    size_t count = 0;
    for (size_t i = 0; i < supervisor->worker_count; i++) count += is_instance(supervisor->workers[i], pool);
    return count;
}

static worker_t *youngest_instance(const supervisor_t *supervisor, const pool_t *pool) {
    size_t i = supervisor->worker_count;
    while (i-- > 0)
        if (is_instance(supervisor->workers[i], pool)) return supervisor->workers[i];
    return NULL;
}

int supervisor_scale(supervisor_t *supervisor, pool_t *pool, size_t instances) {
    size_t before = supervisor->worker_count;
    for (size_t count = count_instances(supervisor, pool); count < instances; count++) {
        worker_t *worker = supervisor_add_worker(supervisor, pool);
        if (!worker) return STDIO_BUS_ERR_BUFFER;
        supervisor_happen(worker, EVENT_SPAWN);
    }
    /* The new ones may have failed at once: those stay, to be seen. */
    for (size_t i = 0; i < before; i++) {
        worker_t *worker = supervisor->workers[i];
        if (in_service(worker, pool) && worker->state == WORKER_FAILED) retire(worker);
    }
    while (count_instances(supervisor, pool) > instances) retire(youngest_instance(supervisor, pool));
    return roll(supervisor, pool);
}

/* ---- workers inside the host --------------------------------------------------- */

/* The start of a worker inside the host.  Its id. */
static int greet(worker_t *worker) {
    pool_t *pool = worker->target.pool;
    int32_t id = worker->target.worker_id;
    worker->embedded = true;
    pool->processes--;
    worker->state = WORKER_STARTING;
    worker->started_at = loop_now(worker->shared->loop);
    pool->failed = false;
    supervisor_start_timer(worker, (uint64_t)pool->config->startup_timeout_sec * 1000);
    if (!router_begin_handshake(supervisor_of(worker)->router, &worker->target)) supervisor_happen(worker, EVENT_READY);
    return id;
}

int supervisor_embed(supervisor_t *supervisor, pool_t *pool, int to_worker, int from_worker) {
    /* Two watches need two descriptors, also of one socket. */
    if (from_worker == to_worker) from_worker = sys_duplicate(to_worker);
    spawn_child_t ends = {.to_stdin = to_worker, .from_stdout = from_worker, .from_stderr = -1};
    worker_t *worker = NULL;
    if (from_worker >= 0 && sys_prepare(to_worker) == 0 && sys_prepare(from_worker) == 0)
        worker = supervisor_add_worker(supervisor, pool);
    if (!worker) {
        sys_close(to_worker);
        sys_close(from_worker);
        return STDIO_BUS_ERR;
    }
    if (!worker_attach(worker, &ends)) {
        worker_detach(worker);
        worker->state = WORKER_STOPPED;
        supervisor_mark_leaving(worker);
        return STDIO_BUS_ERR;
    }
    return greet(worker);
}

int supervisor_attach(supervisor_t *supervisor, pool_t *pool) {
    worker_t *worker = supervisor_add_worker(supervisor, pool);
    if (!worker) return STDIO_BUS_ERR_BUFFER;
    worker->attached = true;
    return greet(worker);
}

void supervisor_line(worker_t *worker, const char *text, size_t len) {
    line_t line = {.text = text, .len = len};
    worker->bytes_out += len;
    worker->shared->ops.line(worker, LINE_READY, &line);
}

void supervisor_unembed(worker_t *worker) {
    if (worker->embedded && !worker->leaving) retire(worker);
}

/* ---- burial ------------------------------------------------------------------- */

void supervisor_bury_leaving(supervisor_t *supervisor) {
    size_t kept = 0, count = supervisor->worker_count;
    for (size_t i = 0; i < count; i++) {
        worker_t *worker = supervisor->workers[i];
        if (worker->leaving && worker->state == WORKER_READY && router_is_idle(&worker->target))
            supervisor_happen(worker, EVENT_STOP);
    }
    for (size_t i = 0; i < count; i++) {
        worker_t *worker = supervisor->workers[i];
        bool ended = worker->state == WORKER_STOPPED || worker->state == WORKER_FAILED;
        if (!worker->leaving || !ended) {
            supervisor->workers[kept++] = worker;
            continue;
        }
        supervisor_free_worker(worker);
        supervisor->leaving--;
    }
    supervisor->worker_count = kept;
}
