/* test_memory.c - what the bus holds in memory for each idle worker and each session. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"

#define WORKERS 100
#define SESSIONS 20000
#define WORKER_BYTES (16 * 1024)
#define SESSION_BYTES 256
#define LONG_TEXT 50000 /* far beyond what an emptied buffer keeps */

static struct pollfd ends[WORKERS]; /* of the workers, which all live here */
static char text[2 * LONG_TEXT];

static void write_all(int fd, const char *from, size_t len) {
    CHECK_INT(write(fd, from, len), (long)len);
}

/* Reads one request that begins with its id, and answers it with as many bytes. */
static void serve(int fd) {
    size_t len = 0;
    int id;
    while (!len || text[len - 1] != '\n') {
        ssize_t n = read(fd, text + len, sizeof text - len);
        REQUIRE(n > 0);
        len += (size_t)n;
    }
    REQUIRE(sscanf(text, "{\"id\":%d", &id) == 1);
    int answer = snprintf(text, sizeof text, "{\"id\":%d,\"result\":\"%*s\"}\n", id, (int)len, "");
    write_all(fd, text, (size_t)answer / 2); /* and the rest when the first half has been read */
    CHECK(stdio_bus_step(host.bus, 0) >= 0);
    write_all(fd, text + answer / 2, (size_t)(answer - answer / 2));
}

static void exchange(int session, int padding) {
    int len = snprintf(text, sizeof text,
                       "{\"id\":%d,\"method\":\"echo\",\"sessionId\":\"0b6f8a3e-51c7-4d2a-9e40-%012d\",\"x\":\"%*s\"}",
                       session, session, padding, "");
    CHECK_INT(stdio_bus_ingest(host.bus, text, (size_t)len), STDIO_BUS_OK);
    if (poll(ends, WORKERS, 0) > 0)
        for (int i = 0; i < WORKERS; i++)
            if (ends[i].revents) serve(ends[i].fd);
    CHECK_LIKE(host_message(), "*result*");
}

static void test_workers_and_sessions(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}]}"), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    for (int i = 0; i < WORKERS; i++) ends[i].fd = -1;
    exchange(0, LONG_TEXT);
    size_t before = fake_sys_live_bytes();
    for (int i = 0; i < WORKERS; i++) {
        int pair[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        ends[i] = (struct pollfd){.fd = pair[0], .events = POLLIN};
        CHECK(stdio_bus_register_embedded_worker(host.bus, pair[1], pair[1], "p") > 0);
    }
    /* Two requests for each: a long one, and one that leaves a short buffer behind. */
    for (int i = 1; i <= 2 * WORKERS; i++) exchange(i, i <= WORKERS ? LONG_TEXT : 0);
    size_t with_workers = fake_sys_live_bytes();
    for (int i = 2 * WORKERS + 1; i <= SESSIONS; i++) exchange(i, 0);
    size_t with_sessions = fake_sys_live_bytes();
    size_t each_worker = (with_workers - before) / WORKERS;
    size_t each_session = (with_sessions - with_workers) / (SESSIONS - 2 * WORKERS);
    printf("%zu bytes for a worker, %zu for a session\n", each_worker, each_session);
    CHECK(each_worker <= WORKER_BYTES);
    CHECK(each_session <= SESSION_BYTES);
    CHECK_INT(stdio_bus_session_count(host.bus), SESSIONS + 1);
    for (int i = 0; i < WORKERS; i++) close(ends[i].fd);
    host_close();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_workers_and_sessions();
    fake_sys_end();
    return check_result();
}
