/*
 * host.c - a C program that embeds a bus through the public header alone, with on_message
 * for delivery: by itself, then with workers of its own beside the one with a process, then
 * with a client over TCP, then with one over a Unix socket.  Worker and client live in the
 * same thread, which steps the bus in between.
 *
 * Not here: what the bus does in every case; the unit tests of its rooms say that.
 *
 *   host WORKER SOCKET     the path of an echo worker, and where the Unix socket is to be
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "stdio_bus.h"

#define PATIENCE_SEC 30

#define EXPECT(condition)                                                            \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

/* What the callbacks have told. */
typedef struct seen {
    char messages[4][128];
    int message_count;
    char events[128]; /* " started stopped" */
    int errors, connects, disconnects;
    int client_id; /* of the last connect */
} seen_t;

static void on_message(stdio_bus_t *bus, const char *msg, size_t len, void *user) {
    seen_t *seen = user;
    EXPECT(bus && seen->message_count < 4 && len < sizeof seen->messages[0]);
    memcpy(seen->messages[seen->message_count], msg, len);
    seen->messages[seen->message_count++][len] = '\0';
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    seen_t *seen = user;
    EXPECT(!bus && code < 0 && *message);
    seen->errors++;
}

static void on_log(stdio_bus_t *bus, int level, const char *message, void *user) {
    EXPECT(bus && user && level >= STDIO_BUS_LOG_WARNING);
    fprintf(stderr, "log: %s\n", message);
}

static void on_worker(stdio_bus_t *bus, int worker_id, const char *event, void *user) {
    seen_t *seen = user;
    EXPECT(bus && (worker_id == 1 || worker_id == 2) && strlen(seen->events) + strlen(event) + 2 < sizeof seen->events);
    strcat(strcat(seen->events, " "), event);
}

static void on_client_connect(stdio_bus_t *bus, int client_id, const char *peer, void *user) {
    seen_t *seen = user;
    EXPECT(bus && client_id > 0 && *peer);
    seen->connects++;
    seen->client_id = client_id;
}

static void on_client_disconnect(stdio_bus_t *bus, int client_id, const char *reason, void *user) {
    seen_t *seen = user;
    EXPECT(bus && client_id == seen->client_id && *reason);
    seen->disconnects++;
}

/* Waits on the one descriptor, as a host with a loop of its own does, and steps. */
#define UNTIL(bus, condition)                                                        \
    for (time_t begun = time(NULL); !(condition);) {                                 \
        struct pollfd watched = {.fd = stdio_bus_get_poll_fd(bus), .events = POLLIN}; \
        EXPECT(time(NULL) - begun < PATIENCE_SEC);                                   \
        poll(&watched, 1, 20);                                                       \
        EXPECT(stdio_bus_step(bus, 0) >= 0);                                         \
    }

static stdio_bus_t *create(const char *config, int mode, const char *path, seen_t *seen) {
    stdio_bus_options_t options = {
        .config_json = config,
        .listener = {.mode = mode, .tcp_host = "127.0.0.1", .unix_path = path},
        .on_message = on_message,
        .on_error = on_error,
        .on_log = on_log,
        .on_worker = on_worker,
        .on_client_connect = on_client_connect,
        .on_client_disconnect = on_client_disconnect,
        .user_data = seen,
        .log_level = STDIO_BUS_LOG_WARNING,
    };
    return stdio_bus_create(&options);
}

static void ingest(stdio_bus_t *bus, const char *message) {
    EXPECT(stdio_bus_ingest(bus, message, strlen(message)) == STDIO_BUS_OK);
}

static void stop(stdio_bus_t *bus, const seen_t *seen) {
    EXPECT(stdio_bus_stop(bus, PATIENCE_SEC) == STDIO_BUS_OK);
    UNTIL(bus, stdio_bus_get_state(bus) == STDIO_BUS_STATE_STOPPED);
    EXPECT(strcmp(seen->events, " started stopped") == 0);
    EXPECT(stdio_bus_worker_count(bus) == 0);
    stdio_bus_destroy(bus);
}

static void embedded(const char *config) {
    seen_t seen = {0};
    stdio_bus_stats_t stats;
    EXPECT(create("{}", STDIO_BUS_LISTEN_NONE, NULL, &seen) == NULL && seen.errors == 1);
    stdio_bus_t *bus = create(config, STDIO_BUS_LISTEN_NONE, NULL, &seen);
    EXPECT(bus && stdio_bus_get_state(bus) == STDIO_BUS_STATE_CREATED);
    EXPECT(stdio_bus_start(bus) == STDIO_BUS_OK);
    ingest(bus, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"n\":1}}");
    ingest(bus, "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"method\":\"echo\",\"sessionId\":\"s\"}");
    ingest(bus, "{\"jsonrpc\":\"2.0\",\"method\":\"tell\"}");
    EXPECT(stdio_bus_ingest(bus, "[]", 2) == STDIO_BUS_ERR_INVALID);
    EXPECT(stdio_bus_pending_count(bus) == 2);
    UNTIL(bus, seen.message_count == 2);
    EXPECT(strcmp(seen.messages[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"n\":1}}") == 0);
    EXPECT(strcmp(seen.messages[1], "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"result\":{}}") == 0);
    EXPECT(stdio_bus_get_state(bus) == STDIO_BUS_STATE_RUNNING);
    EXPECT(stdio_bus_worker_count(bus) == 1 && stdio_bus_session_count(bus) == 1);
    EXPECT(stdio_bus_pending_count(bus) == 0 && stdio_bus_client_count(bus) == 0);
    stdio_bus_get_stats(bus, &stats);
    EXPECT(stats.messages_in == 3 && stats.messages_out == 2 && stats.worker_restarts == 0);
    stop(bus, &seen);
    EXPECT(seen.errors == 1);
}

/* ---- with a worker inside --------------------------------------------------------------- */

/* What the worker does when it has its turn: answers the requests that have come.  Whether its
 * input is still open. */
static int serve(int in, int out) {
    char lines[1024], answer[128];
    ssize_t n = read(in, lines, sizeof lines - 1);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    lines[n] = '\0';
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        const char *id = strstr(line, "\"id\":");
        EXPECT(id);
        int len = snprintf(answer, sizeof answer, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":\"inside\"}\n", strtol(id + 5, NULL, 10));
        EXPECT(write(out, answer, (size_t)len) == len);
    }
    return 1;
}

/* Over one socket, or over two pipes.  The pool's requests go to both workers in turn. */
static void embedded_worker(const char *config, int one_socket) {
    static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"echo\",\"params\":{}}";
    seen_t seen = {0};
    char message[128];
    int to[2], from[2], inside = 0;
    stdio_bus_t *bus = create(config, STDIO_BUS_LISTEN_NONE, NULL, &seen);
    EXPECT(bus && stdio_bus_start(bus) == STDIO_BUS_OK);
    UNTIL(bus, stdio_bus_get_state(bus) == STDIO_BUS_STATE_RUNNING);
    if (one_socket) {
        EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, to) == 0);
        EXPECT(fcntl(to[0], F_SETFL, O_NONBLOCK) == 0);
        from[0] = to[1], from[1] = to[0]; /* to[1] belongs to the bus */
    } else {
        EXPECT(pipe(to) == 0 && pipe(from) == 0 && fcntl(to[0], F_SETFL, O_NONBLOCK) == 0);
    }
    EXPECT(stdio_bus_register_embedded_worker(bus, to[1], from[0], "nobody") == STDIO_BUS_ERR_ENOTFOUND);
    int id = stdio_bus_register_embedded_worker(bus, to[1], from[0], "echo");
    EXPECT(id == 2 && stdio_bus_worker_count(bus) == 2 && strcmp(seen.events, " started started") == 0);
    for (int i = 1; i <= 4; i++) {
        EXPECT(snprintf(message, sizeof message, request, i) < (int)sizeof message);
        ingest(bus, message);
    }
    UNTIL(bus, serve(to[0], from[1]) && seen.message_count == 4);
    for (int i = 0; i < 4; i++) inside += strstr(seen.messages[i], "\"inside\"") != NULL;
    EXPECT(inside == 2);
    EXPECT(stdio_bus_unregister_embedded_worker(bus, 1) == STDIO_BUS_ERR_EINVAL); /* that one has a process */
    EXPECT(stdio_bus_unregister_embedded_worker(bus, id) == STDIO_BUS_OK);
    UNTIL(bus, !serve(to[0], from[1])); /* the end of its input */
    close(to[0]);
    if (!one_socket) close(from[1]);
    UNTIL(bus, stdio_bus_worker_count(bus) == 1);
    EXPECT(stdio_bus_unregister_embedded_worker(bus, id) == STDIO_BUS_OK);
    EXPECT(strcmp(seen.events, " started started stopped") == 0);
    strcpy(seen.events, " started"); /* as if it had never been there */
    stop(bus, &seen);
}

/* ---- with a client outside -------------------------------------------------------------- */

static int connect_to(const struct sockaddr *address, socklen_t size) {
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    EXPECT(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    EXPECT(connect(fd, address, size) == 0 || errno == EINPROGRESS);
    return fd;
}

static int connect_tcp(stdio_bus_t *bus) {
    int port = stdio_bus_get_listener_port(bus);
    struct sockaddr_in address = {.sin_family = AF_INET};
    EXPECT(port > 0);
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to((const struct sockaddr *)&address, sizeof address);
}

static int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    EXPECT(strlen(path) < sizeof address.sun_path && stat(path, &file) == 0 && (file.st_mode & 0777) == 0600);
    strcpy(address.sun_path, path);
    return connect_to((const struct sockaddr *)&address, sizeof address);
}

/* Whether all of a line has come by now. */
static int has_line(int fd, char *line, size_t size) {
    size_t len = strlen(line);
    ssize_t n = read(fd, line + len, size - len - 1);
    if (n > 0) line[len + (size_t)n] = '\0';
    EXPECT(n > 0 || (n < 0 && errno == EAGAIN));
    return strchr(line, '\n') != NULL;
}

/* Host and client use the same id at the same time; each gets its own answer. */
static void with_client(const char *config, int mode, const char *path) {
    static const char first[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",", second[] = "\"params\":{\"of\":2}}\n";
    seen_t seen = {0};
    char line[256] = "";
    stdio_bus_stats_t stats;
    stdio_bus_t *bus = create(config, mode, path, &seen);
    EXPECT(bus && stdio_bus_start(bus) == STDIO_BUS_OK);
    int fd = mode == STDIO_BUS_LISTEN_TCP ? connect_tcp(bus) : connect_unix(path);
    UNTIL(bus, seen.connects == 1);
    EXPECT(stdio_bus_client_count(bus) == 1);
    EXPECT(write(fd, first, strlen(first)) == (ssize_t)strlen(first));
    ingest(bus, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"of\":1}}");
    EXPECT(stdio_bus_step(bus, 0) >= 0);
    EXPECT(write(fd, second, strlen(second)) == (ssize_t)strlen(second));
    UNTIL(bus, has_line(fd, line, sizeof line) && seen.message_count);
    EXPECT(strcmp(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"of\":2}}\n") == 0);
    EXPECT(seen.message_count == 1);
    EXPECT(strcmp(seen.messages[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"of\":1}}") == 0);
    close(fd);
    UNTIL(bus, seen.disconnects == 1);
    stdio_bus_get_stats(bus, &stats);
    EXPECT(stats.client_connects == 1 && stats.client_disconnects == 1 && stdio_bus_client_count(bus) == 0);
    stop(bus, &seen);
    EXPECT(seen.errors == 0);
}

int main(int argc, char **argv) {
    char config[1024];
    EXPECT(argc == 3);
    EXPECT(snprintf(config, sizeof config, "{\"pools\":[{\"id\":\"echo\",\"command\":\"%s\"}]}", argv[1]) <
           (int)sizeof config);
    embedded(config);
    embedded_worker(config, 1);
    embedded_worker(config, 0);
    with_client(config, STDIO_BUS_LISTEN_TCP, NULL);
    with_client(config, STDIO_BUS_LISTEN_UNIX, argv[2]);
    EXPECT(access(argv[2], F_OK) != 0 && errno == ENOENT);
    return 0;
}
