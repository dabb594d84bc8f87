/*
 * line.h - cuts a stream of bytes into lines, whatever the split of the input.
 *
 * A line ends at the byte '\n' and at nothing else; a '\r' before it and blank lines
 * are dropped.  A line longer than the maximum uses no memory beyond its head and tail.
 * Whole lines inside one chunk are returned in place, without copying.
 */
#ifndef STDIO_BUS_LINE_H
#define STDIO_BUS_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

typedef enum line_result {
    LINE_MORE,     /* the chunk is used up */
    LINE_READY,    /* text, len: one line */
    LINE_TOO_LONG, /* head and tail of a line beyond the maximum, reported at its end */
    LINE_NO_MEMORY /* the line was skipped to its newline, as LINE_TOO_LONG, without head or tail */
} line_result_t;

typedef struct line {
    const char *text; /* valid until the next call */
    size_t len;
    const char *tail; /* LINE_TOO_LONG: the last bytes (text, len: the first ones) */
    size_t tail_len;
} line_t;

typedef struct line_reader {
    buffer_t partial;  /* the beginning of a line whose end has not come */
    size_t max;        /* bytes of a line, newline not counted */
    size_t keep;       /* bytes of head and of tail kept of a longer line */
    bool skipping;     /* partial holds the head, and behind it the tail so far */
    bool lost;         /* skipping, for want of memory */
    size_t head_len;   /* while skipping */
    bool release;      /* the line returned last stands in partial */
    const char *chunk; /* borrowed between feed and LINE_MORE */
    size_t chunk_len;
} line_reader_t;

void line_reader_init(line_reader_t *reader, size_t max, size_t keep); /* keep < max */
void line_reader_free(line_reader_t *reader);
/* Longer lines from the next one on; also between the lines of one chunk. */
void line_reader_extend(line_reader_t *reader, size_t max);

/* Hands over a chunk; call line_next until LINE_MORE before the next one. */
void line_feed(line_reader_t *reader, const char *data, size_t len);
line_result_t line_next(line_reader_t *reader, line_t *out);

/* At the end of the stream: what stands there without a newline.  LINE_MORE when nothing. */
line_result_t line_finish(line_reader_t *reader, line_t *out);

#endif
