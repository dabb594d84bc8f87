/* pool.c - see pool.h. */
#include "pool.h"

#include "sys.h"

void pool_init(pool_t *pool, const config_pool_t *config) {
    *pool = (pool_t){.config = config};
    list_init(&pool->queue);
}

void pool_free(pool_t *pool) {
    heap_free(&pool->ready);
    sys_free(pool->handshake_result);
    sys_free(pool->failure);
    sys_free(pool->failure_stderr);
}

void target_init(target_t *target, pool_t *pool, int32_t worker_id) {
    *target = (target_t){.pool = pool, .worker_id = worker_id};
    list_init(&target->sent);
    list_init(&target->queue);
    list_init(&target->asks);
    list_init(&target->sessions);
    list_init(&target->ties);
}

/* The least loaded come first, and last of all those whose input is full. */
static void rank(target_t *target) {
    target->node.key = target->full ? SIZE_MAX : target->in_flight;
    if (target->ready && !target->retiring) heap_put(&target->pool->ready, &target->node);
    else heap_remove(&target->pool->ready, &target->node);
}

static void end_starting(target_t *target) {
    if (target->starting) target->pool->starting--;
    target->starting = false;
}

void target_set_starting(target_t *target) {
    end_starting(target);
    target->starting = true;
    target->pool->starting++;
}

void target_set_ready(target_t *target, bool ready) {
    end_starting(target);
    target->ready = ready;
    target->full = false;
    rank(target);
}

void target_set_full(target_t *target, bool full) {
    target->full = full;
    rank(target);
}

void target_retire(target_t *target) {
    target->retiring = true;
    rank(target);
}

void target_count(target_t *target, int change) {
    pool_t *pool = target->pool;
    target->in_flight = change > 0 ? target->in_flight + 1 : target->in_flight - 1;
    pool->in_flight = change > 0 ? pool->in_flight + 1 : pool->in_flight - 1;
    if (change > 0) target->node.order = ++pool->uses;
    rank(target);
}

bool target_has_room(const target_t *target) {
    size_t cap = (size_t)target->pool->config->max_in_flight;
    return target->ready && (!cap || target->in_flight < cap);
}

bool target_has_share(const target_t *target) {
    const pool_t *pool = target->pool;
    size_t workers = pool->ready.count + pool->starting;
    /* in_flight < all / workers, rounded up */
    return !pool->starting || target->in_flight * workers < pool->in_flight + pool->queued;
}

target_t *pool_choose(pool_t *pool) {
    heap_node_t *first = heap_first(&pool->ready);
    target_t *target = first ? list_entry(first, target_t, node) : NULL;
    return target && target_has_room(target) ? target : NULL;
}
