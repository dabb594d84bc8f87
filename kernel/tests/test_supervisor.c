/* test_supervisor.c - the life of workers: starts that fail, crashes, backoff, failure for
 * good, handshakes, and the stop, in a clock that the test sets forward. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus_internal.h"
#include "fake_sys.h"
#include "host.h"
#include "poller.h"

#define ONE "{'pools':[{'id':'p','command':'SELF','args':['work']}]}"

static stdio_bus_worker_info_t worker(int index) {
    stdio_bus_worker_info_t all[8];
    int count = stdio_bus_get_workers(host.bus, all, 8);
    REQUIRE(index < count);
    return all[index];
}

static void test_start_and_stop(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2}]}"), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    CHECK_STR(host_events(), " started:1 started:2");
    CHECK_INT(stdio_bus_worker_count(host.bus), 2);
    CHECK_INT(host_ingest("{'id':1,'method':'echo'}"), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'pid':*}}");
    int first = host_message_worker;
    CHECK_INT(host_ingest("{'id':2,'method':'echo'}"), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':{'pid':*}}");
    CHECK(host_message_worker != first);
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_READY);
    CHECK(worker(0).pid > 0 && worker(0).pid != worker(1).pid);
    CHECK_INT(worker(0).bytes_in, strlen("{'id':1,'method':'echo'}\n"));
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK(strstr(host.events, " stopped:1") && strstr(host.events, " stopped:2"));
    CHECK_INT(host.exit_code, 0);
    host_destroy();
}

static void test_crash(const char *method, int exit_code, int signal, const char *how) {
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    int pid = worker(0).pid;
    host_ingest("{'id':1,'method':'hang'}");
    host_ingest("{'id':2,'method':'%s','sessionId':'s'}", method);
    for (int i = 1; i <= 2; i++) {
        char expected[512], code[16] = "null", number[16] = "null";
        if (exit_code >= 0) snprintf(code, sizeof code, "%d", exit_code);
        if (signal) snprintf(number, sizeof number, "%d", signal);
        snprintf(expected, sizeof expected,
                 "{'jsonrpc':'2.0','id':%d,'error':{'code':-32083,'message':'worker 1 of pool \\'p\\' %s','data':{"
                 "'source':'stdio_bus','pool':'p','worker':1,'reason':'worker_exited','retryable':false,'exit_code':%s,"
                 "'signal':%s,'stderr':'%s'}}}",
                 i, how, code, number, exit_code == 3 ? "one\\ntwo" : "");
        HOST_GETS(expected);
    }
    CHECK_STR(host_events(), " started:1 restarting:1");
    CHECK_STR(host.stderr_tail, exit_code == 3 ? "one\ntwo" : "");
    CHECK_INT(host.exit_code, exit_code);
    CHECK_INT(host.signal, signal);
    CHECK_INT(stdio_bus_session_count(host.bus), 0);
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_BACKOFF);
    CHECK_INT(worker(0).pid, 0);
    CHECK_INT(host_ingest("{'id':3,'method':'echo'}"), STDIO_BUS_OK); /* waits for the next one */
    fake_sys_advance(100);
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':*}");
    CHECK_STR(host_events(), " started:1");
    CHECK(worker(0).pid != pid && worker(0).pid > 0);
    CHECK_INT(worker(0).id, 1);
    CHECK_INT(worker(0).restarts, 1);
    stdio_bus_stats_t stats;
    stdio_bus_get_stats(host.bus, &stats);
    CHECK_INT(stats.worker_restarts, 1);
    host_close();
}

/* An answer without a newline, written just before the end, is an answer. */
static void test_last_words(void) {
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'last'}");
    HOST_GETS("{'id':1,'result':'bye'}");
    UNTIL(strstr(host.events, "restarting:1"));
    CHECK_STR(host.reason, "worker 1 of pool \"p\" exited with status 0");
    CHECK_INT(stdio_bus_pending_count(host.bus), 0);
    host_close();
}

/* 100 ms, doubled up to 10 s; a stable while begins anew. */
static void test_backoff(void) {
    static const int expected[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],"
                        "'limits':{'max_restarts':100,'restart_window_sec':86400}}"),
              STDIO_BUS_OK);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char text[64];
        snprintf(text, sizeof text, "next start in %d ms", expected[i]);
        host.log[0] = '\0';
        host_ingest("{'method':'kill','id':%zu}", i);
        HOST_GETS("{*-32083*}");
        CHECK(host_logged(text));
        UNTIL(stdio_bus_step(host.bus, 0) == 0); /* nothing left to do now */
        CHECK_INT(worker(0).state, STDIO_BUS_WORKER_BACKOFF);
        fake_sys_advance((uint64_t)expected[i]);
        UNTIL(worker(0).state == STDIO_BUS_WORKER_READY);
    }
    fake_sys_advance(86400 * 1000);
    stdio_bus_step(host.bus, 0);
    host.log[0] = '\0';
    host_ingest("{'method':'kill','id':1}");
    HOST_GETS("{*-32083*}");
    CHECK(host_logged("next start in 100 ms"));
    host_close();
}

static void test_failed_for_good(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['die']},{'id':'q','command':'SELF','args':['work']}],"
                        "'limits':{'max_restarts':2}}"),
              STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'echo'}");
    for (int i = 0; i < 2; i++) {
        UNTIL(strstr(host.events, "restarting:1"));
        host_events();
        fake_sys_advance(500);
    }
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':*,'data':{'source':'stdio_bus',*it cannot work*}}}");
    UNTIL(strstr(host.events, "failed:1"));
    CHECK_LIKE(host.reason, "worker 1 of pool \"p\" exited with status 5, more than 2 times in 60 s*");
    CHECK_STR(host.stderr_tail, "it cannot work");
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_FAILED);
    CHECK_INT(host_ingest("{'id':2,'method':'echo'}"), STDIO_BUS_ERR_ROUTING);
    host_feed(0, "{'id':2,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32082,*'retryable':true,'stderr':'it cannot work'}}}");
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_RUNNING);
    host_ingest("{'id':3,'method':'echo','pool':'q'}"); /* the other pool does not notice */
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':*}");
    host_close();
}

/* Crashes long ago do not count. */
static void test_restart_window(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],"
                        "'limits':{'max_restarts':2,'restart_window_sec':60}}"),
              STDIO_BUS_OK);
    for (int i = 0; i < 6; i++) {
        UNTIL(worker(0).state == STDIO_BUS_WORKER_READY);
        host_ingest("{'method':'kill','id':%d}", i);
        HOST_GETS("{*-32083*}");
        fake_sys_advance(31000);
    }
    UNTIL(worker(0).state == STDIO_BUS_WORKER_READY);
    for (int i = 0; i < 3 && worker(0).state != STDIO_BUS_WORKER_FAILED; i++) {
        host_ingest("{'method':'kill','id':%d}", i);
        HOST_GETS("{*-32083*}");
        fake_sys_advance(10000);
        UNTIL(worker(0).state == STDIO_BUS_WORKER_READY || worker(0).state == STDIO_BUS_WORKER_FAILED);
    }
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_FAILED);
    host_close();
}

/* A command that cannot be executed is reported once, and is no restart loop. */
static void test_no_command(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'}]}"), STDIO_BUS_ERR_WORKER);
    char expected[512];
    snprintf(expected, sizeof expected,
             "worker 1 of pool \"p\" cannot be started: command \"no-such-command\": %s (errno %d); it is not on PATH: "
             "install it or give its full path",
             strerror(ENOENT), ENOENT);
    CHECK_STR(host_events(), " failed:1");
    CHECK_STR(host.reason, expected);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STOPPED);
    CHECK_INT(stdio_bus_all_failed(host.bus), 1);
    CHECK_INT(host_ingest("{'id':1,'method':'echo'}"), STDIO_BUS_ERR_STATE);
    host_destroy();

    CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'},{'id':'q','command':'SELF','args':['work']}]}"),
              STDIO_BUS_OK); /* something could start */
    host_feed(0, "{'id':1,'method':'echo'}\n{'id':2,'method':'echo','pool':'q'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32082,*no-such-command*}}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    CHECK_INT(worker(0).restarts, 0);
    CHECK_INT(stdio_bus_all_failed(host.bus), 0);
    host_close();

    CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'},{'id':'q','embedded':true}]}"),
              STDIO_BUS_OK); /* something may be brought */
    CHECK_STR(host_events(), " failed:1");
    CHECK_INT(stdio_bus_all_failed(host.bus), 0);
    host_close();
}

static void attach(int id) {
    host_feed(0, "{'jsonrpc':'2.0','id':'a','method':'stdio_bus/attach','params':{'pool':'p'}}\n");
    CHECK_INT(HOST_GETS("{'jsonrpc':'2.0','id':'a','result':{'worker':#}}"), id);
}

static void detach(int id) {
    host_feed(0, "{'jsonrpc':'2.0','id':'d','method':'stdio_bus/detach','params':{'worker':%d}}\n", id);
    HOST_GETS("{'jsonrpc':'2.0','id':'d','result':{}}");
}

static void answer(int worker_id, int id) {
    host_feed(0, "{'jsonrpc':'2.0','method':'stdio_bus/from_worker',"
                 "'params':{'worker':%d,'message':{'id':%d,'result':4}}}\n",
              worker_id, id);
    HOST_GETS("{'id':#,'result':4}");
}

/* A worker inside the host serves for those that failed, while it is there. */
static void test_failed_but_for_an_attached_one(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'no-such-command'},"
                        "{'id':'q','command':'SELF','args':['work']}]}"),
              STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'id':1,'method':'m'}"), STDIO_BUS_ERR_ROUTING);
    attach(3);
    host_ingest("{'id':2,'method':'m'}");
    HOST_GETS("*to_worker*{'id':2,*");
    detach(3); /* ends when that is answered, and takes nothing new */
    CHECK_INT(host_ingest("{'id':3,'method':'m'}"), STDIO_BUS_ERR_ROUTING);
    answer(3, 2);
    host_feed(0, "{'id':5,'method':'m'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':5,'error':{'code':-32082,*no-such-command*}}");
    UNTIL(strstr(host.events, "stopped:3"));
    CHECK_INT(host_ingest("{'id':6,'method':'m'}"), STDIO_BUS_ERR_ROUTING);
    host_close();

    /* Those with a process fail while it is there: the reason is known when it leaves. */
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'max_in_flight':1}],"
                        "'limits':{'max_restarts':0}}"),
              STDIO_BUS_OK);
    attach(2);
    kill(worker(0).pid, SIGKILL);
    UNTIL(strstr(host.events, "failed:1"));
    host_ingest("{'id':1,'method':'m'}");
    HOST_GETS("*to_worker*{'id':1,*");
    CHECK_INT(host_ingest("{'id':2,'method':'m'}"), STDIO_BUS_OK); /* waits */
    host_feed(0, "{'jsonrpc':'2.0','id':3,'method':'stdio_bus/detach','params':{'worker':2}}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32082,*worker 1 *SIGKILL*}}");
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':{}}");
    answer(2, 1);
    host_close();
}

/* A pool of workers inside the host does not fail: it waits for the next one. */
static void test_embedded_pool_waits(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','embedded':true}]}"), STDIO_BUS_OK);
    attach(1);
    detach(1);
    UNTIL(strstr(host.events, "stopped:1"));
    CHECK_INT(host_ingest("{'id':1,'method':'m'}"), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_pending_count(host.bus), 1);
    host_feed(0, "{'jsonrpc':'2.0','method':'stdio_bus/attach','params':{'pool':'p'}}\n");
    HOST_GETS("*to_worker*{'id':1,*");
    answer(2, 1);
    host_close();
}

#define HANDSHAKE "'protocol':'mcp','startup_timeout_sec':7"

static void test_startup_timeout(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['silent']," HANDSHAKE "}]}"), STDIO_BUS_OK);
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STARTING);
    fake_sys_advance(6000);
    stdio_bus_step(host.bus, 0);
    CHECK_STR(host_events(), "");
    fake_sys_advance(2000);
    UNTIL(strstr(host.events, "restarting:1"));
    CHECK_STR(host.reason, "worker 1 of pool \"p\" was ended by signal 9 (SIGKILL): no answer to its handshake within 7 s "
                           "(startup_timeout_sec)");
    host_close();
}

static void test_handshake(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']," HANDSHAKE "}]}"), STDIO_BUS_OK);
    CHECK_STR(host_events(), "");
    host_ingest("{'jsonrpc':'2.0','id':1,'method':'echo'}"); /* waits */
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'pid':*}}");
    CHECK_STR(host_events(), " started:1");
    host_ingest("{'jsonrpc':'2.0','id':2,'method':'exit'}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32083,*}}");
    fake_sys_advance(100);
    host_ingest("{'jsonrpc':'2.0','id':3,'method':'echo'}"); /* again, after a second handshake */
    HOST_GETS("{'jsonrpc':'2.0','id':3,'result':{'pid':*}}");
    CHECK_STR(host_events(), " restarting:1 started:1");
    host_close();

    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['refuse']," HANDSHAKE "}]}"), STDIO_BUS_OK);
    UNTIL(strstr(host.events, "restarting:1"));
    CHECK_STR(host.reason, "worker 1 of pool \"p\" was ended by signal 9 (SIGKILL): it answered the handshake with the error "
                           "{\"code\":-1,\"message\":\"no\"}");
    host_close();
}

/* What the worker writes is read after its exit, as it may happen. */
static void read_after_exit(void) {
    worker_pause(supervisor_find(&host.bus->supervisor, 1), true);
}

/* A worker that answers its handshake and exits never was ready: what waits goes on waiting. */
static void test_handshake_of_a_dying_worker(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['parting']," HANDSHAKE "}],"
                        "'limits':{'max_restarts':1}}"),
              STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':1,'method':'echo'}"), STDIO_BUS_OK);
    read_after_exit();
    UNTIL(strstr(host.events, "restarting:1"));
    CHECK_STR(host_events(), " restarting:1");
    CHECK_INT(host_messages(), 0);
    CHECK_INT(stdio_bus_pending_count(host.bus), 1);
    fake_sys_advance(1000);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-3208*}}"); /* in its second life it may be quick enough */
    host_close();
}

/* ---- closed pipes --------------------------------------------------------------------- */

static void test_closed_pipe(const char *method, const char *pipe) {
    char expected[128];
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'%s'}", method);
    /* One that closed its stdin is found out by the next write. */
    bool in = strcmp(pipe, "stdin") == 0;
    host_begin();
    for (int i = 2; worker(0).state == STDIO_BUS_WORKER_READY && host_step();)
        if (in && i < 1000) host_ingest("{'id':%d,'method':'echo'}", i++);
    CHECK_STR(host_events(), " started:1");
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_STOPPING); /* it has a moment to exit by itself */
    fake_sys_advance(500);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32083,*}}");
    snprintf(expected, sizeof expected, "worker 1 of pool \"p\" was ended by signal 9 (SIGKILL): it had closed its %s", pipe);
    CHECK_STR(host.reason, expected);
    while (host_messages()) HOST_GETS("{*'code':-32083,*}");
    host_close();
}

/* Dead: no process, or one that only waits for init to look. */
static bool is_gone(int pid) {
    char path[64], stat[256] = "";
    if (kill(pid, 0) < 0) return errno == ESRCH;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return false;
    bool read = fgets(stat, sizeof stat, file) != NULL;
    fclose(file);
    return read && strstr(stat, ") Z") != NULL;
}

/* The event facility fails under the bus: steps say so, workers that cannot be watched are
 * started again. */
static void test_cannot_be_watched(void) {
    REQUIRE(host_create(ONE));
    int fd = stdio_bus_get_poll_fd(host.bus);
    fake_sys_break(fd);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_step(host.bus, 0), STDIO_BUS_ERR);
    CHECK_LIKE(host.error, "-1: *");
    fake_sys_mend(fd);
    UNTIL(strstr(host.events, " started:1"));
    CHECK_STR(host_events(), " restarting:1 started:1");
    CHECK(host_logged("its pipes cannot be watched"));
    host_ingest("{'id':1,'method':'echo'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    host_close();
}

static bool system_reports_exits(void) {
    poller_t *poller = poller_open();
    int handle = poller_watch_child(poller, getpid(), &handle);
    poller_unwatch_child(poller, handle, getpid());
    poller_close(poller);
    return handle >= 0;
}

/* A child of the worker that holds its stdout open neither hides the exit nor outlives it. */
static void test_grandchild(void) {
    if (!system_reports_exits()) {
        printf("SKIP grandchild: this system reports no exits, and the end of the output has to serve\n");
        return;
    }
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'grandchild'}");
    int pid = (int)HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'pid':#}}");
    CHECK(!is_gone(pid));
    host_ingest("{'id':2,'method':'echo'}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    host_ingest("{'id':3,'method':'exit'}");
    HOST_GETS("{'jsonrpc':'2.0','id':3,'error':{'code':-32083,*}}");
    UNTIL(is_gone(pid));
    host_close();
}

/* ---- the stop ----------------------------------------------------------------------------- */

static void test_stop_waits_for_answers(void) {
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'hang'}");
    host_ingest("{'id':2,'method':'ask'}");
    int ask = (int)HOST_GETS("{'jsonrpc':'2.0','id':#,'method':'question'}");
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STOPPING);
    CHECK_INT(stdio_bus_stop(host.bus, 30), STDIO_BUS_OK); /* once is enough: later is not sooner */
    CHECK_INT(host_ingest("{'id':3,'method':'echo'}"), STDIO_BUS_ERR_STATE);
    host_feed(0, "{'id':3,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':3,'error':{'code':-32085,*}}");
    host_feed(0, "{'id':%d,'result':'yes'}\n", ask); /* answers are taken */
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':{'asked':true}}");
    CHECK_INT(stdio_bus_pending_count(host.bus), 1);
    fake_sys_advance(20000);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32085,*'reason':'stopping','retryable':false*}}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(stdio_bus_worker_count(host.bus), 0);
    CHECK_INT(stdio_bus_step(host.bus, -1), 0); /* stopped: does not wait */
    host_destroy();
}

static void test_stop_escalates(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2}]}"), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'deaf'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    int deaf = host_message_worker - 1;
    CHECK_INT(stdio_bus_stop(host.bus, 8), STDIO_BUS_OK);
    UNTIL(worker(!deaf).state == STDIO_BUS_WORKER_STOPPED); /* the end of its stdin was enough */
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(worker(deaf).state, STDIO_BUS_WORKER_STOPPING);
    CHECK_INT(host.signal, 0);
    fake_sys_advance(2000); /* SIGTERM: ignored */
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(worker(deaf).state, STDIO_BUS_WORKER_STOPPING);
    fake_sys_advance(6000);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(host.signal, SIGKILL);
    host_destroy();
}

/* Who has no patience any more may say so: while answers are awaited, and while workers end. */
static void test_stop_sooner(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['deaf']}]}"), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'hang'}");
    CHECK_INT(stdio_bus_stop(host.bus, 1000), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_stop(host.bus, 2000), STDIO_BUS_OK); /* later is not sooner */
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(stdio_bus_stop(host.bus, 8), STDIO_BUS_OK);
    fake_sys_advance(4000);
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_STOPPING);
    CHECK_INT(stdio_bus_stop(host.bus, 0), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32085,*}}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(host.signal, SIGKILL);
    host_destroy();
}

/* One that does not read its stdin gets SIGTERM. */
static void test_stop_terminates(void) {
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    host_ingest("{'id':1,'method':'shut'}");
    UNTIL(stdio_bus_step(host.bus, 0) == 0);
    CHECK_INT(stdio_bus_stop(host.bus, 0), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32085,*}}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(host.signal, SIGKILL); /* no time at all */
    host_destroy();
}

/* What waits in a queue has its turn while time allows, and its error when there is none. */
static void test_stop_with_a_queue(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'max_in_flight':1}]}"), STDIO_BUS_OK);
    for (int i = 1; i <= 5; i++) host_ingest("{'id':%d,'method':'echo'}", i);
    host_ingest("{'id':6,'method':'hang'}");
    host_ingest("{'id':7,'method':'echo'}");
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    for (int i = 1; i <= 5; i++) CHECK_INT(CHECK_LIKE(host_message(), quoted("{'jsonrpc':'2.0','id':#,'result':*}")), i);
    fake_sys_advance(20000);
    HOST_GETS("{'jsonrpc':'2.0','id':7,'error':{'code':-32085,*'retryable':true*}}");
    HOST_GETS("{'jsonrpc':'2.0','id':6,'error':{'code':-32085,*}}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

/* ---- workers that cannot be killed, as they run as another user ------------------------- */

static void end_what_is_left(int pid) {
    CHECK(!is_gone(pid));
    kill(pid, SIGKILL);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* A stop has its end all the same; so has the bus, stopped or not. */
static void test_stop_of_an_unkillable_worker(void) {
    for (int stopped = 0; stopped < 2; stopped++) {
        CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}]}"), STDIO_BUS_OK);
        int pid = worker(0).pid;
        host_ingest("{'id':1,'method':'deaf'}");
        HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
        host_ingest("{'id':2,'method':'hang'}");
        fake_sys_unkillable(true);
        if (stopped) {
            CHECK_INT(stdio_bus_stop(host.bus, 8), STDIO_BUS_OK);
            UNTIL(stdio_bus_step(host.bus, 0) == 0);
            fake_sys_advance(8000);
            HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32085,*}}");
            UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
            CHECK_STR(host_events(), " started:1 stopped:1");
            CHECK_STR(host.reason, "worker 1 of pool \"p\" cannot be killed and is left running");
            CHECK(host_logged("cannot be killed, it runs as another user"));
        }
        host_destroy();
        fake_sys_unkillable(false);
        end_what_is_left(pid);
    }
}

/* One at fault is replaced, and what was under way on it ends. */
static void test_fault_of_an_unkillable_worker(void) {
    CHECK_INT(host_open(ONE), STDIO_BUS_OK);
    int pid = worker(0).pid;
    host_ingest("{'id':1,'method':'mute'}");
    fake_sys_unkillable(true);
    UNTIL(worker(0).state != STDIO_BUS_WORKER_READY);
    fake_sys_advance(500);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32083,*}}");
    CHECK_STR(host.reason, "worker 1 of pool \"p\" cannot be killed and is left running: it had closed its stdout");
    fake_sys_unkillable(false);
    fake_sys_advance(100);
    host_ingest("{'id':2,'method':'echo'}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    CHECK(worker(0).pid != pid);
    host_ingest("{'id':3,'method':'exit'}"); /* the next end is one like any other */
    HOST_GETS("{'jsonrpc':'2.0','id':3,'error':{'code':-32083,'message':'worker 1 * exited with status 3',*}}");
    host_close();
    end_what_is_left(pid);
}

/* In every phase: a worker that waits for its next start, one without its handshake. */
static void test_stop_early(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['die']},"
                        "{'id':'q','command':'SELF','args':['silent']," HANDSHAKE "}]}"),
              STDIO_BUS_OK);
    UNTIL(worker(0).state == STDIO_BUS_WORKER_BACKOFF);
    host_ingest("{'id':1,'method':'echo'}");
    host_ingest("{'jsonrpc':'2.0','id':2,'method':'echo','pool':'q'}");
    CHECK_INT(stdio_bus_stop(host.bus, 0), STDIO_BUS_OK);
    HOST_GETS("{*'code':-32085,*}");
    HOST_GETS("{*'code':-32085,*}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(worker(0).state, STDIO_BUS_WORKER_STOPPED);
    host_destroy();

    REQUIRE(host_create(ONE)); /* never started */
    CHECK_INT(stdio_bus_stop(host.bus, 5), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STOPPED);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_ERR_STATE);
    host_destroy();
}

/* A worker whose answer to the handshake comes while it is asked to end ends well. */
static void test_stop_during_a_handshake(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']," HANDSHAKE "}]}"), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    read_after_exit();
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_STR(host_events(), " stopped:1");
    CHECK_STR(host.reason, "worker 1 of pool \"p\" exited with status 0");
    host_destroy();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_start_and_stop();
    test_crash("exit", 3, 0, "exited with status 3");
    test_crash("kill", -1, SIGKILL, "was ended by signal 9 (SIGKILL)");
    test_last_words();
    test_backoff();
    test_failed_for_good();
    test_failed_but_for_an_attached_one();
    test_embedded_pool_waits();
    test_restart_window();
    test_no_command();
    test_startup_timeout();
    test_handshake();
    test_handshake_of_a_dying_worker();
    test_closed_pipe("mute", "stdout");
    test_closed_pipe("shut", "stdin");
    test_cannot_be_watched();
    test_grandchild();
    test_stop_waits_for_answers();
    test_stop_escalates();
    test_stop_sooner();
    test_stop_terminates();
    test_stop_with_a_queue();
    test_stop_of_an_unkillable_worker();
    test_fault_of_an_unkillable_worker();
    test_stop_early();
    test_stop_during_a_handshake();
    fake_sys_end();
    return check_result();
}
