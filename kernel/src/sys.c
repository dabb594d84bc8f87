/* sys.c - see sys.h. */
#if defined(__linux__)
#define _GNU_SOURCE /* accept4, pipe2, struct ucred */
#endif
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* macOS refuses to write more than INT_MAX bytes at once; and one call stays short. */
#define WRITE_MAX (1u << 20)

void *sys_malloc(size_t size) { return malloc(size); }
void *sys_calloc(size_t count, size_t size) { return calloc(count, size); }
void *sys_realloc(void *old, size_t size) { return realloc(old, size); }
void sys_free(void *memory) { free(memory); }

int sys_open_read(const char *path) {
    return open(path, O_RDONLY | O_CLOEXEC);
}

int sys_chmod(const char *path, mode_t mode) {
    return chmod(path, mode);
}

ssize_t sys_read(int fd, void *data, size_t size) {
    ssize_t n;
    do n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

ssize_t sys_write(int fd, const void *data, size_t size) {
    ssize_t n;
    if (size > WRITE_MAX) size = WRITE_MAX;
    do n = write(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

int sys_socket(int family) {
#if defined(__linux__)
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd >= 0 && sys_prepare(fd) < 0) {
        close(fd);
        return -1;
    }
    return fd;
#endif
}

int sys_bind(int fd, const struct sockaddr *address, socklen_t len) {
    return bind(fd, address, len);
}

int sys_listen(int fd, int backlog) {
    return listen(fd, backlog);
}

int sys_peer_user(int fd, uid_t *user) {
#if defined(__linux__)
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) return -1;
    *user = peer.uid;
    return 0;
#else
    gid_t group;
    return getpeereid(fd, user, &group);
#endif
}

int sys_accept(int listening) {
    int fd;
#if defined(__linux__)
    do fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
    do fd = accept(listening, NULL, NULL);
#endif
    while (fd < 0 && errno == EINTR);
    return fd;
}

ssize_t sys_send(int fd, const void *data, size_t size) {
#if defined(MSG_NOSIGNAL)
    const int flags = MSG_NOSIGNAL;
#else
    const int flags = 0; /* the socket itself has SO_NOSIGPIPE */
#endif
    ssize_t n;
    do n = send(fd, data, size, flags);
    while (n < 0 && errno == EINTR);
    return n;
}

void sys_close(int fd) {
    if (fd >= 0) close(fd); /* after EINTR the descriptor is gone on Linux: never retried */
}

/* Moves a descriptor above the standard three, close-on-exec. */
static int above_stdio(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int saved = errno;
    close(fd);
    errno = saved;
    return moved;
}

static int prepare_end(int *fd, bool nonblocking) {
    if (*fd < 3) {
        *fd = above_stdio(*fd);
        if (*fd < 0) return -1;
    }
#if !defined(__linux__)
    if (fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0) return -1;
#endif
#if defined(__APPLE__)
    if (fcntl(*fd, F_SETNOSIGPIPE, 1) < 0) return -1;
#endif
    if (!nonblocking) return 0;
    int flags = fcntl(*fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(*fd, F_SETFL, flags | O_NONBLOCK);
}

int sys_prepare(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int sys_duplicate(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

void sys_end_writing(int fd) {
    shutdown(fd, SHUT_WR);
}

int sys_pipe(int fds[2], bool nonblocking_read, bool nonblocking_write) {
#if defined(__linux__)
    if (pipe2(fds, O_CLOEXEC) < 0) return -1;
#else
    if (pipe(fds) < 0) return -1;
#endif
    if (prepare_end(&fds[0], nonblocking_read) == 0 && prepare_end(&fds[1], nonblocking_write) == 0) return 0;
    int saved = errno;
    sys_close(fds[0]);
    sys_close(fds[1]);
    fds[0] = fds[1] = -1;
    errno = saved;
    return -1;
}

#if defined(__APPLE__)
/* Every pipe has F_SETNOSIGPIPE: the signal goes to the process there, so that a mask of
 * this thread would not hold it. */
void sys_sigpipe_hold(sys_sigpipe_t *hold) {
    (void)hold;
}

void sys_sigpipe_release(sys_sigpipe_t *hold, bool raised) {
    (void)hold;
    (void)raised;
}
#else
static bool sigpipe_is_pending(void) {
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
}

static void only_sigpipe(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

void sys_sigpipe_hold(sys_sigpipe_t *hold) {
    sigset_t pipe, before;
    only_sigpipe(&pipe);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    hold->blocked = sigismember(&before, SIGPIPE);
    hold->pending = hold->blocked && sigpipe_is_pending();
}

void sys_sigpipe_release(sys_sigpipe_t *hold, bool raised) {
    sigset_t pipe;
    only_sigpipe(&pipe);
    /* The signal of a write goes to the writing thread: it is pending here, or ignored. */
    if (raised && !hold->pending && sigpipe_is_pending()) {
        int signal;
        sigwait(&pipe, &signal);
    }
    if (!hold->blocked) pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}
#endif

uint64_t sys_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)(now.tv_nsec / 1000000);
}

void sys_random(void *data, size_t size) {
#if defined(__APPLE__)
    arc4random_buf(data, size);
#else
    static const unsigned nonblock = 1; /* GRND_NONBLOCK; libc has had the call only since 2.25 */
    if (syscall(SYS_getrandom, data, size, nonblock) == (long)size) return;
    int fd = sys_open_read("/dev/urandom"); /* an older Linux */
    ssize_t n = fd < 0 ? -1 : sys_read(fd, data, size);
    sys_close(fd);
    if (n == (ssize_t)size) return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < size; i++) ((unsigned char *)data)[i] = (unsigned char)((uint64_t)now.tv_nsec >> (i % 4 * 8));
#endif
}

int sys_kill_group(pid_t leader, int signal) {
    siginfo_t info;
    if (leader <= 0 || waitid(P_PID, (id_t)leader, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return -1;
    kill(-leader, signal);
    /* It may be in another group by now, or run as another user beside children that do not. */
    return kill(leader, getpgid(leader) == leader ? 0 : signal);
}

bool sys_has_exited(pid_t pid) {
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return errno == ECHILD;
    return info.si_pid == pid;
}

int sys_reap(pid_t pid) {
    int status = -1;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    return got == pid ? status : -1;
}
