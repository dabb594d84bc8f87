/*
 * scale.c - what 500 workers and 100,000 sessions cost: memory inside the bus for each, and
 * time for each message, against a bus with one of either.
 *
 * Memory is what the bus holds of the heap, allocator's overhead included: this program is
 * linked with --wrap for malloc and its kin, and allocates nothing itself meanwhile.  All
 * workers have served requests before.
 *
 * Time is that of a whole request on a quiet bus (one in flight, so that both buses make
 * the same system calls): ingest, socket, worker, socket, callback.  The sessions come in
 * random order, and the buses take turns.  The workers live in this program: to switch
 * between 500 processes costs the system more than twice as much as between two, with a
 * bus or without, and would hide what is measured here.
 *
 * The system itself needs more time for 500 sockets than for one: of those it has just used one
 * all is in the cache, of the others nothing.  How much, the same traffic without a bus
 * tells: the same bytes to and from as many workers, by the same calls, in the same turns.
 *
 *   scale ROUNDS COUNT WORKER      prints "NAME FIGURE", a line for each measurement;
 *                                  a pool needs a process: WORKER is one that echoes
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stdio_bus.h"

#define WORKERS 500
#define SESSIONS 100000
#define DESCRIPTORS (6 * WORKERS)
#define STEP_MS 10000

/* ---- memory ------------------------------------------------------------------------ */

#define BLOCK_OVERHEAD sizeof(size_t) /* of the usual allocators */

static size_t in_use;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);

static size_t block(void *memory) {
    return memory ? malloc_usable_size(memory) + BLOCK_OVERHEAD : 0;
}

static void *counted(void *memory) {
    in_use += block(memory);
    return memory;
}

void *__wrap_malloc(size_t size) {
    return counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size) {
    size_t before = block(old);
    void *memory = __real_realloc(old, size);
    if (memory) in_use += block(memory) - before;
    return memory;
}

void __wrap_free(void *memory) {
    in_use -= block(memory);
    __real_free(memory);
}

/* ---- a bus ------------------------------------------------------------------------- */

typedef struct host {
    stdio_bus_t *bus;
    int workers; /* epoll of the sockets of those that live here */
    uint64_t requests, answers;
    int32_t answered_by;
    uint32_t sessions, next; /* of workers that live here: how many, and whose turn it is */
    uint32_t order[SESSIONS]; /* their numbers, as they are visited */
} host_t;

static host_t one, many;

static void fail(const char *what) {
    fprintf(stderr, "scale: %s\n", what);
    exit(1);
}

static void on_batch(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                     void *user) {
    host_t *host = user;
    (void)bus;
    if (!memmem(data, len, "\"result\"", 8)) fail(data);
    host->answers += count;
    host->answered_by = lines->worker_id;
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    (void)bus, (void)code, (void)user;
    fail(message);
}

static void open_pair(int ends[2]) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) fail("there are no descriptors left");
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("a socket cannot be watched");
}

/* A bus with one process for a worker and `count` workers that live here. */
static void open_bus(host_t *host, const char *process, int count) {
    char config[4096];
    snprintf(config, sizeof config,
             "{\"pools\":[{\"id\":\"echo\",\"command\":\"%s\",\"protocol\":\"jsonrpc\"}],"
             "\"limits\":{\"max_sessions\":%d}}",
             process, 2 * SESSIONS);
    stdio_bus_options_t options = {.config_json = config, .on_error = on_error, .user_data = host};
    host->bus = stdio_bus_create(&options);
    if (!host->bus || stdio_bus_set_on_batch(host->bus, on_batch) != STDIO_BUS_OK ||
        stdio_bus_start(host->bus) != STDIO_BUS_OK)
        fail("the bus does not start");
    host->workers = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        int ends[2];
        open_pair(ends);
        watch(host->workers, ends[0]);
        if (stdio_bus_register_embedded_worker(host->bus, ends[1], ends[1], "echo") < 0) fail("a worker is refused");
    }
}

/* The traffic of a bus without one: `count` workers that live here, behind an epoll of ours. */
typedef struct bare {
    int workers, answers; /* epoll of either end */
    int count;
    int to[WORKERS];
} bare_t;

static bare_t bare_one, bare_many;

static void open_bare(bare_t *bare, int count) {
    bare->workers = epoll_create1(EPOLL_CLOEXEC);
    bare->answers = epoll_create1(EPOLL_CLOEXEC);
    bare->count = count;
    for (int i = 0; i < count; i++) {
        int ends[2];
        open_pair(ends);
        bare->to[i] = ends[1];
        watch(bare->workers, ends[0]);
        watch(bare->answers, ends[1]);
    }
}

/* What a worker does: reads one request and answers it. */
static void serve(int fd) {
    char request[1024], answer[128];
    ssize_t len = read(fd, request, sizeof request - 1);
    if (len <= 0) fail("a worker has nothing to read");
    request[len] = '\0';
    const char *id = strstr(request, "\"id\":");
    if (!id) fail("a worker does not find the id");
    len = snprintf(answer, sizeof answer, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":{}}\n", atol(id + 5));
    if (write(fd, answer, (size_t)len) != len) fail("a worker cannot answer");
}

/* Lets the worker that has something to read serve it, if it lives here. */
static void serve_one(int workers) {
    struct epoll_event event;
    if (epoll_wait(workers, &event, 1, 0) > 0) serve(event.data.fd);
}

/* One request of a session, up to its answer. */
static void request(host_t *host, uint32_t session) {
    char text[256];
    int len = snprintf(text, sizeof text,
                       "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"echo\","
                       "\"sessionId\":\"0b6f8a3e-51c7-4d2a-9e40-%012u\",\"params\":{}}",
                       (unsigned long long)++host->requests, (unsigned)session);
    if (stdio_bus_ingest(host->bus, text, (size_t)len) != STDIO_BUS_OK) fail("a request is refused");
    serve_one(host->workers);
    while (host->answers < host->requests)
        if (stdio_bus_step(host->bus, STEP_MS) <= 0) fail("no answer comes");
}

/* Binds sessions until `count` of them belong to workers that live here. */
static void bind_sessions(host_t *host, uint32_t count) {
    while (host->sessions < count) {
        uint32_t session = (uint32_t)stdio_bus_session_count(host->bus);
        request(host, session);
        if (host->answered_by != 1) host->order[host->sessions++] = session;
    }
}

static void close_bus(host_t *host) {
    stdio_bus_stop(host->bus, 20);
    while (stdio_bus_get_state(host->bus) != STDIO_BUS_STATE_STOPPED)
        if (stdio_bus_step(host->bus, STEP_MS) < 0) fail("a step fails");
    stdio_bus_destroy(host->bus);
}

/* ---- time -------------------------------------------------------------------------- */

static void shuffle(host_t *host) {
    uint64_t state = 88172645463325252u;
    for (uint32_t i = host->sessions; i-- > 1;) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint32_t other = (uint32_t)(state % (i + 1)), number = host->order[i];
        host->order[i] = host->order[other];
        host->order[other] = number;
    }
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double nanoseconds_each(host_t *host, int count) {
    double begun = now_ns();
    for (int i = 0; i < count; i++) request(host, host->order[host->next++ % host->sessions]);
    return (now_ns() - begun) / count;
}

/* The same to the worker of this number, without a bus: what that sends it, and no more. */
static void bare_request(bare_t *bare, uint32_t number) {
    char text[256];
    struct epoll_event event;
    int len = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"echo\",\"params\":{}}\n",
                       (unsigned)number);
    if (write(bare->to[number], text, (size_t)len) != len) fail("a worker takes no request");
    serve_one(bare->workers);
    if (epoll_wait(bare->answers, &event, 1, STEP_MS) <= 0) fail("no answer comes");
    if (read(event.data.fd, text, sizeof text) <= 0) fail("no answer can be read");
}

/* To the workers in the order in which the bus reaches them, near enough: at random. */
static double bare_nanoseconds_each(bare_t *bare, int count) {
    double begun = now_ns();
    for (int i = 0; i < count; i++) bare_request(bare, many.order[many.next++ % many.sessions] % (uint32_t)bare->count);
    return (now_ns() - begun) / count;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: scale ROUNDS COUNT WORKER\n");
        return 2;
    }
    int rounds = atoi(argv[1]), count = atoi(argv[2]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < DESCRIPTORS) files.rlim_cur = files.rlim_max < DESCRIPTORS ? files.rlim_max : DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &files);
    static char output[4096];
    setvbuf(stdout, output, _IOLBF, sizeof output);

    size_t start = in_use;
    open_bus(&one, argv[3], 1);
    bind_sessions(&one, 1);
    size_t small = in_use - start;
    open_bus(&many, argv[3], WORKERS);
    bind_sessions(&many, WORKERS);
    size_t large = in_use - start - small;
    printf("worker %.0f\n", (double)(large - small) / (WORKERS - 1));
    bind_sessions(&many, SESSIONS);
    printf("session %.0f\n", (double)(in_use - start - small - large) / (SESSIONS - WORKERS));

    shuffle(&many);
    open_bare(&bare_one, 1);
    open_bare(&bare_many, WORKERS);
    for (int i = 0; i < rounds; i++) {
        printf("one %.0f\n", nanoseconds_each(&one, count));
        printf("bare_one %.0f\n", bare_nanoseconds_each(&bare_one, count));
        printf("many %.0f\n", nanoseconds_each(&many, count));
        printf("bare_many %.0f\n", bare_nanoseconds_each(&bare_many, count));
    }
    close_bus(&one);
    close_bus(&many);
    if (in_use != start) fail("the buses have left memory behind");
    return 0;
}
