/*
 * tagged.c - see tagged.h.
 */
#define _GNU_SOURCE
#include "tagged.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"

#define STATUS_INTERVAL_MS 100

/* ---- towards the bus ------------------------------------------------------------------ */

static void feed_client(stdio_bus_t *bus, int client, const char *data, const char *end) {
    if (data == end || client < 0) return;
    if (stdio_bus_feed(bus, client, data, (size_t)(end - data)) == STDIO_BUS_ERR_ENOTFOUND)
        log_error("lines of the host were skipped: they name a client that is not there");
}

/* The client that a complete tag names, -1 when it names none. */
static int tag_client(tagged_input_t *input, char end) {
    input->tag[input->tag_len] = '\0';
    char *rest;
    long client = strtol(input->tag, &rest, 10);
    if (end == ' ' && input->tag_len && !*rest && client >= 0 && client <= INT32_MAX) return (int)client;
    log_error("a line of the host was skipped: it does not begin with a client id");
    return -1;
}

/* The tag is taken off each line, in place, and what follows goes to that client in runs as
 * long as the client is the same. */
void tagged_feed(tagged_input_t *input, stdio_bus_t *bus, char *data, size_t len) {
    const char *end = data + len;
    char *run = data, *run_end = data; /* without tags, for input->run_client */
    while (data < end) {
        if (input->in_line) {
            const char *newline = memchr(data, '\n', (size_t)(end - data));
            size_t n = newline ? (size_t)(newline + 1 - data) : (size_t)(end - data);
            if (input->client != input->run_client) {
                feed_client(bus, input->run_client, run, run_end);
                run = run_end = data;
                input->run_client = input->client;
            }
            memmove(run_end, data, n);
            run_end += n;
            input->in_line = !newline;
            data += n;
            continue;
        }
        char c = *data++;
        if (c == '\n') {
            input->tag_len = 0;
        } else if (c != ' ' && input->tag_len < TAGGED_TAG_MAX) {
            input->tag[input->tag_len++] = c;
        } else {
            input->client = tag_client(input, c);
            input->in_line = true;
            input->tag_len = 0;
        }
    }
    feed_client(bus, input->run_client, run, run_end);
}

void tagged_feed_end(tagged_input_t *input, stdio_bus_t *bus) {
    char newline = '\n';
    if (input->in_line) tagged_feed(input, bus, &newline, 1);
}

/* ---- towards the host ----------------------------------------------------------------- */

void tagged_write_lines(output_t *out, const char *data, const stdio_bus_line_t *lines, size_t count) {
    for (size_t i = 0; i < count; i++) {
        output_printf(out, "%" PRId32 " %" PRId32 " ", lines[i].client_id, lines[i].worker_id);
        output_add(out, data, lines[i].length + 1);
        data += lines[i].length + 1;
    }
}

void tagged_write_event(output_t *out, const stdio_bus_worker_event_t *event) {
    output_printf(out, "0 %" PRId32 " {\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/worker_event\",\"params\":{\"kind\":\"%s\",",
                  event->worker_id, event->kind);
    output_text(out, "\"pool\":");
    output_json_string(out, event->pool);
    output_printf(out, ",\"worker\":%" PRId32 ",\"pid\":%" PRId32 ",\"exit_code\":%" PRId32 ",\"signal\":%" PRId32,
                  event->worker_id, event->pid, event->exit_code, event->signal);
    output_text(out, ",\"reason\":");
    output_json_string(out, event->reason);
    output_text(out, ",\"stderr\":");
    output_json_string(out, event->stderr_tail);
    output_text(out, "}}\n");
}

/* The status as JSON, which the caller frees; NULL without memory.  From one look to the next
 * it may grow: an uptime gets one more digit. */
static char *read_status(const stdio_bus_t *bus, size_t *len) {
    char *text = NULL;
    size_t room = 0;
    for (int need; (need = stdio_bus_get_status(bus, text, room)) >= 0;) {
        *len = (size_t)need;
        if (*len < room) return text;
        free(text);
        room = *len + 1;
        text = malloc(room);
        if (!text) return NULL;
    }
    free(text);
    return NULL;
}

int tagged_write_status(tagged_status_t *status, output_t *out, stdio_bus_t *bus) {
    stdio_bus_stats_t stats;
    stdio_bus_get_stats(bus, &stats);
    int state = stdio_bus_get_state(bus), pending = stdio_bus_pending_count(bus);
    int sessions = stdio_bus_session_count(bus);
    bool changed = status->workers_changed || state != status->state || pending != status->pending ||
                   sessions != status->sessions || memcmp(&stats, &status->stats, sizeof stats) != 0;
    if (!changed) return -1;
    uint64_t now = now_ms();
    if (now < status->due) return (int)(status->due - now);
    *status = (tagged_status_t){stats, state, pending, sessions, false, now + STATUS_INTERVAL_MS};
    size_t len;
    char *text = read_status(bus, &len);
    if (!text) return -1; /* no memory: the next change has another chance */
    output_text(out, "0 0 {\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/status\",\"params\":");
    output_add(out, text, len);
    output_text(out, "}\n");
    free(text);
    return -1;
}
