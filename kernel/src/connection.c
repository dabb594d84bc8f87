/* connection.c - see connection.h. */
#include "connection.h"

#include <errno.h>

#include "poller.h"
#include "sys.h"

static void on_ready(watch_t *watch, unsigned events);
static void on_timer(loop_timer_t *timer);

bool connection_open(connection_t *connection, connection_shared_t *shared, int fd, int32_t client_id,
                     pool_t *default_pool, bool authorized) {
    size_t limit = config_queue_size(shared->limits);
    *connection = (connection_t){.shared = shared, .authorized = authorized};
    size_t longest = (size_t)shared->limits->max_input_buffer;
    if (!authorized && longest > CONNECTION_HELLO_MAX) longest = CONNECTION_HELLO_MAX;
    client_init(&connection->client, client_id, default_pool, longest);
    connection->client.external = true;
    connection->watch = (watch_t){.fn = on_ready, .owner = connection, .fd = fd};
    connection->timer = (loop_timer_t){.fn = on_timer, .owner = connection};
    /* Up to max_output_queue the peer is served in full; from there on nothing more is
     * read from it.  Answers to what it has sent already have room beside that: to what
     * waits in a worker's queue, and to what the worker and the pipes hold. */
    buffer_init(&connection->outbox, 3 * limit);
    socket_peer(fd, connection->peer);
    if (loop_watch(shared->loop, &connection->watch, POLL_READ) < 0) return false;
    if (authorized || loop_timer_start(shared->loop, &connection->timer, CONNECTION_HELLO_MS)) return true;
    loop_watch(shared->loop, &connection->watch, 0);
    return false;
}

void connection_free(connection_t *connection) {
    loop_watch(connection->shared->loop, &connection->watch, 0);
    loop_timer_stop(connection->shared->loop, &connection->timer);
    sys_close(connection->watch.fd);
    list_remove(&connection->dirty);
    list_remove(&connection->leaving);
    list_remove(&connection->ended);
    buffer_free(&connection->outbox);
    client_free(&connection->client);
}

void connection_end(connection_t *connection, const char *reason) {
    if (connection->reason) return;
    connection->reason = reason;
    list_remove(&connection->dirty);
    list_remove(&connection->leaving);
    loop_watch(connection->shared->loop, &connection->watch, 0);
    list_append(&connection->shared->ended, &connection->ended);
}

void connection_end_after_flush(connection_t *connection, const char *reason) {
    connection->last_words = reason;
    connection_flush(connection);
}

void connection_authorize(connection_t *connection) {
    connection->authorized = true;
    line_reader_extend(&connection->client.lines, (size_t)connection->shared->limits->max_input_buffer);
    loop_timer_stop(connection->shared->loop, &connection->timer);
}

static void on_timer(loop_timer_t *timer) {
    connection_t *connection = timer->owner;
    connection_end(connection, connection->stalled ? "it did not read for limits.backpressure_timeout_sec"
                                                   : "it did not say hello in time");
}

static void watch_for(connection_t *connection) {
    unsigned events = connection->outbox.len && !connection->dirty.next ? POLL_WRITE : 0;
    if (connection->leaving.next) events |= POLL_HANGUP;
    else if (!connection->stalled && !connection->last_words) events |= POLL_READ;
    if (loop_watch(connection->shared->loop, &connection->watch, events) < 0)
        connection_end(connection, "its socket cannot be watched");
}

/* Over the limit the peer has some time to read; nothing is read from it meanwhile. */
static void check_stall(connection_t *connection) {
    const config_limits_t *limits = connection->shared->limits;
    bool over = connection->outbox.len >= (size_t)limits->max_output_queue;
    if (over == connection->stalled) return;
    connection->stalled = over;
    if (!over) loop_timer_stop(connection->shared->loop, &connection->timer);
    else if (!loop_timer_start(connection->shared->loop, &connection->timer,
                               (uint64_t)limits->backpressure_timeout_sec * 1000))
        connection_end(connection, "no memory for its timer");
}

void connection_queue(connection_t *connection, const piece_t *pieces, size_t count) {
    if (connection->reason || !message_append_line(&connection->outbox, pieces, count)) {
        connection->shared->messages_lost++;
        connection_end(connection, "it did not read and its queue is full (limits.max_output_queue)");
        return;
    }
    check_stall(connection);
    if (connection->reason || connection->dirty.next) return;
    if (connection->watch.events & POLL_WRITE) watch_for(connection); /* not for reading, if it stalls */
    else list_append(&connection->shared->dirty, &connection->dirty);
}

void connection_flush(connection_t *connection) {
    list_remove(&connection->dirty);
    while (connection->outbox.len && !connection->reason) {
        ssize_t n = sys_send(connection->watch.fd, buffer_bytes(&connection->outbox), connection->outbox.len);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) {
            connection_end(connection, "it has closed the connection");
            return;
        }
        buffer_consume(&connection->outbox, (size_t)n);
    }
    if (connection->reason) return;
    check_stall(connection);
    if (connection->last_words && !connection->outbox.len) connection_end(connection, connection->last_words);
    else watch_for(connection);
}

static void take_lines(connection_t *connection, const char *data, size_t len) {
    line_t line;
    line_result_t result;
    line_feed(&connection->client.lines, data, len);
    while ((result = line_next(&connection->client.lines, &line)) != LINE_MORE)
        if (!connection->reason && !connection->last_words) connection->shared->ops.line(connection, result, &line);
}

/* The peer has closed its end, or only finished sending, and waits for answers yet.  Over TCP the
 * one looks like the other: there it has left. */
static void on_last_byte(connection_t *connection) {
    take_lines(connection, "\n", 1); /* a last line counts without its newline */
    if (connection->reason) return;
    if (!connection->half_closes) {
        connection_end(connection, "it has closed the connection");
        return;
    }
    list_append(&connection->shared->leaving, &connection->leaving);
    watch_for(connection);
}

static void on_ready(watch_t *watch, unsigned events) {
    connection_t *connection = watch->owner;
    connection_shared_t *shared = connection->shared;
    if (events & POLL_WRITE) connection_flush(connection);
    if (connection->reason || !(events & POLL_READ)) return;
    if (connection->leaving.next) connection_end(connection, "it has closed the connection"); /* a hang-up */
    if (!(watch->events & POLL_READ)) return;
    ssize_t n = sys_read(watch->fd, shared->scratch, shared->scratch_size);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) connection_end(connection, "it has closed the connection");
    else if (n > 0) take_lines(connection, shared->scratch, (size_t)n);
    else on_last_byte(connection);
}
