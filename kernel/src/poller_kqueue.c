/*
 * poller_kqueue.c - the poller on macOS: kqueue, with EVFILT_TIMER and EVFILT_PROC.
 */
#include "poller.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>

#include "sys.h"

#define WAIT_BATCH 64
#define TIMER_IDENT 1

struct poller {
    int kqueue;
};

poller_t *poller_open(void) {
    poller_t *poller = sys_malloc(sizeof *poller);
    if (!poller) return NULL;
    poller->kqueue = kqueue();
    if (poller->kqueue >= 0 && fcntl(poller->kqueue, F_SETFD, FD_CLOEXEC) == 0) return poller;
    int saved = errno;
    poller_close(poller);
    errno = saved;
    return NULL;
}

void poller_close(poller_t *poller) {
    sys_close(poller->kqueue);
    sys_free(poller);
}

int poller_fd(const poller_t *poller) {
    return poller->kqueue;
}

static int change(poller_t *poller, uintptr_t ident, int16_t filter, uint16_t flags, uint32_t fflags, intptr_t value,
                  void *data) {
    struct kevent event;
    EV_SET(&event, ident, filter, flags, fflags, value, data);
    int result;
    do result = kevent(poller->kqueue, &event, 1, NULL, 0, NULL);
    while (result < 0 && errno == EINTR);
    return result;
}

/* How the filter for writing is set.  A hang-up is its EV_EOF; with EV_CLEAR it reports that
 * and a first time that there is room, but not over and over. */
static uint16_t write_flags(unsigned events) {
    if (events & POLL_WRITE) return EV_ADD;
    return events & POLL_HANGUP ? EV_ADD | EV_CLEAR : EV_DELETE;
}

static int set_filter(poller_t *poller, int fd, int16_t filter, uint16_t was, uint16_t flags, void *data) {
    if (was == flags) return 0;
    /* EV_CLEAR cannot be changed in place. */
    if (was != EV_DELETE) change(poller, (uintptr_t)fd, filter, EV_DELETE, 0, 0, data);
    return flags == EV_DELETE ? 0 : change(poller, (uintptr_t)fd, filter, flags, 0, 0, data);
}

int poller_set(poller_t *poller, int fd, unsigned was, unsigned events, void *data) {
    uint16_t read_was = was & POLL_READ ? EV_ADD : EV_DELETE, read_now = events & POLL_READ ? EV_ADD : EV_DELETE;
    if (set_filter(poller, fd, EVFILT_READ, read_was, read_now, data) < 0) return -1;
    return set_filter(poller, fd, EVFILT_WRITE, write_flags(was), write_flags(events), data);
}

int poller_watch_child(poller_t *poller, pid_t pid, void *data) {
    if (change(poller, (uintptr_t)pid, EVFILT_PROC, EV_ADD | EV_ONESHOT, NOTE_EXIT, 0, data) == 0) return 0;
    if (errno != ESRCH) return -1;
    /* The child is a zombie already, which kqueue refuses to watch: have it reported by
     * an event that is due at once. */
    return change(poller, (uintptr_t)pid, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 0, data) == 0 ? 0 : -1;
}

void poller_unwatch_child(poller_t *poller, int handle, pid_t pid) {
    if (handle < 0) return;
    change(poller, (uintptr_t)pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
    change(poller, (uintptr_t)pid, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
}

void poller_set_timer(poller_t *poller, int64_t delay_ms) {
    uint16_t flags = delay_ms >= 0 ? EV_ADD | EV_ONESHOT : EV_DELETE;
    change(poller, TIMER_IDENT, EVFILT_TIMER, flags, 0, delay_ms >= 0 ? (intptr_t)delay_ms : 0, NULL);
}

int poller_wait(poller_t *poller, poll_event_t *out, int capacity, int timeout_ms) {
    struct kevent events[WAIT_BATCH];
    struct timespec wait = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    int n = kevent(poller->kqueue, NULL, 0, events, capacity < WAIT_BATCH ? capacity : WAIT_BATCH,
                   timeout_ms < 0 ? NULL : &wait);
    if (n < 0) return errno == EINTR ? 0 : -1;
    for (int i = 0; i < n; i++) {
        out[i] = (poll_event_t){.data = events[i].udata};
        switch (events[i].filter) {
        case EVFILT_READ: out[i].events = POLL_READ; break;
        case EVFILT_WRITE: out[i].events = events[i].flags & EV_EOF ? POLL_READ | POLL_WRITE : POLL_WRITE; break;
        case EVFILT_PROC: out[i].events = POLL_EXIT; break;
        default: out[i].events = events[i].udata ? POLL_EXIT : POLL_TIMER;
        }
    }
    return n;
}
