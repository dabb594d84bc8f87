/* test_torture.c - a whole life of a bus, with clients inside and outside, pools that grow and
 * are restarted, again and again: each time another allocation, another system call, another
 * descriptor cannot be had.  It must neither crash nor hang nor leak, and every request is
 * answered, unless the failure itself was reported. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"

static const char CONFIG[] =
    "{'pools':[{'id':'p','command':'SELF','args':['work'],'max_in_flight':1},"
    "{'id':'q','command':'SELF','args':['work'],'protocol':'mcp','env':{'A':'1'}}],'limits':{'max_restarts':2}}";

static char folder[] = "/tmp/stdio_bus.XXXXXX", path[64];

/* Requests that are due an answer, and answers so far. */
static int due, answers;

/* The client outside: its socket, what it has got, and whether its connection has ended. */
static int outside = -1, outside_due, outside_answers;
static bool outside_ended;

static void outside_knock(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    outside = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    outside_ended = outside < 0 || connect(outside, (struct sockaddr *)&address, sizeof address) < 0;
}

static void outside_says(const char *text, int requests) {
    const char *lines = quoted(text);
    if (outside_ended || send(outside, lines, strlen(lines), MSG_NOSIGNAL) < 0) return;
    outside_due += requests;
}

static void outside_hears(void) {
    char text[4096];
    ssize_t n;
    if (outside_ended) return;
    while ((n = read(outside, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++) outside_answers += text[i] == '\n';
    outside_ended = n == 0 || errno != EAGAIN;
}

static void count_answers(void) {
    outside_hears();
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
        int handled = stdio_bus_step(host.bus, 5);
        if (handled < 0) CHECK(host.errors > 0);
        count_answers();
        if (i > 10 && i % 5 == 0) fake_sys_advance(100); /* backoff, grace */
    }
    CHECK(settled());
}

static bool nothing_pending(void) {
    return stdio_bus_pending_count(host.bus) == 0 && (outside_ended || outside_answers >= outside_due);
}

/* No worker is about to start or to stop: those that cannot have failed for good. */
static bool workers_settled(void) {
    stdio_bus_worker_info_t workers[8];
    int count = stdio_bus_get_workers(host.bus, workers, 8);
    for (int i = 0; i < count; i++)
        if (workers[i].state != STDIO_BUS_WORKER_READY && workers[i].state != STDIO_BUS_WORKER_FAILED) return false;
    return nothing_pending();
}

static bool stopped(void) {
    return stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED;
}

/* What happens to pools at run time, with requests on the way. */
static void change_pools(void) {
    int grown = stdio_bus_scale_pool(host.bus, "p", 2), restarted = stdio_bus_restart_pool(host.bus, "q");
    CHECK((grown == STDIO_BUS_OK && restarted == STDIO_BUS_OK) || fake_sys_has_failed() || host.errors);
    feed(0, "{'id':6,'method':'echo'}\n{'jsonrpc':'2.0','id':7,'method':'echo','pool':'q'}\n", 2);
    outside_says("{'jsonrpc':'2.0','id':3,'method':'echo','pool':'q','sessionId':'b'}\n", 1);
    settle(workers_settled);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    settle(workers_settled);
}

static void live(void) {
    due = answers = outside_due = outside_answers = 0;
    outside_ended = true;
    host_listens(STDIO_BUS_LISTEN_UNIX, path);
    if (!host_create(CONFIG)) return;
    if (stdio_bus_start(host.bus) == STDIO_BUS_OK) {
        outside_knock();
        outside_says("{'id':1,'method':'echo','sessionId':'a'}\n{'jsonrpc':'2.0','id':2,'method':'stdio_bus/stats'}\n", 2);
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
        change_pools();
        ingest("{'id':5,'method':'echo'}");
        CHECK_INT(stdio_bus_stop(host.bus, 2), STDIO_BUS_OK);
        settle(stopped);
        stdio_bus_step(host.bus, 0);
        count_answers();
        if (!CHECK(answers == due || (host.errors && answers < due)))
            fprintf(stderr, "  %d answers to %d requests\n", answers, due);
        CHECK(outside_ended && outside_answers <= outside_due);
        CHECK_INT(stdio_bus_worker_count(host.bus), 0);
    }
    host_destroy();
    if (outside >= 0) close(outside);
    outside = -1;
    CHECK(access(path, F_OK) < 0);
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
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/bus.sock", folder);
    fake_sys_begin();
    descriptors = fake_sys_open_descriptors();
    live();
    CHECK_INT(due, 9);
    CHECK_INT(answers, 9);
    CHECK_INT(outside_due, 3);
    CHECK_INT(outside_answers, 3);
    CHECK_INT(host.errors, 0);
    test_each("allocations", fake_sys_fail_allocation, 60);
    test_each("system calls", fake_sys_fail_call, 30);
    test_no_memory_for_a_while();
    if (check_under_valgrind()) printf("SKIP descriptors\n");
    else test_descriptors();
    fake_sys_end();
    CHECK_INT(rmdir(folder), 0);
    return check_result();
}
