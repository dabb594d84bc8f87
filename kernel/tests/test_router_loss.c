/* test_router_loss.c - the ends of requests that are nobody's answer: lost workers, failed
 * pools, the stop, clients that leave, no memory. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "router_bench.h"
#include "stdio_bus.h"

static void call(int client, int id, const char *more) {
    bench_send(client, "{'id':%d,'method':'m'%s}", id, more);
}

static void test_lost_worker(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':3}]}", 2);
    bench_ready(1);
    call(0, 1, "");
    call(1, 1, ",'sessionId':'s'");
    CHECK(bench_for_worker(1) && bench_for_worker(1));
    bench_written(1);
    call(0, 2, ""); /* queued in the bus, not written */
    CHECK(bench_for_worker(1) != NULL);
    call(1, 2, ",'sessionId':'s'"); /* waits for this worker */
    call(1, 3, "");                 /* waits for any */
    CHECK_INT(bench.router.sessions.count, 1);
    bench_lost(1);
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_WORKER_EXITED, false);
    CLIENT_GETS(1, 1, "{'jsonrpc':'2.0','id':1,'error':{'code':-32083,'message':'it exited','data':{'source':'stdio_bus',"
                      "'pool':'p','worker':1,'reason':'worker_exited','retryable':false,'exit_code':3,'signal':null,"
                      "'stderr':'last words'}}}");
    CLIENT_GETS_ERROR(0, 1, "2", "'p'", RPC_WORKER_EXITED, true);
    CLIENT_GETS_ERROR(1, 1, "2", "'p'", RPC_WORKER_EXITED, true);
    QUIET();
    CHECK_INT(bench.router.sessions.count, 0);
    CHECK_INT(bench.router.pendings.calls, 1);
    CHECK_INT(bench.targets[1].in_flight, 0);
    bench_ready(1);
    WORKER_GETS(1, "{'id':#,'method':'m'}"); /* only what waited for any worker */
    QUIET();
    bench_close();
}

/* A request of which one byte has been written may have been understood. */
static void test_position(void) {
    bench_open("{'pools':[{'id':'p','command':'c'}]}", 1);
    bench_ready(1);
    call(0, 1, "");
    call(0, 2, "");
    CHECK(bench_for_worker(1) && bench_for_worker(1));
    bench.targets[1].written = strlen("{'id':1,'method':'m'}\n") + 1;
    bench_lost(1);
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_WORKER_EXITED, false);
    CLIENT_GETS_ERROR(0, 1, "2", "'p'", RPC_WORKER_EXITED, false);
    bench_ready(1); /* positions begin again with the next process */
    call(0, 1, "");
    call(0, 2, "");
    CHECK(bench_for_worker(1) && bench_for_worker(1));
    bench.targets[1].written = strlen("{'id':1,'method':'m'}\n");
    bench_lost(1);
    CLIENT_GETS_ERROR(0, 1, "1", "'p'", RPC_WORKER_EXITED, false);
    CLIENT_GETS_ERROR(0, 1, "2", "'p'", RPC_WORKER_EXITED, true);
    bench_close();
}

/* A long stderr is cut at its beginning, between characters. */
static void test_long_stderr(void) {
    bench_open("{'pools':[{'id':'p','command':'c'}]}", 1);
    for (int shift = 0; shift < 4; shift++) {
        char text[8200] = "";
        snprintf(text, sizeof text, "%.*s", shift, "abc");
        for (int i = 0; i < 2000; i++) strcat(text, "\xF0\x9F\x98\x80");
        router_loss_t loss = {.error = RPC_WORKER_EXITED, .message = "gone", .exit_code = -1, .signal = 9, .stderr_tail = text};
        bench_ready(1);
        call(0, 1, "");
        CHECK(bench_for_worker(1) != NULL);
        router_target_lost(&bench.router, &bench.targets[1], &loss); /* the bench checks that the line is UTF-8 */
        const char *answer = bench_for_client(0, 1);
        CHECK(answer && strlen(answer) > 2000 && strlen(answer) < 2400);
        CHECK(answer && strstr(answer, quoted("'exit_code':null,'signal':9,'stderr':'\xF0\x9F\x98\x80")));
    }
    bench_close();
}

static void test_failed_pool(void) {
    bench_open("{'pools':[{'id':'p','command':'c'},{'id':'q','command':'c'}]}", 1);
    bench_ready(2);
    call(0, 1, "");
    bench_send(0, "{'method':'note'}");
    router_pool_failed(&bench.router, &bench.pools[0], "its worker has gone", "no such file");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'error':{'code':-32082,'message':'pool \\'p\\' is unavailable: its worker has "
                      "gone','data':{'source':'stdio_bus','pool':'p','worker':null,'reason':'pool_unavailable',"
                      "'retryable':true,'stderr':'no such file'}}}");
    CHECK_INT(bench.router.routing_errors, 1); /* the notification */
    call(0, 2, "");
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':2,'error':{'code':-32082,*its worker has gone*no such file*}}}");
    CHECK_INT(bench_ingest(0, "{'id':3,'method':'m'}"), STDIO_BUS_ERR_ROUTING);
    call(0, 3, ",'pool':'q'"); /* other pools do not notice */
    CHECK(bench_for_worker(2) != NULL);
    router_pool_failed(&bench.router, &bench.pools[0], "again", "");
    bench_ready(1); /* until one is ready again */
    call(0, 4, "");
    CHECK(bench_for_worker(1) != NULL);
    QUIET();
    bench_close();
}

static void test_stop(void) {
    bench_open("{'pools':[{'id':'p','command':'c','max_in_flight':1}]}", 1);
    bench_ready(1);
    call(0, 1, "");
    call(0, 2, "");
    bench_send(0, "{'method':'note'}");
    CHECK(bench_for_worker(1) != NULL);
    bench.router.stopping = true;
    call(0, 3, "");
    CLIENT_GETS_ERROR(0, 0, "3", "'p'", RPC_STOPPING, true);
    CHECK_INT(bench_ingest(0, "{'id':4,'method':'m'}"), STDIO_BUS_ERR_STATE);
    CHECK(bench_reply(1, "{'id':1,'result':0}")); /* what is under way goes on */
    CLIENT_GETS(0, 1, "{'id':1,'result':0}");
    CHECK(bench_for_worker(1) && bench_for_worker(1));
    call(0, 5, "");
    CLIENT_GETS_ERROR(0, 0, "5", "'p'", RPC_STOPPING, true);
    router_loss_t loss = {.error = RPC_STOPPING, .message = "the bus is stopping", .exit_code = -1, .stderr_tail = ""};
    router_target_lost(&bench.router, &bench.targets[1], &loss);
    CLIENT_GETS_ERROR(0, 1, "2", "'p'", RPC_STOPPING, true);
    bench_close();

    bench_open("{'pools':[{'id':'p','command':'c'}]}", 1);
    call(0, 1, "");
    bench_send(0, "{'method':'note'}");
    bench.router.stopping = true;
    QUIET();
    router_refuse_waiting(&bench.router);
    CLIENT_GETS_ERROR(0, 0, "1", "'p'", RPC_STOPPING, true);
    CHECK_INT(bench.router.routing_errors, 1);
    bench_close();
}

static void test_client_leaves(void) {
    bench_open("{'pools':[{'id':'p','command':'c','protocol':'mcp','max_in_flight':1},"
               "{'id':'q','command':'c','max_in_flight':1}]}", 3);
    bench_ready(1);
    bench_ready(2);
    bench_send(1, "{'jsonrpc':'2.0','id':1,'method':'m','sessionId':'s'}");
    long long id = WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}");
    bench_send(1, "{'jsonrpc':'2.0','id':2,'method':'m','sessionId':'s'}");
    bench_send(2, "{'jsonrpc':'2.0','id':1,'method':'m'}");
    bench_send(1, "{'id':3,'method':'m','pool':'q'}");
    long long other = WORKER_GETS(2, "{'id':#,'method':'m','pool':'q'}");
    bench_send(2, "{'id':3,'method':'m','pool':'q'}");
    bench_remove_client(1);
    /* The worker is told where it can be, and the next one gets its place. */
    CHECK_INT(WORKER_GETS(1, "{'jsonrpc':'2.0','method':'notifications/cancelled','params':{'requestId':#}}"), id);
    WORKER_GETS(1, "{'jsonrpc':'2.0','id':#,'method':'m'}"); /* client 2's: what the one that left had waiting is gone */
    CHECK_INT(bench.router.sessions.count, 0);
    CHECK_INT(bench.router.pendings.calls, 2);
    QUIET(); /* the one without such a word goes on, and keeps its place */
    CHECK(bench_reply(2, "{'id':%lld,'result':0}", other));
    WORKER_GETS(2, "{'id':#,'method':'m','pool':'q'}");
    QUIET();
    bench_add_client(1); /* the same number, a new client: nothing of the old one is known */
    bench_send(1, "{'id':3,'method':'m','pool':'q'}");
    QUIET();
    bench_close();
}

/* Whatever allocation fails, a message is taken or refused, and nothing is left behind. */
static void test_no_memory(const char *config, const char *message, bool ready) {
    for (long n = 1;; n++) {
        bench_open(config, 2);
        if (ready) bench_ready(1);
        fake_sys_fail_allocation(n);
        int code = bench_ingest(1, message, 0);
        bool failed = fake_sys_has_failed();
        fake_sys_fail_allocation(0);
        size_t calls = bench.router.pendings.calls;
        CHECK(calls == (code == STDIO_BUS_OK));
        CHECK(code == STDIO_BUS_OK || code == STDIO_BUS_ERR_EFULL);
        if (code != STDIO_BUS_OK) {
            QUIET();
            CHECK_INT(bench.pools[0].queued, 0);
            CHECK_INT(bench.targets[1].in_flight, 0);
            CHECK_INT(bench_ingest(1, message, 0), STDIO_BUS_OK); /* the next try succeeds */
        }
        while (bench_for_worker(1)) {
        }
        bench_close();
        if (!failed) {
            CHECK_INT(code, STDIO_BUS_OK);
            CHECK(n > 3);
            break;
        }
    }
}

/* Without memory for its text an error still arrives, with code and id. */
static void test_errors_without_memory(void) {
    bench_open("{'pools':[{'id':'p','command':'c'}]}", 1);
    fake_sys_no_memory(true);
    bench_send(0, "{'id':1,'method':'m','pool':'x'}");
    fake_sys_no_memory(false);
    CLIENT_GETS(0, 0, "{'jsonrpc':'2.0','id':1,'error':{'code':-32081,'message':'unknown_pool'*}}");
    bench_close();
}

int main(void) {
    fake_sys_begin();
    test_lost_worker();
    test_position();
    test_long_stderr();
    test_failed_pool();
    test_stop();
    test_client_leaves();
    for (int ready = 0; ready < 2; ready++) {
        test_no_memory("{'pools':[{'id':'p','command':'c'}]}", "{'id':%d,'method':'m','sessionId':'s'}", ready);
        test_no_memory("{'pools':[{'id':'p','command':'c','protocol':'jsonrpc'}]}",
                       "{'jsonrpc':'2.0','id':%d,'method':'m','sessionId':'a session id that is longer than others'}", ready);
    }
    test_errors_without_memory();
    fake_sys_end();
    return check_result();
}
