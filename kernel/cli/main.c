/*
 * main.c - the program stdio_bus: the bus for hosts that talk over stdin and stdout.
 *
 * Uses the public header only.  The process's own stdin and stdout are the host client;
 * with --tagged every line names its client (and, towards the host, its worker), and
 * worker events and status travel as notifications of the bus.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "stdio_bus.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONFIG = 3, EXIT_NOTHING_STARTED = 4 };

#define READ_SIZE (256u * 1024)
#define OUT_HIGH_WATER (8u * 1024 * 1024) /* beyond, nothing is taken in until the host has read */
#define CONFIG_MAX (64u * 1024 * 1024)
#define STATUS_INTERVAL_MS 100
#define FLUSH_PATIENCE_MS 5000 /* how long a host may read nothing of the last messages */
#define TAG_MAX 11
#define LOG_LINE_MAX 32768

static const char USAGE[] =
    "usage: stdio_bus (--config PATH | --config-fd N) [--stdio | --tcp HOST:PORT | --unix PATH]\n"
    "                 [--token-file PATH] [--tagged] [--log-level LEVEL] [--check]\n"
    "       stdio_bus --version | --help\n"
    "\n"
    "Runs the worker pools of a configuration behind one stream of JSON-RPC lines.\n"
    "\n"
    "  --config PATH      the configuration, a JSON file\n"
    "  --config-fd N      the same from an open descriptor\n"
    "  --stdio            one client, on stdin and stdout (the default)\n"
    "  --tcp HOST:PORT    clients connect over TCP; port 0 is any free one, told in the log\n"
    "  --unix PATH        clients connect over a Unix socket\n"
    "  --token-file PATH  what clients must say first (stdio_bus/hello, params.token); else\n"
    "                     the environment's STDIO_BUS_TOKEN, else the configuration's token\n"
    "  --tagged           with --stdio: each line names its client and worker; worker events and status\n"
    "  --log-level LEVEL  debug, info (default), warning or error; the log goes to stderr\n"
    "  --check            check the configuration and exit\n"
    "\n"
    "Exit status: 0 orderly end, 1 internal failure, 2 usage, 3 configuration, 4 nothing could start.\n";

/* ---- bytes on their way to stdout ------------------------------------------------- */

typedef struct out {
    char *data;
    size_t head, len, cap;
    bool broken; /* nobody reads any more */
} out_t;

static void out_add(out_t *out, const char *bytes, size_t len) {
    if (out->broken || !len) return;
    if (out->head + out->len + len > out->cap) {
        if (out->head) memmove(out->data, out->data + out->head, out->len);
        out->head = 0;
        size_t cap = out->cap ? out->cap : 65536;
        while (cap < out->len + len) cap *= 2;
        char *data = cap > out->cap ? realloc(out->data, cap) : out->data;
        if (!data) {
            fputs("stdio_bus: error: no memory for messages to the host\n", stderr);
            exit(EXIT_FAILED);
        }
        out->data = data;
        out->cap = cap;
    }
    memcpy(out->data + out->head + out->len, bytes, len);
    out->len += len;
}

static void out_text(out_t *out, const char *text) {
    out_add(out, text, strlen(text));
}

static void out_printf(out_t *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void out_printf(out_t *out, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    out_text(out, text);
}

static void out_json_string(out_t *out, const char *text) {
    out_add(out, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') out_printf(out, "\\%c", c);
        else if (c == '\n') out_text(out, "\\n");
        else if (c < 0x20) out_printf(out, "\\u%04x", c);
        else out_add(out, text, 1);
    }
    out_add(out, "\"", 1);
}

/* Writes what stdout takes without blocking. */
static void out_flush(out_t *out) {
    while (out->len && !out->broken) {
        ssize_t n = write(STDOUT_FILENO, out->data + out->head, out->len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            out->broken = true;
            out->len = 0;
            return;
        }
        out->head += (size_t)n;
        out->len -= (size_t)n;
    }
    if (!out->len) out->head = 0;
}

/* ---- the program's state ------------------------------------------------------------ */

typedef struct program {
    stdio_bus_t *bus;
    out_t out;
    bool tagged;
    bool listening; /* clients connect; stdin and stdout carry nothing */
    bool stdin_open;
    bool signalled; /* asked to end; once more means at once */
    bool started; /* some worker has been ready once */
    /* The tag of the input line being read. */
    char tag[TAG_MAX + 1];
    size_t tag_len;
    bool in_line; /* behind the tag: bytes go to `client` */
    int client;
    int run_client; /* of the bytes being gathered */
    /* The status as last written. */
    stdio_bus_stats_t stats;
    int state, pending, sessions;
    bool workers_changed;
    uint64_t status_due; /* not before; monotonic milliseconds */
} program_t;

static int signal_pipe[2] = {-1, -1}; /* a signal handler has no argument to reach the program by */

static void on_signal(int signal) {
    int saved = errno;
    char byte = (char)signal;
    (void)!write(signal_pipe[1], &byte, 1); /* full: signals enough are waiting */
    errno = saved;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Writes to stderr as much as it takes at once: a log that nobody reads must not hold the
 * bus up.  Where poll finds room, PIPE_BUF bytes do not block; the descriptor itself stays
 * as it is, for others may share it. */
static bool log_write(const char *text, size_t len) {
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

static void print_log(int level, const char *message) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    static unsigned long lost; /* lines, since the last one that was taken; the first may be torn */
    char line[LOG_LINE_MAX];
    int len = lost ? snprintf(line, sizeof line, "\nstdio_bus: warning: log lines were lost, for stderr was full: %lu\n",
                              lost)
                   : 0;
    if (!log_write(line, (size_t)len)) {
        lost++;
        return;
    }
    lost = 0;
    len = snprintf(line, sizeof line - 1, "stdio_bus: %s: %s", names[level], message);
    if (len > (int)sizeof line - 2) len = (int)sizeof line - 2;
    line[len++] = '\n';
    if (!log_write(line, (size_t)len)) lost++;
}

/* ---- callbacks ------------------------------------------------------------------------ */

static void on_log(stdio_bus_t *bus, int level, const char *message, void *user) {
    (void)bus;
    (void)user;
    print_log(level, message);
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    (void)user;
    if (bus && code == STDIO_BUS_ERR_WORKER) return; /* the log has it already */
    print_log(STDIO_BUS_LOG_ERROR, message);
}

static void on_batch(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                     void *user) {
    program_t *program = user;
    (void)bus;
    if (program->listening) return; /* nobody is the host client */
    if (!program->tagged) {
        out_add(&program->out, data, len); /* the host is the only client */
        return;
    }
    for (size_t i = 0; i < count; i++) {
        out_printf(&program->out, "%" PRId32 " %" PRId32 " ", lines[i].client_id, lines[i].worker_id);
        out_add(&program->out, data, lines[i].length + 1);
        data += lines[i].length + 1;
    }
}

static void on_worker_event(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user) {
    program_t *program = user;
    out_t *out = &program->out;
    (void)bus;
    program->workers_changed = true;
    if (strcmp(event->kind, "started") == 0) program->started = true;
    if (!program->tagged) return;
    out_printf(out, "0 %" PRId32 " {\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/worker_event\",\"params\":{\"kind\":\"%s\",",
               event->worker_id, event->kind);
    out_text(out, "\"pool\":");
    out_json_string(out, event->pool);
    out_printf(out, ",\"worker\":%" PRId32 ",\"pid\":%" PRId32 ",\"exit_code\":%" PRId32 ",\"signal\":%" PRId32,
               event->worker_id, event->pid, event->exit_code, event->signal);
    out_text(out, ",\"reason\":");
    out_json_string(out, event->reason);
    out_text(out, ",\"stderr\":");
    out_json_string(out, event->stderr_tail);
    out_text(out, "}}\n");
}

/* ---- status (tagged mode) ------------------------------------------------------------- */

/* Writes the status when it differs from the last one and is due.  Returns how long to
 * wait for the next chance, -1 when nothing has changed. */
static int write_status(program_t *program) {
    stdio_bus_stats_t stats;
    stdio_bus_get_stats(program->bus, &stats);
    int state = stdio_bus_get_state(program->bus), pending = stdio_bus_pending_count(program->bus);
    int sessions = stdio_bus_session_count(program->bus);
    bool changed = program->workers_changed || state != program->state || pending != program->pending ||
                   sessions != program->sessions || memcmp(&stats, &program->stats, sizeof stats) != 0;
    if (!program->tagged || !changed) return -1;
    uint64_t now = now_ms();
    if (now < program->status_due) return (int)(program->status_due - now);
    program->status_due = now + STATUS_INTERVAL_MS;
    program->stats = stats;
    program->state = state;
    program->pending = pending;
    program->sessions = sessions;
    program->workers_changed = false;
    int len = stdio_bus_get_status(program->bus, NULL, 0);
    char *status = len > 0 ? malloc((size_t)len + 1) : NULL;
    if (!status) return -1; /* no memory: the next change has another chance */
    stdio_bus_get_status(program->bus, status, (size_t)len + 1);
    out_text(&program->out, "0 0 {\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/status\",\"params\":");
    out_add(&program->out, status, (size_t)len);
    out_text(&program->out, "}\n");
    free(status);
    return -1;
}

/* ---- stdin ------------------------------------------------------------------------------ */

static void feed_client(program_t *program, const char *data, const char *end) {
    if (data == end || program->run_client < 0) return;
    if (stdio_bus_feed(program->bus, program->run_client, data, (size_t)(end - data)) == STDIO_BUS_ERR_ENOTFOUND)
        print_log(STDIO_BUS_LOG_ERROR, "lines of the host were skipped: they name a client that is not there");
}

/* Passes a tagged stream on: the tag ("<client> ") is taken off each line, in place, and
 * what follows goes to that client in runs as long as the client is the same. */
static void feed_tagged(program_t *program, char *data, size_t len) {
    const char *end = data + len;
    char *run = data, *run_end = data; /* without tags, for program->run_client */
    while (data < end) {
        if (program->in_line) {
            const char *newline = memchr(data, '\n', (size_t)(end - data));
            size_t n = newline ? (size_t)(newline + 1 - data) : (size_t)(end - data);
            if (program->client != program->run_client) {
                feed_client(program, run, run_end);
                run = run_end = data;
                program->run_client = program->client;
            }
            memmove(run_end, data, n);
            run_end += n;
            program->in_line = !newline;
            data += n;
            continue;
        }
        char c = *data++;
        if (c == '\n') {
            program->tag_len = 0;
        } else if (c != ' ' && program->tag_len < TAG_MAX) {
            program->tag[program->tag_len++] = c;
        } else {
            program->tag[program->tag_len] = '\0';
            char *rest;
            long client = strtol(program->tag, &rest, 10);
            bool valid = c == ' ' && program->tag_len && !*rest && client >= 0 && client <= INT32_MAX;
            if (!valid) print_log(STDIO_BUS_LOG_ERROR, "a line of the host was skipped: it does not begin with a client id");
            program->client = valid ? (int)client : -1;
            program->in_line = true;
            program->tag_len = 0;
        }
    }
    feed_client(program, run, run_end);
}

static void read_stdin(program_t *program, char *scratch) {
    ssize_t n = read(STDIN_FILENO, scratch, READ_SIZE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
        program->stdin_open = false;
        /* A last line counts without its newline, too. */
        char newline = '\n';
        if (program->tagged && program->in_line) feed_tagged(program, &newline, 1);
        if (!program->tagged) stdio_bus_feed(program->bus, STDIO_BUS_HOST_CLIENT, &newline, 1);
        stdio_bus_stop(program->bus, -1);
    } else if (program->tagged) {
        feed_tagged(program, scratch, (size_t)n);
    } else {
        stdio_bus_feed(program->bus, STDIO_BUS_HOST_CLIENT, scratch, (size_t)n);
    }
}

/* ---- running ------------------------------------------------------------------------------ */

/* Pipes and sockets are set non-blocking, so that a host that does not read never stops
 * the bus; what is shared with others (a terminal, a file) stays as it is. */
static void unblock_stdout(void) {
    struct stat info;
    if (fstat(STDOUT_FILENO, &info) < 0 || !(S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode))) return;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags >= 0) fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK);
}

static bool catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    if (pipe(signal_pipe) < 0) return false;
    for (int i = 0; i < 2; i++) {
        fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK);
        fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC);
    }
    return sigaction(SIGTERM, &stop, NULL) == 0 && sigaction(SIGINT, &stop, NULL) == 0 &&
           sigaction(SIGPIPE, &ignore, NULL) == 0;
}

static bool all_failed(const program_t *program) {
    int count = stdio_bus_get_workers(program->bus, NULL, 0);
    stdio_bus_worker_info_t *workers = calloc((size_t)count + 1, sizeof *workers);
    if (!workers) return false;
    stdio_bus_get_workers(program->bus, workers, count);
    bool failed = true;
    for (int i = 0; i < count; i++) failed = failed && workers[i].state == STDIO_BUS_WORKER_FAILED;
    free(workers);
    return failed;
}

static void drain_out(program_t *program) {
    size_t left = SIZE_MAX;
    uint64_t deadline = 0;
    for (out_flush(&program->out); program->out.len; out_flush(&program->out)) {
        if (program->out.len < left) deadline = now_ms() + FLUSH_PATIENCE_MS;
        else if (now_ms() >= deadline) return;
        left = program->out.len;
        struct pollfd writable = {.fd = STDOUT_FILENO, .events = POLLOUT};
        poll(&writable, 1, STATUS_INTERVAL_MS);
    }
}

/* One turn: wait, then read, step, write.  False: a second signal, end at once. */
static bool turn(program_t *program, char *scratch) {
    int wait = write_status(program);
    out_flush(&program->out);
    bool stopping = stdio_bus_get_state(program->bus) == STDIO_BUS_STATE_STOPPING;
    bool takes = stopping || program->out.len < OUT_HIGH_WATER;
    struct pollfd fds[] = {
        {.fd = signal_pipe[0], .events = POLLIN},
        {.fd = takes ? stdio_bus_get_poll_fd(program->bus) : -1, .events = POLLIN},
        {.fd = takes && program->stdin_open ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = program->out.len ? STDOUT_FILENO : -1, .events = POLLOUT},
    };
    if (poll(fds, 4, wait) < 0 && errno != EINTR) return false;
    char byte;
    if (fds[0].revents && read(signal_pipe[0], &byte, 1) == 1) {
        if (program->signalled) return false;
        program->signalled = true;
        program->stdin_open = false;
        stdio_bus_stop(program->bus, -1);
    }
    if (fds[2].revents) read_stdin(program, scratch);
    if (fds[1].revents || fds[2].revents) stdio_bus_step(program->bus, 0);
    if (program->out.broken && !stopping) stdio_bus_stop(program->bus, -1);
    return true;
}

static int run(program_t *program) {
    char *scratch = malloc(READ_SIZE);
    if (!scratch || !catch_signals()) {
        free(scratch);
        print_log(STDIO_BUS_LOG_ERROR, strerror(errno));
        return EXIT_FAILED;
    }
    unblock_stdout();
    program->stdin_open = !program->listening;
    int started = stdio_bus_start(program->bus);
    bool orderly = started == STDIO_BUS_OK;
    if (orderly && program->listening && stdio_bus_get_listener_port(program->bus) > 0) {
        char text[64];
        snprintf(text, sizeof text, "listening on port %d", stdio_bus_get_listener_port(program->bus));
        print_log(STDIO_BUS_LOG_INFO, text);
    }
    while (orderly && stdio_bus_get_state(program->bus) != STDIO_BUS_STATE_STOPPED) {
        orderly = turn(program, scratch);
        if (!program->started && all_failed(program)) break;
    }
    if (started == STDIO_BUS_ERR_CONFIG) {
        free(scratch);
        return EXIT_CONFIG;
    }
    bool nothing = !program->started && all_failed(program);
    if (stdio_bus_get_state(program->bus) != STDIO_BUS_STATE_CREATED) stdio_bus_step(program->bus, 0);
    program->workers_changed = true;
    program->status_due = 0;
    write_status(program);
    drain_out(program);
    free(scratch);
    if (nothing) print_log(STDIO_BUS_LOG_ERROR, "no worker of any pool could be started");
    return nothing ? EXIT_NOTHING_STARTED : EXIT_OK;
}

/* ---- arguments ------------------------------------------------------------------------------ */

typedef struct arguments {
    const char *config_path, *token_file;
    int config_fd;
    int mode; /* STDIO_BUS_LISTEN_* */
    char *tcp_host;
    uint16_t tcp_port;
    const char *unix_path;
    bool tagged, check;
    int log_level;
} arguments_t;

#define GO_ON (-1)

static int usage_error(const char *what, const char *argument) {
    fprintf(stderr, "stdio_bus: %s%s%s\n%s", what, argument ? ": " : "", argument ? argument : "", USAGE);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, long max, long *out) {
    char *rest;
    *out = strtol(text, &rest, 10);
    return *text >= '0' && *text <= '9' && !*rest && *out <= max;
}

/* HOST:PORT, an IPv6 host in brackets. */
static bool parse_address(char *text, arguments_t *out) {
    char *colon = strrchr(text, ':');
    long port;
    if (!colon || !parse_number(colon + 1, UINT16_MAX, &port)) return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    text[len] = '\0'; /* the text is argv's, ours to change */
    out->tcp_host = text;
    out->tcp_port = (uint16_t)port;
    return len > 0;
}

/* An option with a value. */
static int take_value(arguments_t *out, const char *name, char *value) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    long number;
    if (strcmp(name, "--config") == 0) {
        out->config_path = value;
    } else if (strcmp(name, "--token-file") == 0) {
        out->token_file = value;
    } else if (strcmp(name, "--config-fd") == 0) {
        if (!parse_number(value, INT32_MAX, &number)) return usage_error("not a descriptor", value);
        out->config_fd = (int)number;
    } else if (strcmp(name, "--unix") == 0) {
        out->mode = STDIO_BUS_LISTEN_UNIX;
        out->unix_path = value;
    } else if (strcmp(name, "--tcp") == 0) {
        out->mode = STDIO_BUS_LISTEN_TCP;
        if (!parse_address(value, out)) return usage_error("not an address of the form HOST:PORT", value);
    } else {
        for (out->log_level = 0; out->log_level < 4; out->log_level++)
            if (strcmp(levels[out->log_level], value) == 0) return GO_ON;
        return usage_error("unknown log level", value);
    }
    return GO_ON;
}

static bool takes_value(const char *name) {
    static const char *const names[] = {"--config", "--config-fd", "--tcp", "--unix", "--token-file", "--log-level"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* GO_ON, or the exit status. */
static int parse_arguments(int argc, char **argv, arguments_t *out) {
    int modes = 0;
    *out = (arguments_t){.config_fd = -1, .log_level = STDIO_BUS_LOG_INFO};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        modes += strcmp(name, "--stdio") == 0 || strcmp(name, "--tcp") == 0 || strcmp(name, "--unix") == 0;
        if (strcmp(name, "--stdio") == 0) continue;
        if (strcmp(name, "--tagged") == 0) {
            out->tagged = true;
        } else if (strcmp(name, "--check") == 0) {
            out->check = true;
        } else if (strcmp(name, "--version") == 0) {
            printf("stdio_bus %s (ABI %d)\n", stdio_bus_version(), stdio_bus_abi());
            return EXIT_OK;
        } else if (strcmp(name, "--help") == 0) {
            fputs(USAGE, stdout);
            return EXIT_OK;
        } else if (!takes_value(name)) {
            return usage_error("unknown argument", name);
        } else if (i + 1 == argc) {
            return usage_error("a value is missing after", name);
        } else {
            int status = take_value(out, name, argv[++i]);
            if (status != GO_ON) return status;
        }
    }
    if (!out->config_path == (out->config_fd < 0)) return usage_error("give one of --config and --config-fd", NULL);
    if (modes > 1) return usage_error("give at most one of --stdio, --tcp and --unix", NULL);
    if (out->tagged && out->mode != STDIO_BUS_LISTEN_NONE) return usage_error("--tagged goes with --stdio", NULL);
    return GO_ON;
}

/* The text behind a descriptor, terminated; the caller frees it.  NULL: reported. */
static char *read_config(int fd) {
    size_t len = 0, cap = 65536;
    char *text = malloc(cap);
    while (text) {
        ssize_t n = read(fd, text + len, cap - len - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            text[len] = '\0';
            if (n == 0 && !memchr(text, '\0', len)) return text;
            if (n == 0) errno = EILSEQ; /* a NUL byte */
            break;
        }
        len += (size_t)n;
        if (len + 1 < cap) continue;
        char *larger = cap < CONFIG_MAX ? realloc(text, cap *= 2) : NULL;
        if (!larger) break;
        text = larger;
    }
    fprintf(stderr, "stdio_bus: error: --config-fd %d: cannot be read: %s\n", fd, strerror(errno));
    free(text);
    return NULL;
}

/* The token from the file or the environment; false: reported. */
static bool set_token(stdio_bus_t *bus, const char *path) {
    char text[1026] = ""; /* the longest token, a line break, the terminator */
    const char *source = path ? path : "STDIO_BUS_TOKEN";
    if (path) {
        FILE *file = fopen(path, "re");
        size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
        bool read = file && !ferror(file);
        int reason = errno;
        if (file) fclose(file);
        if (!read) {
            fprintf(stderr, "stdio_bus: error: --token-file %s: %s\n", path, strerror(reason));
            return false;
        }
        text[len] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
    } else {
        const char *value = getenv(source);
        if (!value) return true;
        snprintf(text, sizeof text, "%s", value);
    }
    if (stdio_bus_set_token(bus, text) == STDIO_BUS_OK) return true;
    fprintf(stderr, "stdio_bus: error: %s: the token must be 1 to 1024 bytes\n", source);
    return false;
}

int main(int argc, char **argv) {
    arguments_t arguments;
    int status = parse_arguments(argc, argv, &arguments);
    if (status != GO_ON) return status;
    char *config = NULL;
    if (arguments.config_fd >= 0) {
        if (!(config = read_config(arguments.config_fd))) return EXIT_CONFIG;
        if (arguments.config_fd > STDERR_FILENO) close(arguments.config_fd);
    }
    program_t program = {
        .tagged = arguments.tagged,
        .listening = arguments.mode != STDIO_BUS_LISTEN_NONE,
        .workers_changed = true,
    };
    stdio_bus_options_t options = {
        .config_path = arguments.config_path,
        .config_json = config,
        .listener = {arguments.mode, arguments.tcp_host, arguments.tcp_port, arguments.unix_path},
        .on_error = on_error,
        .on_log = on_log,
        .user_data = &program,
        .log_level = arguments.log_level,
    };
    program.bus = stdio_bus_create(&options);
    free(config);
    if (!program.bus) return EXIT_CONFIG;
    stdio_bus_set_on_batch(program.bus, on_batch);
    stdio_bus_set_on_worker_event(program.bus, on_worker_event);
    if (!set_token(program.bus, arguments.token_file)) status = EXIT_CONFIG;
    else if (!arguments.check) status = run(&program);
    else status = puts("stdio_bus: the configuration is good") < 0 ? EXIT_FAILED : EXIT_OK;
    stdio_bus_destroy(program.bus);
    free(program.out.data);
    return status;
}
