/*
 * output.c - see output.h.
 */
#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "stdio_bus.h"

#define FIRST_SIZE 65536u
#define DRAIN_PATIENCE_MS 5000 /* how long a reader may take nothing of the last messages */
#define DRAIN_POLL_MS 100

int output_say(const char *text) {
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0) return EXIT_OK;
    log_error("stdout cannot be written: %s", strerror(errno));
    return EXIT_FAILED;
}

void output_add(output_t *out, const char *bytes, size_t len) {
    if (out->broken || !len) return;
    if (out->head + out->len + len > out->cap) {
        if (out->head) memmove(out->data, out->data + out->head, out->len);
        out->head = 0;
        size_t cap = out->cap ? out->cap : FIRST_SIZE;
        while (cap < out->len + len) cap *= 2;
        char *data = cap > out->cap ? realloc(out->data, cap) : out->data;
        if (!data) {
            log_print(STDIO_BUS_LOG_ERROR, "no memory for messages to the host");
            output_fail(out);
            return;
        }
        out->data = data;
        out->cap = cap;
    }
    memcpy(out->data + out->head + out->len, bytes, len);
    out->len += len;
}

void output_text(output_t *out, const char *text) {
    output_add(out, text, strlen(text));
}

void output_printf(output_t *out, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    output_text(out, text);
}

void output_json_string(output_t *out, const char *text) {
    output_add(out, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') output_printf(out, "\\%c", c);
        else if (c == '\n') output_text(out, "\\n");
        else if (c < 0x20) output_printf(out, "\\u%04x", c);
        else output_add(out, text, 1);
    }
    output_add(out, "\"", 1);
}

/* Whether poll can tell of stdout; on macOS it cannot of all terminals. */
static bool can_poll(void) {
    struct pollfd look = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&look, 1, 0) >= 0 && !(look.revents & POLLNVAL);
}

/* Opens what stdout is once more, non-blocking, and makes that stdout: others who have it keep theirs as
 * it is.  It does not succeed everywhere: /dev/fd is another name of the same on macOS, a pipe of another
 * user may not be opened, and a named one not while nobody reads. */
static void open_again(const char *path, int flags) {
    int fd = path ? open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    dup2(fd, STDOUT_FILENO);
    close(fd);
}

/* Plain files and /dev/null do not block, and have no reader who could go.  A terminal that cannot be opened
 * again stays blocking: a shell reads from it, too. */
void output_unblock(output_t *out) {
    struct stat info;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags < 0 || fstat(STDOUT_FILENO, &info) < 0) return;
    bool terminal = isatty(STDOUT_FILENO), fifo = S_ISFIFO(info.st_mode);
    if (!(terminal ? can_poll() : fifo || S_ISSOCK(info.st_mode))) return;
    out->watched = true;
    if (terminal) open_again(ttyname(STDOUT_FILENO), flags);
    else if (fifo) open_again("/dev/fd/1", flags);
    flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (terminal || flags < 0 || flags & O_NONBLOCK) return;
    out->unblocked = fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK) == 0;
}

void output_give_up(output_t *out) {
    free(out->data);
    out->data = NULL;
    out->head = out->len = out->cap = 0;
    out->broken = true;
}

void output_fail(output_t *out) {
    out->failed = true;
    output_give_up(out);
}

void output_flush(output_t *out) {
    while (out->len && !out->broken) {
        ssize_t n = write(STDOUT_FILENO, out->data + out->head, out->len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            output_give_up(out);
            return;
        }
        out->head += (size_t)n;
        out->len -= (size_t)n;
    }
    if (!out->len) out->head = 0;
}

bool output_drain(output_t *out, int other) {
    size_t left = SIZE_MAX;
    uint64_t deadline = 0;
    for (output_flush(out); out->len; output_flush(out)) {
        if (out->len < left) deadline = now_ms() + DRAIN_PATIENCE_MS;
        else if (now_ms() >= deadline) return false;
        left = out->len;
        struct pollfd fds[] = {{.fd = STDOUT_FILENO, .events = POLLOUT}, {.fd = other, .events = POLLIN}};
        if (poll(fds, 2, DRAIN_POLL_MS) > 0 && fds[1].revents) return true;
    }
    return false;
}

void output_free(output_t *out) {
    int flags = out->unblocked ? fcntl(STDOUT_FILENO, F_GETFL) : -1;
    if (flags >= 0) fcntl(STDOUT_FILENO, F_SETFL, flags & ~O_NONBLOCK);
    free(out->data);
    *out = (output_t){0};
}
