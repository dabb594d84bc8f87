/* test_router_worker.c - what workers say on their own: notifications, requests, noise, and
 * lines that are too long. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static void open_ready(int clients) {
    bench_open("{'pools':[{'id':'p','command':'c','instances':2}]}", clients);
    bench_ready(1);
}

static long long call(int client, int id, const char *session) {
    if (*session) bench_send(client, "{'jsonrpc':'2.0','id':%d,'method':'m','sessionId':'%s'}", id, session);
    else bench_send(client, "{'jsonrpc':'2.0','id':%d,'method':'m'}", id);
    return WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'*}");
}

static void test_notifications(void) {
    open_ready(4);
    CHECK(bench_reply(1, "{'method':'n'}")); /* the host always */
    CLIENT_GETS(0, 1, "{'method':'n'}");
    QUIET();
    long long id = call(1, 1, "s");
    call(2, 1, "");
    CHECK(bench_reply(1, "{'method':'n','sessionId':'s'}")); /* the owner only */
    CLIENT_GETS(1, 1, "{'method':'n','sessionId':'s'}");
    QUIET();
    CHECK(bench_reply(1, "{'method':'n'}")); /* all who have to do with the worker, once each */
    for (int i = 0; i < 3; i++) CLIENT_GETS(i, 1, "{'method':'n'}");
    QUIET();
    CHECK(bench_reply(1, "{'id':%lld,'result':0}", id));
    CHECK(bench_for_client(1, 1) != NULL);
    CHECK(bench_reply(1, "{'method':'n'}")); /* the session remains */
    for (int i = 0; i < 3; i++) CLIENT_GETS(i, 1, "{'method':'n'}");
    static const char *const strange[] = {"'other'", "7", "null"};
    for (int i = 0; i < 3; i++) { /* nobody's session: the host may know */
        CHECK(bench_reply(1, "{'method':'n','sessionId':%s}", strange[i]));
        CLIENT_GETS(0, 1, "{'method':'n','sessionId':*}");
        QUIET();
    }
    bench_ready(2);
    CHECK(bench_reply(2, "{'method':'n','sessionId':'s'}")); /* another worker's session */
    CLIENT_GETS(0, 2, "{'method':'n','sessionId':'s'}");
    QUIET();
    bench_close();
}

/* Two clients' sessions of one name are two sessions, for a worker that sees names, too. */
static void test_sessions_of_one_name(void) {
    open_ready(3);
    call(1, 1, "s");
    bench_send(2, "{'id':1,'method':'m','sessionId':'s','params':{'sessionId':'s'}}");
    long long id = WORKER_GETS(1, "{'id':#,'method':'m','sessionId':'s~2','params':{'sessionId':'s'}}");
    CHECK(bench_reply(1, "{'method':'n','sessionId':'s~2'}"));
    CLIENT_GETS(2, 1, "{'method':'n','sessionId':'s'}");
    CHECK(bench_reply(1, "{'method':'n','sessionId':'s'}"));
    CLIENT_GETS(1, 1, "{'method':'n','sessionId':'s'}");
    CHECK(bench_reply(1, "{'id':5,'method':'ask','sessionId':'s~2'}"));
    long long ask = CLIENT_GETS(2, 1, "{'id':#,'method':'ask','sessionId':'s'}");
    bench_send(2, "{'id':%lld,'result':0}", ask);
    WORKER_GETS(1, "{'id':5,'result':0}");
    CHECK(bench_reply(1, "{'sessionId':'s~2','id':%lld,'result':0}", id));
    CLIENT_GETS(2, 1, "{'sessionId':'s','id':1,'result':0}");
    bench_close();
}

/* Nor does a client get the other's conversation by making the bus forget that it is the other's. */
static void test_name_of_a_session_pushed_out(void) {
    bench_open("{'limits':{'max_sessions':2},'pools':[{'id':'p','command':'c'}]}", 3);
    bench_ready(1);
    bench_send(1, "{'method':'n','sessionId':'main'}");
    WORKER_GETS(1, "{'method':'n','sessionId':'main'}");
    bench_send(2, "{'method':'n','sessionId':'x'}");
    bench_send(2, "{'method':'n','sessionId':'y'}");
    WORKER_GETS(1, "{'method':'n','sessionId':'x'}");
    WORKER_GETS(1, "{'method':'n','sessionId':'y'}");
    bench_send(2, "{'method':'n','sessionId':'main'}");
    WORKER_GETS(1, "{'method':'n','sessionId':'main~2'}");
    bench_send(1, "{'method':'n','sessionId':'main'}");
    WORKER_GETS(1, "{'method':'n','sessionId':'main'}");
    bench_close();
}

static void test_requests(void) {
    open_ready(3);
    CHECK(bench_reply(1, "{'id':'w','method':'ask'}")); /* nobody to ask */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':'w','error':{'code':-32601,'message':'no client can be asked'}}");
    call(1, 1, "s");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':'w','method':'ask','params':{}}")); /* the only one */
    long long ask = CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':#,'method':'ask','params':{}}");
    call(2, 1, "");
    CHECK(bench_reply(1, "{'id':8,'method':'ask'}")); /* two: it cannot be told */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':8,'error':{'code':-32601,*}}");
    CHECK(bench_reply(1, "{'id':8,'method':'ask','sessionId':'s'}")); /* the session tells */
    long long other = CLIENT_GETS(1, 1, "{'id':#,'method':'ask','sessionId':'s'}");
    CHECK(ask != other);
    CHECK(bench_reply(1, "{'id':8,'method':'ask','sessionId':'s'}")); /* the same id again: the worker's affair */
    long long third = CLIENT_GETS(1, 1, "{'id':#,'method':'ask','sessionId':'s'}");
    CHECK_INT(bench.targets[1].ask_count, 3);

    bench_send(2, "{'jsonrpc':'2.0','id':%lld,'result':1}", other); /* not asked */
    CHECK_INT(bench.router.routing_errors, 1);
    bench_send(1, "{'jsonrpc':'2.0','pool':'p','id':%lld,'sessionId':'s','result':1}", other);
    WORKER_GETS(1, "{'jsonrpc':'2.0','pool':'p','id':8,'sessionId':'s','result':1}");
    bench_send(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':1,'message':''}}", ask);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':'w','error':{'code':1,'message':''}}");
    bench_send(1, "{'jsonrpc':'2.0','id':%lld,'result':1}", ask); /* twice */
    bench_send(1, "{'jsonrpc':'2.0','id':'%lld','result':1}", third); /* not the id that it was given */
    bench_send(1, "{'jsonrpc':'2.0','id':null,'error':{}}");
    CHECK_INT(bench.router.routing_errors, 4);
    QUIET();
    CHECK_INT(bench.targets[1].ask_count, 1);
    bench_close();
}

/* Without a session it is asked who alone has requests out to the worker: not who has had some,
 * has given them up, or has a session there. */
static void test_who_is_asked(void) {
    open_ready(3);
    call(1, 1, "s");
    call(0, 1, "");
    CHECK(bench_reply(1, "{'id':1,'method':'ask'}"));
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,'message':'no client can be asked'}}");
    bench_send(1, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}");
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':1,'error':{*");
    CHECK(bench_reply(1, "{'id':2,'method':'ask'}"));
    CLIENT_GETS(0, 1, "{'id':#,'method':'ask'}");
    long long second = call(2, 1, "");
    CHECK(bench_reply(1, "{'id':3,'method':'ask'}"));
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':3,'error':{'code':-32601,*}}");
    CHECK(bench_reply(1, "{'id':%lld,'result':0}", second));
    CLIENT_GETS(2, 1, "{'id':1,'result':0}");
    CHECK(bench_reply(1, "{'id':4,'method':'ask'}"));
    CLIENT_GETS(0, 1, "{'id':#,'method':'ask'}");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}");
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'error':{*");
    CHECK(bench_reply(1, "{'id':5,'method':'ask'}")); /* by what the host has given up: nobody else's */
    CLIENT_GETS(0, 1, "{'id':#,'method':'ask'}");
    call(2, 2, "");
    CHECK(bench_reply(1, "{'id':6,'method':'ask'}"));
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':6,'error':{'code':-32601,*}}");
    bench_close();
}

/* Nobody else is asked in the place of a client that has given up or left, or whose session was
 * forgotten. */
static void test_nobody_else_is_asked(void) {
    open_ready(3);
    call(1, 1, "s");
    call(2, 1, "");
    bench_remove_client(1);
    CHECK(bench_reply(1, "{'id':1,'method':'ask','sessionId':'s'}"));
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,*}}");
    QUIET();
    bench_close();
    bench_open("{'pools':[{'id':'p','command':'c','protocol':'jsonrpc','max_in_flight':2}]}", 3);
    bench_ready(1);
    call(1, 1, "");
    call(2, 1, "");
    bench_send(1, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}"); /* the worker goes on with it */
    CLIENT_GETS_ERROR(1, 1, "1", "'p'", RPC_CANCELLED, false);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':1,'method':'ask'}"));
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,*}}");
    QUIET();
    bench_close();
}

/* A strict worker gets answers without routing fields, too. */
static void test_answers_for_strict_workers(void) {
    bench_open("{'pools':[{'id':'p','command':'c','protocol':'jsonrpc'}]}", 1);
    bench_ready(1);
    call(0, 1, "");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':'w','method':'ask'}"));
    long long ask = CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'ask'}");
    bench_send(0, "{'pool':'p','jsonrpc':'2.0','id':%lld,'sessionId':'s','_ext':{},'result':{'pool':1}}", ask);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':'w','result':{'pool':1}}");
    bench_close();
}

/* The worker's question ends when the one who should answer leaves, or the worker does. */
static void test_requests_that_end_early(void) {
    open_ready(2);
    call(1, 1, "s");
    CHECK(bench_reply(1, "{'id':'w','method':'ask'}"));
    CHECK(bench_for_client(1, 1) != NULL);
    bench_remove_client(1);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':'w','error':{'code':-32601,'message':'the client*'}}");
    QUIET();
    call(0, 1, "");
    CHECK(bench_reply(1, "{'id':'w','method':'ask'}"));
    long long ask = CLIENT_GETS(0, 1, "{'id':#,'method':'ask'}");
    bench_lost(1);
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_WORKER_EXITED, true);
    bench_ready(1);
    bench_send(0, "{'jsonrpc':'2.0','id':%lld,'result':1}", ask); /* not to the next process */
    QUIET();
    CHECK_INT(bench.router.routing_errors, 1);
    bench_close();
}

static void test_many_requests(void) {
    open_ready(3);
    call(1, 1, "s");
    call(2, 1, "t");
    int refused = 0;
    for (int i = 0; i < 1100; i++) {
        CHECK(bench_reply(1, "{'id':%d,'method':'ask','sessionId':'s'}", i));
        refused += bench_for_worker(1) != NULL;
        bench_for_client(1, 1);
    }
    CHECK_INT(refused, 1100 - 512);
    CHECK(bench_reply(1, "{'id':1,'method':'ask','sessionId':'t'}")); /* there is room for another client */
    CLIENT_GETS(2, 1, "{'id':#,'method':'ask','sessionId':'t'}");
    bench_close();
}

static void test_noise(void) {
    static const char *const noise[] = {"", "hello", "7", "[]", "{}", "{'id':1}", "{'result':1}", "{'method':7}",
                                        "{'id':1,'method':null}", "{'id':1,'id':1}",
                                        "{'method':'n'", "{'error':{'code':1}}"};
    open_ready(1);
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++)
        if (!CHECK(!bench_reply(1, "%s", noise[i]))) fprintf(stderr, "  of: %s\n", noise[i]);
    QUIET();
    CHECK_INT(bench.router.routing_errors, 0);
    bench_close();
}

/* ---- lines beyond the limit -------------------------------------------------------- */

#define HALF 64 /* bytes of head and tail in these tests */

/* Head and tail of a line, as the line room hands them over. */
static line_t cut(const char *text) {
    line_t line = {.text = text, .len = HALF, .tail = text + strlen(text) - HALF, .tail_len = HALF};
    return line;
}

static bool too_long(int worker, const char *format, long long id) {
    char filler[300], text[1024], line_text[1024];
    memset(filler, 'x', sizeof filler);
    snprintf(text, sizeof text, format, id);
    snprintf(line_text, sizeof line_text, text, (int)sizeof filler, filler);
    line_t line = cut(quoted(line_text));
    return router_worker_too_long(&bench.router, &bench.targets[worker], &line);
}

static void test_too_long_answers(void) {
    static const char *const answers[] = {
        "{'jsonrpc':'2.0','id':%lld,'result':'%%.*s'}",
        "{'jsonrpc':'2.0','result':'%%.*s','id':%lld}",
        "{'result':{'a':'%%.*s'}, 'id' : %lld }",
        "{'result':{'id':99,'b':'%%.*s','c':{'id':99}},'id':%lld,'jsonrpc':'2.0'}",
        "{'result':'%%.*s\\'id\\':99}','id':%lld}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        open_ready(1);
        long long id = call(0, 1, "");
        CHECK(too_long(1, answers[i], id));
        CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_ANSWER_TOO_LONG, false);
        CHECK_INT(bench.targets[1].in_flight, 0);
        CHECK(too_long(1, answers[i], id)); /* twice */
        CHECK_INT(bench.router.routing_errors, 1);
        QUIET();
        bench_close();
    }
    open_ready(1);
    call(0, 1, "");
    CHECK(!too_long(1, "{'result':{'id':1,'b':'%%.*s','c':{'id':1}}%lld}", 1)); /* no id in sight: crashed */
    CHECK(!too_long(1, "%lld no JSON at all: %%.*s", 1));
    QUIET();
    bench_close();
}

/* A number that the end of the head has cut is not the id. */
static void test_id_cut_by_the_head(void) {
    open_ready(1);
    long long id = call(0, 1, "");
    for (int i = 2; i <= 30; i++) call(0, i, "");
    char text[1024];
    int len = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"result\":\"%*s\",\"id\":", HALF - 35, "");
    CHECK_INT(len, HALF - 1);
    snprintf(text + len, sizeof text - (size_t)len, "%lld7,\"more\":\"%0400d\"}", id, 0);
    line_t line = cut(text);
    CHECK(!router_worker_too_long(&bench.router, &bench.targets[1], &line));
    QUIET();
    bench_close();
}

/* What has a method is no answer, whatever its id is. */
static void test_too_long_requests(void) {
    open_ready(1);
    long long id = call(0, 1, "");
    CHECK(too_long(1, "{'method':'n','params':'%%.*s %lld'}", 0));
    QUIET();
    CHECK(too_long(1, "{'method':'ask','params':'%%.*s','id':%lld}", id));
    CHECK(too_long(1, "{'id':%lld,'method':'ask','params':'%%.*s'}", id));
    CHECK(bench_for_client(0, 1) == NULL);
    while (bench_for_worker(1)) { /* the worker may be told */
    }
    CHECK_INT(bench.targets[1].in_flight, 1);
    CHECK(bench_reply(1, "{'id':%lld,'result':0}", id));
    CLIENT_GETS(0, 1, "{'id':1,'result':0}");
    bench_close();
}

static void test_too_long_from_client(void) {
    open_ready(1);
    char text[700];
    snprintf(text, sizeof text, "{\"id\":\"a\",\"method\":\"m\",\"params\":\"%0400d\"}", 0);
    line_t line = cut(text);
    router_client_too_long(&bench.router, &bench.clients[0], &line);
    CLIENT_GETS_ERROR(0, 0, "'a'", "null", RPC_INVALID_REQUEST, false);
    snprintf(text, sizeof text, "{\"method\":\"m\",\"params\":\"%0400d\",\"id\":77}", 0);
    line = cut(text);
    router_client_too_long(&bench.router, &bench.clients[0], &line);
    CLIENT_GETS_ERROR(0, 0, "77", "null", RPC_INVALID_REQUEST, false);
    snprintf(text, sizeof text, "%0400d", 0);
    line = cut(text);
    router_client_too_long(&bench.router, &bench.clients[0], &line);
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    line = (line_t){0}; /* without memory there is neither head nor tail */
    router_client_too_long(&bench.router, &bench.clients[0], &line);
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    snprintf(text, sizeof text, "{\"id\":{\"a\":1},\"params\":\"%0400d\"}", 0); /* no id at all */
    line = cut(text);
    router_client_too_long(&bench.router, &bench.clients[0], &line);
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    bench_close();
}

/* A worker that has asked is told, and the client that answers too much is not: there is no
 * request of its own to fail. */
static void test_too_long_answer_from_client(void) {
    open_ready(2);
    char text[700];
    call(1, 1, "");
    CHECK(bench_reply(1, "{'id':'w','method':'ask'}"));
    long long ask = CLIENT_GETS(1, 1, "{'id':#,'method':'ask'}");
    snprintf(text, sizeof text, "{\"id\":%lld,\"result\":\"%0400d\"}", ask, 0);
    line_t line = cut(text);
    router_client_too_long(&bench.router, &bench.clients[0], &line); /* it was not asked */
    CLIENT_GETS_ERROR(0, 0, "#", "null", RPC_INVALID_REQUEST, false);
    CHECK_INT(bench.targets[1].ask_count, 1);
    router_client_too_long(&bench.router, &bench.clients[1], &line);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':'w','error':{'code':-32601,'message':'the client*s answer is too long'}}");
    CHECK_INT(bench.targets[1].ask_count, 0);
    QUIET();
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_notifications();
    test_sessions_of_one_name();
    test_name_of_a_session_pushed_out();
    test_requests();
    test_who_is_asked();
    test_nobody_else_is_asked();
    test_answers_for_strict_workers();
    test_requests_that_end_early();
    test_many_requests();
    test_noise();
    test_too_long_answers();
    test_id_cut_by_the_head();
    test_too_long_requests();
    test_too_long_from_client();
    test_too_long_answer_from_client();
    fake_sys_end();
    return check_result();
}
