/*
 * log.c - see log.h.
 */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "stdio_bus.h"

#define LINE_MAX_BYTES 32768

/* Writes as much as stderr takes at once.  Where poll finds room, PIPE_BUF bytes do not block;
 * the descriptor itself stays as it is, for others may share it. */
static bool write_now(const char *text, size_t len) {
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (len && poll(&writable, 1, 0) > 0) {
        ssize_t n = write(STDERR_FILENO, text, len < PIPE_BUF ? len : PIPE_BUF);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        text += n;
        len -= (size_t)n;
    }
    return !len;
}

void log_print(int level, const char *message) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    static unsigned long lost; /* lines, since the last one that was taken; the first may be torn */
    char line[LINE_MAX_BYTES];
    int len = 0;
    if (lost)
        len = snprintf(line, sizeof line, "\nstdio_bus: warning: log lines were lost, for stderr was full: %lu\n", lost);
    if (!write_now(line, (size_t)len)) {
        lost++;
        return;
    }
    lost = 0;
    len = snprintf(line, sizeof line - 1, "stdio_bus: %s: %s", names[level], message);
    if (len > (int)sizeof line - 2) len = (int)sizeof line - 2;
    line[len++] = '\n';
    if (!write_now(line, (size_t)len)) lost++;
}

void log_error(const char *format, ...) {
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_print(STDIO_BUS_LOG_ERROR, text);
}
