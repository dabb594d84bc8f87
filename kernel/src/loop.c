/* loop.c - see loop.h. */
#include "loop.h"

#include <errno.h>

#include "poller.h"
#include "sys.h"

#define EVENTS_PER_RUN 64
#define NOT_ARMED UINT64_MAX

struct loop {
    poller_t *poller;
    heap_t timers;
    size_t reserved[LOOP_TIMERS_COUNT];
    uint64_t now;
    uint64_t armed; /* the due time the poller's timer is set to */
    bool awake;     /* loop_wake has set it to fire at once */
    poll_event_t events[EVENTS_PER_RUN];
    int at, count; /* the events of the present run */
};

loop_t *loop_open(void) {
    loop_t *loop = sys_calloc(1, sizeof *loop);
    if (!loop) return NULL;
    loop->poller = poller_open();
    if (!loop->poller) {
        int saved = errno;
        sys_free(loop);
        errno = saved;
        return NULL;
    }
    loop->armed = NOT_ARMED;
    loop->now = sys_now_ms();
    return loop;
}

void loop_close(loop_t *loop) {
    poller_close(loop->poller);
    heap_free(&loop->timers);
    sys_free(loop);
}

int loop_fd(const loop_t *loop) {
    return poller_fd(loop->poller);
}

uint64_t loop_now(const loop_t *loop) {
    return loop->now;
}

void loop_update_now(loop_t *loop) {
    loop->now = sys_now_ms();
}

/* Events of this run that nobody waits for any more are not delivered. */
static void forget(loop_t *loop, const watch_t *watch, unsigned keep) {
    for (int i = loop->at; i < loop->count; i++)
        if (loop->events[i].data == watch) loop->events[i].events &= keep;
}

int loop_watch(loop_t *loop, watch_t *watch, unsigned events) {
    if (events == watch->events) return 0;
    if (poller_set(loop->poller, watch->fd, watch->events, events, watch) < 0 && events) return -1;
    watch->events = events;
    forget(loop, watch, events | POLL_EXIT);
    return 0;
}

bool loop_watch_child(loop_t *loop, watch_t *watch) {
    watch->child_handle = poller_watch_child(loop->poller, watch->pid, watch);
    return watch->child_handle >= 0;
}

void loop_unwatch_child(loop_t *loop, watch_t *watch) {
    poller_unwatch_child(loop->poller, watch->child_handle, watch->pid);
    watch->child_handle = -1;
    forget(loop, watch, POLL_READ | POLL_WRITE);
}

/* Sets the poller's timer to the nearest of ours, if it is not. */
static void arm(loop_t *loop) {
    heap_node_t *first = heap_first(&loop->timers);
    uint64_t due = first ? first->key : NOT_ARMED;
    if (loop->awake || due == loop->armed) return;
    loop->armed = due;
    if (due == NOT_ARMED) poller_set_timer(loop->poller, -1);
    else poller_set_timer(loop->poller, due > loop->now ? (int64_t)(due - loop->now) : 0);
}

bool loop_reserve_timers(loop_t *loop, loop_timers_t kind, size_t count) {
    size_t all = count;
    for (int other = 0; other < LOOP_TIMERS_COUNT; other++) all += other == (int)kind ? 0 : loop->reserved[other];
    if (!heap_reserve(&loop->timers, all)) return false;
    loop->reserved[kind] = count;
    return true;
}

bool loop_timer_start(loop_t *loop, loop_timer_t *timer, uint64_t delay_ms) {
    loop_update_now(loop);
    timer->node.key = loop->now + delay_ms;
    if (!heap_put(&loop->timers, &timer->node)) return false;
    arm(loop);
    return true;
}

void loop_timer_stop(loop_t *loop, loop_timer_t *timer) {
    heap_remove(&loop->timers, &timer->node);
    arm(loop);
}

void loop_wake(loop_t *loop) {
    if (loop->awake) return;
    loop->awake = true;
    loop->armed = NOT_ARMED;
    poller_set_timer(loop->poller, 0);
}

static int run_timers(loop_t *loop) {
    int handled = 0;
    heap_node_t *first;
    /* Only those due by now: a timer that restarts itself with no delay waits a turn. */
    uint64_t now = loop->now;
    while ((first = heap_first(&loop->timers)) && first->key <= now && handled < EVENTS_PER_RUN) {
        loop_timer_t *timer = (loop_timer_t *)first;
        heap_remove(&loop->timers, first);
        timer->fn(timer);
        handled++;
    }
    return handled;
}

int loop_run(loop_t *loop, int timeout_ms) {
    int count = poller_wait(loop->poller, loop->events, EVENTS_PER_RUN, loop->awake ? 0 : timeout_ms);
    if (count < 0) return -1;
    loop_update_now(loop);
    loop->count = count;
    int handled = 0;
    for (loop->at = 0; loop->at < loop->count;) {
        poll_event_t event = loop->events[loop->at++];
        if (event.events & POLL_TIMER) {
            loop->awake = false;
            loop->armed = NOT_ARMED;
        } else if (event.events) {
            watch_t *watch = event.data;
            watch->fn(watch, event.events);
            handled++;
        }
    }
    loop->count = loop->at = 0;
    handled += run_timers(loop);
    arm(loop);
    return handled;
}
