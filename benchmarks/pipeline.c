/*
 * pipeline.c - a client that keeps 64 requests of 100 bytes in flight: over pipes to a worker
 * of its own, through a relay that only copies bytes to and from such a worker, and over one
 * connection to a bus in front of one.
 *
 * They take turns, so whatever else the machine does meets all alike.  The relay shows what
 * it costs that there is a third process at all.  Prints one line
 * for each turn: the contestant, and its answers per second.
 * Not here: the bus, which is the program stdio_bus (kernel.py starts it).
 *
 *   pipeline ROUNDS COUNT unix|tcp PATH|PORT WORKER [ARGUMENT]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IN_FLIGHT 64
#define REQUEST_BYTES 100 /* with the newline */
#define FIRST_ID 1000
#define CONTESTANTS 3

/* One end of the line: where requests go and where answers come from. */
typedef struct peer {
    const char *name;
    int to, from;
} peer_t;

/* All requests in flight, twice, so that any run of them stands in one piece. */
static char requests[2 * IN_FLIGHT * REQUEST_BYTES];
static size_t answers_bytes; /* of one answer to each */

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void make_requests(void) {
    for (int i = 0; i < 2 * IN_FLIGHT; i++) {
        char *request = requests + i * REQUEST_BYTES, text[REQUEST_BYTES + 1];
        int head = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"echo\",\"params\":{\"text\":\"",
                            FIRST_ID + i % IN_FLIGHT);
        memset(text + head, 'x', sizeof text - (size_t)head);
        memcpy(text + REQUEST_BYTES - 4, "\"}}\n", 4);
        memcpy(request, text, REQUEST_BYTES);
        if (i >= IN_FLIGHT) continue;
        const char *params = strstr(text, "{\"text\"");
        answers_bytes += strlen("{\"jsonrpc\":\"2.0\",\"id\":1000,\"result\":}\n") + REQUEST_BYTES - 2 - (size_t)(params - text);
    }
}

static void write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0) die("write");
        data += n;
        len -= (size_t)n;
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Sends `count` requests, a multiple of 64, a new one for each answer; the seconds it took. */
static double drive(const peer_t *peer, size_t count) {
    static char input[1 << 16];
    size_t sent = IN_FLIGHT, answered = 0, bytes = 0;
    double begun = seconds();
    write_all(peer->to, requests, IN_FLIGHT * REQUEST_BYTES);
    while (answered < count) {
        ssize_t n = read(peer->from, input, sizeof input);
        if (n <= 0) die("read");
        size_t answers = 0;
        for (const char *at = input; (at = memchr(at, '\n', (size_t)(input + n - at))); at++) answers++;
        bytes += (size_t)n;
        answered += answers;
        if (answers > count - sent) answers = count - sent;
        write_all(peer->to, requests + sent % IN_FLIGHT * REQUEST_BYTES, answers * REQUEST_BYTES);
        sent += answers;
    }
    if (bytes != count / IN_FLIGHT * answers_bytes) {
        fprintf(stderr, "%s: not all were the answers expected; the last: %.200s\n", peer->name, input);
        exit(1);
    }
    return seconds() - begun;
}

static peer_t start_worker(char **command) {
    int down[2], up[2];
    if (pipe(down) < 0 || pipe(up) < 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        dup2(down[0], 0);
        dup2(up[1], 1);
        for (int i = 0; i < 2; i++) {
            close(down[i]);
            close(up[i]);
        }
        execv(command[0], command);
        die(command[0]);
    }
    close(down[0]);
    close(up[1]);
    return (peer_t){.name = "pipes", .to = down[1], .from = up[0]};
}

/* Copies between a socket and a worker of its own until either closes. */
static void relay(int client, char **command) {
    static char data[1 << 16];
    peer_t worker = start_worker(command);
    struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = worker.from, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) die("poll");
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents) continue;
            ssize_t n = read(fds[i].fd, data, sizeof data);
            if (n <= 0) exit(0);
            write_all(i ? client : worker.to, data, (size_t)n);
        }
    }
}

static peer_t start_relay(char **command) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) die("socketpair");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        close(ends[0]);
        relay(ends[1], command);
    }
    close(ends[1]);
    return (peer_t){.name = "relay", .to = ends[0], .from = ends[0]};
}

static peer_t connect_to(const char *kind, const char *address) {
    struct sockaddr_un file = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address))};
    int is_unix = strcmp(kind, "unix") == 0, on = 1;
    snprintf(file.sun_path, sizeof file.sun_path, "%s", address);
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (!is_unix) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr *to = is_unix ? (const void *)&file : (const void *)&port;
    if (connect(fd, to, is_unix ? sizeof file : sizeof port) < 0) die("connect");
    return (peer_t){.name = "bus", .to = fd, .from = fd};
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: pipeline ROUNDS COUNT unix|tcp PATH|PORT WORKER [ARGUMENT]\n");
        return 2;
    }
    size_t count = (size_t)atol(argv[2]) / IN_FLIGHT * IN_FLIGHT;
    make_requests();
    peer_t peers[CONTESTANTS] = {start_relay(&argv[5]), start_worker(&argv[5]), connect_to(argv[3], argv[4])};
    for (int i = 0; i < CONTESTANTS; i++) drive(&peers[i], count); /* warm up */
    for (int round = atoi(argv[1]); round-- > 0;)
        for (int i = 0; i < CONTESTANTS; i++) printf("%s %.0f\n", peers[i].name, (double)count / drive(&peers[i], count));
    for (int i = 0; i < CONTESTANTS; i++) close(peers[i].to);
    while (wait(NULL) > 0) {
    }
    return 0;
}
