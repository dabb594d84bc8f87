/*
 * buffer.h - a growable run of bytes with a hard maximum, consumed from the front.
 *
 * Memory that an emptied buffer keeps is at most BUFFER_KEEP bytes, so that a
 * thousand idle buffers cost nearly nothing.
 */
#ifndef STDIO_BUS_BUFFER_H
#define STDIO_BUS_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define BUFFER_KEEP 4096

typedef struct buffer {
    char *data;  /* owned; the content is data[head .. head + len) */
    size_t head;
    size_t len;
    size_t cap;
    size_t max; /* content never grows beyond */
} buffer_t;

void buffer_init(buffer_t *buffer, size_t max); /* allocates nothing */
void buffer_free(buffer_t *buffer);             /* may be used again afterwards */

static inline const char *buffer_bytes(const buffer_t *buffer) {
    return buffer->data ? buffer->data + buffer->head : "";
}

/* Makes room for `extra` more bytes.  False: over the maximum, or no memory. */
bool buffer_reserve(buffer_t *buffer, size_t extra);
bool buffer_append(buffer_t *buffer, const void *bytes, size_t len); /* all or nothing */
bool buffer_puts(buffer_t *buffer, const char *text);
bool buffer_printf(buffer_t *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_consume(buffer_t *buffer, size_t len); /* drops from the front */
void buffer_truncate(buffer_t *buffer, size_t len); /* drops from the end */

/* Appends `text`, which is valid UTF-8, as a quoted JSON string. */
bool buffer_json_string(buffer_t *buffer, const char *text, size_t len);

/* Appends `text` as valid UTF-8 without NUL: other bytes become U+FFFD. */
bool buffer_text(buffer_t *buffer, const char *text, size_t len);

/* A terminated copy of `len` bytes; NULL without memory.
 * The caller frees it with sys_free. */
char *buffer_strdup(const char *text, size_t len);

#endif
