/* listener.c - see listener.h. */
#include "listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "json_read.h"
#include "poller.h"
#include "router_internal.h"
#include "sys.h"

#define ACCEPTS_PER_EVENT 64

static void on_acceptable(watch_t *watch, unsigned events);
static void on_retry(loop_timer_t *timer);
static void on_line(connection_t *connection, line_result_t result, const line_t *line);

void listener_init(listener_t *listener, loop_t *loop, router_t *router, const config_limits_t *limits, char *scratch,
                   size_t scratch_size, const listener_ops_t *ops, void *context) {
    *listener = (listener_t){.router = router, .ops = *ops, .context = context, .reserve = -1};
    listener->watch = (watch_t){.fn = on_acceptable, .owner = listener, .fd = -1};
    listener->retry = (loop_timer_t){.fn = on_retry, .owner = listener};
    listener->shared = (connection_shared_t){
        .loop = loop, .ops = {on_line}, .limits = limits, .scratch = scratch, .scratch_size = scratch_size};
    list_init(&listener->shared.dirty);
    list_init(&listener->shared.leaving);
    list_init(&listener->shared.ended);
}

bool listener_set_token(listener_t *listener, const char *token) {
    char *copy = token ? buffer_strdup(token, strlen(token)) : NULL;
    if (token && !copy) return false;
    sys_free(listener->token);
    listener->token = copy;
    return true;
}

bool listener_may_serve(const listener_t *listener, const char *host, char error[SOCKET_ERROR_SIZE]) {
    if (!socket_check_host(host, error)) return false;
    if (listener->token || socket_is_loopback(host)) return true;
    snprintf(error, SOCKET_ERROR_SIZE,
             "listener: \"%.100s\" can be reached from other machines: set a token, or listen on 127.0.0.1 or [::1]",
             host);
    return false;
}

static bool begin(listener_t *listener, int fd, char error[SOCKET_ERROR_SIZE]) {
    listener->watch.fd = fd;
    if (fd >= 0) {
        listener->reserve = sys_open_read("/dev/null");
        if (loop_watch(listener->shared.loop, &listener->watch, POLL_READ) == 0) return true;
        strcpy(error, "the listening socket cannot be watched");
    }
    listener_close(listener);
    return false;
}

bool listener_open_tcp(listener_t *listener, const char *host, uint16_t port, char error[SOCKET_ERROR_SIZE]) {
    listener->port = port;
    return begin(listener, socket_listen_tcp(host, &listener->port, error), error);
}

bool listener_open_unix(listener_t *listener, const char *path, char error[SOCKET_ERROR_SIZE]) {
    listener->path = buffer_strdup(path, strlen(path));
    if (!listener->path) {
        strcpy(error, "no memory for the listener");
        return false;
    }
    int fd = socket_listen_unix(path, error);
    if (fd >= 0) socket_file_of(path, &listener->file);
    return begin(listener, fd, error);
}

void listener_close(listener_t *listener) {
    if (listener->watch.fd >= 0) {
        if (listener->path) socket_remove_file(listener->path, &listener->file);
        loop_watch(listener->shared.loop, &listener->watch, 0);
        loop_timer_stop(listener->shared.loop, &listener->retry);
        sys_close(listener->watch.fd);
        listener->watch.fd = -1;
    }
    sys_close(listener->reserve);
    listener->reserve = -1;
    sys_free(listener->path);
    listener->path = NULL;
}

static connection_t *connection_of(list_t *client_link) {
    client_t *client = list_entry(client_link, client_t, link);
    return client->external ? list_entry(client, connection_t, client) : NULL;
}

static void bury(listener_t *listener, connection_t *connection) {
    int32_t id = connection->client.id;
    const char *reason = connection->reason;
    router_remove_client(listener->router, &connection->client);
    connection_free(connection);
    sys_free(connection);
    listener->count--;
    listener->disconnects++;
    listener->ops.disconnected(listener->context, id, reason);
}

static connection_t *first_connection(const listener_t *listener) {
    const list_t *clients = &listener->router->clients;
    for (list_t *link = list_first(clients); link; link = list_next(clients, link)) {
        connection_t *connection = connection_of(link);
        if (connection) return connection;
    }
    return NULL;
}

void listener_end_all(listener_t *listener) {
    connection_t *connection;
    /* From the beginning each time: when it is told of an end, the host may close clients of its own. */
    while ((connection = first_connection(listener))) {
        connection_end(connection, "the bus has ended");
        bury(listener, connection);
    }
}

void listener_free(listener_t *listener) {
    if (!listener->shared.loop) return;
    listener_close(listener);
    listener_end_all(listener);
    sys_free(listener->token);
}

/* ---- letting in ------------------------------------------------------------------ */

/* How many clients the process's descriptors allow beside the workers: one that dies must
 * leave to its successor what that needs. */
static size_t most_clients(const listener_t *listener) {
    const router_t *router = listener->router;
    long most = sysconf(_SC_OPEN_MAX);
    if (most < 0) return SIZE_MAX; /* unlimited */
    most -= LISTENER_SPARE;
    for (size_t i = 0; i < router->pool_count; i++) {
        const pool_t *pool = &router->pools[i];
        size_t ordered = (size_t)pool->config->instances;
        most -= LISTENER_SPARE_PER_WORKER * (long)(pool->processes > ordered ? pool->processes : ordered);
    }
    return most < 1 ? 1 : (size_t)most;
}

/* Why one client more is too many; NULL: it is not. */
static const char *too_many(const listener_t *listener) {
    if (listener->count > (size_t)listener->shared.limits->max_clients)
        return "too many clients are connected (limits.max_clients): retry later";
    if (listener->count > most_clients(listener))
        return "too many clients are connected for the files that the bus may open (ulimit -n): retry later";
    return NULL;
}

/* False: it is turned away. */
static bool admit(listener_t *listener, int fd) {
    bool room = loop_reserve_timers(listener->shared.loop, LOOP_CLIENT_TIMERS, listener->count + 1);
    connection_t *connection = room ? sys_malloc(sizeof *connection) : NULL;
    int32_t id = listener->ops.next_client_id(listener->context);
    bool opened = connection && connection_open(connection, &listener->shared, fd, id, &listener->router->pools[0],
                                                !listener->token);
    if (!opened) {
        sys_free(connection);
        sys_close(fd);
        return false;
    }
    connection->listener = listener;
    connection->half_closes = listener->path != NULL;
    connection->vetted = listener->path || listener->token;
    listener->count++;
    listener->connects++;
    router_add_client(listener->router, &connection->client);
    listener->ops.connected(listener->context, id, connection->peer);
    const char *refusal = too_many(listener);
    if (!refusal) {
        if (!listener->path || socket_same_user(fd)) return true;
        connection_end(connection, "it belongs to another user");
        return false;
    }
    error_detail_t detail = {.retryable = true};
    router_send_error(listener->router, &connection->client, NULL, 0, RPC_OVERLOADED, &detail, refusal);
    connection_end_after_flush(connection, "too many clients are connected");
    return false;
}

/* A client that waits and cannot be let in keeps the socket readable: look away for a while. */
static void pause_accepting(listener_t *listener) {
    if (loop_timer_start(listener->shared.loop, &listener->retry, LISTENER_RETRY_MS))
        loop_watch(listener->shared.loop, &listener->watch, 0);
}

static void on_retry(loop_timer_t *timer) {
    listener_t *listener = timer->owner;
    if (loop_watch(listener->shared.loop, &listener->watch, POLL_READ) < 0) pause_accepting(listener);
}

static void on_acceptable(watch_t *watch, unsigned events) {
    listener_t *listener = watch->owner;
    (void)events;
    if (listener->reserve < 0) listener->reserve = sys_open_read("/dev/null"); /* somebody else had got it */
    for (int i = 0; i < ACCEPTS_PER_EVENT && watch->fd >= 0; i++) {
        int fd = socket_accept(watch->fd);
        if (fd >= 0) {
            if (!admit(listener, fd)) return; /* its descriptor is free again after this turn */
        } else if ((errno == EMFILE || errno == ENFILE) && listener->reserve >= 0) {
            /* Rather than keep it waiting, let it in on the spare descriptor and close at once. */
            sys_close(listener->reserve);
            sys_close(socket_accept(watch->fd));
            listener->reserve = sys_open_read("/dev/null");
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != ECONNABORTED) {
            pause_accepting(listener);
            return;
        }
    }
}

/* ---- the first message -------------------------------------------------------------- */

/* Compares without telling by its time where the first difference is. */
static bool same_token(const char *a, size_t a_len, const char *b, size_t b_len) {
    unsigned char difference = a_len != b_len;
    for (size_t i = 0; i < LISTENER_TOKEN_MAX; i++) {
        unsigned char left = i < a_len ? (unsigned char)a[i] : 0, right = i < b_len ? (unsigned char)b[i] : 0;
        difference |= left ^ right;
    }
    return !difference;
}

static bool carries_token(const listener_t *listener, const line_t *line) {
    scan_t scan;
    json_span_t token;
    char given[6 * LISTENER_TOKEN_MAX + 2]; /* every byte spelled \u0000, and the quotes */
    if (json_scan(line->text, line->len, &scan) != SCAN_OK || !scan_has(&scan, FIELD_METHOD) ||
        !json_string_equals(message_value(&scan, FIELD_METHOD), "stdio_bus/hello", 15) ||
        !scan_has(&scan, FIELD_PARAMS))
        return false;
    json_span_t params = message_value(&scan, FIELD_PARAMS);
    if (*params.text != '{' || !json_get(params, "token", &token) || *token.text != '"' || token.len > sizeof given)
        return false;
    return same_token(given, json_string_decode(token, given), listener->token, strlen(listener->token));
}

/* Any page in a browser can post to a port of this machine, lines of JSON as its body.  The
 * first line of HTTP gives it away: "POST / HTTP/1.1". */
static bool is_http(const line_t *line) {
    static const char version[] = " HTTP/1.";
    const size_t len = sizeof version; /* with the digit behind it */
    return line->len > len && memcmp(line->text + line->len - len, version, len - 1) == 0;
}

static void on_line(connection_t *connection, line_result_t result, const line_t *line) {
    listener_t *listener = connection->listener;
    if (!connection->vetted) {
        connection->vetted = true;
        if (is_http(line)) {
            router_send_error(listener->router, &connection->client, NULL, 0, RPC_PARSE_ERROR, NULL,
                              "this is no HTTP server: send one JSON object per line");
            connection_end_after_flush(connection, "it spoke HTTP");
            return;
        }
    }
    if (!connection->authorized) {
        if (result != LINE_READY || !carries_token(listener, line)) {
            router_send_error(listener->router, &connection->client, NULL, 0, RPC_INVALID_REQUEST, NULL,
                              "the first message must be stdio_bus/hello with the right params.token");
            connection_end_after_flush(connection, "its first message had no valid token");
            return;
        }
        connection_authorize(connection);
    }
    if (result == LINE_READY) router_client_line(listener->router, &connection->client, line->text, line->len, true);
    else router_client_too_long(listener->router, &connection->client, line);
}

/* ---- turns ---------------------------------------------------------------------------- */

/* A client that will say no more cannot answer workers: their questions to it end, for its own
 * requests may hang on them. */
static bool silence(listener_t *listener, client_t *client) {
    list_t *link, *next;
    if (client->silent) return false;
    client->silent = true;
    for (link = list_first(&client->pending); link; link = next) {
        next = list_next(&client->pending, link);
        pending_t *p = list_entry(link, pending_t, of_client);
        if (p->kind == PENDING_ASK) router_refuse_ask(listener->router, p, "the client that should have answered has left");
    }
    return true;
}

/* Ends the clients that have said all they had to say and have got all they are to get. */
static bool dismiss_leaving(listener_t *listener) {
    list_t *link, *next;
    bool work = false;
    for (link = list_first(&listener->shared.leaving); link; link = next) {
        next = list_next(&listener->shared.leaving, link);
        connection_t *connection = list_entry(link, connection_t, leaving);
        if (silence(listener, &connection->client)) work = true;
        if (!connection->client.pending_count && !connection->outbox.len)
            connection_end(connection, "it has closed the connection");
    }
    return work;
}

bool listener_flush(listener_t *listener) {
    list_t *link;
    while ((link = list_first(&listener->shared.dirty))) connection_flush(list_entry(link, connection_t, dirty));
    bool work = dismiss_leaving(listener);
    while ((link = list_first(&listener->shared.ended))) {
        bury(listener, list_entry(link, connection_t, ended));
        work = true;
    }
    return work;
}

bool listener_has_output(const listener_t *listener) {
    const list_t *clients = &listener->router->clients;
    for (list_t *link = list_first(clients); link; link = list_next(clients, link)) {
        connection_t *connection = connection_of(link);
        if (connection && connection->outbox.len) return true;
    }
    return false;
}
