/* test_router_acp.c - profile acp: whose session it is, by what name the agent knows it,
 * prompts that are cancelled, and who answers the agent's questions. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char ACP[] = "{'pools':[{'id':'p','command':'c','protocol':'acp','instances':2}]}";
static const char ONE_AT_A_TIME[] = "{'pools':[{'id':'p','command':'c','protocol':'acp','max_in_flight':1}]}";

static void open_ready(const char *config, int clients, int workers) {
    bench_open(config, clients);
    for (int worker = 1; worker <= workers; worker++) bench_ready(worker);
}

/* The client asks for a session and the agent, this worker, calls it so. */
static void make_session(int client, int worker, const char *session) {
    bench_send(client, "{'jsonrpc':'2.0','id':'new','method':'session/new','params':{'cwd':'/'}}");
    long long id = WORKER_GETS(worker, "{'jsonrpc':'2.0','id':#,'method':'session/new','params':{'cwd':'/'}}");
    CHECK(bench_reply(worker, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'%s'}}", id, session));
    char answer[128];
    snprintf(answer, sizeof answer, "{'jsonrpc':'2.0','id':'new','result':{'sessionId':'%s'}}", session);
    CLIENT_GETS(client, worker, answer);
}

static void send_prompt(int client, int id, const char *session) {
    bench_send(client, "{'jsonrpc':'2.0','id':%d,'method':'session/prompt','params':{'sessionId':'%s','prompt':[]}}", id,
               session);
}

/* The worker has the prompt, under this name of the session; its id there. */
static long long prompt_on(int worker, const char *session) {
    char line[160];
    snprintf(line, sizeof line,
             "{'jsonrpc':'2.0','id':#,'method':'session/prompt','params':{'sessionId':'%s','prompt':[]}}", session);
    return WORKER_GETS(worker, line);
}

static void test_handshake(void) {
    bench_open(ACP, 2);
    bench_send(1, "{'jsonrpc':'2.0','id':7,'method':'initialize','params':{'protocolVersion':1}}");
    CHECK(router_begin_handshake(&bench.router, &bench.targets[1]));
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'initialize','params':"
                                  "{'protocolVersion':1,'clientCapabilities':{}}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'protocolVersion':1,'agentCapabilities':{}}}", id));
    CHECK_INT(bench.handshakes, 1); /* no notification follows */
    CLIENT_GETS(1, 0, "{'jsonrpc':'2.0','id':7,'result':{'protocolVersion':1,'agentCapabilities':{}}}");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'initialize'}");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'result':{'protocolVersion':1,'agentCapabilities':{}}}");
    bench_close();
}

static void test_learned(void) {
    open_ready(ACP, 2, 2);
    make_session(0, 1, "a");
    make_session(1, 2, "b");
    make_session(1, 1, "c");
    CHECK_INT(bench.router.sessions.count, 3);
    send_prompt(0, 1, "a"); /* each stays with the agent that made it */
    send_prompt(1, 1, "b");
    send_prompt(1, 2, "\\u0063");
    prompt_on(1, "a");
    prompt_on(2, "b");
    prompt_on(1, "\\u0063");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a','update':{}}}"));
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'c','update':{}}}"));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a','update':{}}}");
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'c','update':{}}}");
    /* One that nobody has is for nobody but the host. */
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'b'}}"));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'b'}}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'hello'}")); /* of no session: for all */
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'hello'}");
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','method':'hello'}");
    /* A session made anew by its own client is the same one. */
    make_session(1, 2, "b");
    CHECK_INT(bench.router.sessions.count, 3);
    CHECK_INT(bench.router.routing_errors, 0);
    bench_lost(1);
    CHECK_INT(bench.router.sessions.count, 1);
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_WORKER_EXITED, true);
    CLIENT_GETS_ERROR(1, 1, "2", "'p'", RPC_WORKER_EXITED, true);
    bench_close();
}

/* What names no new session teaches none. */
static void test_not_learned(void) {
    open_ready(ACP, 2, 1);
    static const char *const results[] = {"{'sessionId':7}", "{'sessionId':null}", "{}", "[]", "'x'", "{'_meta':{'sessionId':'x'}}"};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'session/new'}");
        long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/new'}");
        CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':%s}", id, results[i]));
        CHECK(bench_for_client(0, 1) != NULL);
    }
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'session/list'}");
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/list'}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'x'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':{'sessionId':'x'}}");
    CHECK_INT(bench.router.routing_errors, 0);
    char session[1200]; /* too long, or empty: it cannot be kept */
    memset(session, 's', sizeof session);
    for (int len = 0; len < 2000; len += 1025) {
        bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'session/new'}");
        id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/new'}");
        CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'%.*s'}}", id, len, session));
        CHECK(bench_for_client(0, 1) != NULL);
    }
    CHECK_INT(bench.router.routing_errors, 2);
    CHECK_INT(bench.router.sessions.count, 0);
    bench_close();
}

static void test_claimed_by_another(void) {
    open_ready(ACP, 3, 1);
    make_session(0, 1, "a");
    send_prompt(1, 1, "a"); /* never the other client's session */
    long long id = prompt_on(1, "a~1");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a~1'}}"));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':0,'method':'fs/read_text_file','params':{'sessionId':'a~1'}}"));
    long long ask = CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':#,'method':'fs/read_text_file','params':{'sessionId':'a'}}");
    bench_send(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", ask);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':0,'result':{}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32002,'message':'no'}}", id));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32002,'message':'no'}}");
    bench_send(1, "{'jsonrpc':'2.0','id':1,'method':'session/load','params':{'sessionId':'a'}}");
    id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/load','params':{'sessionId':'a~1'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'a~1'}}", id)); /* so be it */
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':1,'result':{'sessionId':'a'}}");
    send_prompt(0, 1, "a");
    prompt_on(1, "a");
    bench_close();
}

/* What the agent calls a session is its name, whoever has claimed that name before. */
static void test_claimed_too_early(void) {
    open_ready(ONE_AT_A_TIME, 2, 1);
    send_prompt(1, 1, "a");
    long long id = prompt_on(1, "a");
    send_prompt(1, 2, "a"); /* waits */
    bench_send(1, "{'jsonrpc':'2.0','method':'session/set','params':{'sessionId':'a'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32002,'message':'no'}}", id));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32002,'message':'no'}}");
    id = prompt_on(1, "a");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/set','params':{'sessionId':'a'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':'new','method':'session/new'}");
    send_prompt(1, 3, "a");
    bench_send(1, "{'jsonrpc':'2.0','method':'session/set','params':{'sessionId':'a'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32002,'message':'no'}}", id));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':2,'error':{'code':-32002,'message':'no'}}");
    id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/new'}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'a'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':'new','result':{'sessionId':'a'}}");
    id = prompt_on(1, "a~1"); /* what waited goes by the new name */
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/set','params':{'sessionId':'a~1'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':3,'result':{}}");
    send_prompt(0, 1, "a");
    prompt_on(1, "a");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a'}}"));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'a'}}");
    CHECK_INT(bench.router.routing_errors, 0);
    bench_close();
}

static void test_affinity(void) {
    open_ready(ACP, 1, 2);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'authenticate','sessionId':'conversation'}");
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'authenticate'}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':{}}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'session/new','sessionId':'conversation'}");
    id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/new'}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'a'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':2,'result':{'sessionId':'a'}}");
    for (int i = 3; i < 6; i++) {
        bench_send(0, "{'jsonrpc':'2.0','id':%d,'method':'m','sessionId':'other','params':{'sessionId':'a'}}", i);
        WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'sessionId':'a'}}");
    }
    CHECK_INT(bench.router.sessions.count, 2);
    static const char *const wrong[] = {"7", "null", "''", "{}"};
    for (int i = 0; i < 4; i++) {
        bench_send(0, "{'jsonrpc':'2.0','id':9,'method':'m','params':{'sessionId':%s}}", wrong[i]);
        const char *answer = bench_for_client(0, 0);
        CHECK_LIKE(answer, bench_error("9", "null", 0, RPC_INVALID_REQUEST, false));
        CHECK(answer && strstr(answer, "params.sessionId"));
    }
    bench_close();
}

/* params.sessionId finds the pool, too, but only one whose sessions are named there. */
static void test_choice_of_pool(void) {
    bench_open("{'pools':[{'id':'own','command':'c'},{'id':'plain','command':'c','protocol':'jsonrpc'},"
               "{'id':'agent','command':'c','protocol':'acp'}]}", 1);
    bench_ready(1);
    bench_ready(2);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m','pool':'agent','params':{'sessionId':'w'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','params':{'sessionId':'w'}}"); /* waits with it */
    bench_ready(3);
    WORKER_GETS(3, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'sessionId':'w'}}");
    WORKER_GETS(3, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'sessionId':'w'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':3,'method':'m','pool':'plain','sessionId':'w'}");
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':4,'method':'m','params':{'sessionId':'w'}}");
    WORKER_GETS(3, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'sessionId':'w'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':5,'method':'m','sessionId':'w','params':{'sessionId':'w'}}"); /* the last one bound */
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'sessionId':'w'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':6,'method':'m','pool':'plain','sessionId':'v'}");
    WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'id':7,'method':'m','params':{'sessionId':'v'}}");
    WORKER_GETS(1, "{'id':7,'method':'m','params':{'sessionId':'v'}}");
    bench_send(0, "{'id':8,'method':'m','params':{'sessionId':8}}"); /* another pool's business */
    WORKER_GETS(1, "{'id':8,'method':'m','params':{'sessionId':8}}");
    bench_close();
}

static void test_client_cancels(void) {
    open_ready(ACP, 2, 1);
    make_session(0, 1, "a\\\"b");
    send_prompt(0, 1, "a\\\"b");
    long long id = prompt_on(1, "a\\\"b");
    bench_send(0, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a\\\"b'}}"); /* by the protocol */
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a\\\"b'}}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'stopReason':'cancelled'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':{'stopReason':'cancelled'}}");

    send_prompt(0, 2, "a\\\"b"); /* in the bus's words */
    id = prompt_on(1, "a\\\"b");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':2}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a\\\"b'}}");
    CLIENT_GETS_ERROR(0, 1, "2", "'p'", RPC_CANCELLED, false);
    CHECK_INT(bench.targets[1].in_flight, 1); /* it has its hands full until it answers */
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'stopReason':'cancelled'}}", id));
    CHECK_INT(bench.targets[1].in_flight, 0);
    CHECK_INT(bench.router.routing_errors, 1);
    QUIET();

    bench_send(0, "{'jsonrpc':'2.0','id':3,'method':'authenticate'}"); /* nothing to tell the agent */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'authenticate'}");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':3}}");
    CLIENT_GETS_ERROR(0, 1, "3", "'p'", RPC_CANCELLED, false);
    bench_send(0, "{'jsonrpc':'2.0','id':4,'method':'session/prompt','sessionId':'s'}"); /* nor here */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/prompt'}");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':4}}");
    CLIENT_GETS_ERROR(0, 1, "4", "'p'", RPC_CANCELLED, false);
    CHECK_INT(bench.targets[1].in_flight, 0);

    send_prompt(1, 1, "a\\\"b"); /* a client that leaves */
    prompt_on(1, "a\\\"b~1");
    bench_remove_client(1);
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a\\\"b~1'}}");
    bench_close();
}

/* However many prompts a client gives up, it takes no more than a share of all the requests there are. */
static void test_prompts_given_up(void) {
    open_ready(ACP, 1, 1);
    for (int i = 0; i < 5000; i++) {
        send_prompt(0, 1, "a");
        prompt_on(1, "a");
        bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}");
        WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a'}}");
        CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_CANCELLED, false);
    }
    CHECK_INT(bench.router.pendings.count, 4096);
    CHECK_INT(bench.targets[1].in_flight, 4096);
    bench_lost(1);
    CHECK_INT(bench.router.pendings.count, 0);
    bench_close();
}

/* A session that has nothing to wait for but a prompt given up leaves a worker that retires. */
static void test_prompt_given_up_on_a_retiring_worker(void) {
    open_ready(ACP, 1, 2);
    send_prompt(0, 1, "a");
    prompt_on(1, "a");
    router_retire(&bench.router, &bench.targets[1]);
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a'}}");
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_CANCELLED, false);
    send_prompt(0, 2, "a");
    prompt_on(2, "a");
    bench_close();
}

static void test_cancel_and_queue(void) {
    open_ready(ONE_AT_A_TIME, 2, 1);
    make_session(0, 1, "a");
    make_session(1, 1, "b");
    send_prompt(0, 1, "a");
    send_prompt(1, 1, "b");
    long long id = prompt_on(1, "a");
    bench_send(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'b'}}"); /* waits behind its prompt */
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a'}}"); /* does not */
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'a'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':{}}");
    id = prompt_on(1, "b");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'b'}}");
    send_prompt(0, 2, "a");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':2}}"); /* never sent */
    CLIENT_GETS_ERROR(0, 0, "2", "'p'", RPC_CANCELLED, true);
    send_prompt(0, 3, "a");
    bench_send(1, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':1}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'b'}}");
    CLIENT_GETS_ERROR(1, 1, "1", "'p'", RPC_CANCELLED, false);
    QUIET(); /* no room until the late answer has come */
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    prompt_on(1, "a");
    bench_close();
}

static void test_agent_asks(void) {
    open_ready(ACP, 2, 1);
    make_session(0, 1, "a");
    make_session(1, 1, "b");
    send_prompt(0, 1, "a");
    send_prompt(1, 1, "b");
    prompt_on(1, "a");
    prompt_on(1, "b");
    const char *request = "{'jsonrpc':'2.0','id':%d,'method':'session/request_permission','params':{'sessionId':'%s'}}";
    CHECK(bench_reply(1, request, 0, "b"));
    CHECK(bench_reply(1, request, 1, "a"));
    long long b = CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':#,'method':'session/request_permission','params':{'sessionId':'b'}}");
    long long a = CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'session/request_permission','params':{'sessionId':'a'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':%lld,'result':'a'}", a);
    bench_send(1, "{'jsonrpc':'2.0','id':%lld,'result':'b'}", b);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':1,'result':'a'}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':0,'result':'b'}");
    CHECK(bench_reply(1, request, 2, "c")); /* two may be meant: none is asked */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':2,'error':{'code':-32601,*}}");
    bench_close();
}

/* Agents that number their sessions alike: the client tells them apart. */
static void test_same_name_on_two_workers(void) {
    open_ready(ACP, 2, 2);
    make_session(0, 1, "s1");
    bench_send(0, "{'jsonrpc':'2.0','id':'new','method':'session/new','params':{'cwd':'/'}}");
    long long id = WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'session/new','params':{'cwd':'/'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'s1'}}", id));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':'new','result':{'sessionId':'s1@2'}}");
    send_prompt(0, 1, "s1");
    prompt_on(1, "s1");
    send_prompt(0, 2, "s1@2");
    id = prompt_on(2, "s1");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'s1'}}"));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'s1@2'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'s1'}}"));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'s1'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':0,'method':'fs/read_text_file','params':{'sessionId':'s1'}}"));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':#,'method':'fs/read_text_file','params':{'sessionId':'s1@2'}}");
    bench_send(0, "{'jsonrpc':'2.0','method':'stdio_bus/cancel','params':{'id':2}}");
    WORKER_GETS(2, "{'jsonrpc':'2.0','method':'session/cancel','params':{'sessionId':'s1'}}");
    CLIENT_GETS_ERROR(0, 2, "2", "'p'", RPC_CANCELLED, false);

    /* One that another client has claimed on the same worker: both names differ. */
    send_prompt(1, 1, "s2");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    int claimed_on = bench.targets[1].in_flight > bench.targets[2].in_flight ? 1 : 2;
    prompt_on(claimed_on, "s2");
    CHECK_INT(bench.router.sessions.count, 3);
    bench_lost(2); /* then the name is free again */
    bench_close();
}

/* What waits for its worker goes by the name there, too. */
static void test_same_name_and_queue(void) {
    open_ready("{'pools':[{'id':'p','command':'c','protocol':'acp','instances':2,'max_in_flight':1}]}", 1, 2);
    make_session(0, 1, "s1");
    bench_send(0, "{'jsonrpc':'2.0','id':'new','method':'session/new'}");
    long long id = WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'session/new'}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'s1','modes':null}}", id));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':'new','result':{'sessionId':'s1@2','modes':null}}");
    send_prompt(0, 1, "s1@2");
    send_prompt(0, 2, "s1@2");
    id = prompt_on(2, "s1");
    QUIET();
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{}}", id));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':1,'result':{}}");
    prompt_on(2, "s1");
    bench_close();
}

/* However a client spells the name of its session, it never reaches another's. */
static void test_client_writes_escapes(void) {
    static const char NEW[] = "{'jsonrpc':'2.0','id':#,'method':'session/new','params':{'cwd':'/'}}";
    open_ready(ACP, 3, 2);
    make_session(1, 1, "s");
    send_prompt(1, 1, "s"); /* the rest goes to the other worker */
    prompt_on(1, "s");
    bench_send(1, "{'jsonrpc':'2.0','id':2,'method':'session/new','params':{'cwd':'/'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'\\u0073'}}", WORKER_GETS(2, NEW)));
    CLIENT_GETS(1, 2, "{'jsonrpc':'2.0','id':2,'result':{'sessionId':'\\u0073@2'}}");
    make_session(2, 2, "s@2");
    send_prompt(1, 3, "s\\u00402");
    prompt_on(2, "s");
    send_prompt(1, 4, "s@\\u0032");
    prompt_on(2, "s");
    send_prompt(1, 5, "\\u0073\\u0040\\u0032");
    prompt_on(2, "\\u0073");
    send_prompt(2, 1, "s\\u00402"); /* its own, under the very name */
    prompt_on(2, "s\\u00402");
    bench_close();
}

static void test_agent_writes_escapes(void) {
    open_ready(ACP, 2, 1);
    static const struct {
        const char *id, *on_worker, *spelled;
    } names[] = {{"a", "a~1", "a\\u007E1"},
                 {"b", "b~1", "b~\\u0031"},
                 {"\\\\u0031", "\\\\u0031~1", "\\\\u0031\\u007e\\u0031"},
                 {"c\\n", "c\\n~1", "c\\n\\u007e1"},
                 {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80~1", "\xF0\x9F\x98\x80\\u007e1"}};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        make_session(0, 1, names[i].id);
        send_prompt(1, i, names[i].id);
        prompt_on(1, names[i].on_worker);
        const char *update = "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'%s'}}";
        CHECK(bench_reply(1, update, names[i].spelled));
        char expected[128];
        snprintf(expected, sizeof expected, update, names[i].id);
        CLIENT_GETS(1, 1, expected);
    }
    bench_close();
}

static void test_fork(void) {
    open_ready(ACP, 2, 2);
    make_session(0, 1, "a");
    for (int n = 1; n < 3; n++) { /* to the session's worker, whoever has less to do */
        bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'session/fork','params':{'sessionId':'a','cwd':'/'}}");
        long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'session/fork','params':{'sessionId':'a','cwd':'/'}}");
        CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'fork %d'}}", id, n));
        CHECK(bench_for_client(0, 1) != NULL);
    }
    send_prompt(0, 1, "fork 1");
    prompt_on(1, "fork 1");
    send_prompt(0, 2, "fork 2");
    prompt_on(1, "fork 2");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'fork 1'}}"));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'session/update','params':{'sessionId':'fork 1'}}");
    QUIET();
    bench_close();
}

/* Either side asks for an early answer, by its own id; the answer comes all the same. */
static void test_cancel_request(void) {
    open_ready(ONE_AT_A_TIME, 2, 1);
    make_session(0, 1, "a");
    send_prompt(0, 7, "a");
    long long id = prompt_on(1, "a");
    bench_send(1, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':7}}"); /* not its own */
    bench_send(0, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':'7'}}"); /* nor is this */
    CHECK_INT(bench.router.routing_errors, 2);
    QUIET();
    bench_send(0, "{'jsonrpc':'2.0','method':'$/cancel_request','pool':'p','params':{'requestId':7,'_meta':{}}}");
    char expected[160];
    snprintf(expected, sizeof expected, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':%lld,'_meta':{}}}", id);
    WORKER_GETS(1, expected);
    send_prompt(0, 8, "a"); /* one that waits has no other answer than the bus's */
    bench_send(0, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':8}}");
    CLIENT_GETS_ERROR(0, 0, "8", "'p'", RPC_CANCELLED, true);
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':0,'method':'fs/read_text_file','params':{'sessionId':'a'}}"));
    long long ask = CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':#,'method':'fs/read_text_file','params':{'sessionId':'a'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':0}}"));
    snprintf(expected, sizeof expected, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':%lld}}", ask);
    CLIENT_GETS(0, 1, expected);
    bench_send(0, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32800,'message':'cancelled'}}", ask);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':0,'error':{'code':-32800,'message':'cancelled'}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'$/cancel_request','params':{'requestId':0}}")); /* late */
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'error':{'code':-32800,'message':'cancelled'}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':7,'error':{'code':-32800,'message':'cancelled'}}");
    CHECK_INT(bench.router.routing_errors, 3);
    bench_close();
}

/* An answer that names two sessions, when learning the one makes the bus forget the other. */
static void test_learning_forgets_what_is_named(void) {
    static const char NEW[] = "{'jsonrpc':'2.0','id':#,'method':'session/new','params':{'cwd':'/'}}";
    open_ready("{'pools':[{'id':'p','command':'c','protocol':'acp','instances':2}],'limits':{'max_sessions':2}}", 1, 2);
    make_session(0, 1, "abc");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'session/new','params':{'cwd':'/'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'abc'}}", WORKER_GETS(2, NEW)));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':1,'result':{'sessionId':'abc@2'}}");
    send_prompt(0, 2, "abc");
    prompt_on(1, "abc"); /* so that abc@2 is the only idle one */
    bench_send(0, "{'jsonrpc':'2.0','id':3,'method':'session/new','params':{'cwd':'/'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{'sessionId':'new'},'params':{'sessionId':'abc'}}",
                      WORKER_GETS(2, NEW)));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':3,'result':{'sessionId':'new'},'params':{'sessionId':'abc'}}");
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_handshake();
    test_learned();
    test_not_learned();
    test_claimed_by_another();
    test_claimed_too_early();
    test_affinity();
    test_choice_of_pool();
    test_client_cancels();
    test_prompts_given_up();
    test_prompt_given_up_on_a_retiring_worker();
    test_cancel_and_queue();
    test_agent_asks();
    test_same_name_on_two_workers();
    test_same_name_and_queue();
    test_client_writes_escapes();
    test_agent_writes_escapes();
    test_fork();
    test_cancel_request();
    test_learning_forgets_what_is_named();
    fake_sys_end();
    return check_result();
}
