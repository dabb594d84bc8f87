/* test_bus_listener.c - a bus that listens: where it may, its token, clients beside the host,
 * and their end with the bus. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"
#include "listener.h"

#define WORK "{'pools':[{'id':'p','command':'SELF','args':['work']}]}"
#define SECRET "{'pools':[{'id':'p','command':'SELF','args':['work']}],'token':'secret'}"

static char folder[] = "/tmp/stdio_bus.XXXXXX", path[64];

static int knock(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)stdio_bus_get_listener_port(host.bus));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int knock_unix(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void says(int fd, const char *line) {
    const char *text = quoted(line);
    CHECK_INT(write(fd, text, strlen(text)), (long)strlen(text));
}

static char hears[4096]; /* of the client */

static bool has_heard_line(int fd) {
    size_t len = strlen(hears);
    ssize_t n = read(fd, hears + len, sizeof hears - 1 - len);
    if (n > 0) hears[len + (size_t)n] = '\0';
    return strchr(hears, '\n') != NULL;
}

#define CLIENT_GETS(fd, pattern)              \
    do {                                      \
        hears[0] = '\0';                      \
        UNTIL(has_heard_line(fd));            \
        CHECK_LIKE(hears, quoted(pattern "\n")); \
    } while (0)

static void test_where_without_a_token(void) {
    static const char *const refused[] = {"0.0.0.0", "::", "10.1.2.3"};
    for (int i = 0; i < 3; i++) {
        char expected[256];
        host_listens(STDIO_BUS_LISTEN_TCP, refused[i]);
        CHECK_INT(host_open(WORK), STDIO_BUS_ERR_CONFIG);
        snprintf(expected, sizeof expected,
                 "%d: listener: \"%s\" can be reached from other machines: set a token, or listen on 127.0.0.1 or [::1]",
                 STDIO_BUS_ERR_CONFIG, refused[i]);
        CHECK_STR(host.error, expected);
        host.error[0] = '\0';
        CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_ERR_CONFIG); /* says the same */
        CHECK_STR(host.error, expected);
        CHECK_STR(host.events, ""); /* nothing was started */
        CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_CREATED);
        CHECK_INT(stdio_bus_get_listener_port(host.bus), STDIO_BUS_ERR_STATE);
        CHECK_INT(stdio_bus_set_token(host.bus, "secret"), STDIO_BUS_OK); /* the remedy */
        CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_OK);
        if (i == 0) {
            CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
            CHECK(stdio_bus_get_listener_port(host.bus) > 0);
        }
        host_destroy();
    }
    host_listens(STDIO_BUS_LISTEN_TCP, "example.com"); /* no address: a token does not help */
    CHECK_INT(host_open(SECRET), STDIO_BUS_ERR_CONFIG);
    CHECK_LIKE(host.error, "*example.com: must be an IPv4 or IPv6 address, or localhost");
    host.error[0] = '\0';
    CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_ERR_CONFIG);
    CHECK_LIKE(host.error, "*example.com: must be an IPv4 or IPv6 address, or localhost");
    host_destroy();
    host_listens(STDIO_BUS_LISTEN_TCP, "0.0.0.0"); /* the configuration's is as good */
    CHECK_INT(host_open(SECRET), STDIO_BUS_OK);
    host_destroy();
    for (int i = 0; i < 2; i++) {
        host_listens(i ? STDIO_BUS_LISTEN_TCP : STDIO_BUS_LISTEN_NONE, i ? "127.0.0.1" : NULL);
        CHECK(host_create(WORK));
        CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_OK);
        host_destroy();
    }
}

static void test_options(void) {
    host_listens(3, NULL);
    CHECK(!host_create(WORK));
    CHECK_LIKE(host.error, "-10: listener.mode: must be 0 (none), 1 (TCP) or 2 (Unix)");
    host_listens(STDIO_BUS_LISTEN_UNIX, NULL);
    CHECK(!host_create(WORK));
    CHECK_LIKE(host.error, "-10: listener.unix_path: is required");
    host_listens(STDIO_BUS_LISTEN_UNIX, "/no/such/folder/bus.sock");
    CHECK_INT(host_open(WORK), STDIO_BUS_ERR_CONFIG);
    CHECK_LIKE(host.error, "-10: /no/such/folder/bus.sock: No such file or directory");
    host_destroy();
}

static void test_paths(void) {
    char too_long[200];
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    const char *const refused[] = {"", too_long};
    for (int i = 0; i < 2; i++) {
        host_listens(STDIO_BUS_LISTEN_UNIX, refused[i]);
        CHECK_INT(host_open(WORK), STDIO_BUS_ERR_CONFIG);
        CHECK_LIKE(host.error, "-10: *: must be a path of 1 to 100 bytes (the limit of Unix sockets)");
        char expected[sizeof host.error];
        strcpy(expected, host.error);
        host.error[0] = '\0';
        CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_ERR_CONFIG); /* says the same */
        CHECK_STR(host.error, expected);
        host_destroy();
    }
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    CHECK(host_create(WORK));
    CHECK_INT(stdio_bus_check(host.bus), STDIO_BUS_OK);
    CHECK(access(path, F_OK) < 0); /* nothing was opened */
    host_destroy();
}

static void test_set_token(void) {
    char longest[1026];
    memset(longest, 't', 1025);
    longest[1025] = '\0';
    REQUIRE(host_create(WORK));
    CHECK_INT(stdio_bus_set_token(host.bus, NULL), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_set_token(host.bus, ""), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_set_token(host.bus, longest), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_set_token(host.bus, longest + 1), STDIO_BUS_OK);
    fake_sys_fail_allocation(1);
    CHECK_INT(stdio_bus_set_token(host.bus, "secret"), STDIO_BUS_ERR_BUFFER);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_set_token(host.bus, "secret"), STDIO_BUS_ERR_STATE);
    host_close();
}

/* Client and host use one id at the same time, and one name for a session. */
static void test_client(void) {
    stdio_bus_stats_t stats;
    host_listens(STDIO_BUS_LISTEN_TCP, NULL);
    CHECK_INT(host_open(SECRET), STDIO_BUS_OK);
    int fd = knock();
    UNTIL(stdio_bus_client_count(host.bus) == 1);
    CHECK_STR(host_clients(), " +1");
    says(fd, "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/hello','params':{'token':'secret'}}\n");
    CLIENT_GETS(fd, "{'jsonrpc':'2.0','id':1,'result':{'negotiatedProtocolVersion':*}}");
    says(fd, "{'jsonrpc':'2.0','id':7,'method':'hang','sessionId':'s'}\n");
    UNTIL(stdio_bus_pending_count(host.bus) == 1);
    host_ingest("{'jsonrpc':'2.0','id':7,'method':'echo','sessionId':'s'}");
    HOST_GETS("{'jsonrpc':'2.0','id':7,'result':*}");
    CHECK_INT(host_message_client, STDIO_BUS_HOST_CLIENT);
    host_ingest("{'jsonrpc':'2.0','id':8,'method':'late'}");
    CLIENT_GETS(fd, "{'jsonrpc':'2.0','id':7,'result':*}");
    HOST_GETS("{'jsonrpc':'2.0','id':8,'result':*}");
    CHECK_INT(stdio_bus_feed(host.bus, 1, "x\n", 2), STDIO_BUS_ERR_ENOTFOUND); /* it is not the host's to use */
    CHECK_INT(stdio_bus_client_close(host.bus, 1), STDIO_BUS_ERR_ENOTFOUND);
    close(fd);
    UNTIL(stdio_bus_client_count(host.bus) == 0);
    CHECK_STR(host_clients(), " -1");
    stdio_bus_get_stats(host.bus, &stats);
    CHECK(stats.client_connects == 1 && stats.client_disconnects == 1);
    host_close();
}

static bool has_heard_end(int fd) {
    char byte;
    return read(fd, &byte, 1) == 0;
}

/* Who has only finished sending over a Unix socket gets the answers that are due, and is then let go; to a
 * worker's question such a client has no answer any more. */
static void test_client_that_finishes_sending(void) {
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    CHECK_INT(host_open(WORK), STDIO_BUS_OK);
    int fd = knock_unix();
    says(fd, "{'jsonrpc':'2.0','id':7,'method':'hang'}"); /* no newline */
    shutdown(fd, SHUT_WR);
    UNTIL(stdio_bus_pending_count(host.bus) == 1);
    for (int i = 0; i < 3; i++) host_step();
    CHECK_INT(stdio_bus_client_count(host.bus), 1);
    host_ingest("{'jsonrpc':'2.0','id':8,'method':'late'}");
    CLIENT_GETS(fd, "{'jsonrpc':'2.0','id':7,'result':*}");
    HOST_GETS("{'jsonrpc':'2.0','id':8,'result':*}");
    UNTIL(has_heard_end(fd));
    close(fd);
    fd = knock_unix();
    says(fd, "{'jsonrpc':'2.0','id':1,'method':'ask'}\n");
    shutdown(fd, SHUT_WR);
    hears[0] = '\0';
    UNTIL(has_heard_line(fd) && strstr(hears, "\"asked\""));
    UNTIL(has_heard_end(fd));
    close(fd);
    CHECK_STR(host_clients(), " +1 -1 +2 -2");
    host_close();
}

/* Over TCP the one looks like the other: it has left, after its last line. */
static void test_client_that_finishes_sending_over_tcp(void) {
    host_listens(STDIO_BUS_LISTEN_TCP, NULL);
    CHECK_INT(host_open(WORK), STDIO_BUS_OK);
    int fd = knock();
    says(fd, "{'jsonrpc':'2.0','id':7,'method':'hang'}\n{'jsonrpc':'2.0','id':8,'method':'stdio_bus/ping'}");
    shutdown(fd, SHUT_WR);
    stdio_bus_stats_t stats;
    UNTIL((stdio_bus_get_stats(host.bus, &stats), stats.client_disconnects == 1));
    CHECK_INT(stdio_bus_pending_count(host.bus), 0);
    CHECK_INT(stats.messages_in, 2);
    close(fd);
    host_close();
}

/* One that leaves altogether, at once or in two steps, takes its requests with it. */
static void test_client_that_leaves(void) {
    for (int steps = 1; steps <= 2; steps++) {
        host_listens(STDIO_BUS_LISTEN_UNIX, path);
        CHECK_INT(host_open(WORK), STDIO_BUS_OK);
        int fd = knock_unix();
        says(fd, "{'jsonrpc':'2.0','id':1,'method':'hang'}\n");
        UNTIL(stdio_bus_pending_count(host.bus) == 1);
        if (steps == 2) shutdown(fd, SHUT_WR);
        for (int i = 0; i < 3; i++) host_step();
        CHECK_INT(stdio_bus_pending_count(host.bus), 1);
        close(fd);
        UNTIL(stdio_bus_client_count(host.bus) == 0);
        CHECK_INT(stdio_bus_pending_count(host.bus), 0);
        host_close();
    }
}

/* A stop answers what is under way, with an error in the end, and leaves nothing. */
static void test_stop_with_clients(void) {
    host_listens(STDIO_BUS_LISTEN_TCP, "127.0.0.1");
    CHECK_INT(host_open(WORK), STDIO_BUS_OK);
    int fd = knock();
    says(fd, "{'jsonrpc':'2.0','id':1,'method':'hang'}\n");
    UNTIL(stdio_bus_pending_count(host.bus) == 1);
    CHECK_INT(stdio_bus_stop_left(host.bus), -1);
    CHECK_INT(stdio_bus_stop(host.bus, 1), STDIO_BUS_OK);
    int left = stdio_bus_stop_left(host.bus);
    CHECK(left > 0 && left <= 1000);
    CHECK_INT(stdio_bus_get_listener_port(host.bus), STDIO_BUS_ERR_STATE);
    says(fd, "{'jsonrpc':'2.0','id':2,'method':'echo'}\n");
    CLIENT_GETS(fd, "{'jsonrpc':'2.0','id':2,'error':{'code':-32085,*}}");
    fake_sys_advance(1000);
    CHECK_INT(stdio_bus_stop_left(host.bus), 0);
    CLIENT_GETS(fd, "{'jsonrpc':'2.0','id':1,'error':{'code':-32085,*}}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(stdio_bus_stop_left(host.bus), -1);
    CHECK_STR(host_clients(), " +1 -1");
    host_destroy();
    close(fd);
}

/* Clients leave descriptors for the workers that are there, not only for those of the configuration. */
static void test_clients_beside_a_scaled_pool(void) {
    struct rlimit before, limit;
    stdio_bus_stats_t stats;
    int fds[4];
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']},{'id':'q','embedded':true}]}"),
              STDIO_BUS_OK);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 9), STDIO_BUS_OK);
    UNTIL(stdio_bus_worker_count(host.bus) == 9);
    host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/attach','params':{'pool':'q'}}\n"); /* needs none */
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'worker':10}}");
    for (int i = 0; i < 4; i++) fds[i] = knock_unix();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    limit = before;
    limit.rlim_cur = LISTENER_SPARE + 9 * LISTENER_SPARE_PER_WORKER + 2;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    UNTIL((stdio_bus_get_stats(host.bus, &stats), stats.client_connects == 4));
    host_step();
    CHECK_INT(stdio_bus_client_count(host.bus), 2);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    for (int i = 0; i < 4; i++) close(fds[i]);
    host_close();
}

/* The host closes clients of its own when it is told that one has gone: with the bus, in a stop or
 * at once. */
static int own_client;

static void close_own_client(stdio_bus_t *bus, int client_id, const char *reason, void *user) {
    (void)client_id, (void)reason, (void)user;
    CHECK_INT(stdio_bus_client_close(bus, own_client), STDIO_BUS_OK);
}

static void take_no_notice(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                           void *user) {
    (void)bus, (void)data, (void)len, (void)lines, (void)count, (void)user;
}

static void test_end_of_all_clients(void) {
    stdio_bus_options_t options = {.config_json = host_config(WORK),
                                   .listener = {.mode = STDIO_BUS_LISTEN_UNIX, .unix_path = path},
                                   .on_client_disconnect = close_own_client};
    for (int stopped = 0; stopped < 2; stopped++) {
        host.bus = stdio_bus_create(&options);
        REQUIRE(host.bus != NULL);
        stdio_bus_set_on_batch(host.bus, take_no_notice);
        CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
        int fd = knock_unix();
        UNTIL(stdio_bus_client_count(host.bus) == 1);
        own_client = stdio_bus_client_open(host.bus, NULL); /* the next in the list */
        CHECK(own_client > 0);
        if (stopped) {
            CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
            UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
            CHECK_INT(stdio_bus_client_close(host.bus, own_client), STDIO_BUS_ERR_ENOTFOUND);
        }
        host_destroy();
        close(fd);
    }
}

#define BIG (1024 * 1024) /* more than socket buffers hold */

static size_t moved;

static bool written(int fd, const char *text, size_t len) {
    ssize_t n = write(fd, text + moved, len - moved);
    if (n > 0) moved += (size_t)n;
    return moved == len;
}

static bool has_read_line(int fd, char *text, size_t size) {
    ssize_t n = read(fd, text + moved, size - moved);
    if (n > 0) moved += (size_t)n;
    return moved && text[moved - 1] == '\n';
}

/* The bus stays for a client that is still reading its answer, while time allows. */
static void test_stop_with_a_slow_reader(void) {
    static const char begin[] = "{\"id\":1,\"method\":\"big\",\"params\":{\"f\":\"", end[] = "\"}}\n";
    static char text[BIG + 64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    for (int in_time = 1; in_time >= 0; in_time--) {
        host_listens(STDIO_BUS_LISTEN_UNIX, path);
        CHECK_INT(host_open(WORK), STDIO_BUS_OK);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strcpy(address.sun_path, path);
        REQUIRE(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        memset(text, 'x', BIG);
        memcpy(text, begin, strlen(begin));
        memcpy(text + BIG - strlen(end), end, strlen(end));
        moved = 0;
        UNTIL(written(fd, text, BIG));
        UNTIL(stdio_bus_pending_count(host.bus) == 1);
        CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
        UNTIL(stdio_bus_worker_count(host.bus) == 0);
        for (int i = 0; i < 10; i++) host_step();
        CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STOPPING);
        CHECK_INT(stdio_bus_client_count(host.bus), 1);
        if (in_time) {
            moved = 0;
            UNTIL(has_read_line(fd, text, sizeof text));
            CHECK(moved > BIG - 64 && strncmp(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":", 33) == 0);
        } else {
            fake_sys_advance(20000);
        }
        UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
        CHECK_STR(host_clients(), " +1 -1");
        host_destroy();
        close(fd);
    }
}

static void test_file_goes_with_the_bus(void) {
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    CHECK_INT(host_open(WORK), STDIO_BUS_OK);
    CHECK(access(path, F_OK) == 0);
    CHECK_INT(stdio_bus_get_listener_port(host.bus), STDIO_BUS_ERR_STATE);
    host_close();
    CHECK(access(path, F_OK) < 0);
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    CHECK_INT(host_open(WORK), STDIO_BUS_OK);
    host_destroy();
    CHECK(access(path, F_OK) < 0);
    host_listens(STDIO_BUS_LISTEN_UNIX, path); /* nothing could be started */
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'/no/such/command'}]}"), STDIO_BUS_ERR_WORKER);
    CHECK(access(path, F_OK) < 0);
    host_destroy();
}

/* Timers of clients do not take the room that was reserved for workers'. */
static void test_crash_without_memory_beside_clients(void) {
    enum { CLIENTS = 24 };
    for (int count = 0; count <= CLIENTS; count++) {
        int fds[CLIENTS];
        host_listens(STDIO_BUS_LISTEN_UNIX, path);
        host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],'token':'secret','limits':{'max_restarts':9}}");
        host_ingest("{'id':1,'method':'exit'}"); /* the first crash allocates what is kept for the next */
        UNTIL(host_messages() == 1);
        host_message();
        UNTIL(strstr(host.events, "restarting:1 started:1"));
        for (int i = 0; i < count; i++) fds[i] = knock_unix();
        UNTIL(stdio_bus_client_count(host.bus) == count);
        host_events();
        host_ingest("{'id':2,'method':'kill'}");
        fake_sys_no_memory(true);
        UNTIL(strstr(host.events, "restarting:1"));
        fake_sys_no_memory(false);
        UNTIL(strstr(host.events, "started:1"));
        for (int i = 0; i < count; i++) close(fds[i]);
        host_destroy();
    }
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/bus.sock", folder);
    fake_sys_begin();
    test_where_without_a_token();
    test_options();
    test_paths();
    test_set_token();
    test_client();
    test_client_that_finishes_sending();
    test_client_that_finishes_sending_over_tcp();
    test_client_that_leaves();
    test_stop_with_clients();
    test_clients_beside_a_scaled_pool();
    test_end_of_all_clients();
    test_stop_with_a_slow_reader();
    test_file_goes_with_the_bus();
    test_crash_without_memory_beside_clients();
    fake_sys_end();
    CHECK_INT(rmdir(folder), 0);
    return check_result();
}
