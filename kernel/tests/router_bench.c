/* router_bench.c - see router_bench.h. */
#include "router_bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_sys.h"
#include "stdio_bus.h"

#define LINES_MAX 20000
#define TEXT_MAX 8192

bench_t bench;

static struct {
    bool for_worker;
    int worker, client;
    char *text;
} lines[LINES_MAX];
static int line_count;

int bench_lines(void) {
    return line_count;
}

static void keep_line(bool for_worker, int worker, int client, const piece_t *pieces, size_t count) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    char *text = malloc(len + 1), *to = text;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len) memcpy(to, pieces[i].text, pieces[i].len); /* an empty one may be NULL */
        to += pieces[i].len;
    }
    *to = '\0';
    scan_t scan;
    bool good = json_scan(text, len, &scan) == SCAN_OK && !memchr(text, '\n', len);
    if (!CHECK(good)) fprintf(stderr, "  %s\n", text);
    REQUIRE(line_count < LINES_MAX);
    lines[line_count].for_worker = for_worker;
    lines[line_count].worker = worker;
    lines[line_count].client = client;
    lines[line_count++].text = text;
}

static bool to_worker(void *context, target_t *target, const piece_t *pieces, size_t count) {
    CHECK(context == &bench);
    if (bench.full[target->worker_id]) {
        target_set_full(target, true);
        return false;
    }
    keep_line(true, target->worker_id, 0, pieces, count);
    return true;
}

static void to_client(void *context, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count) {
    CHECK(context == &bench);
    CHECK(bench.present[client->id]);
    keep_line(false, worker_id, client->id, pieces, count);
}

static bool write_status(void *context, buffer_t *out) {
    (void)context;
    return buffer_puts(out, "{}");
}

static int manage(void *context, router_order_t order, pool_t *pool, int64_t number) {
    (void)context, (void)order, (void)pool, (void)number;
    return STDIO_BUS_ERR_ENOTFOUND;
}

static bool from_attached(void *context, int64_t worker_id, json_span_t line) {
    (void)context, (void)worker_id, (void)line;
    return false;
}

static void handshake_done(void *context, target_t *target, const char *error) {
    CHECK(context == &bench);
    if (error) {
        snprintf(bench.handshake_error, sizeof bench.handshake_error, "%s", error);
    } else {
        bench.handshakes++;
        router_target_ready(&bench.router, target);
    }
}

static const char *take(bool for_worker, int worker, int client) {
    static char *taken[3];
    static int next;
    for (int i = 0; i < line_count; i++) {
        if (lines[i].for_worker != for_worker || lines[i].worker != worker || lines[i].client != client) continue;
        next = (next + 1) % 3;
        free(taken[next]);
        taken[next] = lines[i].text;
        memmove(&lines[i], &lines[i + 1], (size_t)(--line_count - i) * sizeof *lines);
        return taken[next];
    }
    for (int i = 0; !for_worker && worker < 0 && i < line_count; i++) /* from any worker */
        if (!lines[i].for_worker && lines[i].client == client) return take(false, lines[i].worker, client);
    return NULL;
}

const char *bench_for_worker(int worker) {
    return take(true, worker, 0);
}

const char *bench_for_client(int client, int worker) {
    return take(false, worker, client);
}

const char *bench_error(const char *id, const char *pool, int worker, rpc_error_t error, bool retryable) {
    static char text[512];
    char number[16] = "null";
    if (worker) snprintf(number, sizeof number, "%d", worker);
    snprintf(text, sizeof text,
             "{'jsonrpc':'2.0','id':%s,'error':{'code':%d,'message':'*','data':{'source':'stdio_bus','pool':%s,"
             "'worker':%s,'reason':'%s','retryable':%s*}}}",
             id, rpc_error_code(error), pool, number, rpc_error_reason(error), retryable ? "true" : "false");
    return quoted(text);
}

/* ---- set up and taken down --------------------------------------------------------- */

void bench_open(const char *config, int clients) {
    static const router_ops_t ops = {to_worker, to_client, write_status, handshake_done, manage, from_attached};
    memset(&bench, 0, sizeof bench);
    configured(&bench.config, config);
    router_init(&bench.router, &ops, &bench, &bench.config.limits);
    bench.router.pools = bench.pools;
    bench.router.pool_count = bench.config.pool_count;
    REQUIRE(bench.config.pool_count <= BENCH_POOLS);
    for (size_t i = 0; i < bench.config.pool_count; i++) {
        pool_t *pool = &bench.pools[i];
        pool_init(pool, &bench.config.pools[i]);
        REQUIRE(heap_reserve(&pool->ready, BENCH_WORKERS));
        for (int64_t k = 0; k < bench.config.pools[i].instances; k++) {
            REQUIRE(bench.workers < BENCH_WORKERS);
            bench.workers++;
            target_init(&bench.targets[bench.workers], pool, bench.workers);
        }
    }
    for (int i = 0; i < clients; i++) bench_add_client(i);
}

void bench_add_client(int client) {
    client_init(&bench.clients[client], client, &bench.pools[0], (size_t)bench.config.limits.max_input_buffer);
    router_add_client(&bench.router, &bench.clients[client]);
    bench.present[client] = true;
}

void bench_remove_client(int client) {
    bench.present[client] = false; /* not a line any more */
    router_remove_client(&bench.router, &bench.clients[client]);
    client_free(&bench.clients[client]);
}

void bench_close(void) {
    if (!QUIET())
        for (int i = 0; i < line_count; i++)
            fprintf(stderr, "  left: %s %d/%d %s\n", lines[i].for_worker ? "worker" : "client", lines[i].worker,
                    lines[i].client, lines[i].text);
    for (int i = 0; i < line_count; i++) free(lines[i].text);
    line_count = 0;
    router_loss_t loss = {.error = RPC_STOPPING, .message = "the end", .exit_code = -1, .stderr_tail = ""};
    for (int i = 1; i <= bench.workers; i++) router_target_lost(&bench.router, &bench.targets[i], &loss);
    router_refuse_waiting(&bench.router);
    for (int i = BENCH_CLIENTS; i-- > 0;)
        if (bench.present[i]) bench_remove_client(i);
    CHECK_INT(bench.router.pendings.calls, 0);
    CHECK_INT(bench.router.sessions.count, 0);
    for (size_t i = 0; i < bench.config.pool_count; i++) {
        CHECK_INT(bench.pools[i].queued, 0);
        CHECK_INT(bench.pools[i].queued_bytes, 0);
        pool_free(&bench.pools[i]);
    }
    for (int i = 1; i <= bench.workers; i++) CHECK_INT(bench.targets[i].in_flight, 0);
    router_free(&bench.router);
    config_free(&bench.config);
    for (int i = 0; i < line_count; i++) free(lines[i].text); /* what the end itself has caused */
    line_count = 0;
}

/* ---- what workers do ------------------------------------------------------------------ */

void bench_ready(int worker) {
    target_t *target = &bench.targets[worker];
    if (!router_begin_handshake(&bench.router, target)) {
        router_target_ready(&bench.router, target);
        return;
    }
    const char *request = bench_for_worker(worker);
    long long id = CHECK_LIKE(request, quoted("{'jsonrpc':'2.0','id':#,'method':*}"));
    CHECK(bench_reply(worker, "{'jsonrpc':'2.0','id':%lld,'result':{'served':%d}}", id, worker));
    if (target->pool->config->handshake.notification_method)
        CHECK_LIKE(bench_for_worker(worker), quoted("{'jsonrpc':'2.0','method':*}"));
}

void bench_written(int worker) {
    bench.targets[worker].written = bench.targets[worker].accepted;
}

void bench_drained(int worker) {
    bench.full[worker] = false;
    if (bench.targets[worker].full) router_target_drained(&bench.router, &bench.targets[worker]);
}

void bench_lost(int worker) {
    router_loss_t loss = {.error = RPC_WORKER_EXITED, .message = "it exited", .exit_code = 3, .stderr_tail = "last words"};
    router_target_lost(&bench.router, &bench.targets[worker], &loss);
}

/* ---- lines in --------------------------------------------------------------------------- */

static const char *formatted(const char *format, va_list args) {
    static char text[TEXT_MAX];
    REQUIRE(vsnprintf(text, sizeof text, format, args) < (int)sizeof text);
    return quoted(text);
}

void bench_send(int client, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = formatted(format, args);
    va_end(args);
    CHECK_INT(router_client_line(&bench.router, &bench.clients[client], text, strlen(text), true), 0);
}

int bench_ingest(int client, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = formatted(format, args);
    va_end(args);
    int before = line_count;
    int code = router_client_line(&bench.router, &bench.clients[client], text, strlen(text), false);
    if (code != 0) CHECK_INT(line_count, before); /* a refused message gets no second report */
    return code;
}

bool bench_reply(int worker, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = formatted(format, args);
    va_end(args);
    return router_worker_line(&bench.router, &bench.targets[worker], text, strlen(text));
}
