/*
 * poller.h - what the loop needs from the kernel's event facility: poller_epoll.c on
 * Linux, poller_kqueue.c on macOS; the build picks one.
 *
 * One descriptor carries everything: descriptors, one timer, child exits.
 */
#ifndef STDIO_BUS_POLLER_H
#define STDIO_BUS_POLLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define POLL_READ 1u
#define POLL_WRITE 2u
#define POLL_EXIT 4u  /* a watched child has exited */
#define POLL_TIMER 8u /* the timer has run out */
#define POLL_HANGUP 16u /* to ask for, of a socket: both directions are closed, or broken */

typedef struct poller poller_t;

typedef struct poll_event {
    void *data; /* as given to poller_set or poller_watch_child; NULL for the timer */
    unsigned events;
} poll_event_t;

poller_t *poller_open(void); /* NULL with errno */
void poller_close(poller_t *poller);
int poller_fd(const poller_t *poller);

/* Watches `fd` for `events` (POLL_READ, POLL_WRITE; level-triggered), in place of what
 * was asked before (`was`, 0 for a new one).  0 events ends the watch; it must end
 * before the descriptor is closed.  0, or -1 with errno.
 * A hang-up is reported as POLL_READ and POLL_WRITE, whatever is watched for; POLL_HANGUP
 * watches for nothing else, and the end of the other side's output alone is none. */
int poller_set(poller_t *poller, int fd, unsigned was, unsigned events, void *data);

/* Reports the exit of a child once.  A handle >= 0 for poller_unwatch_child, or -1
 * where the system cannot (then end-of-file on the child's output has to serve). */
int poller_watch_child(poller_t *poller, pid_t pid, void *data);
void poller_unwatch_child(poller_t *poller, int handle, pid_t pid);

/* Sets the one timer, in milliseconds from now; 0 fires at once, -1 disarms it. */
void poller_set_timer(poller_t *poller, int64_t delay_ms);

/* Waits at most `timeout_ms` (-1: for ever) and fills `out`.  The number of events, or
 * -1 with errno. */
int poller_wait(poller_t *poller, poll_event_t *out, int capacity, int timeout_ms);

#endif
