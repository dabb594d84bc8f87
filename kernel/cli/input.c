/*
 * input.c - see input.h.
 */
#define _GNU_SOURCE
#include "input.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "output.h"

#define BLOCK 65536u /* at most this much is read behind the line */
#define CONFIG_MAX (64u * 1024 * 1024)

/* Reads some bytes, however long they take to come. */
static ssize_t read_some(int fd, char *to, size_t len) {
    for (;;) {
        ssize_t n = read(fd, to, len);
        if (n >= 0 || (errno != EINTR && errno != EAGAIN)) return n;
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (errno == EAGAIN) poll(&readable, 1, -1);
    }
}

/* Makes room for one more block and a terminator. */
static bool grow(char **text, size_t len, size_t *cap) {
    if (*cap >= len + BLOCK + 1) return true;
    if (len > CONFIG_MAX) {
        errno = EFBIG;
        return false;
    }
    size_t larger = 2 * len + BLOCK + 1;
    char *moved = realloc(*text, larger);
    if (!moved) return false;
    *text = moved;
    *cap = larger;
    return true;
}

bool input_read_config(input_t *input, int fd, bool line) {
    size_t len = 0, cap = 0;
    char *text = NULL, *newline = NULL;
    ssize_t n = -1;
    while (!newline && grow(&text, len, &cap) && (n = read_some(fd, text + len, BLOCK)) > 0) {
        if (line) newline = memchr(text + len, '\n', (size_t)n);
        len += (size_t)n;
        n = -1; /* what a loop that ends for want of room leaves */
    }
    size_t used = newline ? (size_t)(newline - text) : len;
    bool complete = newline || n == 0;
    if (complete && memchr(text, '\0', used)) {
        errno = EILSEQ;
        complete = false;
    }
    if (!complete) {
        log_error("--config-fd %d: cannot be read: %s", fd, strerror(errno));
        free(text);
        return false;
    }
    text[used] = '\0';
    *input = (input_t){.text = text};
    if (newline) {
        input->rest = newline + 1;
        input->rest_len = len - used - 1;
    }
    return true;
}

void input_free(input_t *input) {
    free(input->text);
    *input = (input_t){0};
}

bool input_set_token(stdio_bus_t *bus, const char *path, bool listening) {
    char text[1026] = ""; /* the longest token, a line break, the terminator */
    const char *source = path ? path : "STDIO_BUS_TOKEN", *value = path || !listening ? NULL : getenv(source);
    bool given = path || value;
    if (value) snprintf(text, sizeof text, "%s", value);
    unsetenv("STDIO_BUS_TOKEN"); /* the workers have no need of it */
    if (!given) return true;
    if (path) {
        FILE *file = fopen(path, "re");
        size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
        bool read = file && !ferror(file);
        int reason = errno;
        if (file) fclose(file);
        if (!read) {
            log_error("--token-file %s: %s", path, strerror(reason));
            return false;
        }
        text[len] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
    }
    if (stdio_bus_set_token(bus, text) == STDIO_BUS_OK) return true;
    log_error("%s: the token must be 1 to 1024 bytes", source);
    return false;
}
