/* test_worker.c - traffic with real processes: noise, lines beyond the limit, stderr, large
 * messages and many, workers that do not read, pauses. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_internal.h"
#include "fake_sys.h"
#include "host.h"
#include "worker.h"

#define SMALL "{'pools':[{'id':'p','command':'SELF','args':['work']}],'limits':{'max_input_buffer':1024}}"
#define PLAIN "{'pools':[{'id':'p','command':'SELF','args':['work']}]}"

static int in_log(const char *text) {
    int count = 0;
    for (const char *at = host.log; (at = strstr(at, text)); at++) count++;
    return count;
}

static void test_noise(void) {
    host_open(PLAIN);
    for (int i = 1; i <= 2; i++) {
        host_ingest("{'id':%d,'method':'noise'}", i);
        HOST_GETS("{'jsonrpc':'2.0','id':#,'result':*}");
    }
    CHECK_INT(in_log("skipped on its stdout"), 2); /* once per burst */
    CHECK_INT(in_log("no JSON-RPC message: this is no JSON"), 2);
    host_close();
}

static void test_too_long(void) {
    host_open(SMALL);
    host_ingest("{'id':1,'method':'long'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32086,'message':'*longer than 1024 bytes (limits.max_input_buffer)',*}}");
    host_ingest("{'id':2,'method':'echo'}"); /* the worker lives on */
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    CHECK_STR(host_events(), " started:1");
    host_ingest("{'id':3,'method':'longlost'}"); /* nobody knows what it answers */
    HOST_GETS("{'jsonrpc':'2.0','id':3,'error':{'code':-32083,*names no request*}}");
    CHECK_STR(host_events(), " restarting:1");
    host_close();
}

static void test_twice_and_late(void) {
    stdio_bus_stats_t stats;
    host_open(PLAIN);
    host_ingest("{'id':1,'method':'twice'}");
    host_ingest("{'id':2,'method':'hang'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    host_feed(0, "{'method':'stdio_bus/cancel','params':{'id':2}}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32087,*}}");
    host_ingest("{'id':3,'method':'late'}");
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':*}");
    CHECK_INT(host_messages(), 0);
    stdio_bus_get_stats(host.bus, &stats);
    CHECK_INT(stats.routing_errors, 2);
    CHECK_INT(stats.messages_in, 4);
    CHECK_INT(stats.messages_out, 3);
    host_close();
}

static void test_stderr(void) {
    char expected[64 * 8] = "";
    for (int i = 36; i < 100; i++) sprintf(expected + strlen(expected), "%sline %d", i > 36 ? "\n" : "", i);
    host_open(PLAIN);
    host_ingest("{'id':1,'method':'errors'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    UNTIL(host_logged("stderr: line 99"));
    CHECK(host_logged("pool \"p\" worker 1: stderr: line 0\n"));
    host_ingest("{'id':2,'method':'kill'}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32083,*line 99'}}}");
    CHECK_STR(host.stderr_tail, expected); /* the last 64 */
    host_close();
}

static void test_questions(void) {
    host_open(PLAIN);
    host_ingest("{'id':1,'method':'ask'}");
    int ask = (int)HOST_GETS("{'jsonrpc':'2.0','id':#,'method':'question'}");
    CHECK_INT(host_ingest("{'id':%d,'result':42}", ask), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'asked':true}}");
    host_close();
}

#define BIG (20u * 1024 * 1024)

/* Far more than a pipe holds, there and back, also when the bus may not block. */
static void test_big_message(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],'limits':{'max_input_buffer':30000000}}");
    char *text = malloc(BIG + 1);
    memset(text, ' ', BIG);
    memcpy(text, quoted("{'id':1,'method':'big'"), 22);
    text[BIG - 1] = '}';
    CHECK_INT(stdio_bus_ingest(host.bus, text, BIG), STDIO_BUS_OK);
    const char *answer = host_message();
    REQUIRE(answer != NULL);
    CHECK_INT(strlen(answer), BIG);
    CHECK_LIKE(answer + BIG - 20, quoted("*'size':20971520}}"));
    free(text);
    stdio_bus_worker_info_t info;
    stdio_bus_get_workers(host.bus, &info, 1);
    CHECK_INT(info.bytes_in, BIG + 1);
    CHECK_INT(info.bytes_out, BIG + 1);
    host_close();
}

static void test_many_messages(void) {
    enum { COUNT = 3000 };
    static char text[COUNT * 40], seen[COUNT];
    size_t len = 0;
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2,'max_in_flight':50,'max_queue':3000}]}");
    for (int i = 0; i < COUNT; i++) len += (size_t)sprintf(text + len, "{\"id\":%d,\"method\":\"echo\"}\n", i);
    CHECK_INT(stdio_bus_feed(host.bus, 0, text, len), STDIO_BUS_OK);
    for (int i = 0; i < COUNT; i++) {
        long long id = CHECK_LIKE(host_message(), quoted("{'jsonrpc':'2.0','id':#,'result':{*}}"));
        if (CHECK(id >= 0 && id < COUNT)) CHECK_INT(seen[id]++, 0);
    }
    host_close();
}

/* One that has been served keeps nothing; the next one writes with the same memory. */
static void test_memory_for_writing_goes_from_one_to_the_next(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2}]}");
    const supervisor_t *supervisor = &host.bus->supervisor;
    char *first = NULL;
    for (int i = 1; i <= 4; i++) {
        host_ingest("{'id':%d,'method':'echo'}", i);
        HOST_GETS("{'jsonrpc':'2.0','id':#,'result':*}");
        for (size_t k = 0; k < supervisor->worker_count; k++) CHECK(!supervisor->workers[k]->outbox.data);
        if (!first) first = supervisor->shared.spare.data;
        CHECK(first && supervisor->shared.spare.data == first);
    }
    host_close();
}

/* While a worker does not read, others take what it would have got; and then it is one of them again. */
static void test_worker_that_reads_late(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2}],"
              "'limits':{'max_output_queue':200000,'max_input_buffer':100000}}");
    stdio_bus_worker_info_t workers[2];
    UNTIL(stdio_bus_worker_count(host.bus) == 2);
    host_ingest("{'id':'s','method':'echo','sessionId':'s'}");
    HOST_GETS("{'jsonrpc':'2.0','id':'s','result':*}");
    int stopped = host_message_worker, taken = 0;
    stdio_bus_get_workers(host.bus, workers, 2);
    kill(workers[stopped - 1].pid, SIGSTOP);
    while (host_ingest("{'method':'%0*d','sessionId':'s'}", 3000, 0) == STDIO_BUS_OK && taken < 1000) taken++;
    CHECK(taken >= 60 && taken < 200);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(host_ingest("{'id':%d,'method':'echo'}", i), STDIO_BUS_OK);
        HOST_GETS("{'jsonrpc':'2.0','id':#,'result':*}");
        CHECK_INT(host_message_worker, 3 - stopped);
    }
    kill(workers[stopped - 1].pid, SIGCONT);
    do { /* in turn, as soon as it has read what it had to */
        CHECK_INT(host_ingest("{'id':1,'method':'echo'}"), STDIO_BUS_OK);
        HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    } while (host_message_worker != stopped);
    host_close();
}

/* A worker that reads nothing: its queue grows to the limit, nobody waits, others go on. */
static void test_worker_that_does_not_read(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work']},{'id':'q','command':'SELF','args':['work']}],"
              "'limits':{'max_output_queue':200000,'max_input_buffer':100000}}");
    host_ingest("{'id':'x','method':'mute'}"); /* it will be killed, but not before time is up */
    char filler[4000];
    memset(filler, 'f', sizeof filler);
    int taken = 0, code = STDIO_BUS_OK;
    while (code == STDIO_BUS_OK && taken < 1000) {
        code = host_ingest("{'id':%d,'method':'%.3000s'}", taken, filler);
        taken += code == STDIO_BUS_OK;
    }
    CHECK_INT(code, STDIO_BUS_ERR_EFULL);
    CHECK(taken >= 60 && taken < 200);
    host_ingest("{'id':'y','method':'echo','pool':'q'}");
    HOST_GETS("{'jsonrpc':'2.0','id':'y','result':*}");
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    fake_sys_advance(1000);
    int written = 0, unwritten = 0;
    for (int i = 0; i < taken + 1; i++) { /* only what was in the pipe can have been read */
        const char *message = host_message();
        CHECK_LIKE(message, quoted("{*'code':-32083,*}"));
        if (message && strstr(message, "\"retryable\":true")) unwritten++;
        else written++;
    }
    CHECK(written >= 1 && unwritten >= 10);
    host_close();
}

static void test_pause(void) {
    host_open(PLAIN);
    host_ingest("{'id':1,'method':'errors'}");
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_pause_worker(host.bus, 2), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_resume_worker(host.bus, 0), STDIO_BUS_ERR_ENOTFOUND);
    UNTIL(host_logged("stderr: line 99")); /* it is at work, and will answer */
    struct pollfd fd = {.fd = stdio_bus_get_poll_fd(host.bus), .events = POLLIN};
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(poll(&fd, 1, 0), 0);
    CHECK_INT(host_messages(), 0);
    CHECK_INT(stdio_bus_resume_worker(host.bus, 1), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    /* A further request ends a pause, and while several are out there is none. */
    host_ingest("{'id':2,'method':'hang'}");
    host_feed(0, "{'jsonrpc':'2.0','method':'stdio_bus/pause','params':{'worker':1}}\n");
    host_ingest("{'id':3,'method':'late'}");
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_ERR_EAGAIN);
    CHECK_LIKE(host_message(), "*result*");
    CHECK_LIKE(host_message(), "*result*");
    host_close();
}

/* A start is not held up; and what was held of one process is not of the next. */
static void test_pause_of_a_process(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'protocol':'mcp'}]}");
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_ERR_EAGAIN);
    UNTIL(strstr(host.events, "started:1"));
    host_close();
    host_open("{'pools':[{'id':'p','command':'sh','args':['-c','echo {\\\\\\'method\\\\\\':\\\\\\'up\\\\\\'}; exec sleep 60']}]}");
    HOST_GETS("{'method':'up'}");
    stdio_bus_worker_info_t info;
    CHECK_INT(stdio_bus_get_workers(host.bus, &info, 1), 1);
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_OK);
    CHECK_INT(kill(info.pid, SIGKILL), 0);
    HOST_GETS("{'method':'up'}");
    host_destroy();
}

/* What a paused worker has answered is not waited for until the time of a stop is up. */
static void test_pause_ends_with_a_stop(void) {
    host_open(PLAIN);
    host_ingest("{'id':1,'method':'errors'}");
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_OK);
    UNTIL(host_logged("stderr: line 99"));
    CHECK_INT(stdio_bus_stop(host.bus, 1000), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_close();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_noise();
    test_too_long();
    test_twice_and_late();
    test_stderr();
    test_questions();
    test_big_message();
    test_many_messages();
    test_memory_for_writing_goes_from_one_to_the_next();
    test_worker_that_reads_late();
    test_worker_that_does_not_read();
    test_pause();
    test_pause_of_a_process();
    test_pause_ends_with_a_stop();
    fake_sys_end();
    return check_result();
}
