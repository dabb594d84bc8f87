/* fake_sys.c - see fake_sys.h; in place of kernel/src/sys.c, which test_sys.c tests. */
#define _GNU_SOURCE
#include "fake_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "sys.h"

#define DESCRIPTORS_SEEN 1024

#if defined(__APPLE__)
#include <malloc/malloc.h>
#define block_size malloc_size
#else
#include <malloc.h>
#define block_size malloc_usable_size
#endif

static long live, fail_allocation, fail_call;
static size_t live_bytes;
static int descriptors_before;
static bool no_memory, failed, foreign_peer, unkillable;
static struct {
    const char *call; /* by its name; NULL: none */
    int error;
} to_fail[4];
static size_t move_at_most;
static int broken; /* what belongs behind the broken descriptor */
static uint64_t advanced;

void fake_sys_begin(void) {
    descriptors_before = fake_sys_open_descriptors();
}

void fake_sys_end(void) {
    CHECK_INT(fake_sys_live_allocations(), 0);
    CHECK_INT(fake_sys_open_descriptors(), descriptors_before);
    CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    for (int i = 0; i < 4; i++) CHECK_STR(to_fail[i].call, NULL); /* a failure that was never reached */
}

void fake_sys_fail_allocation(long n) {
    fail_allocation = n;
    failed = false;
}

void fake_sys_fail_call(long n) {
    fail_call = n;
    failed = false;
}

void fake_sys_fail_with(const char *call, int error) {
    int i = 0;
    while (to_fail[i].call) REQUIRE(++i < 4);
    to_fail[i].call = call;
    to_fail[i].error = error;
    failed = false;
}

void fake_sys_no_memory(bool none) { no_memory = none; }
bool fake_sys_has_failed(void) { return failed; }
void fake_sys_move_at_most(size_t bytes) { move_at_most = bytes; }
void fake_sys_foreign_peer(bool foreign) { foreign_peer = foreign; }
void fake_sys_unkillable(bool children) { unkillable = children; }
long fake_sys_live_allocations(void) { return live; }
size_t fake_sys_live_bytes(void) { return live_bytes; }
void fake_sys_advance(uint64_t ms) { advanced += ms; }

void fake_sys_break(int fd) {
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);
    broken = dup(fd);
    REQUIRE(other >= 0 && broken >= 0 && dup2(other, fd) == fd);
    close(other);
}

void fake_sys_mend(int fd) {
    REQUIRE(dup2(broken, fd) == fd && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
    close(broken);
}

int fake_sys_open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < DESCRIPTORS_SEEN; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* ---- memory ---------------------------------------------------------------- */

static bool out_of_memory(void) {
    bool now = no_memory || (fail_allocation && --fail_allocation == 0);
    if (!now) return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

void *sys_malloc(size_t size) {
    if (out_of_memory()) return NULL;
    void *memory = malloc(size);
    if (!memory) return NULL;
    live++;
    live_bytes += block_size(memory);
    return memset(memory, 0xA5, size); /* nobody may count on what stands there */
}

void *sys_calloc(size_t count, size_t size) {
    if (out_of_memory()) return NULL;
    void *memory = calloc(count, size);
    live += memory != NULL;
    if (memory) live_bytes += block_size(memory);
    return memory;
}

void *sys_realloc(void *old, size_t size) {
    if (out_of_memory()) return NULL;
    size_t before = old ? block_size(old) : 0;
    void *memory = realloc(old, size);
    live += !old && memory;
    if (memory) live_bytes += block_size(memory) - before;
    return memory;
}

void sys_free(void *memory) {
    live -= memory != NULL;
    if (memory) live_bytes -= block_size(memory);
    free(memory);
}

/* ---- system calls ------------------------------------------------------------ */

static bool call_fails(const char *call, int error) {
    int i = 0;
    while (i < 4 && !(to_fail[i].call && strcmp(call, to_fail[i].call) == 0)) i++;
    if (i < 4) {
        to_fail[i].call = NULL;
        error = to_fail[i].error;
    } else if (!fail_call || --fail_call > 0) {
        return false;
    }
    failed = true;
    errno = error;
    return true;
}
#define fails(error) call_fails(__func__, error)

static size_t moved(size_t size) {
    return move_at_most && size > move_at_most ? move_at_most : size;
}

int sys_open_read(const char *path) {
    return fails(EMFILE) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

int sys_chmod(const char *path, mode_t mode) {
    return fails(EROFS) ? -1 : chmod(path, mode);
}

ssize_t sys_read(int fd, void *data, size_t size) {
    return fails(EIO) ? -1 : read(fd, data, moved(size));
}

ssize_t sys_write(int fd, const void *data, size_t size) {
    return fails(EIO) ? -1 : write(fd, data, moved(size));
}

int sys_socket(int family) {
    int fd = fails(EMFILE) ? -1 : socket(family, SOCK_STREAM, 0);
    if (fd >= 0) fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int sys_bind(int fd, const struct sockaddr *address, socklen_t len) {
    return fails(EADDRINUSE) ? -1 : bind(fd, address, len);
}

int sys_listen(int fd, int backlog) {
    return fails(EADDRINUSE) ? -1 : listen(fd, backlog);
}

int sys_peer_user(int fd, uid_t *user) {
    (void)fd; /* both ends are in this process */
    *user = geteuid() + (foreign_peer ? 1 : 0);
    return fails(ENOTCONN) ? -1 : 0;
}

int sys_accept(int listening) {
    return fails(EMFILE) ? -1 : accept(listening, NULL, NULL);
}

ssize_t sys_send(int fd, const void *data, size_t size) {
    return fails(EPIPE) ? -1 : send(fd, data, moved(size), MSG_NOSIGNAL);
}

void sys_close(int fd) {
    if (fd >= 0) CHECK_INT(close(fd), 0);
}

int sys_pipe(int fds[2], bool nonblocking_read, bool nonblocking_write) {
    if (fails(EMFILE) || pipe(fds) < 0) return -1;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        if (i ? nonblocking_write : nonblocking_read) fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
    }
    return 0;
}

int sys_prepare(int fd) {
    if (fails(EBADF)) return -1;
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ? -1 : fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int sys_duplicate(int fd) {
    return fails(EMFILE) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

void sys_end_writing(int fd) {
    shutdown(fd, SHUT_WR);
}

void sys_sigpipe_hold(sys_sigpipe_t *hold) {
    hold->blocked = signal(SIGPIPE, SIG_IGN) != SIG_DFL;
}

void sys_sigpipe_release(sys_sigpipe_t *hold, bool raised) {
    (void)raised;
    if (!hold->blocked) signal(SIGPIPE, SIG_DFL);
}

uint64_t sys_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return advanced + (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sys_random(void *data, size_t size) {
    memset(data, 0x5A, size); /* the same in every run */
}

int sys_kill_group(pid_t leader, int signal) {
    siginfo_t info;
    if (leader <= 0 || waitid(P_PID, (id_t)leader, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return -1;
    if (unkillable) {
        errno = EPERM;
        return -1;
    }
    return kill(-leader, signal); /* to an own child it cannot fail, and none leaves its group */
}

bool sys_has_exited(pid_t pid) {
    siginfo_t info = {0};
    if (fails(EINVAL)) return false;
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return errno == ECHILD;
    return info.si_pid == pid;
}

/* Fails as it does when somebody else in the host has reaped the child. */
int sys_reap(pid_t pid) {
    int status = -1;
    pid_t got = waitpid(pid, &status, 0);
    return got == pid && !fails(ECHILD) ? status : -1;
}
