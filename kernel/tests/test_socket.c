/* test_socket.c - addresses that are listened on and those that are refused, the file of a
 * Unix socket, and who is at the other end. */
#define _GNU_SOURCE
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "fake_sys.h"

static char folder[] = "/tmp/stdio_bus.XXXXXX", path[64];
static char error[SOCKET_ERROR_SIZE];

static int connect_to(int listening) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    REQUIRE(getsockname(listening, (struct sockaddr *)&address, &len) == 0);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, len) == 0);
    return fd;
}

static int accepted(int listening) {
    struct pollfd waiting = {.fd = listening, .events = POLLIN};
    REQUIRE(poll(&waiting, 1, 30000) == 1);
    return socket_accept(listening);
}

static bool prepared(int fd) {
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* ---- TCP ------------------------------------------------------------------------------- */

/* Whether the machine has the address: containers often have no IPv6. */
static bool test_tcp_address(const char *host, const char *peer_pattern) {
    char peer[SOCKET_PEER_SIZE];
    uint16_t port = 0;
    int listening = socket_listen_tcp(host, &port, error);
    if (listening < 0) {
        CHECK_LIKE(error, strchr(host, ':') ? "[*]:0: *" : "*:0: *");
        return false;
    }
    CHECK(port > 0);
    CHECK(fcntl(listening, F_GETFL) & O_NONBLOCK);
    CHECK_INT(socket_accept(listening), -1);
    CHECK_INT(errno, EAGAIN);
    int client = connect_to(listening), fd = accepted(listening);
    CHECK(prepared(fd));
    socket_peer(fd, peer);
    CHECK_LIKE(peer, peer_pattern);
    close(client);
    close(fd);

    uint16_t same = port; /* one address, one listener */
    CHECK_INT(socket_listen_tcp(host, &same, error), -1);
    CHECK_INT(CHECK_LIKE(error, strchr(host, ':') ? "[*]:#: Address already in use" : "*:#: Address already in use"), port);
    close(listening);
    return true;
}

static void test_tcp(void) {
    CHECK(test_tcp_address("127.0.0.1", "127.0.0.1:*"));
    CHECK(test_tcp_address("localhost", "127.0.0.1:*"));
    CHECK(test_tcp_address("0.0.0.0", "127.0.0.1:*"));
    if (!test_tcp_address("::1", "[::1]:*")) printf("SKIP IPv6: %s\n", error);
}

static void test_no_host_names(void) {
    static const char *const refused[] = {"example.com", "", "127.1", "127.0.0.1 ", "[::1]", "*", "LOCALHOST", "1.2.3.4.5"};
    uint16_t port = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char expected[SOCKET_ERROR_SIZE];
        snprintf(expected, sizeof expected, "%s: must be an IPv4 or IPv6 address, or localhost", refused[i]);
        CHECK_INT(socket_listen_tcp(refused[i], &port, error), -1);
        CHECK_STR(error, expected);
        CHECK(!socket_is_loopback(refused[i]));
    }
    char long_name[1000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    CHECK_INT(socket_listen_tcp(long_name, &port, error), -1);
    CHECK_LIKE(error, "xxx*xxx: must be an IPv4 or IPv6 address, or localhost");
}

static void test_loopback(void) {
    static const char *const here[] = {"localhost", "127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1"};
    static const char *const anywhere[] = {"0.0.0.0", "::", "128.0.0.1", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) CHECK(socket_is_loopback(here[i]));
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) CHECK(!socket_is_loopback(anywhere[i]));
}

static void test_failing_calls_tcp(void) {
    static const char *const calls[] = {"sys_socket", "sys_bind", "sys_listen"};
    uint16_t port = 0;
    for (int i = 0; i < 3; i++) {
        fake_sys_fail_with(calls[i], EACCES);
        CHECK_INT(socket_listen_tcp("127.0.0.1", &port, error), -1);
        CHECK_STR(error, "127.0.0.1:0: Permission denied");
    }
}

/* ---- Unix ------------------------------------------------------------------------------ */

static int mode_of(const char *file) {
    struct stat info;
    return lstat(file, &info) == 0 ? (int)(info.st_mode & 0777) : -1;
}

static void test_unix(void) {
    char peer[SOCKET_PEER_SIZE];
    mode_t before = umask(0);
    int listening = socket_listen_unix(path, error);
    umask(before);
    REQUIRE(listening >= 0);
    CHECK_INT(mode_of(path), 0600);
    int client = connect_to(listening), fd = accepted(listening);
    CHECK(prepared(fd));
    socket_peer(fd, peer);
    CHECK_STR(peer, "unix");
    CHECK(socket_same_user(fd));
    fake_sys_foreign_peer(true);
    CHECK(!socket_same_user(fd));
    fake_sys_foreign_peer(false);
    fake_sys_fail_with("sys_peer_user", ENOTCONN); /* who cannot be told is not let in */
    CHECK(!socket_same_user(fd));
    close(client);
    close(fd);

    CHECK_INT(socket_listen_unix(path, error), -1); /* a live one stays */
    CHECK_LIKE(error, "/tmp/*/bus.sock: another server listens on it");
    CHECK_INT(mode_of(path), 0600);
    close(listening);
    listening = socket_listen_unix(path, error); /* a dead one does not */
    CHECK(listening >= 0);
    close(listening);
    unlink(path);
}

#if defined(__linux__)
/* One that is alive but has no time for us: elsewhere it looks like a dead one. */
static void test_unix_of_a_busy_server(void) {
    int clients[16], count = 0;
    int listening = socket_listen_unix(path, error);
    CHECK_INT(listen(listening, 0), 0);
    for (bool full = false; !full && count < 16; count++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strcpy(address.sun_path, path);
        clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        full = connect(clients[count], (struct sockaddr *)&address, sizeof address) < 0 && errno == EAGAIN;
    }
    CHECK(count < 16);
    CHECK_INT(socket_listen_unix(path, error), -1);
    CHECK_LIKE(error, "*: another server listens on it");
    while (count) close(clients[--count]);
    close(listening);
    unlink(path);
}
#endif

static void refused(const char *where, const char *pattern) {
    CHECK_INT(socket_listen_unix(where, error), -1);
    CHECK_LIKE(error, pattern);
}

/* What is there and is not a dead socket of ours stays there. */
static void test_unix_in_the_way(void) {
    char below[80], link[80];
    int file = open(path, O_CREAT | O_WRONLY, 0644);
    CHECK_INT(write(file, "x", 1), 1);
    close(file);
    refused(path, "*: exists and is not a socket: remove it or choose another path");
    CHECK_INT(mode_of(path), 0644);
    snprintf(link, sizeof link, "%s/link", folder);
    CHECK_INT(symlink("/nowhere", link), 0);
    refused(link, "*: exists and is not a socket: *");
    unlink(link);
    snprintf(below, sizeof below, "%s/below", path);
    refused(below, "*: Not a directory");
    unlink(path);

    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* a socket of another kind */
    strcpy(address.sun_path, path);
    int datagrams = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_INT(bind(datagrams, (struct sockaddr *)&address, sizeof address), 0);
    refused(path, "*: *");
    CHECK(mode_of(path) >= 0);
    close(datagrams);
    unlink(path);
}

static void test_unix_paths(void) {
    char long_path[200];
    size_t longest = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    refused("", ": must be a path of 1 to 100 bytes (the limit of Unix sockets)");
    refused("/tmp/no such folder/bus.sock", "*: No such file or directory");
    memset(long_path, 'x', sizeof long_path);
    memcpy(long_path, folder, strlen(folder));
    long_path[strlen(folder)] = '/';
    long_path[longest + 1] = '\0';
    refused(long_path, "*: must be a path of 1 to 100 bytes*");
    long_path[longest] = '\0';
    int listening = socket_listen_unix(long_path, error);
    CHECK(listening >= 0);
    close(listening);
    unlink(long_path);
}

static void test_failing_calls_unix(void) {
    static const char *const calls[] = {"sys_socket", "sys_bind", "sys_chmod", "sys_listen"};
    for (int i = 0; i < 4; i++) {
        fake_sys_fail_with(calls[i], EROFS);
        refused(path, "/tmp/*/bus.sock: Read-only file system");
        CHECK_INT(mode_of(path), -1); /* nothing half made is left */
    }
    int dead = socket_listen_unix(path, error);
    close(dead);
    fake_sys_fail_with("sys_socket", EMFILE); /* it cannot be told whether anybody listens */
    refused(path, "*: Too many open files");
    CHECK(mode_of(path) >= 0);
    unlink(path);
}

static void test_file(void) {
    socket_file_t first, second;
    CHECK(!socket_file_of(path, &first));
    int listening = socket_listen_unix(path, error);
    CHECK(socket_file_of(path, &first));
    char moved[80];
    snprintf(moved, sizeof moved, "%s/moved", folder);
    CHECK_INT(rename(path, moved), 0); /* it lives on, and so does its inode's number */
    int other = socket_listen_unix(path, error);
    CHECK(other >= 0 && socket_file_of(path, &second));
    socket_remove_file(path, &first); /* another has taken its place */
    CHECK(mode_of(path) >= 0);
    socket_remove_file(path, &second);
    CHECK_INT(mode_of(path), -1);
    socket_remove_file(path, &second);
    unlink(moved);
    close(listening);
    close(other);
}

/* ---- accept ------------------------------------------------------------------------------ */

static void test_accept(void) {
    char peer[SOCKET_PEER_SIZE];
    uint16_t port = 0;
    int listening = socket_listen_tcp("127.0.0.1", &port, error);
    int client = connect_to(listening);
    static const int errors[] = {EMFILE, ECONNABORTED};
    for (int i = 0; i < 2; i++) {
        fake_sys_fail_with("sys_accept", errors[i]);
        CHECK_INT(socket_accept(listening), -1);
        CHECK_INT(errno, errors[i]);
    }
    fake_sys_fail_with("sys_prepare", EINVAL); /* the descriptor is not lost: see fake_sys_end */
    CHECK_INT(accepted(listening), -1);
    CHECK_INT(errno, EINVAL);
    socket_peer(listening, peer); /* has none */
    CHECK_STR(peer, "unix");
    close(client);
    close(listening);
}

int main(void) {
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/bus.sock", folder);
    fake_sys_begin();
    test_tcp();
    test_no_host_names();
    test_loopback();
    test_failing_calls_tcp();
    test_unix();
#if defined(__linux__)
    test_unix_of_a_busy_server();
#endif
    test_unix_in_the_way();
    test_unix_paths();
    test_failing_calls_unix();
    test_file();
    test_accept();
    fake_sys_end();
    CHECK_INT(rmdir(folder), 0);
    return check_result();
}
