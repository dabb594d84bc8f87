/* test_router_queue.c - what waits for a worker: limits, order, sessions bound while they
 * wait, cancelling, and inputs that take nothing. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static void call(int client, int id, const char *session) {
    if (*session) bench_send(client, "{'id':%d,'method':'m','sessionId':'%s'}", id, session);
    else bench_send(client, "{'id':%d,'method':'m'}", id);
}

static void note(int client, int number, const char *session) {
    if (*session) bench_send(client, "{'method':'note','params':%d,'sessionId':'%s'}", number, session);
    else bench_send(client, "{'method':'note','params':%d}", number);
}

static void answer(int worker, int id) {
    CHECK(bench_reply(worker, "{'id':%d,'result':0}", id));
    CHECK_INT(CHECK_LIKE(bench_for_client(0, worker), quoted("{'id':#,'result':0}")), id);
}

/* The numbers of the lines that a worker has got: ids, or notes with a minus. */
static const char *got(int worker) {
    static char out[4][256];
    static int next;
    char *text = out[next = (next + 1) % 4], *to = text;
    const char *line;
    *to = '\0';
    while ((line = bench_for_worker(worker))) {
        int number = 0;
        bool call = sscanf(line, "{\"id\":%d", &number) == 1;
        if (!call) sscanf(line, "{\"method\":\"note\",\"params\":%d", &number);
        to += sprintf(to, "%s%d", to == text ? "" : " ", call ? number : -number);
    }
    return text;
}

static void test_max_in_flight(void) {
    bench_open("{'pools':[{'id':'p','command':'c','instances':2,'max_in_flight':2}]}", 1);
    for (int i = 1; i <= 3; i++) call(0, i, ""); /* before any worker is ready */
    QUIET();
    bench_ready(1);
    CHECK_STR(got(1), "1 2");
    bench_ready(2);
    CHECK_STR(got(2), "3");
    call(0, 4, "");
    CHECK_STR(got(2), "4");
    for (int i = 5; i <= 8; i++) call(0, i, "");
    QUIET();
    CHECK_INT(bench.pools[0].queued, 4);
    answer(2, 4);
    CHECK_STR(got(2), "5"); /* a free worker takes the oldest */
    answer(1, 1);
    answer(1, 2);
    CHECK_STR(got(1), "6 7");
    answer(2, 3);
    CHECK_STR(got(2), "8");
    CHECK_INT(bench.pools[0].queued, 0);
    bench_close();
}

static void test_max_queue(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_queue':2,'max_in_flight':1}]}", 1);
    call(0, 1, "");
    note(0, 2, "");
    call(0, 3, "");
    CLIENT_GETS_ERROR(0, 0, "3", "'p'", RPC_OVERLOADED, true);
    note(0, 4, ""); /* without an answer, but counted */
    CHECK_INT(bench.router.routing_errors, 1);
    CHECK_INT(bench_ingest(0, "{'id':5,'method':'m'}"), STDIO_BUS_ERR_EFULL);
    CHECK_INT(bench_ingest(0, "{'method':'m'}"), STDIO_BUS_ERR_EFULL);
    bench_ready(1);
    CHECK_STR(got(1), "1 -2");
    CHECK_INT(bench_ingest(0, "{'id':6,'method':'m'}"), STDIO_BUS_OK);
    answer(1, 1);
    CHECK_STR(got(1), "6");
    bench_close();

    /* Bytes count, too: 1024 + 4096 of them. */
    bench_open("{'pools':[{'id':'p','command':'c'}],'limits':{'max_output_queue':1024,'max_input_buffer':1024}}", 1);
    char filler[2500];
    memset(filler, 'x', sizeof filler);
    for (int i = 1; i <= 2; i++) CHECK_INT(bench_ingest(0, "{'id':%d,'method':'%.2500s'}", i, filler), STDIO_BUS_OK);
    CHECK_INT(bench_ingest(0, "{'id':3,'method':'%.100s'}", filler), STDIO_BUS_ERR_EFULL);
    CHECK_INT(bench_ingest(0, "{'id':3,'method':'m'}"), STDIO_BUS_OK);
    bench_ready(1);
    CHECK(bench_for_worker(1) && bench_for_worker(1));
    CHECK_STR(got(1), "3");
    bench_close();

    bench_open("{'pools':[{'id':'p','command':'c','max_queue':0}]}", 1);
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m'}"), STDIO_BUS_ERR_EFULL);
    bench_ready(1);
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m'}"), STDIO_BUS_OK);
    CHECK_STR(got(1), "1");
    bench_close();
}

/* Messages of one session arrive in order, also when it was bound while they waited. */
static void test_order_in_a_session(void) {
    bench_open("{'pools':[{'id':'p','command':'c','instances':2,'max_in_flight':1}]}", 1);
    bench_ready(1);
    call(0, 1, "");
    CHECK_STR(got(1), "1");
    call(0, 2, "s");
    call(0, 3, "s");
    answer(1, 1);
    CHECK_STR(got(1), "2"); /* binds the session to worker 1; 3 waits for any worker */
    call(0, 4, "s");        /* waits for worker 1 */
    bench_ready(2);         /* looks at 3: it must go to worker 1 as well */
    QUIET();
    answer(1, 2);
    CHECK_STR(got(1), "3");
    answer(1, 3);
    CHECK_STR(got(1), "4");
    answer(1, 4);
    bench_close();
}

/* A notification needs no place under max_in_flight, but does not overtake. */
static void test_notifications_keep_their_order(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 1);
    bench_ready(1);
    call(0, 1, "");
    call(0, 2, "s");
    call(0, 3, "s");
    CHECK_STR(got(1), "1");
    answer(1, 1);
    CHECK_STR(got(1), "2");
    note(0, 4, "s"); /* behind 3, which is still waiting */
    QUIET();
    answer(1, 2);
    CHECK_STR(got(1), "3 -4");
    note(0, 5, "s"); /* nothing waits: at once */
    CHECK_STR(got(1), "-5");
    answer(1, 3);
    bench_close();
}

/* Sessions of two workers in turn, in one long queue: neither worker's turn may be taken
 * inside the other's without end. */
static void test_long_alternating_queue(void) {
    enum { NOTES = 18000 };
    bench_open("{'pools':[{'id':'p','command':'c','instances':2,'max_in_flight':1,'max_queue':100000}]}", 1);
    bench_ready(1);
    bench_ready(2);
    call(0, 1, "");
    call(0, 2, "");
    CHECK_STR(got(1), "1");
    CHECK_STR(got(2), "2");
    call(0, 3, "a");
    call(0, 4, "b");
    for (int i = 0; i < NOTES; i++) note(0, 5 + i, i % 2 ? "b" : "a");
    answer(1, 1);
    answer(2, 2);
    int wrong = 0;
    for (int worker = 1; worker <= 2; worker++) {
        long long last = WORKER_GETS(worker, "{'id':#,'method':'m',*}");
        CHECK_INT(last, worker + 2);
        for (const char *line; (line = bench_for_worker(worker));) {
            int number = 0;
            sscanf(line, "{\"method\":\"note\",\"params\":%d", &number);
            wrong += number <= last || (number - 5) % 2 != worker - 1;
            last = number;
        }
    }
    CHECK_INT(wrong, 0);
    bench_close();
}

/* What has waited behind a message that is withdrawn may go on. */
static void test_cancelled_head_of_a_queue(void) {
    static const char *const sessions[] = {"", "s"};
    for (int i = 0; i < 2; i++) {
        bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 2);
        bench_ready(1);
        call(0, 1, sessions[i]);
        call(0, 2, sessions[i]);
        note(0, 3, sessions[i]);
        CHECK_STR(got(1), "1");
        bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':2}}");
        CLIENT_GETS_ERROR(0, 0, "2", "'p'", RPC_CANCELLED, true);
        CHECK_STR(got(1), "-3");
        call(1, 4, "");
        note(0, 5, "");
        bench_remove_client(1);
        CHECK_STR(got(1), "-5");
        bench_close();
    }
}

static void test_full_input(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 1);
    bench_ready(1);
    bench.full[1] = true;
    call(0, 1, "");
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_OVERLOADED, true);
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m'}"), STDIO_BUS_ERR_EFULL);
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m','sessionId':'s'}"), STDIO_BUS_ERR_EFULL);
    note(0, 2, "");
    CHECK_INT(bench.router.routing_errors, 1);
    bench_drained(1);
    call(0, 1, "");
    call(0, 2, "");
    note(0, 3, "");
    bench.full[1] = true;
    CHECK_STR(got(1), "1");
    answer(1, 1);
    QUIET(); /* what waits already goes on waiting when it cannot be sent */
    CHECK_INT(bench.targets[1].in_flight, 0);
    CHECK_INT(bench.pools[0].queued, 2);
    bench_drained(1);
    CHECK_STR(got(1), "2 -3");
    call(0, 4, "s");
    bench.full[1] = true;
    answer(1, 2);
    bench_drained(1);
    CHECK_STR(got(1), "4");
    CHECK_INT(bench.router.routing_errors, 1);
    bench_close();
}

/* Whose input is full is the last to be given anything, however little it has in hand. */
static void test_full_input_of_one(void) {
    bench_open("{'pools':[{'id':'p','command':'c','instances':2}]}", 1);
    bench_ready(1);
    bench_ready(2);
    bench.full[1] = true;
    call(0, 1, "");
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_OVERLOADED, true);
    for (int i = 2; i <= 4; i++) call(0, i, "");
    CHECK_STR(got(2), "2 3 4");
    bench.full[2] = true;
    call(0, 5, ""); /* now it is both */
    CLIENT_GETS_ERROR(0, 2, "5", "'p'", RPC_OVERLOADED, true);
    bench_drained(1);
    call(0, 6, "");
    CHECK_STR(got(1), "6");
    bench_close();
}

static void test_sessions_at_their_limit(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':3}],'limits':{'max_sessions':2}}", 1);
    bench_ready(1);
    call(0, 1, "a");
    call(0, 2, "b");
    call(0, 3, "c"); /* both are busy */
    CLIENT_GETS_ERROR(0, 0, "3", "'p'", RPC_OVERLOADED, true);
    CHECK_STR(got(1), "1 2");
    answer(1, 1);
    call(0, 4, "c"); /* the idle one is forgotten */
    CHECK_STR(got(1), "4");
    CHECK_INT(bench.router.sessions.count, 2);
    call(0, 5, "");
    CHECK_STR(got(1), "5");
    call(0, 6, "d"); /* waits; when its turn comes all are busy */
    call(0, 7, "");
    answer(1, 5);
    CLIENT_GETS_ERROR(0, 0, "6", "'p'", RPC_OVERLOADED, true);
    CHECK_STR(got(1), "7");
    bench_close();
}

/* stdio_bus/cancel: the client gets its one answer from the bus. */
static void test_cancel(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 2);
    bench_ready(1);
    call(0, 1, "s");
    call(0, 2, "");
    CHECK_STR(got(1), "1");
    bench_send(1, "{'method':'stdio_bus/cancel','params':{'id':1}}"); /* not this client's */
    QUIET();
    bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':2}}"); /* waiting: it never goes out */
    CLIENT_GETS_ERROR(0, 0, "2", "'p'", RPC_CANCELLED, true);
    CHECK_INT(bench.pools[0].queued, 0);
    call(0, 3, "");
    bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':1}}"); /* out: the worker goes on with it */
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_CANCELLED, false);
    CHECK_INT(bench.router.pendings.calls, 1);
    QUIET(); /* and keeps its place */
    call(0, 1, ""); /* the id is free */
    uint64_t errors = bench.router.routing_errors;
    long long first = 1;
    CHECK(bench_reply(1, "{'id':%lld,'result':0}", first)); /* the late answer makes room */
    CHECK_INT(bench.router.routing_errors, errors + 1);
    CHECK_STR(got(1), "3");
    answer(1, 3);
    CHECK(bench_for_worker(1) != NULL);
    bench_close();

    bench_open("{'pools':[{'id':'p','command':'c'}]}", 2); /* without a cap only ids of the host are */
    bench_ready(1);
    call(1, 1, "");
    long long wire = WORKER_GETS(1, "{'id':#,'method':'m'}");
    bench_send(1, "{'method':'stdio_bus/cancel','params':{'id':1}}");
    CLIENT_GETS_ERROR(1, 1, "1", "'p'", RPC_CANCELLED, false);
    CHECK_INT(bench.targets[1].in_flight, 0);
    CHECK(bench_reply(1, "{'id':%lld,'result':0}", wire));
    QUIET();
    bench_close();
}

#define GREETED "{'pools':[{'id':'p','command':'c','instances':%d,'handshake':{'request':{'method':'hi'}}}]}"

static long long greetings[BENCH_WORKERS + 1];

static void open_starting(int workers) {
    char config[160];
    snprintf(config, sizeof config, GREETED, workers);
    bench_open(config, 1);
    for (int i = 1; i <= workers; i++) {
        CHECK(router_begin_handshake(&bench.router, &bench.targets[i]));
        greetings[i] = CHECK_LIKE(bench_for_worker(i), quoted("{'jsonrpc':'2.0','id':#,'method':'hi'}"));
    }
}

static void finish_start(int worker) {
    CHECK(bench_reply(worker, "{'jsonrpc':'2.0','id':%lld,'result':{}}", greetings[worker]));
}

static void test_starting_workers_have_their_share(void) {
    open_starting(4);
    for (int i = 101; i <= 110; i++) call(0, i, "");
    finish_start(1);
    CHECK_STR(got(1), "101 102 103");
    finish_start(2);
    CHECK_STR(got(2), "104 105 106");
    bench_lost(3); /* its part is for the others */
    CHECK_STR(got(1), "107");
    CHECK_STR(got(2), "108");
    answer(1, 101);
    QUIET();
    answer(1, 102);
    CHECK_STR(got(1), "109");
    finish_start(4);
    CHECK_STR(got(4), "110");
    call(0, 111, "");
    CHECK_STR(got(4), "111"); /* nothing waits any more */
    CHECK_INT(bench.pools[0].starting, 0);
    bench_close();
}

/* As long as the other is not ready, whatever becomes of it. */
static void test_share_is_no_standstill(void) {
    open_starting(2);
    for (int i = 101; i <= 103; i++) call(0, i, "");
    finish_start(1);
    CHECK_STR(got(1), "101 102");
    call(0, 104, "");
    QUIET();
    call(0, 105, ""); /* the more wait, the larger the share */
    CHECK_STR(got(1), "103");
    answer(1, 101);
    answer(1, 102);
    CHECK_STR(got(1), "104");
    answer(1, 103);
    QUIET();
    answer(1, 104);
    CHECK_STR(got(1), "105"); /* an idle worker always takes one */
    call(0, 106, "");
    CHECK_STR(got(1), "106"); /* nothing waits: there is nothing to share */
    bench_close();
}

static void test_share_keeps_the_order(void) {
    open_starting(2);
    call(0, 101, "s");
    call(0, 102, "");
    finish_start(1);
    CHECK_STR(got(1), "101");
    note(0, 9, "s"); /* for worker 1, but not before 102, which may go there too */
    QUIET();
    finish_start(2);
    CHECK_STR(got(2), "102");
    CHECK_STR(got(1), "-9");
    bench_close();
}

/* What others want must not keep a notification from the request in hand that needs it. */
static void test_notification_for_a_request_in_hand(void) {
    static const char *const others[] = {"", ",'sessionId':'t'"}; /* in the pool's queue, in the worker's */
    for (int i = 0; i < 2; i++) {
        bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 3);
        bench_ready(1);
        bench_send(2, "{'method':'note','sessionId':'t'}");
        CHECK(bench_for_worker(1) != NULL);
        call(1, 1, "s");
        long long wire = WORKER_GETS(1, "{'id':#,'method':'m','sessionId':'s'}");
        bench_send(2, "{'id':1,'method':'other'%s}", others[i]);
        bench_send(1, "{'method':'interrupt','sessionId':'s'}");
        WORKER_GETS(1, "{'method':'interrupt','sessionId':'s'}");
        call(1, 2, ""); /* behind what the client has sent itself it stays */
        bench_send(1, "{'method':'interrupt','sessionId':'s'}");
        QUIET();
        CHECK(bench_reply(1, "{'id':%lld,'result':0}", wire));
        CHECK(bench_for_client(1, 1) != NULL);
        wire = WORKER_GETS(1, i ? "{'id':#,'method':'other','sessionId':'t'}" : "{'id':#,'method':'other'}");
        CHECK(bench_reply(1, "{'id':%lld,'result':0}", wire));
        CHECK(bench_for_client(2, 1) != NULL);
        WORKER_GETS(1, "{'id':#,'method':'m'}");
        WORKER_GETS(1, "{'method':'interrupt','sessionId':'s'}");
        bench_close();
    }
}

/* A worker that retires takes nothing from the pool's queue, which keeps nothing from it. */
static void test_retiring_worker_serves_its_busy_session(void) {
    bench_open("{'pools':[{'id':'p','command':'c','instances':2,'max_in_flight':2}]}", 2);
    bench_ready(1);
    call(0, 1, "s");
    CHECK_STR(got(1), "1");
    router_retire(&bench.router, &bench.targets[1]);
    call(1, 7, ""); /* waits for the other worker */
    call(0, 2, "s");
    note(0, 3, "s");
    CHECK_STR(got(1), "2 -3");
    bench_close();
}

/* While the bus stops, what is in hand still gets what its client sends for it. */
static void test_notification_while_stopping(void) {
    bench_open("{'pools':[{'id':'p','command':'c'}]}", 2);
    bench_ready(1);
    call(0, 1, "s");
    CHECK_STR(got(1), "1");
    bench.router.stopping = true;
    note(0, 2, "s");
    CHECK_STR(got(1), "-2");
    note(0, 3, "t");
    note(1, 4, "s");
    note(0, 5, "");
    QUIET();
    answer(1, 1);
    note(0, 6, "s");
    QUIET();
    CHECK_INT(bench.router.routing_errors, 4);
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_starting_workers_have_their_share();
    test_share_is_no_standstill();
    test_share_keeps_the_order();
    test_max_in_flight();
    test_max_queue();
    test_order_in_a_session();
    test_notifications_keep_their_order();
    test_long_alternating_queue();
    test_full_input();
    test_full_input_of_one();
    test_cancelled_head_of_a_queue();
    test_sessions_at_their_limit();
    test_cancel();
    test_notification_for_a_request_in_hand();
    test_retiring_worker_serves_its_busy_session();
    test_notification_while_stopping();
    fake_sys_end();
    return check_result();
}
