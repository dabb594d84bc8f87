/* test_poller.c - what the event facility of this system reports: descriptors, the timer,
 * child exits; and when it cannot. */
#define _GNU_SOURCE
#include "poller.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "fake_sys.h"
#include "sys.h"

#define PATIENCE_MS 30000

static poller_t *poller;
static poll_event_t events[4];
static int a, b; /* stand for owners */

static void test_descriptors(void) {
    int fds[2];
    REQUIRE(sys_pipe(fds, true, true) == 0);
    CHECK_INT(poller_set(poller, fds[0], 0, POLL_READ, &a), 0);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    CHECK_INT(poller_set(poller, fds[1], 0, POLL_WRITE, &b), 0);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == &b && events[0].events == POLL_WRITE);
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(poller_wait(poller, events, 1, PATIENCE_MS), 1); /* no more than there is room for */
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 2);
    CHECK_INT(poller_set(poller, fds[1], POLL_WRITE, 0, &b), 0);
    CHECK_INT(poller_set(poller, fds[0], POLL_READ, POLL_READ, &a), 0); /* no change */
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == &a && events[0].events == POLL_READ);
    sys_close(fds[1]); /* a hang-up is something to read */
    char byte;
    CHECK_INT(read(fds[0], &byte, 1), 1);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == &a && (events[0].events & POLL_READ));
    CHECK_INT(poller_set(poller, fds[0], POLL_READ, 0, &a), 0);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    sys_close(fds[0]);
    CHECK_INT(poller_set(poller, fds[0], 0, POLL_READ, &a), -1);
    CHECK_INT(errno, EBADF);
}

/* The end of what the other side sends is no hang-up; that it has gone is one. */
static void test_hang_up(void) {
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_INT(poller_set(poller, fds[0], 0, POLL_READ, &a), 0);
    CHECK_INT(poller_set(poller, fds[0], POLL_READ, POLL_HANGUP, &a), 0);
    poller_wait(poller, events, 4, 0); /* some systems say once that there is room */
    shutdown(fds[1], SHUT_WR);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    CHECK_INT(poller_set(poller, fds[0], POLL_HANGUP, POLL_HANGUP | POLL_WRITE, &a), 0);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == &a && events[0].events == POLL_WRITE);
    CHECK_INT(poller_set(poller, fds[0], POLL_HANGUP | POLL_WRITE, POLL_HANGUP, &a), 0);
    close(fds[1]);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == &a && events[0].events == (POLL_READ | POLL_WRITE));
    CHECK_INT(poller_set(poller, fds[0], POLL_HANGUP, 0, &a), 0);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    close(fds[0]);
}

static void test_timer(void) {
    poller_set_timer(poller, PATIENCE_MS);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    poller_set_timer(poller, 0);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    CHECK(events[0].data == NULL && events[0].events == POLL_TIMER);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0); /* once */
    poller_set_timer(poller, 1);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
    poller_set_timer(poller, (int64_t)1 << 32); /* may fire early, but not now */
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    poller_set_timer(poller, 0);
    poller_set_timer(poller, -1);
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
}

static pid_t fork_sleeper(void) {
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) pause();
    }
    REQUIRE(pid > 0);
    return pid;
}

static void test_children(void) {
    pid_t first = fork_sleeper(), second = fork_sleeper();
    int handle = poller_watch_child(poller, first, &a), other = poller_watch_child(poller, second, &b);
    if (handle < 0) {
        printf("SKIP children: this system reports no exits\n");
    } else {
        CHECK(other >= 0);
        CHECK_INT(poller_wait(poller, events, 4, 0), 0);
        poller_unwatch_child(poller, other, second);
        kill(second, SIGKILL);
        kill(first, SIGKILL);
        CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 1);
        CHECK(events[0].data == &a && events[0].events == POLL_EXIT);
        poller_unwatch_child(poller, handle, first);
    }
    kill(first, SIGKILL);
    kill(second, SIGKILL);
    sys_reap(first);
    sys_reap(second);
    CHECK_INT(poller_watch_child(poller, first, &a), -1); /* there is none any more */
    poller_unwatch_child(poller, -1, first);
}

static void on_alarm(int signal) {
    (void)signal;
}

/* A signal of the host ends the wait early, and is no error. */
static void test_signals(void) {
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval often = {.it_value.tv_usec = 10000, .it_interval.tv_usec = 10000}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    CHECK_INT(poller_wait(poller, events, 4, PATIENCE_MS), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
}

static void test_broken(void) {
    pid_t child = fork_sleeper();
    fake_sys_break(poller_fd(poller));
    CHECK_INT(poller_wait(poller, events, 4, 0), -1);
    CHECK_INT(poller_set(poller, 0, 0, POLL_READ, &a), -1);
    CHECK_INT(poller_watch_child(poller, child, &a), -1);
    fake_sys_mend(poller_fd(poller));
    CHECK_INT(poller_wait(poller, events, 4, 0), 0);
    kill(child, SIGKILL);
    sys_reap(child);
}

/* So many descriptors are free and no more: all or nothing. */
static void test_no_descriptors(void) {
    struct rlimit before, limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int lowest = dup(0), opened = 0;
    close(lowest);
    for (int more = 0; more < 4; more++) {
        limit = before;
        limit.rlim_cur = (rlim_t)(lowest + more);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        poller_t *other = poller_open();
        if (!other) CHECK_INT(errno, EMFILE);
        else poller_close(other), opened++;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    }
    CHECK(opened > 0 && opened < 4);
    fake_sys_fail_allocation(1);
    CHECK(poller_open() == NULL);
}

int main(void) {
    fake_sys_begin();
    poller = poller_open();
    REQUIRE(poller != NULL);
    test_descriptors();
    test_hang_up();
    test_timer();
    test_children();
    test_signals();
    test_broken();
    poller_close(poller);
    test_no_descriptors();
    fake_sys_end();
    return check_result();
}
