/*
 * poller_epoll.c - the poller on Linux: epoll, with a timerfd and pidfds inside it.
 */
#define _GNU_SOURCE
#include "poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture; older headers lack it */
#endif

#define WAIT_BATCH 64

/* The low bit of the data pointer marks a pidfd: what epoll stores for it is the user's
 * pointer plus one. */
#define CHILD_MARK 1u

struct poller {
    int epoll;
    int timer;
};

poller_t *poller_open(void) {
    poller_t *poller = sys_malloc(sizeof *poller);
    if (!poller) return NULL;
    poller->timer = -1;
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll >= 0) poller->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (poller->timer >= 0 && epoll_ctl(poller->epoll, EPOLL_CTL_ADD, poller->timer, &event) == 0) return poller;
    int saved = errno;
    poller_close(poller);
    errno = saved;
    return NULL;
}

void poller_close(poller_t *poller) {
    sys_close(poller->timer);
    sys_close(poller->epoll);
    sys_free(poller);
}

int poller_fd(const poller_t *poller) {
    return poller->epoll;
}

int poller_set(poller_t *poller, int fd, unsigned was, unsigned events, void *data) {
    struct epoll_event event = {.data.ptr = data};
    if (events & POLL_READ) event.events |= EPOLLIN;
    if (events & POLL_WRITE) event.events |= EPOLLOUT;
    /* POLL_HANGUP: epoll reports hang-ups even when nothing is asked for. */
    int op = !events ? EPOLL_CTL_DEL : was ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (was == events) return 0;
    return epoll_ctl(poller->epoll, op, fd, &event);
}

int poller_watch_child(poller_t *poller, pid_t pid, void *data) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
    if (fd < 0) return -1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (char *)data + CHILD_MARK};
    if (epoll_ctl(poller->epoll, EPOLL_CTL_ADD, fd, &event) == 0) return fd;
    sys_close(fd);
    return -1;
}

void poller_unwatch_child(poller_t *poller, int handle, pid_t pid) {
    (void)pid;
    if (handle < 0) return;
    epoll_ctl(poller->epoll, EPOLL_CTL_DEL, handle, NULL);
    sys_close(handle);
}

void poller_set_timer(poller_t *poller, int64_t delay_ms) {
    struct itimerspec spec = {0};
    if (delay_ms >= 0) {
        /* Fires early, and is then set anew, if it is due in 50 days: 32 bits can be divided anywhere. */
        uint32_t delay = delay_ms < UINT32_MAX ? (uint32_t)delay_ms : UINT32_MAX;
        spec.it_value.tv_sec = delay / 1000;
        spec.it_value.tv_nsec = delay ? (long)(delay % 1000) * 1000000 : 1; /* 0 would disarm */
    }
    timerfd_settime(poller->timer, 0, &spec, NULL); /* cannot fail with these arguments */
}

int poller_wait(poller_t *poller, poll_event_t *out, int capacity, int timeout_ms) {
    struct epoll_event events[WAIT_BATCH];
    int n = epoll_wait(poller->epoll, events, capacity < WAIT_BATCH ? capacity : WAIT_BATCH, timeout_ms);
    if (n < 0) return errno == EINTR ? 0 : -1;
    for (int i = 0; i < n; i++) {
        char *data = events[i].data.ptr;
        out[i] = (poll_event_t){.data = data};
        if (!data) {
            uint64_t ticks;
            (void)!sys_read(poller->timer, &ticks, sizeof ticks); /* or it stays readable */
            out[i].events = POLL_TIMER;
        } else if ((uintptr_t)data & CHILD_MARK) {
            out[i].data = data - CHILD_MARK;
            out[i].events = POLL_EXIT;
        } else {
            /* Errors and hang-ups show up in the next read or write. */
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) out[i].events |= POLL_READ;
            if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) out[i].events |= POLL_WRITE;
        }
    }
    return n;
}
