/* test_embedded.c - workers inside the host: over one socket or two pipes, beside those
 * with a process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"

#define POOL "{'pools':[{'id':'p','command':'SELF','args':['work'],'protocol':'%s'}]}"

static void open_pool(const char *protocol) {
    char config[128];
    snprintf(config, sizeof config, POOL, protocol);
    CHECK_INT(host_open(config), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    host_events();
}

/* What the bus has written to the worker so far: one read. */
static const char *worker_gets(int fd) {
    static char text[4096];
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void worker_says(int fd, const char *text) {
    const char *line = quoted(text);
    CHECK_INT(write(fd, line, strlen(line)), (long)strlen(line));
}

static void test_over_a_socket(void) {
    int ends[2];
    open_pool("stdiobus");
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int id = stdio_bus_register_embedded_worker(host.bus, ends[0], ends[0], "p");
    CHECK_INT(id, 2);
    CHECK_STR(host_events(), " started:2");
    CHECK_INT(stdio_bus_worker_count(host.bus), 2);
    host_ingest("{'id':1,'method':'hang'}");
    host_ingest("{'id':2,'method':'sum'}");
    CHECK_LIKE(worker_gets(ends[1]), quoted("{'id':2,'method':'sum'}\n"));
    worker_says(ends[1], "{'id':2,'result':5}\n");
    HOST_GETS("{'id':2,'result':5}");
    CHECK_INT(host_message_worker, 2);
    CHECK_INT(stdio_bus_unregister_embedded_worker(host.bus, id), STDIO_BUS_OK);
    CHECK_STR(worker_gets(ends[1]), ""); /* the end of its input */
    close(ends[1]);
    UNTIL(stdio_bus_worker_count(host.bus) == 1);
    CHECK_STR(host_events(), " stopped:2");
    CHECK_INT(stdio_bus_unregister_embedded_worker(host.bus, id), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_unregister_embedded_worker(host.bus, 1), STDIO_BUS_ERR_EINVAL);
    host_ingest("{'id':3,'method':'late'}");
    CHECK_LIKE(host_message(), "*result*");
    CHECK_LIKE(host_message(), "*result*");
    host_close();
}

static void test_over_pipes_with_handshake(void) {
    int in[2], out[2];
    open_pool("stdiobus");
    host_close();
    CHECK_INT(host_open("{'pools':[{'id':'p','command':'SELF','args':['silent'],'protocol':'mcp'}]}"), STDIO_BUS_OK);
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    CHECK_INT(stdio_bus_register_embedded_worker(host.bus, in[1], out[0], "p"), 2);
    CHECK_LIKE(worker_gets(in[0]), quoted("{'jsonrpc':'2.0','id':2,'method':'initialize','params':*}\n"));
    CHECK_STR(host_events(), "");
    worker_says(out[1], "{'jsonrpc':'2.0','id':2,'result':{}}\n");
    UNTIL(strstr(host.events, "started:2"));
    CHECK_LIKE(worker_gets(in[0]), quoted("{'jsonrpc':'2.0','method':'notifications/initialized'}\n"));
    /* Its requests end when it goes, and it is not started again. */
    host_ingest("{'jsonrpc':'2.0','id':7,'method':'m'}");
    host_events();
    close(out[1]);
    HOST_GETS("{'jsonrpc':'2.0','id':7,'error':{'code':-32083,'message':'worker 2 of pool \\'p\\' has closed its connection*");
    UNTIL(stdio_bus_get_workers(host.bus, NULL, 0) == 1);
    CHECK_STR(host_events(), " stopped:2");
    close(in[0]);
    stdio_bus_stop(host.bus, 0);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

static void test_stop_does_not_wait_for_ever(void) {
    int ends[2];
    open_pool("stdiobus");
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    stdio_bus_register_embedded_worker(host.bus, ends[0], ends[0], "p");
    CHECK_INT(stdio_bus_stop(host.bus, 4), STDIO_BUS_OK);
    UNTIL(stdio_bus_worker_count(host.bus) == 1); /* the one with a process has gone */
    fake_sys_advance(4000);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    host_destroy();
    close(ends[1]);
}

static void test_bad_arguments(void) {
    open_pool("stdiobus");
    CHECK_INT(stdio_bus_register_embedded_worker(host.bus, -1, 0, "p"), STDIO_BUS_ERR_EINVAL);
    CHECK_INT(stdio_bus_register_embedded_worker(host.bus, 0, 0, "nope"), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_unregister_embedded_worker(host.bus, 77), STDIO_BUS_OK);
    host_close();
}

/* Descriptors that are handed over are closed when the worker cannot be had. */
static void test_cannot_be_had(void) {
    static const char *const calls[] = {"sys_duplicate", "sys_prepare"};
    int ends[2];
    open_pool("stdiobus");
    for (int i = 0; i < 2; i++) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        fake_sys_fail_with(calls[i], EMFILE);
        CHECK_INT(stdio_bus_register_embedded_worker(host.bus, ends[0], ends[0], "p"), STDIO_BUS_ERR);
        CHECK_STR(worker_gets(ends[1]), "");
        close(ends[1]);
    }
    for (long n = 1; n <= 2; n++) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        fake_sys_fail_allocation(n);
        int id = stdio_bus_register_embedded_worker(host.bus, ends[0], ends[0], "p");
        CHECK(fake_sys_has_failed() ? id == STDIO_BUS_ERR : id > 0);
        fake_sys_fail_allocation(0);
        close(ends[1]);
    }
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fake_sys_break(stdio_bus_get_poll_fd(host.bus));
    CHECK_INT(stdio_bus_register_embedded_worker(host.bus, ends[0], ends[0], "p"), STDIO_BUS_ERR);
    fake_sys_mend(stdio_bus_get_poll_fd(host.bus));
    CHECK_STR(worker_gets(ends[1]), "");
    close(ends[1]);
    host_ingest("{'id':1,'method':'echo'}"); /* nothing is sent to what is not there */
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    CHECK_INT(host_message_worker, 1);
    UNTIL(stdio_bus_get_workers(host.bus, NULL, 0) == 1);
    host_close();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_over_a_socket();
    test_over_pipes_with_handshake();
    test_stop_does_not_wait_for_ever();
    test_bad_arguments();
    test_cannot_be_had();
    fake_sys_end();
    return check_result();
}
