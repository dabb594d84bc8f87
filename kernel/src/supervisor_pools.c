/*
 * supervisor_pools.c - pools at run time: scale, rolling restart, workers inside the host, and
 * the burial of workers that have been retired.
 */
#include "stdio_bus.h"
#include "supervisor_internal.h"
#include "sys.h"

void supervisor_mark_leaving(worker_t *worker) {
    if (!worker->leaving) supervisor_of(worker)->leaving++;
    worker->leaving = true;
}

void supervisor_retire(worker_t *worker) {
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

int supervisor_scale(supervisor_t *supervisor, pool_t *pool, size_t instances) {
    size_t count = 0;
    for (size_t i = 0; i < supervisor->worker_count; i++) count += in_service(supervisor->workers[i], pool);
    for (; count < instances; count++) {
        worker_t *worker = supervisor_add_worker(supervisor, pool);
        if (!worker) return STDIO_BUS_ERR_BUFFER;
        pool->failed = false;
        supervisor_happen(worker, EVENT_SPAWN);
    }
    for (size_t i = supervisor->worker_count; i-- > 0 && count > instances;) {
        if (!in_service(supervisor->workers[i], pool)) continue;
        supervisor_retire(supervisor->workers[i]);
        count--;
    }
    return STDIO_BUS_OK;
}

int supervisor_roll(supervisor_t *supervisor, pool_t *pool) {
    worker_t *outdated = NULL;
    for (size_t i = supervisor->worker_count; i-- > 0;) {
        worker_t *worker = supervisor->workers[i];
        if (!in_service(worker, pool)) continue;
        if (worker->replaces) return STDIO_BUS_OK;
        if (worker->outdated) outdated = worker;
    }
    if (!outdated) return STDIO_BUS_OK;
    worker_t *successor = supervisor_add_worker(supervisor, pool);
    if (!successor) return STDIO_BUS_ERR_BUFFER;
    successor->replaces = outdated->target.worker_id;
    supervisor_happen(successor, EVENT_SPAWN);
    return STDIO_BUS_OK;
}

int supervisor_restart(supervisor_t *supervisor, pool_t *pool) {
    for (size_t i = 0; i < supervisor->worker_count; i++) {
        worker_t *worker = supervisor->workers[i];
        if (in_service(worker, pool) && !worker->replaces) worker->outdated = true;
    }
    return supervisor_roll(supervisor, pool);
}

/* The start of a worker inside the host.  Its id. */
static int greet(worker_t *worker) {
    pool_t *pool = worker->target.pool;
    int32_t id = worker->target.worker_id;
    worker->embedded = true;
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
    if (worker->embedded && !worker->leaving) supervisor_retire(worker);
}

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
