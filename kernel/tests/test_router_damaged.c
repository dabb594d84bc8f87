/* test_router_damaged.c - answers that are no JSON-RPC end their requests; what looks like them does
 * not; over-long lines whose method stands at the end are no answers. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char ONE[] = "{'pools':[{'id':'p','command':'c','protocol':'jsonrpc','max_in_flight':1}]}";
static const char HANDSHAKE[] = "{'pools':[{'id':'p','command':'c','protocol':'mcp'}]}";

static long long call(int id) {
    bench_send(0, "{'jsonrpc':'2.0','id':%d,'method':'m'}", id);
    return WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
}

static const char *deep(void) {
    static char text[2 * (JSON_MAX_DEPTH + 10) + 1];
    memset(text, '[', JSON_MAX_DEPTH + 10);
    memset(text + JSON_MAX_DEPTH + 10, ']', JSON_MAX_DEPTH + 10);
    return text;
}

static void test_spoiled_answers(void) {
    char nested[2048], last[2048];
    snprintf(nested, sizeof nested, "{'jsonrpc':'2.0','id':%%lld,'result':%s}", deep());
    snprintf(last, sizeof last, "{'result':%s,'id':%%lld}", deep());
    const char *const answers[] = {
        nested,
        last,
        "{'jsonrpc':'2.0','id':%lld,'result':NaN}",
        "{'jsonrpc':'2.0','id':%lld,'result':'\xFF'}",
        "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'a','sessionId':'a'}}",
        "{'jsonrpc':'2.0','id':%lld,'result':{'cut':",
        "{'jsonrpc':'2.0','id':%lld}",
        "{'result':nil,'jsonrpc':'2.0','id':%lld}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        bench_open(ONE, 1);
        bench_ready(1);
        long long id = call(1);
        bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m'}"); /* waits for its turn */
        char line[4096];
        snprintf(line, sizeof line, answers[i], id);
        CHECK(!bench_reply(1, "%s", line)); /* noise, all the same */
        CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_ANSWER_INVALID, false);
        WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
        CHECK(!bench_reply(1, "%s", line)); /* twice */
        QUIET();
        bench_close();
    }
}

/* A log may have ids of its own, and what has a method is no answer. */
static void test_noise(void) {
    static const char *const noise[] = {
        "{'id':%lld,'level':'info','msg':'started'}",
        "{'id':%lld,'level':'info','msg':'cut",
        "{'msg':NaN,'id':%lld}",
        "{'jsonrpc':'2.0','method':'n','id':%lld,'params':NaN}",
        "{'result':NaN,'method':'n','id':%lld}",
        "[{'jsonrpc':'2.0','id':%lld,'result':0}]",
        "'jsonrpc':'2.0','id':%lld,'result':0}",
        "{'jsonrpc':'2.0','id':%lld777,'result':NaN}",
    };
    bench_open(ONE, 1);
    bench_ready(1);
    long long id = call(1);
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) {
        char line[256];
        snprintf(line, sizeof line, noise[i], id);
        CHECK(!bench_reply(1, "%s", line));
        QUIET();
    }
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':0}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':0}");
    bench_close();
}

static void test_spoiled_handshake(void) {
    bench_open(HANDSHAKE, 1);
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'initialize',*}");
    CHECK(!bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':NaN}", id));
    CHECK_LIKE(bench.handshake_error, "its answer to the handshake is no JSON-RPC: *");
    bench_close();
}

#define HALF 64

/* The head and the tail of a line, as they are kept of one that is too long. */
static line_t cut(const char *text) {
    return (line_t){.text = text, .len = HALF, .tail = text + strlen(text) - HALF, .tail_len = HALF};
}

static void test_method_at_the_end(void) {
    char text[512], filler[200];
    memset(filler, 'x', sizeof filler);
    bench_open(ONE, 1);
    bench_ready(1);
    long long id = call(1);
    snprintf(text, sizeof text, "{'params':'%.*s','method':'ask','id':%lld}", (int)sizeof filler, filler, id);
    line_t line = cut(quoted(text));
    CHECK(router_worker_too_long(&bench.router, &bench.targets[1], &line)); /* a request of the worker's own */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'error':{'code':-32600,'message':'the request is too long'}}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'method':'ask'}", id));
    long long ask = CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'ask'}");
    snprintf(text, sizeof text, "{'params':'%.*s','method':'m','id':%lld}", (int)sizeof filler, filler, ask);
    line = cut(quoted(text));
    router_client_too_long(&bench.router, &bench.clients[0], &line); /* a request, no answer to that */
    char number[24];
    snprintf(number, sizeof number, "%lld", ask);
    CLIENT_GETS_ERROR(0, 0, number, "null", RPC_INVALID_REQUEST, false);
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','id':%lld,'result':0}", ask);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'result':0}");
    bench_close();
}

/* The bus's own methods stay on their side, however they are written. */
static void test_control_with_escapes(void) {
    bench_open(ONE, 1);
    bench_ready(1);
    CHECK(!bench_reply(1, "{'jsonrpc':'2.0','method':'stdio_bus\\/to_worker'}"));
    CHECK(!bench_reply(1, "{'jsonrpc':'2.0','method':'\\u0073tdio_bus/status'}"));
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'stdio_bus\\/ping'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'result':{}}");
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_spoiled_answers();
    test_noise();
    test_spoiled_handshake();
    test_method_at_the_end();
    test_control_with_escapes();
    fake_sys_end();
    return check_result();
}
