/* test_router_routing.c - which pool and worker a message goes to, and what is refused. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char TWO_POOLS[] = "{'pools':[{'id':'a','command':'c'},{'id':'b','command':'c','protocol':'jsonrpc'}]}";

static void open_two_pools(void) {
    bench_open(TWO_POOLS, 2);
    bench_ready(1);
    bench_ready(2);
}

static void test_choice_of_pool(void) {
    open_two_pools();
    bench_send(0, "{'id':1,'method':'m'}"); /* the first */
    WORKER_GETS(1, "{'id':1,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','pool':'b'}"); /* the one named */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':3,'method':'b'}"); /* the one of that name */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'b'}");
    bench_send(0, "{'id':4,'method':'b','pool':'a'}"); /* named goes first */
    WORKER_GETS(1, "{'id':4,'method':'b','pool':'a'}");
    bench_send(0, "{'jsonrpc':'2.0','id':5,'method':'m','pool':'b','sessionId':'s'}");
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':6,'method':'m','sessionId':'s'}"); /* the session's */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(1, "{'id':6,'method':'m','sessionId':'s'}"); /* another client's session of that name */
    WORKER_GETS(1, "{'id':#,'method':'m','sessionId':'s'}");
    bench.clients[1].default_pool = &bench.pools[1];
    bench_send(1, "{'jsonrpc':'2.0','id':7,'method':'m'}"); /* the client's own default */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','method':'note','p\\u006fol':'\\u0062'}");
    WORKER_GETS(2, "{'jsonrpc':'2.0','method':'note'}");
    QUIET();
    bench_send(0, "{'id':8,'method':'m','pool':'c'}"); /* never a silent default */
    CLIENT_GETS_ERROR(0, 0, "8", "null", RPC_UNKNOWN_POOL, false);
    bench_send(0, "{'id':8,'method':'m','pool':7}");
    CLIENT_GETS_ERROR(0, 0, "8", "null", RPC_UNKNOWN_POOL, false);
    bench_send(0, "{'method':'note','pool':'c'}"); /* a notification has no answer */
    CHECK_INT(bench.router.routing_errors, 1);
    CHECK_INT(bench_ingest(0, "{'id':9,'method':'m','pool':'c'}"), STDIO_BUS_ERR_ROUTING);
    CHECK_INT(bench_ingest(0, "{'method':'m','pool':'c'}"), STDIO_BUS_ERR_ROUTING);
    bench_close();
}

static void test_balance(void) {
    bench_open("{'pools':[{'id':'a','command':'c','instances':3}]}", 1);
    for (int i = 1; i <= 3; i++) bench_ready(i);
    for (int i = 0; i < 3; i++) bench_send(0, "{'id':%d,'method':'m'}", i);
    WORKER_GETS(1, "{'id':#,'method':'m'}");
    WORKER_GETS(2, "{'id':#,'method':'m'}");
    long long id = WORKER_GETS(3, "{'id':#,'method':'m'}");
    bench_reply(3, "{'id':%lld,'result':0}", id);
    CLIENT_GETS(0, 3, "{'id':#,'result':0}");
    bench_send(0, "{'id':10,'method':'m'}"); /* the one with the fewest */
    WORKER_GETS(3, "{'id':10,'method':'m'}");
    for (int i = 0; i < 3; i++) bench_send(0, "{'id':%d,'method':'m','sessionId':'s'}", 20 + i);
    int stays = 0;
    for (int worker = 1; worker <= 3; worker++) {
        int got = 0;
        while (bench_for_worker(worker)) got++;
        stays += got == 3;
        CHECK(got == 0 || got == 3);
    }
    CHECK_INT(stays, 1);
    bench_close();
}

/* What is wrong, and what the client is told. */
static void test_refusals(void) {
    static const struct {
        const char *text, *id;
        rpc_error_t error;
        const char *message; /* a part of it */
    } cases[] = {
        {"", "null", RPC_PARSE_ERROR, "ends too early"},
        {"hello", "null", RPC_PARSE_ERROR, "unexpected character (at byte 0)"},
        {"{'id':7,'method':'m',}", "7", RPC_PARSE_ERROR, "(at byte 21)"},
        {"{'method':'m','id':'x','params':{]}", "\"x\"", RPC_PARSE_ERROR, "expected a key"},
        {"{'method':'m','params':{],'id':1}", "null", RPC_PARSE_ERROR, "expected a key"},
        {"[{'id':1,'method':'m'}]", "null", RPC_INVALID_REQUEST, "must be one JSON object"},
        {"7", "null", RPC_INVALID_REQUEST, "must be one JSON object"},
        {"{'id':1,'id':2,'method':'m'}", "1", RPC_INVALID_REQUEST, "stands twice"},
        {"{}", "null", RPC_INVALID_REQUEST, "not a JSON-RPC message"},
        {"{'id':1}", "1", RPC_INVALID_REQUEST, "not a JSON-RPC message"},
        {"{'result':1}", "null", RPC_INVALID_REQUEST, "not a JSON-RPC message"},
        {"{'id':{},'method':'m'}", "null", RPC_INVALID_REQUEST, "must be a string or a number"},
        {"{'id':[1],'method':'m'}", "null", RPC_INVALID_REQUEST, "must be a string or a number"},
        {"{'id':true,'method':'m'}", "null", RPC_INVALID_REQUEST, "must be a string or a number"},
        {"{'id':{},'method':'m',}", "null", RPC_INVALID_REQUEST, "must be a string or a number"},
        {"{'id':1,'method':7}", "1", RPC_INVALID_REQUEST, "must be a string"},
        {"{'method':null}", "null", RPC_INVALID_REQUEST, "must be a string"},
        {"{'id':1,'method':'m','sessionId':7}", "1", RPC_INVALID_REQUEST, "must be a string of 1 to 1024 bytes"},
        {"{'id':1,'method':'m','sessionId':''}", "1", RPC_INVALID_REQUEST, "must be a string of 1 to 1024 bytes"},
        {"{'id':1,'method':'m','sessionId':null}", "1", RPC_INVALID_REQUEST, "must be a string of 1 to 1024 bytes"},
        {"{'id':1,'method':'m','pool':'b'}", "1", RPC_INVALID_REQUEST, "must be '2.0'"},
        {"{'id':1,'method':'m','pool':'b','jsonrpc':'1.0'}", "1", RPC_INVALID_REQUEST, "must be '2.0'"},
        {"{'id':1,'method':'m','pool':'b','jsonrpc':2.0}", "1", RPC_INVALID_REQUEST, "must be '2.0'"},
        {"{'jsonrpc':'2.0','id':1,'method':'m','pool':'b','extra':1}", "1", RPC_INVALID_REQUEST,
         "unknown top-level field 'extra'"},
        {"{'jsonrpc':'2.0','id':1,'method':'m','pool':'b','params':7}", "1", RPC_INVALID_REQUEST,
         "must be an object or an array"},
        {"{'jsonrpc':'2.0','method':'m','pool':'b','extra':1}", "null", RPC_INVALID_REQUEST, "unknown top-level"},
    };
    open_two_pools();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(bench_ingest(0, "%s", cases[i].text), STDIO_BUS_ERR_INVALID);
        bench_send(0, "%s", cases[i].text);
        const char *answer = bench_for_client(0, 0);
        char message[128], *to = message;
        for (const char *c = cases[i].message; *c; c++) { /* as it stands in JSON */
            if (*c == '\'') *to++ = '\\';
            *to++ = *c == '\'' ? '"' : *c;
        }
        *to = '\0';
        CHECK_LIKE(answer, bench_error(cases[i].id, "null", 0, cases[i].error, false));
        if (!CHECK(answer && strstr(answer, message))) fprintf(stderr, "  of: %s\n  %s\n", cases[i].text, answer);
    }
    QUIET();
    CHECK_INT(bench.router.pendings.calls, 0);
    bench_close();
}

static void test_long_ids(void) {
    char id[1200], session[1200];
    memset(id, 'x', sizeof id);
    memset(session, 's', sizeof session);
    open_two_pools();
    bench_send(0, "{'id':'%.1022s','method':'m'}", id);
    CHECK(bench_for_worker(1) != NULL);
    bench_send(0, "{'id':'%.1023s','method':'m'}", id);
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'id':1,'method':'m','sessionId':'%.1024s'}", session);
    CHECK(bench_for_worker(1) != NULL);
    bench_send(0, "{'id':2,'method':'m','sessionId':'%.1025s'}", session);
    CLIENT_GETS_ERROR(0, 0, "2", "null", RPC_INVALID_REQUEST, false);
    CHECK_INT(bench.router.sessions.count, 1);
    bench_close();
}

/* Over-long quotations of the client's text are cut, and stay UTF-8. */
static void test_long_names(void) {
    open_two_pools();
    for (int shift = 0; shift < 3; shift++) {
        char name[700] = "";
        snprintf(name, sizeof name, "%.*s", shift, "ab");
        for (int i = 0; i < 200; i++) strcat(name, "\xE2\x82\xAC");
        bench_send(0, "{'id':1,'method':'m','pool':'%s'}", name);
        CLIENT_GETS_ERROR(0, 0, "1", "null", RPC_UNKNOWN_POOL, false);
        bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m','pool':'b','%s':1}", name);
        CLIENT_GETS_ERROR(0, 0, "1", "null", RPC_INVALID_REQUEST, false);
        bench_send(0, "{'id':1,'method':'stdio_bus/%s'}", name);
        CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,*}}");
    }
    bench_close();
}

static void test_control(void) {
    open_two_pools();
    bench_send(0, "{'jsonrpc':'2.0','id':'p','method':'stdio_bus/ping'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':'p','result':{}}");
    bench_send(1, "{'jsonrpc':'2.0','id':null,'method':'stdio_bus/ping','pool':'nowhere'}");
    CLIENT_GETS(1, 0, "{'jsonrpc':'2.0','id':null,'result':{}}");
    bench_send(0, "{'id':1,'method':'stdio_bus/frobnicate'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,*'source':'stdio_bus',*}}}");
    bench_send(0, "{'method':'stdio_bus/frobnicate'}");
    bench_send(0, "{'id':1,'method':'stdio_bus/cancel','params':{'id':1}}");
    CLIENT_GETS_ERROR(0, 0, "1", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'method':'stdio_bus/cancel','params':{}}");
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'method':'stdio_bus/cancel','params':{'id':77}}"); /* nothing of that id */
    CHECK_INT(bench.router.routing_errors, 1);
    bench_send(0, "{'id':2,'method':'stdio_busy'}"); /* not the bus's name space */
    WORKER_GETS(1, "{'id':2,'method':'stdio_busy'}");
    QUIET();
    bench_close();
}

static void test_counts(void) {
    open_two_pools();
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m'}"), STDIO_BUS_OK);
    CHECK_INT(bench_ingest(0, "{'id':1,'method':'m'}"), STDIO_BUS_ERR_INVALID);
    CHECK_INT(bench.router.messages_in, 1);
    CHECK_INT(bench.router.bytes_in, 21);
    WORKER_GETS(1, "{'id':1,'method':'m'}");
    CHECK(bench_reply(1, "{'id':1,'result':7}"));
    CLIENT_GETS(0, 1, "{'id':1,'result':7}");
    CHECK_INT(bench.router.messages_out, 1);
    CHECK_INT(bench.router.bytes_out, 19);
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_choice_of_pool();
    test_balance();
    test_refusals();
    test_long_ids();
    test_long_names();
    test_control();
    test_counts();
    fake_sys_end();
    return check_result();
}
