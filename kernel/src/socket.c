/* socket.c - see socket.h. */
#if defined(__linux__)
#define _GNU_SOURCE /* lstat, struct in6_addr in full */
#endif
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys.h"

#define BACKLOG 512

typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
} address_t;

static int fail(char error[SOCKET_ERROR_SIZE], int fd, const char *what, const char *why) {
    snprintf(error, SOCKET_ERROR_SIZE, "%.120s: %s", what, why);
    sys_close(fd);
    return -1;
}

/* The length of the address, 0 when it is none. */
static socklen_t parse_host(const char *host, uint16_t port, address_t *out) {
    memset(out, 0, sizeof *out);
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        return sizeof out->v4;
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        return sizeof out->v6;
    }
    return 0;
}

bool socket_check_host(const char *host, char error[SOCKET_ERROR_SIZE]) {
    address_t address;
    return parse_host(host, 0, &address) || fail(error, -1, host, "must be an IPv4 or IPv6 address, or localhost") == 0;
}

bool socket_is_loopback(const char *host) {
    address_t address;
    if (!parse_host(host, 0, &address)) return false;
    if (address.any.sa_family == AF_INET) return (ntohl(address.v4.sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
}

int socket_listen_tcp(const char *host, uint16_t *port, char error[SOCKET_ERROR_SIZE]) {
    address_t address;
    if (!socket_check_host(host, error)) return -1;
    socklen_t len = parse_host(host, *port, &address);
    char where[INET6_ADDRSTRLEN + 16];
    snprintf(where, sizeof where, address.any.sa_family == AF_INET6 ? "[%.45s]:%u" : "%.45s:%u", host, *port);
    int on = 1, fd = sys_socket(address.any.sa_family);
    if (fd < 0) return fail(error, -1, where, strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.any.sa_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (sys_bind(fd, &address.any, len) < 0 || sys_listen(fd, BACKLOG) < 0 || getsockname(fd, &address.any, &len) < 0)
        return fail(error, fd, where, strerror(errno));
    *port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return fd;
}

/* Removes a socket that nobody listens on.  NULL, or what stands in the way. */
static const char *clear_path(const address_t *address) {
    struct stat info;
    if (lstat(address->un.sun_path, &info) < 0) return errno == ENOENT ? NULL : strerror(errno);
    if (!S_ISSOCK(info.st_mode)) return "exists and is not a socket: remove it or choose another path";
    int probe = sys_socket(AF_UNIX);
    if (probe < 0) return strerror(errno);
    int result = connect(probe, &address->any, sizeof address->un), reason = errno;
    sys_close(probe);
    if (result == 0 || reason == EAGAIN) return "another server listens on it";
    if (reason != ECONNREFUSED) return strerror(reason);
    return unlink(address->un.sun_path) == 0 || errno == ENOENT ? NULL : strerror(errno);
}

bool socket_check_path(const char *path, char error[SOCKET_ERROR_SIZE]) {
    if (*path && strlen(path) < sizeof((address_t *)0)->un.sun_path) return true;
    return fail(error, -1, path, "must be a path of 1 to 100 bytes (the limit of Unix sockets)") == 0;
}

int socket_listen_unix(const char *path, char error[SOCKET_ERROR_SIZE]) {
    address_t address = {.un = {.sun_family = AF_UNIX}};
    if (!socket_check_path(path, error)) return -1;
    strcpy(address.un.sun_path, path);
    const char *obstacle = clear_path(&address);
    if (obstacle) return fail(error, -1, path, obstacle);
    int fd = sys_socket(AF_UNIX);
    if (fd < 0) return fail(error, -1, path, strerror(errno));
    /* Before listen() nobody can connect, so the mode is set in time. */
    if (sys_bind(fd, &address.any, sizeof address.un) < 0) return fail(error, fd, path, strerror(errno));
    if (sys_chmod(path, 0600) < 0 || sys_listen(fd, BACKLOG) < 0) {
        int saved = errno;
        unlink(path);
        return fail(error, fd, path, strerror(saved));
    }
    return fd;
}

bool socket_file_of(const char *path, socket_file_t *out) {
    struct stat info;
    if (lstat(path, &info) < 0) return false;
    *out = (socket_file_t){info.st_dev, info.st_ino};
    return true;
}

void socket_remove_file(const char *path, const socket_file_t *file) {
    socket_file_t now;
    if (socket_file_of(path, &now) && now.device == file->device && now.inode == file->inode) unlink(path);
}

int socket_accept(int listening) {
    int fd = sys_accept(listening);
    if (fd < 0) return -1;
    int on = 1;
    if (sys_prepare(fd) < 0) {
        int saved = errno;
        sys_close(fd);
        errno = saved;
        return -1;
    }
#if defined(__APPLE__)
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on Unix sockets, which need none */
    return fd;
}

bool socket_same_user(int fd) {
    uid_t user;
    return sys_peer_user(fd, &user) == 0 && user == geteuid();
}

void socket_peer(int fd, char out[SOCKET_PEER_SIZE]) {
    address_t address;
    socklen_t len = sizeof address;
    char text[INET6_ADDRSTRLEN];
    memset(&address, 0, sizeof address);
    snprintf(out, SOCKET_PEER_SIZE, "unix");
    if (getpeername(fd, &address.any, &len) < 0) return;
    if (address.any.sa_family == AF_INET && inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text))
        snprintf(out, SOCKET_PEER_SIZE, "%s:%u", text, ntohs(address.v4.sin_port));
    if (address.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text))
        snprintf(out, SOCKET_PEER_SIZE, "[%s]:%u", text, ntohs(address.v6.sin6_port));
}
