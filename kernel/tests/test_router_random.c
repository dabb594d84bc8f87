/* test_router_random.c - thousands of random events from fixed seeds: clients that come and
 * go, workers that answer late, twice or never, die and return, queues and inputs that are
 * full, allocations that fail.  Checked throughout: every request has exactly one answer,
 * its own; messages of a client reach a worker in order; a session stays where it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

enum { CLIENTS = 3, WORKERS = 8, POOLS = 4, SESSIONS = 3, STEPS = 12000, TAGS = STEPS + 1, OUT = 4000 };

static const char CONFIG[] =
    "{'pools':[{'id':'own','command':'c','instances':2,'max_in_flight':2,'max_queue':12},"
    "{'id':'plain','command':'c','instances':2,'max_in_flight':3,'protocol':'jsonrpc','max_queue':6},"
    "{'id':'mcp','command':'c','instances':2,'protocol':'mcp'},"
    "{'id':'acp','command':'c','instances':2,'max_in_flight':2,'protocol':'acp','max_queue':6}],'limits':{'max_output_queue':2048}}";

/* One message of a client; its number, the tag, travels with it. */
typedef struct sent {
    int client, pool, session; /* session -1: none */
    char id[16];               /* "": a notification */
    int answers;
    bool open;      /* an answer is due */
    bool delivered; /* to a worker */
} sent_t;

/* A request that a worker has in its hands. */
typedef struct out {
    int worker, tag;
    char id[32];
} out_t;

static sent_t sent[TAGS];
static out_t out[OUT];
static int tags, outs, asks;
static int asked[STEPS]; /* answers that the worker's question of this number has had */
static bool up[WORKERS + 1];
static int last_tag[CLIENTS][WORKERS + 1];
static int bound[CLIENTS][POOLS][SESSIONS]; /* the worker, 0: none */
static char open_asks[CLIENTS][64][24];
static int open_ask_count[CLIENTS];
static check_random_t seed;
static long answered, results, refused;

static int pick(int below) {
    return (int)check_random(&seed, (unsigned)below);
}

static int pool_of(int worker) {
    return (worker - 1) / 2;
}

static int number_behind(const char *line, const char *key) {
    const char *at = strstr(line, quoted(key));
    return at ? atoi(at + strlen(key)) : -1;
}

/* The id of a line as JSON text. */
static const char *id_of(const char *line, size_t *len) {
    scan_t scan;
    static json_span_t id;
    CHECK_INT(json_scan(line, strlen(line), &scan), SCAN_OK);
    *len = 0;
    if (!scan_has(&scan, FIELD_ID)) return NULL;
    id = message_value(&scan, FIELD_ID);
    *len = id.len;
    return id.text;
}

/* ---- what comes out ------------------------------------------------------------------ */

static void take_from_bus(int worker, const char *line) {
    size_t id_len;
    const char *id = id_of(line, &id_len);
    if (strstr(line, "notifications/cancelled") || strstr(line, "session/cancel")) return;
    int ask = number_behind(line, "'answer':");
    if (ask >= 0 || !strstr(line, "\"method\"")) {
        if (ask < 0 && id) ask = atoi(id); /* the bus refuses in the client's name, with the worker's id */
        REQUIRE(ask >= 0 && ask < asks);
        CHECK_INT(++asked[ask], 1);
        return;
    }
    int tag = number_behind(line, "'tag':");
    REQUIRE(tag > 0 && tag <= tags);
    sent_t *s = &sent[tag];
    CHECK(!s->delivered); /* the bus never sends anything twice */
    s->delivered = true;
    CHECK_INT(s->pool, pool_of(worker));
    if (!CHECK(tag > last_tag[s->client][worker])) fprintf(stderr, "  message %d overtaken at worker %d\n", tag, worker);
    last_tag[s->client][worker] = tag;
    if (s->session >= 0) {
        int *home = &bound[s->client][s->pool][s->session];
        if (*home) CHECK_INT(worker, *home);
        *home = worker;
    }
    if (!id) return;
    REQUIRE(outs < OUT && id_len < sizeof out[0].id);
    out[outs] = (out_t){.worker = worker, .tag = tag};
    memcpy(out[outs++].id, id, id_len);
}

static void take_from_worker(int client, const char *line) {
    size_t id_len;
    const char *id = id_of(line, &id_len);
    if (strstr(line, "\"method\"")) {
        if (id && open_ask_count[client] < 64 && id_len < 24)
            snprintf(open_asks[client][open_ask_count[client]++], 24, "%.*s", (int)id_len, id);
        return;
    }
    int open = 0;
    for (int tag = 1; tag <= tags; tag++) {
        sent_t *s = &sent[tag];
        if (!s->open || s->client != client || strlen(s->id) != id_len || memcmp(s->id, id, id_len) != 0) continue;
        int answers_tag = number_behind(line, "'answers':");
        if (answers_tag >= 0) CHECK_INT(answers_tag, tag);
        results += answers_tag >= 0;
        s->open = false;
        s->answers++;
        open++;
        answered++;
    }
    if (!CHECK_INT(open, 1)) fprintf(stderr, "  client %d: %s\n", client, line);
}

static void drain(void) {
    const char *line;
    for (int worker = 1; worker <= WORKERS; worker++)
        while ((line = bench_for_worker(worker))) take_from_bus(worker, line);
    for (int client = 0; client < CLIENTS; client++)
        while ((line = bench_for_client(client, -1))) take_from_worker(client, line);
    QUIET();
}

/* ---- what goes in ------------------------------------------------------------------ */

static bool id_is_open(int client, const char *id) {
    for (int tag = 1; tag <= tags; tag++)
        if (sent[tag].open && sent[tag].client == client && strcmp(sent[tag].id, id) == 0) return true;
    return false;
}

static void send_message(void) {
    static const char *const pools[] = {"own", "plain", "mcp", "acp"};
    int client = pick(CLIENTS);
    if (!bench.present[client]) return;
    sent_t *s = &sent[tags + 1];
    *s = (sent_t){.client = client, .pool = pick(POOLS), .session = pick(3) ? -1 : pick(SESSIONS)};
    bool agent = s->pool == 3; /* where sessions are named in params */
    char session[32] = "", named[32] = "", id[32] = "";
    if (s->session >= 0) snprintf(agent ? named : session, sizeof session, ",'sessionId':'s%d'", s->session);
    if (pick(4)) {
        /* The host's ids that workers see must stay its own for as long as one may answer. */
        bool unique = client == 0 && s->pool == 0;
        snprintf(s->id, sizeof s->id, pick(2) ? "%d" : "\"%d\"", unique ? 100000 + tags : 1 + pick(30));
        snprintf(id, sizeof id, "'id':%s,", s->id);
    }
    bool taken = *s->id && id_is_open(client, s->id);
    const char *method = agent ? "session/prompt" : "m";
    const char *format = "{'jsonrpc':'2.0',%s'method':'%s','pool':'%s'%s,'params':{'tag':%d%s,'_meta':{'progressToken':%d}}}";
    if (pick(2) || taken) {
        bool failing = pick(10) == 0;
        if (failing) fake_sys_fail_allocation(1 + pick(5));
        tags++;
        s->open = *s->id && !taken;
        int code = bench_ingest(client, format, id, method, pools[s->pool], session, tags, named, tags);
        fake_sys_fail_allocation(0);
        if (taken) CHECK(code != STDIO_BUS_OK);
        if (code != STDIO_BUS_OK) s->open = false, refused++;
    } else {
        tags++;
        s->open = *s->id != '\0';
        bench_send(client, format, id, method, pools[s->pool], session, tags, named, tags);
    }
}

static void cancel(void) {
    int tag = 1 + pick(tags ? tags : 1);
    for (int i = 0; i < 50 && !sent[tag].open; i++) tag = 1 + pick(tags ? tags : 1);
    if (!sent[tag].open) return;
    bench_send(sent[tag].client, "{'method':'stdio_bus/cancel','params':{'id':%s}}", sent[tag].id);
    drain();
    CHECK(!sent[tag].open);
}

static void answer(void) {
    if (!outs) return;
    int i = pick(outs);
    for (int times = pick(20) ? 1 : 2; times; times--)
        CHECK(bench_reply(out[i].worker, "{'jsonrpc':'2.0','id':%s,'result':{'answers':%d}}", out[i].id, out[i].tag));
    if (pick(30)) out[i] = out[--outs]; /* or it answers once more, later */
}

static void speak(void) {
    int worker = 1 + pick(WORKERS);
    if (!up[worker]) return;
    switch (pick(5)) {
    case 0: CHECK(bench_reply(worker, "{'method':'n','sessionId':'s%d'}", pick(SESSIONS))); break;
    case 1: CHECK(bench_reply(worker, "{'method':'n','params':{'progressToken':%d}}", pick(3000))); break;
    case 2: CHECK(!bench_reply(worker, "noise")); break;
    case 3: CHECK(bench_reply(worker, "{'id':%d,'result':0}", 3000000 + pick(1000))); break;
    default: CHECK(bench_reply(worker, "{'id':%d,'method':'ask','sessionId':'s%d'}", asks++, pick(SESSIONS)));
    }
}

static void answer_question(void) {
    int client = pick(CLIENTS);
    if (!bench.present[client] || !open_ask_count[client]) return;
    int i = pick(open_ask_count[client]);
    /* It knows the bus's id only; the worker's is told by what the worker gets. */
    bench_send(client, "{'id':%s,'result':null}", open_asks[client][i]);
    if (pick(10)) memcpy(open_asks[client][i], open_asks[client][--open_ask_count[client]], 24);
}

static void lose(int worker) {
    if (!up[worker]) return;
    up[worker] = false;
    if (pick(2)) bench_written(worker);
    bench_lost(worker);
    for (int i = outs; i-- > 0;)
        if (out[i].worker == worker) out[i] = out[--outs];
    for (int client = 0; client < CLIENTS; client++) {
        last_tag[client][worker] = 0;
        for (int session = 0; session < SESSIONS; session++)
            if (bound[client][pool_of(worker)][session] == worker) bound[client][pool_of(worker)][session] = 0;
    }
}

static void come_up(int worker) {
    if (up[worker]) return;
    bench.full[worker] = false;
    up[worker] = true;
    bench_ready(worker);
}

static void come_or_go(int client) {
    if (!bench.present[client]) {
        bench_add_client(client);
        return;
    }
    if (client == 0) return; /* the host is always there */
    bench_remove_client(client);
    for (int tag = 1; tag <= tags; tag++)
        if (sent[tag].client == client) sent[tag].open = false;
    memset(bound[client], 0, sizeof bound[client]);
    open_ask_count[client] = 0;
}

static void fail_pool(int pool) {
    if (!up[2 * pool + 1] && !up[2 * pool + 2])
        router_pool_failed(&bench.router, &bench.pools[pool], "both are gone", "words");
}

static void step(void) {
    int what = pick(1000);
    if (what < 450) send_message();
    else if (what < 800) answer();
    else if (what < 830) cancel();
    else if (what < 900) speak();
    else if (what < 930) answer_question();
    else if (what < 942) lose(1 + pick(WORKERS));
    else if (what < 970) come_up(1 + pick(WORKERS));
    else if (what < 975) come_or_go(pick(CLIENTS));
    else if (what < 980) fail_pool(pick(POOLS));
    else if (what < 987) bench.full[1 + pick(WORKERS)] = true;
    else bench_drained(1 + pick(WORKERS));
    drain();
    for (int worker = 1; worker <= WORKERS; worker++)
        if (pick(2)) bench_written(worker);
}

static void run(unsigned long long with_seed) {
    seed.state = with_seed;
    memset(sent, 0, sizeof sent);
    memset(asked, 0, sizeof asked);
    memset(up, 0, sizeof up);
    memset(last_tag, 0, sizeof last_tag);
    memset(bound, 0, sizeof bound);
    memset(open_ask_count, 0, sizeof open_ask_count);
    tags = outs = asks = 0;
    answered = results = refused = 0;
    bench_open(CONFIG, CLIENTS);
    for (int i = 0; i < STEPS; i++) step();
    /* The end of a stop: what is left of the workers goes, what waits is refused. */
    bench.router.stopping = true;
    for (int worker = 1; worker <= WORKERS; worker++) lose(worker);
    router_refuse_waiting(&bench.router);
    drain();
    int open = 0;
    for (int tag = 1; tag <= tags; tag++) {
        open += sent[tag].open;
        CHECK(sent[tag].answers <= 1);
    }
    CHECK_INT(open, 0);
    CHECK_INT(bench.router.pendings.calls, 0);
    CHECK(results > 1000 && answered > results && refused > 100); /* all of it has happened */
    bench_close();
}

int main(void) {
    fake_sys_begin();
    for (unsigned long long with_seed = 1; with_seed <= 6; with_seed++) run(with_seed);
    fake_sys_end();
    return check_result();
}
