/* test_sys.c - the real seam to the operating system: flags of descriptors, calls that a
 * signal interrupts, SIGPIPE kept away from the host, children.  Linked with sys.c itself. */
#define _GNU_SOURCE
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static bool nonblocking(int fd) {
    return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static bool close_on_exec(int fd) {
    return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static void test_memory(void) {
    char *a = sys_malloc(10), *b = sys_calloc(3, 4);
    REQUIRE(a && b);
    CHECK(memcmp(b, "\0\0\0\0\0\0\0\0\0\0\0", 12) == 0);
    memcpy(a, "123456789", 10);
    a = sys_realloc(a, 1000);
    REQUIRE(a != NULL);
    CHECK_STR(a, "123456789");
    sys_free(a);
    sys_free(b);
    sys_free(NULL);
}

static void test_open(void) {
    int fd = sys_open_read("/dev/null");
    char byte;
    REQUIRE(fd >= 0);
    CHECK(close_on_exec(fd));
    CHECK_INT(sys_read(fd, &byte, 1), 0);
    sys_close(fd);
    CHECK_INT(fcntl(fd, F_GETFD), -1);
    sys_close(-1);
    CHECK_INT(sys_open_read("/no/such/file"), -1);
    CHECK_INT(errno, ENOENT);
}

static void test_pipes(void) {
    for (int i = 0; i < 4; i++) {
        int fds[2];
        char byte = 0;
        CHECK_INT(sys_pipe(fds, i & 1, i & 2), 0);
        CHECK_INT(nonblocking(fds[0]), (i & 1) != 0);
        CHECK_INT(nonblocking(fds[1]), (i & 2) != 0);
        CHECK(close_on_exec(fds[0]) && close_on_exec(fds[1]));
        CHECK_INT(sys_write(fds[1], "x", 1), 1);
        CHECK_INT(sys_read(fds[0], &byte, 1), 1);
        CHECK_INT(byte, 'x');
        if (i & 1) {
            CHECK_INT(sys_read(fds[0], &byte, 1), -1);
            CHECK_INT(errno, EAGAIN);
        }
        sys_close(fds[0]);
        sys_close(fds[1]);
    }
}

/* The exit status of `body`, run in a child. */
static int in_child(int (*body)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(body());
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* A host without standard descriptors: what spawn moves there must not be there already. */
static int pipes_without_stdio(void) {
    for (int closed = 0; closed < 3; closed++) {
        int fds[2];
        close(closed);
        if (sys_pipe(fds, true, false) < 0 || fds[0] < 3 || fds[1] < 3) return 1;
        if (!nonblocking(fds[0]) || !close_on_exec(fds[0]) || !close_on_exec(fds[1])) return 2;
        if (fcntl(closed, F_GETFD) >= 0) return 3; /* nothing is left there either */
        sys_close(fds[0]);
        sys_close(fds[1]);
    }
    return sys_duplicate(-1) == -1 ? 0 : 4;
}

static int wake[2];

static void on_alarm(int signal) {
    (void)signal;
    (void)!write(wake[1], "!", 1);
}

/* A signal of the host in the middle of a read is not an error: whether it comes before the
 * read or during it, the byte that its handler writes is read. */
static void test_interrupted_read(void) {
    struct sigaction action = {.sa_handler = on_alarm}, before; /* without SA_RESTART */
    struct itimerval soon = {.it_value.tv_usec = 20000};
    char byte = 0;
    CHECK_INT(sys_pipe(wake, false, false), 0);
    sigaction(SIGALRM, &action, &before);
    CHECK_INT(setitimer(ITIMER_REAL, &soon, NULL), 0);
    CHECK_INT(sys_read(wake[0], &byte, 1), 1);
    CHECK_INT(byte, '!');
    sigaction(SIGALRM, &before, NULL);
    sys_close(wake[0]);
    sys_close(wake[1]);
}

static void test_descriptors_of_the_host(void) {
    int fds[2], other;
    char byte;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_INT(sys_prepare(fds[0]), 0);
    CHECK(nonblocking(fds[0]) && close_on_exec(fds[0]));
    CHECK_INT(sys_prepare(-1), -1);
    other = sys_duplicate(fds[0]);
    CHECK(other >= 3 && close_on_exec(other));
    sys_end_writing(other); /* the peer sees the end, whatever duplicates there are */
    CHECK_INT(sys_read(fds[1], &byte, 1), 0);
    CHECK_INT(sys_send(fds[1], "y", 1), 1); /* the other direction goes on */
    CHECK_INT(sys_read(fds[0], &byte, 1), 1);
    for (int i = 0; i < 2; i++) sys_close(fds[i]);
    sys_close(other);
    CHECK_INT(sys_pipe(fds, false, false), 0);
    sys_end_writing(fds[1]); /* nothing for a pipe */
    CHECK_INT(sys_write(fds[1], "z", 1), 1);
    for (int i = 0; i < 2; i++) sys_close(fds[i]);
}

static void test_sockets(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *any = (const struct sockaddr *)&address;
    socklen_t len = sizeof address;
    int listening = sys_socket(AF_INET), client = socket(AF_INET, SOCK_STREAM, 0), other = sys_socket(AF_INET);
    REQUIRE(listening >= 0 && nonblocking(listening) && close_on_exec(listening));
    REQUIRE(sys_bind(listening, any, len) == 0 && sys_listen(listening, 1) == 0);
    REQUIRE(getsockname(listening, (struct sockaddr *)&address, &len) == 0);
    CHECK_INT(sys_bind(other, any, len), -1);
    CHECK_INT(errno, EADDRINUSE);
    CHECK_INT(sys_listen(-1, 1), -1);
    CHECK_INT(sys_socket(-1), -1);
    REQUIRE(connect(client, any, len) == 0);
    int fd;
    do fd = sys_accept(listening);
    while (fd < 0 && errno == EAGAIN);
    REQUIRE(fd >= 0);
#if defined(__linux__)
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
#endif
    CHECK_INT(sys_accept(listening), -1);
    CHECK_INT(errno, EAGAIN);
    sys_close(client);
    sys_close(other);
    sys_close(fd);
    sys_close(listening);
}

static void test_peer_user(void) {
    int fds[2];
    uid_t user = geteuid() + 1;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_INT(sys_peer_user(fds[0], &user), 0);
    CHECK_INT(user, geteuid());
    sys_close(fds[0]);
    sys_close(fds[1]);
    CHECK_INT(sys_peer_user(-1, &user), -1);
}

static void test_chmod(void) {
    char path[] = "/tmp/stdio_bus.XXXXXX";
    struct stat info;
    int fd = mkstemp(path);
    CHECK_INT(sys_chmod(path, 0640), 0);
    CHECK(fstat(fd, &info) == 0 && (info.st_mode & 0777) == 0640);
    sys_close(fd);
    unlink(path);
    CHECK_INT(sys_chmod(path, 0640), -1);
}

static int alarms, full_pipe[2], knocking;
static struct sockaddr_in door;

/* What the interrupted call waits for happens in the third interruption. */
static void on_alarms(int signal) {
    static char chunk[65536];
    (void)signal;
    if (++alarms == 3) (void)!read(full_pipe[0], chunk, sizeof chunk);
    if (alarms == 6) connect(knocking, (struct sockaddr *)&door, sizeof door);
}

static void test_interrupted_write_and_accept(void) {
    struct itimerval often = {.it_value.tv_usec = 10000, .it_interval.tv_usec = 10000}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarms}, before; /* without SA_RESTART */
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof door;
    char chunk[4096] = "";
    knocking = sys_socket(AF_INET);
    REQUIRE(sys_pipe(full_pipe, true, true) == 0 && knocking >= 0 && listen(listening, 1) == 0);
    REQUIRE(getsockname(listening, (struct sockaddr *)&door, &len) == 0);
    while (write(full_pipe[1], chunk, sizeof chunk) > 0) continue;
    fcntl(full_pipe[1], F_SETFL, 0);
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    CHECK_INT(sys_write(full_pipe[1], chunk, sizeof chunk), sizeof chunk);
    int fd = sys_accept(listening);
    CHECK(fd >= 0 && alarms >= 6);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    for (int i = 0; i < 2; i++) sys_close(full_pipe[i]);
    sys_close(fd);
    sys_close(knocking);
    sys_close(listening);
}

/* ---- SIGPIPE ----------------------------------------------------------------------- */

static bool is_pending(void) {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE);
}

static bool is_blocked(void) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, SIGPIPE);
}

static void set_blocked(bool blocked) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &pipe, NULL);
}

static void write_to_nobody(bool broken) {
    int fds[2];
    sys_sigpipe_t hold;
    CHECK_INT(sys_pipe(fds, true, true), 0);
    if (broken) sys_close(fds[0]);
    sys_sigpipe_hold(&hold);
    ssize_t n = sys_write(fds[1], "x", 1);
    bool raised = n < 0 && errno == EPIPE;
    sys_sigpipe_release(&hold, raised);
    CHECK_INT(raised, broken);
    if (!broken) sys_close(fds[0]);
    sys_close(fds[1]);
}

static int signals_of_the_host;

static void on_sigpipe(int signal) {
    (void)signal;
    signals_of_the_host++;
}

/* With every attitude of the host: not a signal of ours, and none of its own is lost. */
static void test_sigpipe(void) {
    for (int broken = 0; broken < 2; broken++) {
        signal(SIGPIPE, SIG_DFL); /* would end the test */
        write_to_nobody(broken);
        CHECK(!is_blocked() && !is_pending());
        signal(SIGPIPE, SIG_IGN);
        write_to_nobody(broken);
        CHECK(!is_blocked() && !is_pending());
        signal(SIGPIPE, on_sigpipe);
        write_to_nobody(broken);
        CHECK(!is_blocked() && !is_pending());
        CHECK_INT(signals_of_the_host, 0);
        set_blocked(true);
        write_to_nobody(broken);
        CHECK(is_blocked() && !is_pending());
        raise(SIGPIPE); /* the host's own, which it has not taken yet */
        write_to_nobody(broken);
        CHECK(is_blocked() && is_pending());
        set_blocked(false);
        CHECK_INT(signals_of_the_host, 1);
        signals_of_the_host = 0;
    }
    int fds[2];
    signal(SIGPIPE, SIG_DFL);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    sys_close(fds[1]);
    CHECK_INT(sys_send(fds[0], "x", 1), -1);
    CHECK_INT(errno, EPIPE);
    sys_close(fds[0]);
}

/* ---- children ------------------------------------------------------------------------ */

static pid_t fork_group(void) {
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) pause();
    }
    REQUIRE(pid > 0 && setpgid(pid, pid) == 0);
    return pid;
}

static void test_children(void) {
    pid_t pid = fork_group();
    CHECK(!sys_has_exited(pid));
    CHECK_INT(sys_kill_group(pid, SIGKILL), 0);
    int status = sys_reap(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* Gone: its number may be somebody else's by now. */
    CHECK_INT(sys_reap(pid), -1);
    CHECK(sys_has_exited(pid));
    CHECK_INT(sys_kill_group(pid, SIGKILL), -1);
    CHECK_INT(sys_kill_group(getppid(), SIGKILL), -1); /* not a child */
    CHECK_INT(sys_kill_group(0, SIGKILL), -1);         /* would be this very group */
    CHECK_INT(sys_kill_group(-1, SIGKILL), -1);

    pid = fork_group(); /* a zombie keeps its number until it is reaped */
    siginfo_t info;
    kill(pid, SIGKILL);
    CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    CHECK(sys_has_exited(pid));
    CHECK(sys_has_exited(pid));
    status = sys_reap(pid);
    CHECK(WIFSIGNALED(status));
}

/* One that has gone over to another group is killed, and so is what it has left in its own. */
static void test_child_that_has_left_its_group(void) {
    for (int left = 0; left < 2; left++) {
        pid_t pid = fork_group(), other = left ? fork_group() : 0;
        if (other) REQUIRE(setpgid(other, pid) == 0);
        REQUIRE(setpgid(pid, getpgid(0)) == 0);
        REQUIRE(sys_kill_group(pid, SIGKILL) == 0);
        CHECK(WTERMSIG(sys_reap(pid)) == SIGKILL);
        if (other) CHECK(WTERMSIG(sys_reap(other)) == SIGKILL);
    }
}

static void test_clock(void) {
    uint64_t last = sys_now_ms();
    int backwards = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = sys_now_ms();
        backwards += now < last;
        last = now;
    }
    CHECK_INT(backwards, 0);
}

static void test_random(void) {
    unsigned char first[16] = {0}, second[16] = {0};
    sys_random(first, sizeof first);
    sys_random(second, sizeof second);
    CHECK(memcmp(first, second, sizeof first) != 0);
}

int main(void) {
    test_memory();
    test_open();
    test_pipes();
    CHECK_INT(in_child(pipes_without_stdio), 0);
    test_interrupted_read();
    test_descriptors_of_the_host();
    test_sockets();
    test_peer_user();
    test_chmod();
    test_interrupted_write_and_accept();
    test_sigpipe();
    test_children();
    test_child_that_has_left_its_group();
    test_clock();
    test_random();
    return check_result();
}
