/* test_router_mcp.c - profile mcp: the handshake and who shares it, progress tokens and
 * cancelling in both directions, what is refused. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char MCP[] = "{'pools':[{'id':'p','command':'c','protocol':'mcp','instances':2}]}";

#define INITIALIZE "{'jsonrpc':'2.0','id':#,'method':'initialize','params':{'protocolVersion':'2025-11-25','capabilities':{},*}}"
#define INITIALIZED "{'jsonrpc':'2.0','method':'notifications/initialized'}"

static void open_ready(int clients) {
    bench_open(MCP, clients);
    bench_ready(1);
}

static void test_handshake(void) {
    bench_open(MCP, 2);
    /* Requests wait, handshakes of clients too; their notification goes nowhere. */
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'initialize','params':{}}");
    bench_send(1, "{'jsonrpc':'2.0','id':'h','method':'initialize','params':{}}");
    bench_send(0, "{'jsonrpc':'2.0','method':'notifications/initialized'}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'tools/list'}");
    QUIET();
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    long long id = WORKER_GETS(1, INITIALIZE);
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'tools':{},'n':1}}", id));
    WORKER_GETS(1, INITIALIZED);
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'result':{'tools':{},'n':1}}");
    CLIENT_GETS(1, 0, "{'jsonrpc':'2.0','id':'h','result':{'tools':{},'n':1}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'tools/list'}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'again':1}}", id)); /* twice: dropped */
    CHECK_INT(bench.router.routing_errors, 1);

    /* The first result is kept, whatever a second worker says. */
    CHECK(router_begin_handshake(&bench.router, &bench.targets[2]));
    id = WORKER_GETS(2, INITIALIZE);
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'n':2}}", id));
    WORKER_GETS(2, INITIALIZED);
    bench_send(1, "{'jsonrpc':'2.0','id':3,'method':'initialize'}");
    CLIENT_GETS(1, 0, "{'jsonrpc':'2.0','id':3,'result':{'tools':{},'n':1}}");
    CHECK_INT(bench.handshakes, 2);
    CHECK_INT(bench.router.pendings.calls, 1);
    bench_close();
}

static void test_handshake_that_fails(void) {
    bench_open(MCP, 1);
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    long long id = WORKER_GETS(1, INITIALIZE);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-1,'message':'no'}}", id));
    CHECK_STR(bench.handshake_error, quoted("it answered the handshake with the error {'code':-1,'message':'no'}"));
    CHECK(!bench.targets[1].ready);
    QUIET();

    bench.handshake_error[0] = '\0'; /* an error that has to be cut */
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    id = WORKER_GETS(1, INITIALIZE);
    char text[700] = "";
    for (int i = 0; i < 200; i++) strcat(text, "\xE2\x82\xAC");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-1,'message':'%s'}}", id, text));
    buffer_t clean;
    buffer_init(&clean, 4096);
    CHECK(buffer_text(&clean, bench.handshake_error, strlen(bench.handshake_error)));
    CHECK_TEXT(buffer_bytes(&clean), clean.len, bench.handshake_error);
    buffer_free(&clean);

    bench.full[1] = true; /* it cannot be sent */
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    CHECK_STR(bench.handshake_error, "there is no memory for its handshake");
    CHECK(list_first(&bench.targets[1].asks) == NULL);
    bench.full[1] = false;

    CHECK(router_begin_handshake(&bench.router, &bench.targets[1])); /* lost on the way */
    id = WORKER_GETS(1, INITIALIZE);
    bench_lost(1);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CHECK_INT(bench.handshakes, 0);
    bench_close();
}

static void test_configured_handshake(void) {
    bench_open("{'pools':[{'id':'p','command':'c','protocol':'jsonrpc','handshake':{'request':{'method':'he\\u006clo',"
               "'params':{'v':1}},'notification':{'method':'go','params':{'w':2}}}}]}", 1);
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'hello','params':{'v':1}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':7}", id));
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'go','params':{'w':2}}");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'hello'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'result':7}");
    bench_send(0, "{'jsonrpc':'2.0','method':'go'}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'go'}"); /* a request of that name is a request */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'go'}");
    bench_close();
}

static void test_progress(void) {
    open_ready(2);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m','params':{'_meta':{'progressToken':'t'},'x':1}}");
    bench_send(1, "{'jsonrpc':'2.0','id':1,'method':'m','params':{'_meta':{'other':1,'progressToken': 't' }}}");
    long long a = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'_meta':{'progressToken':#},'x':1}}");
    long long b = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'_meta':{'other':1,'progressToken': # }}}");
    CHECK(a != b);
    const char *progress = "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':%lld,'progress':1}}";
    CHECK(bench_reply(1, progress, b));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':'t','progress':1}}");
    CHECK(bench_reply(1, progress, a));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':'t','progress':1}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':0}", a));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':0}");
    CHECK(bench_reply(1, progress, a)); /* late: nowhere */
    CHECK(bench_reply(1, progress, 12345LL));
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':'t'}}"));
    bench_ready(2);
    CHECK(bench_reply(2, progress, b)); /* not this worker's */
    CHECK_INT(bench.router.routing_errors, 4);
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','params':{'_meta':{'progressToken':{}}}}");
    CLIENT_GETS_ERROR(0, 0, "2", "null", RPC_INVALID_REQUEST, false);
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','params':{'progressToken':7}}"); /* not a token */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'progressToken':7}}");
    bench_close();
}

static void test_client_cancels(void) {
    open_ready(2);
    bench_send(0, "{'jsonrpc':'2.0','id':'x','method':'m'}");
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':'x'}}"); /* not its own */
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':'x','reason':'r'}}");
    CHECK_INT(WORKER_GETS(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':#}}"), id);
    CLIENT_GETS_ERROR(0, 1, "'x'", "'p'", RPC_CANCELLED, false);
    uint64_t errors = bench.router.routing_errors;
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':0}", id));
    bench_send(0, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':'x'}}"); /* too late */
    CHECK_INT(bench.router.routing_errors, errors + 2);
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','id':'y','method':'m'}");
    id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':'y'}}"); /* the same in the bus's words */
    CHECK_INT(WORKER_GETS(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':#}}"), id);
    CLIENT_GETS_ERROR(0, 1, "'y'", "'p'", RPC_CANCELLED, false);
    CHECK_INT(bench.router.pendings.calls, 0);
    CHECK_INT(bench.targets[1].in_flight, 0);

    /* A request gets an answer, whatever its method is called. */
    bench_send(0, "{'jsonrpc':'2.0','id':'z','method':'notifications/cancelled','params':{'requestId':'x'}}");
    id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'notifications/cancelled','params':{'requestId':'x'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32601,'message':'no'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':'z','error':{'code':-32601,'message':'no'}}");
    bench_close();
}

static void test_worker_cancels(void) {
    open_ready(1);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':'s-1','method':'sampling/createMessage','params':{}}"));
    long long ask = CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'sampling/createMessage','params':{}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':'s-2'}}"));
    CHECK_INT(bench.router.routing_errors, 1);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':'s-1','reason':'r'}}"));
    CHECK_INT(CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':#,'reason':'r'}}"),
              ask);
    bench_send(0, "{'jsonrpc':'2.0','id':%lld,'result':{}}", ask); /* too late */
    CHECK_INT(bench.router.routing_errors, 2);
    QUIET();
    CHECK_INT(bench.targets[1].ask_count, 0);
    bench_close();
}

static void test_refused(void) {
    open_ready(1);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'server/discover'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'error':{'code':-32601,*server/discover*}}");
    bench_send(0, "{'jsonrpc':'2.0','method':'server/discover'}"); /* no request: passed on */
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'server/discover'}");
    QUIET();
    bench_close();
}

/* A worker's request with a token: progress of the client goes to that worker, whoever else uses
 * the same token. */
static void test_progress_of_the_client(void) {
    static const char ask[] = "{'jsonrpc':'2.0','id':0,'method':'sampling/createMessage','params':{'_meta':{'progressToken':'t'}}}";
    static const char asked[] =
        "{'jsonrpc':'2.0','id':#,'method':'sampling/createMessage','params':{'_meta':{'progressToken':#}}}";
#define PROGRESS "{'jsonrpc':'2.0','method':'notifications/progress','pool':'p','params':{'progressToken':%lld,'progress':1}}"
    long long token[3];
    open_ready(2);
    bench_ready(2);
    for (int worker = 1; worker <= 2; worker++) {
        bench_send(0, "{'jsonrpc':'2.0','id':%d,'method':'m'}", worker);
        WORKER_GETS(worker, "{'jsonrpc':'2.0','id':#,'method':'m'}");
        CHECK(bench_reply(worker, "%s", ask));
        token[worker] = CLIENT_GETS(0, worker, asked);
    }
    CHECK(token[1] != token[2]);
    for (int worker = 2; worker >= 1; worker--) {
        bench_send(0, PROGRESS, token[worker]);
        WORKER_GETS(worker, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':'t','progress':1}}");
    }
    /* What a strict worker would take for noise does not reach it. */
    bench_send(0, "{'method':'notifications/progress','params':{'progressToken':%lld},'result':1}", token[1]);
    CLIENT_GETS_ERROR(0, 0, "null", "null", RPC_INVALID_REQUEST, false);
    CHECK(!bench_for_worker(1) && !bench_for_worker(2));
    /* Not from another client: it is no more than a notification with a token of its own. */
    bench_send(1, PROGRESS, token[1]);
    const char *line = bench_for_worker(1);
    if (!line) line = bench_for_worker(2);
    CHECK_INT(CHECK_LIKE(line, quoted("{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':#,'progress':1}}")),
              token[1]);
    bench_close();
}

/* A strict worker would meet anything else than a clean answer with silence. */
static void test_answers_of_the_client_are_clean(void) {
    static const struct {
        const char *from_client, *for_worker;
    } answers[] = {
        {"{'id':%lld,'result':{'x':1},'extra':1}", "{'jsonrpc':'2.0','id':0,'result':{'x':1}}"},
        {"{'jsonrpc':'2.0','id':%lld,'result':{},'error':null,'pool':'p'}", "{'jsonrpc':'2.0','id':0,'result':{}}"},
        {"{'jsonrpc':'2.0','id':%lld,'result':null}", "{'jsonrpc':'2.0','id':0,'result':null}"},
        {"{'jsonrpc':'2.0','id':%lld,'result':null,'error':{'code':1,'message':''}}",
         "{'jsonrpc':'2.0','id':0,'error':{'code':1,'message':''}}"},
    };
    open_ready(1);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':0,'method':'roots/list'}"));
        bench_send(0, answers[i].from_client, CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'roots/list'}"));
        WORKER_GETS(1, answers[i].for_worker);
    }
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','result':1}");
    CLIENT_GETS_ERROR(0, 0, "2", "null", RPC_INVALID_REQUEST, false);
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_handshake();
    test_handshake_that_fails();
    test_configured_handshake();
    test_progress();
    test_client_cancels();
    test_worker_cancels();
    test_refused();
    test_progress_of_the_client();
    test_answers_of_the_client_are_clean();
    fake_sys_end();
    return check_result();
}
