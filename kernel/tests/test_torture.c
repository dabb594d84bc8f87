/* test_torture.c - a whole life of a bus, again and again: each time another allocation,
 * another system call, another descriptor cannot be had.  It must neither crash nor hang nor
 * leak, and every request is answered, unless the failure itself was reported. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"

static const char CONFIG[] =
    "{'pools':[{'id':'p','command':'SELF','args':['work'],'max_in_flight':1},"
    "{'id':'q','command':'SELF','args':['work'],'protocol':'mcp','env':{'A':'1'}}],'limits':{'max_restarts':2}}";

/* Requests that are due an answer, and answers so far. */
static int due, answers;

static void count_answers(void) {
    while (host_messages()) {
        const char *text = host_message();
        if (!strstr(text, "\"method\"")) answers++;
    }
}

static void ingest(const char *text) {
    due += host_ingest("%s", text) == STDIO_BUS_OK;
}

/* What is wrong with a line is answered: every line counts. */
static void feed(int client, const char *text, int requests) {
    const char *lines = quoted(text);
    size_t half = strlen(lines) / 2; /* in two parts: one line is kept in between */
    CHECK_INT(stdio_bus_feed(host.bus, client, lines, half), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_feed(host.bus, client, lines + half, strlen(lines) - half), STDIO_BUS_OK);
    due += requests;
}

/* Steps until nothing is under way, the clock going a little faster than it should.  A step
 * may fail; the next one goes on. */
static void settle(bool (*settled)(void)) {
    host_begin();
    for (int i = 0; !settled() && i < 4000; i++) {
        int handled = stdio_bus_step(host.bus, 10);
        if (handled < 0) CHECK(host.errors > 0);
        count_answers();
        if (i > 20 && i % 10 == 0) fake_sys_advance(100); /* backoff, grace */
    }
    CHECK(settled());
}

static bool nothing_pending(void) {
    return stdio_bus_pending_count(host.bus) == 0;
}

static bool stopped(void) {
    return stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED;
}

static void live(void) {
    due = answers = 0;
    if (!host_create(CONFIG)) return;
    if (stdio_bus_start(host.bus) == STDIO_BUS_OK) {
        ingest("{'id':1,'method':'echo'}");
        ingest("{'jsonrpc':'2.0','id':2,'method':'echo','pool':'q','sessionId':'a'}");
        int client = stdio_bus_client_open(host.bus, "q");
        if (client > 0)
            feed(client,
                 "{'jsonrpc':'2.0','id':1,'method':'echo','sessionId':'a'}\n"
                 "{'jsonrpc':'2.0','id':2,'method':'echo','params':{'_meta':{'progressToken':'a token of some length'}}}\n",
                 2);
        feed(0, "{'id':3,'method':'exit'}\n{'id':4,'method':'echo','sessionId':'a session id that is longer'}\n", 2);
        settle(nothing_pending);
        ingest("{'id':5,'method':'echo'}");
        CHECK_INT(stdio_bus_stop(host.bus, 2), STDIO_BUS_OK);
        settle(stopped);
        stdio_bus_step(host.bus, 0);
        count_answers();
        if (!CHECK(answers == due || (host.errors && answers < due)))
            fprintf(stderr, "  %d answers to %d requests\n", answers, due);
        CHECK_INT(stdio_bus_worker_count(host.bus), 0);
    }
    host_destroy();
}

static int descriptors;

static void check_nothing_left(void) {
    CHECK_INT(fake_sys_live_allocations(), 0);
    CHECK_INT(fake_sys_open_descriptors(), descriptors);
}

static void test_each(const char *what, void (*fail)(long), long at_least) {
    long n = 1;
    for (bool failed = true; failed; n++) {
        fail(n);
        live();
        failed = fake_sys_has_failed();
        fail(0);
        check_nothing_left();
    }
    printf("%ld %s failed in turn\n", n - 2, what);
    CHECK(n > at_least);
}

/* From one allocation on there is no memory for a whole phase. */
static void test_no_memory_for_a_while(void) {
    for (int phase = 0; phase < 4; phase++) {
        due = answers = 0;
        REQUIRE(host_create(CONFIG));
        if (phase == 0) fake_sys_no_memory(true);
        int code = stdio_bus_start(host.bus);
        fake_sys_no_memory(false);
        CHECK(code == STDIO_BUS_OK || code == STDIO_BUS_ERR_WORKER);
        if (code == STDIO_BUS_OK) {
            if (phase == 1) fake_sys_no_memory(true);
            feed(0, "{'id':1,'method':'echo'}\n{'id':2,'method':'echo'}\n", 0);
            if (phase == 2) fake_sys_no_memory(true);
            for (int i = 0; i < 30; i++) stdio_bus_step(host.bus, 10);
            if (phase == 3) fake_sys_no_memory(true);
            CHECK_INT(stdio_bus_stop(host.bus, 1), STDIO_BUS_OK);
            for (int i = 0; i < 30; i++) stdio_bus_step(host.bus, 10);
            fake_sys_no_memory(false);
            settle(stopped);
        }
        host_destroy();
        check_nothing_left();
    }
}

/* So many descriptors may be open and no more. */
static void test_descriptors(void) {
    struct rlimit before, limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int created = 0, started = 0, lowest = dup(0);
    close(lowest);
    for (int more = 0; more < 16; more++) {
        limit = before;
        limit.rlim_cur = (rlim_t)(lowest + more);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        live();
        created += due > 0;
        started += due > 0 && answers == due;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
        check_nothing_left();
    }
    CHECK(created > 0 && created < 16 && started > 0);
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    descriptors = fake_sys_open_descriptors();
    live();
    CHECK_INT(due, 7);
    CHECK_INT(answers, 7);
    CHECK_INT(host.errors, 0);
    test_each("allocations", fake_sys_fail_allocation, 60);
    test_each("system calls", fake_sys_fail_call, 30);
    test_no_memory_for_a_while();
    test_descriptors();
    fake_sys_end();
    return check_result();
}
