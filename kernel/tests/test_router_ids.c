/* test_router_ids.c - ids on either side: collisions, types, order of answers, what comes
 * twice or too late, and ids that must pass unchanged. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char PLAIN[] = "{'pools':[{'id':'p','command':'c','instances':2,'protocol':'jsonrpc'}]}";
static const char OWN[] = "{'pools':[{'id':'p','command':'c','instances':2}]}";

static void open_ready(const char *config, int clients) {
    bench_open(config, clients);
    bench_ready(1);
    bench_ready(2);
}

static long long wire_id(int worker) {
    return WORKER_GETS(worker, "{'jsonrpc':'2.0','id':#,'method':'m'}");
}

static void test_collisions(void) {
    open_ready(PLAIN, 3);
    long long id[3];
    for (int i = 0; i < 3; i++) bench_send(i, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    id[0] = wire_id(1);
    id[1] = wire_id(2);
    id[2] = wire_id(1);
    CHECK(id[0] != id[1] && id[1] != id[2] && id[0] != id[2]);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':'c'}", id[2])); /* in reverse order */
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':'b'}", id[1]));
    CHECK(bench_reply(1, "{'result':'a','id':%lld,'jsonrpc':'2.0'}", id[0]));
    CLIENT_GETS(2, 1, "{'jsonrpc':'2.0','id':1,'result':'c'}");
    CLIENT_GETS(1, 2, "{'jsonrpc':'2.0','id':1,'result':'b'}");
    CLIENT_GETS(0, 1, "{'result':'a','id':1,'jsonrpc':'2.0'}");
    bench_close();
}

/* An id comes back with the type and the bytes that it had. */
static void test_types(void) {
    static const char *const ids[] = {"1", "'1'", "-5", "1.0", "1.5e3", "null", "''", "'\\u0031'", "'a\\'b'",
                                      "9007199254740993", "123456789012345678901234567890", "'\xC3\xA9'", "0", "-0"};
    enum { COUNT = sizeof ids / sizeof *ids };
    open_ready(PLAIN, 1);
    long long wire[COUNT];
    for (int i = 0; i < COUNT; i++) {
        bench_send(0, "{'jsonrpc':'2.0','id' : %s ,'method':'m'}", ids[i]);
        wire[i] = WORKER_GETS(1 + i % 2, "{'jsonrpc':'2.0','id' : # ,'method':'m'}");
    }
    for (int i = COUNT; i-- > 0;) {
        char expected[128];
        CHECK(bench_reply(1 + i % 2, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-1,'message':'%d'}}", wire[i], i));
        snprintf(expected, sizeof expected, "{'jsonrpc':'2.0','id':%s,'error':{'code':-1,'message':'%d'}}", ids[i], i);
        CHECK_STR(bench_for_client(0, 1 + i % 2), quoted(expected));
    }
    bench_close();
}

/* The host's own ids pass, unless a worker that decodes and encodes them could write others. */
static void test_own_ids(void) {
    static const char *const same[] = {"7", "-7", "0", "4503599627370495", "'a b'"};
    static const char *const changed[] = {"-0", "4503599627370496", "-4503599627370496", "1.0", "'<a>'", "'a&b'", "'\\u0031'"};
    bench_open(OWN, 1);
    bench_ready(1);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char expected[128];
        bench_send(0, "{'id':%s,'method':'m'}", same[i]);
        snprintf(expected, sizeof expected, "{'id':%s,'method':'m'}", same[i]);
        CHECK_STR(bench_for_worker(1), quoted(expected));
    }
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        bench_send(0, "{'id':%s,'method':'m'}", changed[i]);
        long long id = WORKER_GETS(1, "{'id':#,'method':'m'}");
        CHECK(bench_reply(1, "{'id':%lld,'result':0}", id));
        CHECK(bench_for_client(0, 1) != NULL);
    }
    bench_close();
}

static void test_reuse(void) {
    open_ready(PLAIN, 2);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}"); /* in flight already */
    CLIENT_GETS_ERROR(0, 0, "1", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'jsonrpc':'2.0','id':'1','method':'m'}"); /* another id */
    long long a = wire_id(1), b = wire_id(2);
    CHECK(bench_reply(1, "{'id':%lld,'result':1}", a));
    CLIENT_GETS(0, 1, "{'id':1,'result':1}");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}"); /* answered: free again */
    long long c = wire_id(1);
    CHECK(c != a);
    CHECK(bench_reply(1, "{'id':%lld,'result':2}", c));
    CHECK(bench_reply(2, "{'id':%lld,'result':3}", b));
    CLIENT_GETS(0, 1, "{'id':1,'result':2}");
    CLIENT_GETS(0, 2, "{'id':'1','result':3}");
    bench_close();
}

/* Late, double and made-up answers are dropped and counted, whoever sends them. */
static void test_answers_nobody_waits_for(void) {
    open_ready(PLAIN, 1);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    long long id = wire_id(1);
    CHECK(bench_reply(2, "{'id':%lld,'result':1}", id)); /* not asked */
    CHECK_INT(bench.router.routing_errors, 1);
    static const char *const made_up[] = {"0", "-1", "999", "null", "'1'", "1.0", "1e0", "{}", "[1]", "true",
                                          "123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++) {
        CHECK(bench_reply(1, "{'id':%s,'result':1}", made_up[i]));
        CHECK_INT(bench.router.routing_errors, i + 2);
    }
    QUIET();
    CHECK(bench_reply(1, "{'id':%lld,'result':1}", id));
    CLIENT_GETS(0, 1, "{'id':1,'result':1}");
    uint64_t before = bench.router.routing_errors;
    CHECK(bench_reply(1, "{'id':%lld,'result':1}", id)); /* twice */
    CHECK_INT(bench.router.routing_errors, before + 1);
    bench_close();
}

/* The host's ids reach workers of profile stdiobus as they are, in any order, whatever
 * ids the bus itself uses. */
static void test_host_ids(void) {
    open_ready(OWN, 2);
    static const int sequence[] = {2, 1, 5, 4, 3, 6, 300, 7};
    enum { COUNT = sizeof sequence / sizeof *sequence };
    for (int i = 0; i < COUNT; i++) {
        bench_send(0, "{'id':%d,'method':'m','sessionId':'s'}", sequence[i]);
        CHECK_INT(CHECK_LIKE(bench_for_worker(1), quoted("{'id':#,'method':'m','sessionId':'s'}")), sequence[i]);
    }
    bench_send(0, "{'id':'x','method':'m','sessionId':'s'}");
    WORKER_GETS(1, "{'id':'x','method':'m','sessionId':'s'}");
    CHECK(bench_reply(1, "{'id':'x','result':0}"));
    CLIENT_GETS(0, 1, "{'id':'x','result':0}");
    for (int i = COUNT; i-- > 0;) {
        CHECK(bench_reply(1, "{'id':%d,'result':%d}", sequence[i], i));
        CHECK_INT(CHECK_LIKE(bench_for_client(0, 1), quoted("{'id':#,'result':*}")), sequence[i]);
    }
    bench_close();
}

/* A logical client's id is the bus's: never one of the host's that is out there. */
static void test_host_ids_and_others(void) {
    open_ready(OWN, 2);
    check_random_t random = {4};
    struct {
        int client, id, worker;
        long long wire;
    } out[40];
    int count = 0, unchanged = 0, host = 0;
    for (int round = 0; round < 3000; round++) {
        if (count < 40 && check_random(&random, 5) < 3) {
            int client = (int)check_random(&random, 2), id = 1 + (int)check_random(&random, 60), known = 0;
            for (int i = 0; i < count; i++) known += out[i].client == client && out[i].id == id;
            if (known) continue;
            bench_send(client, "{'id':%d,'method':'m'}", id);
            const char *line = NULL;
            int worker = 0;
            while (!line && worker < 2) line = bench_for_worker(++worker);
            long long wire = CHECK_LIKE(line, quoted("{'id':#,'method':'m'}"));
            for (int i = 0; i < count; i++) CHECK(out[i].worker != worker || out[i].wire != wire);
            host += client == 0;
            unchanged += client == 0 && wire == id;
            out[count].client = client, out[count].id = id, out[count].worker = worker, out[count++].wire = wire;
        } else if (count) {
            int i = (int)check_random(&random, (unsigned)count);
            CHECK(bench_reply(out[i].worker, "{'id':%lld,'result':0}", out[i].wire));
            CHECK_INT(CHECK_LIKE(bench_for_client(out[i].client, out[i].worker), quoted("{'id':#,'result':0}")), out[i].id);
            out[i] = out[--count];
        }
    }
    CHECK(host > 500);
    CHECK_INT(unchanged, host);
    CHECK_INT(bench.router.routing_errors, 0);
    bench_close();
}

/* The late answer to a cancelled request is not taken for that of the next request which the
 * host gives the same id. */
static void test_host_id_used_again_after_cancelling(void) {
    open_ready(OWN, 1);
    bench_send(0, "{'id':5,'method':'m','sessionId':'s'}");
    WORKER_GETS(1, "{'id':5,'method':'m','sessionId':'s'}");
    bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':5}}");
    CLIENT_GETS_ERROR(0, 1, "5", "'p'", RPC_CANCELLED, false);
    bench_send(0, "{'id':5,'method':'m','sessionId':'s'}");
    long long wire = WORKER_GETS(1, "{'id':#,'method':'m','sessionId':'s'}");
    CHECK(wire != 5);
    CHECK(bench_reply(1, "{'id':5,'result':'late'}"));
    QUIET();
    CHECK(bench_reply(1, "{'id':%lld,'result':'right'}", wire));
    CLIENT_GETS(0, 1, "{'id':5,'result':'right'}");
    bench_send(0, "{'id':5,'method':'m','sessionId':'s'}"); /* nothing is out there any more */
    WORKER_GETS(1, "{'id':5,'method':'m','sessionId':'s'}");
    bench_close();
}

/* Ids counted from 1 on either side: the bus's id for a client's request is never the host's own,
 * even where that client has called its request the same. */
static void test_ids_counted_alike(void) {
    open_ready(OWN, 2);
    for (int id = 1; id <= 8; id++) {
        bench_send(0, "{'id':%d,'method':'host','sessionId':'s'}", id);
        CHECK_INT(WORKER_GETS(1, "{'id':#,'method':'host','sessionId':'s'}"), id);
    }
    for (int id = 1; id <= 16; id++) {
        bench_send(1, "{'id':%d,'method':'client','pool':'p'}", id);
        const char *line = bench_for_worker(1);
        if (!line) line = bench_for_worker(2);
        CHECK(CHECK_LIKE(line, quoted("{'id':#,'method':'client','pool':'p'}")) > 8);
    }
    for (int id = 1; id <= 8; id++) {
        CHECK(bench_reply(1, "{'id':%d,'result':'host'}", id));
        CHECK_INT(CLIENT_GETS(0, 1, "{'id':#,'result':'host'}"), id);
    }
    bench_close();
}

/* Nor is it one of a request that the host has given up and the worker may still answer. */
static void test_ids_of_cancelled_requests(void) {
    enum { FIRST = 21, LAST = 28 };
    open_ready(OWN, 2);
    for (int id = FIRST; id <= LAST; id++) {
        bench_send(0, "{'id':%d,'method':'host','sessionId':'s'}", id);
        WORKER_GETS(1, "{'id':#,'method':'host','sessionId':'s'}");
        bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':%d}}", id);
        CHECK(bench_for_client(0, 1) != NULL);
    }
    for (int id = 1; id <= 2 * LAST; id++) {
        bench_send(1, "{'id':%d,'method':'client','pool':'p'}", id);
        const char *line = bench_for_worker(1);
        if (!line) line = bench_for_worker(2);
        long long wire = CHECK_LIKE(line, quoted("{'id':#,'method':'client','pool':'p'}"));
        CHECK(wire < FIRST || wire > LAST);
    }
    for (int id = FIRST; id <= LAST; id++) CHECK(bench_reply(1, "{'id':%d,'result':'late'}", id));
    QUIET();
    bench_close();
}

/* Nor does the host get the late answer to what another client has given up, or has left, by giving
 * its own request that id. */
static void test_late_answer_to_another_client(void) {
    for (int leaves = 0; leaves < 2; leaves++) {
        open_ready(OWN, 2);
        bench_send(1, "{'id':'secret','method':'m'}");
        long long wire = WORKER_GETS(1, "{'id':#,'method':'m'}");
        if (leaves) bench_remove_client(1);
        else bench_send(1, "{'method':'stdio_bus/cancel','params':{'id':'secret'}}");
        if (!leaves) CLIENT_GETS_ERROR(1, 1, "'secret'", "'p'", RPC_CANCELLED, false);
        bench_send(0, "{'id':1,'method':'m','sessionId':'s'}");
        bench_send(0, "{'id':%lld,'method':'m','sessionId':'s'}", wire);
        int worker = 1;
        const char *line = bench_for_worker(1);
        if (!line) line = bench_for_worker(worker = 2);
        CHECK_STR(line, quoted((char[]){"{'id':1,'method':'m','sessionId':'s'}"}));
        long long other = WORKER_GETS(worker, "{'id':#,'method':'m','sessionId':'s'}");
        CHECK(other != wire);
        CHECK(bench_reply(1, "{'id':%lld,'result':'secret'}", wire));
        QUIET();
        CHECK(bench_reply(worker, "{'id':%lld,'result':'own'}", other));
        CHECK_INT(CLIENT_GETS(0, worker, "{'id':#,'result':'own'}"), wire);
        bench_close();
    }
}

/* A worker that answers nothing of what the host gives up: its ids are remembered up to a limit, and
 * later ones are the bus's. */
static void test_remembered_host_ids_are_bounded(void) {
    open_ready(OWN, 2);
    bool passes = true;
    int id = 0;
    while (passes && id < 100000) {
        bench_send(0, "{'id':%d,'method':'m','sessionId':'s'}", ++id);
        passes = WORKER_GETS(1, "{'id':#,'method':'m','sessionId':'s'}") == id;
        bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':%d}}", id);
        CHECK(bench_for_client(0, 1) != NULL);
    }
    CHECK(id == 65537);
    CHECK_INT(bench.router.pendings.count, id - 1);
    CHECK(bench_reply(1, "{'id':7,'result':'late'}"));
    QUIET();
    bench_send(0, "{'id':7,'method':'m','sessionId':'s'}");
    WORKER_GETS(1, "{'id':7,'method':'m','sessionId':'s'}");
    bench_close();
}

/* What a worker may write differently from what it was sent finds its request all the same. */
static void test_host_ids_that_are_rewritten(void) {
    open_ready(OWN, 1);
    bench_send(0, "{'id':'\xC3\xA9','method':'m'}");
    const char *line = bench_for_worker(1);
    REQUIRE(line != NULL);
    if (strstr(line, "\xC3\xA9")) CHECK(bench_reply(1, "{'id':'\\u00e9','result':0}"));
    else CHECK(bench_reply(1, "{'id':%lld,'result':0}", CHECK_LIKE(line, quoted("{'id':#,'method':'m'}"))));
    CLIENT_GETS(0, 1, "{'id':'\xC3\xA9','result':0}");
    bench_close();
}

/* Routing fields are taken out for a strict worker, and return with the answer. */
static void test_put_back(void) {
    open_ready(PLAIN, 1);
    bench_send(0, "{'pool':'p','jsonrpc':'2.0','sessionId':'s','id':1,'method':'m','_ext':{'x':[1,{'id':2}]},'agentId':null}");
    long long id = wire_id(1);
    CHECK(bench_reply(1, " {'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CLIENT_GETS(0, 1,
                " {'pool':'p','sessionId':'s','agentId':null,'_ext':{'x':[1,{'id':2}]},'jsonrpc':'2.0','id':1,'result':{}}");
    bench_send(0, "{'jsonrpc':'2.0','method':'note','sessionId':'s','params':{'sessionId':'t'}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'note','params':{'sessionId':'t'}}");
    /* They are kept as long as the request is under way: not any number of bytes. */
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','_ext':'%4096s'}", "");
    CLIENT_GETS_ERROR(0, 0, "2", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'jsonrpc':'2.0','method':'note','_ext':'%4096s'}", "");
    WORKER_GETS(2, "{'jsonrpc':'2.0','method':'note'}");
    bench_close();
    open_ready(OWN, 1); /* workers of this bus see them */
    bench_send(0, "{'id':1,'pool':'p','sessionId':'s','method':'m','_ext':0}");
    WORKER_GETS(1, "{'id':1,'pool':'p','sessionId':'s','method':'m','_ext':0}");
    CHECK(bench_reply(1, "{'id':1,'sessionId':'s','result':0}"));
    CLIENT_GETS(0, 1, "{'id':1,'sessionId':'s','result':0}");
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_collisions();
    test_types();
    test_own_ids();
    test_reuse();
    test_answers_nobody_waits_for();
    test_host_ids();
    test_host_ids_and_others();
    test_host_id_used_again_after_cancelling();
    test_ids_counted_alike();
    test_ids_of_cancelled_requests();
    test_late_answer_to_another_client();
    test_remembered_host_ids_are_bounded();
    test_host_ids_that_are_rewritten();
    test_put_back();
    fake_sys_end();
    return check_result();
}
