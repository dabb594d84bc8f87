/* test_status.c - the state of a bus as JSON: every number in its place, strange pool ids,
 * and memory that cannot be had. */
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_sys.h"
#include "host.h"
#include "json_scan.h"

#define WORKER(pool, id, state, restarts)                                                                            \
    "{'pool':'" pool "','id':" #id ",'pid':*,'state':'" state "','in_flight':0,'restarts':" #restarts               \
    ",'uptime_ms':*,'bytes_in':*,'bytes_out':*}"

static const char *status(void) {
    static char text[8192];
    int len = stdio_bus_get_status(host.bus, text, sizeof text);
    CHECK_INT(len, strlen(text));
    scan_t scan;
    CHECK_INT(json_scan(text, strlen(text), &scan), SCAN_OK);
    return text;
}

static void test_numbers(void) {
    stdio_bus_stats_t s;
    char expected[1024];
    REQUIRE(host_create("{'pools':[{'id':'p','command':'SELF','args':['work']},"
                        "{'id':'a\\\\\\'\\\\\\\\b','command':'SELF','args':['work'],'instances':2}]}"));
    CHECK_LIKE(status(), quoted("{'state':0,'stats':{'messages_in':0,*},'pending':0,'sessions':0,'clients':0,'workers':[*]}"));
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    host_ingest("{'jsonrpc':'2.0','id':1,'method':'exit'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':*}");
    UNTIL(strstr(host.events, "restarting:1 started:1"));
    host_ingest("{'jsonrpc':'2.0','id':2,'method':'hang','sessionId':'s'}");
    stdio_bus_get_stats(host.bus, &s);
    snprintf(expected, sizeof expected,
             "{'state':2,'stats':{'messages_in':%d,'messages_out':%d,'bytes_in':%d,'bytes_out':%d,'worker_restarts':%d,"
             "'routing_errors':%d,'client_connects':%d,'client_disconnects':%d},'pending':1,'sessions':1,'clients':0,*",
             (int)s.messages_in, (int)s.messages_out, (int)s.bytes_in, (int)s.bytes_out, (int)s.worker_restarts,
             (int)s.routing_errors, (int)s.client_connects, (int)s.client_disconnects);
    CHECK_INT(s.messages_in, 2);
    CHECK_INT(s.worker_restarts, 1);
    CHECK_LIKE(status(), quoted(expected));
    CHECK_LIKE(status(), quoted("*'workers':[{'pool':'p','id':1,'pid':*,'state':'ready','in_flight':1,'restarts':1,*},"
                                WORKER("a\\\\\\'\\\\\\\\b", 2, "ready", 0) "," WORKER("a\\\\\\'\\\\\\\\b", 3, "ready", 0) "]}"));
    CHECK_STR(stdio_bus_worker_state_name(STDIO_BUS_WORKER_FAILED), "failed");
    CHECK_STR(stdio_bus_worker_state_name(99), "unknown");
    host_ingest("{'jsonrpc':'2.0','id':3,'method':'late'}");
    for (int i = 0; i < 2; i++) HOST_GETS("{'jsonrpc':'2.0','id':*,'result':*}");
    host_close();
}

/* All or nothing, whatever stood there before. */
static void test_no_room(void) {
    buffer_t out;
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':3}]}"), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    size_t len = strlen(status()), refused = 0;
    bool ok = false;
    for (size_t max = 3; !ok && max < 2 * len; max++) {
        buffer_init(&out, max);
        CHECK(buffer_puts(&out, "abc"));
        ok = status_write(host.bus, &out);
        if (!ok) CHECK_TEXT(buffer_bytes(&out), out.len, "abc");
        refused += !ok;
        buffer_free(&out);
    }
    CHECK(ok && refused + 16 > len); /* uptimes may have grown by a digit */
    int failed = 0;
    for (long n = 1; n < 10; n++) {
        fake_sys_fail_allocation(n);
        int result = stdio_bus_get_status(host.bus, NULL, 0);
        CHECK(fake_sys_has_failed() ? result == STDIO_BUS_ERR_BUFFER : result > 0);
        failed += fake_sys_has_failed();
        fake_sys_fail_allocation(0);
    }
    CHECK(failed >= 2 && failed < 9);
    host_close();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_numbers();
    test_no_room();
    fake_sys_end();
    return check_result();
}
