/*
 * host.c - see host.h.
 */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define READ_SIZE (256u * 1024)
#define OUT_HIGH_WATER (8u * 1024 * 1024) /* beyond, nothing is taken in until the host has read */
#define STOP_HIGH_WATER (2 * OUT_HIGH_WATER) /* the same during a stop, which is to end all the same */
#define LAST_MS 5000 /* of a stop: workers are asked to end and killed, whether the host reads or not */
#define LAST_STEP_MS 1000

/* ---- signals -------------------------------------------------------------------------- */

static int signal_pipe[2] = {-1, -1}; /* a signal handler has no argument to reach the host by */

static void on_signal(int signal) {
    int saved = errno;
    char byte = (char)signal;
    (void)!write(signal_pipe[1], &byte, 1); /* full: signals enough are waiting */
    errno = saved;
}

/* What the program that started this one has left of signals may be anything: blocked ones never come, and
 * where SIGCHLD is ignored nobody learns how a worker has ended.  Only SIGHUP stays ignored: nohup means it. */
static bool catch_signals(void) {
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    struct sigaction standard = {.sa_handler = SIG_DFL}, before;
    sigset_t unblocked;
    sigemptyset(&unblocked);
    if (pipe(signal_pipe) < 0) return false;
    for (int i = 0; i < 2; i++) {
        fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK);
        fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC);
    }
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        if (sigaction(stops[i], NULL, &before) < 0) return false;
        bool stays = stops[i] == SIGHUP && before.sa_handler == SIG_IGN;
        if (!stays && sigaction(stops[i], &stop, NULL) < 0) return false;
        sigaddset(&unblocked, stops[i]);
    }
    return sigaction(SIGPIPE, &ignore, NULL) == 0 && sigaction(SIGCHLD, &standard, NULL) == 0 &&
           sigprocmask(SIG_UNBLOCK, &unblocked, NULL) == 0;
}

/* ---- callbacks ------------------------------------------------------------------------ */

static void on_log(stdio_bus_t *bus, int level, const char *message, void *user) {
    (void)bus;
    (void)user;
    log_print(level, message);
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    host_t *host = user;
    if (!bus) host->refusal = code;
    if (bus && code == STDIO_BUS_ERR_WORKER) return; /* the log has it already */
    log_print(STDIO_BUS_LOG_ERROR, message);
    if (bus && code == STDIO_BUS_ERR_BUFFER && !host->listening) output_fail(&host->out);
}

static void on_batch(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                     void *user) {
    host_t *host = user;
    (void)bus;
    if (host->listening) return;
    if (host->tagged) tagged_write_lines(&host->out, data, lines, count);
    else output_add(&host->out, data, len); /* the host is the only client */
}

static void on_worker_event(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user) {
    host_t *host = user;
    (void)bus;
    host->status.workers_changed = true;
    if (strcmp(event->kind, "started") == 0) host->started = true;
    if (host->tagged) tagged_write_event(&host->out, event);
}

/* ---- stdin ---------------------------------------------------------------------------- */

static void take(host_t *host, char *data, size_t len) {
    if (host->tagged) tagged_feed(&host->input, host->bus, data, len);
    else stdio_bus_feed(host->bus, STDIO_BUS_HOST_CLIENT, data, len);
}

static void take_end(host_t *host) {
    host->stdin_open = false;
    /* A last line counts without its newline, too. */
    if (host->tagged) tagged_feed_end(&host->input, host->bus);
    else stdio_bus_feed(host->bus, STDIO_BUS_HOST_CLIENT, "\n", 1);
    stdio_bus_stop(host->bus, -1);
}

static void read_stdin(host_t *host, char *scratch) {
    ssize_t n = read(STDIN_FILENO, scratch, READ_SIZE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) take_end(host);
    else take(host, scratch, (size_t)n);
}

/* ---- running -------------------------------------------------------------------------- */

static bool nothing_started(const host_t *host) {
    return !host->started && stdio_bus_all_failed(host->bus);
}

static int write_status(host_t *host) {
    return host->tagged ? tagged_write_status(&host->status, &host->out, host->bus) : -1;
}

/* How long the bus is left alone because the host does not read what waits for it, in
 * milliseconds: 0 not at all, -1 until the host reads.  Each step of the bus may take in more
 * from its workers; so towards the end of a stop it has a few of them, for its timers. */
static int resting(const host_t *host) {
    int left = stdio_bus_stop_left(host->bus);
    bool stopping = left >= 0;
    if (host->out.len < (stopping ? STOP_HIGH_WATER : OUT_HIGH_WATER)) return 0;
    if (!stopping || left > LAST_MS) return stopping ? left - LAST_MS : -1;
    uint64_t now = now_ms();
    return left && host->rests_until > now ? (int)(host->rests_until - now) : 0;
}

static int shorter(int wait, int other) {
    return wait < 0 || (other >= 0 && other < wait) ? other : wait;
}

static void take_signal(host_t *host) {
    char byte;
    if (read(signal_pipe[0], &byte, 1) != 1) return;
    /* Of a terminal that closes both its shell and the system tell: a hangup does not hasten a stop. */
    if (host->signals && byte == SIGHUP) return;
    /* In a stop stdin is read on: questions of workers are answered there. */
    if (++host->signals == 1) stdio_bus_stop(host->bus, -1);
}

/* Nobody is left who could read an answer: what is out is cancelled, so that nothing waits for it. */
static void leave(host_t *host) {
    host->left = true;
    stdio_bus_client_close(host->bus, STDIO_BUS_HOST_CLIENT);
    stdio_bus_stop(host->bus, -1);
}

static bool watches_stdout(const host_t *host) {
    return host->out.len || (host->out.watched && !host->out.broken && !host->listening);
}

/* One turn: wait, then read, step, write.  False: a second signal, end at once. */
static bool turn(host_t *host, char *scratch) {
    int wait = write_status(host);
    output_flush(&host->out);
    if (host->out.broken && !host->left) leave(host);
    int rest = resting(host);
    bool takes = rest == 0;
    struct pollfd fds[] = {
        {.fd = signal_pipe[0], .events = POLLIN},
        {.fd = takes ? stdio_bus_get_poll_fd(host->bus) : -1, .events = POLLIN},
        {.fd = takes && host->stdin_open ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = watches_stdout(host) ? STDOUT_FILENO : -1, .events = host->out.len ? POLLOUT : 0},
    };
    if (poll(fds, 4, takes ? wait : shorter(wait, rest)) < 0 && errno != EINTR) return false;
    if (fds[0].revents) take_signal(host);
    if (host->signals > 1) return false;
    if (fds[3].revents & (POLLERR | POLLHUP) && host->out.watched) output_give_up(&host->out);
    if (fds[2].revents) read_stdin(host, scratch);
    if (fds[1].revents || fds[2].revents) {
        stdio_bus_step(host->bus, 0);
        host->rests_until = now_ms() + LAST_STEP_MS;
    }
    return true;
}

static void say_port(const host_t *host) {
    int port = host->listening ? stdio_bus_get_listener_port(host->bus) : 0;
    if (port <= 0) return;
    char text[64];
    snprintf(text, sizeof text, "listening on port %d", port);
    log_print(STDIO_BUS_LOG_INFO, text);
}

/* The last messages, unless a second signal has come or comes meanwhile: workers are still to be killed. */
static void give_the_rest(host_t *host) {
    output_flush(&host->out);
    while (host->signals < 2 && output_drain(&host->out, signal_pipe[0])) take_signal(host);
}

int host_run(host_t *host, char *first, size_t len) {
    char *scratch = malloc(READ_SIZE);
    if (!scratch || !catch_signals()) {
        free(scratch);
        log_print(STDIO_BUS_LOG_ERROR, strerror(errno));
        return EXIT_FAILED;
    }
    output_unblock(&host->out);
    host->stdin_open = !host->listening;
    int started = stdio_bus_start(host->bus);
    bool orderly = started == STDIO_BUS_OK;
    if (orderly) say_port(host);
    if (orderly && len) take(host, first, len);
    while (orderly && stdio_bus_get_state(host->bus) != STDIO_BUS_STATE_STOPPED) {
        orderly = turn(host, scratch);
        if (nothing_started(host)) break;
    }
    free(scratch);
    if (started == STDIO_BUS_ERR_CONFIG) return EXIT_CONFIG;
    bool nothing = nothing_started(host);
    if (stdio_bus_get_state(host->bus) != STDIO_BUS_STATE_CREATED) stdio_bus_step(host->bus, 0);
    host->status.workers_changed = true;
    host->status.due = 0;
    write_status(host);
    give_the_rest(host);
    if (nothing) log_print(STDIO_BUS_LOG_ERROR, "no worker of any pool could be started");
    return nothing ? EXIT_NOTHING_STARTED : host->out.failed ? EXIT_FAILED : EXIT_OK;
}

/* ---- its life ------------------------------------------------------------------------- */

int host_open(host_t *host, const options_t *options, const char *config_json) {
    *host = (host_t){
        .tagged = options->tagged,
        .listening = options->mode != STDIO_BUS_LISTEN_NONE,
        .status = {.workers_changed = true},
    };
    stdio_bus_options_t bus = {
        .config_path = options->config_path,
        .config_json = config_json,
        .listener = {options->mode, options->tcp_host, options->tcp_port, options->unix_path},
        .on_error = on_error,
        .on_log = on_log,
        .user_data = host,
        .log_level = options->log_level,
    };
    host->bus = stdio_bus_create(&bus);
    if (!host->bus) return host->refusal == STDIO_BUS_ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILED;
    stdio_bus_set_on_batch(host->bus, on_batch);
    stdio_bus_set_on_worker_event(host->bus, on_worker_event);
    return EXIT_OK;
}

void host_close(host_t *host) {
    stdio_bus_destroy(host->bus);
    output_free(&host->out);
}
