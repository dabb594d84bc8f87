/* test_attached.c - what the host client orders as messages: scale, restart, and workers
 * attached to it, whose lines come and go as messages of its own. */
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "host.h"

#define EMBEDDED "{'pools':[{'id':'p','embedded':true,'protocol':'%s'}],'limits':{'max_input_buffer':4096}}"

static void open_pool(const char *protocol) {
    char config[160];
    snprintf(config, sizeof config, EMBEDDED, protocol);
    CHECK_INT(host_open(config), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_RUNNING); /* nothing to wait for */
}

#define ORDER(id, method, params) "{'jsonrpc':'2.0','id':" #id ",'method':'stdio_bus/" method "','params':" params "}\n"
#define SAYS(worker, message) \
    "{'jsonrpc':'2.0','method':'stdio_bus/from_worker','params':{'worker':" #worker ",'message':" message "}}\n"
#define HEARS(worker, message) \
    "{'jsonrpc':'2.0','method':'stdio_bus/to_worker','params':{'worker':" #worker ",'message':" message "}}"

static void test_attached_worker(void) {
    open_pool("stdiobus");
    host_ingest("{'id':1,'method':'early'}"); /* waits for a worker */
    host_feed(0, ORDER(10, "attach", "{'pool':'p'}"));
    HOST_GETS(HEARS(1, "{'id':1,'method':'early'}"));
    CHECK_INT(host_message_worker, 1);
    HOST_GETS("{'jsonrpc':'2.0','id':10,'result':{'worker':1}}");
    CHECK_STR(host_events(), " started:1");
    CHECK_INT(stdio_bus_worker_count(host.bus), 1);
    host_feed(0, SAYS(1, "{'id':1,'result':{'a':[1,2]}}"));
    HOST_GETS("{'id':1,'result':{'a':[1,2]}}");
    CHECK_INT(host_message_worker, 1);
    /* What is no message of a worker, or of one that is not there, is dropped. */
    host_feed(0, SAYS(1, "{'id':1,'result':2}"));
    host_feed(0, SAYS(1, "7"));
    host_feed(0, SAYS(2, "{'id':1,'result':2}"));
    host_feed(0, SAYS(1, "{'method':'stdio_bus/worker_event'}"));
    CHECK_INT(host_messages(), 0);
    /* Detached while a request is out: it is answered first. */
    host_ingest("{'id':2,'method':'m'}");
    HOST_GETS(HEARS(1, "{'id':2,'method':'m'}"));
    host_feed(0, ORDER(11, "detach", "{'worker':1}"));
    HOST_GETS("{'jsonrpc':'2.0','id':11,'result':{}}");
    CHECK_INT(stdio_bus_worker_count(host.bus), 1);
    host_feed(0, SAYS(1, "{'id':2,'result':3}"));
    HOST_GETS("{'id':2,'result':3}");
    UNTIL(stdio_bus_worker_count(host.bus) == 0);
    CHECK_STR(host_events(), " stopped:1");
    UNTIL(stdio_bus_get_workers(host.bus, NULL, 0) == 0);
    host_feed(0, ORDER(12, "detach", "{'worker':1}"));
    HOST_GETS("{'jsonrpc':'2.0','id':12,'error':{'code':-32600,'message':'there is no worker 1'*");
    host_close();
}

static void test_handshake_and_stop(void) {
    open_pool("mcp");
    host_feed(0, ORDER(10, "attach", "{'pool':'p'}"));
    HOST_GETS(HEARS(1, "{'jsonrpc':'2.0','id':1,'method':'initialize','params':*}"));
    HOST_GETS("{'jsonrpc':'2.0','id':10,'result':{'worker':1}}");
    CHECK_STR(host_events(), "");
    host_feed(0, SAYS(1, "{'jsonrpc':'2.0','id':1,'result':{}}"));
    HOST_GETS(HEARS(1, "{'jsonrpc':'2.0','method':'notifications/initialized'}"));
    CHECK_STR(host_events(), " started:1");
    /* One that refuses its handshake ends, and its requests with it. */
    host_feed(0, ORDER(11, "attach", "{'pool':'p'}"));
    HOST_GETS(HEARS(2, "{'jsonrpc':'2.0','id':1048577,'method':'initialize'*"));
    HOST_GETS("{'jsonrpc':'2.0','id':11,'result':{'worker':2}}");
    host_feed(0, SAYS(2, "{'jsonrpc':'2.0','id':1048577,'error':{'code':1,'message':'no'}}"));
    UNTIL(strstr(host.events, "stopped:2"));
    host_ingest("{'jsonrpc':'2.0','id':7,'method':'m'}");
    HOST_GETS(HEARS(1, "*'m'*"));
    stdio_bus_stop(host.bus, 4);
    fake_sys_advance(4000);
    HOST_GETS("*'id':7,'error':{'code':-32085*");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

static void test_clients_of_the_host(void) {
    open_pool("stdiobus");
    host_feed(0, ORDER(1, "open", "{'pool':'p'}"));
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'client':1}}");
    host_feed(1, ORDER(1, "ping", "{}"));
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{}}");
    CHECK_INT(host_message_client, 1);
    host_feed(0, ORDER(2, "close", "{'client':1}"));
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':{}}");
    CHECK_INT(stdio_bus_feed(host.bus, 1, "{}", 2), STDIO_BUS_ERR_ENOTFOUND);
    host_feed(0, ORDER(3, "close", "{'client':1}"));
    HOST_GETS("*-32600,'message':'there is no client 1'*");
    host_feed(0, ORDER(3, "close", "{'client':0}"));
    HOST_GETS("*'there is no client 0'*");
    host_feed(0, ORDER(3, "close", "{'client':4294967297}"));
    HOST_GETS("*'there is no client 4294967297'*");
    host_close();
}

static void test_scale_and_restart(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}]}"), STDIO_BUS_OK);
    host_feed(0, ORDER(1, "scale", "{'pool':'p','instances':3}"));
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{}}");
    UNTIL(stdio_bus_worker_count(host.bus) == 3);
    host_feed(0, ORDER(2, "scale", "{'instances':1,'pool':'p'}"));
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':{}}");
    UNTIL(stdio_bus_worker_count(host.bus) == 1);
    host_events();
    host_feed(0, ORDER(3, "restart", "{'pool':'p'}"));
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':{}}");
    UNTIL(strstr(host.events, "stopped:1"));
    host_close();
}

static void test_refusals(void) {
    static const char *const cases[][2] = {
        {ORDER(1, "scale", "{'pool':'q','instances':1}"), "*-32081,'message':'there is no pool \\'q\\'*"},
        {ORDER(1, "scale", "{'instances':1}"), "*-32081,'message':'there is no pool null*"},
        {ORDER(1, "scale", "[]"), "*-32081*"},
        {ORDER(1, "scale", "{'pool':'p'}"), "*-32600,'message':'stdio_bus/scale needs params.instances, an integer'*"},
        {ORDER(1, "scale", "{'pool':'p','instances':0}"), "*-32600*1 to 1024 instances*"},
        {ORDER(1, "scale", "{'pool':'p','instances':4294967297}"), "*-32600*1 to 1024 instances*"},
        {ORDER(1, "pause", "{'worker':4294967297}"), "*-32600,'message':'there is no worker 4294967297'*"},
        {ORDER(1, "detach", "{'worker':1}"), "*-32600,'message':'this worker is not attached'*"},
        {ORDER(1, "from_worker", "{'worker':1,'message':{}}"), "*-32601*"},
        {ORDER(1, "to_worker", "{}"), "*-32601*"},
    };
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}]}"), STDIO_BUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        host_feed(0, "%s", cases[i][0]);
        HOST_GETS(cases[i][1]);
    }
    /* A notification about a worker that has gone has no answer. */
    host_feed(0, "{'jsonrpc':'2.0','method':'stdio_bus/resume','params':{'worker':9}}\n");
    CHECK_INT(host_messages(), 0);
    /* Orders are the host's alone. */
    int client = stdio_bus_client_open(host.bus, NULL);
    host_feed(client, ORDER(1, "scale", "{'pool':'p','instances':2}"));
    HOST_GETS("*-32601*");
    CHECK_INT(host_message_client, client);
    host_close();
    open_pool("stdiobus");
    host_feed(0, ORDER(1, "scale", "{'pool':'p','instances':2}"));
    HOST_GETS("*-32600*an embedded one none*");
    stdio_bus_stop(host.bus, 0);
    host_feed(0, ORDER(2, "attach", "{'pool':'p'}"));
    HOST_GETS("*-32085*");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_attached_worker();
    test_handshake_and_stop();
    test_clients_of_the_host();
    test_scale_and_restart();
    test_refusals();
    return check_result();
}
