/* test_connection.c - one external client over a socket pair: its bytes in pieces, writes
 * that end anywhere, the limits of what waits for it, and every way to its end. */
#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fake_sys.h"
#include "poller.h"

#define QUEUE 8192 /* limits.max_output_queue; the hard limit is three times that */

static config_limits_t limits = {
    .max_input_buffer = 1024, .max_output_queue = QUEUE, .backpressure_timeout_sec = 7};
static connection_shared_t shared;
static connection_t connection;
static int peer;
static char scratch[4096], heard[4096]; /* what its lines were: "<text>" or "<!...>" */
static bool end_at_line;

static void on_line(connection_t *of, line_result_t result, const line_t *line) {
    size_t len = strlen(heard);
    CHECK(of == &connection);
    snprintf(heard + len, sizeof heard - len, result == LINE_READY ? "<%.*s>" : "<!%.*s>", (int)line->len, line->text);
    if (end_at_line) connection_end(of, "enough");
}

static bool open_as(bool authorized) {
    int fds[2], size = 4096;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    for (int i = 0; i < 2; i++) fcntl(fds[i], F_SETFL, O_NONBLOCK);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    shared = (connection_shared_t){
        .loop = loop_open(), .ops = {on_line}, .limits = &limits, .scratch = scratch, .scratch_size = sizeof scratch};
    REQUIRE(shared.loop != NULL);
    list_init(&shared.dirty);
    list_init(&shared.leaving);
    list_init(&shared.ended);
    peer = fds[1];
    heard[0] = '\0';
    end_at_line = false;
    if (connection_open(&connection, &shared, fds[0], 5, NULL, authorized)) {
        connection.half_closes = true;
        return true;
    }
    close(fds[0]);
    return false;
}

static void close_it(void) {
    connection_free(&connection);
    CHECK(!list_first(&shared.dirty) && !list_first(&shared.ended));
    close(peer);
    loop_close(shared.loop);
}

static void run(void) {
    CHECK(loop_run(shared.loop, 0) >= 0);
}

static void says(const char *text) {
    CHECK_INT(write(peer, text, strlen(text)), (long)strlen(text));
    run();
}

static void queue(const char *text) {
    piece_t piece = {text, strlen(text)};
    connection_queue(&connection, &piece, 1);
}

static void queue_bytes(size_t len) { /* newline included */
    static char text[4 * QUEUE];
    piece_t piece = {memset(text, 'x', sizeof text), len - 1};
    connection_queue(&connection, &piece, 1);
}

/* The socket takes no more, and something waits. */
static void fill_socket_of_leaving(void) {
    while (!connection.outbox.len) {
        queue_bytes(1000);
        connection_flush(&connection);
    }
    CHECK_INT(connection.watch.events, POLL_WRITE | POLL_HANGUP);
}

/* What has come at the other end by now. */
static const char *received(void) {
    static char text[4096];
    ssize_t n = read(peer, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static size_t receive_all(void) {
    char text[4096];
    size_t all = 0;
    for (ssize_t n; (n = read(peer, text, sizeof text)) > 0; all += (size_t)n) run();
    return all;
}

static bool is_dirty(void) {
    return list_first(&shared.dirty) == &connection.dirty;
}

static void check_ended(const char *reason) {
    CHECK_STR(connection.reason, reason);
    CHECK(list_first(&shared.ended) == &connection.ended);
    CHECK(!is_dirty());
    CHECK_INT(connection.watch.events, 0);
}

/* ---- in ---------------------------------------------------------------------------------- */

static void test_lines(void) {
    REQUIRE(open_as(true));
    CHECK_INT(connection.client.id, 5);
    CHECK(connection.client.external);
    CHECK_STR(connection.peer, "unix");
    says("one\ntwo\r\n\nth");
    CHECK_STR(heard, "<one><two>");
    fake_sys_move_at_most(1);
    says("ree\n");
    CHECK_STR(heard, "<one><two>");
    for (int i = 0; i < 3; i++) run();
    CHECK_STR(heard, "<one><two><three>");
    fake_sys_move_at_most(0);
    heard[0] = '\0';
    char text[2000];
    memset(text, 'y', sizeof text);
    strcpy(text + sizeof text - 6, "\nok\n");
    says(text);
    CHECK_LIKE(heard, "<!yyy*y><ok>");
    CHECK_STR(connection.reason, NULL);
    close_it();
}

static void test_reads_that_fail(void) {
    static const int errors[] = {ECONNRESET, EIO};
    REQUIRE(open_as(true));
    fake_sys_fail_with("sys_read", EAGAIN); /* a false alarm */
    says("one\n");
    CHECK_STR(connection.reason, NULL);
    run();
    CHECK_STR(heard, "<one>");
    close_it();
    for (int i = 0; i < 2; i++) {
        REQUIRE(open_as(true));
        fake_sys_fail_with("sys_read", errors[i]);
        says("one\n");
        check_ended("it has closed the connection");
        close_it();
    }
}

static bool is_leaving(void) {
    return list_first(&shared.leaving) == &connection.leaving;
}

/* Who has only finished sending may wait for answers; his last line needs no newline. */
static void test_end_of_what_it_says(void) {
    REQUIRE(open_as(true));
    says("one\nhalf a li");
    shutdown(peer, SHUT_WR);
    run();
    CHECK_STR(heard, "<one><half a li>");
    CHECK(is_leaving());
    CHECK_STR(connection.reason, NULL);
    CHECK_INT(loop_run(shared.loop, 0), 0); /* the end of its stream does not keep the loop busy */
    queue("answer");
    connection_flush(&connection);
    CHECK_STR(received(), "answer\n");
    fill_socket_of_leaving();
    receive_all();
    CHECK_INT(connection.outbox.len, 0);
    CHECK_INT(loop_run(shared.loop, 0), 0);
    CHECK_STR(connection.reason, NULL);
    close_it();
}

static void test_leaving_for_good(void) {
    for (int later = 0; later < 2; later++) { /* both at once, or first the one and then the other */
        REQUIRE(open_as(true));
        if (later) shutdown(peer, SHUT_WR);
        else close(peer);
        run();
        CHECK(is_leaving());
        if (later) close(peer);
        run();
        check_ended("it has closed the connection");
        CHECK(!is_leaving());
        peer = dup(0); /* for close_it */
        close_it();
    }
    REQUIRE(open_as(true)); /* while something waits for it */
    shutdown(peer, SHUT_WR);
    run();
    fill_socket_of_leaving();
    close(peer);
    run();
    check_ended("it has closed the connection");
    peer = dup(0);
    close_it();
    REQUIRE(open_as(true));
    end_at_line = true;
    says("the last");
    shutdown(peer, SHUT_WR);
    run();
    check_ended("enough");
    CHECK(!is_leaving());
    close_it();
}

/* Whoever is at its end is not listened to any more, not even to what has come. */
static void test_lines_after_the_end(void) {
    REQUIRE(open_as(true));
    end_at_line = true;
    says("one\ntwo\n");
    CHECK_STR(heard, "<one>");
    check_ended("enough");
    connection_end(&connection, "another reason");
    check_ended("enough");
    close_it();
}

/* ---- out --------------------------------------------------------------------------------- */

static void test_writes(void) {
    piece_t pieces[] = {{"a", 1}, {"", 0}, {"bc", 2}};
    REQUIRE(open_as(true));
    connection_queue(&connection, pieces, 3);
    CHECK(is_dirty());
    queue("second");
    CHECK_STR(received(), ""); /* not before the flush */
    fake_sys_move_at_most(2);
    connection_flush(&connection);
    fake_sys_move_at_most(0);
    CHECK_STR(received(), "abc\nsecond\n");
    CHECK(!is_dirty());
    CHECK_INT(connection.watch.events, POLL_READ);
    connection_flush(&connection); /* nothing to do */
    CHECK_STR(connection.reason, NULL);

    fake_sys_fail_with("sys_send", EAGAIN);
    queue("third");
    connection_flush(&connection);
    CHECK_STR(received(), "");
    CHECK_INT(connection.watch.events, POLL_READ | POLL_WRITE);
    queue("fourth"); /* waits behind it */
    CHECK(!is_dirty());
    run();
    CHECK_STR(received(), "third\nfourth\n");
    CHECK_INT(connection.watch.events, POLL_READ);
    close_it();
}

static void test_writes_that_fail(void) {
    static const int errors[] = {EPIPE, ECONNRESET};
    for (int i = 0; i < 2; i++) {
        REQUIRE(open_as(true));
        queue("one");
        fake_sys_fail_with("sys_send", errors[i]);
        connection_flush(&connection);
        check_ended("it has closed the connection");
        CHECK_INT(shared.messages_lost, 0);
        queue("two");
        CHECK_INT(shared.messages_lost, 1);
        connection_flush(&connection);
        CHECK_STR(received(), "");
        check_ended("it has closed the connection");
        close_it();
    }
    REQUIRE(open_as(true)); /* readable and writable in one turn, and gone */
    fake_sys_fail_with("sys_send", EAGAIN);
    queue("one");
    connection_flush(&connection);
    fake_sys_fail_with("sys_send", EPIPE);
    says("hello\n");
    CHECK_STR(heard, "");
    check_ended("it has closed the connection");
    close_it();
}

/* ---- a peer that does not read -------------------------------------------------------------- */

/* The socket takes no more, and something waits; the limit is not reached. */
static void fill_socket(void) {
    while (!connection.outbox.len) {
        queue_bytes(1000);
        connection_flush(&connection);
    }
    CHECK(connection.outbox.len < QUEUE);
    CHECK(!connection.stalled);
    CHECK_INT(connection.watch.events, POLL_READ | POLL_WRITE);
}

static void fill_queue(void) {
    fill_socket();
    queue_bytes(QUEUE - connection.outbox.len);
}

static void test_stall(void) {
    REQUIRE(open_as(true));
    fill_socket();
    queue_bytes(QUEUE - 1 - connection.outbox.len);
    CHECK(!connection.stalled);
    queue_bytes(1); /* the limit */
    CHECK(connection.stalled);
    says("nobody listens\n"); /* nothing is read from it now */
    CHECK_STR(heard, "");
    queue("what it has asked before is answered");
    CHECK_STR(connection.reason, NULL);
    fake_sys_advance(6900);
    run();
    CHECK_STR(connection.reason, NULL);
    receive_all(); /* it reads in time */
    CHECK(!connection.stalled);
    CHECK_INT(connection.outbox.len, 0);
    run();
    CHECK_STR(heard, "<nobody listens>");
    fake_sys_advance(10000);
    run();
    CHECK_STR(connection.reason, NULL);
    close_it();
}

static void test_stall_without_end(void) {
    REQUIRE(open_as(true));
    fill_queue();
    fake_sys_advance(7000);
    run();
    check_ended("it did not read for limits.backpressure_timeout_sec");
    close_it();
}

/* All at once, before the first write. */
static void test_stall_at_once(void) {
    REQUIRE(open_as(true));
    queue_bytes(QUEUE + 1);
    CHECK(connection.stalled && is_dirty());
    connection_flush(&connection);
    size_t all = receive_all();
    CHECK_INT(all, QUEUE + 1);
    CHECK(!connection.stalled);
    CHECK_INT(connection.watch.events, POLL_READ);
    close_it();
}

static void test_queue_is_full(void) {
    REQUIRE(open_as(true));
    fill_queue();
    queue_bytes(3 * QUEUE - connection.outbox.len);
    CHECK_STR(connection.reason, NULL);
    queue("");
    check_ended("it did not read and its queue is full (limits.max_output_queue)");
    CHECK_INT(shared.messages_lost, 1);
    close_it();
}

static void test_no_memory(void) {
    REQUIRE(open_as(true));
    fake_sys_fail_allocation(1);
    queue("one");
    check_ended("it did not read and its queue is full (limits.max_output_queue)");
    CHECK_INT(shared.messages_lost, 1);
    close_it();

    REQUIRE(open_as(true));
    fill_socket();
    queue_bytes(QUEUE - 1 - connection.outbox.len);
    CHECK(buffer_reserve(&connection.outbox, 10));
    fake_sys_fail_allocation(1);
    queue_bytes(1);
    check_ended("no memory for its timer");
    CHECK(fake_sys_has_failed());
    close_it();
}

/* ---- the first message, the last words ------------------------------------------------------ */

static void test_hello_in_time(void) {
    REQUIRE(open_as(false));
    fake_sys_advance(CONNECTION_HELLO_MS - 100);
    run();
    CHECK_STR(connection.reason, NULL);
    says("hello\n");
    CHECK_STR(heard, "<hello>");
    CHECK(!connection.authorized);
    connection_authorize(&connection);
    fake_sys_advance(2 * CONNECTION_HELLO_MS);
    run();
    CHECK_STR(connection.reason, NULL);
    close_it();

    REQUIRE(open_as(false));
    says("hel"); /* something is not enough */
    fake_sys_advance(CONNECTION_HELLO_MS);
    run();
    check_ended("it did not say hello in time");
    close_it();
}

/* A stranger has little memory here; who has said hello, as much as is configured. */
static void test_hello_is_short(void) {
    char text[1024] = "";
    int64_t configured = limits.max_input_buffer;
    limits.max_input_buffer = 2 * CONNECTION_HELLO_MAX;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 2; i++) {
        REQUIRE(open_as(false));
        if (i) connection_authorize(&connection);
        for (size_t sent = 0; sent <= CONNECTION_HELLO_MAX; sent += strlen(text)) says(text);
        CHECK_INT(connection.client.lines.skipping, !i);
        close_it();
    }
    limits.max_input_buffer = configured;
}

static void test_last_words(void) {
    REQUIRE(open_as(true));
    queue("goodbye");
    connection_end_after_flush(&connection, "that was it");
    CHECK_STR(received(), "goodbye\n");
    check_ended("that was it");
    close_it();

    REQUIRE(open_as(true));
    fill_socket();
    queue("goodbye");
    connection_end_after_flush(&connection, "that was it");
    CHECK_STR(connection.reason, NULL);
    CHECK_INT(connection.watch.events, POLL_WRITE);
    says("what?\n");
    CHECK_STR(heard, "");
    receive_all();
    check_ended("that was it");
    close_it();
}

/* ---- the loop fails -------------------------------------------------------------------------- */

static void test_cannot_be_opened(void) {
    int fd = dup(0);
    close(fd);
    REQUIRE(open_as(true));
    connection_t other;
    CHECK(!connection_open(&other, &shared, fd, 6, NULL, true));
    close_it();
    shared.loop = loop_open();
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    fake_sys_fail_allocation(1);
    CHECK(!connection_open(&other, &shared, fds[0], 6, NULL, false));
    CHECK(fake_sys_has_failed());
    CHECK_INT(other.watch.events, 0);
    close(fds[0]);
    close(fds[1]);
    loop_close(shared.loop);
}

static void test_cannot_be_watched(void) {
    REQUIRE(open_as(true));
    fake_sys_fail_with("sys_send", EAGAIN);
    queue("one");
    fake_sys_break(loop_fd(shared.loop));
    connection_flush(&connection);
    fake_sys_mend(loop_fd(shared.loop));
    check_ended("its socket cannot be watched");
    close_it();
}

int main(void) {
    fake_sys_begin();
    test_lines();
    test_reads_that_fail();
    test_end_of_what_it_says();
    test_leaving_for_good();
    test_lines_after_the_end();
    test_writes();
    test_writes_that_fail();
    test_stall();
    test_stall_without_end();
    test_stall_at_once();
    test_queue_is_full();
    test_no_memory();
    test_hello_in_time();
    test_hello_is_short();
    test_last_words();
    test_cannot_be_opened();
    test_cannot_be_watched();
    fake_sys_end();
    return check_result();
}
