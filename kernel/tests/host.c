/* host.c - see host.h. */
#define _GNU_SOURCE
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "script_worker.h"

#define MESSAGES_MAX 4096
#define PATIENCE_SEC 30

host_t host;
int host_message_client, host_message_worker;

static char self[4096];
static struct {
    char *text;
    int client, worker;
} messages[MESSAGES_MAX];
static int message_count;
static time_t deadline;
static int listen_mode;
static const char *listen_where;

void host_main(int argc, char **argv) {
    if (argc > 1) exit(script_worker(argc, argv));
    REQUIRE(realpath(argv[0], self) != NULL);
}

/* ---- callbacks ---------------------------------------------------------------- */

static void append(char *to, size_t size, const char *text) {
    size_t len = strlen(to);
    snprintf(to + len, size - len, "%s", text);
}

static void on_batch(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count, void *user) {
    CHECK(user == &host && bus == host.bus && count > 0);
    const char *end = data + len;
    for (size_t i = 0; i < count; i++) {
        REQUIRE(message_count < MESSAGES_MAX);
        CHECK(data + lines[i].length < end && data[lines[i].length] == '\n');
        CHECK_INT(lines[i].reserved, 0);
        messages[message_count].text = strndup(data, lines[i].length);
        messages[message_count].client = lines[i].client_id;
        messages[message_count++].worker = lines[i].worker_id;
        data += lines[i].length + 1;
    }
    CHECK(data == end);
}

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    CHECK(user == &host && bus == host.bus);
    host.errors++;
    snprintf(host.error, sizeof host.error, "%d: %s", code, message);
}

static void on_log(stdio_bus_t *bus, int level, const char *message, void *user) {
    CHECK(user == &host && bus == host.bus && level >= STDIO_BUS_LOG_DEBUG && level <= STDIO_BUS_LOG_ERROR);
    append(host.log, sizeof host.log, message);
    append(host.log, sizeof host.log, "\n");
}

static void on_worker_event(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user) {
    char text[64];
    CHECK(user == &host && bus == host.bus);
    snprintf(text, sizeof text, " %s:%d", event->kind, (int)event->worker_id);
    append(host.events, sizeof host.events, text);
    snprintf(host.reason, sizeof host.reason, "%s", event->reason);
    snprintf(host.stderr_tail, sizeof host.stderr_tail, "%s", event->stderr_tail);
    host.exit_code = event->exit_code;
    host.signal = event->signal;
}

static void on_client_connect(stdio_bus_t *bus, int client_id, const char *peer, void *user) {
    char text[32];
    CHECK(user == &host && bus == host.bus && *peer);
    snprintf(text, sizeof text, " +%d", client_id);
    append(host.clients, sizeof host.clients, text);
}

static void on_client_disconnect(stdio_bus_t *bus, int client_id, const char *reason, void *user) {
    char text[32];
    CHECK(user == &host && bus == host.bus && *reason);
    snprintf(text, sizeof text, " -%d", client_id);
    append(host.clients, sizeof host.clients, text);
}

/* ---- life ------------------------------------------------------------------------ */

const char *host_config(const char *config) {
    static char out[16384];
    char *to = out;
    for (const char *c = quoted(config); *c;) {
        REQUIRE(to + sizeof self < out + sizeof out);
        if (strncmp(c, "SELF", 4) == 0) to += sprintf(to, "%s", self), c += 4;
        else *to++ = *c++;
    }
    *to = '\0';
    return out;
}

void host_listens(int mode, const char *where) {
    listen_mode = mode;
    listen_where = where;
}

bool host_create(const char *config) {
    stdio_bus_options_t options = {
        .config_json = host_config(config),
        .listener = {.mode = listen_mode, .tcp_host = listen_where, .unix_path = listen_where},
        .on_error = on_error,
        .on_log = on_log,
        .on_client_connect = on_client_connect,
        .on_client_disconnect = on_client_disconnect,
        .user_data = &host,
    };
    listen_mode = STDIO_BUS_LISTEN_NONE;
    memset(&host, 0, sizeof host);
    host.bus = stdio_bus_create(&options);
    if (!host.bus) return false;
    CHECK_INT(stdio_bus_set_on_batch(host.bus, on_batch), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_set_on_worker_event(host.bus, on_worker_event), STDIO_BUS_OK);
    return true;
}

int host_open(const char *config) {
    REQUIRE(host_create(config));
    return stdio_bus_start(host.bus);
}

void host_destroy(void) {
    stdio_bus_destroy(host.bus);
    host.bus = NULL;
    while (message_count) free(messages[--message_count].text);
}

void host_close(void) {
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(host_messages(), 0);
    host_destroy();
}

/* ---- steps ------------------------------------------------------------------------- */

static time_t seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

void host_begin(void) {
    deadline = seconds() + PATIENCE_SEC;
}

bool host_step(void) {
    CHECK(stdio_bus_step(host.bus, 50) >= 0);
    return seconds() < deadline;
}

static const char *formatted(const char *format, va_list args) {
    static char text[4096];
    REQUIRE(vsnprintf(text, sizeof text, format, args) < (int)sizeof text);
    return quoted(text);
}

int host_ingest(const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = formatted(format, args);
    va_end(args);
    return stdio_bus_ingest(host.bus, text, strlen(text));
}

void host_feed(int client, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = formatted(format, args);
    va_end(args);
    CHECK_INT(stdio_bus_feed(host.bus, client, text, strlen(text)), STDIO_BUS_OK);
}

int host_messages(void) {
    return message_count;
}

const char *host_message(void) {
    static char *taken;
    host_begin();
    while (!message_count && host_step()) {
    }
    free(taken);
    taken = NULL;
    if (!message_count) return NULL;
    taken = messages[0].text;
    host_message_client = messages[0].client;
    host_message_worker = messages[0].worker;
    memmove(messages, messages + 1, (size_t)--message_count * sizeof *messages);
    return taken;
}

const char *host_events(void) {
    static char last[sizeof host.events];
    strcpy(last, host.events);
    host.events[0] = '\0';
    return last;
}

const char *host_clients(void) {
    static char last[sizeof host.clients];
    strcpy(last, host.clients);
    host.clients[0] = '\0';
    return last;
}

bool host_logged(const char *text) {
    return strstr(host.log, text) != NULL;
}
