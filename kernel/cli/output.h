/*
 * output.h - what the program gives out: messages on stdout, its exit status.
 *
 * Messages are kept here while the reader of stdout is busy.  What they mean is not known here.
 */
#ifndef STDIO_BUS_CLI_OUTPUT_H
#define STDIO_BUS_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONFIG = 3, EXIT_NOTHING_STARTED = 4 };

typedef struct output {
    char *data;
    size_t head, len, cap;
    bool broken;  /* nobody reads any more */
    bool watched; /* the system tells when the reader goes */
} output_t;

/* Takes bytes for stdout.  Without memory for them the program ends: a message must not be lost in silence. */
void output_add(output_t *out, const char *bytes, size_t len);
void output_text(output_t *out, const char *text);
/* At most 255 bytes; longer texts go through the functions above. */
void output_printf(output_t *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The text as a JSON string, quotes included. */
void output_json_string(output_t *out, const char *text);

/* Sees to it that a reader that does not read never stops the program. */
void output_unblock(output_t *out);
/* The reader has gone: nothing is kept for it any more. */
void output_give_up(output_t *out);
/* Writes what stdout takes without blocking. */
void output_flush(output_t *out);
/* Writes everything, as long as the reader goes on reading.  True: it has left off, for `other` is readable. */
bool output_drain(output_t *out, int other);
void output_free(output_t *out);

#endif
