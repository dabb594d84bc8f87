/* test_ending.c - how a worker ended, as the host is told: status, signal, somebody else's
 * doing, and the last lines of its stderr. */
#include "ending.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fake_sys.h"
#include "host.h"

static void start(void) {
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],'limits':{'max_restarts':100}}"), STDIO_BUS_OK);
    UNTIL(strstr(host.events, " started:1"));
    host_events();
}

static void end_by(int signal) {
    stdio_bus_worker_info_t worker;
    CHECK_INT(stdio_bus_get_workers(host.bus, &worker, 1), 1);
    CHECK_INT(kill(worker.pid, signal), 0);
    UNTIL(strstr(host.events, " restarting:1"));
    fake_sys_advance(10000); /* the backoff */
    UNTIL(strstr(host.events, " started:1"));
}

static void test_status(void) {
    start();
    host_ingest("{'id':1,'method':'exit'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':*'exit_code':3,'signal':null,'stderr':'one\\ntwo'*");
    CHECK_STR(host.reason, "worker 1 of pool \"p\" exited with status 3");
    CHECK_INT(host.exit_code, 3);
    CHECK_INT(host.signal, 0);
    CHECK_STR(host.stderr_tail, "one\ntwo");
    host_close();
}

static void test_signals(void) {
    static const struct {
        int number;
        const char *name;
    } signals[] = {{SIGKILL, "SIGKILL"}, {SIGTERM, "SIGTERM"}, {SIGUSR1, "SIGUSR1"}, {SIGVTALRM, "unnamed"}};
    start();
    for (int i = 0; i < 4; i++) {
        char expected[128];
        end_by(signals[i].number);
        host_events();
        snprintf(expected, sizeof expected, "worker 1 of pool \"p\" was ended by signal %d (%s)", signals[i].number, signals[i].name);
        CHECK_STR(host.reason, ""); /* of its new start */
        CHECK(host_logged(expected));
    }
    host_close();
}

/* The host, or a library in it, waits for any child. */
static void test_reaped_by_somebody_else(void) {
    start();
    fake_sys_fail_with("sys_reap", ECHILD);
    end_by(SIGKILL);
    CHECK(host_logged("worker 1 of pool \"p\" has disappeared"));
    host_close();
}

/* Without memory the ending is told without its stderr. */
static void test_no_memory_for_stderr(void) {
    ending_t ending = {.stderr_tail = NULL};
    CHECK_STR(ending_stderr(&ending), "");
    ending_free(&ending);
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_status();
    test_signals();
    test_reaped_by_somebody_else();
    test_no_memory_for_stderr();
    fake_sys_end();
    return check_result();
}
