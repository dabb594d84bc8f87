/*
 * sys.h - the seam to the operating system: every allocation and every system call
 * of the kernel that can fail goes through these functions.
 *
 * Tests link kernel/tests/fake_sys.c in place of sys.c and make each of them fail in
 * turn.  Same arguments, results and errno as the call behind the name; EINTR is
 * retried here.  What is particular to one platform (epoll, kqueue, pidfd, clone)
 * stays in that platform's poller and spawn file.
 */
#ifndef STDIO_BUS_SYS_H
#define STDIO_BUS_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

void *sys_malloc(size_t size);
void *sys_calloc(size_t count, size_t size);
void *sys_realloc(void *old, size_t size);
void sys_free(void *memory);

int sys_open_read(const char *path); /* close-on-exec */
int sys_chmod(const char *path, mode_t mode);
ssize_t sys_read(int fd, void *data, size_t size);
ssize_t sys_write(int fd, const void *data, size_t size);
void sys_close(int fd); /* negative: nothing */

/* Stream sockets: a non-blocking, close-on-exec one; the next connection, on Linux with both
 * from the start (a fork of the host's in another thread would inherit it), elsewhere as it comes; the
 * user at the other end of a Unix one; and a write that reports a closed peer as EPIPE only. */
int sys_socket(int family);
int sys_bind(int fd, const struct sockaddr *address, socklen_t len);
int sys_listen(int fd, int backlog);
int sys_accept(int listening);
int sys_peer_user(int fd, uid_t *user);
ssize_t sys_send(int fd, const void *data, size_t size);

/* A pipe whose ends are non-blocking where asked, close-on-exec, and never 0, 1 or 2
 * (spawn puts the other ends there).  0, or -1 with errno. */
int sys_pipe(int fds[2], bool nonblocking_read, bool nonblocking_write);

/* Makes a descriptor of the host non-blocking and close-on-exec.  0, or -1 with errno. */
int sys_prepare(int fd);
int sys_duplicate(int fd); /* close-on-exec */
void sys_end_writing(int fd); /* of a socket, whatever duplicates it has; nothing for a pipe */

/* Writes in between to a pipe without a reader fail with EPIPE and nothing more, whatever
 * the host does with SIGPIPE; its mask and dispositions are as before afterwards. */
typedef struct sys_sigpipe {
    bool blocked; /* the host had blocked it itself */
    bool pending; /* and one was waiting */
} sys_sigpipe_t;
void sys_sigpipe_hold(sys_sigpipe_t *hold);
void sys_sigpipe_release(sys_sigpipe_t *hold, bool raised); /* raised: some write got EPIPE */

uint64_t sys_now_ms(void); /* monotonic */

/* Bytes that nobody can guess; from the clock where the system has none yet. */
void sys_random(void *data, size_t size);

/* Signals the group that `leader` was started in, and itself also when it has left that.  Nothing
 * unless it is a child of this process (a zombie counts): only then its number is certainly
 * still that of its group.  0, or -1 when it has not been reached. */
int sys_kill_group(pid_t leader, int signal);
/* True when the child has exited (it stays a zombie, so that its pid stays ours), or was
 * reaped by somebody else. */
bool sys_has_exited(pid_t pid);
/* Waits for a child that has exited or been killed; its wait status, or -1. */
int sys_reap(pid_t pid);

#endif
