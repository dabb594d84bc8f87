/* test_router_stateless.c - profile mcp-stateless: subscriptions of many clients on one
 * server, requests that go on where another ended, tokens, cancelling. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static const char STATELESS[] =
    "{'pools':[{'id':'p','command':'c','protocol':'mcp-stateless','instances':2}],'limits':{'max_sessions':3}}";

#define SUBSCRIPTION "'_meta':{'io.modelcontextprotocol/subscriptionId':%s}"

static void open_ready(int clients, int workers) {
    bench_open(STATELESS, clients);
    for (int worker = 1; worker <= workers; worker++) {
        bench_ready(worker);
        QUIET(); /* nothing is said before the first request */
    }
}

static long long listen(int client, const char *id) {
    bench_send(client, "{'jsonrpc':'2.0','id':%s,'method':'subscriptions/listen','params':{}}", id);
    return WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'subscriptions/listen','params':{}}");
}

/* The worker says this with its id of the subscription; the client hears it with its own. */
static const char *with_subscription(const char *format, const char *id) {
    static char line[512];
    snprintf(line, sizeof line, format, id, id);
    return line;
}

static const char *number(long long id) {
    static char text[24];
    snprintf(text, sizeof text, "%lld", id);
    return text;
}

static void test_subscriptions(void) {
    static const char changed[] = "{'jsonrpc':'2.0','method':'notifications/tools/list_changed','params':{" SUBSCRIPTION "}}";
    static const char ended[] = "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':%s," SUBSCRIPTION "}}";
    open_ready(3, 1);
    long long a = listen(0, "1"), b = listen(1, "1"), c = listen(2, "'c'");
    CHECK(bench_reply(1, "%s", with_subscription(changed, number(b))));
    CLIENT_GETS(1, 1, with_subscription(changed, "1"));
    CHECK(bench_reply(1, "%s", with_subscription(changed, number(c))));
    CLIENT_GETS(2, 1, with_subscription(changed, "'c'"));
    QUIET(); /* nobody else */

    /* Its result carries the id as well, and ends it. */
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{" SUBSCRIPTION "}}", a, number(a)));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':1,'result':{'_meta':{'io.modelcontextprotocol/subscriptionId':1}}}");
    CHECK(bench_reply(1, "%s", with_subscription(changed, number(a))));
    CHECK_INT(bench.router.routing_errors, 1);

    CHECK(bench_reply(1, "%s", with_subscription(ended, number(c)))); /* the server ends it */
    CLIENT_GETS(2, 1, with_subscription(ended, "'c'"));
    CLIENT_GETS_ERROR(2, 1, "'c'", "'p'", RPC_CANCELLED, false);
    CHECK(bench_reply(1, "%s", with_subscription(ended, number(c))));
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", c));
    CHECK_INT(bench.router.routing_errors, 3);

    bench_send(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':1}}"); /* the client does */
    CHECK_INT(WORKER_GETS(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':#}}"), b);
    CLIENT_GETS_ERROR(1, 1, "1", "'p'", RPC_CANCELLED, false);
    static const char *const nobody[] = {"'x'", "{}", "0", "77777"};
    for (int i = 0; i < 4; i++) CHECK(bench_reply(1, "%s", with_subscription(changed, nobody[i])));
    CHECK_INT(bench.router.routing_errors, 7);
    QUIET();
    CHECK_INT(bench.targets[1].in_flight, 0);
    bench_close();
}

/* What a client says of its subscription reaches the worker under the worker's id. */
static void test_subscription_named_by_the_client(void) {
    open_ready(2, 1);
    long long id = listen(1, "'s'");
    bench_send(1, "{'jsonrpc':'2.0','method':'n','params':{" SUBSCRIPTION "}}", "'s'");
    CHECK_INT(WORKER_GETS(1, "{'jsonrpc':'2.0','method':'n','params':{'_meta':{'io.modelcontextprotocol/subscriptionId':#}}}"), id);
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m','params':{" SUBSCRIPTION "}}", number(id)); /* not its own */
    CLIENT_GETS_ERROR(0, 0, "2", "null", RPC_INVALID_REQUEST, false);
    bench_close();
}

static void test_progress(void) {
    open_ready(2, 1);
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m','params':{'_meta':{'progressToken':'t'}}}");
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'_meta':{'progressToken':#}}}");
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':%lld}}", id));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','method':'notifications/progress','params':{'progressToken':'t'}}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'server/discover'}"); /* servers of this era serve it */
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'server/discover'}");
    bench_close();
}

/* A request whose answer asks for more, with a state to come back with. */
static void issue_state(int client, int worker, const char *state) {
    bench_send(client, "{'jsonrpc':'2.0','id':'first','method':'m'}");
    long long id = WORKER_GETS(worker, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    CHECK(bench_reply(worker, "{'jsonrpc':'2.0','id':%lld,'result':{'resultType':'input_required','requestState':%s}}", id, state));
    CHECK(bench_for_client(client, worker) != NULL);
}

static int worker_for_state(int client, const char *state) {
    static int id = 100;
    bench_send(client, "{'jsonrpc':'2.0','id':%d,'method':'m','params':{'requestState':%s}}", ++id, state);
    for (int worker = 1; worker <= 2; worker++) {
        const char *line = bench_for_worker(worker);
        if (!line) continue;
        long long wire = CHECK_LIKE(line, quoted("{'jsonrpc':'2.0','id':#,'method':'m','params':{'requestState':*}}"));
        CHECK(bench_reply(worker, "{'jsonrpc':'2.0','id':%lld,'result':{}}", wire));
        CHECK(bench_for_client(client, worker) != NULL);
        return worker;
    }
    return 0;
}

static void test_request_state(void) {
    open_ready(2, 2);
    issue_state(0, 1, "'a\xC3\xA9/'");
    issue_state(0, 2, "'b'");
    for (int i = 0; i < 3; i++) {
        CHECK_INT(worker_for_state(0, "'a\\u00e9\\/'"), 1); /* the same, however it is written */
        CHECK_INT(worker_for_state(0, "'b'"), 2);
    }
    CHECK_INT(bench.router.sessions.count, 2);
    char state[3000];
    memset(state, 'x', sizeof state);
    state[0] = state[2990] = '\'';
    state[2991] = '\0';
    while (worker_for_state(0, "'unknown'") != 2) continue;
    issue_state(0, 1, state);
    for (int i = 0; i < 3; i++) CHECK_INT(worker_for_state(0, state), 1);
    CHECK_INT(bench.router.sessions.count, 3);

    /* Only for the client that it was issued to. */
    CHECK(worker_for_state(1, state) != worker_for_state(1, state));

    /* As many are remembered as there may be sessions: that of a is the oldest now. */
    while (worker_for_state(0, "'unknown'") != 2) continue;
    CHECK_INT(worker_for_state(0, "'b'"), 2);
    while (worker_for_state(0, "'unknown'") != 2) continue;
    issue_state(0, 1, "'c'");
    CHECK_INT(bench.router.sessions.count, 3);
    CHECK(worker_for_state(0, "'a\xC3\xA9/'") != worker_for_state(0, "'a\xC3\xA9/'"));
    CHECK_INT(worker_for_state(0, "'b'"), 2);

    static const char *const none[] = {"7", "null", "{}"};
    for (int i = 0; i < 3; i++) CHECK(worker_for_state(0, none[i]) != 0);
    bench_lost(1);
    CHECK_INT(bench.router.sessions.count, 1);
    CHECK_INT(worker_for_state(0, "'c'"), 2); /* what becomes of it is for the server to say */
    CHECK_INT(bench.router.routing_errors, 0);
    bench_close();
}

/* The state's worker, though another has less to do, and though the session is elsewhere. */
static void test_request_state_and_queue(void) {
    bench_open("{'pools':[{'id':'p','command':'c','protocol':'mcp-stateless','instances':2,'max_in_flight':1}]}", 1);
    bench_ready(1);
    bench_ready(2);
    issue_state(0, 1, "'a'");
    bench_send(0, "{'jsonrpc':'2.0','id':1,'method':'m','sessionId':'s'}");
    long long two = WORKER_GETS(2, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':2,'method':'m'}");
    long long one = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(0, "{'jsonrpc':'2.0','id':3,'method':'m','sessionId':'s','params':{'requestState':'a'}}");
    CHECK(bench_reply(2, "{'jsonrpc':'2.0','id':%lld,'result':{}}", two));
    CLIENT_GETS(0, 2, "{'jsonrpc':'2.0','id':1,'result':{}}");
    QUIET();
    CHECK(bench_reply(1, "{'jsonrpc':'2.0','id':%lld,'result':{}}", one));
    CLIENT_GETS(0, 1, "{'jsonrpc':'2.0','id':2,'result':{}}");
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m','params':{'requestState':'a'}}");
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_subscriptions();
    test_subscription_named_by_the_client();
    test_progress();
    test_request_state();
    test_request_state_and_queue();
    fake_sys_end();
    return check_result();
}
