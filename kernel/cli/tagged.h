/*
 * tagged.h - the line format of --tagged, in both directions.
 *
 * To the program: "<client> <json>".  From it: "<client> <worker> <json>"; beside the messages
 * of workers, worker events and the status travel so, as notifications of client 0.
 */
#ifndef STDIO_BUS_CLI_TAGGED_H
#define STDIO_BUS_CLI_TAGGED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "output.h"
#include "stdio_bus.h"

#define TAGGED_TAG_MAX 11

/* Where a stream of tagged lines has been cut. */
typedef struct tagged_input {
    char tag[TAGGED_TAG_MAX + 1]; /* of the line being read, as far as it has come */
    size_t tag_len;
    bool in_line; /* behind the tag: bytes go to `client` */
    int client;   /* -1: of a line that is skipped */
    int run_client; /* of the bytes being gathered */
} tagged_input_t;

/* Passes the next bytes on to their clients; changes them in place. */
void tagged_feed(tagged_input_t *input, stdio_bus_t *bus, char *data, size_t len);
/* The stream has ended: a last line counts without its newline, too. */
void tagged_feed_end(tagged_input_t *input, stdio_bus_t *bus);

void tagged_write_lines(output_t *out, const char *data, const stdio_bus_line_t *lines, size_t count);
void tagged_write_event(output_t *out, const stdio_bus_worker_event_t *event);

/* The status as last written. */
typedef struct tagged_status {
    stdio_bus_stats_t stats;
    int state, pending, sessions;
    bool workers_changed; /* to be set when they have */
    uint64_t due;         /* not before; as now_ms */
} tagged_status_t;

/* Writes the status when it differs from the last one and is due.  Returns how long to
 * wait for the next chance, -1 when nothing has changed. */
int tagged_write_status(tagged_status_t *status, output_t *out, stdio_bus_t *bus);

#endif
