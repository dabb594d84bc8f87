/*
 * scale.c - what 500 workers and 100,000 sessions cost: memory inside the bus for each, and
 * time for each message, against a bus with one of either.
 *
 * Memory is what the bus holds of the heap, allocator's overhead included: this program is
 * linked with --wrap for malloc and its kin, and allocates nothing itself meanwhile.  All
 * workers have served requests before.
 *
 * The time of a message is the processor's, spent by this process on a whole request of a
 * quiet bus (one in flight, so that both buses make the same system calls): ingest, pipe,
 * worker, pipe, callback.  The sessions come in random order, and the buses take turns.
 * Beside it stands how long the answer takes.  To that the system adds its switches between
 * processes, which cost it more among 500 of them, with a bus or without: how much, the
 * same traffic without a bus tells, afterwards.
 *
 *   scale ROUNDS COUNT WORKER      prints "NAME FIGURE", a line for each measurement;
 *                                  WORKER is a program that echoes
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
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
    uint64_t requests, answers;
    uint32_t next;
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
    (void)bus, (void)lines;
    if (!memmem(data, len, "\"result\"", 8)) fail(data);
    host->answers += count;
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    (void)bus, (void)code, (void)user;
    fail(message);
}

static void open_bus(host_t *host, const char *worker, int count) {
    char config[4096];
    snprintf(config, sizeof config,
             "{\"pools\":[{\"id\":\"echo\",\"command\":\"%s\",\"protocol\":\"jsonrpc\",\"instances\":%d}],"
             "\"limits\":{\"max_sessions\":%d}}",
             worker, count, 2 * SESSIONS);
    stdio_bus_options_t options = {.config_json = config, .on_error = on_error, .user_data = host};
    host->bus = stdio_bus_create(&options);
    if (!host->bus || stdio_bus_set_on_batch(host->bus, on_batch) != STDIO_BUS_OK ||
        stdio_bus_start(host->bus) != STDIO_BUS_OK)
        fail("the bus does not start");
    while (stdio_bus_worker_count(host->bus) < count)
        if (stdio_bus_step(host->bus, STEP_MS) <= 0) fail("the workers do not start");
}

/* One request of a session, up to its answer. */
static void request(host_t *host, uint32_t session) {
    char text[256];
    int len = snprintf(text, sizeof text,
                       "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"echo\","
                       "\"sessionId\":\"0b6f8a3e-51c7-4d2a-9e40-%012u\",\"params\":{}}",
                       (unsigned long long)++host->requests, (unsigned)session);
    if (stdio_bus_ingest(host->bus, text, (size_t)len) != STDIO_BUS_OK) fail("a request is refused");
    while (host->answers < host->requests)
        if (stdio_bus_step(host->bus, STEP_MS) <= 0) fail("no answer comes");
}

/* Binds sessions until there are `count`: they go to the workers in turn. */
static void bind_sessions(host_t *host, uint32_t count) {
    for (uint32_t session = (uint32_t)stdio_bus_session_count(host->bus); session < count; session++) {
        request(host, session);
        host->order[session] = session;
    }
}

static void close_bus(host_t *host) {
    stdio_bus_stop(host->bus, 20);
    while (stdio_bus_get_state(host->bus) != STDIO_BUS_STATE_STOPPED)
        if (stdio_bus_step(host->bus, STEP_MS) < 0) fail("a step fails");
    stdio_bus_destroy(host->bus);
}

/* ---- the same traffic without a bus ------------------------------------------------ */

typedef struct bare {
    int answers; /* epoll of the pipes from the workers */
    int count;
    int to[WORKERS];
} bare_t;

static bare_t bare_one, bare_many;

static void start_worker(bare_t *bare, int number, const char *worker) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) fail("there are no descriptors left");
    pid_t pid = fork();
    if (pid < 0) fail("there are no processes left");
    if (pid == 0) {
        if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0) execl(worker, worker, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    bare->to[number] = in[1];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = out[0]};
    if (epoll_ctl(bare->answers, EPOLL_CTL_ADD, out[0], &event) < 0) fail("a pipe cannot be watched");
}

/* They end with this program: at the end of their input. */
static void open_bare(bare_t *bare, const char *worker, int count) {
    bare->answers = epoll_create1(EPOLL_CLOEXEC);
    bare->count = count;
    for (int i = 0; i < count; i++) start_worker(bare, i, worker);
}

/* What the bus sends a worker, and no more. */
static void bare_request(bare_t *bare, uint32_t number) {
    char text[256];
    struct epoll_event event;
    int len = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"echo\",\"params\":{}}\n",
                       (unsigned)number);
    if (write(bare->to[number], text, (size_t)len) != len) fail("a worker takes no request");
    if (epoll_wait(bare->answers, &event, 1, STEP_MS) <= 0) fail("no answer comes");
    if (read(event.data.fd, text, sizeof text) <= 0) fail("no answer can be read");
}

/* ---- time -------------------------------------------------------------------------- */

static void shuffle(host_t *host) {
    uint64_t state = 88172645463325252u;
    for (uint32_t i = SESSIONS; i-- > 1;) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint32_t other = (uint32_t)(state % (i + 1)), number = host->order[i];
        host->order[i] = host->order[other];
        host->order[other] = number;
    }
}

static double nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

typedef struct stopwatch {
    double processor, wall;
} stopwatch_t;

static stopwatch_t start_watch(void) {
    return (stopwatch_t){nanoseconds(CLOCK_PROCESS_CPUTIME_ID), nanoseconds(CLOCK_MONOTONIC)};
}

static void print_times(const char *name, const stopwatch_t *begun, int count) {
    stopwatch_t now = start_watch();
    printf("%s_cpu %.0f\n", name, (now.processor - begun->processor) / count);
    printf("%s_wall %.0f\n", name, (now.wall - begun->wall) / count);
}

static void round_of_bus(const char *name, host_t *host, uint32_t sessions, int count) {
    stopwatch_t begun = start_watch();
    for (int i = 0; i < count; i++) request(host, host->order[host->next++ % sessions]);
    print_times(name, &begun, count);
}

/* To the workers at random, as the bus reaches them. */
static void round_of_bare(const char *name, bare_t *bare, int count) {
    stopwatch_t begun = start_watch();
    for (int i = 0; i < count; i++) bare_request(bare, many.order[many.next++ % SESSIONS] % (uint32_t)bare->count);
    print_times(name, &begun, count);
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
    for (int i = 0; i < rounds; i++) {
        round_of_bus("one", &one, 1, count);
        round_of_bus("many", &many, SESSIONS, count);
    }
    close_bus(&one);
    close_bus(&many);
    if (in_use != start) fail("the buses have left memory behind");

    open_bare(&bare_one, argv[3], 1);
    open_bare(&bare_many, argv[3], WORKERS);
    for (int i = 0; i < rounds; i++) {
        round_of_bare("bare_one", &bare_one, count);
        round_of_bare("bare_many", &bare_many, count);
    }
    return 0;
}
