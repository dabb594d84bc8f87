/* fuzz_router.c - whatever clients and workers write, every accepted request has exactly one
 * answer, and all that goes out is one JSON object on one line.
 *
 * The input is a script; the first byte of a line says what happens.  Workers are a to f, all
 * up in the beginning, two in each pool:
 *   0TEXT 1TEXT  client 0 (the host) or 1 sends a line     iTEXT  the host ingests it
 *   aTEXT fTEXT  a worker writes a line                    =aJSON the worker answers its oldest request
 *   >0TEXT >aTEXT  a line that was too long                ~      client 1 leaves, or comes back
 *   -a +a        the worker is lost, is started            !a     its pool fails, when both are down
 *   wa xa        its pipe takes all; its queue is full, or not any more
 */
#include "configured.h"
#include "fake_sys.h"
#include "fuzz.h"
#include "router_internal.h"
#include "stdio_bus.h"

enum { CLIENTS = 2, WORKERS = 6, POOLS = 3, INPUT_MAX = 16384, ID_MAX = 1024, KEEP = CLIENT_LINE_KEEP };

static const char CONFIG[] =
    "{'pools':[{'id':'own','command':'c','instances':2,'max_in_flight':2,'max_queue':3},"
    "{'id':'plain','command':'c','instances':2,'max_in_flight':1,'max_queue':2,'protocol':'jsonrpc'},"
    "{'id':'mcp','command':'c','instances':2,'protocol':'mcp'}],"
    "'limits':{'max_input_buffer':1024,'max_output_queue':1024,'max_sessions':3}}";

/* A bag of texts, the oldest first. */
typedef struct texts {
    char *at[INPUT_MAX];
    size_t count;
} texts_t;

static config_t config;
static router_t router;
static pool_t pools[POOLS];
static target_t targets[WORKERS];
static client_t clients[CLIENTS];
static bool present[CLIENTS], running[WORKERS], broken[WORKERS], full[WORKERS];
static texts_t due[CLIENTS];     /* ids of requests whose answer is due */
static long nulls_due[CLIENTS];  /* lines that may be answered with the id null */
static texts_t out[WORKERS];     /* ids of requests that the worker has */
static texts_t asked[WORKERS];   /* ids of its own requests */
static int unclear;              /* answers to a line of which only the ends are known */
static long delivered;           /* lines to clients */

static void add(texts_t *texts, json_span_t text) {
    if (texts->count == INPUT_MAX) return;
    char *copy = malloc(text.len + 1);
    HOLDS(copy != NULL);
    memcpy(copy, text.text, text.len);
    copy[text.len] = '\0';
    texts->at[texts->count++] = copy;
}

static void drop(texts_t *texts, size_t i) {
    free(texts->at[i]);
    memmove(&texts->at[i], &texts->at[i + 1], (--texts->count - i) * sizeof *texts->at);
}

static bool take(texts_t *texts, json_span_t text) {
    for (size_t i = 0; i < texts->count; i++) {
        if (strlen(texts->at[i]) != text.len || memcmp(texts->at[i], text.text, text.len) != 0) continue;
        drop(texts, i);
        return true;
    }
    return false;
}

static void clear(texts_t *texts) {
    while (texts->count) drop(texts, texts->count - 1);
}

/* ---- what comes out ------------------------------------------------------------------- */

/* The line, scanned; the caller frees scan->text. */
static void join(const piece_t *pieces, size_t count, scan_t *scan) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    char *text = malloc(len ? len : 1), *to = text;
    HOLDS(text != NULL);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len) memcpy(to, pieces[i].text, pieces[i].len);
        to += pieces[i].len;
    }
    HOLDS(json_scan(text, len, scan) == SCAN_OK);
    HOLDS(!memchr(text, '\n', len));
}

static bool to_worker(void *context, target_t *target, const piece_t *pieces, size_t count) {
    int worker = target->worker_id - 1;
    scan_t scan;
    HOLDS(context == &router && running[worker]);
    if (full[worker]) return false;
    join(pieces, count, &scan);
    bool has_id = scan_has(&scan, FIELD_ID);
    if (!scan_has(&scan, FIELD_METHOD)) HOLDS(has_id && take(&asked[worker], message_value(&scan, FIELD_ID)));
    else if (has_id) add(&out[worker], message_value(&scan, FIELD_ID));
    free((char *)scan.text);
    return true;
}

static void to_client(void *context, client_t *client, int32_t worker_id, const piece_t *pieces, size_t count) {
    scan_t scan;
    HOLDS(context == &router && present[client->id] && worker_id >= 0 && worker_id <= WORKERS);
    delivered++;
    join(pieces, count, &scan);
    if (!scan_has(&scan, FIELD_METHOD)) {
        HOLDS(scan_has(&scan, FIELD_ID));
        json_span_t id = message_value(&scan, FIELD_ID);
        if (unclear) unclear--;
        else if (*id.text == 'n') HOLDS(nulls_due[client->id]-- > 0);
        else HOLDS(take(&due[client->id], id));
    }
    free((char *)scan.text);
}

static bool write_status(void *context, buffer_t *buffer) {
    HOLDS(context == &router);
    return buffer_puts(buffer, "{}");
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
    HOLDS(context == &router);
    if (error) broken[target->worker_id - 1] = true;
    else router_target_ready(&router, target);
}

/* ---- what goes in ------------------------------------------------------------------------ */

/* Notes the answer that the line must have, by its id; returns whether there is one. */
static bool expect_answer(int client, const char *text, size_t len, json_span_t *id) {
    scan_t scan;
    scan_status_t status = json_scan(text, len, &scan);
    nulls_due[client]++;
    if (!scan_has(&scan, FIELD_ID)) return false;
    *id = message_value(&scan, FIELD_ID);
    if (id->len > ID_MAX || !strchr("\"-0123456789", *id->text)) return false;
    bool answers = scan_has(&scan, FIELD_RESULT) || scan_has(&scan, FIELD_ERROR);
    if (status == SCAN_OK && !scan_has(&scan, FIELD_METHOD) && answers) return false;
    add(&due[client], *id);
    return true;
}

static void client_line(int client, const char *text, size_t len) {
    json_span_t id;
    if (!present[client]) return;
    expect_answer(client, text, len, &id);
    HOLDS(router_client_line(&router, &clients[client], text, len, true) == 0);
}

static void ingest(const char *text, size_t len) {
    json_span_t id;
    long before = delivered;
    bool expected = expect_answer(0, text, len, &id);
    if (router_client_line(&router, &clients[0], text, len, false) == 0) return;
    HOLDS(delivered == before); /* a refused message gets no second report */
    if (expected) HOLDS(take(&due[0], id));
}

static void worker_line(int worker, const char *text, size_t len) {
    scan_t scan;
    if (!running[worker]) return;
    if (json_scan(text, len, &scan) == SCAN_OK && scan_has(&scan, FIELD_METHOD) && scan_has(&scan, FIELD_ID))
        add(&asked[worker], message_value(&scan, FIELD_ID));
    router_worker_line(&router, &targets[worker], text, len);
}

static void answer(int worker, const char *result, size_t len) {
    if (!out[worker].count) return;
    char *text = malloc(strlen(out[worker].at[0]) + len + 64);
    HOLDS(text != NULL);
    int size = sprintf(text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%.*s}", out[worker].at[0], len ? (int)len : 2,
                       len ? result : "{}");
    drop(&out[worker], 0);
    worker_line(worker, text, (size_t)size);
    free(text);
}

static void lose(int worker) {
    router_loss_t loss = {.error = RPC_WORKER_EXITED, .message = "it exited", .exit_code = 3, .stderr_tail = "words"};
    if (!running[worker]) return;
    router_target_lost(&router, &targets[worker], &loss);
    running[worker] = broken[worker] = full[worker] = false;
    clear(&out[worker]);
    clear(&asked[worker]);
}

static void start(int worker) {
    if (running[worker]) return;
    running[worker] = true;
    if (!router_begin_handshake(&router, &targets[worker])) router_target_ready(&router, &targets[worker]);
}

static void too_long(char who, const char *text, size_t len) {
    size_t head = len < KEEP ? len : KEEP, tail = len - head < KEEP ? len - head : KEEP;
    line_t line = {.text = text, .len = head, .tail = text + len - tail, .tail_len = tail};
    if ((who == '0' || who == '1') && present[who - '0']) {
        unclear = 1;
        router_client_too_long(&router, &clients[who - '0'], &line);
        unclear = 0;
    } else if (who >= 'a' && who < 'a' + WORKERS && running[who - 'a']) {
        json_span_t id;
        scan_t scan;
        json_scan(line.text, line.len, &scan);
        /* A request of the worker: the bus answers it, unless the worker's queue is full. */
        if (scan_has(&scan, FIELD_METHOD) && router_find_id(&line, &id)) add(&asked[who - 'a'], id);
        if (!router_worker_too_long(&router, &targets[who - 'a'], &line)) lose(who - 'a');
    }
}

static void come_or_go(void) {
    present[1] = !present[1];
    if (present[1]) {
        client_init(&clients[1], 1, &pools[0], 1024);
        router_add_client(&router, &clients[1]);
    } else {
        router_remove_client(&router, &clients[1]);
        client_free(&clients[1]);
        clear(&due[1]);
    }
}

static void fail_pool(int worker) {
    int first = worker / 2 * 2;
    if (!running[first] && !running[first + 1]) router_pool_failed(&router, &pools[worker / 2], "both are gone", "words");
}

static void event(const char *text, size_t len) {
    char what = *text, who = len > 1 ? text[1] : '\0';
    int worker = who - 'a';
    bool named = worker >= 0 && worker < WORKERS;
    if (what == '0' || what == '1') client_line(what - '0', text + 1, len - 1);
    else if (what >= 'a' && what < 'a' + WORKERS) worker_line(what - 'a', text + 1, len - 1);
    else if (what == 'i') ingest(text + 1, len - 1);
    else if (what == '~') come_or_go();
    else if (what == '>' && len > 2) too_long(who, text + 2, len - 2);
    else if (!named) return;
    else if (what == '=') answer(worker, text + 2, len - 2);
    else if (what == '-') lose(worker);
    else if (what == '+') start(worker);
    else if (what == '!') fail_pool(worker);
    else if (what == 'w') targets[worker].written = targets[worker].accepted;
    else if (what == 'x') full[worker] = !full[worker];
    for (worker = 0; worker < WORKERS; worker++)
        if (broken[worker]) lose(worker);
}

/* ---- one run -------------------------------------------------------------------------------- */

static void set_up(void) {
    static const router_ops_t ops = {to_worker, to_client, write_status, handshake_done, manage, from_attached};
    configured(&config, CONFIG);
    router_init(&router, &ops, &router, &config.limits);
    router.pools = pools;
    router.pool_count = POOLS;
    for (int i = 0; i < POOLS; i++) {
        pool_init(&pools[i], &config.pools[i]);
        HOLDS(heap_reserve(&pools[i].ready, 2));
    }
    present[0] = true;
    client_init(&clients[0], 0, &pools[0], 1024);
    router_add_client(&router, &clients[0]);
    come_or_go();
    for (int worker = 0; worker < WORKERS; worker++) {
        target_init(&targets[worker], &pools[worker / 2], worker + 1);
        start(worker);
        answer(worker, "{}", 2); /* the handshake, where there is one */
    }
}

static void take_down(void) {
    router.stopping = true;
    for (int worker = 0; worker < WORKERS; worker++) lose(worker);
    router_refuse_waiting(&router);
    HOLDS(due[0].count == 0 && due[1].count == 0);
    HOLDS(router.pendings.calls == 0 && !router_has_work(&router));
    if (present[1]) come_or_go();
    present[0] = false;
    router_remove_client(&router, &clients[0]);
    client_free(&clients[0]);
    for (int i = 0; i < POOLS; i++) pool_free(&pools[i]);
    router_free(&router);
    config_free(&config);
    nulls_due[0] = nulls_due[1] = 0;
    HOLDS(fake_sys_live_allocations() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + (size < INPUT_MAX ? size : INPUT_MAX);
    set_up();
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline ? (size_t)(newline - at) : (size_t)(end - at);
        char *text = fuzz_copy(at, len);
        if (len) event(text, len);
        free(text);
        at += len + 1;
    }
    take_down();
    return 0;
}
