/* test_scale.c - pools at run time: more workers, fewer, and a rolling restart that loses
 * nothing. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "host.h"
#include "sys.h"

#define POOL "{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':%d}]}"

static void open_pool(int instances) {
    char config[128];
    snprintf(config, sizeof config, POOL, instances);
    CHECK_INT(host_open(config), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    UNTIL(stdio_bus_worker_count(host.bus) == instances);
    host_events();
}

static int workers(void) {
    return stdio_bus_get_workers(host.bus, NULL, 0);
}

static stdio_bus_worker_info_t worker(int index) {
    stdio_bus_worker_info_t all[8];
    REQUIRE(index < stdio_bus_get_workers(host.bus, all, 8));
    return all[index];
}

static bool all_ready(int count) {
    if (workers() != count) return false;
    for (int i = 0; i < count; i++)
        if (worker(i).state != STDIO_BUS_WORKER_READY) return false;
    return true;
}

static void test_more(void) {
    open_pool(1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 3), STDIO_BUS_OK);
    UNTIL(all_ready(3));
    for (int i = 1; i <= 3; i++) host_ingest("{'id':%d,'method':'hang'}", i);
    for (int i = 0; i < 3; i++) CHECK_INT(worker(i).in_flight, 1);
    for (int i = 11; i <= 13; i++) host_ingest("{'id':%d,'method':'late'}", i);
    for (int i = 0; i < 6; i++) CHECK_LIKE(host_message(), "*result*");
    host_close();
}

static void test_fewer_waits_for_what_is_under_way(void) {
    open_pool(2);
    host_ingest("{'id':1,'method':'hang'}");
    host_ingest("{'id':2,'method':'hang','sessionId':'s'}");
    CHECK_INT(worker(1).in_flight, 1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    CHECK_INT(workers(), 2);
    /* The busy session stays where it is; what has none goes to the worker that stays. */
    host_ingest("{'id':3,'method':'echo'}");
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':*}");
    CHECK_INT(host_message_worker, 1);
    host_ingest("{'id':4,'method':'late','sessionId':'s'}");
    CHECK_LIKE(host_message(), "*result*");
    CHECK_INT(host_message_worker, 2);
    CHECK_LIKE(host_message(), "*result*");
    UNTIL(workers() == 1);
    CHECK_STR(host_events(), " stopped:2");
    CHECK_INT(stdio_bus_session_count(host.bus), 0);
    host_ingest("{'id':5,'method':'echo','sessionId':'s'}");
    HOST_GETS("{'jsonrpc':'2.0','id':5,'result':*}");
    CHECK_INT(host_message_worker, 1);
    host_ingest("{'id':6,'method':'late'}");
    CHECK_LIKE(host_message(), "*result*");
    CHECK_LIKE(host_message(), "*result*");
    host_close();
}

static void test_fewer_has_an_end(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2}],"
                        "'limits':{'drain_timeout_sec':1}}"),
              STDIO_BUS_OK);
    UNTIL(all_ready(2));
    host_ingest("{'id':1,'method':'hang'}");
    host_ingest("{'id':2,'method':'hang'}");
    stdio_bus_scale_pool(host.bus, "p", 1);
    fake_sys_advance(1000);
    HOST_GETS("{'jsonrpc':'2.0','id':*,'error':{'code':-32085,'message':'its worker was taken out of service',*");
    UNTIL(workers() == 1);
    stdio_bus_stop(host.bus, 0);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_LIKE(host_message(), quoted("{'jsonrpc':'2.0','id':*,'error':{'code':-32085,*"));
    host_destroy();
}

/* A worker that is taken out of service and does not go has some seconds; the stop of the bus
 * does not wait for their end. */
static void test_stop_hastens_a_slow_end(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['deaf'],'instances':2}]}"), STDIO_BUS_OK);
    UNTIL(all_ready(2));
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    UNTIL(worker(1).state == STDIO_BUS_WORKER_STOPPING);
    uint64_t before = sys_now_ms();
    CHECK_INT(stdio_bus_stop(host.bus, 0), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK(sys_now_ms() - before < 3500); /* of four */
    host_destroy();
}

static void test_rolling_restart(void) {
    open_pool(2);
    int before[] = {worker(0).pid, worker(1).pid};
    host_ingest("{'id':1,'method':'hang'}");
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    UNTIL(workers() == 3 && worker(2).state == STDIO_BUS_WORKER_READY);
    for (int i = 2; i < 20; i++) host_ingest("{'id':%d,'method':'echo'}", i);
    for (int i = 2; i < 20; i++) HOST_GETS("{'jsonrpc':'2.0','id':*,'result':*}");
    /* The one with a request out is there until it is answered. */
    UNTIL(!strstr(host.events, "failed") && workers() == 3);
    CHECK_INT(worker(0).pid, before[0]);
    CHECK_INT(worker(0).in_flight, 1);
    CHECK_INT(stdio_bus_stop(host.bus, 4), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32085,*");
    host_destroy();

    open_pool(2);
    before[0] = worker(0).pid, before[1] = worker(1).pid;
    stdio_bus_restart_pool(host.bus, "p");
    UNTIL(all_ready(2) && worker(0).id == 3 && worker(1).id == 4);
    for (int i = 0; i < 2; i++) CHECK(worker(i).pid != before[0] && worker(i).pid != before[1]);
    host_close();
}

/* Workers without a handshake are ready at once: all of them are replaced in one call, whose stack
 * is as deep for the last as for the first. */
static const char *frame;
static int starts, deeper;

static void measure_stack(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user) {
    (void)bus, (void)user;
    if (strcmp(event->kind, "started") != 0) return;
    const char *here = __builtin_frame_address(0);
    if (starts++) deeper += here != frame;
    frame = here;
}

static void test_rolling_restart_of_many(void) {
    open_pool(8);
    stdio_bus_set_on_worker_event(host.bus, measure_stack);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    CHECK_INT(starts, 8);
    CHECK_INT(deeper, 0);
    UNTIL(all_ready(8));
    CHECK_INT(worker(0).id, 9);
    host_close();
}

static void test_restart_of_a_failed_pool(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']},{'id':'q','command':'SELF','args':['die'],'protocol':'mcp'}],"
                        "'limits':{'max_restarts':0}}"),
              STDIO_BUS_OK);
    UNTIL(strstr(host.events, "failed:2"));
    host_events();
    stdio_bus_restart_pool(host.bus, "q");
    UNTIL(strstr(host.events, "failed:3"));
    UNTIL(workers() == 2); /* the successor has gone, what it should have replaced is as it was */
    CHECK_INT(worker(1).id, 2);
    CHECK_INT(worker(1).state, STDIO_BUS_WORKER_FAILED);
    host_close();
}

/* No worker is started again, and all of them take a moment to be ready. */
#define FRAGILE \
    "{'pools':[{'id':'p','command':'SELF','args':['work'],'protocol':'mcp','instances':%d}]," \
    "'limits':{'max_restarts':0}}"

static void open_fragile(int instances) {
    char config[256];
    snprintf(config, sizeof config, FRAGILE, instances);
    CHECK_INT(host_open(config), STDIO_BUS_OK);
    UNTIL(all_ready(instances));
    host_events();
}

static void lose_worker(int id) {
    char failed[32];
    snprintf(failed, sizeof failed, " failed:%d", id);
    for (int i = 0; i < workers(); i++)
        if (worker(i).id == id) kill(worker(i).pid, SIGKILL);
    UNTIL(strstr(host.events, failed));
}

static void check_echo(void) {
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':99,'method':'echo'}"), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':99,'result':*}");
}

/* Fewer workers: not those that serve go, while others are there that do not. */
static void test_fewer_keeps_what_serves(void) {
    open_fragile(2);
    lose_worker(1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    CHECK(all_ready(1));
    CHECK_INT(worker(0).id, 2);
    check_echo();
    host_close();
}

/* What has failed for good is not one of the workers that were ordered. */
static void test_as_many_as_ordered_serve(void) {
    open_fragile(2);
    lose_worker(1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_OK);
    UNTIL(all_ready(2));
    CHECK_INT(worker(0).id, 2);
    CHECK_INT(worker(1).id, 3);
    host_close();
}

static void test_scale_revives_a_failed_pool(void) {
    open_fragile(1);
    lose_worker(1);
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':1,'method':'echo'}"), STDIO_BUS_ERR_ROUTING);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    check_echo(); /* waits for the start */
    CHECK(all_ready(1));
    host_close();
}

/* A new start that fails as well is there to be seen, and ends what waits. */
static void test_scale_of_a_pool_that_cannot_start(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'},"
                        "{'id':'q','command':'SELF','args':['work']}]}"),
              STDIO_BUS_OK);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_OK);
    CHECK_STR(host_events(), " failed:1 started:2 failed:3 failed:4");
    CHECK_INT(workers(), 3);
    host_feed(0, "{'id':1,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32082,*worker 4*no-such-command*}}");
    host_close();
}

static void test_restart_revives_a_failed_pool(void) {
    open_fragile(2);
    lose_worker(1);
    lose_worker(2);
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':1,'method':'echo'}"), STDIO_BUS_ERR_ROUTING);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    check_echo(); /* waits for the first successor */
    UNTIL(all_ready(2) && worker(0).id == 3 && worker(1).id == 4);
    host_close();
}

/* A successor on its way is none of the workers that were ordered, and goes on its way. */
static void test_scale_while_restarting(int instances) {
    open_fragile(2);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    CHECK_INT(workers(), 3);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", instances), STDIO_BUS_OK);
    UNTIL(all_ready(instances) && worker(0).id > 2);
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK(all_ready(instances));
    CHECK(!strstr(host.events, "failed"));
    check_echo();
    host_close();
}

static void hold(int id, bool held) {
    for (int i = 0; i < workers(); i++)
        if (worker(i).id == id) CHECK_INT(kill(worker(i).pid, held ? SIGSTOP : SIGCONT), 0);
}

/* Restarted again, the pool has no worker that was started before: the successor that was
 * on its way is replaced as well. */
static void test_restart_while_restarting(void) {
    open_fragile(2);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    hold(3, true); /* it does not answer the handshake yet */
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    CHECK_INT(workers(), 3); /* one successor at a time */
    hold(3, false);
    UNTIL(all_ready(2) && worker(0).id == 4 && worker(1).id == 5);
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK(all_ready(2));
    CHECK(!strstr(host.events, "failed"));
    check_echo();
    host_close();
}

/* The worker to be replaced fails for good while its successor starts: scaled, the pool has as
 * many as ordered, the successor among them. */
static void test_scale_with_a_successor_of_a_failed_worker(void) {
    open_fragile(2);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    hold(3, true); /* it does not answer the handshake yet */
    lose_worker(1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_OK);
    CHECK_INT(workers(), 2);
    hold(3, false);
    UNTIL(all_ready(2) && worker(0).id == 3 && worker(1).id == 4);
    host_close();
}

/* The same, and the successor fails as well: nobody is left, and no request waits for ever. */
static void test_restart_that_loses_all(bool scaled) {
    open_fragile(1);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    hold(2, true);
    lose_worker(1);
    if (scaled) CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1), STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':1,'method':'echo'}"), STDIO_BUS_OK); /* there is one who may serve */
    lose_worker(2);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32082,*worker 2 *SIGKILL*}}");
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':2,'method':'echo'}"), STDIO_BUS_ERR_ROUTING);
    CHECK_INT(workers(), 1);
    CHECK_INT(worker(0).id, scaled ? 2 : 1);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
    check_echo();
    host_close();
}

/* A worker fails in the midst of a call, and the host's callback about that makes room by getting
 * rid of that very worker. */
static bool in_callback_feeds;
static int calls_in_callback;

static void scale_in_callback(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user) {
    (void)user;
    if (strcmp(event->kind, "failed") != 0 || calls_in_callback++) return;
    if (in_callback_feeds)
        host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/scale','params':{'pool':'p','instances':1}}\n");
    else CHECK_INT(stdio_bus_scale_pool(bus, "p", 1), STDIO_BUS_OK);
}

static void restart(void) {
    CHECK_INT(stdio_bus_restart_pool(host.bus, "p"), STDIO_BUS_OK);
}

static void scale_to_two(void) {
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_OK);
}

static void ask_for_a_restart(void) {
    host_feed(0, "{'jsonrpc':'2.0','id':2,'method':'stdio_bus/restart','params':{'pool':'p'}}\n");
}

static void ingest_for_a_restart(void) {
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':2,'method':'stdio_bus/restart','params':{'pool':'p'}}"), STDIO_BUS_OK);
}

static void test_calls_in_callbacks(void) {
    static void (*const calls[])(void) = {restart, scale_to_two, ask_for_a_restart, ingest_for_a_restart};
    for (int i = 0; i < 8; i++) {
        CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'},"
                            "{'id':'q','command':'SELF','args':['work']}]}"),
                  STDIO_BUS_OK);
        stdio_bus_set_on_worker_event(host.bus, scale_in_callback);
        in_callback_feeds = i % 2;
        calls_in_callback = 0;
        calls[i / 2]();
        CHECK(calls_in_callback > 1); /* what the callback ordered failed, too */
        for (int k = 0; k < 3; k++) host_step();
        while (host_messages()) HOST_GETS("{'jsonrpc':'2.0','id':#,'result':*");
        host_ingest("{'id':9,'method':'echo','pool':'q'}");
        HOST_GETS("{'jsonrpc':'2.0','id':9,'result':*}");
        host_close();
    }
}

static void test_bad_arguments(void) {
    open_pool(1);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "nope", 1), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_scale_pool(host.bus, NULL, 1), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 0), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 1025), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_restart_pool(host.bus, "nope"), STDIO_BUS_ERR_ENOTFOUND);
    stdio_bus_stop(host.bus, 4);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_ERR_STATE);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_more();
    test_fewer_waits_for_what_is_under_way();
    test_fewer_has_an_end();
    test_stop_hastens_a_slow_end();
    test_rolling_restart();
    test_rolling_restart_of_many();
    test_restart_of_a_failed_pool();
    test_fewer_keeps_what_serves();
    test_as_many_as_ordered_serve();
    test_scale_revives_a_failed_pool();
    test_scale_of_a_pool_that_cannot_start();
    test_restart_revives_a_failed_pool();
    for (int instances = 1; instances <= 3; instances++) test_scale_while_restarting(instances);
    test_restart_while_restarting();
    test_scale_with_a_successor_of_a_failed_worker();
    test_restart_that_loses_all(false);
    test_restart_that_loses_all(true);
    test_calls_in_callbacks();
    test_bad_arguments();
    fake_sys_end();
    return check_result();
}
