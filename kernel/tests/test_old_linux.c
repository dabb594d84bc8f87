/* test_old_linux.c - a Linux without pidfd and close_range: the end of a worker's output and
 * waitpid serve, and descriptors are closed one by one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fake_sys.h"
#include "host.h"

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define PIDFD_OPEN 434
#define CLOSE_RANGE 436

/* From now on the two calls are unknown to the system. */
static bool forget_calls(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PIDFD_OPEN, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOSE_RANGE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) return false;
    return syscall(PIDFD_OPEN, getpid(), 0) < 0 && errno == ENOSYS;
}
#else
static bool forget_calls(void) {
    return false;
}
#endif

static void start(const char *mode) {
    char config[256];
    snprintf(config, sizeof config, "{'pools':[{'id':'p','command':'SELF','args':['%s'],'instances':2}]}", mode);
    CHECK_INT(host_open(config), STDIO_BUS_OK);
    UNTIL(stdio_bus_worker_count(host.bus) == 2);
    host_events();
}

static stdio_bus_worker_info_t worker(int index) {
    stdio_bus_worker_info_t all[2];
    REQUIRE(stdio_bus_get_workers(host.bus, all, 2) == 2);
    return all[index];
}

static void test_crash_and_restart(void) {
    start("work");
    host_ingest("{'id':1,'method':'exit'}");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32083,*'exit_code':3*}}");
    UNTIL(strstr(host.events, " restarting:1 started:1"));
    CHECK_INT(kill(worker(1).pid, SIGKILL), 0);
    UNTIL(strstr(host.events, " restarting:2 started:2"));
    host_ingest("{'id':2,'method':'echo'}");
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    host_close();
}

/* It closes its output and lives: it is waited for, and then ended. */
static void test_closed_output(void) {
    start("work");
    host_ingest("{'id':1,'method':'mute'}");
    host_begin();
    while (!host_messages() && host_step()) fake_sys_advance(50);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'error':{'code':-32083,*SIGKILL*it had closed its stdout*}}");
    host_close();
}

/* Nobody reads its output meanwhile: a hang-up tells. */
static void test_death_of_a_paused_worker(void) {
    start("work");
    CHECK_INT(stdio_bus_pause_worker(host.bus, 1), STDIO_BUS_OK);
    CHECK_INT(kill(worker(0).pid, SIGKILL), 0);
    UNTIL(strstr(host.events, " restarting:1"));
    host_close();
}

static void test_deaf_at_the_stop(void) {
    start("deaf");
    CHECK_INT(stdio_bus_stop(host.bus, 2), STDIO_BUS_OK);
    host_begin();
    while (stdio_bus_get_state(host.bus) != STDIO_BUS_STATE_STOPPED && host_step()) fake_sys_advance(100);
    CHECK_INT(stdio_bus_worker_count(host.bus), 0);
    host_destroy();
}

/* Nothing of the host's but 0, 1 and 2 reaches a worker. */
static void test_descriptors(void) {
    int ends[2];
    char byte;
    CHECK_INT(pipe(ends), 0); /* not close-on-exec */
    start("work");
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    CHECK_INT(read(ends[0], &byte, 1), 0); /* no worker holds the other end open */
    close(ends[0]);
    host_close();
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    if (!forget_calls()) {
        printf("SKIP: this system cannot forget calls\n");
        return 0;
    }
    test_crash_and_restart();
    test_closed_output();
    test_death_of_a_paused_worker();
    test_deaf_at_the_stop();
    test_descriptors();
    fake_sys_end();
    return check_result();
}
