/*
 * router_bench.h - a router on the bench: clients and workers are lists of lines, each
 * line that goes out is checked to be a JSON object on one line, and is kept until the
 * test asks for it.  In all texts ' stands for ".
 */
#ifndef STDIO_BUS_TEST_ROUTER_BENCH_H
#define STDIO_BUS_TEST_ROUTER_BENCH_H

#include "check.h"
#include "configured.h"
#include "router.h"

#define BENCH_CLIENTS 4
#define BENCH_WORKERS 8
#define BENCH_POOLS 4

typedef struct bench {
    config_t config;
    pool_t pools[BENCH_POOLS];
    target_t targets[BENCH_WORKERS + 1]; /* by worker id, from 1 */
    int workers;
    client_t clients[BENCH_CLIENTS]; /* by client id; 0 is the host */
    bool present[BENCH_CLIENTS];
    router_t router;
    bool full[BENCH_WORKERS + 1]; /* this worker's input takes nothing now */
    int handshakes;               /* that ended well */
    char handshake_error[512];    /* of the last one that did not */
} bench_t;

extern bench_t bench;

/* The config's workers, none ready, and so many clients. */
void bench_open(const char *config, int clients);
/* No line may be left that no one has asked for. */
void bench_close(void);

void bench_add_client(int client);
void bench_remove_client(int client);

/* A worker that is up: its handshake, if it has one, is answered {"served":WORKER}. */
void bench_ready(int worker);
/* Its pipe takes all that is queued for it. */
void bench_written(int worker);
/* It exits with status 3. */
/* Its input takes messages again. */
void bench_drained(int worker);
void bench_lost(int worker);

/* A line from a client; what is wrong with it is answered. */
void bench_send(int client, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with refusals as codes. */
int bench_ingest(int client, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line from a worker; false for noise. */
bool bench_reply(int worker, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The oldest line for a worker, or for a client from (about) a worker, that was not
 * taken yet; NULL when there is none.  Valid until the third next call. */
const char *bench_for_worker(int worker);
const char *bench_for_client(int client, int worker);
int bench_lines(void); /* how many lines wait to be asked for */

/* The patterns are those of CHECK_LIKE; the result is the number that # stood for. */
#define WORKER_GETS(worker, pattern) CHECK_LIKE(bench_for_worker(worker), quoted(pattern))
#define CLIENT_GETS(client, worker, pattern) CHECK_LIKE(bench_for_client(client, worker), quoted(pattern))
/* An error that the bus made: `pool`, `id` as JSON. */
#define CLIENT_GETS_ERROR(client, worker, id, pool, error, retryable) \
    CHECK_LIKE(bench_for_client(client, worker), bench_error(id, pool, worker, error, retryable))
const char *bench_error(const char *id, const char *pool, int worker, rpc_error_t error, bool retryable);
#define QUIET() CHECK_INT(bench_lines(), 0)

#endif
