/*
 * loop.h - descriptors, timers and child exits, dispatched to their owners.
 *
 * Watches and timers are embedded in what they serve; the loop borrows them.  A
 * handler may end any watch or timer, its own included.
 */
#ifndef STDIO_BUS_LOOP_H
#define STDIO_BUS_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "heap.h"

typedef struct loop loop_t;

/* A descriptor or a child.  Zero-initialised but for `fn` and `owner`. */
typedef struct watch {
    void (*fn)(struct watch *watch, unsigned events); /* POLL_* of poller.h */
    void *owner;
    int fd;           /* of a descriptor */
    unsigned events;  /* asked for now */
    pid_t pid;        /* of a child */
    int child_handle; /* from the poller */
} watch_t;

typedef struct loop_timer {
    heap_node_t node; /* first; key: due time in monotonic milliseconds */
    void (*fn)(struct loop_timer *timer);
    void *owner;
} loop_timer_t;

loop_t *loop_open(void); /* NULL with errno */
void loop_close(loop_t *loop);
int loop_fd(const loop_t *loop);
uint64_t loop_now(const loop_t *loop); /* as of the last wait or update, in milliseconds */
void loop_update_now(loop_t *loop);    /* for calls from outside: the last wait may be long ago */

/* Sets what `watch->fd` is watched for; 0 ends it, and must come before close(fd). */
int loop_watch(loop_t *loop, watch_t *watch, unsigned events);
/* True when the exit of watch->pid will be reported (POLL_EXIT, once). */
bool loop_watch_child(loop_t *loop, watch_t *watch);
void loop_unwatch_child(loop_t *loop, watch_t *watch);

/* Makes room for so many timers of one kind in all: starting one of them cannot fail then. */
typedef enum loop_timers { LOOP_WORKER_TIMERS, LOOP_CLIENT_TIMERS, LOOP_TIMERS_COUNT } loop_timers_t;
bool loop_reserve_timers(loop_t *loop, loop_timers_t kind, size_t count);
/* (Re)starts a timer.  False: no memory. */
bool loop_timer_start(loop_t *loop, loop_timer_t *timer, uint64_t delay_ms);
void loop_timer_stop(loop_t *loop, loop_timer_t *timer); /* fine when not running */

/* Makes the poll descriptor readable, so that the host comes back soon. */
void loop_wake(loop_t *loop);

/* Waits, dispatches; returns the number of events and timers handled, or -1 with errno. */
int loop_run(loop_t *loop, int timeout_ms);

#endif
