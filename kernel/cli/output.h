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
    bool broken;    /* nobody reads any more, or `failed` */
    bool failed;    /* messages are missing, for there was no memory for them */
    bool watched;   /* the system tells when the reader goes */
    bool unblocked; /* stdout has been set non-blocking for all who share it, which is to be undone */
} output_t;

/* Says a text of the program itself.  EXIT_OK, or what it ends with when stdout does not take the text. */
int output_say(const char *text);

/* Takes bytes for stdout.  Without memory for them the output has failed and is given up: no message is
 * missing between others, nor in silence. */
void output_add(output_t *out, const char *bytes, size_t len);
void output_text(output_t *out, const char *text);
/* At most 255 bytes; longer texts go through the functions above. */
void output_printf(output_t *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The text as a JSON string, quotes included. */
void output_json_string(output_t *out, const char *text);

/* Sees to it that a reader that does not read never stops the program. */
void output_unblock(output_t *out);
/* Nobody is left to read: nothing is kept any more. */
void output_give_up(output_t *out);
/* Messages are missing: the others are of no use. */
void output_fail(output_t *out);
/* Writes what stdout takes without blocking. */
void output_flush(output_t *out);
/* Writes everything, as long as the reader goes on reading.  True: it has left off, for `other` is readable. */
bool output_drain(output_t *out, int other);
/* Leaves stdout to those who share it as it was. */
void output_free(output_t *out);

#endif
