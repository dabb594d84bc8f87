/* test_loop.c - timers in their order, the wake-up, descriptors, child exits, and the one
 * descriptor that tells of all of them. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fake_sys.h"
#include "loop.h"
#include "poller.h"
#include "sys.h"

static loop_t *loop;
static char order[64]; /* letters of what has been handled */

static void note(char letter) {
    size_t len = strlen(order);
    REQUIRE(len + 1 < sizeof order);
    order[len] = letter;
    order[len + 1] = '\0';
}

static bool readable(void) {
    struct pollfd fd = {.fd = loop_fd(loop), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* Waits as a host does that watches the descriptor only. */
static bool becomes_readable(void) {
    struct pollfd fd = {.fd = loop_fd(loop), .events = POLLIN};
    return poll(&fd, 1, 30000) == 1;
}

typedef struct named_timer {
    loop_timer_t timer;
    char name;
    struct named_timer *stops; /* another, when it runs */
    int again;                 /* times to restart itself at once */
} named_timer_t;

static void on_timer(loop_timer_t *timer) {
    named_timer_t *named = timer->owner;
    note(named->name);
    if (named->stops) loop_timer_stop(loop, &named->stops->timer);
    if (named->again-- > 0) CHECK(loop_timer_start(loop, timer, 0));
}

static named_timer_t timer(char name) {
    return (named_timer_t){.timer = {.fn = on_timer}, .name = name};
}

static bool start(named_timer_t *named, uint64_t delay_ms) {
    named->timer.owner = named;
    return loop_timer_start(loop, &named->timer, delay_ms);
}

static void run_and_check(const char *expected) {
    order[0] = '\0';
    CHECK_INT(loop_run(loop, 0), strlen(expected));
    CHECK_STR(order, expected);
}

static void test_timers(void) {
    named_timer_t a = timer('a'), b = timer('b'), c = timer('c'), d = timer('d');
    uint64_t before = loop_now(loop);
    CHECK(start(&c, 300000) && start(&a, 100000) && start(&b, 200000) && start(&d, 200001));
    run_and_check("");
    fake_sys_advance(100000);
    run_and_check("a");
    CHECK(loop_now(loop) >= before + 100000);
    run_and_check("");
    CHECK(start(&c, 50000)); /* moved to the front */
    fake_sys_advance(250000);
    run_and_check("cbd");
    run_and_check("");

    CHECK(start(&a, 1000) && start(&b, 2000));
    loop_timer_stop(loop, &a.timer);
    loop_timer_stop(loop, &a.timer); /* not running: fine */
    fake_sys_advance(5000);
    run_and_check("b");

    a.stops = &b; /* due in the same turn */
    CHECK(start(&a, 1000) && start(&b, 2000));
    fake_sys_advance(5000);
    run_and_check("a");
    a.stops = &a; /* itself */
    CHECK(start(&a, 1000));
    fake_sys_advance(5000);
    run_and_check("a");
    CHECK(!readable());
}

/* A timer that restarts itself for ever leaves the loop its turns. */
static void test_restarting_timer(void) {
    named_timer_t a = timer('.');
    a.again = 40;
    CHECK(start(&a, 0));
    int handled = 0;
    order[0] = '\0';
    for (int turns = 0; handled < 41 && turns < 1000; turns++) {
        CHECK(becomes_readable());
        handled += loop_run(loop, 0);
    }
    CHECK_INT(handled, 41);
    CHECK(!readable());
}

/* The descriptor turns readable when a timer is due: nobody has to ask. */
static void test_descriptor_tells_of_timers(void) {
    named_timer_t a = timer('a'), b = timer('b');
    CHECK(start(&b, 60000));
    CHECK(start(&a, 20));
    CHECK(becomes_readable());
    run_and_check("a");
    CHECK(!readable());
    order[0] = '\0';
    CHECK(start(&a, 1));
    CHECK(loop_run(loop, 30000) <= 1); /* -1 or long: the timer ends the wait */
    while (!*order) loop_run(loop, -1);
    CHECK_STR(order, "a");
    loop_timer_stop(loop, &b.timer);
}

static void test_wake(void) {
    named_timer_t a = timer('a');
    CHECK(!readable());
    loop_wake(loop);
    loop_wake(loop);
    CHECK(becomes_readable());
    CHECK_INT(loop_run(loop, -1), 0); /* does not wait */
    CHECK(!readable());
    loop_wake(loop); /* a timer started meanwhile does not undo it */
    CHECK(start(&a, 60000));
    CHECK(becomes_readable());
    CHECK_INT(loop_run(loop, -1), 0);
    CHECK(!readable());
    loop_timer_stop(loop, &a.timer);
}

typedef struct named_pipe {
    watch_t in, out;
    struct named_pipe *ends; /* the watch of another, in its handler */
} named_pipe_t;

static void on_pipe(watch_t *watch, unsigned events) {
    named_pipe_t *named = watch->owner;
    note(watch == &named->in ? 'r' : 'w');
    CHECK(events & (watch == &named->in ? POLL_READ : POLL_WRITE));
    if (named->ends) CHECK_INT(loop_watch(loop, &named->ends->in, 0), 0);
}

static void open_pipe(named_pipe_t *named) {
    int fds[2];
    REQUIRE(sys_pipe(fds, true, true) == 0);
    *named = (named_pipe_t){.in = {.fn = on_pipe, .owner = named, .fd = fds[0]},
                            .out = {.fn = on_pipe, .owner = named, .fd = fds[1]}};
}

static void close_pipe(named_pipe_t *named) {
    CHECK_INT(loop_watch(loop, &named->in, 0), 0);
    CHECK_INT(loop_watch(loop, &named->out, 0), 0);
    sys_close(named->in.fd);
    sys_close(named->out.fd);
}

static void test_descriptors(void) {
    named_pipe_t p, q;
    char byte;
    open_pipe(&p);
    open_pipe(&q);
    CHECK_INT(loop_watch(loop, &p.in, POLL_READ), 0);
    CHECK_INT(loop_watch(loop, &p.in, POLL_READ), 0);
    run_and_check("");
    CHECK_INT(write(p.out.fd, "x", 1), 1);
    CHECK(becomes_readable());
    run_and_check("r");
    run_and_check("r"); /* as long as it is readable */
    CHECK_INT(loop_watch(loop, &p.in, 0), 0);
    run_and_check("");
    CHECK_INT(loop_watch(loop, &p.in, POLL_READ), 0);
    CHECK_INT(read(p.in.fd, &byte, 1), 1);
    CHECK_INT(loop_watch(loop, &p.out, POLL_WRITE), 0);
    run_and_check("w");
    CHECK_INT(loop_watch(loop, &p.out, 0), 0);

    /* One handler ends the watch of the other: it is not called, in whichever order. */
    p.ends = &q;
    q.ends = &p;
    CHECK_INT(loop_watch(loop, &q.in, POLL_READ), 0);
    CHECK_INT(write(p.out.fd, "x", 1), 1);
    CHECK_INT(write(q.out.fd, "x", 1), 1);
    run_and_check("r");
    close_pipe(&p);
    close_pipe(&q);

    open_pipe(&p); /* a hang-up is something to read */
    CHECK_INT(loop_watch(loop, &p.in, POLL_READ), 0);
    sys_close(p.out.fd);
    CHECK(becomes_readable());
    run_and_check("r");
    CHECK_INT(loop_watch(loop, &p.in, 0), 0);
    sys_close(p.in.fd);

    watch_t bad = {.fn = on_pipe, .fd = 1000};
    CHECK_INT(loop_watch(loop, &bad, POLL_READ), -1);
    CHECK_INT(bad.events, 0);
}

static void on_child(watch_t *watch, unsigned events) {
    CHECK_INT(events, POLL_EXIT);
    note('x');
    CHECK(sys_has_exited(watch->pid));
    loop_unwatch_child(loop, watch);
}

static pid_t fork_sleeper(void) {
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) pause();
    }
    return pid;
}

static void test_children(void) {
    watch_t watch = {.fn = on_child, .pid = fork_sleeper(), .child_handle = -1};
    REQUIRE(watch.pid > 0);
    if (!loop_watch_child(loop, &watch)) {
        printf("SKIP children: this system reports no exits\n");
    } else {
        run_and_check("");
        CHECK(!sys_has_exited(watch.pid));
        CHECK_INT(kill(watch.pid, SIGKILL), 0);
        CHECK(becomes_readable());
        run_and_check("x");
        run_and_check("");
    }
    kill(watch.pid, SIGKILL);
    int status = sys_reap(watch.pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_INT(sys_reap(watch.pid), -1);
}

static void test_failures(void) {
    for (long n = 1;; n++) {
        fake_sys_fail_allocation(n);
        loop_t *other = loop_open();
        bool failed = fake_sys_has_failed();
        fake_sys_fail_allocation(0);
        CHECK_INT(other == NULL, failed);
        if (other) {
            loop_close(other);
            break;
        }
    }
    loop_t *other = loop_open();
    static loop_timer_t timers[20];
    fake_sys_no_memory(true);
    CHECK(!loop_timer_start(other, &timers[0], 1));
    CHECK(!loop_reserve_timers(other, LOOP_WORKER_TIMERS, 12));
    fake_sys_no_memory(false);
    CHECK(loop_reserve_timers(other, LOOP_WORKER_TIMERS, 12));
    CHECK(loop_reserve_timers(other, LOOP_CLIENT_TIMERS, 8)); /* beside those */
    fake_sys_no_memory(true);
    for (int i = 0; i < 20; i++) CHECK(loop_timer_start(other, &timers[i], 1000));
    fake_sys_no_memory(false);
    loop_close(other);
}

int main(void) {
    fake_sys_begin();
    loop = loop_open();
    REQUIRE(loop != NULL);
    test_timers();
    test_restarting_timer();
    test_descriptor_tells_of_timers();
    test_wake();
    test_descriptors();
    test_children();
    loop_close(loop);
    test_failures();
    fake_sys_end();
    return check_result();
}
