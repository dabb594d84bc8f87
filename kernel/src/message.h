/*
 * message.h - a scanned message with a few spans replaced or cut out, without copying:
 * the result is a list of pieces, to be written one behind the other.
 */
#ifndef STDIO_BUS_MESSAGE_H
#define STDIO_BUS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "json_read.h"
#include "json_scan.h"

typedef struct piece {
    const char *text; /* borrowed */
    size_t len;
} piece_t;

#define MESSAGE_MAX_EDITS 8
#define MESSAGE_MAX_PIECES (2 * MESSAGE_MAX_EDITS + 1)

typedef struct message {
    const scan_t *scan;
    size_t len;
    struct {
        uint32_t start, end;
        piece_t with;
    } edits[MESSAGE_MAX_EDITS]; /* in order, without overlap */
    size_t edit_count;
} message_t;

void message_init(message_t *message, const scan_t *scan, size_t len);

/* Puts `with` in place of the field's value.  The text is borrowed. */
void message_replace(message_t *message, scan_field_t field, const char *with, size_t len);
/* Puts text, as it stands in JSON, in place of the last `cut` bytes of the field's value, a
 * string.  The text is borrowed. */
void message_change_ending(message_t *message, scan_field_t field, size_t cut, const char *text, size_t len);
/* Takes top-level members out, those of `fields` that are there, commas included. */
void message_remove(message_t *message, const scan_field_t *fields, size_t count);
/* Puts members (`"a":1,"b":2`) in front of the first one. */
void message_insert(message_t *message, const char *members, size_t len);

size_t message_pieces(const message_t *message, piece_t out[MESSAGE_MAX_PIECES]);

/* Appends the pieces and a newline, all or nothing. */
bool message_append_line(buffer_t *to, const piece_t *pieces, size_t count);

static inline json_span_t message_value(const scan_t *scan, scan_field_t field) {
    const scan_value_t *value = &scan->field[field];
    return (json_span_t){scan->text + value->start, value->end - value->start};
}

#endif
