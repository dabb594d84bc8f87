/*
 * bus_query.c - the public functions that tell: versions and sizes, state and numbers.
 */
#include <stdio.h>

#include "bus_internal.h"
#include "status.h"
#include "sys.h"

const char *stdio_bus_version(void) {
    return STDIO_BUS_VERSION;
}

int stdio_bus_abi(void) {
    return STDIO_BUS_ABI;
}

size_t stdio_bus_sizeof(int what) {
    switch (what) {
    case STDIO_BUS_SIZEOF_OPTIONS: return sizeof(stdio_bus_options_t);
    case STDIO_BUS_SIZEOF_STATS: return sizeof(stdio_bus_stats_t);
    case STDIO_BUS_SIZEOF_LINE: return sizeof(stdio_bus_line_t);
    case STDIO_BUS_SIZEOF_WORKER_INFO: return sizeof(stdio_bus_worker_info_t);
    case STDIO_BUS_SIZEOF_WORKER_EVENT: return sizeof(stdio_bus_worker_event_t);
    default: return 0;
    }
}

const char *stdio_bus_worker_state_name(int state) {
    switch (state) {
    case STDIO_BUS_WORKER_STARTING: return "starting";
    case STDIO_BUS_WORKER_READY: return "ready";
    case STDIO_BUS_WORKER_BACKOFF: return "backoff";
    case STDIO_BUS_WORKER_STOPPING: return "stopping";
    case STDIO_BUS_WORKER_STOPPED: return "stopped";
    case STDIO_BUS_WORKER_FAILED: return "failed";
    default: return "unknown";
    }
}

stdio_bus_state_t stdio_bus_get_state(const stdio_bus_t *bus) {
    return bus->state;
}

static bool may_listen(const stdio_bus_t *bus, char error[SOCKET_ERROR_SIZE]) {
    const stdio_bus_options_t *o = &bus->options;
    switch (o->listener.mode) {
    case STDIO_BUS_LISTEN_TCP: return listener_may_serve(&bus->listener, o->listener.tcp_host, error);
    case STDIO_BUS_LISTEN_UNIX: return socket_check_path(o->listener.unix_path, error);
    default: return true;
    }
}

int stdio_bus_check(stdio_bus_t *bus) {
    char error[SOCKET_ERROR_SIZE];
    const stdio_bus_options_t *o = &bus->options;
    if (may_listen(bus, error)) return STDIO_BUS_OK;
    if (o->on_error) o->on_error(bus, STDIO_BUS_ERR_CONFIG, error, o->user_data);
    return STDIO_BUS_ERR_CONFIG;
}

int stdio_bus_all_failed(const stdio_bus_t *bus) {
    for (size_t i = 0; i < bus->config.pool_count; i++)
        if (!bus->pools[i].failed) return 0;
    return 1;
}

int stdio_bus_stop_left(const stdio_bus_t *bus) {
    if (bus->state != STDIO_BUS_STATE_STOPPING) return -1;
    uint64_t now = sys_now_ms(), end = bus->supervisor.kill_at;
    uint64_t left = end > now ? end - now : 0;
    return left < INT32_MAX ? (int)left : INT32_MAX;
}

int stdio_bus_worker_count(const stdio_bus_t *bus) {
    int count = 0;
    for (size_t i = 0; i < bus->supervisor.worker_count; i++) count += worker_is_alive(bus->supervisor.workers[i]);
    return count;
}

int stdio_bus_session_count(const stdio_bus_t *bus) {
    return (int)bus->router.sessions.count;
}

int stdio_bus_pending_count(const stdio_bus_t *bus) {
    return (int)bus->router.pendings.calls;
}

int stdio_bus_client_count(const stdio_bus_t *bus) {
    return (int)bus->listener.count;
}

int stdio_bus_get_poll_fd(const stdio_bus_t *bus) {
    return loop_fd(bus->loop);
}

void stdio_bus_get_stats(const stdio_bus_t *bus, stdio_bus_stats_t *out) {
    const router_t *router = &bus->router;
    *out = (stdio_bus_stats_t){
        .messages_in = router->messages_in,
        .messages_out = router->messages_out,
        .bytes_in = router->bytes_in,
        .bytes_out = router->bytes_out,
        .worker_restarts = bus->supervisor.restarts,
        .routing_errors = router->routing_errors + bus->listener.shared.messages_lost,
        .client_connects = bus->listener.connects,
        .client_disconnects = bus->listener.disconnects,
    };
}

static stdio_bus_worker_state_t public_state(worker_state_t state) {
    switch (state) {
    case WORKER_STARTING: return STDIO_BUS_WORKER_STARTING;
    case WORKER_READY: return STDIO_BUS_WORKER_READY;
    case WORKER_BACKOFF: return STDIO_BUS_WORKER_BACKOFF;
    case WORKER_DYING:
    case WORKER_STOPPING: return STDIO_BUS_WORKER_STOPPING;
    case WORKER_FAILED: return STDIO_BUS_WORKER_FAILED;
    default: return STDIO_BUS_WORKER_STOPPED;
    }
}

int stdio_bus_get_workers(const stdio_bus_t *bus, stdio_bus_worker_info_t *out, int capacity) {
    int count = (int)bus->supervisor.worker_count;
    uint64_t now = sys_now_ms();
    for (int i = 0; i < count && i < capacity; i++) {
        const worker_t *worker = bus->supervisor.workers[i];
        out[i] = (stdio_bus_worker_info_t){
            .pool = worker->target.pool->config->id,
            .id = worker->target.worker_id,
            .pid = (int32_t)worker->pid,
            .state = public_state(worker->state),
            .in_flight = (int32_t)worker->target.in_flight,
            .restarts = worker->restarts,
            .uptime_ms = worker_is_alive(worker) ? now - worker->started_at : 0,
            .bytes_in = worker->bytes_in,
            .bytes_out = worker->bytes_out,
        };
    }
    return count;
}

int stdio_bus_get_listener_port(const stdio_bus_t *bus) {
    bool tcp = bus->options.listener.mode == STDIO_BUS_LISTEN_TCP && bus->listener.watch.fd >= 0;
    return tcp ? bus->listener.port : STDIO_BUS_ERR_STATE;
}

int stdio_bus_get_status(const stdio_bus_t *bus, char *out, size_t capacity) {
    buffer_t status;
    buffer_init(&status, INT32_MAX);
    bool ok = status_write(bus, &status);
    if (ok && capacity) snprintf(out, capacity, "%.*s", (int)status.len, buffer_bytes(&status));
    int len = ok ? (int)status.len : STDIO_BUS_ERR_BUFFER;
    buffer_free(&status);
    return len;
}
