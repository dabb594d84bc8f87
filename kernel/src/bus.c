/*
 * bus.c - the public functions that do something: joins loop, router, supervisor and listener,
 * and hands to the host what is for it.  Those that only tell are in bus_query.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bus_internal.h"
#include "status.h"
#include "sys.h"

static bool takes_messages(const stdio_bus_t *bus) {
    return bus->state == STDIO_BUS_STATE_STARTING || bus->state == STDIO_BUS_STATE_RUNNING;
}

/* ---- towards the host ---------------------------------------------------------- */

static void report_error(stdio_bus_t *bus, int code, const char *message) {
    if (bus->options.on_error) bus->options.on_error(bus, code, message, bus->options.user_data);
}

static void log_line(void *context, int level, const char *message) {
    stdio_bus_t *bus = context;
    if (bus->options.on_log && level >= bus->options.log_level)
        bus->options.on_log(bus, level, message, bus->options.user_data);
}

static void on_supervisor_event(void *context, worker_t *worker, const supervisor_event_t *event) {
    stdio_bus_t *bus = context;
    int32_t id = worker->target.worker_id;
    if (strcmp(event->kind, "failed") == 0) report_error(bus, STDIO_BUS_ERR_WORKER, event->reason);
    if (bus->options.on_worker) bus->options.on_worker(bus, id, event->kind, bus->options.user_data);
    if (!bus->on_worker_event) return;
    stdio_bus_worker_event_t detail = {
        .kind = event->kind,
        .pool = worker->target.pool->config->id,
        .reason = event->reason,
        .stderr_tail = event->stderr_tail,
        .worker_id = id,
        .pid = (int32_t)event->pid,
        .exit_code = event->exit_code,
        .signal = event->signal,
    };
    bus->on_worker_event(bus, &detail, bus->options.user_data);
}

static void to_client(void *context, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count) {
    stdio_bus_t *bus = context;
    delivery_t *d = &bus->collecting;
    size_t len = 0;
    if (client->external) {
        connection_queue(list_entry(client, connection_t, client), pieces, count);
        return;
    }
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    stdio_bus_line_t record = {.length = (uint32_t)len, .worker_id = worker_id, .client_id = client->id};
    if (!buffer_reserve(&d->text, len + 1) || !buffer_append(&d->records, &record, sizeof record)) {
        bus->lost++; /* told later: a callback could end what is being worked on here */
        return;
    }
    message_append_line(&d->text, pieces, count); /* there is room */
}

static void report_losses(stdio_bus_t *bus) {
    char message[80];
    if (!bus->lost) return;
    snprintf(message, sizeof message, "%zu messages for the host were lost: no memory", bus->lost);
    bus->lost = 0;
    report_error(bus, STDIO_BUS_ERR_BUFFER, message);
}

static void deliver(stdio_bus_t *bus) {
    report_losses(bus);
    if (!bus->collecting.records.len) return;
    delivery_t full = bus->collecting;
    bus->collecting = bus->delivering;
    bus->delivering = full;
    const stdio_bus_line_t *lines = (const void *)buffer_bytes(&full.records);
    const char *text = buffer_bytes(&full.text);
    size_t count = full.records.len / sizeof *lines;
    if (bus->on_batch) {
        bus->on_batch(bus, text, full.text.len, lines, count, bus->options.user_data);
    } else if (bus->options.on_message) {
        for (size_t i = 0; i < count; i++) {
            bus->options.on_message(bus, text, lines[i].length, bus->options.user_data);
            text += lines[i].length + 1;
        }
    }
    buffer_consume(&bus->delivering.text, full.text.len);
    buffer_consume(&bus->delivering.records, full.records.len);
}

/* ---- towards the workers ------------------------------------------------------- */

static bool to_attached(stdio_bus_t *bus, worker_t *worker, const piece_t *pieces, size_t count) {
    char head[96];
    piece_t wrapped[MESSAGE_MAX_PIECES + 2];
    int32_t id = worker->target.worker_id;
    int len = snprintf(head, sizeof head,
                       "{\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/to_worker\",\"params\":{\"worker\":%" PRId32
                       ",\"message\":",
                       id);
    if (count > MESSAGE_MAX_PIECES) return false;
    wrapped[0] = (piece_t){head, (size_t)len};
    memcpy(wrapped + 1, pieces, count * sizeof *pieces);
    wrapped[count + 1] = (piece_t){"}}", 2};
    size_t size = 1;
    for (size_t i = 0; i < count; i++) size += pieces[i].len;
    worker->target.written += size;
    worker->bytes_in += size;
    to_client(bus, bus->host, id, wrapped, count + 2);
    return true;
}

/* While more than one request is out to the worker, the others must not wait for the one
 * whose answer is too much for its reader; nor its start for an answer that is not read. */
static int pause_worker(worker_t *worker) {
    if (worker->target.in_flight > 1 || worker->state != WORKER_READY) return STDIO_BUS_ERR_EAGAIN;
    worker_pause(worker, true);
    return STDIO_BUS_OK;
}

static int scale_pool(stdio_bus_t *bus, pool_t *pool, int64_t instances) {
    if (pool->config->embedded || instances < 1 || instances > CONFIG_MAX_INSTANCES) return STDIO_BUS_ERR_EINVAL;
    return supervisor_scale(&bus->supervisor, pool, (size_t)instances);
}

static bool to_worker(void *context, target_t *target, const piece_t *pieces, size_t count) {
    stdio_bus_t *bus = context;
    worker_t *worker = list_entry(target, worker_t, target);
    if (worker->paused) worker_pause(worker, false); /* what is sent must not wait for what is not read */
    return worker->attached ? to_attached(bus, worker, pieces, count) : worker_queue(worker, pieces, count);
}

/* What the host client asks of the bus about its pools and workers. */
static int manage(void *context, router_order_t order, pool_t *pool, int64_t number) {
    stdio_bus_t *bus = context;
    bool valid = number > 0 && number <= INT32_MAX;
    int32_t id = valid ? (int32_t)number : 0;
    worker_t *worker = valid ? supervisor_find(&bus->supervisor, id) : NULL;
    if (pool && !takes_messages(bus)) return STDIO_BUS_ERR_STATE;
    switch (order) {
    case ROUTER_SCALE: return scale_pool(bus, pool, number);
    case ROUTER_RESTART: return supervisor_restart(&bus->supervisor, pool);
    case ROUTER_ATTACH: return supervisor_attach(&bus->supervisor, pool);
    case ROUTER_OPEN: return stdio_bus_client_open(bus, pool->config->id);
    case ROUTER_CLOSE: return valid ? stdio_bus_client_close(bus, id) : STDIO_BUS_ERR_ENOTFOUND;
    default: break;
    }
    if (!worker) return STDIO_BUS_ERR_ENOTFOUND;
    switch (order) {
    case ROUTER_PAUSE: return pause_worker(worker);
    case ROUTER_RESUME: worker_pause(worker, false); return STDIO_BUS_OK;
    default: break;
    }
    if (!worker->attached) return STDIO_BUS_ERR_EINVAL;
    supervisor_unembed(worker);
    return STDIO_BUS_OK;
}

static bool from_attached(void *context, int64_t number, json_span_t line) {
    stdio_bus_t *bus = context;
    worker_t *worker = number > 0 && number <= INT32_MAX ? supervisor_find(&bus->supervisor, (int32_t)number) : NULL;
    if (!worker || !worker->attached || !worker_is_alive(worker)) return false;
    supervisor_line(worker, line.text, line.len);
    return true;
}

static void handshake_done(void *context, target_t *target, const char *error) {
    (void)context;
    supervisor_handshake_done(list_entry(target, worker_t, target), error);
}

static bool write_status(void *context, buffer_t *out) {
    return status_write(context, out);
}

/* ---- external clients ------------------------------------------------------------ */

static int32_t next_client_id(void *context) {
    stdio_bus_t *bus = context;
    return bus->next_client_id++;
}

static void on_connected(void *context, int32_t client_id, const char *peer) {
    stdio_bus_t *bus = context;
    char text[SOCKET_PEER_SIZE + 64];
    snprintf(text, sizeof text, "client %" PRId32 " connected from %s", client_id, peer);
    log_line(bus, STDIO_BUS_LOG_DEBUG, text);
    if (bus->options.on_client_connect) bus->options.on_client_connect(bus, client_id, peer, bus->options.user_data);
}

static void on_disconnected(void *context, int32_t client_id, const char *reason) {
    stdio_bus_t *bus = context;
    char text[160];
    snprintf(text, sizeof text, "client %" PRId32 " disconnected: %s", client_id, reason);
    log_line(bus, STDIO_BUS_LOG_DEBUG, text);
    if (bus->options.on_client_disconnect)
        bus->options.on_client_disconnect(bus, client_id, reason, bus->options.user_data);
}

static bool open_listener(stdio_bus_t *bus, char error[SOCKET_ERROR_SIZE]) {
    const stdio_bus_options_t *o = &bus->options;
    if (o->listener.mode == STDIO_BUS_LISTEN_NONE) return true;
    if (o->listener.mode == STDIO_BUS_LISTEN_UNIX) return listener_open_unix(&bus->listener, o->listener.unix_path, error);
    return listener_may_serve(&bus->listener, o->listener.tcp_host, error) &&
           listener_open_tcp(&bus->listener, o->listener.tcp_host, o->listener.tcp_port, error);
}

/* ---- life ------------------------------------------------------------------------ */

static void refuse_options(const stdio_bus_options_t *options, int code, const char *message) {
    if (options->on_error) options->on_error(NULL, code, message, options->user_data);
}

static int load_config(const stdio_bus_options_t *options, config_t *config, char error[CONFIG_ERROR_SIZE]) {
    if (!options->config_path == !options->config_json) {
        snprintf(error, CONFIG_ERROR_SIZE, "exactly one of config_path and config_json must be set");
        return STDIO_BUS_ERR_CONFIG;
    }
    if (options->listener.mode < STDIO_BUS_LISTEN_NONE || options->listener.mode > STDIO_BUS_LISTEN_UNIX) {
        snprintf(error, CONFIG_ERROR_SIZE, "listener.mode: must be 0 (none), 1 (TCP) or 2 (Unix)");
        return STDIO_BUS_ERR_CONFIG;
    }
    if (options->listener.mode == STDIO_BUS_LISTEN_UNIX && !options->listener.unix_path) {
        snprintf(error, CONFIG_ERROR_SIZE, "listener.unix_path: is required");
        return STDIO_BUS_ERR_CONFIG;
    }
    if (options->config_path) return config_read(options->config_path, config, error);
    return config_parse(options->config_json, strlen(options->config_json), config, error);
}

static client_t *add_client(stdio_bus_t *bus, pool_t *default_pool) {
    client_t *client = sys_malloc(sizeof *client);
    if (!client) return NULL;
    client_init(client, bus->next_client_id++, default_pool, (size_t)bus->config.limits.max_input_buffer);
    router_add_client(&bus->router, client);
    return client;
}

static void remove_client(stdio_bus_t *bus, client_t *client) {
    router_remove_client(&bus->router, client);
    client_free(client);
    sys_free(client);
}

static bool assemble(stdio_bus_t *bus) {
    static const router_ops_t router_ops = {to_worker, to_client, write_status, handshake_done, manage, from_attached};
    static const listener_ops_t listener_ops = {next_client_id, on_connected, on_disconnected};
    static const supervisor_ops_t supervisor_ops = {on_supervisor_event, log_line};
    size_t count = bus->config.pool_count;
    router_init(&bus->router, &router_ops, bus, &bus->config.limits);
    bus->pools = sys_calloc(count, sizeof *bus->pools);
    bus->loop = loop_open();
    if (!bus->pools || !bus->loop) return false;
    bus->router.pools = bus->pools;
    bus->router.pool_count = count;
    for (size_t i = 0; i < count; i++) pool_init(&bus->pools[i], &bus->config.pools[i]);
    bus->host = add_client(bus, &bus->pools[0]);
    if (!bus->host || !supervisor_init(&bus->supervisor, bus->loop, &bus->router, &bus->config, bus->pools,
                                       &supervisor_ops, bus))
        return false;
    listener_init(&bus->listener, bus->loop, &bus->router, &bus->config.limits, bus->supervisor.shared.scratch,
                  WORKER_SCRATCH_SIZE, &listener_ops, bus);
    return !bus->config.token || listener_set_token(&bus->listener, bus->config.token);
}

static bool copy_option(const char **to, const char *from, const char *otherwise) {
    const char *text = from ? from : otherwise;
    return (*to = buffer_strdup(text, strlen(text))) != NULL;
}

stdio_bus_t *stdio_bus_create(const stdio_bus_options_t *options) {
    char error[CONFIG_ERROR_SIZE];
    config_t config;
    if (!options) return NULL;
    int code = load_config(options, &config, error);
    if (code != STDIO_BUS_OK) {
        refuse_options(options, code, error);
        return NULL;
    }
    stdio_bus_t *bus = sys_calloc(1, sizeof *bus);
    if (!bus) {
        config_free(&config);
        refuse_options(options, STDIO_BUS_ERR_BUFFER, "no memory for a bus");
        return NULL;
    }
    bus->options = *options;
    bus->options.listener.tcp_host = bus->options.listener.unix_path = NULL; /* until they are ours */
    bool copied = copy_option(&bus->options.listener.tcp_host, options->listener.tcp_host, "127.0.0.1") &&
                  copy_option(&bus->options.listener.unix_path, options->listener.unix_path, "");
    bus->config = config;
    delivery_t *deliveries[] = {&bus->collecting, &bus->delivering};
    for (int i = 0; i < 2; i++) {
        buffer_init(&deliveries[i]->text, SIZE_MAX / 2);
        buffer_init(&deliveries[i]->records, SIZE_MAX / 2);
    }
    if (copied && assemble(bus)) return bus;
    int saved = errno;
    stdio_bus_destroy(bus);
    snprintf(error, sizeof error, "a bus cannot be set up: %s", strerror(saved));
    refuse_options(options, STDIO_BUS_ERR, error);
    return NULL;
}

void stdio_bus_destroy(stdio_bus_t *bus) {
    if (!bus) return;
    listener_free(&bus->listener);
    supervisor_free(&bus->supervisor);
    router_refuse_waiting(&bus->router);
    list_t *link;
    while ((link = list_first(&bus->router.clients))) remove_client(bus, list_entry(link, client_t, link));
    router_free(&bus->router);
    for (size_t i = 0; bus->pools && i < bus->config.pool_count; i++) pool_free(&bus->pools[i]);
    sys_free(bus->pools);
    if (bus->loop) loop_close(bus->loop);
    buffer_free(&bus->collecting.text);
    buffer_free(&bus->collecting.records);
    buffer_free(&bus->delivering.text);
    buffer_free(&bus->delivering.records);
    config_free(&bus->config);
    sys_free((char *)bus->options.listener.tcp_host);
    sys_free((char *)bus->options.listener.unix_path);
    sys_free(bus);
}

/* Sends out what the last piece of work has left to send. */
static void flush(stdio_bus_t *bus) {
    do supervisor_flush(&bus->supervisor);
    while (listener_flush(&bus->listener));
}

/* The beginning of a call that brings work in.  What callbacks call in it leaves the sending out
 * to it, for that frees workers, which are on the stack here.  Whether it is such a call itself. */
static bool begin(stdio_bus_t *bus) {
    bool outer = bus->busy;
    bus->busy = true;
    if (!outer) loop_update_now(bus->loop);
    return outer;
}

/* Its end.  Inside a callback of step the rest is step's to do: a worker's bytes may be half
 * read there. */
static void finish(stdio_bus_t *bus, bool outer) {
    if (outer) return;
    flush(bus);
    bus->busy = false;
    bool ended = bus->state == STDIO_BUS_STATE_STOPPING && supervisor_stopped(&bus->supervisor);
    if (bus->collecting.records.len || bus->lost || ended) loop_wake(bus->loop); /* the end of a stop is step's to tell */
}

static void update_state(stdio_bus_t *bus) {
    if (bus->state == STDIO_BUS_STATE_STARTING && supervisor_settled(&bus->supervisor))
        bus->state = STDIO_BUS_STATE_RUNNING;
    if (bus->state != STDIO_BUS_STATE_STOPPING || !supervisor_stopped(&bus->supervisor)) return;
    if (listener_has_output(&bus->listener) && loop_now(bus->loop) < bus->supervisor.kill_at) return;
    listener_end_all(&bus->listener);
    loop_timer_stop(bus->loop, &bus->supervisor.drain_timer);
    bus->state = STDIO_BUS_STATE_STOPPED;
}

int stdio_bus_start(stdio_bus_t *bus) {
    if (bus->state != STDIO_BUS_STATE_CREATED) return STDIO_BUS_ERR_STATE;
    char error[SOCKET_ERROR_SIZE];
    if (!open_listener(bus, error)) {
        report_error(bus, STDIO_BUS_ERR_CONFIG, error);
        return STDIO_BUS_ERR_CONFIG;
    }
    bus->state = STDIO_BUS_STATE_STARTING;
    bool outer = begin(bus);
    supervisor_start(&bus->supervisor);
    finish(bus, outer);
    update_state(bus);
    if (!stdio_bus_all_failed(bus)) return STDIO_BUS_OK;
    listener_close(&bus->listener);
    bus->state = STDIO_BUS_STATE_STOPPED;
    return STDIO_BUS_ERR_WORKER;
}

int stdio_bus_step(stdio_bus_t *bus, int timeout_ms) {
    if (bus->state == STDIO_BUS_STATE_CREATED) return STDIO_BUS_ERR_STATE;
    int handled = 0;
    if (bus->state != STDIO_BUS_STATE_STOPPED) {
        bus->busy = true;
        handled = loop_run(bus->loop, bus->collecting.records.len ? 0 : timeout_ms);
        int reason = errno;
        flush(bus);
        bus->busy = false;
        if (handled < 0) {
            report_error(bus, STDIO_BUS_ERR, strerror(reason));
            return STDIO_BUS_ERR;
        }
        update_state(bus);
    }
    deliver(bus);
    return handled;
}

int stdio_bus_stop(stdio_bus_t *bus, int timeout_sec) {
    if (bus->state == STDIO_BUS_STATE_CREATED) bus->state = STDIO_BUS_STATE_STOPPED;
    if (bus->state == STDIO_BUS_STATE_STOPPED) return STDIO_BUS_OK;
    uint64_t seconds = timeout_sec < 0 ? (uint64_t)bus->config.limits.drain_timeout_sec : (uint64_t)timeout_sec;
    bus->state = STDIO_BUS_STATE_STOPPING;
    loop_update_now(bus->loop);
    listener_close(&bus->listener);
    supervisor_stop(&bus->supervisor, seconds * 1000);
    loop_wake(bus->loop);
    return STDIO_BUS_OK;
}

/* ---- messages in ------------------------------------------------------------------ */

int stdio_bus_ingest(stdio_bus_t *bus, const char *msg, size_t len) {
    if (!takes_messages(bus)) return STDIO_BUS_ERR_STATE;
    if (!msg || !len || memchr(msg, '\n', len)) return STDIO_BUS_ERR_INVALID;
    if (len > (size_t)bus->config.limits.max_input_buffer) return STDIO_BUS_ERR_BUFFER;
    bool outer = begin(bus);
    int code = router_client_line(&bus->router, bus->host, msg, len, false);
    finish(bus, outer);
    return code;
}

static client_t *find_client(const stdio_bus_t *bus, int client_id) {
    if (client_id == STDIO_BUS_HOST_CLIENT) return bus->host;
    const list_t *clients = &bus->router.clients;
    for (list_t *link = list_first(clients); link; link = list_next(clients, link)) {
        client_t *client = list_entry(link, client_t, link);
        if (client->id == client_id) return client;
    }
    return NULL;
}

static void take_lines(stdio_bus_t *bus, client_t *client, const char *data, size_t len) {
    line_t line;
    line_result_t result;
    line_feed(&client->lines, data, len);
    while ((result = line_next(&client->lines, &line)) != LINE_MORE) {
        if (result == LINE_READY) router_client_line(&bus->router, client, line.text, line.len, true);
        else router_client_too_long(&bus->router, client, &line);
    }
}

int stdio_bus_feed(stdio_bus_t *bus, int client_id, const char *data, size_t len) {
    if (!takes_messages(bus) && bus->state != STDIO_BUS_STATE_STOPPING) return STDIO_BUS_ERR_STATE;
    client_t *client = find_client(bus, client_id);
    if (!client || client->external) return STDIO_BUS_ERR_ENOTFOUND;
    /* In a callback that a line of this very client has caused: behind what it came with. */
    if (client->feeding) return buffer_append(&client->later, data, len) ? STDIO_BUS_OK : STDIO_BUS_ERR_BUFFER;
    bool outer = begin(bus);
    client->feeding = true;
    take_lines(bus, client, data, len);
    while (client->later.len) {
        buffer_t more = client->later;
        buffer_init(&client->later, more.max);
        take_lines(bus, client, buffer_bytes(&more), more.len);
        buffer_free(&more);
    }
    client->feeding = false;
    finish(bus, outer);
    return STDIO_BUS_OK;
}

int stdio_bus_set_on_batch(stdio_bus_t *bus, stdio_bus_on_batch_fn fn) {
    bus->on_batch = fn;
    return STDIO_BUS_OK;
}

int stdio_bus_set_on_worker_event(stdio_bus_t *bus, stdio_bus_on_worker_event_fn fn) {
    bus->on_worker_event = fn;
    return STDIO_BUS_OK;
}

static pool_t *find_pool(const stdio_bus_t *bus, const char *id) {
    for (size_t i = 0; i < bus->config.pool_count; i++)
        if (strcmp(bus->config.pools[i].id, id) == 0) return &bus->pools[i];
    return NULL;
}

int stdio_bus_client_open(stdio_bus_t *bus, const char *pool_id) {
    pool_t *pool = pool_id ? find_pool(bus, pool_id) : &bus->pools[0];
    if (!pool) return STDIO_BUS_ERR_ENOTFOUND;
    if (!bus->on_batch) return STDIO_BUS_ERR_STATE; /* on_message cannot say whose a message is */
    client_t *client = add_client(bus, pool);
    return client ? client->id : STDIO_BUS_ERR_BUFFER;
}

/* The next client of the host behind `link`, NULL when there is none. */
static client_t *next_own_client(stdio_bus_t *bus, list_t *link) {
    list_t *clients = &bus->router.clients;
    while ((link = list_next(clients, link))) {
        client_t *client = list_entry(link, client_t, link);
        if (!client->external) return client;
    }
    return NULL;
}

static bool some_client_is_feeding(stdio_bus_t *bus) {
    for (client_t *client = bus->host; client; client = next_own_client(bus, &client->link))
        if (client->feeding) return true;
    return false;
}

int stdio_bus_client_close(stdio_bus_t *bus, int client_id) {
    client_t *client = find_client(bus, client_id);
    if (!client || client->external) return STDIO_BUS_ERR_ENOTFOUND;
    /* In a callback that a line of its own has caused. */
    if (client == bus->host ? some_client_is_feeding(bus) : client->feeding) return STDIO_BUS_ERR_STATE;
    bool outer = begin(bus);
    if (client == bus->host) {
        while ((client = next_own_client(bus, &bus->host->link))) remove_client(bus, client);
        router_empty_client(&bus->router, bus->host);
    } else {
        remove_client(bus, client);
    }
    finish(bus, outer);
    return STDIO_BUS_OK;
}

/* ---- workers and pools at run time -------------------------------------------------- */

int stdio_bus_pause_worker(stdio_bus_t *bus, int worker_id) {
    return manage(bus, ROUTER_PAUSE, NULL, worker_id);
}

int stdio_bus_resume_worker(stdio_bus_t *bus, int worker_id) {
    return manage(bus, ROUTER_RESUME, NULL, worker_id);
}

/* The pool that a call at run time is about; NULL with *code. */
static pool_t *running_pool(const stdio_bus_t *bus, const char *pool_id, int *code) {
    pool_t *pool = takes_messages(bus) && pool_id ? find_pool(bus, pool_id) : NULL;
    *code = !takes_messages(bus) ? STDIO_BUS_ERR_STATE : !pool_id ? STDIO_BUS_ERR_EINVAL : STDIO_BUS_ERR_ENOTFOUND;
    return pool;
}

int stdio_bus_scale_pool(stdio_bus_t *bus, const char *pool_id, int instances) {
    int code;
    pool_t *pool = running_pool(bus, pool_id, &code);
    if (!pool) return code;
    bool outer = begin(bus);
    code = scale_pool(bus, pool, instances);
    finish(bus, outer);
    return code;
}

int stdio_bus_restart_pool(stdio_bus_t *bus, const char *pool_id) {
    int code;
    pool_t *pool = running_pool(bus, pool_id, &code);
    if (!pool) return code;
    bool outer = begin(bus);
    code = supervisor_restart(&bus->supervisor, pool);
    finish(bus, outer);
    return code;
}

int stdio_bus_register_embedded_worker(stdio_bus_t *bus, int fd_to_worker, int fd_from_worker, const char *pool_id) {
    int code;
    pool_t *pool = running_pool(bus, pool_id, &code);
    if (!pool) return code;
    if (fd_to_worker < 0 || fd_from_worker < 0) return STDIO_BUS_ERR_EINVAL;
    bool outer = begin(bus);
    code = supervisor_embed(&bus->supervisor, pool, fd_to_worker, fd_from_worker);
    finish(bus, outer);
    return code;
}

int stdio_bus_unregister_embedded_worker(stdio_bus_t *bus, int worker_id) {
    worker_t *worker = supervisor_find(&bus->supervisor, worker_id);
    if (!worker) return STDIO_BUS_OK; /* it has gone by itself, or twice */
    if (!worker->embedded) return STDIO_BUS_ERR_EINVAL;
    bool outer = begin(bus);
    supervisor_unembed(worker);
    finish(bus, outer);
    return STDIO_BUS_OK;
}

int stdio_bus_set_token(stdio_bus_t *bus, const char *token) {
    size_t len = token ? strlen(token) : 0;
    if (bus->state != STDIO_BUS_STATE_CREATED) return STDIO_BUS_ERR_STATE;
    if (!len || len > LISTENER_TOKEN_MAX) return STDIO_BUS_ERR_EINVAL;
    return listener_set_token(&bus->listener, token) ? STDIO_BUS_OK : STDIO_BUS_ERR_BUFFER;
}
