/* test_listener.c - external clients are let in, refused and buried: tokens, limits, accept
 * that fails, and the socket file.  Requests are those that the bus answers by itself. */
#define _GNU_SOURCE
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "configured.h"
#include "fake_sys.h"
#include "poller.h"
#include "sys.h"

static config_t config;
static pool_t pool;
static loop_t *loop;
static router_t router;
static listener_t listener;
static client_t host;
static char scratch[8192], folder[] = "/tmp/stdio_bus.XXXXXX", path[64];
static char error[SOCKET_ERROR_SIZE];
static char events[1024]; /* " +5 -5:reason" since the last look */
static int32_t next_id;

static int32_t next_client_id(void *context) {
    CHECK(context == &router);
    return next_id++;
}

static void note(const char *text) {
    size_t len = strlen(events);
    snprintf(events + len, sizeof events - len, "%s", text);
}

static void on_connected(void *context, int32_t client_id, const char *peer) {
    char text[64];
    CHECK(context == &router && *peer);
    snprintf(text, sizeof text, " +%d", (int)client_id);
    note(text);
}

static void on_disconnected(void *context, int32_t client_id, const char *reason) {
    char text[160];
    CHECK(context == &router);
    snprintf(text, sizeof text, " -%d:%s", (int)client_id, reason);
    note(text);
}

static void check_events(const char *expected) {
    CHECK_STR(events, expected);
    events[0] = '\0';
}

static bool to_worker(void *context, target_t *target, const piece_t *pieces, size_t count) {
    (void)context, (void)target, (void)pieces, (void)count;
    return CHECK(false);
}

static void to_client(void *context, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count) {
    CHECK(context == &router && worker_id == 0 && client->external);
    connection_queue(list_entry(client, connection_t, client), pieces, count);
}

static bool no_status(void *context, buffer_t *out) {
    (void)context;
    return buffer_puts(out, "{}");
}

static void no_handshake(void *context, target_t *target, const char *reason) {
    (void)context, (void)target, (void)reason;
    CHECK(false);
}

static void set_up(const char *limits) {
    static const router_ops_t router_ops = {to_worker, to_client, no_status, no_handshake};
    static const listener_ops_t ops = {next_client_id, on_connected, on_disconnected};
    char text[256];
    snprintf(text, sizeof text, "{'pools':[{'id':'p','command':'c'}],'limits':{%s}}", limits);
    configured(&config, text);
    loop = loop_open();
    REQUIRE(loop != NULL);
    router_init(&router, &router_ops, &router, &config.limits);
    router.pools = &pool;
    router.pool_count = 1;
    pool_init(&pool, &config.pools[0]);
    client_init(&host, 0, &pool, 1024); /* is among the clients, as in a bus */
    router_add_client(&router, &host);
    listener_init(&listener, loop, &router, &config.limits, scratch, sizeof scratch, &ops, &router);
    next_id = 1;
}

static void take_down(void) {
    listener_free(&listener);
    CHECK_INT(listener.count, 0);
    CHECK_INT(listener.connects, listener.disconnects);
    router_remove_client(&router, &host);
    client_free(&host);
    router_free(&router);
    pool_free(&pool);
    loop_close(loop);
    config_free(&config);
    events[0] = '\0';
}

/* A turn of the bus. */
static void turn(void) {
    CHECK(loop_run(loop, 0) >= 0);
    while (listener_flush(&listener)) continue;
}

static int connect_from(int family, const struct sockaddr *address, socklen_t len) {
    int fd = socket(family, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, address, len) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

static int knock_tcp(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(listener.port);
    return connect_from(AF_INET, (struct sockaddr *)&address, sizeof address);
}

static int knock(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    return connect_from(AF_UNIX, (struct sockaddr *)&address, sizeof address);
}

static int enter(void) {
    int fd = knock();
    turn();
    return fd;
}

/* What the bus has sent by now; "(end)" when it has closed the connection. */
static const char *received(int fd) {
    static char text[4096];
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return n == 0 || (n < 0 && errno == ECONNRESET) ? "(end)" : text;
}

static const char *answer_to(int fd, const char *line) {
    const char *text = quoted(line);
    CHECK_INT(write(fd, text, strlen(text)), (long)strlen(text));
    turn();
    return received(fd);
}

#define PING "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/ping'}\n"
#define PONG "{'jsonrpc':'2.0','id':1,'result':{}}\n"

static void open_unix(const char *limits, const char *token) {
    set_up(limits);
    CHECK(listener_set_token(&listener, token));
    CHECK(listener_open_unix(&listener, path, error));
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void test_tcp(void) {
    set_up("");
    CHECK(listener_open_tcp(&listener, "127.0.0.1", 0, error));
    CHECK(listener.port > 0);
    int fd = knock_tcp();
    struct pollfd readable = {.fd = loop_fd(loop), .events = POLLIN};
    CHECK_INT(poll(&readable, 1, 30000), 1);
    turn();
    check_events(" +1");
    CHECK_INT(write(fd, quoted(PING), strlen(PING)), (long)strlen(PING));
    CHECK_INT(poll(&readable, 1, 30000), 1);
    turn();
    readable.fd = fd;
    CHECK_INT(poll(&readable, 1, 30000), 1);
    CHECK_STR(received(fd), quoted(PONG));
    close(fd);
    readable.fd = loop_fd(loop);
    CHECK_INT(poll(&readable, 1, 30000), 1);
    turn();
    check_events(" -1:it has closed the connection");
    take_down();
}

static void test_unix(void) {
    struct stat info;
    open_unix("", NULL);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    int fd = enter(), other = knock();
    CHECK_STR(answer_to(fd, PING), quoted(PONG));
    check_events(" +1 +2");
    listener_close(&listener); /* no more clients, but those that are there stay */
    CHECK(stat(path, &info) < 0 && errno == ENOENT);
    CHECK_INT(listener.watch.fd, -1);
    CHECK_STR(answer_to(fd, PING), quoted(PONG));
    CHECK_INT(listener.count, 2);
    listener_end_all(&listener);
    check_events(" -1:the bus has ended -2:the bus has ended");
    CHECK_STR(received(other), "(end)");
    close(fd);
    close(other);
    take_down();
}

static void test_cannot_be_opened(void) {
    set_up("");
    CHECK(!listener_open_tcp(&listener, "example.com", 0, error));
    CHECK_STR(error, "example.com: must be an IPv4 or IPv6 address, or localhost");
    for (int i = 0; i < 2; i++) { /* a host may try again */
        CHECK(!listener_open_unix(&listener, "/no/such/folder/bus.sock", error));
        CHECK_STR(error, "/no/such/folder/bus.sock: No such file or directory");
    }
    fake_sys_fail_allocation(1);
    CHECK(!listener_open_unix(&listener, path, error));
    CHECK_STR(error, "no memory for the listener");
    fake_sys_break(loop_fd(loop));
    CHECK(!listener_open_unix(&listener, path, error));
    fake_sys_mend(loop_fd(loop));
    CHECK_STR(error, "the listening socket cannot be watched");
    CHECK(access(path, F_OK) < 0);
    CHECK(listener_open_unix(&listener, path, error));
    take_down();
}

static void test_nothing_to_free(void) {
    listener_t none = {.shared = {.loop = NULL}};
    listener_free(&none); /* of a bus that was never assembled */
}

/* ---- letting in --------------------------------------------------------------------------- */

static void test_max_clients(void) {
    open_unix("'max_clients':2", NULL);
    int first = enter(), second = enter(), third = enter();
    check_events(" +1 +2 +3 -3:too many clients are connected");
    CHECK_LIKE(received(third), quoted("{'jsonrpc':'2.0','id':null,'error':{'code':-32084,'message':'too many clients are "
                                       "connected (limits.max_clients): retry later',*'retryable':true*}}\n"));
    CHECK_STR(received(third), "(end)");
    CHECK_STR(answer_to(second, PING), quoted(PONG));
    close(first);
    turn();
    check_events(" -1:it has closed the connection");
    int fourth = enter();
    CHECK_STR(answer_to(fourth, PING), quoted(PONG));
    close(second);
    close(third);
    close(fourth);
    take_down();
}

static void test_other_user(void) {
    open_unix("", NULL);
    fake_sys_foreign_peer(true);
    int fd = enter();
    fake_sys_foreign_peer(false);
    check_events(" +1 -1:it belongs to another user");
    CHECK_STR(received(fd), "(end)");
    close(fd);
    take_down();
}

static void test_no_memory_for_a_client(void) {
    open_unix("", "secret"); /* so that a timer is needed, too */
    for (int n = 1; n <= 2; n++) {
        int fd = knock();
        fake_sys_fail_allocation(n);
        turn();
        CHECK(fake_sys_has_failed());
        CHECK_STR(received(fd), "(end)");
        check_events("");
        close(fd);
    }
    CHECK_INT(listener.count, 0);
    int fd = enter();
    CHECK_INT(listener.count, 1);
    close(fd);
    take_down();
}

static void test_accept_fails(void) {
    static const int errors[] = {EMFILE, ENFILE};
    open_unix("", NULL);
    for (int i = 0; i < 2; i++) { /* the first is turned away, the next one is let in */
        int refused = knock(), fd = knock();
        fake_sys_fail_with("sys_accept", errors[i]);
        turn();
        CHECK_STR(received(refused), "(end)");
        CHECK_STR(answer_to(fd, PING), quoted(PONG));
        CHECK(listener.reserve >= 0);
        close(refused);
        close(fd);
        turn();
    }
    events[0] = '\0';
    int fd = knock(); /* one that has given up already does not keep the next one out */
    fake_sys_fail_with("sys_accept", ECONNABORTED);
    turn();
    CHECK_STR(answer_to(fd, PING), quoted(PONG));
    int later = knock(); /* anything else: after a while, in which the loop rests */
    fake_sys_fail_with("sys_accept", ENOMEM);
    turn();
    turn();
    CHECK_STR(received(later), "");
    CHECK_INT(listener.watch.events, 0);
    fake_sys_advance(LISTENER_RETRY_MS);
    turn();
    turn();
    CHECK_STR(answer_to(later, PING), quoted(PONG));
    close(fd);
    close(later);
    take_down();
}

/* Really no descriptor left: who knocks is turned away instead of keeping the bus awake. */
static void test_no_descriptors(void) {
    struct rlimit before, limit;
    struct pollfd readable = {.events = POLLIN};
    open_unix("", NULL);
    int inside = enter(), outside = knock(), another = knock();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    limit = before;
    limit.rlim_cur = (rlim_t)fcntl(0, F_DUPFD, 3);
    close((int)limit.rlim_cur);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    turn();
    turn();
    CHECK_STR(received(outside), "(end)");
    CHECK_STR(received(another), "(end)");
    readable.fd = loop_fd(loop);
    CHECK_INT(poll(&readable, 1, 0), 0);
    CHECK_STR(answer_to(inside, PING), quoted(PONG));
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    int fd = enter();
    CHECK_STR(answer_to(fd, PING), quoted(PONG));
    close(outside);
    close(another);
    close(inside);
    close(fd);
    take_down();
}

/* The spare descriptor may be lost to somebody else in the process; it is replaced as soon
 * as there is one. */
static void test_lost_reserve(void) {
    open_unix("", NULL);
    int refused = knock();
    fake_sys_fail_with("sys_accept", EMFILE);
    fake_sys_fail_with("sys_open_read", EMFILE);
    turn();
    CHECK_STR(received(refused), "(end)");
    CHECK_INT(listener.reserve, -1);
    int waiting = knock();
    fake_sys_fail_with("sys_accept", EMFILE);
    fake_sys_fail_with("sys_open_read", EMFILE);
    turn();
    CHECK_STR(received(waiting), ""); /* nobody can tell it anything */
    fake_sys_advance(LISTENER_RETRY_MS);
    turn();
    turn();
    CHECK(listener.reserve >= 0);
    CHECK_STR(answer_to(waiting, PING), quoted(PONG));
    close(refused);
    close(waiting);
    take_down();
}

/* ---- the first line over TCP -------------------------------------------------------------- */

static const char *tcp_answer_to(int fd, const char *line) {
    static char all[4096];
    struct pollfd either[] = {{.fd = loop_fd(loop), .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    const char *text = quoted(line);
    size_t len = 0;
    CHECK_INT(write(fd, text, strlen(text)), (long)strlen(text));
    while (!memchr(all, '\n', len)) {
        REQUIRE(poll(either, 2, 30000) > 0);
        turn();
        ssize_t n = read(fd, all + len, sizeof all - 1 - len);
        if (n == 0) break;
        if (n > 0) len += (size_t)n;
    }
    all[len] = '\0';
    return all;
}

/* A page in a browser posts to any port, but its lines come behind a head. */
static void test_no_http(void) {
    static const char *const refused[] = {
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n" PING,
        "GET / HTTP/1.1\r\n\r\n",
        "\r\nPOST /x HTTP/1.0\n" PING,
    };
    /* Anything else is answered, and the stream goes on. */
    static const char *const taken[] = {PING, "\r\n\n \t" PING};
    set_up("'max_input_buffer':1024");
    CHECK(listener_open_tcp(&listener, "127.0.0.1", 0, error));
    for (int i = 0; i < 3; i++) {
        int fd = knock_tcp();
        CHECK_LIKE(tcp_answer_to(fd, refused[i]),
                   quoted("{'jsonrpc':'2.0','id':null,'error':{'code':-32700,'message':'this is no HTTP server: *',*}}\n"));
        CHECK_STR(received(fd), "(end)");
        CHECK_LIKE(events, " +# -#:it spoke HTTP");
        events[0] = '\0';
        close(fd);
    }
    CHECK_INT(router.messages_in, 0);
    for (int i = 0; i < 2; i++) {
        int fd = knock_tcp();
        CHECK_STR(tcp_answer_to(fd, taken[i]), quoted(PONG));
        CHECK_LIKE(tcp_answer_to(fd, "later lines may be wrong\n"), quoted("{*-32700*}\n"));
        CHECK_STR(tcp_answer_to(fd, PING), quoted(PONG));
        close(fd);
    }
    int fd = knock_tcp(); /* an over-long line is judged by its head */
    char text[3000] = "{";
    memset(text + 1, 'x', sizeof text - 1);
    strcpy(text + sizeof text - 2, "\n");
    CHECK_LIKE(tcp_answer_to(fd, text), quoted("{*-32600*}\n"));
    CHECK_STR(tcp_answer_to(fd, PING), quoted(PONG));
    close(fd);
    take_down();
}

/* ---- the token ---------------------------------------------------------------------------- */

#define HELLO(token) "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/hello','params':{'token':" token "}}\n"
#define GREETED "{'jsonrpc':'2.0','id':1,'result':{'negotiatedProtocolVersion':*'sessionId':*'extensions':*}}\n"
#define REFUSED                                                                                                   \
    "{'jsonrpc':'2.0','id':null,'error':{'code':-32600,'message':'the first message must be stdio_bus/hello with " \
    "the right params.token',*}}\n"

static void test_right_tokens(void) {
    static const char *const right[] = {HELLO("'secret'"), HELLO("'\\u0073ecret'"), "\r\n\n" HELLO("'secret'")};
    open_unix("", "other");
    CHECK(listener_set_token(&listener, "secret")); /* the last one counts */
    for (int i = 0; i < 3; i++) {
        int fd = enter();
        CHECK_LIKE(answer_to(fd, right[i]), quoted(GREETED));
        CHECK_STR(answer_to(fd, PING), quoted(PONG));
        CHECK_LIKE(answer_to(fd, HELLO("'whatever'")), quoted(GREETED)); /* once is enough */
        fake_sys_advance(CONNECTION_HELLO_MS);
        CHECK_STR(answer_to(fd, PING), quoted(PONG));
        close(fd);
        turn();
    }
    take_down();
}

static void test_token_in_pieces(void) {
    const char *text = HELLO("'secret'") PING;
    char all[1024] = "";
    open_unix("", "secret");
    int fd = enter();
    for (const char *c = quoted(text); *c; c++) {
        CHECK_INT(write(fd, c, 1), 1);
        turn();
        const char *more = received(fd);
        strcat(all, more);
    }
    CHECK_LIKE(all, quoted(GREETED PONG));
    close(fd);
    take_down();
}

static void test_wrong_tokens(void) {
    static const char *const wrong[] = {
        HELLO("'Secret'"), HELLO("'secre'"), HELLO("'secret '"), HELLO("''"), HELLO("'secret\\u0000'"), HELLO("null"),
        HELLO("7"), HELLO("['secret']"), PING, "no JSON\n", "[]\n", "{'token':'secret'}\n", "{'id':1,'result':{'token':'secret'}}\n",
        "{'id':1,'method':'stdio_bus/hello'}\n", "{'id':1,'method':'stdio_bus/hello','params':['secret']}\n",
        "{'id':1,'method':'stdio_bus/hello','params':{}}\n",
        "{'id':1,'method':'stdio_bus/ping','params':{'token':'secret'}}\n"};
    open_unix("", "secret");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int fd = enter();
        events[0] = '\0';
        CHECK_LIKE(answer_to(fd, wrong[i]), quoted(REFUSED));
        CHECK_STR(received(fd), "(end)");
        CHECK_LIKE(events, " -#:its first message had no valid token");
        close(fd);
    }
    take_down();
}

/* There is no second attempt in what came together with the first. */
static void test_one_attempt(void) {
    open_unix("", "secret");
    int fd = enter();
    CHECK_LIKE(answer_to(fd, HELLO("'wrong'") HELLO("'secret'") PING), quoted(REFUSED));
    CHECK_STR(received(fd), "(end)");
    CHECK_INT(listener.count, 0);
    close(fd);
    take_down();
}

static void test_long_tokens(void) {
    char longest[LISTENER_TOKEN_MAX + 1], line[3 * LISTENER_TOKEN_MAX];
    memset(longest, 't', sizeof longest - 1);
    longest[LISTENER_TOKEN_MAX] = '\0';
    open_unix("", longest);
    int fd = enter();
    snprintf(line, sizeof line, HELLO("'%s'"), longest);
    CHECK_LIKE(answer_to(fd, line), quoted(GREETED));
    close(fd);
    static const char *const more[] = {"t", "tttttttttttttttttttt"};
    for (int i = 0; i < 2; i++) {
        fd = enter();
        snprintf(line, sizeof line, HELLO("'%s%s'"), longest, more[i]);
        CHECK_LIKE(answer_to(fd, line), quoted(REFUSED));
        close(fd);
    }
    take_down();
    open_unix("'max_input_buffer':1024", "secret"); /* an over-long line is no hello */
    fd = enter();
    snprintf(line, sizeof line, HELLO("'secret%s'"), longest);
    CHECK_LIKE(answer_to(fd, line), quoted(REFUSED));
    close(fd);
    fd = enter();
    CHECK_LIKE(answer_to(fd, HELLO("'secret'")), quoted(GREETED));
    snprintf(line, sizeof line, "{'jsonrpc':'2.0','id':4,'method':'%s'}\n", longest); /* but an error afterwards */
    CHECK_LIKE(answer_to(fd, line), quoted("{'jsonrpc':'2.0','id':4,'error':{'code':-32600,*1024 bytes*"));
    CHECK_STR(answer_to(fd, PING), quoted(PONG));
    close(fd);
    take_down();
}

/* Its length counts, not that of its spelling. */
static void test_long_spellings(void) {
    static const char *const letters[] = {"t", "\xC3\xA9"}, *const spellings[] = {"\\u0074", "\\u00e9"};
    char token[LISTENER_TOKEN_MAX + 1], spelled[7 * LISTENER_TOKEN_MAX], line[sizeof spelled + 128];
    for (int i = 0; i < 2; i++) {
        token[0] = spelled[0] = '\0';
        while (strlen(token) < LISTENER_TOKEN_MAX) {
            strcat(token, letters[i]);
            strcat(spelled, spellings[i]);
        }
        open_unix("", token);
        for (int longer = 0; longer < 2; longer++) {
            int fd = enter();
            snprintf(line, sizeof line, HELLO("'%s%s'"), spelled, longer ? spellings[i] : "");
            CHECK_LIKE(answer_to(fd, line), quoted(longer ? REFUSED : GREETED));
            close(fd);
        }
        take_down();
    }
}

static void test_no_hello_in_time(void) {
    open_unix("", "secret");
    int fd = enter();
    fake_sys_advance(CONNECTION_HELLO_MS);
    turn();
    CHECK_STR(received(fd), "(end)");
    check_events(" +1 -1:it did not say hello in time");
    close(fd);
    take_down();
}

static void test_set_token(void) {
    set_up("");
    CHECK(listener_set_token(&listener, "secret"));
    fake_sys_fail_allocation(1);
    CHECK(!listener_set_token(&listener, "other"));
    CHECK_STR(listener.token, "secret");
    CHECK(listener_set_token(&listener, NULL));
    CHECK_STR(listener.token, NULL);
    take_down();
}

/* ---- what waits --------------------------------------------------------------------------- */

static void test_output(void) {
    open_unix("", NULL);
    int fd = enter();
    CHECK(!listener_has_output(&listener));
    fake_sys_fail_with("sys_send", EAGAIN);
    CHECK_STR(answer_to(fd, PING), "");
    CHECK(listener_has_output(&listener));
    turn();
    CHECK_STR(received(fd), quoted(PONG));
    CHECK(!listener_has_output(&listener));
    CHECK(!listener_flush(&listener));
    close(fd);
    CHECK(loop_run(loop, 0) >= 0);
    CHECK(listener_flush(&listener)); /* its end may have left workers something to write */
    CHECK_INT(listener.disconnects, 1);
    take_down();
}

int main(void) {
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/bus.sock", folder);
    fake_sys_begin();
    test_tcp();
    test_unix();
    test_cannot_be_opened();
    test_nothing_to_free();
    test_max_clients();
    test_other_user();
    test_no_memory_for_a_client();
    test_accept_fails();
    test_no_descriptors();
    test_lost_reserve();
    test_no_http();
    test_right_tokens();
    test_token_in_pieces();
    test_wrong_tokens();
    test_one_attempt();
    test_long_tokens();
    test_long_spellings();
    test_no_hello_in_time();
    test_set_token();
    test_output();
    fake_sys_end();
    CHECK_INT(rmdir(folder), 0);
    return check_result();
}
