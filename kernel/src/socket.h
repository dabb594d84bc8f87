/*
 * socket.h - listening on TCP and Unix addresses, and who may connect.
 *
 * Addresses only: what travels over a connection is in connection.h.
 */
#ifndef STDIO_BUS_SOCKET_H
#define STDIO_BUS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SOCKET_ERROR_SIZE 256
#define SOCKET_PEER_SIZE 128

/* Both return a non-blocking, close-on-exec listening descriptor, or -1 with one sentence
 * in `error`. */

/* `host`: an IPv4 or IPv6 address or "localhost"; port 0: any, told in `*port`. */
int socket_listen_tcp(const char *host, uint16_t *port, char error[SOCKET_ERROR_SIZE]);
/* Creates the socket file with mode 0600; a dead socket in its place is replaced, anything
 * else is an error. */
int socket_listen_unix(const char *path, char error[SOCKET_ERROR_SIZE]);

/* Whether it can be one of these; false with one sentence in `error`.  Nothing is looked at but the text. */
bool socket_check_host(const char *host, char error[SOCKET_ERROR_SIZE]);
bool socket_check_path(const char *path, char error[SOCKET_ERROR_SIZE]);
/* Whether the address can be reached from this machine only. */
bool socket_is_loopback(const char *host);

/* Removes the socket file of a listening descriptor, unless another has taken its place. */
typedef struct socket_file {
    dev_t device;
    ino_t inode;
} socket_file_t;
bool socket_file_of(const char *path, socket_file_t *out);
void socket_remove_file(const char *path, const socket_file_t *file);

/* The next connection, non-blocking, close-on-exec, never raising SIGPIPE; -1 with errno. */
int socket_accept(int listening);
/* Whether the peer of a Unix connection is this process's user. */
bool socket_same_user(int fd);
/* "127.0.0.1:4000", "[::1]:4000" or "unix". */
void socket_peer(int fd, char out[SOCKET_PEER_SIZE]);

#endif
